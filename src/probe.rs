//! One question to the upstream: would a request pass now?

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::evidence::{Failure, Stray};
use crate::retry::Connection;
use crate::tls::{Protocols, Stream};
use crate::upstream::half_open::HalfOpen;
use crate::upstream::{Dialer, failure, lease, tongue};

/// A healthy service answers its health path in milliseconds; one that needs longer is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// In bytes: as much as passes of an answer's head. hyper's own bound is three times that, and interim heads without an end
/// would be read so much at once.
const HEAD_MOST: usize = 128 << 10;

/// The address has just refused a connection, so it is near.
const PORT_TIMEOUT: Duration = Duration::from_millis(250);

/// Something that can ask. The watcher's tests answer by script instead.
pub trait Probe {
    /// Asks once. Bounded in time.
    fn probe(&self) -> impl Future<Output = Result<(), Failure>>;

    /// The first of these ports that accepts connections at an address. Bounded in time.
    fn first_open(&self, _address: IpAddr, _ports: Vec<u16>) -> impl Future<Output = Option<u16>> {
        std::future::ready(None)
    }

    /// Addresses of the upstream that were found to lead nowhere, by a probe or by a request.
    fn strays(&self) -> Arc<[Stray]> {
        Arc::new([])
    }
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
    fn strays(&self) -> Arc<[Stray]> {
        self.dialer.strays()
    }

    async fn first_open(&self, address: IpAddr, ports: Vec<u16>) -> Option<u16> {
        for port in ports {
            if let Ok(Ok(_)) = timeout(PORT_TIMEOUT, TcpStream::connect((address, port))).await {
                return Some(port);
            }
        }
        None
    }

    async fn probe(&self) -> Result<(), Failure> {
        let stream = self.dialer.connect(Protocols::Any).await?;
        let Some((path, host)) = &self.get else {
            return Ok(());
        };
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = Uri::from(path.clone());
        request.headers_mut().insert(HOST, host.clone());
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("anteroom-probe"));
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let asked = timeout(PROBE_TIMEOUT, self.ask(stream, request));
        let (status, start) =
            asked.await.map_err(|_| Failure::NoAnswer)?.map_err(|error| failure(&error, Connection::New))?;
        match status {
            status if status.is_success() || status.is_redirection() => Ok(()),
            StatusCode::BAD_REQUEST if tongue::asks_for_tls(&start) => Err(Failure::SpeaksTls),
            status => Err(Failure::NotReady { status: status.as_u16() }),
        }
    }
}

impl Prober {
    /// The status, and where it is 400 the beginning of what is said to it.
    async fn ask(&self, stream: Stream, request: Request<Empty<Bytes>>) -> hyper::Result<(StatusCode, Bytes)> {
        if self.dialer.speaks_http2(&stream) {
            let (mut head, body) = request.into_parts();
            lease::write_for_http2(&mut head, self.dialer.scheme());
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            driven(connection, read(sender.send_request(Request::from_parts(head, body)))).await
        } else {
            let (mut sender, connection) =
                http1::Builder::new().max_buf_size(HEAD_MOST).handshake(TokioIo::new(HalfOpen::new(stream))).await?;
            driven(connection, read(sender.send_request(request))).await
        }
    }
}

async fn read(answer: impl Future<Output = hyper::Result<Response<Incoming>>>) -> hyper::Result<(StatusCode, Bytes)> {
    let mut answer = answer.await?;
    let is_refusal = answer.status() == StatusCode::BAD_REQUEST;
    let first = if is_refusal { answer.body_mut().frame().await } else { None };
    let start = first.and_then(Result::ok).and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    Ok((answer.status(), start))
}

/// Waits for an answer on a connection that is driven here rather than in a task, so that a probe that is dropped takes
/// its connection along.
async fn driven<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    answer: impl Future<Output = hyper::Result<T>>,
) -> hyper::Result<T> {
    let mut answer = pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}
