//! `anteroom doctor` as a program: exit codes, what it asks an engine, and what it lets out of it.

#[expect(dead_code, reason = "the tests of TLS need more of it")]
#[path = "support/certificates.rs"]
mod certificates;
#[expect(dead_code, reason = "the tests of the engine's task need more of it")]
#[path = "support/fake_docker.rs"]
mod fake_docker;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use certificates::Authority;
use fake_docker::{FakeDocker, Mood, recorded};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Exit code, standard output and standard error.
async fn doctor(host: String, words: &'static [&'static str]) -> (i32, String, String) {
    doctor_with(host, words, &[]).await
}

/// The same, with something in its environment.
async fn doctor_with(
    host: String,
    words: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
) -> (i32, String, String) {
    let run = move || {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_anteroom"));
        doctor.arg("doctor").args(words).env("DOCKER_HOST", host).env_remove("NO_COLOR");
        doctor.env_remove("COMPOSE_PROJECT_NAME").envs(environment.iter().copied());
        let output = doctor.output().expect("the doctor runs");
        let text = |bytes| String::from_utf8(bytes).expect("it is UTF-8");
        (output.status.code().expect("it ends by itself"), text(output.stdout), text(output.stderr))
    };
    tokio::task::spawn_blocking(run).await.expect("it does not panic")
}

/// A container of another project, on a network of its own.
fn stranger(number: usize) -> Value {
    let mut container = recorded("running", &format!("stranger{number}"), &[]);
    container["Config"]["Labels"]["com.docker.compose.project"] = json!(format!("project{}", number / 10));
    container["NetworkSettings"]["Networks"] =
        json!({ format!("project{}_default", number / 10): { "NetworkID": format!("{number:064x}"), "Aliases": [] } });
    container
}

#[tokio::test]
async fn a_host_of_two_hundred_containers_is_asked_about_one_project_alone() {
    let engine = FakeDocker::start();
    (0..200).for_each(|number| engine.put(stranger(number)));
    engine.put(recorded("exited-1", "cvat_grafana", &["grafana"]));
    engine.put(recorded("running", "cvat_clickhouse", &["clickhouse"]));
    let (code, report, complaint) = doctor(engine.host(), &["--json"]).await;
    assert_eq!((code, complaint.as_str()), (1, ""), "{report}");
    let document: Value = serde_json::from_str(&report).expect("a document");
    assert_eq!(document["project"], "cvat");
    assert_eq!(document["findings"][0]["code"], "target-exited");
    assert_eq!(document["services"].as_array().map(Vec::len), Some(2));
    let inspected = engine.requests().into_iter().filter(|it| it.contains("/containers/") && it.ends_with("/json"));
    assert_eq!(inspected.filter(|it| !it.contains("/containers/json")).count(), 2);
    assert!(engine.requests().iter().all(|it| it.starts_with("GET ")), "{:?}", engine.requests());
}

#[tokio::test]
async fn a_project_of_a_hundred_containers_is_looked_at_as_a_whole() {
    let engine = FakeDocker::start();
    for number in 0..100 {
        engine.put(recorded("running", &format!("worker{number}"), &[]));
    }
    engine.put(recorded("exited-1", "zuletzt", &[]));
    let (_, report, _) = doctor(engine.host(), &["--json"]).await;
    let document: Value = serde_json::from_str(&report).expect("a document");
    assert_eq!(document["services"].as_array().map(Vec::len), Some(101));
    assert_eq!(document["findings"][0]["service"], "zuletzt", "{report}");
}

/// What `doctor --json --watch` writes at its first two looks.
async fn two_looks(engine: &FakeDocker) -> Vec<String> {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_anteroom"))
        .args(["doctor", "--json", "--watch"])
        .env("DOCKER_HOST", engine.host())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the doctor runs");
    let out = BufReader::new(doctor.stdout.take().expect("it is piped"));
    let read = move || out.lines().take(2).map(|line| line.expect("it writes text")).collect::<Vec<_>>();
    let lines = tokio::task::spawn_blocking(read).await.expect("it writes");
    doctor.kill().expect("it still runs");
    let _status = doctor.wait();
    lines
}

