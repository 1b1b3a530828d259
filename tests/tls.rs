//! TLS towards clients, and the files that it lives on.

mod support;

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anteroom::config::{Config, Identity, Tls, UpstreamTls};
use anteroom::evidence::Scheme;
use anteroom::tls::{self, Stream};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::certificates::{Authority, Folder};
use support::encrypted::{connect, shake};
use support::raw::Peer;
use support::{FakeUpstream, LONG, Serving, TestProxy, config, soon, taken_slowly};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

const GET: &str = "GET /api/x HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn shown(stream: &client::TlsStream<TcpStream>) -> CertificateDer<'static> {
    let chain = stream.get_ref().1.peer_certificates().expect("a server shows one");
    chain.first().expect("it is not empty").clone().into_owned()
}

async fn answering() -> Serving {
    FakeUpstream::start().await.answering(OK)
}

fn serving(identity: Identity, client_ca: Option<Arc<Path>>, upstream: SocketAddr) -> Config {
    Config { tls: Some(Tls { identity, client_ca }), ..config(upstream) }
}

#[tokio::test]
async fn requests_pass_over_tls_with_http_1_and_2() {
    let (folder, authority, upstream) = (Folder::new(), Authority::new(), answering().await);
    let identity = folder.identity("own", &authority.issue("localhost"));
    let proxy = TestProxy::start(serving(identity, None, upstream.address));
    for protocols in [&["http/1.1"][..], &[]] {
        let mut client = connect(&proxy, authority.client(None, protocols)).await;
        for _ in 0..2 {
            client.send(GET).await;
            assert_eq!(client.answer().await.body, "ok");
        }
    }

    let stream = shake(&proxy, authority.client(None, &["h2", "http/1.1"])).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = soon(handshake).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/").body(Empty::<bytes::Bytes>::new()).expect("a request");
    let answer = soon(sender.send_request(request)).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    assert_eq!(soon(answer.collect()).await.expect("a body").to_bytes(), "ok");
}

#[tokio::test]
async fn names_are_written_as_they_came_over_tls_too() {
    let (folder, authority, upstream) = (Folder::new(), Authority::new(), FakeUpstream::start().await);
    let identity = folder.identity("own", &authority.issue("localhost"));
    let proxy = TestProxy::start(serving(identity, None, upstream.address));
    let mut client = connect(&proxy, authority.client(None, &[])).await;
    let mut served = None;
    for field in ["X-CASE: 1", "X-Case: 2", "x-case: 3"] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")).await;
        let served = match &mut served {
            None => served.insert(upstream.accept().await),
            Some(served) => served,
        };
        let head = served.head().await;
        assert!(head.contains(&format!("\r\n{field}\r\n")), "{head}");
        served.send(OK).await;
        assert_eq!(client.answer().await.body, "ok");
    }
}

