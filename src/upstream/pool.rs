//! Connections to the upstream that wait for their next request, one pool per worker thread: one of HTTP/1.1 for each
//! request that runs, and one of HTTP/2 for many.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Either;
use hyper::client::conn::{http1, http2};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::Dialer;
use super::body::RequestBody;
use super::failure::failure;
use super::half_open::HalfOpen;
use super::heads::{Watched, Wide};
use super::lease::{Alone, Cut, Lease, Shared, Way};
use super::places::{Place, Places, Waits};
use super::tasks::Tasks;
use super::trailers::{Slot, Trailing};
use crate::evidence::{Failure, Scheme};
use crate::lock::lock;
use crate::retry;
use crate::tls::{Protocols, Stream};

/// More idle connections than this are closed. As many as run at once are kept, or each request of a crowd would need a
/// new one; what is left of a burst goes with time.
const IDLE_MOST: usize = 8_192;
/// Servers close idle connections after a minute or so; ours should go first, so that no request meets the closing.
const IDLE_LONGEST: Duration = Duration::from_secs(50);

/// How often a request that waits for a place looks for a connection with room.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// In bytes: an answer's head beyond it is refused. As much as a client's may be.
const HEAD_MOST: usize = 64 << 10;
/// What is read at once of an answer's body, in bytes, if it comes that fast and [may be](Wide), and gathered of a request's
/// that is not taken as fast. With half of it, what is not [hauled](super::haul) takes a quarter more CPU time; with twice as
/// much, no less.
const PIECE_MOST: usize = 128 << 10;
/// Requests at once on one HTTP/2 connection, if the upstream allows as many; it may wish for fewer. Further ones get
/// a further connection, since they may be streams that never end.
const STREAMS_MOST: usize = 100;
/// Of one answer that its client has yet to take, in bytes. The connection has room for that of all its streams, or a
/// few clients that do not read would keep all others waiting.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = SMALL_FRAMES * STREAM_WINDOW * STREAMS_MOST as u32;
/// How many times that. h2 closes a connection once the frames that clients have yet to take come short of 256 bytes by half
/// of its window in all, less what larger frames are beyond that, whosever they are. So all of them may leave frames of 52
/// bytes; without this it would be 171. What they take is bounded by the streams' windows: a frame has some hundred bytes
/// beside its own.
const SMALL_FRAMES: u32 = 8;
/// Streams that were reset, of which h2 remembers so many for a second. What the upstream has sent meanwhile is answered by
/// another reset for those that it does not.
const RESET_MOST: usize = 1024;
/// Of those resets, in the life of a connection: beyond it is closed. Some hundred bytes each for an upstream that reads none.
const LATE_MOST: usize = 1 << 16;

/// Connections that wait for their next request.
///
/// The locks are private to one worker thread and never held across an await, so nobody ever waits for them; they
/// are there because hyper's HTTP/2 wants requests to be `Send`.
pub struct Pool {
    dialer: Dialer,
    /// The newest run that was heard of. A connection to a former one leads nowhere.
    run: AtomicU64,
    idle: Mutex<VecDeque<Idle<Alone>>>,
    shared: Mutex<Vec<Idle<Shared>>>,
    stir: Notify,
    wide: Wide,
    places: Arc<Places>,
    /// How many of those who wait for a place do so here.
    waiting: AtomicUsize,
    /// A connection has come to rest.
    returned: Notify,
}

/// A connection, since when it waits, and to which run of the target it leads.
struct Idle<C> {
    connection: C,
    since: Instant,
    run: u64,
}

impl Idle<Shared> {
    /// Whether it is kept: while it is in use, which is no waiting, and a while longer.
    fn stays(&mut self, now: Instant) -> bool {
        if self.connection.requests() > 0 {
            self.since = now;
        }
        now - self.since < IDLE_LONGEST && !self.connection.sender.is_closed()
    }
}

impl Pool {
    /// An empty pool. Each of its connections takes one of `places`.
    pub fn new(dialer: Dialer, places: Arc<Places>) -> Arc<Self> {
        Arc::new(Self {
            dialer,
            run: AtomicU64::new(0),
            idle: Mutex::default(),
            shared: Mutex::default(),
            stir: Notify::new(),
            wide: Wide::default(),
            places,
            waiting: AtomicUsize::new(0),
            returned: Notify::new(),
        })
    }

