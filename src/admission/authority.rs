//! `uri-host [ ":" port ]` (RFC 9110 §7.2, RFC 3986 §3.2.2), as `Host` and an absolute target have it.

use std::net::Ipv6Addr;

/// Whether this is a host, perhaps with a port: no credentials, no space, no path. Names may be any that RFC 3986 can
/// write, underscores included; whether one exists is not our question. Of the literals in brackets only IPv6 addresses
/// are taken: of other kinds there are none yet.
pub(super) fn is_host_and_port(text: &[u8]) -> bool {
    let (host, rest) = match text.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
            let address = str::from_utf8(&literal[..end]).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
            if address.is_none() {
                return false;
            }
            (None, &literal[end + 1..])
        }
        None => {
            let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
            (Some(&text[..end]), &text[end..])
        }
    };
    host.is_none_or(is_name) && (rest.is_empty() || rest.strip_prefix(b":").is_some_and(is_port))
}

/// `reg-name`; an empty one is not HTTP's (RFC 9110 §4.2.1).
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => tail,
            (b'-' | b'.' | b'_' | b'~', _) => tail,
            (b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=', _) => tail,
            (byte, _) if byte.is_ascii_alphanumeric() => tail,
            _ => return false,
        };
    }
    !name.is_empty()
}

/// RFC 3986 §3.2.3 allows an empty one.
fn is_port(port: &[u8]) -> bool {
    let digits = port.iter().all(u8::is_ascii_digit);
    digits && (port.is_empty() || str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for right in [
            "a",
            "cvat.example:8080",
            "cvat_grafana",
            "xn--bcher-kva.example",
            "-a-.",
            "a:",
            "a:0",
            "a:65535",
            "10.0.0.7",
            "[::1]",
            "[fd00::7]:3000",
            "a%20b",
            "a,b",
            "A~!$&'()*+;=",
        ] {
            assert!(is_host_and_port(right.as_bytes()), "{right}");
        }
    }

    #[test]
    fn everything_else_is_none() {
        for wrong in [
            "",
            ":80",
            "a b",
            " a",
            "a/",
            "a/b",
            "user@a",
            "user:pw@a",
            "a:b",
            "a:65536",
            "a:99999999999999999999",
            "a:80:80",
            "a:+80",
            "a:-1",
            "a?b",
            "a#b",
            "a\\b",
            "a\"b",
            "<a>",
            "a%2",
            "a%zz",
            "[",
            "[]",
            "[::1",
            "[::g]",
            "[::1]80",
            "[::1]a",
            "[fe80::1%25eth0]",
            "::1",
            "a[::1]",
            "b\u{fc}cher",
        ] {
            assert!(!is_host_and_port(wrong.as_bytes()), "{wrong}");
        }
        assert!(!is_host_and_port(b"a\xff"));
    }
}
