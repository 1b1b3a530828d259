//! The other ends of anteroom's HTTP/2, frame by frame: a client, and an upstream.

use std::net::SocketAddr;

use anteroom::tls::Stream;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::soon;

/// A client that speaks HTTP/2 without asking (RFC 9113 §3.3).
pub struct Client(SendRequest<Bytes>);

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = soon(TcpStream::connect(address)).await.expect("it listens");
        let (client, connection) = soon(h2::client::handshake(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self(client)
    }

    /// Begins a request whose body follows, unless `end`.
    pub async fn ask(&mut self, request: Request<()>, end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        soon(std::future::poll_fn(|cx| self.0.poll_ready(cx))).await.expect("the connection lives");
        self.0.send_request(request, end).expect("a valid request")
    }

    /// Waits until the server has told that it takes CONNECT with a `:protocol`.
    pub async fn hears_of_extended_connect(&mut self) {
        soon(async {
            while !self.0.is_extended_connect_protocol_enabled() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Reads a body to its end, and its trailers.
pub async fn read(body: &mut RecvStream) -> Result<(String, Option<HeaderMap>), h2::Error> {
    let mut text = Vec::new();
    while let Some(data) = soon(body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        text.extend_from_slice(&data);
    }
    Ok((String::from_utf8(text).expect("text"), soon(body.trailers()).await?))
}

/// A request that has arrived, and the number of the connection that it came over.
pub struct Asked {
    pub request: Request<RecvStream>,
    pub answer: SendResponse<Bytes>,
    pub connection: usize,
}

impl Asked {
    /// Answers with a short body.
    pub fn ok(&mut self) {
        let head = Response::builder().header("content-length", 2).body(()).expect("valid");
        let mut body = self.answer.send_response(head, false).expect("the stream is open");
        body.send_data(Bytes::from_static(b"ok"), true).expect("the stream is open");
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).map(|value| value.to_str().expect("text"))
    }
}

/// An upstream that speaks HTTP/2. What is asked is for the test to answer.
pub struct Http2Upstream {
    pub address: SocketAddr,
    asked: mpsc::Receiver<Asked>,
    task: tokio::task::JoinHandle<()>,
}

impl Http2Upstream {
    /// In the clear, with prior knowledge.
    pub async fn start(builder: server::Builder) -> Self {
        Self::over(builder, |stream| async { Some(Stream::Plain(stream)) }).await
    }

    /// Over what becomes of each connection.
    pub async fn over<F>(builder: server::Builder, open: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Stream>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (ask, asked) = mpsc::channel(16);
        let task = tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                number += 1;
                let (opened, builder, ask, connection) = (open(stream), builder.clone(), ask.clone(), number);
                tokio::spawn(async move {
                    let Some(stream) = opened.await else { return };
                    // Probes connect and say nothing.
                    let Ok(mut served) = builder.handshake::<_, Bytes>(stream).await else { return };
                    while let Some(Ok((request, answer))) = served.accept().await {
                        if ask.send(Asked { request, answer, connection }).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, asked, task }
    }

    /// The next request.
    pub async fn accept(&mut self) -> Asked {
        soon(self.asked.recv()).await.expect("it serves")
    }
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