    /// What a request may go over that `offers` to switch protocols, or does not. Only HTTP/1.1 can switch to a WebSocket with
    /// every server; one that speaks HTTP/2 unasked gets no offer.
    pub fn protocols(&self, offers: bool) -> Protocols {
        if offers && self.dialer.scheme() != Scheme::H2c { Protocols::Http1 } else { Protocols::Any }
    }

    /// Takes a connection that speaks one of `protocols`, if there is one. `run` is the target's: a connection to a
    /// former run is dead, even if nothing has said so yet.
    pub fn take(self: &Arc<Self>, run: u64, protocols: Protocols) -> Option<Lease> {
        let shared = match protocols {
            Protocols::Any => self.take_shared(run).map(|shared| Way::Shared(shared, None)),
            Protocols::Http1 => None,
        };
        let way = shared.or_else(|| self.take_idle(run).map(Way::Alone))?;
        Some(self.lease(way, retry::Connection::Pooled, run))
    }

    /// Makes a new connection. Where there is no place for one it takes what comes to rest first, if it may be `pooled`.
    pub async fn connect(self: &Arc<Self>, run: u64, protocols: Protocols, pooled: bool) -> Result<Lease, Failure> {
        let place = match self.places.try_take() {
            Some(place) => place,
            None => match self.place_or_pooled(run, protocols, pooled).await {
                Either::Left(place) => place,
                Either::Right(lease) => return Ok(lease),
            },
        };
        let stream = self.dialer.connect(protocols).await?;
        let way = if self.dialer.speaks_http2(&stream) {
            Way::Shared(self.http2(stream, run, place).await?, None)
        } else {
            let peer = stream.peer();
            Way::Alone(self.http1(HalfOpen::new(stream).with_place(place), peer).ok_or(Failure::ClosedEarly)?)
        };
        Ok(self.lease(way, retry::Connection::New, run))
    }

    /// Makes hyper speak HTTP/1.1 over a connection, which it may have done before.
    pub(super) fn http1(&self, stream: HalfOpen<Stream>, peer: Option<IpAddr>) -> Option<Alone> {
        let (trailers, watched) = (Slot::default(), Watched::new(stream, &self.wide));
        let watcher = watched.watcher();
        let line: Line = TokioIo::new(Trailing::new(watched, trailers.clone()));
        let (sender, connection) = http1::Builder::new()
            .max_header_size(HEAD_MOST)
            .max_buf_size(PIECE_MOST)
            .handshake::<_, RequestBody>(line)
            // Nothing is waited for.
            .now_or_never()?
            .ok()?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Some(Alone { sender, trailers, watcher, peer, task: Cut::when_dropped(task.abort_handle()) })
    }

