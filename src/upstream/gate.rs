//! `Expect: 100-continue` (RFC 9110 §10.1.1): a body that waits until the upstream wants it.
//!
//! hyper's server writes `100 Continue` when the body is read first, and its client reads the body at once. So the
//! reading waits at a gate, and the upstream decides: its `100` opens it, and a final answer leaves it shut.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::EXPECT;
use http::{HeaderMap, Request, StatusCode};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::body::RequestBody;

/// How long an upstream may say nothing before it gets the body unasked. It need not know of expectations, and no
/// client waits for ever (RFC 9110 §10.1.1); curl and Go wait as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a request's body is to be sent only when it is asked for.
pub fn is_expected(head: &HeaderMap) -> bool {
    head.get_all(EXPECT).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Shut until [`Gate::go_ahead`] is notified, or the patience is over.
pub(super) struct Gate {
    go_ahead: Arc<Notify>,
    opened: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Gate {
    pub(super) fn shut() -> Self {
        let go_ahead = Arc::new(Notify::new());
        let asked = Arc::clone(&go_ahead);
        let opened = async move {
            let _ = timeout(PATIENCE, asked.notified()).await;
        };
        Self { go_ahead, opened: Some(Box::pin(opened)) }
    }

    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(opened) = &mut self.opened {
            ready!(opened.as_mut().poll(cx));
            self.opened = None;
        }
        Poll::Ready(())
    }

    fn go_ahead(&self) -> Arc<Notify> {
        Arc::clone(&self.go_ahead)
    }
}

/// Lets the upstream's `100 Continue` open the gate of a request's body, if it has one.
pub fn opened_by_upstream(request: &mut Request<RequestBody>) {
    let Some(go_ahead) = request.body().gate().map(Gate::go_ahead) else { return };
    hyper::ext::on_informational(request, move |answer| {
        if answer.status() == StatusCode::CONTINUE {
            go_ahead.notify_one();
        }
    });
}
