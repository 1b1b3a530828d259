//! The deployment's own files, where labels and mounts say that they are. They are read as whoever runs us may read them,
//! and only if they are small, regular files: a label is foreign, and a pipe would never end.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::evidence::Compose;
use crate::file::{self, Unreadable};
use crate::project::Project;
use crate::project::definitions::{self, Definition, FILE_MOST, Unread};
use crate::project::traefik::{self, Rule};

/// Files of one folder of rules.
const FOLDER_MOST: usize = 32;

/// What the compose files define that the project was last started with.
///
/// # Errors
/// One of them cannot be read, or does not say all; or no label names any.
pub(super) fn definitions(project: &Project) -> Result<Vec<Definition>, Unread> {
    let compose = project.newest().filter(|it| !it.config_files.is_empty());
    let compose = compose.ok_or_else(|| Unread::Because("no label tells where they are".to_owned()))?;
    let folder = Path::new(&*compose.working_dir);
    let text = |path: &Path| read(path).map_err(Unread::Because);
    let named: Vec<PathBuf> = compose.config_files.iter().map(|file| folder.join(&**file)).collect();
    let texts = named.iter().map(|path| text(path)).collect::<Result<Vec<String>, Unread>>()?;
    let variables = variables(compose, folder);
    let known = definitions::read(&texts, &|name| std::env::var(name).ok().or_else(|| variables.get(name).cloned()));
    let mut all =
        known.ok_or_else(|| Unread::Because("they say more than can be read of them, as with `include`".to_owned()))?;
    // What another one's file defines, if it is still there, is no orphan: somebody has only left that file out. So one that
    // is there and says not all leaves everything unknown, or a service that runs would be offered for removal.
    let others = project.members.iter().filter_map(|member| member.container.compose.as_ref());
    let left_out: BTreeSet<PathBuf> = others
        .flat_map(|its| its.config_files.iter().map(|file| Path::new(&*its.working_dir).join(&**file)))
        .filter(|path| !named.contains(path) && !is_gone(path, &named))
        .collect();
    if left_out.len() > FOLDER_MOST {
        return Err(Unread::Because(format!("{} of them were left out lately", left_out.len())));
    }
    for path in left_out {
        // Beside the others, since a file may define networks alone.
        let both = [&texts[..], &[text(&path)?]].concat();
        let found = definitions::read(&both, &|_| None).ok_or_else(|| {
            Unread::Because(format!("{}: says more than can be read of it, as with `include`", path.display()))
        })?;
        let unknown = |it: &Definition| !all.iter().any(|known| known.service == it.service);
        let found: Vec<Definition> = found.into_iter().filter(unknown).collect();
        all.extend(found.into_iter().map(|it| Definition { optional: true, ..it }));
    }
    Ok(all)
}

/// Whether a file is no more, and not merely out of sight, as a container sees only what is mounted into it: a folder in
/// which others were `seen` is not missing.
fn is_gone(path: &Path, seen: &[PathBuf]) -> bool {
    let is_missing = fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    let is_in_sight =
        |folder: &Path| folder.is_dir() && seen.iter().filter_map(|it| it.parent()).any(|it| folder.starts_with(it));
    is_missing && path.parent().is_some_and(is_in_sight)
}

