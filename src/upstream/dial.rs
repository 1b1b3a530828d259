//! From a host name to a connected socket, or to the [`Failure`] that a diagnosis can explain.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;

use super::strays::Strays;
use crate::evidence::{Failure, Scheme, Stray, Upstream};
use crate::phrase::{Phrase, phrase};
use crate::readiness::single_label;
use crate::tls::{self, Protocols, Stream, Towards};

/// Silence after which the upstream's kernel is asked whether the connection still exists, then how often and how many
/// times. A container that was taken off its network closes nothing; a request that it has taken is given up after 11 s,
/// within the patience of a program.
const ALIVE_AFTER: Duration = Duration::from_secs(5);
const ALIVE_EVERY: Duration = Duration::from_secs(2);
const ALIVE_TIMES: u32 = 3;

/// Says whether an address lies in one of our own networks.
pub type Inside = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Connects to the upstream.
#[derive(Clone)]
pub struct Dialer {
    upstream: Upstream,
    timeout: Duration,
    inside: Option<Inside>,
    tls: Option<Towards>,
    strays: Strays,
}

/// RFC 8305 §5 recommends it: long against an answer on a local network, short for a person.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// When the process is out of file descriptors.
const FILES_AGAIN: Duration = Duration::from_millis(50);
/// Of one name; more are not tried.
const ADDRESSES_MOST: usize = 16;

impl Dialer {
    /// `timeout` covers one attempt as a whole: name, connection and, with `tls`, its handshake. With `inside`, a single-label name must
    /// resolve to an address for which it is true: a container engine hands names that it does not know to the
    /// host's resolver, and whatever stranger that one knows under the name would get the users' cookies.
    pub fn new(upstream: Upstream, timeout: Duration, inside: Option<Inside>, tls: Option<Towards>) -> Self {
        Self { upstream, timeout, inside, tls, strays: Strays::default() }
    }

    /// Resolves the name afresh (a recreated container has a new address, and the engine's resolver says 600 s for
    /// the old one) and tries its addresses in turn: the next as soon as one has failed, or has not answered in
    /// a quarter of a second; the first that answers wins. Over TLS, `protocols` are offered.
    pub async fn connect(&self, protocols: Protocols) -> Result<Stream, Failure> {
        let deadline = Instant::now() + self.timeout;
        let addresses = self.resolve(deadline).await?;
        match *addresses {
            [only] => self.attempt(only, protocols, deadline).await,
            _ => self.attempt_any(addresses, protocols, deadline).await,
        }
    }

    async fn attempt_any(
        &self,
        mut addresses: Vec<SocketAddr>,
        protocols: Protocols,
        deadline: Instant,
    ) -> Result<Stream, Failure> {
        addresses.truncate(ADDRESSES_MOST);
        self.strays.put_last(&mut addresses);
        let mut underway = FuturesUnordered::new();
        let mut begun: Vec<(SocketAddr, Instant)> = Vec::new();
        let mut failed: Vec<(SocketAddr, Failure)> = Vec::new();
        let mut next = addresses.iter();
        loop {
            let started = next.next().map(|address| {
                underway.push(self.attempt(*address, protocols, deadline).map(|ended| (*address, ended)));
                begun.push((*address, Instant::now()));
            });
            let impatience = sleep_until(Instant::now() + ATTEMPT_DELAY);
            tokio::select! {
                biased;
                Some((address, ended)) = underway.next() => match ended {
                    Ok(stream) => {
                        let is_silent = |(other, since): &(SocketAddr, Instant)| {
                            let has_failed = failed.iter().any(|(it, _)| it == other);
                            *other != address && !has_failed && since.elapsed() >= ATTEMPT_DELAY
                        };
                        let silent: Vec<_> = begun.iter().filter(|it| is_silent(it)).map(|(it, _)| *it).collect();
                        failed.extend(silent.into_iter().map(|it| (it, Failure::ConnectTimeout)));
                        self.strays.learn(address.ip(), failed, &addresses);
                        return Ok(stream);
                    }
                    Err(failure) => failed.push((address, failure)),
                },
                () = impatience, if started.is_some() => {}
                else => {}
            }
            if underway.is_empty() && next.len() == 0 {
                return Err(failed.pop().map_or(Failure::ConnectTimeout, |(_, failure)| failure));
            }
        }
    }

