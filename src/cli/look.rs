//! What `doctor` and `wait` have in common: which project is meant, where its engine is, at which address users ask, and
//! how to look until somebody says that it is enough.

use std::future::pending;
use std::path::{Path, PathBuf};

use clap::Arg;
use http::Uri;

use super::Failure;
use super::serve::{Signals, block_on};
use crate::config::{LATER, Later, host_and_port};
use crate::engine::client::Trouble;
use crate::evidence::Scheme;
use crate::page::foreign::line;
use crate::project::{Address, Folder, Here, Meant, Unclear, choose};
use crate::tls;
use crate::visit::{Visit, has_compose_files, name_in};

/// The number of the first process of a container.
const FIRST: u32 = 1;

/// The flag that names a project.
pub(super) fn project() -> Arg {
    Arg::new("project")
        .long("project")
        .short('p')
        .value_name("NAME")
        .help("the compose project [default: COMPOSE_PROJECT_NAME, that of this folder, CVAT's, or the only one]")
}

/// Looks, until it is told to stop.
///
/// # Errors
/// What it comes to. That there is nothing to run it on is no verdict either.
pub(super) fn look(errand: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let outcome = block_on(async {
        // Linux lets no signal end the first process of a container that does not listen to it. Any other one had better
        // end by the signal itself: a shell whose command ends in another way goes on with its script.
        let mut signals = if std::process::id() == FIRST { Some(Signals::listen()?) } else { None };
        let signal = async {
            match &mut signals {
                Some(signals) => signals.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            outcome = errand => outcome,
            signal = signal => Err(Failure::Stopped(signal.as_raw_value().try_into().unwrap_or_default())),
        }
    });
    outcome.map_err(|failure| match failure {
        Failure::Run(error) => Failure::Blind(error.to_string()),
        failure => failure,
    })
}

/// What tells which project is meant: a flag, compose's variable, and the folder.
pub(super) fn here(wanted: Option<&str>, environment: &[(String, String)]) -> Here {
    let variable = |name: &str| environment.iter().find(|(it, _)| it == name).map(|(_, value)| value.clone());
    let folder = std::env::current_dir().unwrap_or_default();
    // Compose takes the path by which the shell came here, if that is one.
    let by_shell = variable("PWD").map(PathBuf::from).filter(|it| folder.canonicalize().ok() == it.canonicalize().ok());
    let nearest: Vec<PathBuf> = by_shell.into_iter().chain([folder]).collect();
    let with_files = |path: &PathBuf| path.ancestors().find(|it| has_compose_files(it)).map(Path::to_owned);
    let above: Vec<PathBuf> = nearest.iter().filter_map(with_files).collect();
    // Another file may have been named (`-f`), so the folder itself counts before the one that compose would find.
    let folders = [nearest, above].map(|paths| Folder {
        named: paths.iter().find_map(|path| name_in(path)),
        paths: paths.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
    });
    Here {
        named: wanted.map(str::to_owned).or_else(|| variable("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty())),
        folders: folders.into_iter().filter(|folder| !folder.paths.is_empty()).collect(),
        may_be_elsewhere: true,
    }
}

/// The project that is meant.
///
/// # Errors
/// The engine's, or nothing tells which one.
pub(super) async fn chosen(visit: &Visit, here: &Here) -> Result<Result<Box<str>, Unclear>, Trouble> {
    Ok(choose(&visit.projects().await?, here))
}

/// Why no project could be chosen, for people.
pub(super) fn which(unclear: &Unclear) -> String {
    let names = unclear.projects.iter().map(|name| line(name)).collect::<Vec<_>>().join(", ");
    match unclear.meant {
        _ if names.is_empty() => "this engine has no container that compose has made".to_owned(),
        Meant::Named => format!("there is no project of this name; there are {names}"),
        Meant::OfFolder => format!("the project of this folder has no container; there are {names}"),
        Meant::Any => format!("--project has to say which of these is meant: {names}"),
    }
}

/// Where the engine is, if the environment says so.
///
/// # Errors
/// It asks for TLS towards it.
pub(super) fn docker_host(environment: &[(String, String)]) -> Result<Option<&str>, Failure> {
    let given = |wanted: &str| {
        let value = environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    };
    let host = given("DOCKER_HOST");
    let is_remote = host.is_some_and(|host| !host.starts_with("unix://"));
    let asks = |later: &&Later| given(later.name).is_some_and(|value| later.is_asked_by(value));
    // Docker's own programs do not ask for it on a socket.
    if is_remote && let Some(later) = LATER.iter().find(asks) {
        let Later { name, meaning, .. } = later;
        return Err(Failure::Blind(format!("{name} asks for {meaning}, which this version cannot do yet. Unset it")));
    }
    Ok(host)
}

pub(super) fn blind(trouble: Trouble) -> Failure {
    Failure::Blind(format!("the container engine: {}", line(&trouble.to_string())))
}

/// Whether an answer from there would say anything.
///
/// # Errors
/// A certificate that nobody could vouch for here is no worse than another.
pub(super) fn can_ask(address: Option<&Address>) -> Result<(), Failure> {
    match address {
        Some(address) if address.scheme == Scheme::Https && !tls::has_roots() => Err(Failure::Blind(format!(
            "{} cannot be asked, since there are no roots here by which to trust a certificate. From the image: add -v \
             /etc/ssl/certs:/etc/ssl/certs:ro, and where links lead out of that folder, what they lead to (-v \
             /etc/pki:/etc/pki:ro on Fedora and its kin)",
            line(&address.to_string())
        ))),
        Some(_) | None => Ok(()),
    }
}

/// A URL that is to be asked.
pub(super) fn address(text: &str) -> Result<Address, String> {
    let uri: Uri = text.parse().map_err(|_| "is no URL".to_owned())?;
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err("takes a URL that begins with http:// or https://".to_owned()),
    };
    let authority = uri.authority().ok_or("has no host")?;
    if authority.as_str().contains('@') {
        return Err("takes no user and no password".to_owned());
    }
    // The parser of URLs passes over a port that is none.
    let (host, port) = host_and_port(authority.as_str())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Ok(Address { scheme, host: host.to_string(), port: port.unwrap_or(scheme.default_port()), path, at: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_with_its_default_port_and_refused_with_credentials() {
        let read = |text: &str| address(text).map(|it| (it.to_string(), it.port));
        assert_eq!(
            read("http://localhost:8080/analytics/?a=1"),
            Ok(("http://localhost:8080/analytics/?a=1".to_owned(), 8080))
        );
        assert_eq!(read("https://cvat.example.org"), Ok(("https://cvat.example.org/".to_owned(), 443)));
        assert_eq!(read("http://[::1]/"), Ok(("http://[::1]/".to_owned(), 80)));
        for wrong in ["localhost:8080", "ftp://a/", "http://", "http://user:secret@host/", "", "http://a b/"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in ["http://a:65536/", "http://a:x/", "https://a:0", "http://a:/", "http://[::1]:99999/"] {
            assert!(read(wrong).is_err_and(|reason| reason.contains("port")), "{wrong}");
        }
    }
}
