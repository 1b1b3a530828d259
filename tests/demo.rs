//! The demo, and the program around it: what a person sees who starts it, story by story.

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anteroom::server::DRAIN;
use support::raw::{Answer, Peer};
use support::soon;
use tokio::task::spawn_blocking;

/// The program in a process of its own. Dropping it ends it.
struct Running {
    process: Child,
    address: SocketAddr,
    announced: String,
}

impl Running {
    /// Starts it on a free port, and reads what it says.
    async fn start(scenario: &str, warmup: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_anteroom"))
            .args(["demo", "--listen", "127.0.0.1:0", "--scenario", scenario, "--warmup", warmup])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let announced = soon(spawn_blocking(move || {
            let lines = stdout.lines().map(|line| line.expect("it writes text"));
            let mut announced = String::new();
            for line in lines {
                announced += &line;
                announced += "\n";
                if line.contains("Ctrl-C") {
                    break;
                }
            }
            announced
        }))
        .await
        .expect("it is read");
        let address = announced.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("it says where");
        let address = address.parse().expect("an address");
        Self { process, address, announced }
    }

    /// Asks on a connection of its own, which ends with the answer.
    async fn ask(&self, path: &str, headers: &str) -> Answer {
        let mut client = Peer::connect(self.address).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: demo\r\n{headers}Connection: close\r\n\r\n")).await;
        client.answer().await
    }

    /// As a browser opens a page: it waits two seconds at most.
    async fn open(&self, path: &str) -> Answer {
        self.ask(path, "Sec-Fetch-Mode: navigate\r\nAccept: text/html\r\n").await
    }

    /// As a program asks, which is held for longer.
    async fn fetch(&self, path: &str) -> Answer {
        self.ask(path, "Accept: application/json\r\n").await
    }

    /// Opens page after page, each held for a while, until one is about this finding.
    async fn finds(&self, code: &str) -> Answer {
        let mut seen = Vec::new();
        for _ in 0..8 {
            let page = self.open("/analytics/").await;
            let finding = page.header("proxy-status").unwrap_or_default().to_owned();
            if finding.contains(code) {
                return page;
            }
            seen.push((page.status(), finding));
        }
        panic!("{code} was not found; seen was {seen:?}");
    }

