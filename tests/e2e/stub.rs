//! One program that stands in for everything around anteroom: CVAT's server, its user interface, Grafana, and
//! whatever else only has to be there. It is static, has no dependencies and fits an image `FROM scratch`, since
//! the tests' machine has no registry. All that it does is set by environment:
//!
//! | variable | meaning |
//! |---|---|
//! | `STUB_ROLE` | `grafana`, `server` (forward-auth backend), `ui` (200 HTML for anything), `idle` (never listens) |
//! | `STUB_PORT` | where it listens, default 3000 |
//! | `STUB_DELAY` | how long after its start it listens, in milliseconds |
//! | `STUB_EXIT_AFTER`, `STUB_EXIT_CODE` | it ends by itself: milliseconds after its start, and how |
//! | `STUB_EAT_AFTER` | milliseconds after its start it allocates memory until the kernel kills it |
//! | `STUB_BIND` | the address on which it listens, default `0.0.0.0` |
//! | `STUB_MODE` | `grafana`: what it does with a connection instead of answering: `hang`, `close`, `garbage`, `tls`, `unready` (503) |
//! | `STUB_SAYS` | what it prints at its start |
//! | `STUB_LEDGER` | `grafana`: a file that gets a line for each POST with an `X-Id`, as soon as all of it has come |
//! | `STUB_COOKIE` | `server`: the cookie of a user who is logged in; without any: 401, with another: 403 |
//!
//! A request with `X-Work` is answered so many milliseconds after it was carried out, so that what breaks the stub
//! breaks requests, too.
//!
//! `stub health` is the health check of the image; `stub order exit 3` and `stub order eat` tell the stub that
//! serves in the same container to end, or to allocate memory until the kernel kills it.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => serve(),
        ["health"] => process::exit(if call("/api/health") { 0 } else { 1 }),
        ["order", order @ ..] => process::exit(if call(&format!("/stub/{}", order.join("/"))) { 0 } else { 1 }),
        other => {
            eprintln!("stub: unknown arguments {other:?}");
            process::exit(64);
        }
    }
}

fn setting(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    setting(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

fn port() -> u16 {
    number("STUB_PORT").map_or(3000, |port| u16::try_from(port).expect("STUB_PORT is a port"))
}

fn serve() {
    end_on_sigterm();
    if let Some(words) = setting("STUB_SAYS") {
        eprintln!("{words}");
    }
    if let Some(after) = number("STUB_EXIT_AFTER") {
        let code = number("STUB_EXIT_CODE").unwrap_or(0) as i32;
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(after));
            process::exit(code);
        });
    }
    if let Some(after) = number("STUB_EAT_AFTER") {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(after));
            eat();
        });
    }
    let role = setting("STUB_ROLE").unwrap_or_else(|| "grafana".to_owned());
    if role == "idle" {
        loop {
            thread::park();
        }
    }
    thread::sleep(Duration::from_millis(number("STUB_DELAY").unwrap_or(0)));
    let listener = TcpListener::bind((setting("STUB_BIND").as_deref().unwrap_or("0.0.0.0"), port()))
        .expect("the stub's port is free in its own container");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis();
    println!("{role} listens on {}", port());
    for connection in listener.incoming().flatten() {
        let role = role.clone();
        thread::spawn(move || while_open(&connection, &role, since));
    }
}

/// Process 1 of a container ignores SIGTERM unless it asks for it; Grafana ends with 0.
fn end_on_sigterm() {
    const SIGTERM: i32 = 15;
    unsafe extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
        fn _exit(code: i32) -> !;
    }
    extern "C" fn end(_: i32) {
        // SAFETY: `_exit` is async-signal-safe and takes any code.
        unsafe { _exit(0) }
    }
    // SAFETY: both are the C library's, which std links in any case, with their documented signatures.
    unsafe { signal(SIGTERM, end) };
}

