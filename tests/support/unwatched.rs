//! The proxy alone, with its own part of the test's thread.

use std::net::SocketAddr;
use std::sync::Arc;

use anteroom::conduit::Pipes;
use anteroom::config::Config;
use anteroom::line::Order;
use anteroom::page::Brand;
use anteroom::proxy::{Proxy, Shared};
use anteroom::readiness::State;
use anteroom::room::{HEADS_MOST, Room};
use anteroom::server::connection::Host;
use anteroom::server::http1::AtHand;
use anteroom::server::turns::Turns;
use anteroom::telemetry::meter::Meter;
use anteroom::upstream::places::Places;
use anteroom::upstream::{Dialer, Pool};
use anteroom::watch::{REPORTS_QUEUED, Report, Snapshot, Subject, first_snapshot};
use tokio::sync::{Semaphore, mpsc, watch};

/// An anteroom whose watcher the test plays.
pub struct Unwatched {
    pub address: SocketAddr,
    publish: watch::Sender<Arc<Snapshot>>,
    room: Arc<Room>,
    pub reports: mpsc::Receiver<Report>,
}

impl Unwatched {
    /// It says that the upstream is ready.
    pub async fn start(config: Config) -> Self {
        Self::start_with(config, AtHand::default(), Pipes::default(), |_| {}).await
    }

    /// The same, with places for so many connections to the upstream.
    pub async fn start_among(config: Config, places: Arc<Places>) -> Self {
        Self::begin(config, AtHand::default(), Pipes::default(), places, |_| {}).await
    }

    /// The same, with so many places at hand and pipes, and something that happens between listening at an address and
    /// accepting anybody there.
    pub async fn start_with(config: Config, at_hand: AtHand, pipes: Pipes, before: impl FnOnce(SocketAddr)) -> Self {
        Self::begin(config, at_hand, pipes, Places::new(Semaphore::MAX_PERMITS), before).await
    }

    async fn begin(
        config: Config,
        at_hand: AtHand,
        pipes: Pipes,
        places: Arc<Places>,
        before: impl FnOnce(SocketAddr),
    ) -> Self {
        let subject = Subject {
            upstream: config.upstream.clone(),
            booted_at: None,
            grace: config.grace,
            clock: std::time::SystemTime::now,
        };
        let (publish, snapshots) = watch::channel(first_snapshot(&subject));
        let (report, reports) = mpsc::channel(REPORTS_QUEUED);
        let dialer = Dialer::new(config.upstream.clone(), config.connect_timeout, None, None);
        let pool = Pool::new(dialer, places);
        let (limits, meter) = (config.limits, Arc::<Meter>::default());
        let room = Room::new(config.max_held, HEADS_MOST);
        let shared = Shared::new(config, Brand::default(), Arc::clone(&room), report, Arc::clone(&meter));
        let host = Host {
            proxy: Arc::new(Proxy::new(shared, pool, snapshots)),
            limits,
            meter,
            tls: None,
            at_hand,
            turns: Turns::default(),
            pipes,
        };
        let permits = Arc::new(Semaphore::new(limits.connections));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        before(address);
        tokio::spawn(anteroom::server::run(listener, Arc::new(host), permits, std::future::pending()));
        let unwatched = Self { address, publish, room, reports };
        unwatched.says_that_it_is_ready(1);
        unwatched
    }

    pub fn says_that_it_is_ready(&self, sequence: u64) {
        let state = State::Ready { since: std::time::Instant::now(), despite: None };
        let first = Snapshot::clone(&self.publish.borrow());
        self.publish.send_replace(Arc::new(Snapshot { sequence, run: 1, state, ..first }));
        self.room.obey(Order::Go, sequence);
    }
}
