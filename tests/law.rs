//! The law of a proxy, for arbitrary messages split arbitrarily over writes: *what the upstream receives equals what the
//! client sent, minus hop-by-hop, plus the listed additions*; the same for answers; and nothing of what is malformed.
//!
//! The cases are the same each time. `ANTEROOM_LAW_CASES=20000` makes more of them, `ANTEROOM_LAW_SEED=random` others.

mod support;

#[path = "law/strategies.rs"]
mod strategies;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::sample::Index;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use proptest::{prop_assert, prop_assert_eq};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use strategies::Sent;
use support::message::{Field, Framing, Message, Reader, values, write};
use support::{TestProxy, config, soon};

/// Never passed on (RFC 9110 §7.6.1), besides what `Connection` names.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
/// What a proxy writes itself, from what was there.
const OURS: [&str; 4] = ["via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Runs a law over many cases. What fails is made as small as it gets.
fn holds<S: Strategy>(strategy: S, law: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let cases = std::env::var("ANTEROOM_LAW_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200);
    let random = std::env::var("ANTEROOM_LAW_SEED").is_ok_and(|seed| seed == "random");
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = if random {
        TestRunner::new(config)
    } else {
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    };
    match runner.run(&strategy, law) {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => panic!("{reason}\n{case:#?}"),
        Err(error) => panic!("{error}"),
    }
}

/// Anteroom between a client and an upstream that keeps what it reads, and answers what it is told to.
struct Stage {
    runtime: Runtime,
    proxy: TestProxy,
    received: mpsc::UnboundedReceiver<Message>,
    answer: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (keep, received) = mpsc::unbounded_channel();
        let answer = Arc::new(Mutex::new(vec![OK.to_vec()]));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let pieces = Arc::clone(&answer);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (keep, pieces) = (keep.clone(), Arc::clone(&pieces));
                tokio::spawn(serve(Reader::new(stream), keep, pieces));
            }
        });
        Self { proxy: TestProxy::start(config(address)), runtime, received, answer }
    }

    /// Sends pieces, and reads what comes back, `None` if that is no message.
    fn ask(&self, pieces: &[Vec<u8>], is_head: bool) -> Option<Message> {
        self.runtime.block_on(async {
            let stream = soon(TcpStream::connect(self.proxy.address)).await.expect("it listens");
            let mut client = Reader::new(stream);
            for piece in pieces {
                // It may have been refused by now.
                let _ = client.stream.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            let is_bodiless = |start: &str| is_head || start.contains(" 204 ") || start.contains(" 304 ");
            soon(client.message(true, is_bodiless)).await
        })
    }

    /// The next request that has reached the upstream.
    fn received(&mut self) -> Message {
        self.runtime.block_on(soon(self.received.recv())).expect("the upstream serves")
    }
}

async fn serve(mut reader: Reader, keep: mpsc::UnboundedSender<Message>, answer: Arc<Mutex<Vec<Vec<u8>>>>) {
    while let Some(message) = reader.message(false, |_| false).await {
        let _ = keep.send(message);
        let pieces = answer.lock().expect("no panic").clone();
        for piece in &pieces {
            let _ = reader.stream.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        // An answer that has no other end.
        let text = pieces.concat();
        let head = String::from_utf8_lossy(&text).to_ascii_lowercase();
        if !head.contains("\r\ncontent-length:") && !head.contains("\r\ntransfer-encoding:") {
            return;
        }
    }
}

fn cut(bytes: &[u8], cuts: &[Index]) -> Vec<Vec<u8>> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut begin = 0;
    ends.into_iter().map(|end| bytes[std::mem::replace(&mut begin, end)..end].to_vec()).collect()
}

