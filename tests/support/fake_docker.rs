//! A stand-in for a Docker engine: hyper on a unix socket of its own, with containers that a test writes and a stream
//! of events that it pushes to. It filters events and replays the past as the real one does.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// How the engine takes requests whose path contains a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Reads the request and does not answer before the mood changes.
    Silent,
    /// Answers with this status.
    Refuses(u16),
    /// The same, and then its mood is over.
    RefusesOnce(u16),
    /// Never answers one request, and then its mood is over.
    SilentOnce,
}

/// The engine. Dropping it stops it and removes its socket.
pub struct FakeDocker {
    directory: PathBuf,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    moods: watch::Sender<Vec<(String, Mood)>>,
    /// The paths and queries that were asked for, with their methods.
    requests: watch::Sender<Vec<String>>,
}

struct State {
    containers: Vec<Value>,
    networks: Vec<Value>,
    /// What containers have written, by their ids.
    logs: HashMap<String, String>,
    history: Vec<Value>,
    /// To the streams that are open.
    events: broadcast::Sender<Value>,
}

/// More than any test emits at once.
const EVENTS_UNREAD: usize = 1024;

/// Tries to forge a line of the log and to paint the terminal.
const REFUSAL: &str = "refused by a test\nforged line\r\x1b[31mforged paint";

impl FakeDocker {
    /// An engine that runs nothing.
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("fake-docker-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&directory).expect("a directory for the socket");
        let shared = Shared {
            state: Mutex::new(State {
                containers: Vec::new(),
                networks: Vec::new(),
                logs: HashMap::new(),
                history: Vec::new(),
                events: broadcast::Sender::new(EVENTS_UNREAD),
            }),
            moods: watch::Sender::new(Vec::new()),
            requests: watch::Sender::new(Vec::new()),
        };
        let mut engine = Self { directory, shared: Arc::new(shared), server: None };
        engine.resume();
        engine
    }

    /// Its `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    /// Ends every connection and takes the socket away, as an engine does that stops.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // Its connections end with it; only then is nobody answering any more.
            let _cancelled = server.await;
        }
        std::fs::remove_file(self.socket()).expect("the socket was there");
    }

    /// Listens again after [`Self::stop`], with the same containers and no history, as an engine does that restarts.
    pub fn resume(&mut self) {
        let listener = UnixListener::bind(self.socket()).expect("a socket in our own directory");
        self.state().history.clear();
        self.server = Some(tokio::spawn(serve(listener, self.shared.clone())));
    }

    /// Adds a container, or replaces the one with its id, without an event.
    pub fn put(&self, container: Value) {
        let mut state = self.state();
        state.containers.retain(|there| there["Id"] != container["Id"]);
        state.containers.push(container);
    }

    /// Removes a container without an event.
    pub fn remove(&self, container: &Value) {
        self.state().containers.retain(|there| there["Id"] != container["Id"]);
    }

    pub fn put_network(&self, id: &str, name: &str) {
        self.state().networks.push(json!({ "Id": id, "Name": name, "Driver": "bridge" }));
    }

    /// What a container has written to its standard error.
    pub fn put_log(&self, container: &Value, text: &str) {
        let id = container["Id"].as_str().expect("an id").to_owned();
        self.state().logs.insert(id, text.to_owned());
    }

    /// From now on requests whose path contains `path` are taken in this mood; `None`: answered as usual.
    pub fn set_mood(&self, path: &str, mood: Option<Mood>) {
        self.shared.moods.send_modify(|moods| {
            moods.retain(|(there, _)| there != path);
            moods.extend(mood.map(|mood| (path.to_owned(), mood)));
        });
    }

    /// Ends the streams of events that are open, as an impatient proxy does, and nothing else.
    pub fn cut_streams(&self) {
        self.state().events = broadcast::Sender::new(EVENTS_UNREAD);
    }

    /// Emits an event about a container now.
    pub fn emit(&self, action: &str, container: &Value) {
        self.emit_at(SystemTime::now(), action, container);
    }

    /// The same with another time: for the history.
    pub fn emit_at(&self, at: SystemTime, action: &str, container: &Value) {
        let mut attributes = container["Config"]["Labels"].clone();
        attributes["name"] = json!(container["Name"].as_str().unwrap_or_default().trim_start_matches('/'));
        if action == "die" {
            attributes["exitCode"] = json!(container["State"]["ExitCode"].to_string());
        }
        let since_epoch = at.duration_since(UNIX_EPOCH).expect("a time after 1970");
        let event = json!({
            "Type": "container", "Action": action, "scope": "local",
            "Actor": { "ID": container["Id"], "Attributes": attributes },
            "time": since_epoch.as_secs(), "timeNano": since_epoch.as_nanos() as u64,
        });
        // Both under the lock, so that a stream that begins now gets it once.
        let mut state = self.state();
        state.history.push(event.clone());
        let _nobody_listens = state.events.send(event);
    }

    /// Returns once a path was asked for so many times.
    pub async fn asked(&self, path: &str, times: usize) {
        let mut requests = self.shared.requests.subscribe();
        let enough = requests.wait_for(|requests| count(requests, path) >= times);
        let in_time = tokio::time::timeout(Duration::from_secs(20), enough).await;
        in_time.unwrap_or_else(|_| panic!("{path} was not asked for {times} times")).expect("the engine is there");
    }

    /// How many requests had this path so far.
    pub fn count(&self, path: &str) -> usize {
        count(&self.shared.requests.borrow(), path)
    }

    /// What was asked so far, as `GET /v1.41/containers/json?all=true`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.borrow().clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("no test panics while it holds the lock")
    }
}

