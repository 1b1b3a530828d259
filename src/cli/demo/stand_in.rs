//! The demo's upstream: an address that refuses connections until a service listens there, and the service itself,
//! a small dashboard under `/analytics/` as CVAT's Grafana has it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, CONTENT_TYPE, LOCATION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::{select, time};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::proxy::upgrade::accepted;

const DASHBOARD: &str = include_str!("dashboard.html");
/// Where the service says whether it is ready.
pub(super) const HEALTH_PATH: &str = "/analytics/api/health";
/// Visibly alive, and readable.
const TICK: Duration = Duration::from_millis(500);
/// The loopback device drops no connection; this is for the few that come in one moment.
const BACKLOG: u32 = 128;

/// An address on which nothing listens, and nobody else can: a socket that is bound and no more. The system refuses
/// connections to it, as it does for a container whose process has not come so far.
pub(super) struct Port {
    socket: TcpSocket,
    pub(super) address: SocketAddr,
}

impl Port {
    /// Any free port of the loopback device.
    pub(super) fn reserve() -> io::Result<Self> {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// The same one again, after whoever listened there is gone.
    pub(super) fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Connections of the former listener may still be in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// From now on connections are accepted.
    pub(super) fn listen(self) -> io::Result<TcpListener> {
        self.socket.listen(BACKLOG)
    }
}

/// What the database behind the dashboard says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Database {
    Ok,
    Failing,
}

/// Serves the dashboard until it is dropped, and every connection with it.
pub(super) async fn serve(listener: TcpListener, database: Database) {
    accept(listener, move |stream| async move {
        // An upgraded connection stays in this task, so that it dies with the service as a container's would.
        let (upgrades, mut upgrade) = mpsc::channel(1);
        let service = service_fn(move |request| {
            let answer = answer(request, database, &upgrades);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the stand-in lost a connection");
        } else if let Some(upgrade) = upgrade.recv().await
            && let Ok(upgraded) = upgrade.await
        {
            tick(upgraded).await;
        }
    })
    .await;
}

/// Gives every connection to `serve_one`. Ends never; dropping it closes them all.
pub(super) async fn accept<F, Served>(listener: TcpListener, serve_one: F)
where
    F: Fn(TcpStream) -> Served,
    Served: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve_one(stream))),
                // For want of file descriptors, mostly: one tick may free some.
                Err(_) => time::sleep(TICK).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn answer(request: Request<Incoming>, database: Database, upgrades: &mpsc::Sender<OnUpgrade>) -> Response<Full<Bytes>> {
    match (request.uri().path(), database) {
        ("/" | "/analytics", _) => moved("/analytics/"),
        ("/analytics/", _) => respond(StatusCode::OK, "text/html; charset=utf-8", DASHBOARD),
        (HEALTH_PATH, Database::Ok) => respond(StatusCode::OK, "application/json", r#"{"database":"ok"}"#),
        (HEALTH_PATH, Database::Failing) => {
            respond(StatusCode::SERVICE_UNAVAILABLE, "application/json", r#"{"database":"failing"}"#)
        }
        ("/analytics/api/live/ws", _) => upgrade(request, upgrades),
        _ => respond(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "There is only /analytics/ here.\n"),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn moved(to: &'static str) -> Response<Full<Bytes>> {
    let mut response = respond(StatusCode::TEMPORARY_REDIRECT, "text/plain; charset=utf-8", "");
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
    response
}

/// The server's half of the opening handshake (RFC 6455 §4.2.2).
fn upgrade(mut request: Request<Incoming>, upgrades: &mpsc::Sender<OnUpgrade>) -> Response<Full<Bytes>> {
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| accepted(key.as_bytes()));
    let Some(Ok(accept)) = key.map(HeaderValue::try_from) else {
        let mut refusal = respond(StatusCode::UPGRADE_REQUIRED, "text/plain; charset=utf-8", "A WebSocket, please.\n");
        refusal.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        refusal.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return refusal;
    };
    // A connection is upgraded once, so there is room.
    let _ = upgrades.try_send(hyper::upgrade::on(&mut request));
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Counts until the other side has had enough.
async fn tick(upgraded: Upgraded) {
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let mut interval = time::interval(TICK);
    let mut count: u32 = 0;
    loop {
        select! {
            _ = interval.tick() => {
                count = count.wrapping_add(1);
                let text = format!(r#"{{"tick":{count},"value":{}}}"#, made_up(count));
                if socket.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
            // Reading answers pings and the closing handshake.
            message = socket.next() => match message {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

/// From 0 to 100: two waves of different length look like work.
fn made_up(count: u32) -> u32 {
    let at = f64::from(count);
    let wave = 50.0 + 30.0 * (at / 6.0).sin() + 15.0 * (at / 2.3).cos();
    // The sum of the two waves stays between 5 and 95.
    wave.round() as u32
}
