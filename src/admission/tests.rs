use http::header::HeaderName;

use super::*;

/// `METHOD target version`, and headers as `Name: value` lines.
fn verdict(request: &str, lines: &[&str]) -> Option<Refusal> {
    let mut parts = request.split(' ');
    let mut part = || parts.next().expect("three parts");
    let method: Method = part().parse().expect("a method");
    let uri: Uri = part().parse().expect("a target that the parser lets pass");
    let version = match part() {
        "1.0" => Version::HTTP_10,
        "1.1" => Version::HTTP_11,
        "2" => Version::HTTP_2,
        other => panic!("{other}"),
    };
    let pair = |line: &&str| {
        let (name, value) = line.split_once(':').expect("a colon");
        let value = HeaderValue::from_str(value.trim()).expect("a value");
        (HeaderName::from_bytes(name.as_bytes()).expect("a name"), value)
    };
    refuse(&method, &uri, version, &lines.iter().map(pair).collect())
}

#[test]
fn an_ordinary_request_is_admitted() {
    for request in ["GET / 1.1", "POST /%2f//..;x/%zz?a=b? 1.1", "OPTIONS * 1.1", "GET http://b:81/x 1.1", "brew / 1.1"]
    {
        assert_eq!(verdict(request, &["Host: a"]), None, "{request}");
    }
    assert_eq!(verdict("GET HTTPS://b 1.1", &["Host: a"]), None, "a scheme has no case");
    assert_eq!(verdict("GET http://b?c 1.1", &["Host: a"]), None, "a path may be empty in an absolute target");
    assert_eq!(verdict("POST / 1.1", &["Host: a", "Content-Length: 5"]), None);
    assert_eq!(verdict("POST / 1.1", &["Host: a", "Transfer-Encoding: Chunked"]), None);
}

#[test]
fn a_request_has_one_valid_host() {
    for (request, lines, expected) in [
        ("GET / 1.1", &[][..], Some(Refusal::HostMissing)),
        ("GET http://a/ 1.1", &[], Some(Refusal::HostMissing)),
        ("GET / 1.0", &[], None),
        ("GET / 1.0", &["Host: a", "Host: a"], Some(Refusal::HostRepeated)),
        ("GET / 1.1", &["Host: a", "Host: a"], Some(Refusal::HostRepeated)),
        ("GET / 1.1", &["Host:"], Some(Refusal::HostInvalid)),
        ("GET / 1.0", &["Host:"], Some(Refusal::HostInvalid)),
        ("GET / 1.1", &["Host: a/b"], Some(Refusal::HostInvalid)),
        ("GET http://b/ 1.1", &["Host: a@b"], Some(Refusal::HostInvalid)),
        ("GET http://b/ 1.1", &["Host: a"], None),
        ("GET http://b/ 2", &[], None),
        ("GET http://b/ 2", &["Host: B"], None),
        ("GET http://b/ 2", &["Host: a"], Some(Refusal::HostDiffers)),
        ("GET / 2", &["Host: a"], None),
        ("GET / 2", &[], Some(Refusal::HostMissing)),
    ] {
        assert_eq!(verdict(request, lines), expected, "{request} {lines:?}");
    }
}

#[test]
fn a_target_has_a_form_that_its_method_has() {
    for (request, expected) in [
        ("GET * 1.1", Refusal::TargetForm),
        ("GET * 2", Refusal::TargetForm),
        ("GET http://a?b 2", Refusal::TargetForm),
        ("GET a:80 1.1", Refusal::TargetForm),
        ("GET a 1.1", Refusal::TargetForm),
        ("GET ftp://a/ 1.1", Refusal::TargetForm),
        ("GET file://a/etc 1.1", Refusal::TargetForm),
        ("GET http://user:password@a/ 1.1", Refusal::TargetAuthority),
        ("GET http://user@a/ 1.1", Refusal::TargetAuthority),
        ("GET http://:80/ 1.1", Refusal::TargetAuthority),
        ("GET http://a:65536/ 1.1", Refusal::TargetAuthority),
        ("GET /b\u{fc}cher 1.1", Refusal::TargetNotAscii),
        ("GET /?b\u{fc}cher 1.1", Refusal::TargetNotAscii),
        ("CONNECT a:443 1.1", Refusal::Connect),
        ("TRACE / 1.1", Refusal::Trace),
    ] {
        assert_eq!(verdict(request, &["Host: a"]), Some(expected), "{request}");
    }
}

#[test]
fn a_body_has_one_length_said_once() {
    for (lines, expected) in [
        (&["Content-Length: 5", "Transfer-Encoding: chunked"][..], Refusal::LengthTwice),
        (&["Content-Length: 5", "Content-Length: 6"], Refusal::LengthInvalid),
        (&["Content-Length: 5", "Content-Length: 5"], Refusal::LengthInvalid),
        (&["Content-Length: 5, 5"], Refusal::LengthInvalid),
        (&["Content-Length: +5"], Refusal::LengthInvalid),
        (&["Content-Length:"], Refusal::LengthInvalid),
        (&["Transfer-Encoding: chunked, chunked"], Refusal::CodingMalformed),
        (&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], Refusal::CodingMalformed),
        (&["Transfer-Encoding: ,chunked"], Refusal::CodingMalformed),
        (&["Transfer-Encoding:", "Transfer-Encoding: chunked"], Refusal::CodingMalformed),
        (&["Transfer-Encoding:"], Refusal::CodingMalformed),
        (&["Transfer-Encoding: chunked;a=b"], Refusal::CodingMalformed),
        (&["Transfer-Encoding: gzip, chunked"], Refusal::CodingUnknown),
        (&["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], Refusal::CodingUnknown),
        (&["Transfer-Encoding: chunked, identity"], Refusal::CodingUnknown),
        (&["Transfer-Encoding: xchunked"], Refusal::CodingUnknown),
    ] {
        let lines: Vec<&str> = std::iter::once("Host: a").chain(lines.iter().copied()).collect();
        assert_eq!(verdict("POST / 1.1", &lines), Some(expected), "{lines:?}");
    }
    assert_eq!(verdict("POST / 1.0", &["Transfer-Encoding: chunked"]), Some(Refusal::CodingTooEarly));
}

#[test]
fn the_upstream_gets_the_target_in_origin_form() {
    for (method, given, version, expected) in [
        (Method::GET, "http://a", Version::HTTP_11, "/"),
        (Method::GET, "http://a?b", Version::HTTP_11, "/?b"),
        (Method::GET, "http://a/%2f//?", Version::HTTP_11, "/%2f//?"),
        (Method::GET, "/a?b#c", Version::HTTP_11, "/a?b"),
        (Method::OPTIONS, "*", Version::HTTP_11, "*"),
        (Method::OPTIONS, "/", Version::HTTP_11, "/"),
        (Method::OPTIONS, "http://a", Version::HTTP_11, "*"),
        (Method::OPTIONS, "http://a/b", Version::HTTP_11, "/b"),
        (Method::OPTIONS, "http://a?", Version::HTTP_11, "/?"),
        (Method::OPTIONS, "http://a/", Version::HTTP_2, "/"),
    ] {
        let uri: Uri = given.parse().expect("a target");
        assert_eq!(target(&method, &uri, version).as_str(), expected, "{method} {given}");
    }
}