    /// Opens the dashboard's WebSocket.
    async fn socket(&self) -> Peer {
        let mut socket = Peer::connect(self.address).await;
        // The key and what must be made of it are the example of RFC 6455 §1.3.
        socket
            .send(
                "GET /analytics/api/live/ws HTTP/1.1\r\nHost: demo\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await;
        let head = socket.head().await;
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        socket
    }

    /// Sends SIGTERM.
    fn tell_to_stop(&self) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &process]).status().expect("every system has kill");
        assert!(sent.success());
    }

    /// Waits for the end.
    async fn ended(mut self) -> ExitStatus {
        soon(spawn_blocking(move || self.process.wait())).await.expect("it is waited for").expect("it ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_slow_start_shows_the_waiting_page_and_then_the_dashboard() {
    let demo = Running::start("slow-start", "4s").await;
    assert!(demo.announced.contains("needs 4s to start") && demo.announced.contains("simulated"), "{}", demo.announced);

    let page = demo.open("/analytics/").await;
    assert_eq!((page.status(), page.header("cache-control")), (503, Some("no-store")));
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{}", page.head);
    assert!(page.body.contains("class=\"simulated\""), "it is labelled: {}", page.body);

    // This one is held until the service is there.
    let health = demo.fetch("/analytics/api/health").await;
    assert_eq!((health.status(), health.body.as_str()), (200, r#"{"database":"ok"}"#));
    let dashboard = demo.open("/analytics/").await;
    assert_eq!(dashboard.status(), 200);
    assert!(dashboard.body.contains("All numbers are made up"), "{}", dashboard.body);
    for path in ["/", "/analytics"] {
        let moved = demo.open(path).await;
        assert_eq!((moved.status(), moved.header("location")), (307, Some("/analytics/")));
    }
    assert_eq!(demo.open("/elsewhere").await.status(), 404);
}

#[tokio::test]
async fn the_dashboard_counts_over_a_websocket_and_a_signal_ends_it_at_once() {
    let demo = Running::start("slow-start", "0s").await;
    let mut socket = demo.socket().await;
    socket.until("\"tick\":1,").await;
    socket.until("\"tick\":2,").await;

    let told = Instant::now();
    demo.tell_to_stop();
    // As a browser does, the client closes its side when the service has closed its own.
    socket.rest().await;
    drop(socket);
    let status = demo.ended().await;
    assert!(status.success(), "{status}");
    assert!(told.elapsed() < DRAIN, "an open dashboard must not hold up the end");
}

#[tokio::test]
async fn a_websocket_without_its_key_is_refused() {
    let demo = Running::start("slow-start", "0s").await;
    assert_eq!(demo.fetch("/analytics/api/live/ws").await.status(), 426);
}

#[tokio::test]
async fn a_crash_loop_is_called_one() {
    let demo = Running::start("crash-loop", "0s").await;
    let page = demo.fetch("/analytics/").await;
    assert_eq!(page.status(), 503);
    let problem = page.json();
    assert_eq!((&problem["findings"][0]["code"], &problem["simulated"]), (&"target-crash-loop".into(), &true.into()));
}

#[tokio::test]
async fn a_service_that_exits_is_missed_after_a_grace() {
    let demo = Running::start("exited", "1s").await;
    assert_eq!(demo.fetch("/analytics/").await.status(), 200);
    demo.socket().await.rest().await;
    // Its WebSocket has ended, and so has the service.
    let problem = demo.fetch("/analytics/").await.json();
    assert_eq!(problem["findings"][0]["code"], "target-exited");
    assert_eq!(problem["target"]["name"], "cvat_grafana");
    let remedy = problem["findings"][0]["remedies"][0]["command"].as_str().expect("a command").to_owned();
    assert!(remedy.contains("up -d cvat_grafana"), "{remedy}");
}

#[tokio::test]
async fn a_service_that_hangs_is_found_to_keep_silent() {
    let page = Running::start("hang", "0s").await.finds("no-answer").await;
    assert!(page.body.contains("no-answer"), "{}", page.body);
}

#[tokio::test]
async fn a_service_that_speaks_something_else_is_found_to_speak_no_http() {
    Running::start("garbage", "0s").await.finds("not-http").await;
}

#[tokio::test]
async fn a_service_whose_database_is_down_is_found_not_to_be_ready() {
    Running::start("dependency-down", "0s").await.finds("dependency-down").await;
}

/// Runs the program to its end, with a clean environment.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_anteroom"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("it writes text")).concat();
    (output.status.code(), text)
}

#[test]
fn wrong_settings_end_with_64_and_are_all_listed() {
    let (code, text) = run(&["serve", "--grace", "5"], &[("ANTEROOM_LISTEN", "x")]);
    assert_eq!(code, Some(64), "{text}");
    for wrong in ["3 settings are wrong", "ANTEROOM_UPSTREAM is not set", "ANTEROOM_LISTEN=\"x\"", "--grace=\"5\""] {
        assert!(text.contains(wrong), "{wrong}: {text}");
    }
}

#[test]
fn wrong_arguments_end_with_64_too() {
    for arguments in
        [&[][..], &["guard"], &["serve", "--gracee", "5s"], &["demo", "--scenario", "x"], &["demo", "--warmup", "15"]]
    {
        let (code, text) = run(arguments, &[]);
        assert_eq!(code, Some(64), "{arguments:?}: {text}");
    }
    assert_eq!(run(&["demo", "--listen", "x"], &[]).0, Some(64));
}

#[test]
fn help_and_version_are_no_failures_and_help_names_every_setting() {
    let (code, help) = run(&["serve", "--help"], &[]);
    assert_eq!(code, Some(0));
    for setting in anteroom::config::SETTINGS {
        assert!(help.contains(setting.name) && help.contains(&format!("--{} ", setting.flag)), "{}", setting.name);
    }
    for later in anteroom::config::LATER {
        assert!(!help.contains(&format!("--{} ", later.flag)), "{} cannot be done yet, and is offered", later.name);
    }
    assert_eq!(run(&["--version"], &[]), (Some(0), concat!("anteroom ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
}

#[test]
fn an_address_that_is_taken_ends_with_1_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, text) = run(&["serve", "--upstream", "http://localhost:1", "--listen", &address], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&address) && text.contains("in use"), "{text}");
    let (code, text) = run(&["demo", "--listen", &address], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&address) && text.contains("--listen chooses another"), "{text}");
}

#[tokio::test]
async fn a_healthcheck_tells_a_living_anteroom_from_a_missing_one() {
    let anteroom = support::TestProxy::start(support::config(support::nobody().await));
    let admin = anteroom.admin.to_string();
    let check = |admin: String| spawn_blocking(move || run(&["healthcheck"], &[("ANTEROOM_ADMIN_LISTEN", &admin)]));
    assert_eq!(soon(check(admin.clone())).await.expect("it ran"), (Some(0), "healthy\n".to_owned()));
    anteroom.stopped().await;
    let (code, text) = soon(check(admin.clone())).await.expect("it ran");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&admin) && text.contains("does not answer"), "{text}");
}

#[tokio::test]
async fn a_healthcheck_finds_who_listens_everywhere_where_there_is_no_ipv6() {
    let anteroom = support::TestProxy::start(support::config(support::nobody().await));
    let everywhere = format!("[::]:{}", anteroom.admin.port());
    let check = spawn_blocking(move || run(&["healthcheck", "--admin-listen", &everywhere], &[]));
    assert_eq!(soon(check).await.expect("it ran"), (Some(0), "healthy\n".to_owned()));
}

#[tokio::test]
async fn a_healthcheck_has_an_end_even_if_nobody_answers() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("bound").to_string();
    let asked = Instant::now();
    let (code, text) =
        soon(spawn_blocking(move || run(&["healthcheck", "--admin-listen", &address], &[]))).await.expect("it ran");
    assert_eq!(code, Some(1), "{text}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{text}");
}