#[tokio::test]
async fn watched_documents_are_a_line_each() {
    let engine = FakeDocker::start();
    engine.put(recorded("running", "cvat_grafana", &["grafana"]));
    let lines = two_looks(&engine).await;
    let projects = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("a document")["project"].take());
    assert_eq!(projects.collect::<Vec<_>>(), ["cvat", "cvat"]);
}

#[tokio::test]
async fn a_project_whose_last_container_goes_is_not_called_well() {
    let engine = FakeDocker::start();
    let container = recorded("running", "cvat_grafana", &["grafana"]);
    engine.put(container.clone());
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_anteroom"))
        .args(["doctor", "--json", "--watch"])
        .env("DOCKER_HOST", engine.host())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the doctor runs");
    let mut out = BufReader::new(doctor.stdout.take().expect("it is piped")).lines();
    let mut err = BufReader::new(doctor.stderr.take().expect("it is piped")).lines();
    let first =
        tokio::task::spawn_blocking(move || out.next()).await.expect("no panic").expect("a line").expect("text");
    assert!(first.contains("cvat_grafana"), "{first}");
    engine.remove(&container);
    let said = tokio::task::spawn_blocking(move || err.next()).await.expect("no panic").expect("a line").expect("text");
    assert_eq!(said, "anteroom: cannot look: the project cvat has no container any more");
    doctor.kill().expect("it still runs");
    let _status = doctor.wait();
}

#[tokio::test]
async fn what_an_engine_does_not_tell_of_one_container_hides_no_other() {
    let engine = FakeDocker::start();
    let grafana = recorded("exited-1", "cvat_grafana", &["grafana"]);
    let mut restarting = recorded("running", "cvat_clickhouse", &["clickhouse"]);
    restarting["State"]["Status"] = json!("restarting");
    // Another project's, on the same network, in a state that only Podman knows.
    let mut neighbour = recorded("running", "stranger", &[]);
    neighbour["Config"]["Labels"]["com.docker.compose.project"] = json!("another");
    let mut odd = stranger(1);
    odd["State"]["Listed"] = json!("stopped");
    let id = neighbour["Id"].as_str().expect("an id").to_owned();
    [grafana, restarting, neighbour, odd].into_iter().for_each(|it| engine.put(it));
    engine.set_mood(&format!("/containers/{id}/json"), Some(Mood::Refuses(500)));
    let (code, report, complaint) = doctor(engine.host(), &["--json"]).await;
    assert_eq!((code, complaint.as_str()), (1, ""), "{report}");
    let document: Value = serde_json::from_str(&report).expect("a document");
    let states: Vec<_> =
        document["services"].as_array().expect("a list").iter().map(|it| it["state"].as_str()).collect();
    assert_eq!(states, [Some("restarting"), Some("exited")]);
    assert!(engine.requests().iter().any(|it| it.contains(&id)), "it was asked for: {:?}", engine.requests());
}