    /// Waits as a client does that there is no room for: it says nothing about the upstream.
    async fn place_or_pooled(self: &Arc<Self>, run: u64, protocols: Protocols, pooled: bool) -> Either<Place, Lease> {
        let _waits = Waits::begin(&self.waiting);
        let mut place = pin!(self.places.take());
        loop {
            if let Some(lease) = pooled.then(|| self.take(run, protocols)).flatten() {
                return Either::Right(lease);
            }
            self.make_room();
            tokio::select! {
                place = &mut place => return Either::Left(place),
                () = self.returned.notified() => {}
                // Of HTTP/2 nobody says that it has room again.
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Whether a connection that could rest gives its place to another worker. While there are requests here that wait, one
    /// in sixteen does: to make each connection anew is dear, and to keep all of them is unfair.
    fn gives_way(&self) -> bool {
        let waiting_here = self.waiting.load(Ordering::Relaxed);
        self.places.waiting() > waiting_here && (waiting_here == 0 || fastrand::u8(..16) == 0)
    }

    /// Closes those that rest.
    fn make_room(&self) {
        lock(&self.idle).clear();
        lock(&self.shared).retain(|idle| idle.connection.requests() > 0);
    }

    fn lease(self: &Arc<Self>, way: Way, connection: retry::Connection, run: u64) -> Lease {
        self.stir.notify_one();
        Lease { way, connection, last: false, pool: Arc::clone(self), run, scheme: self.dialer.scheme() }
    }

    /// The one that was used last, since it is the least likely to be closed by now.
    fn take_idle(&self, run: u64) -> Option<Alone> {
        let mut idle = lock(&self.idle);
        while let Some(Idle { connection, since, run: its }) = idle.pop_back() {
            if its == run && connection.sender.is_ready() && since.elapsed() < IDLE_LONGEST {
                return Some(connection);
            }
        }
        None
    }

    /// One with room for another request.
    fn take_shared(&self, run: u64) -> Option<Shared> {
        let mut shared = lock(&self.shared);
        if shared.is_empty() {
            return None;
        }
        let now = Instant::now();
        shared.retain_mut(|idle| idle.run == run && idle.stays(now));
        let Idle { connection, since, .. } = shared.iter_mut().find(|idle| idle.connection.has_room())?;
        *since = now;
        Some(connection.clone())
    }

    /// From now on only connections to this `run` are kept: others are closed, or get no further request.
    pub fn keep_only(&self, run: u64) {
        if self.run.swap(run, Ordering::Relaxed) == run {
            return;
        }
        lock(&self.idle).retain(|idle| idle.run == run);
        lock(&self.shared).retain(|idle| idle.run == run);
    }

    /// Keeps none of those that wait now: what is said to be gone cannot answer.
    pub fn clear(&self) {
        lock(&self.idle).clear();
        lock(&self.shared).clear();
    }

    /// Gives a connection back once its exchange is over.
    pub(super) fn put(&self, connection: Alone, run: u64) {
        if run < self.run.load(Ordering::Relaxed) || self.gives_way() {
            return;
        }
        self.stir.notify_one();
        self.returned.notify_one();
        let mut idle = lock(&self.idle);
        idle.push_back(Idle { connection, since: Instant::now(), run });
        if idle.len() > IDLE_MOST {
            idle.pop_front();
        }
    }

    /// Ends when a connection was taken or given back since it ended last.
    pub async fn stirs(&self) {
        self.stir.notified().await;
    }

    /// Closes those that have waited for too long, or whose places are wanted. To be called from time to time, as long as
    /// it says that others still wait or may come to, and again once something [stirs](Self::stirs).
    pub fn forget_old(&self) -> bool {
        if self.places.waiting() > 0 {
            self.make_room();
        }
        let now = Instant::now();
        let mut idle = lock(&self.idle);
        while idle.front().is_some_and(|oldest| now - oldest.since > IDLE_LONGEST) {
            idle.pop_front();
        }
        // What a burst took is not reserved for ever.
        let much = idle.len() * 4;
        if idle.capacity() > much {
            idle.shrink_to(much);
        }
        let mut shared = lock(&self.shared);
        shared.retain_mut(|idle| idle.stays(now));
        !idle.is_empty() || !shared.is_empty()
    }

    /// Gives a connection no further requests.
    pub(super) fn forget(&self, connection: &Shared) {
        lock(&self.shared).retain(|idle| !idle.connection.is(connection));
    }

    /// A connection that others may use from now on.
    async fn http2(&self, stream: Stream, run: u64, place: Place) -> Result<Shared, Failure> {
        let (tasks, peer) = (Tasks::new(place), stream.peer());
        let (sender, connection) = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD_MOST as u32)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // None before the upstream has said how many: what is beyond would wait behind streams that may never end.
            .initial_max_send_streams(0)
            .max_concurrent_reset_streams(RESET_MOST)
            // An upstream is not to blame for what it sends for a stream before it hears of the reset.
            .max_local_error_reset_streams(Some(LATE_MOST))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Failure::ClosedEarly)?;
        let (room, uploads, cut) = (Arc::clone(&tasks.room), tasks.uploads.clone(), tasks.cut());
        let (begin, begun) = oneshot::channel();
        tokio::spawn(async move {
            let (mut connection, mut begin) = (pin!(connection), Some(begin));
            let ended = poll_fn(|cx| {
                tasks.hears.register(cx.waker());
                let ended = connection.as_mut().poll(cx);
                tasks.room.store(connection.current_max_send_streams().min(STREAMS_MOST), Ordering::Relaxed);
                if tasks.know_room() {
                    // An error would mean that nobody waits for it any more.
                    let _ = begin.take().map(|begin| begin.send(Ok(())));
                }
                ended
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "upstream connection ended");
                let _ = begin.map(|begin| begin.send(Err(failure(&error, retry::Connection::New))));
            }
        });
        match timeout(self.dialer.timeout(), begun).await {
            Ok(Ok(begun)) => begun?,
            Ok(Err(_)) => return Err(Failure::ClosedEarly),
            // Nothing was asked yet.
            Err(_) => return Err(Failure::ConnectTimeout),
        }
        let connection = Shared::new(sender, peer, room, uploads, cut);
        lock(&self.shared).push(Idle { connection: connection.clone(), since: Instant::now(), run });
        Ok(connection)
    }
}

/// What an HTTP/1.1 connection goes over.
type Line = TokioIo<Trailing<Watched<HalfOpen<Stream>>>>;

/// Closes a connection that has become a tunnel with a reset instead of an end.
pub fn reset(tunnel: Upgraded) {
    if let Ok(parts) = tunnel.downcast::<Line>() {
        parts.io.inner().get_ref().with(|io| io.get_ref().reset_when_closed());
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::evidence::Upstream;

    #[tokio::test]
    async fn what_has_waited_for_too_long_is_closed_though_nobody_asks() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let upstream = Upstream::at(Scheme::Http, "127.0.0.1", port);
        let dialer = Dialer::new(upstream, Duration::from_secs(5), None, None);
        let pool = Pool::new(dialer, Places::new(1));
        let (lease, accepted) = tokio::join!(pool.connect(0, Protocols::Http1, true), listener.accept());
        let (mut served, _) = accepted.expect("a connection");
        pool.stirs().await;
        assert!(!pool.forget_old(), "none waits");
        lease.expect("a connection").give_back(None);
        // Only now there is something to forget, later.
        pool.stirs().await;
        assert!(pool.forget_old());
        assert_eq!(lock(&pool.idle).len(), 1, "it has just begun to wait");

        tokio::time::pause();
        tokio::time::advance(IDLE_LONGEST + Duration::from_millis(1)).await;
        assert!(!pool.forget_old());
        assert_eq!(lock(&pool.idle).len(), 0);
        assert_eq!(served.read(&mut [0]).await.expect("it is closed in good order"), 0);
    }

    #[tokio::test]
    async fn a_connection_of_many_requests_has_waited_since_the_last_of_them_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let dialer = Dialer::new(Upstream::at(Scheme::H2c, "127.0.0.1", port), Duration::from_secs(5), None, None);
        let pool = Pool::new(dialer, Places::new(1));
        let serve = async { h2::server::handshake(listener.accept().await.expect("a connection").0).await };
        let (lease, served) = tokio::join!(pool.connect(0, Protocols::Any, true), serve);
        let (lease, mut served) = (lease.expect("a connection"), served.expect("HTTP/2"));
        tokio::time::pause();
        for _ in 0..2 {
            tokio::time::advance(IDLE_LONGEST).await;
            assert!(pool.forget_old(), "it is in use");
        }
        drop(lease);
        assert!(pool.forget_old(), "it has just begun to wait");
        assert_eq!(lock(&pool.shared).len(), 1);
        tokio::time::advance(IDLE_LONGEST).await;
        assert!(!pool.forget_old());
        assert!(served.accept().await.is_none_or(|asked| asked.is_err()), "it is closed");
    }