#[tokio::test]
async fn a_client_that_takes_slowly_gets_all_of_an_answer_over_tls_too() {
    const LARGE: usize = 16 << 20;
    let body: String = (0..LARGE / 8).map(|number| format!("{number:07} ")).collect();
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{LARGE:x}\r\n{body}\r\n0\r\n\r\n");
    let upstream = FakeUpstream::start().await.answering(Box::leak(answer.into_boxed_str()));
    let (folder, authority) = (Folder::new(), Authority::new());
    let identity = folder.identity("own", &authority.issue("localhost"));
    let proxy = TestProxy::start(serving(identity, None, upstream.address));
    let mut client = shake(&proxy, authority.client(None, &["http/1.1"])).await.expect("TLS");
    // Without chunks.
    client.write_all(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").await.expect("room");
    let taken = taken_slowly(&mut client, Duration::from_millis(1)).await;
    let (_, taken) = taken.split_once("\r\n\r\n").expect("a head");
    assert!(taken == body, "{} of {} bytes", taken.len(), body.len());
}

#[tokio::test]
async fn a_preface_that_does_not_come_over_tls_is_waited_for_as_long_as_a_head() {
    let (folder, authority, upstream) = (Folder::new(), Authority::new(), answering().await);
    let identity = folder.identity("own", &authority.issue("localhost"));
    let mut config = serving(identity, None, upstream.address);
    config.limits.header_timeout = Duration::from_millis(200);
    let proxy = TestProxy::start(config);
    for part in ["", "PRI * HTTP/2.0"] {
        let mut client = shake(&proxy, authority.client(None, &["h2"])).await.expect("TLS");
        client.write_all(part.as_bytes()).await.expect("room");
        let mut told = Vec::new();
        let _ = soon(client.read_to_end(&mut told)).await;
    }
}

#[tokio::test]
async fn what_is_asked_together_with_the_end_of_the_handshake_is_answered() {
    let (folder, authority, upstream) = (Folder::new(), Authority::new(), answering().await);
    let identity = folder.identity("own", &authority.issue("localhost"));
    let proxy = TestProxy::start(serving(identity, None, upstream.address));
    let ask = move || -> io::Result<String> {
        let mut tls = ClientConnection::new(authority.client(None, &[]), "localhost".try_into().expect("a name"))
            .map_err(io::Error::other)?;
        let mut stream = std::net::TcpStream::connect(proxy.address)?;
        stream.set_read_timeout(Some(LONG))?;
        stream.set_nodelay(true)?;
        while tls.is_handshaking() {
            // What is left to be written when the handshake is over waits for what is asked.
            while tls.wants_write() {
                tls.write_tls(&mut stream)?;
            }
            tls.read_tls(&mut stream)?;
            tls.process_new_packets().map_err(io::Error::other)?;
        }
        assert!(tls.wants_write(), "the end of the handshake is still here");
        tls.writer().write_all(GET.as_bytes())?;
        let mut together = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut together)?;
        }
        stream.write_all(&together)?;
        let (mut answer, mut piece) = (String::new(), [0; 1024]);
        while !answer.ends_with("ok") {
            if tls.read_tls(&mut stream)? == 0 {
                break;
            }
            tls.process_new_packets().map_err(io::Error::other)?;
            if let Ok(read) = tls.reader().read(&mut piece) {
                answer += &String::from_utf8_lossy(&piece[..read]);
            }
        }
        Ok(answer)
    };
    let answer = soon(tokio::task::spawn_blocking(ask)).await.expect("no panic").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_says_goodbye_while_it_waits_has_left_though_its_socket_stays_open() {
    let (folder, authority, upstream) = (Folder::new(), Authority::new(), FakeUpstream::start().await);
    let identity = folder.identity("own", &authority.issue("localhost"));
    let proxy = TestProxy::start(serving(identity, None, upstream.address));
    let mut client = shake(&proxy, authority.client(None, &[])).await.expect("TLS");
    client.write_all(GET.as_bytes()).await.expect("it reads");
    let mut served = upstream.accept().await;
    served.head().await;
    client.get_mut().1.send_close_notify();
    client.flush().await.expect("it reads");
    assert_eq!(served.rest().await, "");
}

#[tokio::test]
async fn a_client_that_speaks_neither_http_1_nor_2_is_refused() {
    let (folder, authority, upstream) = (Folder::new(), Authority::new(), answering().await);
    let identity = folder.identity("own", &authority.issue("localhost"));
    let proxy = TestProxy::start(serving(identity, None, upstream.address));
    assert!(shake(&proxy, authority.client(None, &["smtp"])).await.is_err());
}

#[tokio::test]
async fn a_certificate_that_changes_on_disk_is_used_by_the_next_connection_and_open_ones_go_on() {
    let (folder, authority, upstream) = (Folder::new(), Authority::new(), answering().await);
    let (old, new) = (authority.issue("localhost"), authority.issue("localhost"));
    let proxy = TestProxy::start(serving(folder.identity("own", &old), None, upstream.address));
    let stream = shake(&proxy, authority.client(None, &[])).await.expect("TLS");
    assert_eq!(shown(&stream), old.der());
    let mut open = Peer::over(Stream::Tls(Box::new(stream.into())));

    folder.identity("own", &new);
    soon(async {
        loop {
            let stream = shake(&proxy, authority.client(None, &[])).await.expect("one of both is always right");
            if shown(&stream) == new.der() {
                return;
            }
            // A whole exchange, so that the loop does not spin.
            open.send(GET).await;
            open.answer().await;
        }
    })
    .await;
    open.send(GET).await;
    assert_eq!(open.answer().await.body, "ok");
}

#[tokio::test]
async fn a_broken_or_half_written_new_file_keeps_the_old_one() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (old, new) = (authority.issue("localhost"), authority.issue("localhost"));
    let identity = folder.identity("own", &old);
    let config = serving(identity.clone(), None, "127.0.0.1:9".parse().expect("an address"));
    let (loaded, mut reload) = tls::load(&config).expect("the files are right");
    let mut served = loaded.served.expect("TLS is configured");
    reload.look();
    assert!(!served.has_changed().expect("someone looks"), "nothing has changed");

    for (name, content) in [
        ("own.pem", ""),
        ("own.pem", &new.certificate[..new.certificate.len() / 2]),
        // The new certificate is there, and its key not yet.
        ("own.pem", &*new.certificate),
    ] {
        folder.write(name, content);
        reload.look();
        assert!(!served.has_changed().expect("someone looks"), "{content}");
    }
    std::fs::remove_file(&identity.key).expect("it was there");
    reload.look();
    assert!(!served.has_changed().expect("someone looks"), "the key is gone");

    folder.write("own.key", &new.key);
    reload.look();
    assert!(served.has_changed().expect("someone looks"), "both are there");
    served.mark_unchanged();
    reload.look();
    assert!(!served.has_changed().expect("someone looks"), "it is read once");
}

