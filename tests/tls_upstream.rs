//! TLS towards the upstream.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anteroom::config::{Config, Tls, UpstreamTls};
use anteroom::evidence::Scheme;
use anteroom::proxy::host_of;
use support::certificates::{Authority, Certificate, Folder};
use support::encrypted::{TlsUpstream, connect};
use support::raw::{Answer, header};
use support::{FakeUpstream, TestProxy, config};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

const GET: &str = "GET /api/x HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const ASK: &str = "GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Towards an upstream of that name at that address, trusting `ca`.
fn towards(host: &str, address: SocketAddr, folder: &Folder, ca: &Authority) -> Config {
    let mut config = config(address);
    config.upstream.scheme = Scheme::Https;
    config.upstream.host = host.into();
    config.upstream_tls = UpstreamTls { ca: Some(folder.write("roots.pem", &ca.pem())), identity: None };
    config
}

#[tokio::test]
async fn an_https_upstream_is_asked_by_its_name_and_trusted_by_the_given_roots() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mut upstream = TlsUpstream::start(authority.issue("localhost").server()).await;
    let proxy = TestProxy::start(towards("localhost", upstream.address, &folder, &authority));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let (mut served, name) = upstream.accept().await;
    assert_eq!(name.as_deref(), Some("localhost"));
    for _ in 0..2 {
        assert!(served.head().await.starts_with("GET /api/x HTTP/1.1\r\n"));
        served.send(OK).await;
        assert_eq!(client.answer().await.body, "ok");
        // The connection is kept for the next request.
        client.send(GET).await;
    }
}

#[tokio::test]
async fn an_https_upstream_may_be_named_by_its_address() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mut upstream = TlsUpstream::start(authority.issue("127.0.0.1").server()).await;
    let proxy = TestProxy::start(towards("127.0.0.1", upstream.address, &folder, &authority));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let (mut served, name) = upstream.accept().await;
    assert_eq!(name, None, "SNI has no addresses (RFC 6066 §3)");
    served.head().await;
    served.send(OK).await;
    assert_eq!(client.answer().await.body, "ok");
}

#[tokio::test]
async fn the_ready_path_is_asked_over_tls() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mut upstream = TlsUpstream::start(authority.issue("localhost").server()).await;
    let mut config = towards("localhost", upstream.address, &folder, &authority);
    config.upstream.ready_path = Some("/health".into());
    let _proxy = TestProxy::start(config);
    let (mut served, _) = upstream.accept().await;
    assert!(served.head().await.starts_with("GET /health HTTP/1.1\r\n"));
}

#[test]
fn the_port_of_https_is_left_out_of_host() {
    let host = |scheme, port| {
        let mut config = config("127.0.0.1:9".parse().expect("an address"));
        (config.upstream.scheme, config.upstream.port, config.upstream.host) = (scheme, port, "grafana".into());
        host_of(&config)
    };
    assert_eq!(host(Scheme::Https, 443), "grafana");
    assert_eq!(host(Scheme::Https, 80), "grafana:80");
    assert_eq!(host(Scheme::Http, 443), "grafana:443");
    assert_eq!(host(Scheme::H2c, 80), "grafana");
}

/// What a client is told that is held until its patience ends.
async fn refusal(mut config: Config) -> Answer {
    config.patience.request = Duration::from_millis(300);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send(GET).await;
    client.answer().await
}

