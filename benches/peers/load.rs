//! What is asked of a proxy: requests by `wrk` and `h2load`, and by ourselves what those do not know.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

/// What `wrk` saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub requests: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// Answers other than 2xx and 3xx, or broken connections.
    pub errors: bool,
}

/// Asks for a path over so many connections for so long.
pub fn wrk(address: SocketAddr, connections: u32, seconds: u32, path: &str) -> Result<Seen> {
    wrk_with(address, connections, seconds, path, &[])
}

/// The same, with these fields in the head.
pub fn wrk_with(address: SocketAddr, connections: u32, seconds: u32, path: &str, fields: &[&str]) -> Result<Seen> {
    let mut command = Command::new("wrk");
    command.args(["-t1", "--latency", "--timeout", "10s"]).arg(format!("-c{connections}")).arg(format!("-d{seconds}s"));
    command.args(fields.iter().flat_map(|field| ["-H", field]));
    seen(command.arg(format!("http://{address}{path}")))
}

/// A request with a body, which `wrk` takes from a file.
pub struct Post(PathBuf);

impl Post {
    /// One of so many bytes.
    pub fn of(bytes: usize) -> Result<Self> {
        let file = std::env::temp_dir().join(format!("anteroom-bench-{}-post.lua", std::process::id()));
        let kind = "wrk.headers['Content-Type'] = 'application/json'";
        fs::write(&file, format!("wrk.method = 'POST'\nwrk.body = string.rep('x', {bytes})\n{kind}\n"))?;
        Ok(Self(file))
    }

    /// Sends it again and again, as [`wrk`] does.
    pub fn wrk(&self, address: SocketAddr, connections: u32, seconds: u32) -> Result<Seen> {
        let mut command = Command::new("wrk");
        command.args(["-t1", "--latency", "--timeout", "10s", "-s"]).arg(&self.0);
        seen(command.arg(format!("-c{connections}")).arg(format!("-d{seconds}s")).arg(format!("http://{address}/")))
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        // It is in a folder for temporary files.
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs `wrk`.
fn seen(command: &mut Command) -> Result<Seen> {
    let output = command.output().context("wrk does not run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let word = |line: &str| -> Option<String> {
        text.lines().find_map(|it| it.trim().strip_prefix(line)).map(|rest| rest.trim().to_owned())
    };
    let number = text.lines().find_map(|line| line.trim().split_once(" requests in ")).map(|(number, _)| number);
    Ok(Seen {
        requests: number.context("how many requests")?.parse()?,
        p50: word("50%").and_then(|it| span(&it)).context("a median")?,
        p99: word("99%").and_then(|it| span(&it)).context("a percentile")?,
        errors: text.contains("Non-2xx") || text.contains("Socket errors"),
    })
}

/// Asks in HTTP/2, with prior knowledge, so many requests at once over each connection. Times are not told.
pub fn h2load(address: SocketAddr, connections: u32, streams: u32, seconds: u32, path: &str) -> Result<Seen> {
    let mut command = Command::new("h2load");
    command.args(["-t1"]).arg(format!("-c{connections}")).arg(format!("-m{streams}")).arg(format!("-D{seconds}"));
    let output = command.arg(format!("http://{address}{path}")).output().context("h2load does not run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // `status codes: 1234 2xx, 0 3xx, 0 4xx, 0 5xx`: what was under way when time was over is not counted.
    let codes = text.lines().find_map(|line| line.strip_prefix("status codes: ")).context("what was answered")?;
    let numbers: Vec<f64> = codes.split(", ").filter_map(|code| code.split_once(' ')?.0.parse().ok()).collect();
    let [good, others @ ..] = &numbers[..] else { bail!("{codes}") };
    ensure!(*good > 0.0, "nothing was answered: {text}");
    Ok(Seen { requests: *good, errors: others.iter().sum::<f64>() > 0.0, ..Seen::default() })
}

/// `1.23ms`, as wrk writes it.
fn span(text: &str) -> Option<Duration> {
    let unit = text.find(|it: char| it.is_alphabetic())?;
    let scale = match &text[unit..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(text[..unit].parse::<f64>().ok()? * scale))
}

/// Clients that ask for something large, and have taken 16 KiB a second of it for five seconds.
pub fn slow(address: SocketAddr, number: usize, path: &str) -> Result<Vec<TcpStream>> {
    let open = |_| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes())?;
        Ok(stream)
    };
    let mut clients: Vec<TcpStream> = (0..number).map(open).collect::<Result<_>>()?;
    for _ in 0..5 {
        for client in &mut clients {
            client.read_exact(&mut [0; 16 << 10])?;
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(clients)
}

/// What flows through a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// 1 KiB to the service and back again, one at a time.
    Messages,
    /// As much as comes.
    Bulk,
}

const MESSAGE: usize = 1 << 10;
const PIECE: usize = 256 << 10;

/// A service that switches protocols and then sends as much as is taken, or what it is sent. It ends with the process.
pub fn tunnel_service(flow: Flow) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || answer(connection, flow));
        }
    });
    Ok(port)
}

