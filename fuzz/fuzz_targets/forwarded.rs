#![no_main]
//! Who is said to have sent a request: whatever was claimed, the peer stands at the end, and alone if nobody trusts it.

use anteroom::headers::{Sender, forward};
use anteroom_fuzz::{fields, values};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, bool, [u8; 16], &[u8])| {
    let (trusted, tls, address, bytes) = input;
    let peer = if address[0] % 2 == 0 {
        std::net::Ipv6Addr::from(address).into()
    } else {
        std::net::IpAddr::from([address[1], address[2], address[3], address[4]])
    };
    let before = fields(bytes);
    let mut after = before.clone();
    forward(&mut after, &Sender::new(peer, tls, trusted));

    let peer = peer.to_string();
    let [list] = values(&after, "x-forwarded-for")[..] else { panic!("one line") };
    let last = list.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    assert_eq!(last, peer.as_bytes());
    assert!(after.contains_key("x-forwarded-proto"));
    if trusted {
        assert_eq!(values(&before, "forwarded"), values(&after, "forwarded"));
    } else {
        assert_eq!(list, peer.as_bytes());
        for (name, value) in &after {
            let name = name.as_str().replace('_', "-");
            if ["x-forwarded-user", "x-forwarded-prefix", "x-forwarded-uri"].contains(&&*name) {
                panic!("a claim was kept: {name}: {value:?}");
            }
            if name == "x-real-ip" {
                assert_eq!(value, &peer);
            }
        }
    }
});
