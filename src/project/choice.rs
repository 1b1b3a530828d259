//! Which of a host's compose projects is meant.

use super::ways::{CVAT_GRAFANA, CVAT_SERVER};

/// A project of the host, as far as the list of containers tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub name: Box<str>,
    pub services: Vec<Box<str>>,
    /// Where compose was when it made the containers.
    pub folders: Vec<Box<str>>,
}

/// From where somebody asks, and what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The name that a flag or a variable of compose's gives: it alone counts.
    pub named: Option<String>,
    /// The folder, and that above it whose files compose would find, if that is another one.
    pub folders: Vec<Folder>,
    /// A project that has nothing to do with the folder may be meant, too.
    pub may_be_elsewhere: bool,
}

/// A folder that a project may belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// As the shell calls it, and as the file system does.
    pub paths: Vec<String>,
    /// The name that its `.env` gives.
    pub named: Option<String>,
}

/// Which of the projects of a host is meant: the one that was named; or that the `.env` of this folder names, or whose
/// containers were made in it; or the same of the folder above that has files; or that compose would call like that; and
/// if none of them is there, CVAT's, or the only one.
///
/// # Errors
/// There is none, or nothing tells which.
pub fn choose(projects: &[Candidate], here: &Here) -> Result<Box<str>, Unclear> {
    let unclear = |meant, among: &mut dyn Iterator<Item = &Candidate>| Unclear {
        meant,
        projects: among.map(|it| it.name.clone()).collect(),
    };
    let called = |name: &str| projects.iter().find(|it| *it.name == *name).map(|it| it.name.clone());
    if let Some(named) = &here.named {
        return called(named).ok_or_else(|| unclear(Meant::Named, &mut projects.iter()));
    }
    let name_of = |folder: &Folder| folder.paths.first().and_then(|path| path.rsplit('/').next()).map(normal);
    for folder in &here.folders {
        // Compose would make one of this name; what is here already was called otherwise.
        if let Some(project) = folder.named.as_deref().and_then(called) {
            return Ok(project);
        }
        // Who deploys from here means the one that is not there yet, and not its predecessor.
        if folder.named.is_some() && !here.may_be_elsewhere {
            break;
        }
        let was_made_here =
            |it: &&Candidate| it.folders.iter().any(|made| folder.paths.iter().any(|path| **made == **path));
        let made_here: Vec<&Candidate> = projects.iter().filter(was_made_here).collect();
        match made_here[..] {
            [] => {}
            [one] => return Ok(one.name.clone()),
            ref several => {
                let name = name_of(folder).unwrap_or_default();
                let namesake = several.iter().find(|it| *it.name == *name).map(|it| it.name.clone());
                return namesake.ok_or_else(|| unclear(Meant::Any, &mut several.iter().copied()));
            }
        }
    }
    // It has a name, and nobody here has it.
    if here.folders.iter().any(|folder| folder.named.is_some()) {
        return Err(unclear(Meant::OfFolder, &mut projects.iter()));
    }
    let folder = here.folders.last().and_then(name_of).unwrap_or_default();
    if let Some(namesake) = called(&folder) {
        return Ok(namesake);
    }
    if !here.may_be_elsewhere {
        return Err(unclear(Meant::OfFolder, &mut projects.iter()));
    }
    let is_cvat = |it: &&Candidate| it.services.iter().any(|it| **it == *CVAT_GRAFANA.0 || **it == *CVAT_SERVER);
    let cvats: Vec<&Candidate> = projects.iter().filter(is_cvat).collect();
    match (&cvats[..], projects) {
        (&[one], _) | ([], [one]) => Ok(one.name.clone()),
        _ => Err(unclear(Meant::Any, &mut projects.iter())),
    }
}

/// A folder's name as compose makes a project's of it.
pub fn normal(folder: &str) -> String {
    let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let name: String = folder.to_lowercase().chars().filter(allowed).collect();
    name.trim_start_matches(['_', '-']).to_owned()
}

/// Nothing tells which project is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclear {
    pub meant: Meant,
    /// Those that there are.
    pub projects: Vec<Box<str>>,
}

/// What was known of the project that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// Its name.
    Named,
    /// That it belongs to this folder.
    OfFolder,
    /// Nothing.
    Any,
}
