//! What is sent: requests that everybody must pass, and those by which one request is made to look like two.

/// A name, and the bytes of a whole connection.
pub type Case = (String, Vec<u8>);

/// All of them. Names are unique.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, line) in START_LINES {
        cases.push((format!("start line: {name}"), [line, &b"\r\nHost: a\r\n"[..], CLOSE, b"\r\n"].concat()));
    }
    for (name, line) in HOSTS {
        cases.push((format!("host: {name}"), [b"GET / HTTP/1.1\r\n", CLOSE, *line, b"\r\n"].concat()));
    }
    for (name, line) in FIELDS {
        cases.push((
            format!("field: {name}"),
            [b"GET / HTTP/1.1\r\n", CLOSE, b"Host: a\r\n", *line, b"\r\n\r\n"].concat(),
        ));
    }
    for (name, lines) in LENGTHS {
        let head = [b"POST / HTTP/1.1\r\n", CLOSE, b"Host: a\r\n", *lines, b"\r\n\r\n"].concat();
        cases.push((format!("length: {name}"), [&head, &b"hello"[..]].concat()));
    }
    for (name, lines) in CODINGS {
        let head = [b"POST / HTTP/1.1\r\n", CLOSE, b"Host: a\r\n", *lines, b"\r\n\r\n"].concat();
        cases.push((format!("coding: {name}"), [&head, &b"5\r\nhello\r\n0\r\n\r\n"[..]].concat()));
    }
    for (name, body) in CHUNKS {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
        cases.push((format!("chunks: {name}"), [&head[..], CLOSE, b"\r\n", body].concat()));
    }
    for (name, bytes) in WHOLE {
        cases.push((format!("whole: {name}"), bytes.to_vec()));
    }
    cases
}

/// So that every answer ends its connection, and nobody has to wait for what may still come.
const CLOSE: &[u8] = b"Connection: close\r\n";

type Table = &'static [(&'static str, &'static [u8])];

const START_LINES: Table = &[
    ("plain", b"GET / HTTP/1.1"),
    ("query", b"GET /a?b=c&d HTTP/1.1"),
    ("empty query", b"GET /a? HTTP/1.1"),
    ("two question marks", b"GET /a?b?c HTTP/1.1"),
    ("escaped slash", b"GET /a%2fb%2F HTTP/1.1"),
    ("double slash", b"GET //a//b HTTP/1.1"),
    ("dots", b"GET /a/../b/./c HTTP/1.1"),
    ("dots that leave the root", b"GET /../a HTTP/1.1"),
    ("escaped dots", b"GET /%2e%2e/a HTTP/1.1"),
    ("bad escape", b"GET /%zz HTTP/1.1"),
    ("escaped NUL", b"GET /%00 HTTP/1.1"),
    ("escaped line end", b"GET /%0d%0aX:%20y HTTP/1.1"),
    ("semicolon", b"GET /a;b=c HTTP/1.1"),
    ("backslash", b"GET /a\\b HTTP/1.1"),
    ("bar and braces", b"GET /a|{b} HTTP/1.1"),
    ("angle brackets", b"GET /<a> HTTP/1.1"),
    ("quote in the query", b"GET /?\"a\" HTTP/1.1"),
    ("square brackets in the query", b"GET /?a[]=1 HTTP/1.1"),
    ("fragment", b"GET /a#b HTTP/1.1"),
    ("beyond ASCII", b"GET /\xc3\xa9 HTTP/1.1"),
    ("beyond UTF-8", b"GET /\xe9 HTTP/1.1"),
    ("control", b"GET /\x01 HTTP/1.1"),
    ("tab in the target", b"GET /\ta HTTP/1.1"),
    ("DEL", b"GET /\x7f HTTP/1.1"),
    ("NUL", b"GET /\0 HTTP/1.1"),
    ("space in the target", b"GET /a b HTTP/1.1"),
    ("two spaces", b"GET  / HTTP/1.1"),
    ("two spaces before the version", b"GET /  HTTP/1.1"),
    ("tab for space", b"GET\t/\tHTTP/1.1"),
    ("leading space", b" GET / HTTP/1.1"),
    ("trailing space", b"GET / HTTP/1.1 "),
    ("leading empty line", b"\r\nGET / HTTP/1.1"),
    ("two leading empty lines", b"\r\n\r\nGET / HTTP/1.1"),
    ("leading bare LF", b"\nGET / HTTP/1.1"),
    ("no version", b"GET /"),
    ("HTTP/1.0", b"GET / HTTP/1.0"),
    ("HTTP/1.2", b"GET / HTTP/1.2"),
    ("HTTP/0.9", b"GET / HTTP/0.9"),
    ("HTTP/2.0", b"GET / HTTP/2.0"),
    ("HTTP/11", b"GET / HTTP/11"),
    ("HTTP/1.10", b"GET / HTTP/1.10"),
    ("lower case", b"GET / http/1.1"),
    ("no target", b"GET HTTP/1.1"),
    ("lower-case method", b"get / HTTP/1.1"),
    ("unknown method", b"PURGE-IT / HTTP/1.1"),
    ("method with a colon", b"GE:T / HTTP/1.1"),
    ("method with a NUL", b"GE\0T / HTTP/1.1"),
    ("relative target", b"GET a HTTP/1.1"),
    ("asterisk with GET", b"GET * HTTP/1.1"),
    ("asterisk with OPTIONS", b"OPTIONS * HTTP/1.1"),
    ("absolute form", b"GET http://a/b?c HTTP/1.1"),
    ("absolute form without a path", b"GET http://a HTTP/1.1"),
    ("absolute form with a query alone", b"GET http://a?b HTTP/1.1"),
    ("absolute form with credentials", b"GET http://u:p@a/ HTTP/1.1"),
    ("absolute form of another scheme", b"GET ftp://a/ HTTP/1.1"),
    ("authority form", b"GET a:80 HTTP/1.1"),
    ("CONNECT", b"CONNECT a:80 HTTP/1.1"),
    ("TRACE", b"TRACE / HTTP/1.1"),
];

