//! `anteroom wait`, the program itself, against a stand-in engine: what a deploy script gets to see.

#[expect(dead_code, reason = "the tests of the engine's task need more of it")]
#[path = "support/fake_docker.rs"]
mod fake_docker;

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use fake_docker::{FakeDocker, Mood, recorded};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::spawn_blocking;

/// What the program left behind.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

/// The program while it waits. Dropping it ends it.
struct Waiting {
    process: Child,
    out: Option<BufReader<ChildStdout>>,
    read: String,
}

impl Waiting {
    fn start(host: &str, words: &[&str]) -> Self {
        Self::start_as(host, words, |_| ())
    }

    /// The same, from somewhere else.
    fn start_as(host: &str, words: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anteroom"));
        command.arg("wait").args(words).env("DOCKER_HOST", host).env_remove("COMPOSE_PROJECT_NAME");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut command);
        let mut process = command.spawn().expect("the binary runs");
        let out = process.stdout.take().map(BufReader::new);
        Self { process, out, read: String::new() }
    }

    /// Reads on until it has said this.
    async fn says(&mut self, text: &str) {
        let mut out = self.out.take().expect("nobody else reads");
        let mut read = std::mem::take(&mut self.read);
        let wanted = text.to_owned();
        let (out, read) = spawn_blocking(move || {
            while !read.contains(&wanted) {
                let there = out.read_line(&mut read).expect("it writes text");
                assert!(there > 0, "it has never said {wanted}: {read}");
            }
            (out, read)
        })
        .await
        .expect("it says so");
        (self.out, self.read) = (Some(out), read);
    }

    async fn end(mut self) -> Ended {
        let mut out = self.out.take().expect("nobody else reads");
        let mut err = self.process.stderr.take().expect("it is piped");
        let mut read = std::mem::take(&mut self.read);
        let (code, out, err) = spawn_blocking(move || {
            let mut complaint = String::new();
            out.read_to_string(&mut read).expect("it writes text");
            err.read_to_string(&mut complaint).expect("it writes text");
            let status = self.process.wait().expect("it ends");
            (status.code().expect("it ends by itself"), read, complaint)
        })
        .await
        .expect("it is read");
        Ended { code, out, err }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

async fn wait(engine: &FakeDocker, words: &[&str]) -> Ended {
    Waiting::start(&engine.host(), words).end().await
}

/// A recorded container that listens there, if anywhere.
/// Every one has an image of its own, and those that run were started just now.
fn container(state: &str, service: &str, at: Option<SocketAddr>) -> Value {
    static NOW: LazyLock<String> = LazyLock::new(|| humantime::format_rfc3339(SystemTime::now()).to_string());
    let mut container = recorded(state, service, &[service]);
    container["Config"]["Image"] = json!(format!("example/{service}:1"));
    if container["State"]["Status"] == "running" {
        container["State"]["StartedAt"] = json!(*NOW);
    }
    container["NetworkSettings"]["Networks"]["enginefix_cvat"]["IPAddress"] =
        json!(at.map(|at| at.ip().to_string()).unwrap_or_default());
    container["Config"]["ExposedPorts"] = match at {
        Some(at) => json!({ format!("{}/tcp", at.port()): {} }),
        None => json!({}),
    };
    container
}

fn with_needs(mut container: Value, needs: &str) -> Value {
    container["Config"]["Labels"]["com.docker.compose.depends_on"] = json!(needs);
    container
}

/// Accepts connections, and counts them.
async fn listening() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    });
    (address, count)
}

/// A port that is ours and on which nobody listens yet.
fn reserved() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

/// Answers requests with these statuses in turn, the last one for ever.
async fn answering(statuses: &'static [u16]) -> SocketAddr {
    answering_with(statuses, "").await
}