#[tokio::test]
async fn nothing_that_others_wrote_acts_on_the_terminal_or_tells_a_secret() {
    let engine = FakeDocker::start();
    let mut container = recorded("start-failed", "cvat_grafana", &["grafana"]);
    container["State"]["Error"] =
        json!("\u{1b}[2Jcannot reach postgres://cvat:correct-horse@db:5432 \u{202e}\r\nforged line");
    container["Config"]["Image"] = json!("registry.example.org/\u{7}grafana");
    engine.put(container);
    for words in [&["--json"][..], &[]] {
        let (code, report, _) = doctor(engine.host(), if words.is_empty() { &[] } else { &["--json"] }).await;
        assert_eq!(code, 1, "{report}");
        assert!(report.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{report:?}");
        assert!(!report.contains("correct-horse") && !report.contains("\nforged line"), "{report}");
        assert!(report.contains("cannot reach"), "{report}");
    }
}

#[tokio::test]
async fn a_terminal_that_knows_no_escape_sequences_gets_none() {
    let engine = FakeDocker::start();
    engine.put(recorded("exited-1", "cvat_grafana", &["grafana"]));
    let on = |terminal: &'static str| {
        let (host, program) = (engine.host(), env!("CARGO_BIN_EXE_anteroom"));
        // It gives the command a terminal, for standard error too.
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", &format!("{program} doctor"), "/dev/null"]);
        command.env("DOCKER_HOST", host).env("TERM", terminal).env_remove("NO_COLOR").stdin(Stdio::null());
        async move {
            let run = move || command.output().expect("script is part of every system");
            let output = tokio::task::spawn_blocking(run).await.expect("it does not panic");
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            String::from_utf8(output.stdout).expect("it is UTF-8")
        }
    };
    let colourful = on("xterm").await;
    assert!(colourful.contains("\u{1b}[K") && colourful.contains("\u{1b}[31m"), "{colourful:?}");
    let plain = on("dumb").await;
    assert!(plain.contains("cvat_grafana") && !plain.contains('\u{1b}'), "{plain:?}");
}

#[tokio::test]
async fn an_engine_that_is_not_there_and_a_project_that_is_not_there_are_no_findings() {
    let nowhere = std::env::temp_dir().join("no-engine-listens-here.sock");
    let (code, report, complaint) = doctor(format!("unix://{}", nowhere.display()), &[]).await;
    assert_eq!((code, report.as_str()), (2, ""));
    assert!(complaint.contains("there is no socket at"), "{complaint}");

    let over_tls = &[("DOCKER_HOST", "tcp://127.0.0.1:1"), ("DOCKER_TLS_VERIFY", "1")];
    let (code, _, complaint) = doctor_with(String::new(), &[], over_tls).await;
    assert!(code == 2 && complaint.contains("DOCKER_TLS_VERIFY asks for TLS"), "{code} {complaint}");

    let engine = FakeDocker::start();
    let (code, _, complaint) = doctor(engine.host(), &[]).await;
    assert!(code == 2 && complaint.contains("no container that compose has made"), "{code} {complaint}");
    engine.put(recorded("running", "web", &[]));
    let (code, _, complaint) = doctor(engine.host(), &["--project", "nobody"]).await;
    assert!(code == 2 && complaint.contains("there are cvat"), "{code} {complaint}");
    let (code, _, complaint) = doctor(engine.host(), &["--url", "ftp://x/"]).await;
    assert!(code == 64 && complaint.contains("begins with http://"), "{code} {complaint}");
    let (code, _, complaint) = doctor(engine.host(), &["--url", "http://a:65536/"]).await;
    assert!(code == 64 && complaint.contains("has no valid port"), "{code} {complaint}");
}

#[tokio::test]
async fn an_engine_that_tells_only_what_a_page_needs_is_enough() {
    let engine = FakeDocker::start();
    engine.put(recorded("exited-1", "cvat_grafana", &["grafana"]));
    for path in ["/info", "/events", "/logs", "/images", "/networks"] {
        engine.set_mood(path, Some(fake_docker::Mood::Refuses(403)));
    }
    let (code, report, _) = doctor(engine.host(), &["--json"]).await;
    assert!(code == 1 && report.contains("target-exited"), "{report}");
}

