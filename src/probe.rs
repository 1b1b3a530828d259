//! One question to the upstream: would a request pass now?

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::evidence::Failure;
use crate::tls::{self, Protocols};
use crate::upstream::Dialer;

/// A healthy service answers its health path in milliseconds; one that needs longer is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Something that can ask. The watcher's tests answer by script instead.
pub trait Probe {
    /// Asks once. Bounded in time.
    fn probe(&self) -> impl Future<Output = Result<(), Failure>>;
}

/// Asks by connecting, and by a GET where a ready path is set.
pub struct Prober {
    dialer: Dialer,
    get: Option<(PathAndQuery, HeaderValue)>,
}

impl Prober {
    /// `get` is the ready path together with the `Host` to ask it with.
    pub fn new(dialer: Dialer, get: Option<(PathAndQuery, HeaderValue)>) -> Self {
        Self { dialer, get }
    }
}

impl Probe for Prober {
    async fn probe(&self) -> Result<(), Failure> {
        let stream = self.dialer.connect(Protocols::Http1).await?;
        let Some((path, host)) = &self.get else {
            return Ok(());
        };
        let asked = async {
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|_| Failure::ClosedEarly)?;
            let mut request = Request::new(Empty::<Bytes>::new());
            *request.uri_mut() = Uri::from(path.clone());
            request.headers_mut().insert(HOST, host.clone());
            request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("anteroom-probe"));
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            let mut answer = std::pin::pin!(sender.send_request(request));
            // Driven here rather than in a task, so that a probe that is dropped takes its connection along.
            let answer = tokio::select! {
                answer = &mut answer => answer,
                _ = connection => answer.await,
            };
            answer.map_err(|error| failure(&error))
        };
        let answer = timeout(PROBE_TIMEOUT, asked).await.map_err(|_| Failure::NoAnswer)??;
        match answer.status() {
            status if status.is_success() || status.is_redirection() => Ok(()),
            status => Err(Failure::NotReady { status: status.as_u16() }),
        }
    }
}

/// What a failed exchange says about the upstream.
pub fn failure(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::NotHttp { reason: error.to_string().into() };
    }
    // In TLS 1.3 the other side refuses our certificate only after we have begun to speak (RFC 8446 §4.4.2.4).
    let reason = error.source().and_then(|source| tls::explain(source.downcast_ref()?));
    reason.map_or(Failure::ClosedEarly, |reason| Failure::Tls { reason })
}
