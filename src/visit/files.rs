//! The deployment's own files, where labels and mounts say that they are. They are read as whoever runs us may read them,
//! and only if they are small, regular files: a label is foreign, and a pipe would never end.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::evidence::Compose;
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
    let newest = project
        .members
        .iter()
        .filter(|member| !member.is_one_off())
        .max_by_key(|member| member.container.created.as_ref().map(|moment| moment.at));
    let compose = newest.and_then(|it| it.container.compose.as_ref()).filter(|it| !it.config_files.is_empty());
    let compose = compose.ok_or_else(|| Unread::Because("no label tells where they are".to_owned()))?;
    let folder = Path::new(&*compose.working_dir);
    let text = |file: &str| {
        let path = folder.join(file);
        read(&path).ok_or_else(|| Unread::Because(format!("{}: {}", path.display(), why_not(&path))))
    };
    let texts = compose.config_files.iter().map(|file| text(file)).collect::<Result<Vec<String>, Unread>>()?;
    let variables = variables(compose, folder);
    let known = definitions::read(&texts, &|name| std::env::var(name).ok().or_else(|| variables.get(name).cloned()));
    let mut all =
        known.ok_or_else(|| Unread::Because("they say more than can be read of them, as with `include`".to_owned()))?;
    // What another one's file defines, if it is still there, is no orphan: somebody has only left that file out.
    let others = project.members.iter().filter_map(|member| member.container.compose.as_ref());
    let left_out =
        others.flat_map(|its| its.config_files.iter().map(|file| Path::new(&*its.working_dir).join(&**file)));
    let named: HashSet<PathBuf> = compose.config_files.iter().map(|file| folder.join(&**file)).collect();
    for path in left_out.filter(|path| !named.contains(path)).collect::<HashSet<_>>().into_iter().take(FOLDER_MOST) {
        let found = read(&path).and_then(|text| definitions::read(&[text], &|_| None)).unwrap_or_default();
        let unknown = |it: &Definition| !all.iter().any(|known| known.service == it.service);
        let found: Vec<Definition> = found.into_iter().filter(unknown).collect();
        all.extend(found.into_iter().map(|it| Definition { optional: true, ..it }));
    }
    Ok(all)
}

/// `NAME=value` of the environment files. They hold secrets: only what an image's name asks for is ever used.
fn variables(compose: &Compose, folder: &Path) -> HashMap<String, String> {
    let mut files: Vec<PathBuf> = compose.env_files.iter().map(|file| folder.join(&**file)).collect();
    if files.is_empty() {
        files.push(folder.join(".env"));
    }
    let texts: Vec<String> = files.iter().filter_map(|file| read(file)).collect();
    let lines = texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.trim().split_once('='));
    lines.map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned())).collect()
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
        .filter_map(|path| Some((path.file_name()?.to_string_lossy().into_owned(), read(&path)?)))
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
    let text = read(&folder.join(".env"))?;
    let name =
        |line: &str| Some(line.trim().strip_prefix("COMPOSE_PROJECT_NAME=")?.trim_matches(['"', '\'']).to_owned());
    text.lines().filter_map(name).next_back().filter(|name| !name.is_empty())
}

/// Whether compose would find files of its own in a folder.
pub fn has_compose_files(folder: &Path) -> bool {
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"]
        .iter()
        .any(|name| folder.join(name).exists())
}

/// What keeps a file from being read.
fn why_not(path: &Path) -> String {
    match fs::metadata(path) {
        Ok(it) if it.is_file() && it.len() <= FILE_MOST as u64 => {
            File::open(path).err().map_or_else(|| "is no text".to_owned(), |error| error.to_string())
        }
        Ok(_) => "is no small file".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// A small text file; `None` if it is none.
fn read(path: &Path) -> Option<String> {
    let is_small = fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() <= FILE_MOST as u64);
    if !is_small {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_MOST as u64).read_to_string(&mut text).ok()?;
    Some(text)
}