const HOSTS: Table = &[
    ("plain", b"Host: a\r\n"),
    ("with a port", b"Host: a:8080\r\n"),
    ("IPv6", b"Host: [::1]:80\r\n"),
    ("underscore", b"Host: a_b\r\n"),
    ("none", b""),
    ("empty", b"Host:\r\n"),
    ("two that differ", b"Host: a\r\nHost: b\r\n"),
    ("two that agree", b"Host: a\r\nHost: a\r\n"),
    ("a list", b"Host: a, b\r\n"),
    ("with a space", b"Host: a b\r\n"),
    ("with a path", b"Host: a/b\r\n"),
    ("with credentials", b"Host: u@a\r\n"),
    ("with a bad port", b"Host: a:x\r\n"),
    ("with a port that is too large", b"Host: a:99999\r\n"),
    ("with an open bracket", b"Host: [::1\r\n"),
    ("with a NUL", b"Host: a\0b\r\n"),
    ("space before the colon", b"Host : a\r\n"),
    ("folded", b"Host:\r\n a\r\n"),
    ("with a comma hidden in letter case", b"hOsT: a\r\nHOST: b\r\n"),
];

const FIELDS: Table = &[
    ("plain", b"X: y"),
    ("no space", b"X:y"),
    ("tabs around", b"X:\t y \t"),
    ("empty", b"X:"),
    ("obs-text", b"X: \xe9\xff"),
    ("tab within", b"X: a\tb"),
    ("NUL", b"X: a\0b"),
    ("control", b"X: a\x01b"),
    ("DEL", b"X: a\x7fb"),
    ("bare CR", b"X: a\rb"),
    ("CR before CR LF", b"X: a\r"),
    ("bare LF", b"X: a\nY: b"),
    ("bare LF before a smuggled length", b"X: a\nContent-Length: 5"),
    ("folded", b"X: a\r\n b"),
    ("folded with a tab", b"X: a\r\n\tTransfer-Encoding: chunked"),
    ("first line folded", b" X: a"),
    ("space before the colon", b"X : a"),
    ("tab before the colon", b"X\t: a"),
    ("space in the name", b"X Y: a"),
    ("no name", b": a"),
    ("no colon", b"X"),
    ("quote in the name", b"X\"Y: a"),
    ("bracket in the name", b"X(: a"),
    ("name beyond ASCII", b"X\xe9: a"),
    ("underscore in the name", b"X_Y: a"),
    ("NUL in the name", b"X\0: a"),
    ("Connection names a field", b"Connection: x-gone\r\nX-Gone: 1"),
    ("Connection: close", b"Connection: close"),
    ("Connection is empty", b"Connection:"),
    ("Connection names Host", b"Connection: Host"),
    ("Connection names Content-Length", b"Connection: Content-Length\r\nContent-Length: 0"),
    ("Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
    ("TE: trailers", b"TE: trailers\r\nConnection: TE"),
    ("unknown expectation", b"Expect: the-best"),
    ("Max-Forwards on GET", b"Max-Forwards: 0"),
    ("length on GET", b"Content-Length: 0"),
];

const LENGTHS: Table = &[
    ("right", b"Content-Length: 5"),
    ("leading zeros", b"Content-Length: 0005"),
    ("plus", b"Content-Length: +5"),
    ("minus", b"Content-Length: -5"),
    ("hexadecimal", b"Content-Length: 0x5"),
    ("decimal point", b"Content-Length: 5.0"),
    ("empty", b"Content-Length:"),
    ("a list that agrees", b"Content-Length: 5, 5"),
    ("a list that differs", b"Content-Length: 5, 6"),
    ("two that agree", b"Content-Length: 5\r\nContent-Length: 5"),
    ("two that differ", b"Content-Length: 5\r\nContent-Length: 6"),
    ("space within", b"Content-Length: 5 5"),
    ("quoted", b"Content-Length: \"5\""),
    ("too large for 64 bits", b"Content-Length: 99999999999999999999"),
    ("2^64 + 5", b"Content-Length: 18446744073709551621"),
    ("vertical tab", b"Content-Length: \x0b5"),
    ("space before the colon", b"Content-Length : 5"),
    ("underscore", b"Content_Length: 5\r\nContent-Length: 5"),
    ("folded", b"Content-Length:\r\n 5"),
    ("with a coding behind it", b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
    ("with a coding before it", b"Transfer-Encoding: chunked\r\nContent-Length: 5"),
    ("beyond what comes", b"Content-Length: 50"),
];

const CODINGS: Table = &[
    ("chunked", b"Transfer-Encoding: chunked"),
    ("letter case", b"tRANSFER-eNCODING: CHUNKED"),
    ("no space", b"Transfer-Encoding:chunked"),
    ("tab before", b"Transfer-Encoding:\tchunked"),
    ("space behind", b"Transfer-Encoding: chunked "),
    ("twice in a list", b"Transfer-Encoding: chunked, chunked"),
    ("twice in lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ("leading comma", b"Transfer-Encoding: ,chunked"),
    ("trailing comma", b"Transfer-Encoding: chunked,"),
    ("parameter", b"Transfer-Encoding: chunked;q=1"),
    ("quoted", b"Transfer-Encoding: \"chunked\""),
    ("vertical tab", b"Transfer-Encoding: \x0bchunked"),
    ("form feed", b"Transfer-Encoding: \x0cchunked"),
    ("NUL", b"Transfer-Encoding: chunked\0"),
    ("xchunked", b"Transfer-Encoding: xchunked"),
    ("chunkedx", b"Transfer-Encoding: chunkedx"),
    ("identity", b"Transfer-Encoding: identity\r\nContent-Length: 15"),
    ("identity and chunked in lines", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
    ("chunked and identity", b"Transfer-Encoding: chunked, identity"),
    ("gzip and chunked", b"Transfer-Encoding: gzip, chunked"),
    ("chunked and gzip", b"Transfer-Encoding: chunked, gzip"),
    ("unknown", b"Transfer-Encoding: cow\r\nContent-Length: 15"),
    ("empty", b"Transfer-Encoding:\r\nContent-Length: 15"),
    ("space before the colon", b"Transfer-Encoding : chunked"),
    ("folded", b"Transfer-Encoding:\r\n chunked"),
    ("folded behind another field", b"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 15"),
    ("underscore", b"Transfer_Encoding: chunked\r\nContent-Length: 15"),
    ("bare CR before the name", b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 15"),
    ("bare LF before the name", b"X: y\nTransfer-Encoding: chunked"),
    ("dotless i in the name", b"Transfer-Encod\xc4\xb1ng: chunked\r\nContent-Length: 15"),
    ("named by Connection", b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked"),
];

const CHUNKS: Table = &[
    ("plain", b"5\r\nhello\r\n0\r\n\r\n"),
    ("none", b"0\r\n\r\n"),
    ("several", b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n"),
    ("leading zeros", b"0005\r\nhello\r\n000\r\n\r\n"),
    ("hexadecimal letters", b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
    ("extension", b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    ("quoted extension", b"5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n"),
    ("extension with a bare LF", b"5;a\nhello\r\n0\r\n\r\n"),
    ("extension with a bare CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("quoted line end in an extension", b"5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n"),
    ("space before the size", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("space behind the size", b"5 \r\nhello\r\n0\r\n\r\n"),
    ("tab behind the size", b"5\t\r\nhello\r\n0\r\n\r\n"),
    ("plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("minus", b"-5\r\nhello\r\n0\r\n\r\n"),
    ("0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("no digit", b"\r\nhello\r\n0\r\n\r\n"),
    ("no digit but an extension", b";a\r\nhello\r\n0\r\n\r\n"),
    ("underscore", b"0_5\r\nhello\r\n0\r\n\r\n"),
    ("not hexadecimal", b"g\r\nhello\r\n0\r\n\r\n"),
    ("NUL behind the size", b"5\0\r\nhello\r\n0\r\n\r\n"),
    ("2^64 + 5", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("bare LF behind the size", b"5\nhello\r\n0\r\n\r\n"),
    ("bare CR behind the size", b"5\rhello\r\n0\r\n\r\n"),
    ("bare LF behind the data", b"5\r\nhello\n0\r\n\r\n"),
    ("nothing behind the data", b"5\r\nhello0\r\n\r\n"),
    ("more data than its size", b"3\r\nhello\r\n0\r\n\r\n"),
    ("bare LF at the end", b"5\r\nhello\r\n0\r\n\n"),
    ("bare LFs at the end", b"5\r\nhello\r\n0\n\n"),
    ("no end", b"5\r\nhello\r\n"),
    ("half an end", b"5\r\nhello\r\n0\r\n"),
    ("trailer", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
    ("trailer with a bare LF", b"5\r\nhello\r\n0\r\nX-Sum: 1\n\r\n"),
    ("malformed trailer", b"5\r\nhello\r\n0\r\nX Sum\r\n\r\n"),
    ("trailer that frames", b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"),
    ("a request within", b"0\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n"),
];

const WHOLE: Table = &[
    ("pipelined", b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ("pipelined behind a body",
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ),
    ("pipelined, the second malformed", b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost : a\r\nConnection: close\r\n\r\n"),
    ("empty line between", b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (
        "close, and another request",
        b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    ("GET with a body", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"),
    ("GET with chunks", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("DELETE with a body", b"DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"),
    ("POST without a length", b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ("POST of nothing", b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
    ("HEAD", b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    (
        "a request behind the last chunk",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
          GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ),
    (
        "HTTP/1.0 with chunks",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    ("HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n"),
    (
        "HTTP/1.0 that stays",
        b"GET /1 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\nHost: a\r\n\r\n",
    ),
    ("absolute form against Host", b"GET http://b/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ("bare LFs alone", b"GET / HTTP/1.1\nHost: a\n\n"),
    ("bare CRs alone", b"GET / HTTP/1.1\rHost: a\r\r"),
    ("empty line with a bare LF", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("space in the empty line", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n \r\n\r\n"),
    ("cut in the head", b"GET / HTTP/1.1\r\nHost: a\r\nX: "),
    ("nothing", b""),
    ("empty lines", b"\r\n\r\n\r\n"),
    ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
];