/// What of the fields passes as it is: names as they were written and values, by the name that both have.
fn passing(fields: &[Field], nominated: &[String]) -> BTreeMap<String, Vec<Field>> {
    let mut passing = BTreeMap::<String, Vec<Field>>::new();
    for (name, value) in fields {
        let lower = name.to_ascii_lowercase();
        let stays = HOP_BY_HOP.contains(&&*lower) || nominated.iter().any(|its| its.eq_ignore_ascii_case(name));
        let framing = lower == "content-length";
        if !stays && !framing && !OURS.contains(&&*lower) {
            passing.entry(lower).or_default().push((name.clone(), value.clone()));
        }
    }
    passing
}

/// Ends that differ only in letter case: trailers are written in lower case.
fn lower(fields: &[Field]) -> Vec<Field> {
    let mut fields: Vec<Field> =
        fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    // The order of different names has no meaning.
    fields.sort_by(|one, two| one.0.cmp(&two.0));
    fields
}

fn trailers(framing: &Framing) -> &[Field] {
    match framing {
        Framing::Chunked { trailers, .. } => trailers,
        Framing::None | Framing::Length | Framing::Close => &[],
    }
}

/// Whether the last line is our own element of `Via`, and the others are what was there.
fn via_grew(before: &[Field], after: &[Field]) -> bool {
    let (before, after) = (values(before, "via"), values(after, "via"));
    after.split_last().is_some_and(|(ours, rest)| ours.starts_with(b"1.1 anteroom-") && rest == before)
}

#[test]
fn the_upstream_receives_what_the_client_sent_minus_hop_by_hop_plus_the_listed_additions() {
    let stage = std::cell::RefCell::new(Stage::new());
    holds((strategies::method(), strategies::target(), strategies::request()), |(method, target, sent)| {
        let Sent { mut fields, nominated, framing, body, cuts } = sent;
        fields.insert(cuts.first().map_or(0, |cut| cut.index(fields.len() + 1)), ("Host".to_owned(), b"a:80".to_vec()));
        let start = format!("{method} {target} HTTP/1.1");
        let mut stage = stage.borrow_mut();
        let answer = stage.ask(&cut(&write(&start, &fields, &framing, &body), &cuts), method == "HEAD");
        prop_assert_eq!(answer.map(|answer| answer.start), Some("HTTP/1.1 200 OK".to_owned()));
        let received = stage.received();
        prop_assert_eq!(&received.start, &start);
        prop_assert_eq!(passing(&received.fields, &[]), passing(&fields, &nominated));
        prop_assert_eq!(&received.body, &body);
        prop_assert_eq!(lower(&received.trailers), lower(trailers(&framing)));

        let got = |name| values(&received.fields, name);
        let length = body.len().to_string();
        match framing {
            Framing::Chunked { .. } => prop_assert_eq!(got("transfer-encoding"), [b"chunked"]),
            Framing::Length => prop_assert_eq!(got("content-length"), [length.as_bytes()]),
            // POST and its like may say that they have none.
            Framing::None | Framing::Close => prop_assert!(got("content-length").iter().all(|length| length == b"0")),
        }
        for name in HOP_BY_HOP.iter().filter(|name| !["te", "transfer-encoding"].contains(name)) {
            prop_assert!(got(name).is_empty(), "{} belongs to one connection", name);
        }
        let wants_trailers = values(&fields, "te").iter().any(|te| te.starts_with(b"trailers"));
        prop_assert_eq!(got("te"), if wants_trailers { vec![&b"trailers"[..]] } else { vec![] });
        prop_assert!(via_grew(&fields, &received.fields), "{:?}", got("via"));
        let senders = [values(&fields, "x-forwarded-for"), vec![b"127.0.0.1"]].concat().join(&b", "[..]);
        prop_assert_eq!(got("x-forwarded-for"), [&senders[..]]);
        let kept =
            |name, otherwise: &'static [u8]| values(&fields, name).first().map_or(otherwise.to_vec(), |v| v.to_vec());
        prop_assert_eq!(got("x-forwarded-proto"), [&kept("x-forwarded-proto", b"http")[..]]);
        prop_assert_eq!(got("x-forwarded-host"), [&kept("x-forwarded-host", b"a:80")[..]]);
        Ok(())
    });
}

