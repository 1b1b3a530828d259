//! The body of a held request: taken in as far as it can be kept, and arriving as it was sent.

mod support;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anteroom::config::{Config, Spool};
use anteroom::instance::{BindError, Instance};
use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, HeaderValue, Request};
use support::certificates::Folder;
use support::raw::{Peer, header};
use support::{FakeUpstream, LONG, TestProxy, config, http2, nobody, soon};
use tokio::net::TcpSocket;
use tokio::time::{interval, sleep, timeout};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MIB: usize = 1 << 20;
/// What is read at once at most, roughly.
const FRAME: usize = 128 << 10;
/// A write that takes longer is taken to be one that nobody makes room for.
const STUCK: Duration = Duration::from_secs(1);

/// How often a file is looked at whose growth nobody tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// As much as the kernel may hold of a connection that is not read any more (`tcp_rmem`, `man 7 tcp`), and some of the
/// client's own narrow buffer.
fn slack() -> usize {
    let limits = fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").expect("Linux");
    limits.split_ascii_whitespace().last().expect("three numbers").parse::<usize>().expect("a number") + MIB
}

/// A body of which no two pieces are alike.
fn body(bytes: usize) -> String {
    (0..bytes / 8).map(|number| format!("{number:07}\n")).collect()
}

fn post(length: usize) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

fn spooling(upstream: SocketAddr, folder: &Folder, bytes: usize) -> Config {
    Config { spool: Some(Spool { folder: folder.path().into(), bytes: bytes as u64 }), ..config(upstream) }
}

/// A client whose kernel takes little ahead of what is read.
async fn narrow(proxy: &TestProxy) -> Peer {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_send_buffer_size(64 << 10).expect("an option");
    Peer::new(soon(socket.connect(proxy.address)).await.expect("it listens"))
}

/// Sends until nothing is taken any more. Says how much was.
async fn stuff(client: &mut Peer, bytes: &[u8]) -> usize {
    let mut sent = 0;
    while sent < bytes.len() {
        let end = bytes.len().min(sent + (64 << 10));
        match timeout(STUCK, client.write_some(&bytes[sent..end])).await {
            Ok(written) => sent += written,
            Err(_) => break,
        }
    }
    sent
}

/// The files of a folder that have no name any more and are open: here is where the proxy runs.
fn nameless(folder: &Path) -> Vec<PathBuf> {
    let open = fs::read_dir("/proc/self/fd").expect("Linux").flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| fs::read_link(path).is_ok_and(|file| file.starts_with(folder));
    open.filter(is_ours).collect()
}

/// How much is in them.
fn spooled(folder: &Folder) -> u64 {
    nameless(folder.path()).iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum()
}

/// Waits until no file is open.
async fn until_nothing_is_spooled(folder: &Folder) {
    soon(async {
        while !nameless(folder.path()).is_empty() {
            sleep(LOOK_AGAIN).await;
        }
    })
    .await;
}

/// A held request whose body was taken in, most of it by the spool.
struct TakenIn {
    folder: Folder,
    client: Peer,
    body: String,
    address: SocketAddr,
    _proxy: TestProxy,
}

impl TakenIn {
    async fn whole(method: &str, length: usize) -> Self {
        Self::within(LONG, method, length).await
    }

    /// The upstream may be silent for so long.
    async fn within(response_timeout: Duration, method: &str, length: usize) -> Self {
        let address = nobody().await;
        let folder = Folder::new();
        let config = Config { response_timeout, ..spooling(address, &folder, 64 * MIB) };
        let proxy = TestProxy::start(config);
        let body = body(length);
        let mut client = proxy.client().await;
        client.send(post(body.len()).replace("POST", method)).await;
        client.send(&body).await;
        kept_in_a_file(&folder, body.len()).await;
        Self { folder, client, body, address, _proxy: proxy }
    }

    /// The upstream comes.
    async fn upstream(&self) -> FakeUpstream {
        FakeUpstream::start_at(self.address).await
    }
}

/// Serves one request, and checks what arrives.
async fn serve(upstream: &FakeUpstream, expected: &str) -> String {
    let mut served = upstream.accept().await;
    let head = served.head().await;
    let arrived = served.exactly(expected.len()).await;
    assert!(arrived == expected, "what arrives is what was sent");
    served.send(OK).await;
    head
}