    /// The addresses of the name that were found to lead nowhere.
    pub fn strays(&self) -> Arc<[Stray]> {
        self.strays.known()
    }

    async fn attempt(&self, address: SocketAddr, protocols: Protocols, end: Instant) -> Result<Stream, Failure> {
        let connect = async {
            loop {
                match TcpStream::connect(address).await {
                    // That says nothing about the upstream.
                    Err(error) if is_out_of_files(&error) => sleep(FILES_AGAIN).await,
                    ended => return ended,
                }
            }
        };
        match timeout_at(end, connect).await {
            Ok(Ok(stream)) => self.encrypt(stream, protocols, end).await,
            Ok(Err(error)) => Err(refusal(&error, address)),
            Err(_) => Err(Failure::ConnectTimeout),
        }
    }

    /// Whether a connection that was made here speaks HTTP/2.
    pub fn speaks_http2(&self, stream: &Stream) -> bool {
        match self.upstream.scheme {
            Scheme::Http => false,
            Scheme::Https => stream.is_h2(),
            Scheme::H2c => true,
        }
    }

    /// How long a connection may take to come about.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What the upstream is configured to speak.
    pub fn scheme(&self) -> Scheme {
        self.upstream.scheme
    }

    async fn encrypt(&self, stream: TcpStream, protocols: Protocols, end: Instant) -> Result<Stream, Failure> {
        // Requests are written whole; waiting for more to coalesce would only delay them.
        let _ = stream.set_nodelay(true);
        let keepalive = TcpKeepalive::new().with_time(ALIVE_AFTER).with_interval(ALIVE_EVERY).with_retries(ALIVE_TIMES);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let Some(tls) = &self.tls else {
            return Ok(Stream::Plain(stream));
        };
        // Boxed, or every request would have room for a handshake.
        let handshake = Box::pin(TlsConnector::from(tls.newest(protocols)).connect(tls.name.clone(), stream));
        match timeout_at(end, handshake).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream.into()))),
            // One that accepts and closes, as an engine's port forwarder does, is away rather than at odds with us.
            Ok(Err(error)) => Err(tls::explain(&error).map_or(Failure::ClosedEarly, |reason| Failure::Tls { reason })),
            Err(_) => Err(Failure::Tls { reason: phrase!("it did not finish the handshake in time") }),
        }
    }

    async fn resolve(&self, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
        let Upstream { host, port, .. } = &self.upstream;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, *port).into()]);
        }
        let unresolved = |reason: Phrase| Failure::NameNotResolved { reason };
        let addresses: Vec<SocketAddr> = match timeout_at(deadline, lookup_host((&**host, *port))).await {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => return Err(unresolved(error.to_string().into())),
            Err(_) => {
                return Err(unresolved(phrase!("the resolver did not answer in {0}", format!("{:?}", self.timeout))));
            }
        };
        match &self.inside {
            Some(inside) if single_label(host) => ours(addresses, inside),
            Some(_) | None if addresses.is_empty() => Err(unresolved(phrase!("the name has no address"))),
            Some(_) | None => Ok(addresses),
        }
    }
}

/// Those of a name's addresses that lie in our own networks.
fn ours(addresses: Vec<SocketAddr>, inside: &Inside) -> Result<Vec<SocketAddr>, Failure> {
    let Some(first) = addresses.first().copied() else {
        return Err(Failure::NameNotResolved { reason: phrase!("the name has no address") });
    };
    let ours: Vec<_> = addresses.into_iter().filter(|address| inside(address.ip())).collect();
    if ours.is_empty() { Err(Failure::NameResolvedOutside { address: first.ip() }) } else { Ok(ours) }
}

fn is_out_of_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