    #[tokio::test]
    async fn connections_that_rest_make_room_for_those_of_other_workers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let dialer = Dialer::new(Upstream::at(Scheme::Http, "127.0.0.1", port), Duration::from_secs(5), None, None);
        let places = Places::new(1);
        let [one, other] = [(); 2].map(|()| Pool::new(dialer.clone(), Arc::clone(&places)));
        // Each is stirred by what is taken, and by what comes to rest.
        let lease = one.connect(0, Protocols::Http1, true).await.expect("there is room");
        one.stirs().await;
        lease.give_back(None);
        one.stirs().await;
        assert_eq!(lock(&one.idle).len(), 1);

        let mut second = Box::pin(other.connect(0, Protocols::Http1, true));
        assert!(futures_util::poll!(&mut second).is_pending(), "it has no place");
        assert!(!one.forget_old(), "nobody rests here while another one waits");
        let lease = second.await.expect("there is room");

        let mut third = Box::pin(one.connect(0, Protocols::Http1, true));
        assert!(futures_util::poll!(&mut third).is_pending(), "it has no place");
        lease.give_back(None);
        let lease = third.await.expect("there is room");
        assert_eq!(lock(&other.idle).len(), 0, "nor does it begin to rest");

        // In the same worker it is handed on.
        one.stirs().await;
        let mut fourth = Box::pin(one.connect(0, Protocols::Http1, true));
        assert!(futures_util::poll!(&mut fourth).is_pending(), "it has no place");
        lease.give_back(None);
        let lease = fourth.await.expect("there is one");
        assert_eq!(lease.connection, retry::Connection::Pooled);

        // Whoever does not wait to the end is not waited for.
        assert!(futures_util::poll!(Box::pin(other.connect(0, Protocols::Http1, true))).is_pending());
        one.stirs().await;
        lease.give_back(None);
        one.stirs().await;
        assert_eq!(lock(&one.idle).len(), 1);
    }
}