#[tokio::test]
async fn a_body_that_can_be_kept_is_taken_in_before_there_is_an_upstream() {
    let address = nobody().await;
    let proxy = TestProxy::start(config(address));
    let body = body(900 << 10);
    let mut client = narrow(&proxy).await;
    client.send(post(body.len())).await;
    client.send(&body).await;
    let upstream = FakeUpstream::start_at(address).await;
    serve(&upstream, &body).await;
    assert_eq!(client.answer().await.body, "ok");
}

/// What of a larger body is not taken in waits, and arrives with the rest.
async fn waits_with_the_rest(proxy: &TestProxy, address: SocketAddr) {
    let body = body(2 * MIB + slack());
    let mut client = narrow(proxy).await;
    client.send(post(body.len())).await;
    let sent = stuff(&mut client, body.as_bytes()).await;
    assert!((MIB - FRAME..MIB + slack()).contains(&sent), "{sent}");
    let upstream = FakeUpstream::start_at(address).await;
    let (_, ()) = tokio::join!(serve(&upstream, &body), client.send(&body[sent..]));
    assert_eq!(client.answer().await.body, "ok");
}

#[tokio::test]
async fn a_larger_body_has_to_wait_with_the_rest_and_arrives_whole() {
    let address = nobody().await;
    waits_with_the_rest(&TestProxy::start(config(address)), address).await;
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_spooled_and_arrives_whole() {
    let mut held = TakenIn::whole("POST", 20 * MIB).await;
    serve(&held.upstream().await, &held.body).await;
    assert_eq!(held.client.answer().await.body, "ok");
    until_nothing_is_spooled(&held.folder).await;
}

/// Waits until all of a body is in its file but what is in memory, which may be a frame less than its bound.
async fn kept_in_a_file(folder: &Folder, length: usize) {
    let least = length - MIB;
    soon(async {
        loop {
            let spooled = spooled(folder) as usize;
            if spooled >= least {
                assert!(spooled < least + 3 * FRAME, "{spooled}");
                // It had one for an instant.
                let named = fs::read_dir(folder.path()).expect("it is there").count();
                assert_eq!(named, 0, "nothing has a name");
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_body_that_is_being_spooled_when_its_upstream_comes_arrives_whole() {
    let body = body(16 * MIB);
    for _ in 0..4 {
        let address = nobody().await;
        let folder = Folder::new();
        let proxy = TestProxy::start(spooling(address, &folder, 32 * MIB));
        let mut client = proxy.client().await;
        client.send(post(body.len())).await;
        let serving = async {
            while spooled(&folder) == 0 {
                sleep(LOOK_AGAIN).await;
            }
            let upstream = FakeUpstream::start_at(address).await;
            serve(&upstream, &body).await;
        };
        tokio::join!(soon(serving), client.send(&body));
        assert_eq!(client.answer().await.body, "ok");
    }
}

#[tokio::test]
async fn beyond_the_limit_of_the_spool_a_body_has_to_wait_and_arrives_whole() {
    let address = nobody().await;
    let folder = Folder::new();
    let proxy = TestProxy::start(spooling(address, &folder, 8 * MIB));
    let (small, large) = (body(8 * MIB), body(8 * MIB + slack()));
    let (mut first, mut second) = (proxy.client().await, narrow(&proxy).await);
    first.send(post(small.len())).await;
    first.send(&small).await;
    kept_in_a_file(&folder, small.len()).await;
    second.send(post(large.len())).await;
    let sent = stuff(&mut second, large.as_bytes()).await;
    assert!((2 * MIB - FRAME..large.len()).contains(&sent), "{sent}");
    assert!((8 * MIB - FRAME..=8 * MIB).contains(&(spooled(&folder) as usize)), "{}", spooled(&folder));
    let upstream = FakeUpstream::start_at(address).await;
    let both = async {
        // In order of arrival.
        serve(&upstream, &small).await;
        serve(&upstream, &large).await;
    };
    let rest = async {
        assert_eq!(first.answer().await.body, "ok");
        second.send(&large[sent..]).await;
        assert_eq!(second.answer().await.body, "ok");
    };
    tokio::join!(both, rest);
}

#[tokio::test]
async fn a_spooled_body_is_sent_again_where_its_request_may_be() {
    for (method, again) in [("PUT", true), ("POST", false)] {
        let mut held = TakenIn::whole(method, 4 * MIB).await;
        let upstream = held.upstream().await;
        let mut served = upstream.accept().await;
        served.head().await;
        served.exactly(2 * MIB).await;
        served.reset();
        if again {
            serve(&upstream, &held.body).await;
        }
        assert_eq!(held.client.answer().await.status(), if again { 200 } else { 502 }, "{method}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_part_of_the_spool_back() {
    let folder = Folder::new();
    let proxy = TestProxy::start(spooling(nobody().await, &folder, 4 * MIB));
    let body = body(4 * MIB);
    for reset in [false, true, false] {
        let mut first = proxy.client().await;
        first.send(post(body.len() + 1)).await;
        // No two of them have room.
        first.send(&body).await;
        kept_in_a_file(&folder, body.len() - FRAME).await;
        if reset {
            first.reset();
        } else {
            drop(first);
        }
        until_nothing_is_spooled(&folder).await;
    }
}

#[tokio::test]
async fn trailers_follow_a_body_that_was_taken_in() {
    for length in [24, 3 * MIB] {
        let address = nobody().await;
        let folder = Folder::new();
        let proxy = TestProxy::start(spooling(address, &folder, 32 * MIB));
        let body = body(length);
        let mut client = proxy.client().await;
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for piece in body.as_bytes().chunks(100_000) {
            client.send(format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece))).await;
        }
        client.send("0\r\nX-Sum: 1\r\n\r\n").await;
        if length > MIB {
            kept_in_a_file(&folder, length).await;
        }
        let upstream = FakeUpstream::start_at(address).await;
        let mut served = upstream.accept().await;
        assert_eq!(header(&served.head().await, "transfer-encoding"), Some("chunked"));
        let mut arrived = String::new();
        loop {
            let size = served.until("\r\n").await;
            match usize::from_str_radix(size.trim(), 16).expect("a size") {
                0 => break,
                size => arrived += served.exactly(size + 2).await.trim_end_matches("\r\n"),
            }
        }
        assert!(arrived == body, "{length}");
        assert_eq!(served.until("\r\n\r\n").await, "x-sum: 1\r\n\r\n");
        served.send(OK).await;
        assert_eq!(client.answer().await.body, "ok");
    }
}

/// Sends data as fast as it is taken.
async fn send_all(stream: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = soon(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await.expect("open").expect("open");
        stream.send_data(data.split_to(room.min(data.len())), false).expect("open");
    }
}

#[tokio::test]
async fn what_comes_over_http2_is_taken_in_as_well() {
    let address = nobody().await;
    let folder = Folder::new();
    let proxy = TestProxy::start(spooling(address, &folder, 32 * MIB));
    let body = body(3 * MIB);
    let mut client = http2::Client::connect(proxy.address).await;
    let request = Request::post("http://a/x").header("content-length", body.len()).body(()).expect("valid");
    let (answer, mut stream) = client.ask(request, false).await;
    send_all(&mut stream, Bytes::from(body.clone())).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    stream.send_trailers(trailers).expect("open");
    kept_in_a_file(&folder, body.len()).await;
    let upstream = FakeUpstream::start_at(address).await;
    let head = serve(&upstream, &body).await;
    assert_eq!(header(&head, "content-length"), Some(body.len().to_string().as_str()));
    assert_eq!(soon(answer).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_mistake_in_a_body_is_answered_while_its_request_is_held_and_frees_its_place() {
    let mut config = config(nobody().await);
    config.max_held = 1;
    config.limits.body_bytes = Some(8);
    let proxy = TestProxy::start(config);
    for (rest, status) in [("nonsense\r\n", 400), ("4\r\nmore\r\n0\r\n\r\n", 413)] {
        let mut client = narrow(&proxy).await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        until_full(&proxy, true).await;
        client.send(rest).await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_with_more_than_can_be_kept_frees_its_place() {
    let mut config = config(nobody().await);
    config.max_held = 1;
    let proxy = TestProxy::start(config);
    for reset in [false, true] {
        let mut client = proxy.client().await;
        client.send(post(16 * MIB)).await;
        client.send(body(MIB + MIB / 4)).await;
        until_full(&proxy, true).await;
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        until_full(&proxy, false).await;
    }
}

/// Waits until nobody more is held, or until somebody would be.
async fn until_full(proxy: &TestProxy, full: bool) {
    soon(async {
        loop {
            let mut other = proxy.client().await;
            other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let answer = timeout(Duration::from_millis(100), other.answer()).await;
            if let Ok(answer) = &answer {
                assert_eq!(answer.status(), 503);
            }
            if answer.is_ok() == full {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn time_that_a_client_takes_while_it_is_held_is_not_counted_against_it() {
    let address = nobody().await;
    let mut config = config(address);
    config.response_timeout = Duration::from_millis(400);
    let proxy = TestProxy::start(config);
    let body = body(80);
    let mut client = narrow(&proxy).await;
    client.send(post(body.len())).await;
    let mut tick = interval(Duration::from_millis(100));
    for byte in body[..8].bytes() {
        tick.tick().await;
        client.send([byte]).await;
    }
    let upstream = FakeUpstream::start_at(address).await;
    let mut served = upstream.accept().await;
    served.head().await;
    client.send(&body[8..]).await;
    assert_eq!(served.exactly(body.len()).await, body);
    // And whose body is there whole is not the one that is waited for.
    assert_eq!(client.answer().await.status(), 504);
}

#[tokio::test]
async fn a_spooled_body_that_flows_is_no_silence_of_the_upstream() {
    let mut held = TakenIn::within(Duration::from_millis(1500), "POST", 50 * MIB).await;
    let upstream = held.upstream().await;
    let mut served = upstream.accept().await;
    served.head().await;
    let mut tick = interval(Duration::from_millis(100));
    for piece in held.body.as_bytes().chunks(2 * MIB) {
        tick.tick().await;
        assert!(served.exactly(piece.len()).await.as_bytes() == piece);
    }
    served.send(OK).await;
    assert_eq!(held.client.answer().await.body, "ok");
}

#[tokio::test]
async fn an_answer_that_comes_early_ends_the_sending_of_what_was_taken_in() {
    let mut held = TakenIn::whole("POST", 24 * MIB).await;
    let upstream = held.upstream().await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(OK).await;
    assert_eq!(held.client.answer().await.body, "ok");
    let began = Instant::now();
    upstream.left_alone().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    until_nothing_is_spooled(&held.folder).await;
    assert!(served.rest().await.len() < held.body.len());
}

#[tokio::test]
async fn a_disk_that_fails_in_reading_costs_the_request_and_sends_nothing_wrong() {
    let mut held = TakenIn::whole("PUT", 3 * MIB).await;
    for file in nameless(held.folder.path()) {
        File::options().write(true).open(file).and_then(|file| file.set_len(MIB as u64)).expect("it is ours");
    }
    let upstream = held.upstream().await;
    let mut served = upstream.accept().await;
    served.head().await;
    let (arrived, body) = (served.rest().await, &held.body);
    assert!(arrived.len() < body.len() && body.starts_with(&arrived), "{}", arrived.len());
    let answer = held.client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("error=proxy_internal_error"), "{answer}");
}

#[tokio::test]
async fn a_disk_that_fails_in_writing_costs_time_and_nothing_else() {
    let address = nobody().await;
    let folder = Folder::new();
    let proxy = TestProxy::start(spooling(address, &folder, 32 * MIB));
    fs::remove_dir(folder.path()).expect("it is empty");
    waits_with_the_rest(&proxy, address).await;
}

#[tokio::test]
async fn a_folder_that_no_file_can_be_made_in_is_refused_at_the_start() {
    let folder = Folder::new();
    let file: PathBuf = folder.write("file", "").to_path_buf();
    for path in [folder.path().join("missing"), file] {
        let spool = Some(Spool { folder: path.as_path().into(), bytes: 1 });
        let Err(BindError::Files(invalid)) = Instance::bind(Config { spool, ..config(nobody().await) }) else {
            panic!("{} is accepted", path.display());
        };
        assert_eq!((invalid.len(), invalid[0].setting.as_str()), (1, "ANTEROOM_SPOOL_DIR"));
        assert!(invalid[0].to_string().contains(&path.display().to_string()), "{}", invalid[0]);
    }
}
