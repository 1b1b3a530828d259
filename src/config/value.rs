//! Readers of single values: text in, value or a reason out. The reason completes the sentence that begins with the
//! setting and its value, e.g. `ANTEROOM_GRACE="5"` *has no unit: did you mean 5s?*

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery};

use crate::evidence::{Dependency, Scheme};

/// Far beyond any sense, and near enough that adding it to a clock cannot overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// What a message repeats of a number; more is no duration that anybody means.
const LONGEST_NUMBER: usize = 12;
/// The longest name that DNS can carry (RFC 1035 §2.3.4), without the root's dot.
const LONGEST_NAME: usize = 253;

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.strip_prefix(':').unwrap_or(text);
        match port.parse::<u16>() {
            Ok(port) => format!("has no address: did you mean 0.0.0.0:{port}?"),
            Err(_) => "is not an address with a port".to_owned(),
        }
    })
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let meant = if text.len() < LONGEST_NUMBER { format!(": did you mean {text}s?") } else { String::new() };
        return Err(format!("has no unit{meant}"));
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration > LONGEST => Err("is too long".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("is not a duration".to_owned()),
    }
}

/// A duration in which something must be able to happen.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("would let everything fail".to_owned()),
        timeout => Ok(timeout),
    }
}

pub(super) fn count(text: &str, allowed: RangeInclusive<usize>) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|_| "is not a whole number".to_owned())?;
    if allowed.contains(&count) { Ok(count) } else { Err("is out of range".to_owned()) }
}

pub(super) fn size(text: &str, allowed: RangeInclusive<usize>) -> Result<usize, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unknown = |unit: &str| {
        let meant = if digits < LONGEST_NUMBER { format!(": did you mean {number}{unit}?") } else { String::new() };
        Err(format!("has an unknown unit{meant}"))
    };
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "K" | "k" | "KB" | "kB" | "Ki" | "kib" => return unknown("KiB"),
        "M" | "m" | "MB" | "mB" | "Mi" | "mib" => return unknown("MiB"),
        _ => return Err("is not a size".to_owned()),
    };
    if number.is_empty() {
        return Err("is not a size".to_owned());
    }
    // Of digits alone, there can only be too many.
    match number.parse::<usize>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(size) if size < *allowed.start() => Err("is too small".to_owned()),
        Some(size) if allowed.contains(&size) => Ok(size),
        Some(_) | None => Err("is too large".to_owned()),
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| "is none of these words".to_owned())
}

/// A path, perhaps with a query.
pub(super) fn path(text: &str) -> Result<Arc<str>, String> {
    if !text.starts_with('/') {
        return Err("does not begin with /".to_owned());
    }
    // The parser drops a fragment silently; what is dropped silently will be missed.
    if text.contains('#') {
        return Err("has a fragment, which HTTP does not send".to_owned());
    }
    match text.parse::<PathAndQuery>() {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(format!("is not a path: {error}")),
    }
}

/// The name or id of a container. The engine's own rule for names: nothing that could leave the path of an API call.
pub(super) fn container(text: &str) -> Result<Arc<str>, String> {
    let name = text.strip_prefix('/').unwrap_or(text);
    let fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if fits { Ok(name.into()) } else { Err("is not a name that a container can have".to_owned()) }
}

/// Services, separated by commas. That they end well and are not needed any more is known from a label alone.
pub(super) fn services(text: &str) -> Result<Arc<[Dependency]>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let service = |name: &str| container(name).map(|name| Dependency { service: (*name).into(), ends: false });
    names.map(service).collect()
}

/// The path of a directory; whether it can be used is seen when it is.
pub(super) fn directory(text: &str) -> Result<Arc<Path>, String> {
    if text.contains(char::is_control) { Err("is not a path".to_owned()) } else { Ok(Path::new(text).into()) }
}

/// The path of a file; whether it is there and what is in it is seen when it is read.
pub(super) fn file(text: &str) -> Result<Arc<Path>, String> {
    if text.contains("-----BEGIN") {
        return Err("is the content of a file, not its path".to_owned());
    }
    if text.contains(char::is_control) { Err("is not a path".to_owned()) } else { Ok(Path::new(text).into()) }
}

/// Scheme, host (without brackets) and port of the upstream.
pub(super) fn upstream(text: &str) -> Result<(Scheme, Arc<str>, u16), String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(match host_and_port(text) {
            Ok(_) => format!("has no scheme: did you mean http://{text}?"),
            Err(_) => "is not a URL".to_owned(),
        });
    };
    let scheme = [Scheme::Http, Scheme::Https, Scheme::H2c]
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
        .ok_or("has an unknown scheme")?;
    if rest.contains(['?', '#']) {
        return Err("has a query or a fragment: every request brings its own".to_owned());
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('/') {
        return Err("has a path: every request brings its own".to_owned());
    }
    let (host, port) = host_and_port(authority)?;
    // What passed these checks must also be a URL to the library that will build requests from it.
    text.parse::<Uri>().map_err(|error| format!("is not a URL: {error}"))?;
    Ok((scheme, host, port.unwrap_or(scheme.default_port())))
}

/// `DOCKER_HOST`, as every Docker client writes it.
pub(super) fn docker_host(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(text.to_owned()),
        Some(("unix", _)) => Err("has no absolute path".to_owned()),
        Some(("tcp" | "http", rest)) => host_and_port(rest.strip_suffix('/').unwrap_or(rest)).map(|_| text.to_owned()),
        Some(("https" | "ssh" | "npipe", _)) => Err("has a scheme that is not supported yet".to_owned()),
        Some(_) => Err("has an unknown scheme".to_owned()),
        None if text.starts_with('/') => Err("has no scheme: put unix:// before it".to_owned()),
        None => Err("has no scheme".to_owned()),
    }
}

/// A host (without brackets), and a port where there is one.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the setting.
pub fn host_and_port(text: &str) -> Result<(Arc<str>, Option<u16>), String> {
    if text.contains('@') {
        return Err("has credentials in it, which are not supported".to_owned());
    }
    let authority: Authority = text.parse().map_err(|_| "has no valid host".to_owned())?;
    let host = authority.host();
    let port = match text.strip_prefix(host).unwrap_or_default().strip_prefix(':') {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            Ok(_) | Err(_) => return Err("has no valid port".to_owned()),
        },
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) if literal.parse::<Ipv6Addr>().is_ok() => literal,
        Some(_) => return Err("has no valid IPv6 address in its brackets".to_owned()),
        None if host_name(host) => host,
        None => return Err("has no valid host".to_owned()),
    };
    Ok((host.into(), port))
}

/// Container and service names have underscores, so this is wider than RFC 1123.
fn host_name(host: &str) -> bool {
    (1..=LONGEST_NAME).contains(&host.len())
        && host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A value as a message may show it: without credentials and query, printable, and not endless.
pub(super) fn shown(value: &str) -> String {
    /// More would bury the message.
    const LONGEST_SHOWN: usize = 80;
    let query = value.find(['?', '#']).filter(|_| value.contains('/')).unwrap_or(value.len());
    let (value, hidden) = value.split_at(query);
    let start = value.find("://").map_or(0, |scheme| scheme + 3);
    let bare = match value.rfind('@') {
        Some(at) if at >= start => format!("{}…{}", &value[..start], &value[at..]),
        Some(_) | None => value.to_owned(),
    };
    let cut = bare.chars().count() > LONGEST_SHOWN || !hidden.is_empty();
    let bare: String = bare.chars().take(LONGEST_SHOWN).collect();
    format!("{:?}", if cut { bare + "…" } else { bare })
}