fn answer(connection: TcpStream, flow: Flow) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    // The answer to the one key that is ever sent: RFC 6455 §1.3.
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    reader.get_mut().write_all(answer.as_bytes())?;
    let (mut message, piece) = ([0; MESSAGE], vec![b'x'; PIECE]);
    loop {
        match flow {
            Flow::Messages => {
                reader.read_exact(&mut message)?;
                reader.get_mut().write_all(&message)?;
            }
            Flow::Bulk => reader.get_mut().write_all(&piece)?,
        }
    }
}

/// Sends through so many tunnels for so long; how many messages came back, or bytes.
pub fn tunnels(address: SocketAddr, flow: Flow, number: usize, seconds: u32) -> Result<f64> {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let open: Vec<_> = (0..number).map(|_| tunnel(address)).collect::<Result<_>>()?;
    let senders: Vec<_> = open
        .into_iter()
        .map(|mut stream| {
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            thread::spawn(move || -> std::io::Result<()> {
                let (mut message, mut piece) = ([b'm'; MESSAGE], vec![0; PIECE]);
                while !stop.load(Relaxed) {
                    count.fetch_add(
                        match flow {
                            Flow::Messages => {
                                stream.write_all(&message)?;
                                stream.read_exact(&mut message)?;
                                1
                            }
                            Flow::Bulk => stream.read(&mut piece)? as u64,
                        },
                        Relaxed,
                    );
                }
                Ok(())
            })
        })
        .collect();
    thread::sleep(Duration::from_secs(seconds.into()));
    stop.store(true, Relaxed);
    for sender in senders {
        sender.join().expect("it does not panic")?;
    }
    Ok(count.load(Relaxed) as f64)
}

fn tunnel(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let offer = format!(
        "GET /socket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    (&stream).write_all(offer.as_bytes())?;
    // Byte by byte: what follows the head is the tunnel's.
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        (&stream).read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "no tunnel: {}", String::from_utf8_lossy(&head));
    Ok(stream)
}

/// What many connections saw on which requests are sent at a fixed rate, however long the answers take.
#[derive(Clone, Copy, Debug)]
pub struct Paced {
    pub requests: f64,
    pub p50: Duration,
    pub p99: Duration,
}

/// Asks so often a second in all, over each of these connections in turn.
pub fn paced(connections: Vec<TcpStream>, rate: u32, seconds: u32) -> Result<(Paced, Vec<TcpStream>)> {
    let every = Duration::from_secs_f64(connections.len() as f64 / f64::from(rate));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut times, mut open) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let begin = tokio::time::Instant::now() + Duration::from_millis(100);
        let end = begin + Duration::from_secs(seconds.into());
        let one = |number: usize, stream: TcpStream| async move {
            stream.set_nonblocking(true)?;
            let mut stream = tokio::net::TcpStream::from_std(stream)?;
            let (mut due, mut times) = (begin + Duration::from_secs(1) * u32::try_from(number)? / rate, Vec::new());
            while due < end {
                // What is late since the answer before was late is counted from when it was due; a timer that is late is
                // the clock's.
                let late = tokio::time::Instant::now() > due;
                tokio::time::sleep_until(due).await;
                let asked = if late { due } else { tokio::time::Instant::now() };
                stream.write_all(ASK).await?;
                ensure!(stream.read(&mut [0; 4096]).await? > 0, "a connection was closed");
                times.push(asked.elapsed());
                due += every;
            }
            Ok((times, stream.into_std()?))
        };
        let tasks: Vec<_> =
            connections.into_iter().enumerate().map(|(number, it)| tokio::spawn(one(number, it))).collect();
        for task in tasks {
            let (its, stream) = task.await??;
            stream.set_nonblocking(false)?;
            times.extend(its);
            open.push(stream);
        }
        anyhow::Ok(())
    })?;
    times.sort_unstable();
    let of = |share: usize| times.get(times.len() * share / 100).copied().context("no answers");
    Ok((Paced { requests: times.len() as f64, p50: of(50)?, p99: of(99)? }, open))
}

/// Connections on which one request was answered, and nothing more is asked.
pub fn idle(address: SocketAddr, number: usize) -> Result<Vec<TcpStream>> {
    let open = |_| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(ASK)?;
        ensure!(stream.read(&mut [0; 4096])? > 0, "no answer");
        Ok(stream)
    };
    (0..number).map(open).collect()
}
