//! The other ends of anteroom's TLS: a client, and an upstream.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anteroom::tls::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use super::raw::Peer;
use super::{TestProxy, soon};

/// A client's handshake with anteroom, which it takes for `localhost`.
pub async fn shake(proxy: &TestProxy, config: Arc<ClientConfig>) -> io::Result<client::TlsStream<TcpStream>> {
    let stream = soon(TcpStream::connect(proxy.address)).await?;
    soon(TlsConnector::from(config).connect("localhost".try_into().expect("a name"), stream)).await
}

pub async fn connect(proxy: &TestProxy, config: Arc<ClientConfig>) -> Peer {
    Peer::over(Stream::Tls(Box::new(shake(proxy, config).await.expect("TLS").into())))
}

/// An upstream that speaks TLS. Handshakes go on by themselves; what is asked afterwards is for the test to answer.
pub struct TlsUpstream {
    pub address: SocketAddr,
    asked: mpsc::Receiver<(Peer, Option<String>)>,
    task: tokio::task::JoinHandle<()>,
}

impl TlsUpstream {
    pub async fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (ask, asked) = mpsc::channel(16);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (ask, handshake) = (ask.clone(), acceptor.accept(stream));
                tokio::spawn(async move {
                    // Some tests are about handshakes that fail.
                    let Ok(stream) = handshake.await else { return };
                    let name = stream.get_ref().1.server_name().map(str::to_owned);
                    let mut peer = Peer::over(Stream::Tls(Box::new(stream.into())));
                    if peer.has_data().await {
                        let _ = ask.send((peer, name)).await;
                    }
                });
            }
        });
        Self { address, asked, task }
    }

    /// The next connection on which something is asked, and the name that it was asked under.
    pub async fn accept(&mut self) -> (Peer, Option<String>) {
        soon(self.asked.recv()).await.expect("it serves")
    }
}

impl Drop for TlsUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
