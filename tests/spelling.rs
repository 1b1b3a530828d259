//! Names are written as they came, on the first request of a connection and on later ones.

mod support;

use support::raw::Peer;
use support::{FakeUpstream, TestProxy, config};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What several clients may write, some of it as everybody does.
const HEADS: [&[&str]; 6] = [
    &["X-Case: 1", "Accept: a"],
    &["X-CASE: 2", "x-Twice: a", "X-Twice: b", "X-TWICE: c", "Accept: a"],
    &["X-Case: 3"],
    &["x-case: 4", "accept: A", "ETag: \"x\""],
    &["X-Case: 5", "DNT: 1"],
    &["X-Case: 6"],
];
/// Looks like the end of a head, and like another one.
const BODY: &str = "\r\n\r\nx-body: 1\r\n\r\n";

fn request(fields: &[&str]) -> String {
    let length = BODY.len();
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{}\r\n\r\n{BODY}", fields.join("\r\n"))
}

fn answer(fields: &[&str]) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{}\r\n\r\n{BODY}", BODY.len(), fields.join("\r\n"))
}

/// The lines of a head that are not of our making: names in the order of `fields`, the lines of one as they came.
fn told<'a>(head: &'a str, fields: &[&str]) -> Vec<&'a str> {
    let ours = ["host", "content-length", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let is_theirs = |line: &&str| !line.is_empty() && !ours.contains(&name(line).as_str());
    let mut lines: Vec<_> = head.lines().skip(1).filter(is_theirs).collect();
    lines.sort_by_key(|line| fields.iter().position(|field| name(field) == name(line)));
    lines
}

async fn hears(served: &mut Peer, fields: &[&str]) {
    let head = served.head().await;
    assert_eq!(told(&head, fields), fields, "{head}");
    assert_eq!(served.exactly(BODY.len()).await, BODY);
    served.send(OK).await;
}

#[tokio::test]
async fn the_names_of_each_of_many_requests_are_those_that_it_came_with() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let all = HEADS.map(request).concat();
    let mut served = None;
    for cut in (0..all.len()).step_by(11) {
        let mut client = proxy.client().await;
        client.send(&all[..cut]).await;
        tokio::task::yield_now().await;
        client.send(&all[cut..]).await;
        for fields in HEADS {
            let served = match &mut served {
                None => served.insert(upstream.accept().await),
                Some(served) => served,
            };
            hears(served, fields).await;
            assert_eq!(client.answer().await.body, "ok");
        }
        // One after the other.
        for fields in [HEADS[3], HEADS[0], HEADS[1]] {
            client.send(request(fields)).await;
            hears(served.as_mut().expect("it serves"), fields).await;
            assert_eq!(client.answer().await.body, "ok");
        }
    }
}

#[tokio::test]
async fn the_names_of_each_of_many_answers_are_those_that_it_came_with() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    let mut served = None;
    for (number, fields) in HEADS.iter().chain(&HEADS).enumerate() {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let served = match &mut served {
            None => served.insert(upstream.accept().await),
            Some(served) => served,
        };
        served.head().await;
        let text = format!("HTTP/1.1 103 Early Hints\r\nlInK: </a>\r\n\r\n{}", answer(fields));
        let cut = text.len() * number / HEADS.len() / 2;
        served.send(&text[..cut]).await;
        tokio::task::yield_now().await;
        served.send(&text[cut..]).await;
        let answer = client.answer().await;
        assert_eq!(told(&answer.head, fields), *fields, "{}", answer.head);
        assert_eq!(answer.body, BODY);
    }
}

#[tokio::test]
async fn what_we_add_is_written_like_this_beside_what_came_in_its_own_way() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    let mut served = None;
    for name in ["Host", "host", "HOST"] {
        client.send(format!("GET / HTTP/1.1\r\n{name}: a\r\n\r\n")).await;
        let served = match &mut served {
            Some(served) => served,
            none => none.insert(upstream.accept().await),
        };
        let head = served.head().await;
        for line in [name, "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"] {
            assert!(head.contains(&format!("\r\n{line}: ")), "{head}");
        }
        served.send("HTTP/1.1 200 OK\r\nconTENT-length: 2\r\nDate: x\r\n\r\nok").await;
        let head = client.answer().await.head;
        for line in ["conTENT-length", "Date", "Via"] {
            assert!(head.contains(&format!("\r\n{line}: ")), "{head}");
        }
    }
}