impl Drop for FakeDocker {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
        let _leftover = std::fs::remove_dir_all(&self.directory);
    }
}

/// A container as the real engine told of it: `tests/fixtures/inspect/<state>.json`, under another name.
pub fn recorded(state: &str, name: &str, aliases: &[&str]) -> Value {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/inspect").join(format!("{state}.json"));
    let text = std::fs::read_to_string(&fixture).unwrap_or_else(|error| panic!("{}: {error}", fixture.display()));
    let mut container: Value = serde_json::from_str(&text).expect("a recorded inspect answer");
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    container["Id"] = json!(format!("{hex:0<64.64}"));
    container["Name"] = json!(format!("/{name}"));
    container["Config"]["Labels"]["com.docker.compose.service"] = json!(name);
    container["NetworkSettings"]["Networks"]["enginefix_cvat"]["Aliases"] = json!(aliases);
    container
}

/// A version in front of a path is optional.
fn unversioned(path: &str) -> &str {
    path.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|slash| &rest[slash..])).unwrap_or(path)
}

fn count(requests: &[String], path: &str) -> usize {
    requests.iter().filter(|request| request.split(['?', ' ']).nth(1).map(unversioned) == Some(path)).count()
}

async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (connection, _) = listener.accept().await.expect("a listening socket accepts");
        connections.spawn(answer_all(connection, shared.clone()));
    }
}

async fn answer_all(connection: UnixStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    // The client may leave at any time.
    let _ended = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let asked = format!("{} {}", request.method(), request.uri().path_and_query().map_or("", |path| path.as_str()));
    shared.requests.send_modify(|requests| requests.push(asked));
    let mut moods = shared.moods.subscribe();
    let mood_for = |moods: &Vec<(String, Mood)>| {
        moods.iter().find(|(part, _)| path.contains(part.as_str())).map(|(_, mood)| *mood)
    };
    let moods = moods.wait_for(|moods| mood_for(moods) != Some(Mood::Silent)).await;
    let mood = mood_for(&moods.expect("the engine outlives its connections"));
    if matches!(mood, Some(Mood::RefusesOnce(_) | Mood::SilentOnce)) {
        shared.moods.send_modify(|moods| moods.retain(|(part, _)| !path.contains(part.as_str())));
    }
    match mood {
        Some(Mood::Refuses(status) | Mood::RefusesOnce(status)) => with_status(status, &json!({ "message": REFUSAL })),
        Some(Mood::SilentOnce) => std::future::pending().await,
        Some(Mood::Silent) | None => usual(&path, request.uri().query().unwrap_or_default(), shared),
    }
}

