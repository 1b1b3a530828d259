//! Asks a Docker engine: one thin call each, read only, bounded in time, with every error named by what it means.

use std::error::Error;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder, ListNetworksOptions,
    LogsOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker, errors};
use futures_util::{Stream, StreamExt};
use http::uri::PathAndQuery;

use crate::engine::convert::{self, Listed, Occurrence};
use crate::evidence::{self, Container, Network, Status};
use crate::project::Setup;

/// The states of Docker's list, which bollard's models have; and those that Podman's list has of them: it refuses the others.
/// It has two more: `stopped`, until it has cleaned up after a container that died, and `unknown`.
const KNOWN_STATES: [&[&str]; 2] = [
    &["created", "running", "paused", "exited", "restarting", "removing", "dead"],
    &["created", "running", "paused", "exited"],
];

/// Where Docker listens unless told otherwise. Podman's service can be mounted there.
const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";
/// In bytes: a socket proxy may answer with a page.
const REASON_MOST: usize = 256;
/// In bytes: of a log that is read for its end. Fifty lines may have any length.
const LOG_READ_MOST: usize = 4 << 20;
/// Of the past; an engine remembers 256 events.
const HISTORY_MOST: usize = 1024;
/// bollard's own limit, in seconds, for an answer's head. Ours is finer and counts the body too; this one remains for
/// the stream of events, which has no end.
const HEAD_LIMIT: u64 = 3;
/// The events that change what we know. Above all no `exec_*`: each health probe emits three of them.
const EVENTS: [&str; 14] = [
    "create",
    "start",
    "die",
    "oom",
    "kill",
    "pause",
    "unpause",
    "stop",
    "restart",
    "rename",
    "destroy",
    "health_status",
    "connect",
    "disconnect",
];

/// Why the engine did not tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It is there, but we may not ask.
    #[error("{0}")]
    Forbidden(Box<str>),
    /// It is not there, or does not answer as an engine does.
    #[error("{0}")]
    Unavailable(Box<str>),
    /// Its stream of events ended, as it does when the engine stops and when a proxy in between grows impatient.
    #[error("the stream of events ended")]
    Ended,
}

impl From<&Trouble> for evidence::Engine {
    fn from(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::Forbidden(reason) => Self::Forbidden { reason: reason.clone() },
            Trouble::Unavailable(reason) => Self::Unavailable { reason: reason.clone() },
            Trouble::Ended => Self::Unavailable { reason: trouble.to_string().into() },
        }
    }
}

/// A connection to an engine that has answered once.
#[derive(Clone, Debug)]
pub struct Client {
    docker: Docker,
    /// `unix:///var/run/docker.sock`, for people.
    host: Box<str>,
    /// How long one call may take.
    limit: Duration,
    /// The engine's own word, e.g. `20.10.24`.
    pub version: Box<str>,
}

impl Client {
    /// Finds out whether an engine listens at `host` (a `DOCKER_HOST`) and agrees on a version of the API with it.
    pub async fn connect(host: Option<&str>, limit: Duration) -> Result<Self, Trouble> {
        let host = host.unwrap_or(DEFAULT_SOCKET);
        let docker = open(host)?;
        let client = Self { docker, host: host.into(), limit, version: Box::default() };
        let docker = in_its_version(client.call(client.docker.clone().negotiate_version()).await?);
        let version = convert::version(client.call(docker.version()).await?);
        Ok(Self { docker, version, ..client })
    }

    /// The events of containers and networks from `since` on, and then as they come.
    ///
    /// The request is sent when the stream is first polled.
    pub fn events(&self, since: SystemTime) -> impl Stream<Item = Result<Occurrence, Trouble>> + use<> {
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let filters = [("type", vec!["container", "network"]), ("event", EVENTS.to_vec())];
        let options = EventsOptionsBuilder::default().since(&since.to_string()).filters(&filters.into()).build();
        let client = self.clone();
        self.docker.events(Some(options)).filter_map(move |event| {
            let occurrence = match event {
                Ok(event) => convert::occurrence(event).map(Ok),
                Err(error) => Some(Err(client.trouble(&error))),
            };
            std::future::ready(occurrence)
        })
    }

    /// All containers, also those that do not run.
    pub async fn list(&self) -> Result<Vec<Listed>, Trouble> {
        let all = || ListContainersOptionsBuilder::default().all(true);
        let list = async {
            let mut answer = self.docker.list_containers(Some(all().build())).await;
            // One container in a state that the models do not know makes the whole list unreadable.
            if let Err(errors::Error::JsonDataError { .. }) = answer {
                for known in KNOWN_STATES {
                    let of_known = all().filters(&[("status", known.to_vec())].into()).build();
                    answer = self.docker.list_containers(Some(of_known)).await;
                    if answer.is_ok() {
                        break;
                    }
                }
            }
            answer
        };
        let list = self.call(list).await?;
        Ok(list.into_iter().filter_map(convert::listed).collect())
    }