/// The same, with these lines in the head.
async fn answering_with(statuses: &'static [u16], head: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut next = 0;
        while let Ok((mut connection, _)) = listener.accept().await {
            let _head = connection.read(&mut [0; 4096]).await;
            let status = statuses[next.min(statuses.len() - 1)];
            next += 1;
            let answer = format!("HTTP/1.1 {status} -\r\n{head}Content-Length: 0\r\nConnection: close\r\n\r\n");
            let _sent = connection.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn services_that_are_ready_are_not_waited_for() {
    let engine = FakeDocker::start();
    let (address, asked) = listening().await;
    engine.put(container("running", "db", Some(address)));
    engine.put(container("healthy", "web", Some(address)));
    let ended = wait(&engine, &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    // What it was not told, and what it could not read, each once.
    let notes: Vec<&str> = ended.err.lines().collect();
    assert_eq!(notes[0], "anteroom: the project is cvat", "{ended:?}");
    assert!(notes[1].starts_with("anteroom: the compose files could not be read (/opt/cvat/docker-compose.yml: "));
    assert_eq!(notes.len(), 2, "{ended:?}");
    assert!(ended.out.contains("db: well after") && ended.out.contains(&format!("(answers on {})", address.port())));
    assert!(ended.out.contains("web: well after") && ended.out.contains("(healthy)"), "{ended:?}");
    assert_eq!(ended.out.lines().count(), 2, "{ended:?}");
    // The health check speaks for the other one.
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(engine.requests().iter().all(|request| request.starts_with("GET ")), "{:?}", engine.requests());
}

#[tokio::test]
async fn a_cold_start_is_waited_for_and_told_change_by_change() {
    let engine = FakeDocker::start();
    let (address, asked) = listening().await;
    let (socket, late) = reserved();
    engine.put(container("starting", "db", Some(address)));
    engine.put(with_needs(container("running", "web", Some(late)), "db:service_healthy:false"));
    let mut waiting = Waiting::start(&engine.host(), &["web", "--project", "cvat"]);
    waiting.says("web: not ready after ").await;
    engine.asked("/containers/json", 4).await;
    let before = asked.load(Ordering::SeqCst);
    engine.put(container("healthy", "db", Some(address)));
    waiting.says("db: well after").await;
    let listener = socket.listen(16).expect("it listens");
    let ended = waiting.end().await;
    drop(listener);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    let shown: Vec<&str> = ended.out.lines().map(|line| line.split(" after").next().unwrap_or_default()).collect();
    assert_eq!(shown, ["db: not ready", "web: not ready", "db: well", "web: well"], "{ended:?}");
    assert_eq!(before, 1, "who has answered once is not asked with every look");
    assert!(ended.out.chars().all(|c| c == '\n' || !c.is_control()), "{ended:?}");
}

#[tokio::test]
async fn a_service_that_is_down_ends_it_at_once_with_the_cause_and_the_log() {
    let engine = FakeDocker::start();
    let grafana = container("exited-1", "cvat_grafana", Some(SocketAddr::from(([127, 0, 0, 1], 3000))));
    engine.put(grafana.clone());
    engine.put_log(&grafana, "starting\npassword=hunter2hunter2\nplugin \x1b[31mcannot be loaded\n");
    let ended = wait(&engine, &["--timeout", "1h"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in
        ["waiting is pointless: cvat_grafana is down", "target-exited", "up -d cvat_grafana", "cannot be loaded"]
    {
        assert!(ended.err.contains(part), "{part} in {}", ended.err);
    }
    assert!(!ended.err.contains("hunter2") && !ended.err.contains('\x1b'), "{}", ended.err);
    assert!(ended.out.starts_with("cvat_grafana: down after"), "{ended:?}");
    assert_eq!(engine.count("/containers/json"), 2, "the projects, and one look");
}

#[tokio::test]
async fn a_job_that_has_ended_well_is_done() {
    let engine = FakeDocker::start();
    let (address, _) = listening().await;
    let mut job = container("exited-1", "migrate", None);
    job["State"]["ExitCode"] = json!(0);
    engine.put(job);
    engine.put(with_needs(container("running", "web", Some(address)), "migrate:service_completed_successfully:false"));
    let ended = wait(&engine, &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.starts_with("migrate: done after"), "{ended:?}");
}

#[tokio::test]
async fn time_is_up_where_nothing_changes() {
    let engine = FakeDocker::start();
    let (address, _) = listening().await;
    engine.put(container("starting", "db", Some(address)));
    engine.put(container("running", "web", Some(address)));
    let ended = wait(&engine, &["--timeout", "700ms"]).await;
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains("time is up: not ready: db\n") && ended.err.contains("target-warming"), "{}", ended.err);
    assert!(engine.count("/containers/json") >= 3, "{:?}", engine.requests());
    let once = wait(&engine, &["--timeout", "0s"]).await;
    assert_eq!(once.code, 4, "{once:?}");
}

#[tokio::test]
async fn a_service_or_project_that_is_not_there_is_not_found() {
    let engine = FakeDocker::start();
    let folder = engine.socket().parent().expect("it is in a folder").to_owned();
    std::fs::write(folder.join("compose.yml"), "services:\n  db:\n    image: example/db\n").expect("it is ours");
    let (address, _) = listening().await;
    let mut db = container("running", "db", Some(address));
    db["Config"]["Labels"]["com.docker.compose.project.working_dir"] = json!(folder);
    db["Config"]["Labels"]["com.docker.compose.project.config_files"] = json!(folder.join("compose.yml"));
    engine.put(db);
    let ended = wait(&engine, &["bd"]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.err.contains("there is no service bd in cvat; there are db"), "{}", ended.err);
    let ended = wait(&engine, &["--project", "nobody", "--timeout", "0s"]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.err.contains("there is no project of this name; there are cvat"), "{}", ended.err);
}

#[tokio::test]
async fn the_project_of_a_folder_with_compose_files_is_that_folders_or_nobodys() {
    let engine = FakeDocker::start();
    engine.put(container("healthy", "web", None));
    let folder = engine.socket().parent().expect("it is in a folder").join("_Shop.");
    std::fs::create_dir(&folder).expect("it is ours");
    let from = async |words: &[&str], variable: Option<&str>| {
        let waiting = Waiting::start_as(&engine.host(), words, |command| {
            command.current_dir(&folder).env("PWD", &folder);
            command.envs(variable.map(|name| ("COMPOSE_PROJECT_NAME", name)));
        });
        waiting.end().await
    };
    let ended = from(&[], None).await;
    assert!(ended.code == 0 && ended.err.starts_with("anteroom: the project is cvat\n"), "{ended:?}");
    std::fs::write(folder.join("compose.yaml"), "services: {}\n").expect("it is ours");
    let ended = from(&["--timeout", "0s"], None).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.err.contains("the project of this folder has no container; there are cvat"), "{ended:?}");
    // Nor from below, as compose finds the files.
    std::fs::create_dir(folder.join("scripts")).expect("it is ours");
    let below = Waiting::start_as(&engine.host(), &["--timeout", "0s"], |command| {
        command.current_dir(folder.join("scripts")).env_remove("PWD");
    });
    assert_eq!(below.end().await.code, 3);
    // By a name, nothing is to be said of it.
    let ended = from(&[], Some("cvat")).await;
    assert!(ended.code == 0 && !ended.err.contains("the project is"), "{ended:?}");
    std::fs::write(folder.join(".env"), "A=b\nCOMPOSE_PROJECT_NAME='other'\n").expect("it is ours");
    assert_eq!(from(&["--timeout", "0s"], None).await.code, 3);
    assert_eq!(from(&[], Some("cvat")).await.code, 0, "the environment counts before the file");
    std::fs::remove_file(folder.join(".env")).expect("it is ours");
    let mut made_here = container("healthy", "shop", None);
    made_here["Config"]["Labels"]["com.docker.compose.project"] = json!("elsewhere");
    made_here["Config"]["Labels"]["com.docker.compose.project.working_dir"] = json!(folder);
    engine.put(made_here);
    let ended = from(&[], None).await;
    assert!(ended.code == 0 && ended.err.starts_with("anteroom: the project is elsewhere\n"), "{ended:?}");
}

#[tokio::test]
async fn a_service_that_another_one_needs_and_that_refuses_is_not_ready_however_old_it_is() {
    let engine = FakeDocker::start();
    let (address, _) = listening().await;
    let (_socket, silent) = reserved();
    let mut db = container("running", "db", Some(silent));
    db["State"]["StartedAt"] = json!("2024-01-01T00:00:00Z");
    engine.put(db);
    engine.put(with_needs(container("running", "web", Some(address)), "db:service_started:false"));
    let ended = wait(&engine, &["--timeout", "600ms"]).await;
    assert!(ended.code == 4 && ended.err.contains("not ready: db\n"), "{ended:?}");
    // Nobody needs it: then its image may declare what does not listen, and it is waited for no longer.
    engine.put(container("running", "web", Some(address)));
    assert_eq!(wait(&engine, &["--timeout", "600ms"]).await.code, 0);
}

#[tokio::test]
async fn a_service_that_labels_need_and_nobody_has_made_is_the_cause() {
    let engine = FakeDocker::start();
    let web = container("exited-1", "web", None);
    engine.put(with_needs(web, "db:service_started:false"));
    let ended = wait(&engine, &["--timeout", "20s"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in ["waiting is pointless: db has no container", "target-absent", "web needs db", "up -d db"] {
        assert!(ended.err.contains(part), "{part} in {}", ended.err);
    }
}

#[tokio::test]
async fn a_leftover_is_passed_over_and_that_is_said_once() {
    let engine = FakeDocker::start();
    let (address, _) = listening().await;
    engine.put(container("starting", "db", Some(address)));
    let mut old = container("exited-1", "old", None);
    (old["Created"], old["State"]["FinishedAt"]) = (json!("2023-01-01T00:00:00Z"), json!("2023-01-02T00:00:00Z"));
    engine.put(old);
    let mut waiting = Waiting::start(&engine.host(), &["--timeout", "20s"]);
    waiting.says("db: not ready").await;
    engine.asked("/containers/json", 4).await;
    engine.put(container("healthy", "db", Some(address)));
    let ended = waiting.end().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let said = ended.err.lines().filter(|it| it.contains("not waited for, since the last `up` did not start it: old "));
    assert_eq!(said.count(), 1, "{ended:?}");
    assert!(!ended.out.contains("old"), "{ended:?}");
    assert_eq!(wait(&engine, &["old"]).await.code, 1);
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_from_everything_else() {
    let engine = FakeDocker::start();
    engine.put(container("starting", "db", None));
    let nobody = format!("{}.not", engine.host());
    let ended = Waiting::start(&nobody, &[]).end().await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("cannot look: the container engine: there is no socket at"), "{}", ended.err);
    // One answer that fails does not end the waiting; an engine that forbids it does.
    let mut waiting = Waiting::start(&engine.host(), &[]);
    waiting.says("db: not ready").await;
    engine.set_mood("/containers/json", Some(Mood::RefusesOnce(500)));
    let looks = engine.count("/containers/json");
    engine.asked("/containers/json", looks + 3).await;
    engine.set_mood("/containers/json", Some(Mood::Refuses(403)));
    let ended = waiting.end().await;
    assert_eq!(ended.code, 2, "{ended:?}");
}

#[tokio::test]
async fn the_address_is_waited_for_when_the_services_are_ready() {
    let engine = FakeDocker::start();
    engine.put(container("healthy", "web", None));
    let address = answering(&[503, 401, 302]).await;
    let url = format!("http://{address}/analytics/");
    let ended = wait(&engine, &["--http", &url]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let shown: Vec<&str> = ended.out.lines().collect();
    assert!(shown[1].starts_with(&format!("{url}: not ready after")) && shown[1].ends_with("(503)"), "{ended:?}");
    assert!(shown[2].starts_with(&format!("{url}: well after")) && shown[2].ends_with("(302)"), "{ended:?}");
    let forbidden = format!("http://{}/", answering(&[403]).await);
    let ended = wait(&engine, &["--http", &forbidden, "--timeout", "0s"]).await;
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains(&format!("all services are ready, but not {forbidden}")), "{}", ended.err);
    let ended = wait(&engine, &["--http", "http://127.0.0.1:1/", "--timeout", "0s"]).await;
    assert!(ended.err.contains("but not http://127.0.0.1:1/: connection refused by 127.0.0.1"), "{}", ended.err);
}

#[tokio::test]
async fn an_address_may_take_its_time_and_need_not_end_what_it_says() {
    let engine = FakeDocker::start();
    engine.put(container("healthy", "web", None));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let url = format!("http://{}/stream", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let _head = connection.read(&mut [0; 4096]).await;
            tokio::time::sleep(Duration::from_millis(2500)).await;
            let _sent = connection.write_all(b"HTTP/1.1 200 -\r\nContent-Length: 9\r\n\r\nabc").await;
            open.push(connection);
        }
    });
    let began = Instant::now();
    let ended = wait(&engine, &["--http", &url, "--timeout", "20s"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(15), "nobody waits for the end of the body: {ended:?}");
    assert!(ended.out.lines().any(|line| line.starts_with(&format!("{url}: well")) && line.ends_with("(200)")));
    // Its first answer counted.
    assert!(!ended.out.contains("not ready"), "{ended:?}");
    let ended = wait(&engine, &["--http", &url, "--timeout", "100ms"]).await;
    assert_eq!(ended.code, 4, "not longer than there is time, {ended:?}");
}

#[tokio::test]
async fn an_answer_from_somebody_else_is_not_the_services() {
    let engine = FakeDocker::start();
    engine.put(container("healthy", "cvat_grafana", None));
    let everybody = answering(&[200]).await;
    let analytics = format!("http://{everybody}/analytics/");
    let ended = wait(&engine, &["--http", &analytics, "--timeout", "0s"]).await;
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains(&format!("not {analytics}: 200 from another service, as for any path")), "{ended:?}");
    // Of a page that is nobody's own, it is the answer.
    let ended = wait(&engine, &["--http", &format!("http://{everybody}/tasks")]).await;
    assert_eq!(ended.code, 0, "{ended:?}");

    let sending_on = answering_with(&[301], "Location: https://127.0.0.1/analytics/\r\n").await;
    let ended = wait(&engine, &["--http", &format!("http://{sending_on}/analytics/")]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("only sends on to HTTPS"), "{ended:?}");
    let elsewhere = answering_with(&[302], "Location: https://login.example.org/\r\n").await;
    let ended = wait(&engine, &["--http", &format!("http://{elsewhere}/analytics/")]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[tokio::test]
async fn who_answered_earlier_is_asked_again_before_all_is_called_ready() {
    let engine = FakeDocker::start();
    let (socket, fleeting) = reserved();
    let listener = socket.listen(16).expect("it listens");
    engine.put(container("running", "cache", Some(fleeting)));
    engine.put(container("starting", "db", None));
    let mut waiting = Waiting::start(&engine.host(), &["--timeout", "2s"]);
    waiting.says("cache: well").await;
    // It runs on, and listens no more.
    drop(listener);
    engine.put(container("healthy", "db", None));
    let ended = waiting.end().await;
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains("not ready: cache"), "{}", ended.err);
}

#[tokio::test]
async fn an_engine_that_once_does_not_tell_is_asked_again() {
    let engine = FakeDocker::start();
    engine.put(container("healthy", "web", None));
    // While the project is looked for, and at the first look at it.
    for path in ["/containers/json", "/networks"] {
        engine.set_mood(path, Some(Mood::RefusesOnce(500)));
        let ended = wait(&engine, &[]).await;
        assert_eq!(ended.code, 0, "{path}: {ended:?}");
    }
    for path in ["/containers/json", "/networks"] {
        engine.set_mood(path, Some(Mood::Refuses(500)));
        let ended = wait(&engine, &["--timeout", "0s"]).await;
        assert_eq!(ended.code, 2, "{path}: {ended:?}");
        engine.set_mood(path, None);
    }
}

#[tokio::test]
async fn wrong_arguments_are_told_from_failures() {
    let engine = FakeDocker::start();
    for words in
        [&["--timeout", "soon"][..], &["--http", "localhost:8080"], &["--http", "http://a:x/"], &["--for", "ever"]]
    {
        let ended = wait(&engine, words).await;
        assert_eq!(ended.code, 64, "{ended:?}");
    }
    let help = wait(&engine, &["--help"]).await;
    assert_eq!(help.code, 0);
    for part in ["1 waiting is pointless", "3 there is no such service", "4 time is up", "[default: 5m]"] {
        assert!(help.out.contains(part), "{part} in {}", help.out);
    }
}
