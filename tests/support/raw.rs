//! One end of a connection that speaks HTTP/1.1 by hand.

use std::net::SocketAddr;

use anteroom::tls::Stream;
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

/// A connection, and what was read of it but not asked for yet.
pub struct Peer {
    stream: Stream,
    read: Vec<u8>,
}

/// An answer whose body has a length or ends with the connection.
#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line")
    }

    /// A header's value; of several, the first.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
}

/// A header's value in a head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (its, value) = line.split_once(':')?;
        its.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

impl Peer {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option");
        Self::over(Stream::Plain(stream))
    }

    /// Over a connection that may be encrypted.
    pub fn over(stream: Stream) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub async fn connect(address: SocketAddr) -> Self {
        Self::new(soon(TcpStream::connect(address)).await.expect("it listens"))
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.expect("the other side reads");
    }

    /// Sends unless the other side is gone.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        soon(self.stream.write_all(bytes.as_ref())).await
    }

    /// Whether something comes before the end of the stream.
    pub async fn has_data(&mut self) -> bool {
        if !self.read.is_empty() {
            return true;
        }
        self.fill().await
    }

    /// Reads up to and including `end`.
    pub async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end.as_bytes()) {
                return self.take(at + end.len());
            }
            assert!(self.fill().await, "the stream ends before {end:?}: {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Sends as much as fits now.
    pub async fn write_some(&mut self, bytes: &[u8]) -> usize {
        self.stream.write(bytes).await.expect("the other side is there")
    }

    /// What has arrived and was not asked for yet, without waiting for more.
    pub fn received(&mut self) -> String {
        while let Some(Ok(1..)) = self.stream.read_buf(&mut self.read).now_or_never() {}
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Reads a head, up to the empty line.
    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// The same, byte for byte.
    pub async fn head_bytes(&mut self) -> Vec<u8> {
        loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.read.split_off(at + 4);
                return std::mem::replace(&mut self.read, rest);
            }
            assert!(self.fill().await, "the stream ends within a head");
        }
    }

    /// Reads so many bytes.
    pub async fn exactly(&mut self, bytes: usize) -> String {
        while self.read.len() < bytes {
            assert!(self.fill().await, "the stream ends early: {:?}", String::from_utf8_lossy(&self.read));
        }
        self.take(bytes)
    }

    /// Reads an answer to a request with a method other than HEAD.
    pub async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let body = match header(&head, "content-length") {
            Some(length) => self.exactly(length.parse().expect("a length")).await,
            None => self.rest().await,
        };
        Answer { head, body }
    }

    /// Reads to the end of the stream. A reset ends it too.
    pub async fn rest(&mut self) -> String {
        while self.fill().await {}
        self.take(self.read.len())
    }

    /// Reads to the end of the stream. Says whether that is a reset.
    pub async fn is_reset(&mut self) -> bool {
        loop {
            match soon(self.stream.read_buf(&mut self.read)).await {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// Reads to the end of the stream, bytes that are no text.
    pub async fn rest_of_bytes(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.read)
    }

    /// Closes the sending half.
    pub async fn finish(&mut self) {
        soon(self.stream.shutdown()).await.expect("still connected");
    }

    /// Closes with a reset.
    pub fn reset(self) {
        let Stream::Plain(stream) = self.stream else { panic!("TLS has its own ways to end") };
        stream.set_zero_linger().expect("an option");
    }

    async fn fill(&mut self) -> bool {
        match soon(self.stream.read_buf(&mut self.read)).await {
            Ok(read) => read > 0,
            Err(_) => false,
        }
    }

    fn take(&mut self, bytes: usize) -> String {
        let rest = self.read.split_off(bytes);
        let taken = std::mem::replace(&mut self.read, rest);
        String::from_utf8_lossy(&taken).into_owned()
    }
}