fn refusal(error: &io::Error, address: SocketAddr) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused { address: address.ip() },
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::Unreachable { reason: error.to_string().into() },
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn dialer(host: &str, port: u16, inside: Option<Inside>) -> Dialer {
        let upstream = Upstream::at(Scheme::Http, host, port);
        Dialer::new(upstream, Duration::from_secs(2), inside, None)
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_tried() {
        // `localhost` is ::1 and 127.0.0.1 on most machines, and only one of them listens here.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        assert!(dialer("localhost", port, None).connect(Protocols::Http1).await.is_ok());
    }

    #[tokio::test]
    async fn a_connection_is_asked_whether_it_still_exists() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let stream = dialer("127.0.0.1", port, None).connect(Protocols::Http1).await.expect("it listens");
        let Stream::Plain(stream) = stream else { panic!("not asked for TLS") };
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("an option"));
        let times = (socket.tcp_keepalive_time().expect("one"), socket.tcp_keepalive_interval().expect("another"));
        assert_eq!(times, (ALIVE_AFTER, ALIVE_EVERY));
        assert_eq!(socket.tcp_keepalive_retries().expect("a third"), ALIVE_TIMES);
    }

    #[tokio::test]
    async fn a_refused_connection_names_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let failure = dialer("127.0.0.1", port, None).connect(Protocols::Http1).await.expect_err("nobody listens");
        assert_eq!(failure, Failure::Refused { address: "127.0.0.1".parse().expect("an address") });
    }

    #[tokio::test]
    async fn an_unknown_name_is_not_resolved() {
        let failure =
            dialer("no-such-host.invalid", 80, None).connect(Protocols::Http1).await.expect_err("RFC 6761 reserves it");
        assert!(matches!(failure, Failure::NameNotResolved { .. }), "{failure:?}");
    }

    /// An address of the loopback network at this port.
    fn loopback(last: u8, port: u16) -> SocketAddr {
        ([127, 0, 0, last], port).into()
    }

    async fn listens(address: SocketAddr) -> TcpListener {
        TcpListener::bind(address).await.expect("a free port")
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_no_loss_of_time_and_becomes_the_odd_one_out() {
        let listener = listens(loopback(3, 0)).await;
        let port = listener.local_addr().expect("bound").port();
        let dialer = dialer("grafana", port, None);
        let both = || vec![loopback(2, port), loopback(3, port)];
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(dialer.attempt_any(both(), Protocols::Http1, deadline).await.is_ok());
        let stray = Stray { address: loopback(2, 0).ip(), failure: Failure::Refused { address: loopback(2, 0).ip() } };
        assert_eq!(*dialer.strays(), [stray]);
        let mut ordered = both();
        dialer.strays.put_last(&mut ordered);
        assert_eq!(ordered, [loopback(3, port), loopback(2, port)], "it is tried last from now on");
    }

    #[tokio::test]
    async fn an_address_that_swallows_the_attempt_does_not_keep_the_other_waiting() {
        let deaf = tokio::net::TcpSocket::new_v4().expect("a socket");
        deaf.bind(loopback(2, 0)).expect("a free port");
        let deaf = deaf.listen(1).expect("it listens");
        let address = deaf.local_addr().expect("bound");
        // It accepts nobody: once its queue is full the kernel drops what else comes.
        let mut queued = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            queued.push(stream);
        }
        let listener = listens(loopback(3, address.port())).await;
        let dialer = dialer("grafana", address.port(), None);
        let both = || vec![address, listener.local_addr().expect("bound")];
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(dialer.attempt_any(both(), Protocols::Http1, deadline).await.is_ok());
        assert_eq!(*dialer.strays(), [Stray { address: address.ip(), failure: Failure::ConnectTimeout }]);
    }

    #[tokio::test]
    async fn where_all_addresses_answer_or_none_does_nobody_is_the_odd_one_out() {
        let first = listens(loopback(2, 0)).await;
        let port = first.local_addr().expect("bound").port();
        let second = listens(loopback(3, port)).await;
        let dialer = dialer("grafana", port, None);
        let both = || vec![loopback(2, port), loopback(3, port)];
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(dialer.attempt_any(both(), Protocols::Http1, deadline).await.is_ok());
        assert!(dialer.strays().is_empty());
        drop((first, second));
        let failure = dialer.attempt_any(both(), Protocols::Http1, deadline).await.expect_err("nobody listens");
        assert!(matches!(failure, Failure::Refused { .. }), "{failure:?}");
        assert!(dialer.strays().is_empty());
    }

    #[test]
    fn of_a_names_addresses_only_those_in_our_networks_are_connected_to() {
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let (mine, stranger) = (address("172.20.0.3:3000"), address("192.0.2.7:3000"));
        let inside: Inside = Arc::new(move |address| address == mine.ip());
        assert_eq!(ours(vec![stranger, mine], &inside), Ok(vec![mine]));
        assert_eq!(ours(vec![stranger], &inside), Err(Failure::NameResolvedOutside { address: stranger.ip() }));
        assert!(matches!(ours(vec![], &inside), Err(Failure::NameNotResolved { .. })));
    }
}