#[tokio::test]
async fn a_file_of_another_name_below_a_folder_that_has_files_counts_where_it_was_used() {
    let engine = FakeDocker::start();
    let above = engine.socket().parent().expect("it is in a folder").to_owned();
    let below = above.join("other");
    std::fs::create_dir(&below).expect("it is ours");
    std::fs::write(above.join("compose.yml"), "services: {web: {image: one}}\n").expect("it is ours");
    for (project, folder) in [("above", &above), ("otherwise", &below)] {
        let mut container = recorded("running", project, &[]);
        container["Config"]["Labels"]["com.docker.compose.project"] = json!(project);
        container["Config"]["Labels"]["com.docker.compose.project.working_dir"] = json!(folder);
        container["NetworkSettings"]["Networks"] = json!({});
        engine.put(container);
    }
    let host = engine.host();
    let from = |folder: &std::path::Path| {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_anteroom"));
        doctor.args(["doctor", "--json"]).env("DOCKER_HOST", &host).env_remove("COMPOSE_PROJECT_NAME");
        doctor.current_dir(folder).env("PWD", folder);
        async move {
            let run = move || doctor.output().expect("the doctor runs").stdout;
            let report = tokio::task::spawn_blocking(run).await.expect("it does not panic");
            serde_json::from_slice::<Value>(&report).expect("a document")["project"].take()
        }
    };
    assert_eq!(from(&below).await, "otherwise");
    std::fs::create_dir(below.join("scripts")).expect("it is ours");
    assert_eq!(from(&below.join("scripts")).await, "above");
}

/// Answers every request alike, and counts them.
async fn answering(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let head = connection.read(&mut [0; 4096]).await.unwrap_or_default();
            counted.fetch_add(usize::from(head > 0), Ordering::SeqCst);
            let _sent = connection.write_all(answer.as_bytes()).await;
        }
    });
    (address, count)
}

/// A recorded service that runs, and listens there.
fn listening_at(service: &str, at: SocketAddr) -> Value {
    let mut container = recorded("running", service, &[service]);
    container["NetworkSettings"]["Networks"]["enginefix_cvat"]["IPAddress"] = json!(at.ip());
    container["Config"]["ExposedPorts"] = json!({ format!("{}/tcp", at.port()): {} });
    container["Config"]["Image"] = json!(format!("example/{service}:1"));
    container
}

#[tokio::test]
async fn a_page_that_takes_all_paths_is_not_told_from_itself_and_analytics_is() {
    let (address, _) = answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ncvat").await;
    let engine = FakeDocker::start();
    engine.put(listening_at("cvat_server", address));
    for (path, want) in [("/", 0), ("/tasks", 0), ("/analytics/", 1)] {
        let words: &'static [&'static str] = vec!["--json", "--url", format!("http://{address}{path}").leak()].leak();
        let (code, report, _) = doctor(engine.host(), words).await;
        assert_eq!(code, want, "{path} {report}");
        assert_eq!(report.contains("router-invalid"), want == 1, "{path} {report}");
    }
}

#[tokio::test]
async fn who_speaks_http_is_asked_at_every_look_that_is_watched() {
    let (web, asked) = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let engine = FakeDocker::start();
    let mut container = listening_at("web", web);
    container["Config"]["Labels"]["traefik.http.services.web.loadbalancer.server.port"] = json!(web.port().to_string());
    engine.put(container);
    assert_eq!(two_looks(&engine).await.len(), 2);
    assert!(asked.load(Ordering::SeqCst) >= 2, "{asked:?}");
}

#[tokio::test]
async fn files_that_cannot_be_read_are_said_with_what_is_not_known_without_them() {
    let engine = FakeDocker::start();
    let (address, _) = answering("").await;
    let mut web = listening_at("web", address);
    web["Config"]["Labels"]["com.docker.compose.depends_on"] = json!("db:service_started:false");
    engine.put(web);
    let (code, report, _) = doctor(engine.host(), &["--json"]).await;
    let document: Value = serde_json::from_str(&report).expect("a document");
    let why = document["compose_files_unread"].as_str().expect("a reason");
    assert!(code == 1 && why.starts_with("/opt/cvat/docker-compose.yml: "), "{report}");
    assert_eq!(
        (&document["findings"][0]["code"], &document["findings"][0]["service"]),
        (&json!("target-absent"), &json!("db"))
    );
    let (_, report, _) = doctor(engine.host(), &[]).await;
    assert!(report.contains("The compose files could not be read (/opt/cvat/docker-compose.yml"), "{report}");
}

