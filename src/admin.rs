//! The admin port: whether anteroom itself lives and takes requests, what it counted, and how things stand.
//!
//! Neither of the first two speaks of the upstream. A container that calls itself unhealthy while Grafana is down would be
//! filtered out by Traefik, or restarted by an orchestrator, at the very moment when its page is needed.

mod status;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::{join, time};

pub use self::status::Status;
use crate::telemetry::meter::{Exposition, Meter};

/// A probe sends its few lines at once; what takes longer only holds a connection.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// A handful of probes and people ask here. The port may be published by mistake, and must not cost memory then.
const MOST_CONNECTIONS: usize = 64;
/// Where there are as many, so long the next one waits for one to end by itself. Whoever asks at once is done in less.
const TO_ASK: Duration = Duration::from_millis(10);
/// After `accept` failed (mostly for want of file descriptors), some time for connections to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers until it is dropped, and what runs then with it.
///
/// - `/healthz`: `200` while the process can answer at all.
/// - `/readyz`: `200` while requests are accepted, `503` once `draining` is true.
/// - `/metrics`: `200` and OpenMetrics, or Prometheus' text where that is not asked for.
/// - `/status`: `200` and a page that renews itself, JSON, or text.
pub async fn run(listener: TcpListener, draining: watch::Receiver<bool>, meter: Arc<Meter>, status: Arc<Status>) {
    join!(accept(listener, draining, meter, Arc::clone(&status)), status.follow());
}

async fn accept(listener: TcpListener, draining: watch::Receiver<bool>, meter: Arc<Meter>, status: Arc<Status>) {
    // Dropped, and with it every connection, when `run` ends.
    let mut connections = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        if connections.len() >= MOST_CONNECTIONS {
            // Of as many as come at once none has been looked at yet.
            let _one_has_ended = time::timeout(TO_ASK, connections.join_next()).await;
        }
        while connections.try_join_next().is_some() {}
        open.retain(|connection| !connection.is_finished());
        // Those that say nothing keep nobody waiting who does.
        if open.len() >= MOST_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let (draining, meter, status) = (draining.clone(), Arc::clone(&meter), Arc::clone(&status));
        open.push_back(connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (method, draining) = (request.method(), *draining.borrow());
                let answer = match request.uri().path() {
                    "/status" if method == Method::GET || method == Method::HEAD => {
                        status.answer(request.headers(), draining, &meter)
                    }
                    _ => answer(&request, draining, &meter),
                };
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(EXCHANGE_TIMEOUT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match time::timeout(EXCHANGE_TIMEOUT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "admin connection failed"),
                Err(_) => tracing::debug!("admin connection took too long"),
            }
        }));
    }
}

async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "cannot accept an admin connection");
    time::sleep(ACCEPT_PAUSE).await;
}

fn answer<B>(request: &Request<B>, draining: bool, meter: &Meter) -> Response<Full<Bytes>> {
    let method = request.method();
    const PLAIN: &str = "text/plain; charset=utf-8";
    let plain = |status, text: &'static str| (status, PLAIN, Bytes::from_static(text.as_bytes()));
    let (status, media_type, text) = match request.uri().path() {
        "/healthz" | "/readyz" | "/metrics" | "/status" if method != Method::GET && method != Method::HEAD => {
            plain(StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n")
        }
        "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" if draining => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/readyz" => plain(StatusCode::OK, "ok\n"),
        "/metrics" => {
            let exposition =
                Exposition::accepted(request.headers().get(ACCEPT).map_or(b"", |accept| accept.as_bytes()));
            (StatusCode::OK, exposition.media_type(), meter.tell(exposition).into())
        }
        _ => plain(StatusCode::NOT_FOUND, "here are /healthz, /readyz, /metrics and /status\n"),
    };
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
