//! Accepts connections on one worker thread, speaks HTTP on each, and drains them when it is time to stop.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceBuilder, service_fn};
use tower_http::catch_panic::CatchPanicLayer;

use crate::proxy::{Proxy, answer};

/// Connections that one worker has open at once; more wait in the kernel's queue.
const CONNECTIONS_MOST: usize = 16_384;
/// The kernel's queue of connections that wait to be accepted: room for a burst of reconnecting clients. The kernel
/// cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4_096;
/// How long a connection may be silent before a head is complete, the first or the next one. Longer than the 90 s
/// after which Traefik closes an idle connection itself, so that none is closed under a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(100);
/// In bytes: a head beyond it is refused with 431, and so a held request costs no more. Fifteen
/// cookies of the largest usual size, 4 KiB, fit.
const HEAD_MOST: usize = 64 << 10;
/// How long requests that run may take to end once we were told to stop.
pub const DRAIN: Duration = Duration::from_secs(10);
/// How long tunnels may stay open once no request runs any more.
const TUNNELS_LONGEST: Duration = Duration::from_secs(2);
/// When the process is out of file descriptors, accepting again at once would only fail again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Binds one listener for each worker thread to the same address; the kernel spreads connections over them.
///
/// Port 0 lets the kernel choose, the same for all.
///
/// # Errors
/// The address cannot be bound, e.g. because another process listens on it.
pub fn bind(address: SocketAddr, workers: usize) -> std::io::Result<Vec<std::net::TcpListener>> {
    // A second process could join an address that is shared with SO_REUSEPORT and take half of our requests, or we
    // of its: so the first listener is bound alone, which fails if anyone listens there already.
    let address = socket(address, false)?.local_addr()?;
    (0..workers).map(|_| listen(socket(address, true)?)).collect()
}

fn socket(address: SocketAddr, shared: bool) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(socket: TcpSocket) -> std::io::Result<std::net::TcpListener> {
    // In a runtime, or tokio cannot register it; it is taken out again for the worker's own.
    socket.listen(BACKLOG)?.into_std()
}

/// Serves until `shutdown` ends, then lets what runs finish, for at most [`DRAIN`].
pub async fn run(listener: TcpListener, proxy: Arc<Proxy>, shutdown: impl Future<Output = ()>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MOST));
    let stopping = watch::Sender::new(false);
    let tunnels = proxy.tunnels();
    let service = stack(proxy);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = &mut shutdown => break,
        };
        let Some((stream, permit)) = accepted else {
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        // Answers are written whole; waiting for more to coalesce would only delay them.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(service.clone());
        let mut stopping = stopping.subscribe();
        tokio::spawn(async move {
            let _permit = permit;
            let mut connection = std::pin::pin!(
                http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    // The buffer alone would let a head pass that ends within the read that fills it.
                    .max_header_size(HEAD_MOST)
                    .max_buf_size(HEAD_MOST)
                    .preserve_header_case(true)
                    // The upstream's `Date` passes; where it sends none, none is invented.
                    .auto_date_header(false)
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
            );
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                _ = stopping.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                // A client that left or sent what is no HTTP: its own affair.
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    stopping.send_replace(true);
    let drained = async {
        // Every connection holds a permit until it is closed.
        let _ = permits.acquire_many(CONNECTIONS_MOST as u32).await;
        // A tunnel does not end by itself: its client has some time to finish a sentence, and comes back elsewhere.
        let _ = timeout(TUNNELS_LONGEST, tunnels.closed()).await;
    };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("requests still ran after {DRAIN:?} and were cut");
    }
}

/// A permit first, so that connections beyond the bound stay in the kernel's queue.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            None
        }
    }
}

/// The generic layers around [`Proxy::handle`].
fn stack(
    proxy: Arc<Proxy>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<impl http_body::Body<Data = bytes::Bytes, Error: Into<tower::BoxError>> + Send + 'static>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    ServiceBuilder::new().layer(CatchPanicLayer::custom(answer::panicked)).service(service_fn(move |request| {
        let proxy = Arc::clone(&proxy);
        async move { proxy.handle(request).await }
    }))
}