/// As `openssl x509 -req` signs without `-extfile`.
const OF_VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBKDCBzwIUbxr+WyFURQa580zC4gTVDtv6UcUwCgYIKoZIzj0EAwIwFjEUMBIG
A1UEAwwLb2xkLmV4YW1wbGUwIBcNMjYxMTI3MTYwODUzWhgPMjEyNjExMDMxNjA4
NTNaMBYxFDASBgNVBAMMC29sZC5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAE5zwgH/c98hERRyGO9wHCnM+Gb52VtEYbXP8NDasTr9wbThSXMDCFwaf+
PvFCWIquwzJRNF66e75V4bdwOb6hTzAKBggqhkjOPQQDAgNIADBFAiEAyGAk3f87
N5oMDLYTQyMPRYT9m8hSkEfgrwjHcNxU+u0CIFkBpWUX8DMeBmEnL2Clza5g+d1g
HQq4II+Fo9QQ48j+
-----END CERTIFICATE-----
";

#[test]
fn a_wrong_file_is_refused_at_the_start_by_the_name_of_its_setting() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (one, other) = (authority.issue("localhost"), authority.issue("localhost"));
    let (certificate, key) = (folder.write("one.pem", &one.certificate), folder.write("one.key", &one.key));
    let (foreign, none) = (folder.write("other.key", &other.key), folder.write("none.pem", "nothing"));
    let address = "127.0.0.1:9".parse().expect("an address");
    let missing: Arc<Path> = Path::new("/no/such/file").into();
    let old = folder.write("old.pem", OF_VERSION_1);
    let damaged = folder.write("bad.pem", "-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n");
    for (certificate, key, ca, told) in [
        (&old, &key, None, "old.pem\" is a certificate of X.509 v1"),
        (&damaged, &key, None, "bad.pem\" holds a damaged certificate"),
        (&missing, &key, None, "ANTEROOM_TLS_CERT=\"/no/such/file\" cannot be read: No such file"),
        (&none, &key, None, "holds no certificate"),
        (&certificate, &none, None, "holds no private key"),
        (&certificate, &certificate, None, "holds no private key"),
        (&certificate, &foreign, None, "is not the key of the certificate"),
        (&certificate, &key, Some(missing.clone()), "ANTEROOM_TLS_CLIENT_CA=\"/no/such/file\" cannot be read"),
        (&certificate, &key, Some(none.clone()), "holds no certificate"),
    ] {
        let identity = Identity { certificate: certificate.clone(), key: key.clone() };
        let invalid = tls::load(&serving(identity, ca, address)).expect_err(told);
        assert!(invalid.len() == 1 && invalid[0].to_string().contains(told), "{invalid:?}");
    }

    let mut nameless = config(address);
    (nameless.upstream.scheme, nameless.upstream.host) = (Scheme::Https, "a..b".into());
    nameless.upstream_tls.ca = Some(certificate);
    let invalid = tls::load(&nameless).expect_err("there is no such name");
    assert!(invalid[0].to_string().starts_with("ANTEROOM_UPSTREAM has a host"), "{invalid:?}");
    nameless.upstream.host = "cvat_grafana".into();
    tls::load(&nameless).expect("containers have underscores");

    let mut both = serving(Identity { certificate: missing.clone(), key }, None, address);
    both.upstream.scheme = Scheme::Https;
    both.upstream_tls.ca = Some(missing);
    let invalid = tls::load(&both).expect_err("both are missing");
    let settings: Vec<&str> = invalid.iter().map(|invalid| invalid.setting.as_str()).collect();
    assert_eq!(settings, ["ANTEROOM_TLS_CERT", "ANTEROOM_UPSTREAM_CA"]);

    let missing: Arc<Path> = Path::new("/no/such/file").into();
    let identity = Identity { certificate: missing.clone(), key: missing.clone() };
    let mut all = serving(identity.clone(), Some(missing.clone()), address);
    all.upstream.scheme = Scheme::Https;
    all.upstream_tls = UpstreamTls { ca: Some(missing), identity: Some(identity) };
    let invalid = tls::load(&all).expect_err("all are missing");
    let settings: Vec<&str> = invalid.iter().map(|invalid| &invalid.setting["ANTEROOM_".len()..]).collect();
    assert_eq!(settings, ["TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA", "UPSTREAM_CA", "UPSTREAM_CERT", "UPSTREAM_KEY"]);
}

