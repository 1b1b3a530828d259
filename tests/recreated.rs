//! A target that was made anew is somewhere else: nothing of ours goes to where it was.

mod support;

use anteroom::engine::Sighting;
use anteroom::evidence::{Attachment, Status, Target};
use support::http2::Http2Upstream;
use support::raw::Peer;
use support::seen::{container, sighting};
use support::{FakeUpstream, TestProxy, config, soon};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Lets the engine tell of the target for the first time, and waits until that is known.
async fn knows(proxy: &TestProxy, sighting: Sighting) {
    proxy.sightings.send_replace(sighting);
    soon(async {
        loop {
            let mut client = proxy.client().await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\nConnection: close\r\n\r\n").await;
            if client.answer().await.body.contains("cvat_grafana") {
                break;
            }
        }
    })
    .await;
}

/// Asks over a connection of its own, and returns both ends when the upstream has the request.
async fn ask(proxy: &TestProxy, upstream: &FakeUpstream) -> (Peer, Peer) {
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    served.head().await;
    (client, served)
}

#[tokio::test]
async fn idle_connections_are_closed_when_the_engine_tells_of_another_run() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    knows(&proxy, sighting(Status::Running)).await;
    let (mut client, mut served) = ask(&proxy, &upstream).await;
    served.send(OK).await;
    client.answer().await;
    proxy.sightings.send_replace(sighting(Status::Running));
    assert_eq!(served.rest().await, "", "it ends, though nobody asks for anything");
    client.send(GET).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send(OK).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn a_connection_in_use_is_not_cut_and_not_used_again() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    knows(&proxy, sighting(Status::Running)).await;
    let (mut client, mut served) = ask(&proxy, &upstream).await;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha").await;
    client.until("ha").await;
    proxy.sightings.send_replace(sighting(Status::Running));
    // The second one is published once it is answered for.
    let (mut other, mut beside) = ask(&proxy, &upstream).await;
    served.send("lf").await;
    assert_eq!(client.exactly(2).await, "lf");
    assert_eq!(served.rest().await, "", "it is closed now");
    beside.send(OK).await;
    assert_eq!(other.answer().await.status(), 200);
}

#[tokio::test]
async fn a_shared_connection_gets_no_further_request() {
    let mut upstream = Http2Upstream::start(h2::server::Builder::new()).await;
    let mut config = config(upstream.address);
    config.upstream.scheme = anteroom::evidence::Scheme::H2c;
    let proxy = TestProxy::start(config);
    knows(&proxy, sighting(Status::Running)).await;
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut first = upstream.accept().await;
    proxy.sightings.send_replace(sighting(Status::Running));
    let mut second = loop {
        // Until the news has come.
        let mut other = proxy.client().await;
        other.send(GET).await;
        let mut asked = upstream.accept().await;
        if asked.connection != first.connection {
            break asked;
        }
        asked.ok();
        other.answer().await;
    };
    first.ok();
    assert_eq!(client.answer().await.status(), 200, "what ran goes on");
    second.ok();
}

/// Grafana runs, at this address.
fn at(address: [u8; 4]) -> Sighting {
    let mut container = container(Status::Running);
    let network = Attachment {
        network: "cvat_cvat".into(),
        network_id: "c0ffee".into(),
        aliases: vec![],
        address: Some(address.into()),
    };
    container.networks.push(network);
    Sighting { target: Target::Found(container.into()), ..sighting(Status::Running) }
}

#[tokio::test]
async fn who_waits_for_an_answer_from_an_address_that_is_nobodys_any_more_waits_no_longer() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    knows(&proxy, at([127, 0, 0, 1])).await;
    let (mut get, _silent) = ask(&proxy, &upstream).await;
    let mut post = proxy.client().await;
    post.send("POST / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nContent-Length: 2\r\n\r\nhi").await;
    let mut silent_too = upstream.accept().await;
    silent_too.head().await;
    // Nothing closes a connection to a container that was taken off its network.
    proxy.sightings.send_replace(at([127, 0, 0, 9]));
    let answer = post.answer().await;
    assert_eq!((answer.status(), &answer.json()["findings"][0]["code"]), (502, &"closed-early".into()));
    let mut again = upstream.accept().await;
    assert!(again.head().await.starts_with("GET / "), "what may be repeated is sent again");
    again.send(OK).await;
    assert_eq!(get.answer().await.status(), 200);
}
