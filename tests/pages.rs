//! Pages as they come over a socket: in whose language, in whose colours.

mod support;

use std::time::Duration;

use anteroom::config::{Brand, Config, Support};
use anteroom::instance::{BindError, Instance};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use support::certificates::Folder;
use support::{FakeUpstream, TestProxy, config, nobody};

#[tokio::test]
async fn a_page_is_in_the_language_that_its_client_asks_for() {
    let proxy = TestProxy::start(config(nobody().await));
    let status = "X-Anteroom: status\r\n";
    for (given, accept, language, says) in [
        ("", "text/html", "en", "Reference"),
        ("Accept-Language: de, en;q=0.5\r\n", "text/plain", "en", "Reference"),
        ("Accept-Language: zh-CN,zh;q=0.9,en;q=0.8\r\n", "text/html", "zh-Hans", "编号"),
        ("Accept-Language: zh-CN,zh;q=0.9,en;q=0.8\r\n", "text/plain", "zh-Hans", "编号"),
        ("Accept-Language: zh-CN\r\n", "application/problem+json", "en", "\"state\""),
    ] {
        let mut client = proxy.client().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{status}Accept: {accept}\r\n{given}\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.header("content-language"), Some(language), "{given}{accept}");
        assert_eq!(answer.header("vary"), Some("accept, accept-language, sec-fetch-mode, user-agent"));
        assert!(answer.body.contains(says), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_short_wait_is_told_as_it_was_and_not_as_none() {
    let mut config = config(nobody().await);
    config.patience.request = Duration::from_millis(30);
    let proxy = TestProxy::start(config);
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n").await;
    let answer = client.answer().await.json();
    let findings = answer["findings"].as_array().expect("a list");
    let held = findings.iter().find(|it| it["code"] == "patience-ended").expect("it was held");
    let row = held["evidence"][0]["value"].as_str().expect("text");
    assert!(row.ends_with("00 ms") && !row.starts_with('0'), "{held:#}");
    assert!(!held["title"].as_str().expect("text").contains(" 0 "), "{held:#}");
}

#[tokio::test]
async fn a_request_that_was_sent_in_vain_is_told_so_in_its_language() {
    let upstream = FakeUpstream::start().await;
    let proxy = TestProxy::start(config(upstream.address));
    let mut client = proxy.client().await;
    let fields = "Accept: text/html\r\nAccept-Language: zh-CN\r\nContent-Length: 0";
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")).await;
    let mut served = upstream.accept().await;
    served.head().await;
    drop(served);
    let answer = client.answer().await;
    assert!(answer.head.starts_with("HTTP/1.1 502 "), "{}", answer.head);
    assert_eq!(answer.header("content-language"), Some("zh-Hans"));
    assert!(answer.body.contains("编号"), "{}", answer.body);
}

#[tokio::test]
async fn an_operators_style_is_allowed_by_the_hash_of_what_a_browser_reads() {
    let folder = Folder::new();
    let css = folder.write("page.css", "\u{feff}:root {\r\n  --ground: #fff8f0;\r\n}\r\n");
    let logo = folder.write("logo.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>");
    let support = Some(Support::Words("the desk".into()));
    let brand = Brand { css: Some(css), logo: Some(logo), support, note: Some("Hello & welcome.".into()) };
    let proxy = TestProxy::start(Config { brand, ..config(nobody().await) });
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Anteroom: status\r\nAccept: text/html\r\n\r\n").await;
    let answer = client.answer().await;
    let policy = answer.header("content-security-policy").expect("a policy");
    let styles: Vec<_> =
        answer.body.split("<style>").skip(1).filter_map(|rest| rest.split("</style>").next()).collect();
    assert_eq!(styles[1], ":root {\n  --ground: #fff8f0;\n}\n");
    assert_eq!(styles.len(), 2);
    for style in styles {
        let hash = format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(style)));
        let allowed = policy.split(';').any(|part| part.trim().starts_with("style-src ") && part.contains(&hash));
        assert!(allowed, "{hash} in {policy}");
    }
    for part in ["src=\"data:image/svg+xml;base64,PHN2ZyB4", ">Whom to ask: the desk<", ">Hello &amp; welcome.<"] {
        assert!(answer.body.contains(part), "{part} in {}", answer.body);
    }
}

#[tokio::test]
async fn files_that_a_page_cannot_be_made_of_are_refused_at_the_start_all_at_once() {
    let folder = Folder::new();
    let css = folder.write("page.css", "a {} </STYLE><script>alert(1)</script>");
    let logo = folder.write("logo.gif", "GIF89a");
    let large = folder.write("large.css", &"a".repeat((32 << 10) + 1));
    let address = nobody().await;
    let refused = |css, logo| {
        let brand = Brand { css: Some(css), logo: Some(logo), ..Brand::default() };
        match Instance::bind(Config { brand, ..config(address) }) {
            Err(BindError::Files(invalid)) => invalid.iter().map(ToString::to_string).collect::<Vec<_>>(),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was accepted"),
        }
    };
    let told = refused(css, logo);
    assert!(told[0].starts_with("ANTEROOM_PAGE_CSS=") && told[0].contains("has </style in it"), "{told:?}");
    assert!(
        told[1].starts_with("ANTEROOM_PAGE_LOGO=") && told[1].ends_with("is neither SVG, PNG nor WebP"),
        "{told:?}"
    );
    let missing = folder.path().join("missing.png").as_path().into();
    let told = refused(large, missing);
    assert!(told[0].ends_with("is larger than 32 KiB") && told[1].contains("cannot be read: "), "{told:?}");
}
