//! `/status`: how things stand, as the people who run it see it. The dashboard may live in the very service that is
//! down.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Detail;
use crate::diagnosis::Finding;
use crate::lock::lock;
use crate::page::status::{self, Trouble, Vitals};
use crate::page::{Language, STATE, negotiate};
use crate::readiness::State;
use crate::room::Room;
use crate::telemetry::meter::{Exposition, Meter};
use crate::watch::Snapshot;

/// Answers for the status page.
#[derive(Debug)]
pub struct Status {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    room: Arc<Room>,
    detail: Detail,
    started: Instant,
    last: Mutex<Option<Spell>>,
}

/// A time in which it was not ready.
#[derive(Debug)]
struct Spell {
    /// The gravest root cause so far: what is found while it starts again says little.
    root: Finding,
    began: Instant,
    /// `None` while it lasts.
    ended: Option<Instant>,
}

impl Status {
    /// Here are no visitors, so names, findings and remedies are shown even where pages say less. What programs
    /// printed is shown only where pages do: `full` is also what has it gathered.
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, room: Arc<Room>, detail: Detail) -> Self {
        let detail = detail.max(Detail::State);
        Self { snapshots, room, detail, started: Instant::now(), last: Mutex::default() }
    }

    /// Remembers what was wrong last. Never ends.
    pub(super) async fn follow(&self) {
        let mut snapshots = self.snapshots.clone();
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            self.note(&snapshot);
            if snapshots.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn note(&self, snapshot: &Snapshot) {
        let now = Instant::now();
        let root = match snapshot.state {
            State::Unknown | State::Suspect { .. } => return,
            State::Ready { .. } => None,
            State::Warming { .. } | State::Down { .. } => snapshot.diagnose(None, None).findings.into_iter().next(),
        };
        let mut last = lock(&self.last);
        match (last.as_mut().filter(|spell| spell.ended.is_none()), root) {
            (Some(spell), None) => spell.ended = Some(now),
            (Some(spell), Some(root)) if root.severity >= spell.root.severity => spell.root = root,
            (Some(_), Some(_)) | (None, None) => {}
            (None, Some(root)) => *last = Some(Spell { root, began: now, ended: None }),
        }
    }

    pub(super) fn answer(&self, asked: &HeaderMap, draining: bool, meter: &Meter) -> Response<Full<Bytes>> {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        // This one may be newer than what was followed so far.
        self.note(&snapshot);
        let metrics = meter.tell(Exposition::Text);
        let last = lock(&self.last);
        let vitals = Vitals {
            held: self.room.held(),
            draining,
            uptime: self.started.elapsed(),
            usual: snapshot.usual,
            last: last.as_ref().and_then(|spell| {
                let ended = spell.ended?;
                Some(Trouble { root: &spell.root, lasted: ended - spell.began, ago: ended.elapsed() })
            }),
            metrics: &metrics,
        };
        let (language, format) = (Language::of(asked), negotiate::format(asked));
        let page = status::render(&snapshot.diagnose(None, None), &vitals, self.detail, language, format);
        let mut answer = Response::new(());
        page.describe(answer.headers_mut());
        answer.headers_mut().insert(STATE, HeaderValue::from_static(snapshot.state.name()));
        answer.map(|()| Full::new(page.body.into()))
    }
}