#[test]
fn serve_ends_with_64_and_the_name_of_the_setting_whose_file_is_missing() {
    let output = Command::new(env!("CARGO_BIN_EXE_anteroom"))
        .args(["serve", "--upstream", "http://grafana", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--tls-cert", "/no/such/cert", "--tls-key", "/no/such/key"])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{told}");
    assert!(told.contains("ANTEROOM_TLS_CERT=\"/no/such/cert\" cannot be read"), "{told}");
}

#[tokio::test]
async fn a_client_certificate_is_demanded_where_its_authority_is_set() {
    let (folder, authority, clients, upstream) = (Folder::new(), Authority::new(), Authority::new(), answering().await);
    let identity = folder.identity("own", &authority.issue("localhost"));
    let ca = folder.write("clients.pem", &clients.pem());
    let proxy = TestProxy::start(serving(identity, Some(ca), upstream.address));

    let mut client = connect(&proxy, authority.client(Some(&clients.issue("someone")), &[])).await;
    client.send(GET).await;
    assert_eq!(client.answer().await.body, "ok");

    for shows in [None, Some(&authority.issue("a stranger"))] {
        // In TLS 1.3 the refusal comes after the client's part of the handshake.
        let mut client = connect(&proxy, authority.client(shows, &[])).await;
        let _ = client.try_send(GET).await;
        assert_eq!(client.rest().await, "");
    }
}

/// One handshake, and a word from the server, with which tickets come. Says how the server has shaken hands.
async fn handshake(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> io::Result<Option<HandshakeKind>> {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let serve = async {
        let mut stream = TlsAcceptor::from(server).accept(theirs).await?;
        stream.write_all(b"x").await?;
        stream.shutdown().await?;
        Ok(stream.get_ref().1.handshake_kind())
    };
    let ask = async {
        let connector = TlsConnector::from(client);
        let mut stream = connector.connect("localhost".try_into().expect("a name"), ours).await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    let (served, _asked) = soon(async { tokio::join!(serve, ask) }).await;
    served
}

#[tokio::test]
async fn a_session_does_not_outlive_the_authority_that_it_was_admitted_by() {
    let (folder, authority, clients) = (Folder::new(), Authority::new(), Authority::new());
    let identity = folder.identity("own", &authority.issue("localhost"));
    let ca = folder.write("clients.pem", &clients.pem());
    let config = serving(identity, Some(ca), "127.0.0.1:9".parse().expect("an address"));
    let (loaded, mut reload) = tls::load(&config).expect("the files are right");
    let served = loaded.served.expect("TLS is configured");
    let newest = || Arc::clone(&served.borrow());
    let mut client = Arc::unwrap_or_clone(authority.client(Some(&clients.issue("someone")), &["http/1.1"]));
    client.resumption = Resumption::default();
    let client = Arc::new(client);

    let first = handshake(newest(), Arc::clone(&client)).await;
    assert_eq!(first.expect("admitted"), Some(HandshakeKind::Full));
    let second = handshake(newest(), Arc::clone(&client)).await;
    assert_eq!(second.expect("admitted"), Some(HandshakeKind::Resumed));
    folder.write("clients.pem", &Authority::new().pem());
    reload.look();
    assert!(handshake(newest(), client).await.is_err());
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut_and_delays_nobody() {
    let (folder, authority, upstream) = (Folder::new(), Authority::new(), answering().await);
    let identity = folder.identity("own", &authority.issue("localhost"));
    let mut config = serving(identity, None, upstream.address);
    config.limits.header_timeout = Duration::from_secs(1);
    config.limits.idle_timeout = LONG * 2;
    let proxy = TestProxy::start(config);
    let (mut silent, mut halting) = (proxy.client().await, proxy.client().await);
    // The head of a ClientHello's record, and nothing of the rest.
    halting.send([0x16, 0x03, 0x01, 0x02, 0x00]).await;

    let mut client = connect(&proxy, authority.client(None, &[])).await;
    client.send(GET).await;
    assert_eq!(client.answer().await.body, "ok");
    assert_eq!((silent.rest().await.as_str(), halting.rest().await.as_str()), ("", ""));
    client.send(GET).await;
    assert_eq!(client.answer().await.body, "ok", "the limit is that of the handshake");
}

#[tokio::test]
async fn a_plain_request_on_the_port_of_tls_gets_no_answer_and_is_closed() {
    let (folder, authority, upstream) = (Folder::new(), Authority::new(), FakeUpstream::start().await);
    let identity = folder.identity("own", &authority.issue("localhost"));
    let proxy = TestProxy::start(serving(identity, None, upstream.address));
    let mut client = proxy.client().await;
    client.send(GET).await;
    assert!(!client.rest().await.contains("HTTP"));
}