/// CVAT's workers have the image of its server, which declares a port that only the server listens on.
#[tokio::test]
async fn a_port_that_another_service_of_the_image_serves_is_no_fault_of_a_worker() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let engine = FakeDocker::start();
    let of_image = |service: &str, address: &str, image: &str| {
        let mut container = recorded("running", service, &[service]);
        container["NetworkSettings"]["Networks"]["enginefix_cvat"]["IPAddress"] = json!(address);
        container["Config"]["ExposedPorts"] = json!({ format!("{port}/tcp"): {} });
        container["Config"]["Image"] = json!(image);
        container["State"]["StartedAt"] = json!(humantime::format_rfc3339(std::time::SystemTime::now()).to_string());
        container
    };
    engine.put(of_image("cvat_server", "127.0.0.1", "cvat/server:v2"));
    engine.put(of_image("cvat_worker_export", "127.0.0.2", "cvat/server:v2"));
    let (code, report, _) = doctor(engine.host(), &["--json"]).await;
    assert_eq!(code, 0, "{report}");
    // The near miss: one that has just been started from an image of its own may still open it.
    let other = of_image("other", "127.0.0.2", "example/other:1");
    engine.put(other.clone());
    let (code, report, _) = doctor(engine.host(), &["--json"]).await;
    assert!(code == 1 && report.contains("target-warming"), "{report}");
    engine.remove(&other);
    // While the server is down its port is refused by all, and that is one fault.
    drop(listener);
    let mut server = of_image("cvat_server", "127.0.0.1", "cvat/server:v2");
    server["Config"]["Labels"]["traefik.http.services.cvat.loadbalancer.server.port"] = json!(port.to_string());
    engine.put(server);
    let (_, report, _) = doctor(engine.host(), &["--json"]).await;
    let document: Value = serde_json::from_str(&report).expect("a document");
    let accused = document["findings"].as_array().expect("a list").iter().filter(|it| it["severity"] != "info");
    assert_eq!(accused.map(|it| it["service"].clone()).collect::<Vec<_>>(), ["cvat_server"], "{report}");
}

/// Where Traefik publishes its dashboard, and what answers there.
async fn report_of_a_dashboard(answer: String) -> String {
    let (address, _) = answering(answer.leak()).await;
    let engine = FakeDocker::start();
    let mut traefik = recorded("running", "traefik", &["traefik"]);
    traefik["Config"]["Image"] = json!("traefik:v3.7");
    traefik["NetworkSettings"]["Ports"] =
        json!({ "8090/tcp": [{ "HostIp": "127.0.0.1", "HostPort": address.port().to_string() }] });
    engine.put(traefik);
    doctor(engine.host(), &["--json"]).await.1
}

#[tokio::test]
async fn a_dashboard_that_has_much_to_say_is_enabled() {
    let routers = |size: usize| {
        let router = json!({ "name": "web@docker", "rule": "PathPrefix(`/`)", "status": "enabled" }).to_string();
        let list = format!("[{}]", vec![router.as_str(); size / router.len()].join(","));
        let length = list.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{list}")
    };
    // The last one is more than anybody reads, and has answered all the same.
    for size in [100, 70 << 10, 2 << 20] {
        let report = report_of_a_dashboard(routers(size)).await;
        assert!(
            report.contains("\"project\": \"cvat\"") && !report.contains("dashboard-not-enabled"),
            "{size} {report}"
        );
    }
    let report = report_of_a_dashboard(String::new()).await;
    assert!(report.contains("dashboard-not-enabled"), "nobody answers there: {report}");
}

