//! The stage of the socket tests: a real anteroom on port 0, a client and an upstream that are written byte by byte.
#![allow(dead_code, reason = "each test binary uses a part of the stage")]

pub mod certificates;
pub mod encrypted;
pub mod http2;
pub mod message;
pub mod program;
pub mod raw;
pub mod scrape;
pub mod seen;
pub mod unwatched;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anteroom::config::{
    self, Brand, Config, Detail, HostHeader, Limits, LogFormat, Patience, TrustedPeers, UpstreamTls,
};
use anteroom::engine::Sighting;
use anteroom::evidence::{Scheme, Upstream};
use anteroom::instance::Instance;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{oneshot, watch};

use self::raw::Peer;

/// Longer than anything here takes on a slow machine; only a test that fails waits for it.
pub const LONG: Duration = Duration::from_secs(20);

/// All that comes until the end, for a reader who rests after each piece: whoever writes is kept waiting.
pub async fn taken_slowly(stream: &mut (impl tokio::io::AsyncRead + Unpin), rest: Duration) -> String {
    let (mut taken, mut piece) = (Vec::new(), vec![0; 256 << 10]);
    loop {
        let read = soon(tokio::io::AsyncReadExt::read(stream, &mut piece)).await.expect("no reset");
        if read == 0 {
            return String::from_utf8(taken).expect("text");
        }
        taken.extend_from_slice(&piece[..read]);
        tokio::time::sleep(rest).await;
    }
}

/// Waits for something that must happen.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it happens in time")
}

/// What tests run with unless they say otherwise.
pub fn config(upstream: SocketAddr) -> Config {
    let any = "127.0.0.1:0".parse().expect("an address");
    Config {
        listen: any,
        admin_listen: any,
        upstream: Upstream::at(Scheme::Http, upstream.ip().to_string(), upstream.port()),
        patience: Patience { navigation: Duration::from_millis(200), request: LONG, stream: LONG },
        grace: Duration::from_secs(10),
        max_held: 1024,
        replay_bytes: 1 << 20,
        spool: None,
        connect_timeout: Duration::from_secs(2),
        response_timeout: LONG,
        limits: Limits {
            connections: 1024,
            header_bytes: 64 << 10,
            headers: 100,
            header_timeout: LONG,
            idle_timeout: LONG * 5,
            requests: None,
            body_bytes: None,
        },
        host_header: HostHeader::Preserve,
        trusted_peers: trusted_peers("127.0.0.0/8"),
        detail: Detail::State,
        brand: Brand::default(),
        container: None,
        state_dir: None,
        threads: 1.try_into().expect("not zero"),
        log: "info".to_owned(),
        log_format: LogFormat::Text,
        docker_host: None,
        tls: None,
        upstream_tls: UpstreamTls::default(),
        notify: None,
    }
}

/// The value of `ANTEROOM_TRUSTED_PEERS`, as the settings read it.
pub fn trusted_peers(text: &str) -> TrustedPeers {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let input = config::Input {
        flags: &[pair("upstream", "http://a"), pair("trusted-peers", text)],
        environment: &[],
        cores: NonZeroUsize::MIN,
        check_log: |_| Ok(()),
    };
    config::parse(input).expect("right settings").0.trusted_peers
}

/// A running anteroom; stops when it is dropped.
pub struct TestProxy {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// What "the engine" saw.
    pub sightings: watch::Sender<Sighting>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestProxy {
    pub fn start(config: Config) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std_mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let instance = Instance::bind(config).expect("free ports");
                let address = instance.address().expect("bound");
                let admin = instance.admin_address().expect("bound");
                let engine = |link: anteroom::instance::EngineLink| {
                    ready.send((address, admin, link.sightings)).expect("the test waits");
                    std::future::pending()
                };
                instance.run(engine, async { drop(stopped.await) }).await.expect("it runs");
            });
        });
        let (address, admin, sightings) = started.recv_timeout(LONG).expect("it starts");
        Self { address, admin, sightings, stop: Some(stop), thread: Some(thread) }
    }

    /// Connects a client.
    pub async fn client(&self) -> Peer {
        Peer::connect(self.address).await
    }

    /// Begins to stop, as on SIGTERM.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has stopped.
    pub async fn stopped(mut self) {
        self.stop();
        let thread = self.thread.take().expect("not joined yet");
        soon(tokio::task::spawn_blocking(move || thread.join())).await.expect("joined").expect("no panic");
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An upstream whose connections the test serves by hand.
pub struct FakeUpstream {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl FakeUpstream {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address")).await
    }

    /// At an address that was reserved before.
    pub async fn start_at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(address).expect("the address is free");
        Self::listening(socket)
    }

    /// On a socket that is bound already.
    pub fn listening(socket: TcpSocket) -> Self {
        let listener = socket.listen(1024).expect("it listens");
        let address = listener.local_addr().expect("bound");
        Self { listener, address }
    }

    /// The next connection on which something is asked: probes connect and close without a word.
    pub async fn accept(&self) -> Peer {
        let asked = async {
            loop {
                let (stream, _) = self.listener.accept().await.expect("a connection");
                let mut peer = Peer::new(stream);
                if peer.has_data().await {
                    return peer;
                }
            }
        };
        // As a whole: probes never end.
        soon(asked).await
    }

    /// Waits until nobody holds a connection to it open. An end that was closed is not seen here by reading before all
    /// that was sent is read, so the kernel is asked (`man 5 proc`: 01 is ESTABLISHED).
    pub async fn left_alone(&self) {
        let mine = format!(":{:04X} 01", self.address.port());
        soon(async {
            while std::fs::read_to_string("/proc/net/tcp").expect("Linux").lines().any(|line| {
                let columns: Vec<&str> = line.split_ascii_whitespace().collect();
                format!("{} {}", columns[2], columns[3]).ends_with(&mine)
            }) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Answers every request on every connection alike, until it is dropped.
    pub fn answering(self, answer: &'static str) -> Serving {
        let address = self.address;
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = self.listener.accept().await else { return };
                connections.spawn(async move {
                    let mut peer = Peer::new(stream);
                    while peer.has_data().await {
                        peer.head().await;
                        peer.send(answer).await;
                    }
                });
            }
        });
        Serving { address, task }
    }
}

/// An upstream that serves by itself. Dropping it closes its listener and all its connections.
pub struct Serving {
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    /// Stops, and waits until the address is free.
    pub async fn vanish(self) -> SocketAddr {
        self.task.abort();
        let address = self.address;
        soon(async {
            while tokio::net::TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        address
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address at which nobody listens, and which nobody else is given as long as the socket lives. Anteroom may still
/// listen there.
pub fn reserved() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

/// An address at which nobody listens (yet).
pub async fn nobody() -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("bound");
    // Bound and deaf for as long as the test runs, or another test would listen there and get our requests.
    std::mem::forget(socket);
    address
}