fn usual(path: &str, query: &str, shared: &Shared) -> Response<Body> {
    let state = shared.state.lock().expect("no test panics while it holds the lock");
    match unversioned(path) {
        "/version" => with_status(200, &json!({ "Version": "20.10.24", "ApiVersion": "1.41" })),
        "/containers/json" => {
            let filters: Value = serde_json::from_str(&parameter(query, "filters")).unwrap_or_default();
            let wanted = filters["status"].as_array();
            let listed = state.containers.iter().map(listed);
            with_status(200, &listed.filter(|it| wanted.is_none_or(|wanted| wanted.contains(&it["State"]))).collect())
        }
        "/networks" => with_status(200, &json!(state.networks)),
        "/events" => events(query, &state),
        path if path.ends_with("/logs") => {
            let log = state.logs.iter().find(|(id, _)| path.contains(id.as_str())).map(|(_, text)| text.as_str());
            log_of(log.unwrap_or_default(), parameter(query, "tail").parse().unwrap_or(usize::MAX))
        }
        path => {
            let id = path.strip_prefix("/containers/").and_then(|rest| rest.strip_suffix("/json")).unwrap_or("-");
            let found = state.containers.iter().find(|there| there["Id"].as_str().is_some_and(|it| it.starts_with(id)));
            match found {
                Some(container) => with_status(200, container),
                None => with_status(404, &json!({ "message": format!("No such container: {id}") })),
            }
        }
    }
}

/// What the list shows of a container; it leaves the aliases out, as API 1.41 does.
fn listed(container: &Value) -> Value {
    let mut networks = container["NetworkSettings"]["Networks"].clone();
    for network in networks.as_object_mut().into_iter().flat_map(|networks| networks.values_mut()) {
        network["Aliases"] = Value::Null;
    }
    let state = container["State"].get("Listed").unwrap_or(&container["State"]["Status"]);
    json!({
        "Id": container["Id"], "Names": [container["Name"]], "Labels": container["Config"]["Labels"],
        "State": state, "NetworkSettings": { "Networks": networks },
    })
}

/// The last pieces, as the engine keeps them, of 16 KiB at most, and multiplexes them: the stream, three zeros, the length,
/// and the piece.
fn log_of(text: &str, tail: usize) -> Response<Body> {
    let pieces: Vec<&[u8]> = text.split_inclusive('\n').flat_map(|line| line.as_bytes().chunks(16 << 10)).collect();
    let mut frames = Vec::new();
    for piece in &pieces[pieces.len().saturating_sub(tail)..] {
        frames.extend_from_slice(&[2, 0, 0, 0]);
        frames.extend_from_slice(&u32::try_from(piece.len()).expect("16 KiB").to_be_bytes());
        frames.extend_from_slice(piece);
    }
    Response::new(UnsyncBoxBody::new(Full::from(frames).map_err(|never| match never {})))
}

/// Of a query, decoded.
fn parameter(query: &str, name: &str) -> String {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.map(percent_decoded).unwrap_or_default()
}

fn events(query: &str, state: &State) -> Response<Body> {
    let parameter = |name: &str| parameter(query, name);
    let filters: Value = serde_json::from_str(&parameter("filters")).unwrap_or_default();
    let since: u64 = parameter("since").parse().unwrap_or(u64::MAX);
    let past = state.history.iter().filter(|event| event["time"].as_u64() >= Some(since)).cloned();
    let past: VecDeque<_> = past.collect();
    // Who names an end is told the past alone.
    let ends = !parameter("until").is_empty();
    let lines =
        stream::unfold((past, state.events.subscribe(), filters, ends), async |(mut past, mut live, filters, ends)| {
            loop {
                let event = match past.pop_front() {
                    Some(event) => event,
                    None if ends => return None,
                    None => live.recv().await.ok()?,
                };
                if passes(&event, &filters) {
                    let line = Frame::data(Bytes::from(format!("{event}\n")));
                    return Some((Ok(line), (past, live, filters, ends)));
                }
            }
        });
    Response::new(UnsyncBoxBody::new(StreamBody::new(lines)))
}

/// As the engine filters: `health_status` lets `health_status: healthy` pass.
fn passes(event: &Value, filters: &Value) -> bool {
    let allows = |key: &str, word: &Value| {
        let word = word.as_str().unwrap_or_default();
        let bare = word.split(':').next().unwrap_or_default();
        filters[key].as_array().is_none_or(|words| words.iter().any(|it| *it == word || *it == bare))
    };
    allows("type", &event["Type"]) && allows("event", &event["Action"])
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two hex digits after a percent sign"));
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).expect("a query in UTF-8")
}

fn with_status(status: u16, body: &Value) -> Response<Body> {
    let body = UnsyncBoxBody::new(Full::from(body.to_string()).map_err(|never| match never {}));
    Response::builder().status(status).header("Content-Type", "application/json").body(body).expect("a valid status")
}