    /// One container, by its id; `None` if it is gone.
    pub async fn inspect(&self, id: &str) -> Result<Option<Container>, Trouble> {
        Ok(self.inspect_with_setup(id).await?.map(|(container, _)| container))
    }

    /// The same, with what a look at a whole project needs beside it.
    pub async fn inspect_with_setup(&self, id: &str) -> Result<Option<(Container, Setup)>, Trouble> {
        let answer = self.call(self.inspected(id)).await?;
        Ok(answer.and_then(|inspected| {
            let setup = convert::setup(&inspected);
            convert::container(inspected).map(|container| (container, setup))
        }))
    }

    /// One that was seen before. In a state that the models do not know it is as it was, but for that.
    pub async fn inspect_again(&self, last: &Container) -> Result<Option<Container>, Trouble> {
        let answer = async {
            match self.inspected(&last.id).await {
                Err(errors::Error::JsonDataError { .. }) => {
                    Ok(Some(Container { status: Status::Other, ..last.clone() }))
                }
                answer => Ok(answer?.and_then(convert::container)),
            }
        };
        self.call(answer).await
    }

    /// `None` if it is gone.
    async fn inspected(&self, id: &str) -> Result<Option<ContainerInspectResponse>, errors::Error> {
        if !convert::is_id(id) {
            return Ok(None);
        }
        match self.docker.inspect_container(id, None::<InspectContainerOptions>).await {
            Ok(inspected) => Ok(Some(inspected)),
            Err(errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the engine has an image of this name; true for a name that no image can have.
    pub async fn has_image(&self, name: &str) -> Result<bool, Trouble> {
        if !convert::is_image_name(name) {
            return Ok(true);
        }
        let missing_is_false = async {
            match self.docker.inspect_image(name).await {
                Ok(_) => Ok(true),
                Err(errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.call(missing_is_false).await
    }

    /// Where the engine keeps its data, as a path of its host.
    pub async fn root(&self) -> Result<Option<String>, Trouble> {
        Ok(self.call(self.docker.info()).await?.docker_root_dir)
    }

    /// What happened from `since` until now.
    pub async fn history(&self, since: SystemTime) -> Result<Vec<Occurrence>, Trouble> {
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let filters = [("type", vec!["container"]), ("event", EVENTS.to_vec())];
        // The engine ends the stream at `until`, which has to be over by its own clock.
        let options = EventsOptionsBuilder::default()
            .since(&seconds(since))
            .until(&seconds(SystemTime::now()))
            .filters(&filters.into())
            .build();
        let mut events = pin!(self.docker.events(Some(options)));
        let mut told = Vec::new();
        let read = async {
            while let Some(event) = events.next().await
                && told.len() < HISTORY_MOST
            {
                told.extend(convert::occurrence(event?));
            }
            Ok(())
        };
        let read = self.call(read).await;
        // An engine whose clock is behind ours ends the stream late: what it has told until then is the past.
        if told.is_empty() { read.map(|()| told) } else { Ok(told) }
    }

    /// The networks that exist; none if the engine's guard does not let us ask, which is no reason to give up the rest.
    pub async fn networks(&self) -> Result<Vec<Network>, Trouble> {
        match self.call(self.docker.list_networks(None::<ListNetworksOptions>)).await {
            Ok(networks) => Ok(networks.into_iter().filter_map(convert::network).collect()),
            Err(Trouble::Forbidden(reason)) => {
                tracing::debug!(reason = &*reason, "the engine does not tell its networks");
                Ok(Vec::new())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// The last lines that a container has printed since it was last started; none if they cannot be read, which is no
    /// reason to give up the rest. What an earlier run said says nothing of this one.
    pub async fn log(&self, container: &Container) -> Vec<Box<str>> {
        self.log_where(container, convert::LOG_LINES, |_| true).await
    }

    /// Of as many last lines, those that are wanted. Without a terminal, the engine tells each line by itself.
    pub async fn log_where(&self, container: &Container, lines: usize, wanted: impl Fn(&str) -> bool) -> Vec<Box<str>> {
        let since = container.started.as_ref().and_then(|moment| moment.at.duration_since(UNIX_EPOCH).ok());
        // The engine notes the start when it is done, by when the first lines may have been printed.
        let since = since.and_then(|since| i32::try_from(since.as_secs().saturating_sub(1)).ok()).unwrap_or_default();
        // One more than are wanted: the engine keeps a long line in several pieces, and counts those.
        let asked = lines + 1;
        let tail = asked.to_string();
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&tail).since(since).build();
        let mut stream = pin!(self.docker.logs(&container.id, Some(options)));
        // Of more lines more is read: the newest come last.
        let most = LOG_READ_MOST.max(lines << 12);
        let read = async {
            let (mut text, mut left, mut is_cut, mut pieces) = (Vec::new(), most, false, 0);
            // The oldest come first, so what is too much is taken from the front.
            while let Some(piece) = stream.next().await
                && left > 0
            {
                let piece = piece?.into_bytes();
                left = left.saturating_sub(piece.len());
                if !wanted(&String::from_utf8_lossy(&piece)) {
                    continue;
                }
                text.extend_from_slice(&piece);
                pieces += 1;
                let surplus = text.len().saturating_sub(convert::LOG_MOST);
                is_cut |= surplus > 0 || pieces == asked;
                text.drain(..surplus);
            }
            Ok(convert::log(if is_cut { convert::from_next_line(&text) } else { &text }))
        };
        self.call(read).await.unwrap_or_else(|trouble| {
            tracing::debug!(reason = trouble.to_string(), "the engine does not tell a log");
            Vec::new()
        })
    }

    async fn call<T>(&self, answer: impl Future<Output = Result<T, errors::Error>>) -> Result<T, Trouble> {
        match tokio::time::timeout(self.limit, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.trouble(&error)),
            Err(_) => Err(no_answer(self.limit)),
        }
    }

    fn trouble(&self, error: &errors::Error) -> Trouble {
        let reason = |text: &str| convert::cut(text, REASON_MOST);
        match error {
            errors::Error::RequestTimeoutError => no_answer(Duration::from_secs(HEAD_LIMIT)),
            errors::Error::DockerResponseServerError { status_code, message } => {
                let text = reason(&format!("{} answered {status_code}: {}", self.host, message.trim()));
                if matches!(status_code, 401 | 403) { Trouble::Forbidden(text) } else { Trouble::Unavailable(text) }
            }
            error => {
                let cause = root(error);
                match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
                    Some(io::ErrorKind::PermissionDenied) => {
                        Trouble::Forbidden(reason(&format!("permission denied on {}", self.host)))
                    }
                    Some(_) | None => Trouble::Unavailable(reason(&format!("{}: {cause}", self.host))),
                }
            }
        }
    }
}

/// What a call that took too long means.
pub fn no_answer(limit: Duration) -> Trouble {
    Trouble::Unavailable(format!("no answer in {} s", limit.as_secs_f32()).into())
}

fn open(host: &str) -> Result<Docker, Trouble> {
    let refuse = |error: errors::Error| Trouble::Unavailable(format!("{host}: {error}").into());
    match host.split_once("://") {
        Some(("unix", path)) => {
            socket_is_there(path)?;
            Docker::connect_with_unix(path, HEAD_LIMIT, API_DEFAULT_VERSION).map_err(refuse)
        }
        Some(("tcp" | "http", _)) => {
            Docker::connect_with_http(&with_port(host), HEAD_LIMIT, API_DEFAULT_VERSION).map_err(refuse)
        }
        Some(_) | None => Err(Trouble::Unavailable(
            format!("DOCKER_HOST {host} is not understood: it takes unix://, tcp:// or http://").into(),
        )),
    }
}

/// With the port that the docker command asks where none is named.
fn with_port(host: &str) -> String {
    let host = host.strip_suffix('/').unwrap_or(host);
    let has_port = host.parse::<http::Uri>().is_ok_and(|uri| uri.port().is_some());
    let port = if host.starts_with("tcp://") && !has_port { ":2375" } else { "" };
    format!("{host}{port}")
}

/// Puts the negotiated version in front of each path.
///
/// bollard 0.21 negotiates one and then sends none (`Url::join` drops its prefix), so that an engine would answer in
/// its newest, with words that the models may not know.
fn in_its_version(docker: Docker) -> Docker {
    let prefix = format!("/v{}", docker.client_version());
    docker.with_request_modifier(move |mut request| {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        if !path.starts_with(&prefix) {
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = format!("{prefix}{path}").parse().ok();
            // It was a URI before, and still is with a longer path.
            if let Ok(uri) = http::Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
        request
    })
}

/// Says what is wrong with a socket better than a failed connection does.
fn socket_is_there(path: &str) -> Result<(), Trouble> {
    match Path::new(path).metadata() {
        // The connection would be refused, as if the engine were down.
        Ok(found) if found.is_dir() => Err(Trouble::Unavailable(
            format!("{path} is a directory: Docker makes one where a socket to be mounted is missing").into(),
        )),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Trouble::Forbidden(format!("permission denied on {path}").into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Trouble::Unavailable(format!("there is no socket at {path}").into()))
        }
        Err(error) => Err(Trouble::Unavailable(format!("{path}: {error}").into())),
    }
}

/// What is at the bottom of a chain of wrappers: `Connection refused`, not `client error (Connect)`.
fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (**error).source()).last().unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_without_a_port_is_asked_on_dockers() {
        for (host, asked) in [
            ("tcp://proxy", "tcp://proxy:2375"),
            ("tcp://proxy/", "tcp://proxy:2375"),
            ("tcp://proxy:1/", "tcp://proxy:1"),
            ("tcp://[fd00::7]/", "tcp://[fd00::7]:2375"),
            ("http://proxy/", "http://proxy"),
        ] {
            assert_eq!(with_port(host), asked, "{host}");
        }
    }
}
