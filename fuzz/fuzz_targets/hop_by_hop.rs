#![no_main]
//! What belongs to one connection does not survive, and our `Via` is the last and is known again.

use anteroom::headers::{MaxForwards, Via, join_cookie_crumbs, received, strip_hop_by_hop, strip_hop_by_hop_of_answer};
use anteroom_fuzz::{fields, values};
use http::{Method, StatusCode, Version};
use libfuzzer_sys::fuzz_target;

const NEVER: [&str; 6] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "transfer-encoding",
    "http2-settings",
];

fuzz_target!(|input: (u32, u16, &[u8])| {
    let (random, status, bytes) = input;
    let via = Via::new(random);
    let before = fields(bytes);

    let mut request = before.clone();
    strip_hop_by_hop(&mut request);
    join_cookie_crumbs(&mut request);
    let forwards = MaxForwards::of(&Method::OPTIONS, &request);
    forwards.write(&mut request);
    assert!(!NEVER.iter().any(|name| request.contains_key(*name)));
    assert!(values(&request, "te").iter().all(|te| *te == b"trailers"));
    assert!(values(&request, "cookie").len() <= 1);
    assert_eq!(values(&before, "host"), values(&request, "host"), "it cannot be nominated away");
    for upgrade in values(&request, "upgrade") {
        assert!(
            !upgrade.to_ascii_lowercase().split(|byte| *byte == b',').any(|protocol| protocol.trim_ascii() == b"h2c")
        );
        assert_eq!(values(&request, "connection"), [b"upgrade"]);
    }
    let known = via.passed_here(&request);
    via.append(&mut request, Version::HTTP_11);
    assert!(via.passed_here(&request));
    let (old, new) = (values(&before, "via"), values(&request, "via"));
    assert_eq!(new[..new.len() - 1], old);
    assert!(!known || old.iter().any(|line| String::from_utf8_lossy(line).to_lowercase().contains("anteroom-")));

    let mut answer = before.clone();
    let status = StatusCode::from_u16(status % 900 + 100).unwrap_or(StatusCode::OK);
    strip_hop_by_hop_of_answer(status, &mut answer);
    assert!(!NEVER.iter().any(|name| answer.contains_key(*name)) && !answer.contains_key("te"));
    assert!(received(status).to_str().is_ok());
});
