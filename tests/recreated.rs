//! A target that was made anew is somewhere else: nothing of ours goes to where it was.

mod support;

use anteroom::evidence::Status;
use support::http2::Http2Upstream;
use support::seen::sighting;
use support::{FakeUpstream, TestProxy, config};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn idle_connections_are_closed_when_the_engine_tells_of_another_run() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    proxy.sightings.send_replace(sighting(Status::Running));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    served.head().await;
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
    proxy.sightings.send_replace(sighting(Status::Running));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut served = upstream.accept().await;
    served.head().await;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha").await;
    client.until("ha").await;
    proxy.sightings.send_replace(sighting(Status::Running));
    // The second one is published once it is answered for.
    let mut other = proxy.client().await;
    other.send(GET).await;
    let mut beside = upstream.accept().await;
    beside.head().await;
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
    proxy.sightings.send_replace(sighting(Status::Running));
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
