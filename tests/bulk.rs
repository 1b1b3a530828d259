//! Large answers: they go around hyper where they can, and nobody can tell.

mod support;

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use anteroom::conduit::Pipes;
use anteroom::config::{Config, Tls, UpstreamTls};
use anteroom::evidence::Scheme;
use anteroom::server::http1::AtHand;
use http::Request;
use support::certificates::{Authority, Folder};
use support::encrypted::{TlsUpstream, connect};
use support::raw::Peer;
use support::unwatched::Unwatched;
use support::{FakeUpstream, TestProxy, config, http2, soon};
use tokio::net::TcpStream;

const MIB: usize = 1 << 20;
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A body in which every place looks otherwise, of at most 8 MiB.
fn body(length: usize) -> String {
    static LONGEST: LazyLock<String> = LazyLock::new(|| {
        let mut text = String::new();
        for number in 0.. {
            if text.len() >= 8 * MIB {
                break;
            }
            text += &number.to_string();
            text.push(' ');
        }
        text
    });
    LONGEST[..length].to_owned()
}

fn head(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")
}

/// Answers one request.
async fn serve(served: &mut Peer, length: usize) {
    served.head().await;
    served.send(head(length) + &body(length)).await;
}

/// A client that has asked, and the connection on which that has arrived.
async fn asked(proxy: SocketAddr, upstream: &FakeUpstream) -> (Peer, Peer) {
    let mut client = Peer::connect(proxy).await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    served.head().await;
    (client, served)
}

/// Passes a body on.
async fn passes(served: &mut Peer, client: &mut Peer, length: usize) {
    let text = body(length);
    let ((), read) = tokio::join!(served.send(&text), client.exactly(length));
    assert!(read == text, "of {length} bytes some are others");
}

/// Reads an answer whose body was made here.
async fn is_answered(client: &mut Peer, length: usize) {
    let answer = client.answer().await;
    assert_eq!(answer.status(), 200);
    assert!(answer.body == body(length), "of {length} bytes some are others");
}

/// A proxy that has so many pipes, and what tells how many are left.
async fn with_pipes(upstream: &FakeUpstream, most: usize) -> (Unwatched, Pipes) {
    let pipes = Pipes::new(most);
    let proxy = Unwatched::start_with(config(upstream.address), AtHand::default(), pipes.clone(), |_| {}).await;
    (proxy, pipes)
}

