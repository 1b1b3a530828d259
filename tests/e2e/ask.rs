//! A request of a user of CVAT, sent to Traefik's published port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::answer::Answer;
use crate::stack::LOGGED_IN;

/// Longer than any patience, the grace and a machine with other work come to.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a condition may take to become true: a start, the engine's back-off, Traefik's throttle of 2 s.
const SOON: Duration = Duration::from_secs(30);

/// The pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);

/// A request that is being described. Nothing happens before one of the methods that send it.
#[derive(Clone)]
pub struct Ask {
    address: SocketAddr,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Ask {
    /// A GET by a program, with the cookie of a user whom CVAT knows, to a published port.
    pub fn new(port: u16, path: &str) -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), path)
    }

    /// The same to any address.
    pub fn at(address: SocketAddr, path: &str) -> Self {
        let ask =
            Self { address, method: Method::GET, path: path.to_owned(), headers: Vec::new(), body: String::new() };
        ask.header("host", "localhost").header("cookie", LOGGED_IN).header("accept", "application/json")
    }

    /// Sets a header; one of the same name is replaced.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(present, _)| present != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As a browser asks for a page.
    pub fn navigating(self) -> Self {
        self.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8").header("sec-fetch-mode", "navigate")
    }

    pub fn by_curl(self) -> Self {
        self.header("accept", "*/*").header("user-agent", "curl/8.5.0")
    }

    /// As the waiting page asks how things stand.
    pub fn for_status(self) -> Self {
        self.header("x-anteroom", "status")
    }

    /// Somebody who is not logged in.
    pub fn anonymous(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "cookie");
        self
    }

    /// Somebody who is logged in, but may not see the analytics.
    pub fn forbidden(self) -> Self {
        self.header("cookie", "sessionid=of-another-user")
    }

    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub fn post(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self.method(Method::POST)
    }

    /// Sends it and returns the whole answer.
    #[track_caller]
    pub fn send(self) -> Answer {
        self.attempt().unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// The same, where a broken connection is the thing to count and not the end of the scene.
    pub fn attempt(self) -> Result<Answer> {
        on_one_thread(self.answer())
    }

    /// The same, for whoever sends many from one thread.
    pub async fn answer(self) -> Result<Answer> {
        let question = format!("{} {}", self.method, self.path);
        let sent = Instant::now();
        let exchange = async {
            let response = self.exchange().await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.context("the answer's body broke off")?.to_bytes();
            anyhow::Ok((head, body))
        };
        let (head, body) = in_time(exchange).await.with_context(|| question.clone())?;
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { question, status: head.status, headers: head.headers, body, took: sent.elapsed() })
    }

    /// Sends it from another thread, to break or mend something meanwhile.
    pub fn in_background(self) -> JoinHandle<Result<Answer>> {
        thread::spawn(|| self.attempt())
    }

    /// Sends it again and again until an answer fits; the last answer if none did in time.
    #[track_caller]
    pub fn until(self, what: &str, fits: impl Fn(&Answer) -> bool) -> Answer {
        let mut last = None;
        poll(|| {
            let answer = self.clone().attempt();
            let fitting = answer.as_ref().is_ok_and(&fits);
            last = Some(answer);
            fitting.then_some(())
        });
        match last {
            Some(Ok(answer)) if fits(&answer) => answer,
            Some(Ok(answer)) => panic!("in vain: until {what}\n{answer}"),
            Some(Err(error)) => panic!("in vain: until {what}\n{error:#}"),
            None => unreachable!("a poll looks at least once"),
        }
    }

    /// Asks for an upgrade and plays one message of a client; returns the head and what came back.
    pub fn echo(self, message: &[u8]) -> Result<(Answer, Vec<u8>)> {
        on_one_thread(async {
            let (answer, stream) = self.upgrade().await?;
            let Some(mut stream) = stream else { return Ok((answer, Vec::new())) };
            stream.write_all(message).await?;
            let mut echoed = vec![0; message.len()];
            in_time(async { Ok(stream.read_exact(&mut echoed).await?) }).await.context("the echo broke off")?;
            Ok((answer, echoed))
        })
    }

    /// Asks for an upgrade; without a stream if the answer is not 101.
    pub async fn upgrade(self) -> Result<(Answer, Option<TokioIo<Upgraded>>)> {
        let ask = self
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let question = format!("upgrade {}", ask.path);
        let sent = Instant::now();
        let mut response = in_time(ask.exchange()).await.with_context(|| question.clone())?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answer = Answer { question, status, headers, body: String::new(), took: sent.elapsed() };
        if status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok((answer, Some(TokioIo::new(hyper::upgrade::on(&mut response).await?))));
        }
        answer.body = String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()).into_owned();
        Ok((answer, None))
    }

    async fn exchange(&self) -> Result<http::Response<hyper::body::Incoming>> {
        let stream = TcpStream::connect(self.address).await.context("nobody accepts")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder().method(&self.method).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(self.body.clone())))?;
        sender.send_request(request).await.context("the connection ended without an answer")
    }
}

fn on_one_thread<T>(exchange: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(exchange)
}

async fn in_time<T>(exchange: impl Future<Output = Result<T>>) -> Result<T> {
    let timed = tokio::time::timeout(PATIENCE, exchange).await;
    timed.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

/// Looks until there is something to see, but not for ever.
pub fn poll<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + SOON;
    loop {
        match look() {
            Some(seen) => return Some(seen),
            None if Instant::now() > deadline => return None,
            None => thread::sleep(LOOK),
        }
    }
}
