//! Crowds of clients: more than there are files for, such as take nothing of what they asked for, and such as wait.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use support::http2::Client;
use support::program::Program;
use support::raw::Peer;
use support::unwatched::Unwatched;
use support::{FakeUpstream, config, nobody, soon, taken_slowly};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Asks over so many connections at once, and keeps each until `together` are answered.
async fn crowd(program: &Program, clients: usize, together: usize) {
    let all_here = Arc::new(tokio::sync::Barrier::new(together));
    let mut crowd = JoinSet::new();
    for _ in 0..clients {
        let (address, all_here) = (program.address, Arc::clone(&all_here));
        crowd.spawn(async move {
            let mut client = Peer::connect(address).await;
            client.send(GET).await;
            assert_eq!(client.answer().await.body, "ok");
            all_here.wait().await;
        });
    }
    soon(async { while crowd.join_next().await.transpose().expect("no client fails").is_some() {} }).await;
}

#[tokio::test]
async fn more_clients_are_served_than_the_soft_limit_of_files_has_room_for() {
    let upstream = FakeUpstream::start().await.answering(OK);
    let program = Program::start(upstream.address, "ulimit -Sn 64");
    crowd(&program, 100, 100).await;
}

#[tokio::test]
async fn where_there_are_few_files_clients_wait_for_each_other_and_all_are_served() {
    let upstream = FakeUpstream::start().await.answering(OK);
    let program = Program::start(upstream.address, "ulimit -n 200");
    program.says("44 connections of clients are open at once, and not 16384").await;
    crowd(&program, 176, 44).await;
}

#[tokio::test]
async fn requests_over_one_connection_wait_for_files_and_none_is_told_that_the_upstream_is_away() {
    let upstream = FakeUpstream::start().await;
    let program = Program::start(upstream.address, "ulimit -n 200");
    let mut client = Client::connect(program.address).await;
    let mut asked = Vec::new();
    for number in 0..90 {
        let request = http::Request::get(format!("http://a/{number}")).body(()).expect("a request");
        asked.push(client.ask(request, true).await.0);
    }
    // As many as there are files for are there at once, and stay until all of them have come.
    let mut served = Vec::new();
    while served.len() < 44 {
        served.push(upstream.accept().await);
    }
    let more = tokio::time::timeout(Duration::from_millis(300), upstream.accept());
    assert!(more.await.is_err(), "more than there is room for");
    let answers = |mut peer: Peer| async move {
        while peer.has_data().await {
            peer.head().await;
            peer.send(OK).await;
        }
    };
    let mut serving: JoinSet<()> = served.into_iter().map(answers).collect();
    let others = async {
        loop {
            serving.spawn(answers(upstream.accept().await));
        }
    };
    let answered = tokio::select! {
        answered = soon(join_all(asked)) => answered,
        () = others => unreachable!("it goes on"),
    };
    for answer in answered {
        assert_eq!(answer.expect("an answer").status(), 200);
    }
}

#[tokio::test]
async fn of_those_who_ask_at_once_few_are_under_way_at_once_and_all_are_served() {
    const CROWD: usize = 150;
    let (upstream, accepted) = (FakeUpstream::start().await, Arc::<AtomicUsize>::default());
    let (address, counted) = (upstream.address, Arc::clone(&accepted));
    tokio::spawn(async move {
        loop {
            let mut peer = upstream.accept().await;
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                while peer.has_data().await {
                    peer.head().await;
                    peer.send(OK).await;
                }
            });
        }
    });
    // In this thread, so that nobody else decides who comes to his turn.
    let proxy = Unwatched::start(config(address)).await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(Peer::connect(proxy.address).await);
    }
    for _ in 0..2 {
        join_all(crowd.iter_mut().map(|client| client.send(GET))).await;
        for answer in join_all(crowd.iter_mut().map(Peer::answer)).await {
            assert_eq!(answer.body, "ok");
        }
    }
    let connections = accepted.load(Ordering::Relaxed);
    assert!(connections < CROWD * 3 / 4, "{connections}");
}

/// What so many clients more take of memory in KiB, each, who ask for an answer and take nothing of it.
async fn idlers(program: &Program, number: usize, crowd: &mut Vec<Peer>) -> usize {
    let before = program.memory();
    for _ in 0..number {
        let mut client = Peer::connect(program.address).await;
        client.send(GET).await;
        crowd.push(client);
    }
    // Until nothing has been added for a while, which has to be a long one where others are busy, too.
    let (mut now, mut same) = (0, 0);
    while same < 8 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let last = std::mem::replace(&mut now, program.memory());
        same = if last == now { same + 1 } else { 0 };
    }
    now.saturating_sub(before) / number
}

/// Text that lasts as long as the process.
fn kept(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

const LARGE: usize = 16 << 20;

#[tokio::test]
async fn a_client_that_takes_nothing_of_a_large_answer_keeps_little_of_it_here() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n{}", "x".repeat(LARGE));
    let upstream = FakeUpstream::start().await.answering(kept(answer));
    let program = Program::start(upstream.address, "");
    let mut crowd = Vec::new();
    idlers(&program, 1, &mut crowd).await;
    let each = idlers(&program, 50, &mut crowd).await;
    assert!(each < 60, "{each} KiB");
}

#[tokio::test]
async fn of_many_that_take_nothing_of_answers_of_unknown_length_few_keep_much() {
    let body = "x".repeat(LARGE);
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{LARGE:x}\r\n{body}\r\n0\r\n\r\n");
    let upstream = FakeUpstream::start().await.answering(kept(answer));
    let program = Program::start(upstream.address, "");
    let mut crowd = Vec::new();
    // These may read much at once.
    idlers(&program, 64, &mut crowd).await;
    let each = idlers(&program, 60, &mut crowd).await;
    // It was 120 when hyper took up to 64 KiB more than it could write.
    assert!(each < 100, "{each} KiB");
}

#[tokio::test]
async fn a_client_that_takes_slowly_gets_all_of_an_answer_of_unknown_length() {
    let body: String = (0..LARGE / 8).map(|number| format!("{number:07} ")).collect();
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{LARGE:x}\r\n{body}\r\n0\r\n\r\n");
    let upstream = FakeUpstream::start().await.answering(kept(answer));
    let program = Program::start(upstream.address, "");
    // One without chunks, and one with them.
    for version in ["1.0", "1.1"] {
        let mut client = TcpStream::connect(program.address).await.expect("it listens");
        let request = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("room");
        let taken = taken_slowly(&mut client, Duration::from_millis(5)).await;
        let (_, taken) = taken.split_once("\r\n\r\n").expect("a head");
        let taken = if version == "1.1" { without_chunks(taken) } else { taken.to_owned() };
        assert!(taken == body, "{} of {} bytes", taken.len(), body.len());
    }
}

fn without_chunks(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a number");
        if size == 0 {
            return body;
        }
        body += &after[..size];
        rest = &after[size + 2..];
    }
}

#[tokio::test]
async fn a_request_that_is_held_takes_little() {
    let program = Program::start(nobody().await, "");
    let mut crowd = Vec::new();
    idlers(&program, 10, &mut crowd).await;
    let each = idlers(&program, 200, &mut crowd).await;
    // It was 15 with hyper's buffers.
    assert!(each <= 8, "{each} KiB");
}
