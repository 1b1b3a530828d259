//! Accepts connections on one worker thread, speaks HTTP on each, and drains them when it is time to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub mod connection;
pub mod departure;
pub mod descriptors;
pub mod grammar;
pub mod http1;
pub mod notes;
pub mod pace;
pub mod request;
pub mod stream;
pub mod suspended;
pub mod turns;
pub mod unread;
pub mod wire;

use self::connection::Host;
use crate::headers::Sender;
use crate::proxy::Proxy;
use crate::telemetry::meter::{Counted, Limit};

/// The kernel's queue of connections that wait to be accepted: room for a burst of reconnecting clients. The kernel
/// cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4_096;
/// How long requests that run may take to end once we were told to stop.
pub const DRAIN: Duration = Duration::from_secs(10);
/// How long it may take to see that something was asked before, on a connection that has just come.
const ASKED_WITHIN: Duration = Duration::from_millis(20);
/// How long tunnels may stay open once no request runs any more.
const TUNNELS_LONGEST: Duration = Duration::from_secs(2);
/// When the process is out of file descriptors, accepting again at once would only fail again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// So many are accepted before those that are here have their turn. With fewer, others would wait for long to get in while
/// a worker has all hands full.
const ACCEPTS: usize = 4;

/// Silence after which a client's kernel is asked whether the connection still exists, then how often and how many times. One
/// that has lost its power closes nothing, and a tunnel or a stream may be silent for hours.
const ALIVE_AFTER: Duration = Duration::from_secs(60);
const ALIVE_EVERY: Duration = Duration::from_secs(15);
const ALIVE_TIMES: u32 = 4;

/// How often a worker's clock ticks while requests are sent.
const TICK: Duration = Duration::from_secs(1);

/// A connection's place among those that may be open: it lasts as long as the socket, also as a tunnel.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// Binds one listener for each worker thread to the same address; the kernel spreads connections over them.
///
/// Port 0 lets the kernel choose, the same for all.
///
/// # Errors
/// The address cannot be bound, e.g. because another process listens on it.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // A second process could join an address that is shared with SO_REUSEPORT and take half of our requests, or we
    // of its: so the first listener is bound alone, which fails if anyone listens there already.
    let address = socket(address, false)?.local_addr()?;
    (0..workers).map(|_| listen(socket(address, true)?)).collect()
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    // What is accepted has it from here (tcp(7)).
    let keepalive = TcpKeepalive::new().with_time(ALIVE_AFTER).with_interval(ALIVE_EVERY).with_retries(ALIVE_TIMES);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(socket: TcpSocket) -> io::Result<std::net::TcpListener> {
    // In a runtime, or tokio cannot register it; it is taken out again for the worker's own.
    socket.listen(BACKLOG)?.into_std()
}

/// Serves until `shutdown` ends, then lets what runs finish, for at most [`DRAIN`].
///
/// `permits` are the connections that all workers together may have open.
pub async fn run(listener: TcpListener, host: Arc<Host>, permits: Arc<Semaphore>, shutdown: impl Future<Output = ()>) {
    let stopping = watch::Sender::new(false);
    let connections = TaskTracker::new();
    let _clock = AbortOnDropHandle::new(tokio::spawn(tick(Arc::clone(&host.proxy))));
    let turns = Arc::clone(&host);
    let _turns = AbortOnDropHandle::new(tokio::spawn(async move { turns.turns.pass().await }));
    let mut shutdown = std::pin::pin!(shutdown);
    // How many of those that wait in the kernel's queue may still come in, once it is time to stop.
    let mut late = None;
    for number in 1_usize.. {
        let accepting = accept(&listener, &permits, &host);
        let accepted = match &mut late {
            None => tokio::select! {
                accepted = accepting => accepted,
                () = &mut shutdown => {
                    // Before anything else has its turn: whoever is answered from now on is told that it was the last one.
                    stopping.send_replace(true);
                    late = Some(BACKLOG);
                    // For the listener to be looked at once more.
                    yield_now().await;
                    continue;
                }
            },
            Some(0) => break,
            Some(left) => {
                *left -= 1;
                // Where there is no file, or no place, there is none for those behind it either.
                let Some(Some(accepted)) = accepting.now_or_never() else { break };
                Some(accepted)
            }
        };
        // Those that are here already go first, or a burst would have all its requests under way at once.
        if number.is_multiple_of(ACCEPTS) {
            yield_now().await;
        }
        let Some((stream, client, place)) = accepted else {
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        // Answers are written whole; waiting for more to coalesce would only delay them.
        let _ = stream.set_nodelay(true);
        let host = Arc::clone(&host);
        let mut stopping = stopping.subscribe();
        if late.is_some() {
            stopping.mark_changed();
        }
        connections.spawn(async move {
            // A future of its own, or the connection would keep its room: what is held over several awaits has one.
            let opened = async {
                let mut opening = std::pin::pin!(connection::open(stream, &host));
                tokio::select! {
                    opened = &mut opening => Some(opened),
                    _ = stopping.changed() => {
                        let opened = timeout(ASKED_WITHIN, opening).await.ok();
                        stopping.mark_changed();
                        opened
                    }
                }
            };
            // Else nothing was asked yet, and we stop.
            let Some(opened) = opened.await else { return };
            match opened {
                Ok((stream, protocol)) => connection::serve(stream, protocol, client, place, &host, stopping).await,
                Err(error) => tracing::debug!(%error, "connection ended without a request"),
            }
        });
    }
    drop(listener);
    connections.close();
    let drained = async {
        connections.wait().await;
        // A tunnel does not end by itself: its client has some time to finish a sentence, and comes back elsewhere.
        let _ = timeout(TUNNELS_LONGEST, host.proxy.tunnels().closed()).await;
    };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("requests still ran after {DRAIN:?} and were cut");
    }
}

/// Does what has to be done from time to time, as long as there is anything to do.
///
/// tokio wakes itself up, by a system call, for every timer that becomes the earliest; with this one before them, those
/// of requests that are sent never are.
async fn tick(proxy: Arc<Proxy>) {
    loop {
        proxy.pool().stirs().await;
        sleep(TICK).await;
        while proxy.pool().forget_old() {
            sleep(TICK).await;
        }
    }
}

/// A connection, and its place. Without one it waits here, those after it in the kernel's queue.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>, host: &Host) -> Option<(TcpStream, Sender, Place)> {
    let (stream, peer) = match listener.accept().await {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            return None;
        }
    };
    if permits.available_permits() == 0 {
        host.meter.reached(Limit::Connections);
    }
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    // An IPv4 client of a socket that listens on IPv6 too is an IPv4 client.
    let client = host.proxy.client(peer.ip().to_canonical(), host.tls.is_some());
    Some((stream, client, Place { _permit: permit, _counted: host.meter.connection() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_has_vanished_is_noticed_by_the_kernel() {
        let listener = bind(([127, 0, 0, 1], 0).into(), 1).expect("a free port").remove(0);
        let _client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (accepted, _) = listener.accept().expect("the client");
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().expect("an option"));
        let times = (socket.tcp_keepalive_time().expect("one"), socket.tcp_keepalive_interval().expect("another"));
        assert_eq!(times, (ALIVE_AFTER, ALIVE_EVERY));
        assert_eq!(socket.tcp_keepalive_retries().expect("a third"), ALIVE_TIMES);
    }
}