#[test]
fn where_nobody_can_vouch_for_a_certificate_https_is_not_judged() {
    for words in [["doctor", "--url"], ["wait", "--http"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anteroom"));
        command.args(words).arg("https://localhost:1/analytics/").env("SSL_CERT_FILE", "/no/roots.pem");
        let output = command.env_remove("SSL_CERT_DIR").output().expect("it runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains("cannot look: https://localhost:1/analytics/ cannot be asked"), "{complaint}");
        assert!(complaint.contains("-v /etc/ssl/certs:/etc/ssl/certs:ro"), "{complaint}");
    }
}

#[tokio::test]
async fn where_users_ask_over_https_is_said_though_nobody_can_vouch_for_it() {
    let engine = FakeDocker::start();
    let mut traefik = recorded("running", "traefik", &["traefik"]);
    traefik["Config"]["Image"] = json!("traefik:v3.7");
    traefik["NetworkSettings"]["Ports"] = json!({ "443/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "1" }] });
    engine.put(traefik);
    engine.put(recorded("exited-1", "cvat_grafana", &["grafana"]));
    let without_roots = &[("SSL_CERT_FILE", "/no/roots.pem"), ("SSL_CERT_DIR", "/no")];
    let (_, report, _) = doctor_with(engine.host(), &["--json"], without_roots).await;
    let document: Value = serde_json::from_str(&report).expect("a document");
    assert_eq!((&document["asked"], &document["unasked"]), (&Value::Null, &json!("https://localhost:1/analytics/")));
    let (_, report, _) = doctor_with(engine.host(), &[], without_roots).await;
    assert!(report.contains("\nhttps://localhost:1/analytics/ was not asked: there are no roots here"), "{report}");
}

/// As where CVAT is served over HTTPS: Traefik sends everybody on, whatever stands behind it.
#[tokio::test]
async fn who_is_sent_on_to_https_has_not_been_answered() {
    let onward =
        "HTTP/1.1 301 Moved Permanently\r\nLocation: https://localhost/analytics/\r\nContent-Length: 0\r\n\r\n";
    let (web, _) = answering(onward).await;
    let engine = FakeDocker::start();
    let mut traefik = recorded("running", "traefik", &["traefik"]);
    traefik["Config"]["Image"] = json!("traefik:v3.7");
    let published = |port: u16| json!([{ "HostIp": "127.0.0.1", "HostPort": port.to_string() }]);
    // Nobody listens on the first and the last. One that is not for users answers all the same.
    let (metrics, _) = answering("HTTP/1.1 404 Not Found\r\nContent-Length: 18\r\n\r\n404 page not found").await;
    traefik["NetworkSettings"]["Ports"] = json!({
        "8080/tcp": published(2),
        "80/tcp": published(web.port()),
        "8082/tcp": published(metrics.port()),
        "443/tcp": published(1),
    });
    engine.put(traefik);
    engine.put(recorded("exited-1", "cvat_grafana", &["grafana"]));
    let without_roots = &[("SSL_CERT_FILE", "/no/roots.pem"), ("SSL_CERT_DIR", "/no")];
    let (_, report, _) = doctor_with(engine.host(), &["--json"], without_roots).await;
    let document: Value = serde_json::from_str(&report).expect("a document");
    assert_eq!(
        (&document["asked"]["status"], &document["unasked"]),
        (&json!(301), &json!("https://localhost:1/analytics/")),
        "{report}"
    );
    let roots = std::env::temp_dir().join(format!("anteroom-roots-{}.pem", std::process::id()));
    std::fs::write(&roots, Authority::new().pem()).expect("it can be written");
    let with_roots = vec![("SSL_CERT_FILE", &*roots.to_str().expect("UTF-8").to_owned().leak())].leak();
    let (_, report, _) = doctor_with(engine.host(), &["--json"], with_roots).await;
    std::fs::remove_file(roots).expect("it was written");
    let document: Value = serde_json::from_str(&report).expect("a document");
    let told = (&document["asked"]["url"], &document["asked"]["status"], &document["unasked"]);
    assert_eq!(told, (&json!("https://localhost:1/analytics/"), &Value::Null, &Value::Null), "{report}");
    assert!(report.contains("port-refused"), "{report}");
}

/// As in CVAT: who is not logged in gets 401 before anteroom is asked, which is healthy whatever stands behind it.
#[tokio::test]
async fn anteroom_is_asked_itself_where_a_login_stands_before_it() {
    let (web, _) = answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
    let body = r#"{"findings":[{"code":"target-absent","title":"There is no container that answers to grafanna"}]}"#;
    let page = format!("HTTP/1.1 503 Service Unavailable\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for (answer, code) in [(&*page, 1), ("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", 0)] {
        let (at, _) = answering(answer.to_owned().leak()).await;
        let engine = FakeDocker::start();
        let mut container = listening_at("anteroom", at);
        container["State"]["Health"] = json!({ "Status": "healthy", "FailingStreak": 0, "Log": [] });
        engine.put(container);
        let url: &'static str = format!("http://{web}/analytics/").leak();
        let told = doctor(engine.host(), vec!["--url", url].leak()).await;
        assert_eq!(told.0, code, "{told:?}");
        assert_eq!(told.1.contains("anteroom answers 503 for http://127.0.0.1:"), code == 1, "{told:?}");
        assert_eq!(told.1.contains("target-absent"), code == 1, "{told:?}");
    }
}

#[tokio::test]
async fn a_report_that_nobody_has_is_no_verdict() {
    let engine = FakeDocker::start();
    engine.put(recorded("running", "web", &[]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_anteroom"));
    command.args(["doctor", "--json"]).env("DOCKER_HOST", engine.host()).env_remove("COMPOSE_PROJECT_NAME");
    command.stdout(std::fs::File::options().write(true).open("/dev/full").expect("Linux has it"));
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("the report cannot be written: "), "{complaint}");
}

#[test]
fn a_system_that_gives_nothing_to_look_with_is_no_finding() {
    for word in ["doctor", "wait"] {
        let mut command = Command::new("sh");
        // No file is left for the runtime.
        command.args(["-c", "exec 3>&-; ulimit -n 4; exec \"$0\" \"$1\"", env!("CARGO_BIN_EXE_anteroom"), word]);
        let output = command.output().expect("it runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains("cannot look: "), "{complaint}");
    }
}

/// The first process of a container, where the system lets us make one.
struct First(Child);

impl First {
    fn start(words: &[&str], engine: &FakeDocker) -> Option<Self> {
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args(["--map-root-user", "--pid", "--fork", "--kill-child"]);
            unshare
        };
        if !unshare().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            let missing = "a process may have no namespace of its own here: NOTHING IS PROVED HERE";
            assert!(std::env::var("ANTEROOM_E2E").as_deref() != Ok("required"), "{missing}");
            eprintln!("{missing}");
            return None;
        }
        let mut command = unshare();
        command.arg(env!("CARGO_BIN_EXE_anteroom")).args(words).env("DOCKER_HOST", engine.host());
        command.env_remove("COMPOSE_PROJECT_NAME").stdout(Stdio::piped()).stderr(Stdio::null());
        Some(Self(command.spawn().expect("it runs")))
    }

    /// Sends it a signal as whoever stops a container does, and waits for its end.
    fn stopped_by(mut self, signal: &str) -> Option<i32> {
        // Kept, or nobody would listen to it any more.
        let mut out = BufReader::new(self.0.stdout.take().expect("it is piped")).lines();
        // By then it runs.
        assert!(out.next().is_some_and(|line| line.is_ok()), "it says nothing");
        let above = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{above}/task/{above}/children")).expect("it has a child");
        let sent = Command::new("kill").args([signal, children.trim()]).status().expect("there is a kill");
        assert!(sent.success());
        for _ in 0..2000 {
            if let Some(status) = self.0.try_wait().expect("it was started") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it cannot be stopped");
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[tokio::test]
async fn the_first_process_of_a_container_can_be_stopped() {
    let engine = FakeDocker::start();
    engine.put(recorded("starting", "cvat_grafana", &["grafana"]));
    for (words, signal, code) in [
        (&["doctor", "--json", "--watch"][..], "-INT", 130),
        (&["doctor", "--json", "--watch"], "-TERM", 143),
        (&["wait"], "-INT", 130),
    ] {
        let Some(first) = First::start(words, &engine) else { return };
        let stopped = tokio::task::spawn_blocking(move || first.stopped_by(signal));
        assert_eq!(stopped.await.expect("it ends"), Some(code), "{words:?} {signal}");
    }
}
