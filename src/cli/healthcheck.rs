//! `anteroom healthcheck`: one question to the admin address, for images without a shell. Blocking, without a
//! runtime: an engine starts it every few seconds.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Failure;
use crate::config::{Input, parse_admin_listen};

/// Well below an engine's own limit (30 s), and long enough for a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than any status line has.
const LONGEST_HEAD: usize = 512;

/// Why anteroom does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    #[error("the admin address has port 0, so nobody can know where it is")]
    NoPort,
    #[error("{0} does not answer ({1})")]
    Silent(SocketAddr, io::Error),
    #[error("{0} answered {1:?}")]
    Answered(SocketAddr, String),
}

/// Asks, and says what it heard.
///
/// # Errors
/// A wrong setting, or the reason why it is not healthy.
pub fn run(input: Input<'_>) -> Result<(), Failure> {
    let address = parse_admin_listen(input).map_err(Failure::Settings)?;
    ask(address).map_err(Failure::Unhealthy)?;
    // Only the exit code counts; who closed the pipe does not want the words.
    let _ = writeln!(io::stdout(), "healthy");
    Ok(())
}

fn ask(listening: SocketAddr) -> Result<(), Reason> {
    if listening.port() == 0 {
        return Err(Reason::NoPort);
    }
    let deadline = Instant::now() + PATIENCE;
    let (first, second) = reachable(listening);
    let (address, head) = match (exchange(first, deadline), second) {
        (Err(_), Some(second)) => (second, exchange(second, deadline)),
        (heard, _) => (first, heard),
    };
    let head = head.map_err(|error| Reason::Silent(address, error))?;
    let line = head.lines().next().unwrap_or_default();
    if line.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(Reason::Answered(address, line.to_owned())) }
}

/// Where to connect for an address that is listened on, and where else: every address of the machine includes its own,
/// and those of IPv6 include IPv4's. A container without IPv6 has no `::1`.
fn reachable(listening: SocketAddr) -> (SocketAddr, Option<SocketAddr>) {
    let at = |ip: IpAddr| SocketAddr::new(ip, listening.port());
    match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (at(Ipv4Addr::LOCALHOST.into()), None),
        IpAddr::V6(ip) if ip.is_unspecified() => (at(Ipv6Addr::LOCALHOST.into()), Some(at(Ipv4Addr::LOCALHOST.into()))),
        IpAddr::V4(_) | IpAddr::V6(_) => (listening, None),
    }
}

/// Sends the question, and returns the beginning of the answer.
fn exchange(address: SocketAddr, deadline: Instant) -> io::Result<String> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut stream = TcpStream::connect_timeout(&address, left)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;

    let mut head = Vec::with_capacity(LONGEST_HEAD);
    while head.len() < LONGEST_HEAD && !head.contains(&b'\n') {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let mut piece = [0; LONGEST_HEAD];
        match stream.read(&mut piece)? {
            0 => break,
            read => head.extend_from_slice(&piece[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