#[tokio::test]
async fn answers_of_any_length_arrive_as_they_were_sent_and_their_connections_are_used_again() {
    let upstream = FakeUpstream::start().await;
    let (proxy, pipes) = with_pipes(&upstream, 1).await;
    let mut client = Peer::connect(proxy.address).await;
    let mut served = None;
    let least = 128 << 10;
    for length in [2, least - 1, least, least + 1, 3 * MIB, 3, 2 * least, 5 * MIB + 7, 2 * least + 1, 0, least + 200] {
        client.send(GET).await;
        let served = match &mut served {
            None => served.insert(upstream.accept().await),
            Some(served) => served,
        };
        served.head().await;
        served.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_owned() + &head(length)).await;
        client.head().await;
        assert_eq!(pipes.left(), usize::from(length < least), "{length}");
        passes(served, &mut client, length).await;
        assert_eq!(pipes.left(), 1, "{length}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_in_pieces_arrives_whole_whatever_its_first_piece_brings() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    let mut served = None;
    // Before the end of the head, at it, a byte of the body, some of it, more than hyper reads at first, all but a byte.
    for at in [10, head(MIB).len(), head(MIB).len() + 1, 4000, 40_000, head(MIB).len() + MIB - 1] {
        client.send(GET).await;
        let served = match &mut served {
            None => served.insert(upstream.accept().await),
            Some(served) => served,
        };
        served.head().await;
        let text = head(MIB) + &body(MIB);
        let (one, two) = text.split_at(at);
        let sends = async {
            served.send(one).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            for piece in two.as_bytes().chunks(100_000) {
                served.send(piece).await;
                tokio::task::yield_now().await;
            }
        };
        let ((), ()) = tokio::join!(sends, is_answered(&mut client, MIB));
    }
}

#[tokio::test]
async fn a_large_answer_has_a_pipe_until_it_has_ended() {
    let upstream = FakeUpstream::start().await;
    let (proxy, pipes) = with_pipes(&upstream, 2).await;
    let (mut client, mut served) = asked(proxy.address, &upstream).await;
    let all = body(MIB);
    served.send(head(MIB)).await;
    assert_eq!(client.head().await.lines().next(), Some("HTTP/1.1 200 OK"));
    for (number, piece) in all.as_bytes().chunks(1000).enumerate() {
        served.send(piece).await;
        assert_eq!(client.exactly(piece.len()).await.as_bytes(), piece);
        if number < MIB / 1000 {
            assert_eq!(pipes.left(), 1, "at {number}");
        }
    }
    soon(async {
        while pipes.left() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn more_large_answers_than_there_are_pipes_pass_all_the_same() {
    for most in [0, 1, 2] {
        let upstream = FakeUpstream::start().await;
        let (proxy, pipes) = with_pipes(&upstream, most).await;
        let mut pairs = Vec::new();
        for _ in 0..4 {
            let (mut client, mut served) = asked(proxy.address, &upstream).await;
            served.send(head(MIB)).await;
            client.head().await;
            pairs.push((client, served));
        }
        assert_eq!(pipes.left(), 0);
        for (client, served) in &mut pairs {
            let (text, reads) = (body(MIB), client.exactly(MIB));
            let ((), read) = tokio::join!(served.send(&text), reads);
            assert!(read == text);
        }
    }
}

/// Answers each request by as many bytes as its path says, over as many connections as are opened.
fn serve_all(upstream: FakeUpstream) {
    tokio::spawn(async move {
        loop {
            let mut served = upstream.accept().await;
            tokio::spawn(async move {
                while served.has_data().await {
                    let head = served.head().await;
                    let path = head.split(' ').nth(1).expect("a path");
                    let length = path[1..].parse().expect("a length");
                    served.send(self::head(length) + &body(length)).await;
                }
            });
        }
    });
}

#[tokio::test]
async fn many_are_asked_for_at_once_over_each_of_many_connections() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    serve_all(upstream);
    let lengths = [MIB, 5, MIB + 1, 2 * MIB, 300_000, 0, 300_001, MIB, 1, 1, 2 * MIB, 7];
    let asks = (0..8).map(async |shift| {
        let mut client = proxy.client().await;
        let mut lengths = lengths;
        lengths.rotate_left(shift);
        client.send(lengths.map(|length| format!("GET /{length} HTTP/1.1\r\nHost: a\r\n\r\n")).concat()).await;
        for length in lengths {
            is_answered(&mut client, length).await;
        }
    });
    futures_util::future::join_all(asks).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_cut_where_it_does() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    for (sent, by_reset) in [(MIB / 2, false), (MIB - 1, false), (3, false), (MIB / 2, true)] {
        let (mut client, mut served) = asked(proxy.address, &upstream).await;
        let text = body(MIB);
        let sends = async {
            served.send(head(MIB) + &text[..sent]).await;
            if !by_reset {
                served.finish().await;
            }
        };
        let reads = async {
            client.head().await;
            client.exactly(sent).await
        };
        let ((), read) = tokio::join!(sends, reads);
        assert!(text.starts_with(&read), "nothing stands for what did not come");
        if by_reset {
            served.reset();
        }
        assert_eq!(client.rest().await, "");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_upstreams_work() {
    let upstream = FakeUpstream::start().await;
    let (proxy, pipes) = with_pipes(&upstream, 1).await;
    for by_reset in [false, true] {
        let (mut client, mut served) = asked(proxy.address, &upstream).await;
        served.send(head(64 * MIB) + &body(MIB)).await;
        client.head().await;
        // To close with something unread would be a reset, too.
        client.exactly(if by_reset { MIB / 2 } else { MIB }).await;
        assert_eq!(pipes.left(), 0);
        if by_reset {
            client.reset();
        } else {
            drop(client);
        }
        let text = body(MIB);
        soon(async { while served.try_send(&text).await.is_ok() {} }).await;
        soon(async {
            while pipes.left() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_too_long_is_cut_off() {
    let upstream = FakeUpstream::start().await;
    let mut config = config(upstream.address);
    config.limits.idle_timeout = Duration::from_millis(300);
    let proxy = TestProxy::start(config);
    let (mut client, mut served) = asked(proxy.address, &upstream).await;
    served.send(head(64 * MIB)).await;
    let text = body(MIB);
    soon(async { while served.try_send(&text).await.is_ok() {} }).await;
    assert!(client.rest().await.len() < 64 * MIB);
}

#[tokio::test]
async fn a_client_that_takes_it_slowly_gets_all_of_it() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    let length = 8 * MIB;
    let reads = async {
        client.head().await;
        let mut read = String::new();
        while read.len() < length {
            tokio::time::sleep(Duration::from_millis(2)).await;
            read += &client.exactly((length - read.len()).min(100_003)).await;
        }
        assert!(read == body(length));
    };
    let ((), ()) = tokio::join!(serve(&mut served, length), reads);
}

#[tokio::test]
async fn what_comes_after_an_answer_is_nobodys_and_its_connection_is_not_used_again() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(proxy.address, &upstream).await;
    let sends = served.send(head(MIB) + &body(MIB) + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
    let ((), ()) = tokio::join!(sends, is_answered(&mut client, MIB));
    assert_eq!(served.rest().await, "", "it is closed");
    client.send(GET).await;
    serve(&mut upstream.accept().await, 2).await;
    is_answered(&mut client, 2).await;
}

#[tokio::test]
async fn a_connection_that_its_upstream_closes_after_a_large_answer_is_not_used_again() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    let ((), ()) = tokio::join!(serve(&mut served, MIB), is_answered(&mut client, MIB));
    drop(served);
    upstream.left_alone().await;
    // Not one that could be sent again.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    serve(&mut upstream.accept().await, 2).await;
    is_answered(&mut client, 2).await;
}

#[tokio::test]
async fn a_large_answer_to_head_has_no_body() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(head(MIB)).await;
    assert!(client.head().await.contains(&format!("Content-Length: {MIB}")));
    client.send(GET).await;
    serve(&mut served, 2).await;
    is_answered(&mut client, 2).await;
}

#[tokio::test]
async fn a_large_answer_before_its_request_has_ended_passes_as_others_do() {
    let upstream = FakeUpstream::start().await;
    let (proxy, pipes) = with_pipes(&upstream, 1).await;
    let mut client = Peer::connect(proxy.address).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfour").await;
    let mut served = upstream.accept().await;
    served.until("four").await;
    served.send(head(MIB)).await;
    client.head().await;
    assert_eq!(pipes.left(), 1);
    passes(&mut served, &mut client, MIB).await;
    assert_eq!(served.rest().await, "", "it is closed");
}

#[tokio::test]
async fn a_connection_that_is_to_be_closed_after_a_large_answer_is() {
    let upstream = FakeUpstream::start().await;
    let (proxy, pipes) = with_pipes(&upstream, 1).await;
    let mut client = Peer::connect(proxy.address).await;
    for says in ["HTTP/1.1 200 OK\r\nConnection: close", "HTTP/1.0 200 OK"] {
        client.send(GET).await;
        let mut served = upstream.accept().await;
        served.head().await;
        served.send(format!("{says}\r\nContent-Length: {MIB}\r\n\r\n")).await;
        client.head().await;
        assert_eq!(pipes.left(), 0);
        passes(&mut served, &mut client, MIB).await;
        assert_eq!(served.rest().await, "", "it is closed");
    }
}

#[tokio::test]
async fn a_client_that_speaks_http_1_0_gets_a_large_answer() {
    let upstream = FakeUpstream::start().await;
    let (proxy, pipes) = with_pipes(&upstream, 1).await;
    let mut client = Peer::connect(proxy.address).await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(head(MIB)).await;
    client.head().await;
    assert_eq!(pipes.left(), 0);
    let text = body(MIB);
    let ((), read) = tokio::join!(served.send(&text), client.rest());
    assert!(read == text);
}

#[tokio::test]
async fn stopping_waits_for_a_large_answer() {
    let upstream = FakeUpstream::start().await;
    let mut proxy = TestProxy::start(config(upstream.address));
    let (mut client, mut served) = asked(proxy.address, &upstream).await;
    served.send(head(MIB) + &body(MIB)[..1000]).await;
    client.exactly(900).await;
    proxy.stop();
    soon(async {
        while TcpStream::connect(proxy.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let rest = body(MIB)[1000..].to_owned();
    let ((), read) = tokio::join!(served.send(&rest), client.rest());
    assert!(read.ends_with(&rest), "{}", read.len());
    proxy.stopped().await;
}

#[tokio::test]
async fn where_one_side_speaks_otherwise_a_large_answer_passes_as_others_do() {
    // TLS towards the client.
    let (folder, authority) = (Folder::new(), Authority::new());
    let identity = folder.identity("own", &authority.issue("localhost"));
    let upstream = FakeUpstream::start().await;
    let tls = Some(Tls { identity, client_ca: None });
    let proxy = TestProxy::start(Config { tls, ..config(upstream.address) });
    let mut client = connect(&proxy, authority.client(None, &[])).await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    let ((), ()) = tokio::join!(serve(&mut served, MIB), is_answered(&mut client, MIB));

    // TLS towards the upstream.
    let mut upstream = TlsUpstream::start(authority.issue("localhost").server()).await;
    let mut config = config(upstream.address);
    (config.upstream.scheme, config.upstream.host) = (Scheme::Https, "localhost".into());
    config.upstream_tls = UpstreamTls { ca: Some(folder.write("roots.pem", &authority.pem())), identity: None };
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send(GET).await;
    let (mut served, _) = upstream.accept().await;
    let ((), ()) = tokio::join!(serve(&mut served, MIB), is_answered(&mut client, MIB));

    // HTTP/2 from the client.
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(self::config(upstream.address));
    let mut client = http2::Client::connect(proxy.address).await;
    let (answer, _) = client.ask(Request::get("http://a/").body(()).expect("valid"), true).await;
    let reads = async {
        let mut answer = soon(answer).await.expect("an answer");
        http2::read(answer.body_mut()).await.expect("whole").0
    };
    let mut served = upstream.accept().await;
    let ((), read) = tokio::join!(serve(&mut served, MIB), reads);
    assert!(read == body(MIB));
}
