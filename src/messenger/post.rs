//! One attempt to deliver a message: a connection of its own, one POST, and nothing but the answer's status counts.
//! Redirects are not followed: whoever the receiver points at was not chosen by the operator.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::outbox::Letter;
use super::signature::Key;
use crate::config::Receiver;
use crate::evidence::{Failure, Upstream};
use crate::tls::{Protocols, Towards};
use crate::upstream::Dialer;

/// For name, connection, TLS, and the head of the answer. Whoever takes a message does so within a second; a receiver that is
/// waking up gets more than that, and the next attempt otherwise.
const ATTEMPT: Duration = Duration::from_secs(10);
/// In bytes, of an answer's body, which is thrown away: enough that a receiver that says `ok` sees a proper end.
const READ_MOST: usize = 4 << 10;
/// For that body. The next message waits meanwhile, and whoever says `ok` has said it with the head.
const READ_FOR: Duration = Duration::from_secs(1);
/// In bytes, of an answer's head.
const HEAD_MOST: usize = 16 << 10;
/// In an answer's head.
const FIELDS_MOST: usize = 64;

const TIMESTAMP: HeaderName = HeaderName::from_static("x-anteroom-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("x-anteroom-signature-256");

/// The way to the receiver.
#[derive(Clone)]
pub(super) struct Post {
    dialer: Dialer,
    host: HeaderValue,
    target: PathAndQuery,
    authorization: Option<HeaderValue>,
    key: Option<Arc<Key>>,
}

/// Why a message was not delivered. No text of it holds any of the receiver's URL.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undelivered {
    #[error("no connection: {0:?}")]
    Connect(Failure),
    #[error("no answer: {0}")]
    Exchange(#[source] hyper::Error),
    /// The time for which the receiver wants to be left alone comes along.
    #[error("answered with {0}")]
    Answered(StatusCode, Option<Duration>),
    #[error("not done within {ATTEMPT:?}")]
    TimedOut,
}

impl Undelivered {
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered(_, wait) => *wait,
            Self::Connect(_) | Self::Exchange(_) | Self::TimedOut => None,
        }
    }
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Post {
    pub fn new(receiver: &Receiver, key: Option<Key>, tls: Option<Towards>) -> Self {
        let Receiver { scheme, host, port, target, credentials } = receiver;
        let upstream = Upstream::at(*scheme, Arc::clone(host), *port);
        let authorization = credentials.as_ref().map(|credentials| {
            let basic = format!("Basic {}", BASE64_STANDARD.encode(credentials));
            let mut value = HeaderValue::try_from(basic).expect("base64 is a valid header value");
            value.set_sensitive(true);
            value
        });
        Self {
            host: HeaderValue::try_from(upstream.host_field())
                .expect("a host that was configured is a valid header value"),
            dialer: Dialer::new(upstream, ATTEMPT, None, tls),
            target: target.parse().expect("a path that was configured is a valid path"),
            authorization,
            key: key.map(Arc::new),
        }
    }

    /// Tries once.
    pub async fn deliver(&self, letter: &Letter) -> Result<(), Undelivered> {
        // Dropped, and with it the connection, when this attempt ends.
        let mut driver = JoinSet::new();
        let exchange = timeout(ATTEMPT, self.exchange(letter, &mut driver));
        let answer = exchange.await.unwrap_or(Err(Undelivered::TimedOut))?;
        let (status, wait) = (answer.status(), wait(answer.headers()));
        // Whatever it says, and whether it ends: the status has come.
        drop(timeout(READ_FOR, Limited::new(answer.into_body(), READ_MOST).collect()).await);
        if status.is_success() { Ok(()) } else { Err(Undelivered::Answered(status, wait)) }
    }

    async fn exchange(
        &self,
        letter: &Letter,
        driver: &mut JoinSet<hyper::Result<()>>,
    ) -> Result<Response<Incoming>, Undelivered> {
        let stream = self.dialer.connect(Protocols::Http1).await.map_err(Undelivered::Connect)?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_MOST).max_headers(FIELDS_MOST);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Undelivered::Exchange)?;
        driver.spawn(connection);
        sender.send_request(self.request(letter)).await.map_err(Undelivered::Exchange)
    }

    fn request(&self, letter: &Letter) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(letter.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone().into();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("anteroom/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(letter.content_type));
        headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        if let Some(key) = &self.key {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let signature = HeaderValue::try_from(key.sign(now, &letter.body)).expect("hexadecimal digits");
            headers.insert(TIMESTAMP, HeaderValue::from(now));
            headers.insert(SIGNATURE, signature);
        }
        request
    }
}

/// In seconds; the form with a date (RFC 9110 §10.2.3) is one that no receiver of web hooks uses.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
