//! Messages of HTTP/1.1: written in any way that it allows, and read strictly, without anteroom's own parser.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A name as it was written, and a value without the space around it.
pub type Field = (String, Vec<u8>);

/// What was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The request line or the status line.
    pub start: String,
    pub fields: Vec<Field>,
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
}

/// How a message says where its body ends.
#[derive(Clone, Debug)]
pub enum Framing {
    /// It has none.
    None,
    Length,
    /// In chunks of at most these sizes, with an extension each, and trailers behind them.
    Chunked {
        sizes: Vec<usize>,
        extension: String,
        trailers: Vec<Field>,
    },
    /// By the end of the connection; answers only.
    Close,
}

/// A message in the form in which it is sent.
pub fn write(start: &str, fields: &[Field], framing: &Framing, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{start}\r\n").into_bytes();
    let field = |bytes: &mut Vec<u8>, name: &str, value: &[u8]| {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    };
    for (name, value) in fields {
        field(&mut bytes, name, value);
    }
    match framing {
        Framing::None | Framing::Close => bytes.extend(b"\r\n"),
        Framing::Length => field(&mut bytes, "Content-Length", format!("{}\r\n", body.len()).as_bytes()),
        Framing::Chunked { .. } => field(&mut bytes, "Transfer-Encoding", b"chunked\r\n"),
    }
    let Framing::Chunked { sizes, extension, trailers } = framing else {
        bytes.extend(body);
        return bytes;
    };
    let mut rest = body;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
        bytes.extend(format!("{size:x}{extension}\r\n").into_bytes());
        bytes.extend([&rest[..size], b"\r\n"].concat());
        rest = &rest[size..];
    }
    bytes.extend(b"0\r\n");
    for (name, value) in trailers {
        field(&mut bytes, name, value);
    }
    bytes.extend(b"\r\n");
    bytes
}

/// The values of a name, in their order.
pub fn values<'a>(fields: &'a [Field], name: &str) -> Vec<&'a [u8]> {
    fields.iter().filter(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..]).collect()
}

/// Reads messages from a connection, strictly: whatever is not as RFC 9112 has it is `None`.
pub struct Reader {
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Reader {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option");
        Self { stream, read: Vec::new() }
    }

    /// What was read and is no message yet.
    pub fn left(&self) -> &[u8] {
        &self.read
    }

    /// A message; `is_bodiless` says of which start lines there is no body whatever its head says.
    pub async fn message(&mut self, is_answer: bool, is_bodiless: impl Fn(&str) -> bool) -> Option<Message> {
        let start = String::from_utf8(self.line().await?).ok()?;
        let fields = self.fields().await?;
        let mut message = Message { start, fields, body: Vec::new(), trailers: Vec::new() };
        let lengths = values(&message.fields, "content-length");
        match (&lengths[..], &values(&message.fields, "transfer-encoding")[..]) {
            _ if is_bodiless(&message.start) => {}
            ([], []) if is_answer => {
                while self.fill().await.is_some() {}
                message.body = std::mem::take(&mut self.read);
            }
            ([], []) => {}
            ([length], []) => {
                let length = std::str::from_utf8(length).ok()?.parse().ok()?;
                message.body = self.exactly(length).await?;
            }
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => loop {
                let size = String::from_utf8(self.line().await?).ok()?;
                let size = usize::from_str_radix(&size, 16).ok()?;
                if size == 0 {
                    message.trailers = self.fields().await?;
                    break;
                }
                message.body.extend(self.exactly(size).await?);
                if self.exactly(2).await? != b"\r\n" {
                    return None;
                }
            },
            _ => return None,
        }
        Some(message)
    }

    async fn fields(&mut self) -> Option<Vec<Field>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(fields);
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8(line[..colon].to_vec()).ok()?;
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.read.windows(2).position(|window| window == b"\r\n") {
                let line = self.exactly(end + 2).await?;
                return Some(line[..end].to_vec());
            }
            self.fill().await?;
        }
    }

    async fn exactly(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.read.len() < bytes {
            self.fill().await?;
        }
        let rest = self.read.split_off(bytes);
        Some(std::mem::replace(&mut self.read, rest))
    }

    async fn fill(&mut self) -> Option<()> {
        matches!(self.stream.read_buf(&mut self.read).await, Ok(1..)).then_some(())
    }
}