#[test]
fn the_client_receives_what_the_upstream_answered_minus_hop_by_hop_plus_the_listed_additions() {
    let stage = std::cell::RefCell::new(Stage::new());
    // A first answer, so that later ones of 502, 503 and 504 are the upstream's own.
    stage.borrow().ask(&[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()], false);
    holds((200..600_u16, proptest::bool::ANY, strategies::answer()), |(status, is_head, sent)| {
        let Sent { fields, nominated, mut framing, mut body, cuts } = sent;
        let bodiless = matches!(status, 204 | 304);
        if bodiless && !matches!(framing, Framing::Length) {
            framing = Framing::Close;
        }
        let mut bytes = write(&format!("HTTP/1.1 {status} Word"), &fields, &framing, &body);
        if is_head || bodiless {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
            bytes.truncate(end);
            body.clear();
        }
        // RFC 9110 §8.6: there is no length in an answer without content.
        if status == 204 && matches!(framing, Framing::Length) {
            return Ok(());
        }
        let stage = stage.borrow();
        *stage.answer.lock().expect("no panic") = cut(&bytes, &cuts);
        let method = if is_head { "HEAD" } else { "GET" };
        let received = stage.ask(&[format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()], is_head);
        let Some(received) = received else { return Err(TestCaseError::fail("no answer, or none that can be read")) };
        prop_assert!(received.start.starts_with(&format!("HTTP/1.1 {status} ")), "{}", received.start);
        prop_assert_eq!(passing(&received.fields, &[]), passing(&fields, &nominated));
        prop_assert_eq!(&received.body, &body);
        if !is_head && !bodiless {
            prop_assert_eq!(lower(&received.trailers), lower(trailers(&framing)));
        }
        prop_assert!(via_grew(&fields, &received.fields));
        for name in ["keep-alive", "proxy-connection", "proxy-authenticate", "te", "http2-settings"] {
            prop_assert!(values(&received.fields, name).is_empty(), "{} belongs to one connection", name);
        }
        Ok(())
    });
}

#[test]
fn of_a_malformed_request_nothing_reaches_the_upstream() {
    let stage = std::cell::RefCell::new(Stage::new());
    let case = (strategies::method(), strategies::target(), strategies::request(), strategies::spoiler(), any_index());
    holds(case, |(method, target, sent, spoiler, at)| {
        let Sent { mut fields, body, cuts, .. } = sent;
        fields.insert(0, ("Host".to_owned(), b"a".to_vec()));
        let at = at.index(fields.len()) + 1;
        let start = format!("{method} {target} HTTP/1.1\r\n");
        let line = |(name, value): &Field| [name.as_bytes(), b": ", value, b"\r\n"].concat();
        let (before, after) = fields.split_at(at);
        let lines = |fields: &[Field]| fields.iter().flat_map(line).collect::<Vec<u8>>();
        // What would be a request of its own if the body were read in another way.
        let smuggled = b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let bytes = [start.as_bytes(), &lines(before), spoiler, &lines(after), &smuggled[..], &body].concat();
        let mut stage = stage.borrow_mut();
        if let Some(answer) = stage.ask(&cut(&bytes, &cuts), method == "HEAD") {
            let status = answer.start.split(' ').nth(1).unwrap_or_default();
            prop_assert!(["400", "501"].contains(&status), "{}", answer.start);
            prop_assert!(!answer.body.windows(9).any(|window| window == b"findings\""), "no page");
        }
        let after = b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        let answer = stage.ask(&[after], false);
        prop_assert_eq!(answer.map(|answer| answer.body), Some(b"ok".to_vec()));
        prop_assert_eq!(stage.received().start, "GET /after HTTP/1.1");
        Ok(())
    });
}

fn any_index() -> impl Strategy<Value = Index> {
    proptest::arbitrary::any::<Index>()
}