/// `NAME=value` of the environment files. They hold secrets: only what an image's name asks for is ever used.
fn variables(compose: &Compose, folder: &Path) -> HashMap<String, String> {
    let mut files: Vec<PathBuf> = compose.env_files.iter().map(|file| folder.join(&**file)).collect();
    if files.is_empty() {
        files.push(folder.join(".env"));
    }
    let texts: Vec<String> = files.iter().filter_map(|file| read(file).ok()).collect();
    let last: HashMap<String, Option<String>> = texts.iter().flat_map(|text| settings(text)).collect();
    last.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The lines of an environment file; the last one of a name counts. A value that other variables make up is not known.
fn settings(text: &str) -> impl Iterator<Item = (String, Option<String>)> {
    let lines = text.lines().filter_map(|line| line.trim().split_once('='));
    lines.map(|(name, value)| {
        let value = value.trim();
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
        let value = match quote {
            Some(quote) => value[1..].split(quote).next().unwrap_or_default(),
            // What follows is a remark.
            None => value.split(" #").next().unwrap_or_default().trim_end(),
        };
        let is_known = quote == Some('\'') || !value.contains('$');
        (name.trim().to_owned(), is_known.then(|| value.to_owned()))
    })
}

/// The rules in the files that are mounted where Traefik keeps its configuration.
pub(super) fn rules(project: &Project) -> Vec<Rule> {
    let Some(traefik) = project.traefik() else { return Vec::new() };
    let mounts = traefik.setup.mounts.iter().filter(|mount| mount.destination.starts_with("/etc/traefik"));
    let sources = mounts.flat_map(|mount| {
        let path = PathBuf::from(&*mount.source);
        if path.is_dir() { entries(&path) } else { vec![path] }
    });
    sources
        .filter(|path| path.extension().is_some_and(|it| it == "yml" || it == "yaml" || it == "toml"))
        .filter_map(|path| Some((path.file_name()?.to_string_lossy().into_owned(), read(&path).ok()?)))
        .flat_map(|(name, text)| traefik::rules(&name, &text))
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut entries: Vec<PathBuf> = entries.take(FOLDER_MOST).collect();
    entries.sort();
    entries
}

/// The name of the project, where compose would read it: in the `.env` of a folder.
pub fn name_in(folder: &Path) -> Option<String> {
    let text = read(&folder.join(".env")).ok()?;
    let (_, name) = settings(&text).filter(|(name, _)| name == "COMPOSE_PROJECT_NAME").last()?;
    name.filter(|name| !name.is_empty())
}

/// Whether compose would find files of its own in a folder.
pub fn has_compose_files(folder: &Path) -> bool {
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"]
        .iter()
        .any(|name| folder.join(name).exists())
}

/// A small text file, or what keeps it from being read.
fn read(path: &Path) -> Result<String, String> {
    let content = file::read(path, FILE_MOST).map_err(|reason| match reason {
        Unreadable::System(error) => format!("{}: {error}", path.display()),
        reason => format!("{}: {reason}", path.display()),
    })?;
    String::from_utf8(content).map_err(|_| format!("{}: is no text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixtures::{ago, grafana};
    use crate::evidence::Engine;
    use crate::project::{Member, Reach, Setup};

    /// A folder of our own.
    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("anteroom-files-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("it is ours");
        path
    }

    fn member(service: &str, seconds: u64, folder: &Path, files: &[&Path]) -> Member {
        let mut container = grafana();
        container.created = ago(seconds);
        let compose = container.compose.as_mut().expect("a service");
        compose.service = service.into();
        compose.working_dir = folder.to_string_lossy().into();
        compose.config_files = files.iter().map(|file| file.to_string_lossy().into()).collect();
        let (setup, reach) = (Setup::default(), Reach::Untried);
        Member { container, setup, reach, elsewhere: None, events: [].into(), log: [].into() }
    }

    #[test]
    fn a_file_that_was_left_out_counts_as_gone_only_where_it_is() {
        let folder = folder("left-out");
        fs::write(folder.join("compose.yml"), "services: {web: {image: one}}").expect("it is ours");
        let read = |left_out: &Path| {
            let mut project = Project::of("cvat", Engine::Simulated, ago(0).expect("a moment").at);
            let base = Path::new("compose.yml");
            project.members = vec![member("web", 1, &folder, &[base]), member("more", 9, &folder, &[base, left_out])];
            definitions(&project).map(|all| all.into_iter().map(|it| (it.service, it.optional)).collect::<Vec<_>>())
        };
        let written = |text: &str| {
            fs::write(folder.join("more.yml"), text).expect("it is ours");
            read(Path::new("more.yml"))
        };
        let web = || ("web".to_owned(), false);
        assert_eq!(written("services: {more: {image: two}}"), Ok(vec![web(), ("more".to_owned(), true)]));
        assert_eq!(written("networks: {n: {}}"), Ok(vec![web()]));
        for unreadable in ["include: [other.yml]", "services: {more: [odd]}", "services: {more"] {
            let why = written(unreadable).expect_err("it says not all").to_string();
            assert!(why.contains("more.yml: says more"), "{why}");
        }
        fs::remove_file(folder.join("more.yml")).expect("it is ours");
        assert_eq!(read(Path::new("more.yml")), Ok(vec![web()]), "nothing defines it any more");
        // There, and not to be read; or in a folder of which nothing was seen.
        fs::create_dir(folder.join("more.yml")).expect("it is ours");
        assert!(read(Path::new("more.yml")).is_err());
        for out_of_sight in ["/nowhere-at-all/more.yml", "/more-that-is-not-there.yml"] {
            let why = read(Path::new(out_of_sight)).expect_err("it may be there").to_string();
            assert!(why.starts_with(out_of_sight), "{why}");
        }
        fs::remove_dir_all(&folder).expect("it is ours");
    }

    #[test]
    fn a_setting_ends_before_its_remark_and_one_that_others_make_up_is_not_known() {
        for (line, want) in [
            ("A=cvat", Some("cvat")),
            (" A = cvat ", Some("cvat")),
            ("A=cvat # ours", Some("cvat")),
            ("A=cvat#1", Some("cvat#1")),
            ("A='cvat # $1' # ours", Some("cvat # $1")),
            ("A=\"cvat # 1\"", Some("cvat # 1")),
            ("A=", Some("")),
            ("A=${B}-cvat", None),
            ("A=\"$B\"", None),
        ] {
            let told: Vec<_> = settings(line).collect();
            assert_eq!(told, [("A".to_owned(), want.map(str::to_owned))], "{line}");
        }
        let folder = folder("name");
        let name = |text: &str| {
            fs::write(folder.join(".env"), text).expect("it is ours");
            name_in(&folder)
        };
        assert_eq!(name("COMPOSE_PROJECT_NAME=one\nCOMPOSE_PROJECT_NAME=two # now\n").as_deref(), Some("two"));
        assert_eq!(name("COMPOSE_PROJECT_NAME=one\nCOMPOSE_PROJECT_NAME=$B\n"), None);
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