#[tokio::test]
async fn connections_to_the_admin_port_that_say_nothing_keep_nobody_waiting() {
    let anteroom = support::TestProxy::start(support::config(support::nobody().await));
    let (mut silent, began) = (Vec::new(), Instant::now());
    for _ in 0..64 {
        silent.push(Peer::connect(anteroom.admin).await);
    }
    let mut client = Peer::connect(anteroom.admin).await;
    client.send("GET /healthz HTTP/1.1\r\nHost: admin\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 200);
    // The oldest of them made way; by themselves they are closed after five seconds.
    assert_eq!(silent[0].rest().await, "");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let open = tokio::time::timeout(Duration::from_millis(1), silent[63].has_data()).await;
    assert!(open.is_err(), "the newest is still open");
}

#[tokio::test]
async fn the_admin_port_speaks_of_anteroom_and_not_of_the_upstream() {
    let anteroom = support::TestProxy::start(support::config(support::nobody().await));
    for (request, status) in [("GET /healthz", 200), ("GET /readyz", 200), ("GET /", 404), ("POST /healthz", 405)] {
        let mut client = Peer::connect(anteroom.admin).await;
        client.send(format!("{request} HTTP/1.1\r\nHost: admin\r\n\r\n")).await;
        assert_eq!(client.answer().await.status(), status, "{request}");
    }
}

#[tokio::test]
async fn while_it_drains_anteroom_lives_but_is_not_ready() {
    let upstream = support::FakeUpstream::start().await;
    let mut anteroom = support::TestProxy::start(support::config(upstream.address));
    let admin = anteroom.admin;
    let ask = async |path: &str| {
        let mut client = Peer::connect(admin).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n")).await;
        client.answer().await.status()
    };
    let mut client = anteroom.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.head().await;

    anteroom.stop();
    // Its threads learn of it one after the other.
    soon(async { while ask("/readyz").await != 503 {} }).await;
    assert_eq!(ask("/healthz").await, 200);
    served.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "), "what ran may finish");
}

#[tokio::test]
async fn serve_tells_its_addresses_and_what_it_does_not_know_and_a_signal_ends_it() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_anteroom"))
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"])
        .env_clear()
        .envs([
            ("ANTEROOM_UPSTREAM", "http://127.0.0.1:1"),
            ("ANTEROOM_GRACEE", "5s"),
            ("DOCKER_HOST", "unix:///nowhere/docker.sock"),
        ])
        .envs((0..20).map(|number| (format!("ANTEROOM_COLOUR{number}"), "red")))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    let told = soon(spawn_blocking(move || [lines.next(), lines.next()])).await.expect("it is read");
    let [warning, start] = told.map(|line| -> serde_json::Value {
        serde_json::from_str(&line.expect("a line").expect("text")).expect("JSON")
    });
    let warning = warning["fields"]["message"].as_str().expect("it is told");
    assert!(
        warning.contains("ANTEROOM_GRACEE is no setting and is ignored; did you mean ANTEROOM_GRACE?"),
        "{warning}"
    );
    // Also those beyond what is said within a minute.
    assert_eq!(warning.matches(" is no setting").count(), 21, "{warning}");
    for address in ["listen", "admin_listen"] {
        let address: SocketAddr = start["fields"][address].as_str().and_then(|it| it.parse().ok()).expect("an address");
        assert_ne!(address.port(), 0, "the port that the system chose is told");
    }
    let running = Running { process, address: ([127, 0, 0, 1], 0).into(), announced: String::new() };
    running.tell_to_stop();
    assert!(running.ended().await.success());
}

#[tokio::test]
async fn what_is_no_http_leaves_no_line_in_the_log() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_anteroom"))
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"])
        .env_clear()
        .envs([("ANTEROOM_UPSTREAM", "http://127.0.0.1:1"), ("DOCKER_HOST", "unix:///nowhere/docker.sock")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    let (start, lines) = soon(spawn_blocking(move || (lines.next(), lines))).await.expect("it is read");
    let start: serde_json::Value = serde_json::from_str(&start.expect("a line").expect("text")).expect("JSON");
    let address: SocketAddr = start["fields"]["listen"].as_str().and_then(|it| it.parse().ok()).expect("an address");
    for bytes in ["NONSENSE\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nB c: d\r\n\r\n"] {
        let mut client = Peer::connect(address).await;
        client.send(bytes).await;
        assert!(client.rest().await.starts_with("HTTP/1.1 400 "), "{bytes:?}");
    }
    let running = Running { process, address, announced: String::new() };
    running.tell_to_stop();
    assert!(running.ended().await.success());
    let rest: Vec<String> =
        soon(spawn_blocking(move || lines.map_while(Result::ok).collect())).await.expect("it is read");
    // Of its own affairs it may tell: of the engine, the upstream and the end.
    let of_requests: Vec<_> =
        rest.iter().filter(|line| ["::access", "::proxy", "::server"].iter().any(|part| line.contains(part))).collect();
    assert!(of_requests.is_empty(), "{of_requests:?}");
    assert!(rest.iter().any(|line| line.contains("stopping")), "the log was read to its end");
}