fn mismatch(answer: &Answer) -> String {
    let document = answer.json();
    assert!(document["type"].as_str().is_some_and(|it| it.ends_with("#tls-mismatch")), "{answer:?}");
    assert!([502, 503].contains(&answer.status()), "{answer:?}");
    assert!(answer.header("proxy-status").is_some_and(|it| it.contains("tls-mismatch")), "{answer:?}");
    document.to_string()
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_explained_once_patience_ends() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (own, same) = Authority::of_authority("localhost");
    for (authority, certificate, told) in [
        (&own, same, "an authority's own (CA:TRUE)"),
        (&authority, authority.issue("elsewhere"), "is only valid for"),
        (&authority, Authority::new().issue("localhost"), "signed by nobody whom we trust"),
        (&authority, authority.issue_expired("localhost"), "has expired"),
    ] {
        let upstream = TlsUpstream::start(certificate.server()).await;
        let answer = refusal(towards("localhost", upstream.address, &folder, authority)).await;
        let document = mismatch(&answer);
        assert!(document.contains(told), "{document}");
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_no_tls_is_explained() {
    let (folder, authority, upstream) = (Folder::new(), Authority::new(), FakeUpstream::start().await);
    let (silent, address) = (FakeUpstream::start().await, upstream.address);
    let plain = tokio::spawn(async move {
        loop {
            // Whatever comes, as a server does that cannot make sense of it.
            upstream.accept().await.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    let document = mismatch(&refusal(towards("localhost", address, &folder, &authority)).await);
    assert!(document.contains("it does not speak TLS"), "{document}");
    plain.abort();

    let mut config = towards("localhost", silent.address, &folder, &authority);
    config.connect_timeout = Duration::from_millis(100);
    let document = mismatch(&refusal(config).await);
    assert!(document.contains("did not finish the handshake in time"), "{document}");
}

#[tokio::test]
async fn a_request_is_held_until_the_roots_are_mended() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mut upstream = TlsUpstream::start(authority.issue("localhost").server()).await;
    let proxy = TestProxy::start(towards("localhost", upstream.address, &folder, &Authority::new()));
    let mut client = proxy.client().await;
    client.send(GET).await;
    folder.write("roots.pem", &authority.pem());
    let (mut served, _) = upstream.accept().await;
    served.head().await;
    served.send(OK).await;
    assert_eq!(client.answer().await.body, "ok");
}

/// An upstream that wants to know who asks.
fn demanding(certificate: &Certificate, of: &Authority) -> ServerConfig {
    let verifier = WebPkiClientVerifier::builder(Arc::new(of.roots())).build().expect("an authority");
    let builder = ServerConfig::builder().with_client_cert_verifier(verifier);
    builder.with_single_cert(vec![certificate.der()], certificate.key_der()).expect("a pair")
}

#[tokio::test]
async fn the_upstream_is_shown_our_certificate() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mut upstream = TlsUpstream::start(demanding(&authority.issue("localhost"), &authority)).await;
    let mut config = towards("localhost", upstream.address, &folder, &authority);
    config.upstream_tls.identity = Some(folder.identity("own", &authority.issue("anteroom")));
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send(GET).await;
    let (mut served, _) = upstream.accept().await;
    served.head().await;
    served.send(OK).await;
    assert_eq!(client.answer().await.body, "ok");
}

#[tokio::test]
async fn an_upstream_that_demands_a_certificate_that_we_lack_is_explained() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let upstream = TlsUpstream::start(demanding(&authority.issue("localhost"), &authority)).await;
    let document = mismatch(&refusal(towards("localhost", upstream.address, &folder, &authority)).await);
    assert!(document.contains("it demands a certificate of ours"), "{document}");
}

#[tokio::test]
async fn a_websocket_passes_through_tls_on_both_sides() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mut upstream = TlsUpstream::start(authority.issue("localhost").server()).await;
    let mut config = towards("localhost", upstream.address, &folder, &authority);
    let identity = folder.identity("own", &authority.issue("localhost"));
    config.tls = Some(Tls { identity, client_ca: None });
    let proxy = TestProxy::start(config);
    let mut client = connect(&proxy, authority.client(None, &["http/1.1"])).await;
    client.send(ASK).await;
    let (mut served, _) = upstream.accept().await;
    assert_eq!(header(&served.head().await, "upgrade"), Some("websocket"));
    served.send(AGREE).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.send("up").await;
    assert_eq!(served.exactly(2).await, "up");
    served.send("down").await;
    assert_eq!(client.exactly(4).await, "down");
    client.finish().await;
    assert_eq!(served.rest().await, "");
    served.send("last").await;
    served.finish().await;
    assert_eq!(client.rest().await, "last");
}
