//! Asks the way that users ask: through Traefik, without a login, and without waiting for what may come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::evidence::{Failure, Scheme, Upstream, written_host};
use crate::project::traefik::Complaint;
use crate::project::{Address, Answered};
use crate::retry::Connection;
use crate::tls::{self, Protocols};
use crate::upstream::half_open::HalfOpen;
use crate::upstream::{Dialer, failure};

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// For a whole exchange. Who waits for longer than this has met a fault already.
pub const EXCHANGE_LIMIT: Duration = Duration::from_millis(1800);
/// For the body of an answer whose head is there: what it begins with is enough, and a stream never ends.
const BODY_LIMIT: Duration = Duration::from_millis(300);
/// In bytes: of a body that is read. A problem document of ours has a few kilobytes.
const BODY_MOST: usize = 64 << 10;
/// In bytes, of a head.
const HEAD_MOST: usize = 64 << 10;
/// Traefik tells a hundred at a time unless it is asked for more.
const ALL_ROUTERS: &str = "/api/http/routers?per_page=10000";
/// In bytes: of what the API tells, all of it or nothing. A router has some 300, and a host a few hundred of them.
const ROUTERS_MOST: usize = 1 << 20;
/// In bytes: of a body that is kept.
const START_MOST: usize = 200;
/// Of routers with an error.
const COMPLAINTS_MOST: usize = 8;
/// Nobody serves this: it tells what whoever takes all other paths answers.
const NOWHERE: &str = "/anteroom-doctor-asks-for-nothing";

/// What users get; where it matters, `compare`d with what a path gets that nobody serves. `limit` is for the head.
///
/// # Errors
/// Nobody answers.
pub async fn url(address: &Address, compare: bool, limit: Duration) -> Result<Answered, Failure> {
    let get = async |path: &str| get(address, path, limit, (BODY_LIMIT, BODY_MOST)).await;
    let nowhere = async { if compare { get(NOWHERE).await.ok() } else { None } };
    let (asked, nowhere) = tokio::join!(get(&address.path), nowhere);
    let (response, body) = asked?;
    let like_any_path = nowhere.is_some_and(|(other, its)| other.status() == response.status() && its == body);
    let onward = response.headers().get(LOCATION).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let only_to_tls = response.status().is_redirection()
        && address.scheme == Scheme::Http
        && onward.parse::<Uri>().is_ok_and(|to| {
            to.scheme_str() == Some("https")
                && to.host().is_some_and(|host| host.trim_matches(['[', ']']) == address.host)
        });
    let start = String::from_utf8_lossy(&body);
    Ok(Answered {
        status: response.status().as_u16(),
        start: start[..start.floor_char_boundary(START_MOST)].to_owned(),
        by_anteroom: serde_json::from_slice::<Problem>(&body).ok().and_then(Problem::first),
        like_any_path,
        only_to_tls,
    })
}

/// What Traefik's API says of its routers.
pub(super) enum Routers {
    /// There is no API.
    Silent,
    /// There is one, and what it says is no list of routers, or too long a one.
    Unreadable,
    /// Those that have an error.
    Faulty(Vec<Complaint>),
}

/// Asks Traefik's API for its routers.
pub(super) async fn routers(dashboard: SocketAddr) -> Routers {
    let (host, port, at) = ("localhost".to_owned(), dashboard.port(), Some(dashboard.ip()));
    let address = Address { scheme: Scheme::Http, host, port, path: String::new(), at };
    let answer = get(&address, ALL_ROUTERS, EXCHANGE_LIMIT, (EXCHANGE_LIMIT, ROUTERS_MOST)).await;
    let Some((_, body)) = answer.ok().filter(|(response, _)| response.status().is_success()) else {
        return Routers::Silent;
    };
    let Ok(routers) = serde_json::from_slice::<Vec<Router>>(&body) else { return Routers::Unreadable };
    let faulty = routers.into_iter().filter(|router| !router.error.is_empty()).take(COMPLAINTS_MOST);
    Routers::Faulty(faulty.map(|it| Complaint { router: it.name, message: it.error.join("; ") }).collect())
}

#[derive(Deserialize)]
struct Router {
    name: String,
    #[serde(default)]
    error: Vec<String>,
}

/// Of a problem document of ours, what is wanted.
#[derive(Deserialize)]
struct Problem {
    findings: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    code: String,
    title: String,
}

impl Problem {
    fn first(self) -> Option<(String, String)> {
        self.findings.into_iter().next().map(|found| (found.code, found.title))
    }
}

/// Waits so long for the head, and for so many bytes of the body.
async fn get(
    address: &Address,
    path: &str,
    head: Duration,
    body: (Duration, usize),
) -> Result<(Response<()>, Bytes), Failure> {
    let host: Arc<str> = address.at.map_or_else(|| address.host.as_str().into(), |at| at.to_string().into());
    let towards = match address.scheme {
        Scheme::Https => {
            Some(tls::towards_host(&address.host).map_err(|reason| Failure::Tls { reason: reason.into() })?)
        }
        Scheme::Http | Scheme::H2c => None,
    };
    let dialer = Dialer::new(Upstream::at(address.scheme, host, address.port), CONNECT_LIMIT, None, towards);
    let until = Instant::now() + head;
    let stream = timeout_at(until, dialer.connect(Protocols::Http1)).await.map_err(|_| Failure::NoAnswer)??;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MOST)
        .handshake(TokioIo::new(HalfOpen::new(stream)))
        .await
        .map_err(|it| failure(&it, Connection::New))?;
    let answer = async {
        let response = timeout_at(until, sender.send_request(request(address, path)?)).await;
        Ok(whole(response.map_err(|_| Failure::NoAnswer)?.map_err(|it| failure(&it, Connection::New))?, body).await)
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What it has read before it ended is still to be had.
        _ = connection => answer.await,
    }
}

fn request(address: &Address, path: &str) -> Result<Request<Empty<Bytes>>, Failure> {
    let unfit = || Failure::Unreachable { reason: "the URL cannot be asked for".into() };
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| unfit())?;
    let authority = format!("{}:{}", written_host(&address.host), address.port);
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(&authority).map_err(|_| unfit())?);
    headers.insert(ACCEPT, HeaderValue::from_static("application/problem+json, */*;q=0.5"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("anteroom-doctor/", env!("CARGO_PKG_VERSION"))));
    headers.insert("prefer", HeaderValue::from_static("wait=0"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// The body as far as it comes in time and is wanted; one that breaks off is as good as a short one.
async fn whole(response: Response<Incoming>, (limit, most): (Duration, usize)) -> (Response<()>, Bytes) {
    let (head, mut body) = response.into_parts();
    let mut read = Vec::new();
    let until = Instant::now() + limit;
    while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await
        && read.len() < most
    {
        read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    read.truncate(most);
    (Response::from_parts(head, ()), read.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_asked_for_in_brackets() {
        for (host, asked) in [("::1", "[::1]:8080"), ("localhost", "localhost:8080")] {
            let address =
                Address { scheme: Scheme::Http, host: host.to_owned(), port: 8080, path: "/".to_owned(), at: None };
            let request = request(&address, "/").expect("it can be asked for");
            assert_eq!(request.headers()[HOST], asked);
        }
    }
}
