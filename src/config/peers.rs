//! Which peers are trusted to say who sent a request: networks, written as addresses or in CIDR notation (RFC 4632).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The peers whose forwarding headers are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedPeers(Arc<[Network]>);

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    /// In bits.
    prefix: u32,
}

const EVERYONE: [Network; 2] = [
    Network { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 },
    Network { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 },
];

impl TrustedPeers {
    /// Whether a peer is one of them. An IPv4 address within IPv6 (`::ffff:10.0.0.1`) is that IPv4 address.
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(peer))
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(its)) => same(own.to_bits().into(), its.to_bits().into(), 32 - self.prefix),
            (IpAddr::V6(own), IpAddr::V6(its)) => same(own.to_bits(), its.to_bits(), 128 - self.prefix),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The address without the bits behind the prefix.
    fn first(self) -> IpAddr {
        match self.address {
            IpAddr::V4(own) => {
                let bits = own.to_bits() & u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                Ipv4Addr::from_bits(bits).into()
            }
            IpAddr::V6(own) => {
                let bits = own.to_bits() & u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                Ipv6Addr::from_bits(bits).into()
            }
        }
    }
}

/// Whether two addresses differ in nothing but their last bits.
fn same(one: u128, other: u128, last: u32) -> bool {
    (one ^ other).checked_shr(last).unwrap_or(0) == 0
}

pub(super) fn trusted_peers(text: &str) -> Result<TrustedPeers, String> {
    match text {
        "all" => Ok(TrustedPeers(EVERYONE.into())),
        "none" => Ok(TrustedPeers([].into())),
        list => list.split(',').map(|item| network(item.trim())).collect::<Result<_, _>>().map(TrustedPeers),
    }
}

fn network(text: &str) -> Result<Network, String> {
    // What was written may be long, and the message shows the whole value anyway.
    let wrong = |reason: &str| Err(format!("has an item that {reason}"));
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else { return wrong("is neither an address nor a network") };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(digits) => match digits.parse::<u32>() {
            Ok(prefix) if prefix <= bits && !digits.starts_with('+') => prefix,
            Ok(_) | Err(_) => return wrong("has no valid prefix length"),
        },
    };
    let network = match address.to_canonical() {
        canonical if canonical == address => Network { address, prefix },
        canonical if prefix >= 96 => Network { address: canonical, prefix: prefix - 96 },
        _ => return wrong("is IPv4 and IPv6 at once"),
    };
    let first = network.first();
    if first == network.address {
        Ok(network)
    } else {
        Err(format!("has bits set behind a prefix: did you mean {first}/{}?", network.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusts(list: &str, peer: &str) -> bool {
        trusted_peers(list).expect("a right list").contains(peer.parse().expect("an address"))
    }

    #[test]
    fn a_peer_is_trusted_if_a_network_has_it() {
        for (list, inside, outside) in [
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..], &["9.255.255.255", "11.0.0.0"][..]),
            ("172.16.0.0/12", &["172.16.0.1", "172.31.255.255"], &["172.15.255.255", "172.32.0.0"]),
            ("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "::c000:207"]),
            ("::1", &["::1"], &["::2", "0.0.0.1", "127.0.0.1"]),
            ("fc00::/7", &["fc00::", "fdff::1"], &["fe00::1", "fbff::1"]),
            ("fe80::/10,10.0.0.1 , 10.0.0.2/32", &["febf::1", "10.0.0.1", "10.0.0.2"], &["fec0::1", "10.0.0.3"]),
            ("::ffff:10.0.0.0/104", &["10.2.3.4", "::ffff:10.2.3.4"], &["11.0.0.0"]),
            ("0.0.0.0/0", &["203.0.113.9"], &["2001:db8::1"]),
            ("all", &["203.0.113.9", "2001:db8::1"], &[]),
            ("none", &[], &["127.0.0.1", "::1"]),
        ] {
            assert!(inside.iter().all(|peer| trusts(list, peer)), "{list}");
            assert!(!outside.iter().any(|peer| trusts(list, peer)), "{list}");
        }
    }

    #[test]
    fn what_is_no_list_of_networks_is_refused() {
        for (list, reason) in [
            ("traefik", "neither an address nor a network"),
            ("10.0.0.1,", "neither"),
            (",", "neither"),
            ("10.0.0.0/33", "prefix length"),
            ("10.0.0.0/", "prefix length"),
            ("10.0.0.0/-1", "prefix length"),
            ("10.0.0.0/+8", "prefix length"),
            ("::/129", "prefix length"),
            ("10.0.0.0/8/8", "prefix length"),
            ("10.0.0.1:80", "neither"),
            ("[::1]", "neither"),
            ("all, 10.0.0.1", "neither"),
            ("10.1.2.3/8", "did you mean 10.0.0.0/8?"),
            ("fd00::1/8", "did you mean fd00::/8?"),
            ("::ffff:0.0.0.0/90", "at once"),
        ] {
            let refused = trusted_peers(list).expect_err(list);
            assert!(refused.contains(reason), "{list}: {refused}");
        }
    }
}