fn misbehave(mut connection: &TcpStream, mode: &str) {
    let said: &[u8] = match mode {
        "hang" => loop {
            thread::park();
        },
        "close" => b"",
        "garbage" => b"SSH-2.0-OpenSSH_9.2\r\n",
        // A fatal alert, as OpenSSL answers plain HTTP.
        "tls" => b"\x15\x03\x01\x00\x02\x02\x46",
        "unready" => b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        other => panic!("STUB_MODE={other} is not known"),
    };
    // The peer may have left.
    let _ = connection.write_all(said);
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Answers one request after the other, as long as the peer keeps the connection.
fn while_open(connection: &TcpStream, role: &str, since: u128) {
    let mut reader = BufReader::new(connection);
    if let Some(mode) = setting("STUB_MODE").filter(|_| role == "grafana") {
        let Ok(Some(request)) = read_request(&mut reader) else { return };
        // Who asks whether it is well is told so, or it would never be taken for ready.
        if request.path == "/api/health" && mode != "unready" {
            let _ = write_all(connection, grafana(&request, since).as_bytes());
        } else {
            misbehave(connection, &mode);
        }
        return;
    }
    while let Ok(Some(request)) = read_request(&mut reader) {
        println!("{} {}", request.method, request.path);
        if role == "grafana" && request.header("upgrade").is_some() {
            let _ = echo(&request, &mut reader, connection);
            return;
        }
        let answer = match role {
            "server" => authenticate(&request),
            "ui" => {
                answer("200 OK", "text/html; charset=utf-8", "ui", "<!doctype html><title>CVAT</title><h1>Tasks</h1>")
            }
            _ => grafana(&request, since),
        };
        if let Some(work) = request.header("x-work").and_then(|work| work.parse().ok()) {
            thread::sleep(Duration::from_millis(work));
        }
        let head = answer.find("\r\n\r\n").map_or(answer.len(), |end| end + 4);
        let wanted = if request.method == "HEAD" { &answer[..head] } else { &answer };
        if write_all(connection, wanted.as_bytes()).is_err() {
            return;
        }
    }
}

fn grafana(request: &Request, since: u128) -> String {
    if let ("POST", Some(id), Some(ledger)) = (request.method.as_str(), request.header("x-id"), setting("STUB_LEDGER"))
    {
        enter(&ledger, id).expect("the ledger can be written");
    }
    match request.path.as_str() {
        "/api/health" => answer("200 OK", "application/json", "grafana", r#"{"database":"ok"}"#),
        "/stub/eat" => {
            thread::spawn(eat);
            answer("202 Accepted", "text/plain", "grafana", "eating")
        }
        path if path.starts_with("/stub/exit/") => {
            let code = path["/stub/exit/".len()..].parse().unwrap_or(99);
            // The answer to `stub order` needs no more than to be on its way.
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                process::exit(code)
            });
            answer("202 Accepted", "text/plain", "grafana", "ending")
        }
        _ => answer("200 OK", "application/json", "grafana", &mirror(request, since)),
    }
}

/// One `write` at the file's end, so that a kill leaves the line or nothing, and threads do not mix theirs.
fn enter(ledger: &str, id: &str) -> io::Result<()> {
    File::options().create(true).append(true).open(ledger)?.write_all(format!("{id}\n").as_bytes())
}

/// What reached Grafana, so that a test can assert it.
fn mirror(request: &Request, since: u128) -> String {
    let headers: Vec<String> =
        request.headers.iter().map(|(name, value)| format!("{}:{}", quoted(name), quoted(value))).collect();
    format!(
        r#"{{"service":"grafana","method":{},"path":{},"headers":{{{}}},"body":{},"listening_since":{since}}}"#,
        quoted(&request.method),
        quoted(&request.path),
        headers.join(","),
        quoted(&String::from_utf8_lossy(&request.body)),
    )
}

/// CVAT's `/analytics`: the one lock before a Grafana whose anonymous users are administrators.
fn authenticate(request: &Request) -> String {
    let expected = setting("STUB_COOKIE").unwrap_or_default();
    match request.header("cookie") {
        _ if !request.path.starts_with("/analytics") => {
            answer("200 OK", "application/json", "server", r#"{"about":"CVAT"}"#)
        }
        Some(cookie) if cookie == expected => answer("200 OK", "text/plain", "server", ""),
        Some(_) => answer("403 Forbidden", "application/json", "server", r#"{"detail":"not allowed"}"#),
        None => answer("401 Unauthorized", "application/json", "server", r#"{"detail":"log in first"}"#),
    }
}

fn answer(status: &str, kind: &str, role: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nX-Stub: {role}\r\n\r\n{body}")
}

fn echo(request: &Request, reader: &mut BufReader<&TcpStream>, connection: &TcpStream) -> io::Result<()> {
    let protocol = request.header("upgrade").unwrap_or_default();
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nX-Stub: grafana\r\n\r\n"
    );
    write_all(connection, head.as_bytes())?;
    let mut bytes = [0; 4096];
    loop {
        match reader.read(&mut bytes)? {
            0 => return Ok(()),
            count => write_all(connection, &bytes[..count])?,
        }
    }
}

fn write_all(mut connection: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    connection.write_all(bytes)
}

/// `None` at the end of the connection; a prober that only connects is such an end.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    if request.header("transfer-encoding") == Some("chunked") {
        while let length @ 1.. = chunk_length(reader)? {
            read_exactly(reader, length, &mut request.body)?;
            reader.read_line(&mut String::new())?;
        }
        reader.read_line(&mut String::new())?;
    } else if let Some(length) = request.header("content-length").and_then(|length| length.parse().ok()) {
        read_exactly(reader, length, &mut request.body)?;
    }
    Ok(Some(request))
}

fn chunk_length(reader: &mut impl BufRead) -> io::Result<usize> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)
}

fn read_exactly(reader: &mut impl Read, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
    let start = into.len();
    into.resize(start + length, 0);
    reader.read_exact(&mut into[start..])
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn eat() {
    let mut meal: Vec<Vec<u8>> = Vec::new();
    loop {
        meal.push(vec![1; 4 << 20]);
    }
}

/// GET on our own port: true when the answer is 2xx.
fn call(path: &str) -> bool {
    let ask = || -> io::Result<String> {
        let connection = TcpStream::connect(("127.0.0.1", port()))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        write_all(&connection, format!("GET {path} HTTP/1.1\r\nHost: stub\r\n\r\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(&connection).read_line(&mut line)?;
        Ok(line)
    };
    ask().is_ok_and(|line| line.starts_with("HTTP/1.1 2"))
}
