//! Goes and looks at a whole compose project, from the host: asks the engine about every container, every service
//! whether it answers, and Traefik for what users get. The result is a [`Project`], which the core judges.
//!
//! Unlike the watcher it looks once, when somebody asks. It reads what the engine tells, the deployment's own files, and
//! answers to a few requests; it changes nothing.

mod ask;
mod files;
mod reach;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use tokio::join;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::engine::client::{Client, Trouble};
use crate::engine::convert::{Listed, Occurrence};
use crate::evidence::{Container, EVENTS_KEPT, Engine, Happening, Scheme};
use crate::project::definitions::Unread;
use crate::project::{Address, Asked, Candidate, Disk, Member, Project, Published, Reach, Setup, Standing, traefik};
use crate::readiness::{CRASH_LOOP_WINDOW, has_names};
use crate::{surroundings, tls};

pub use ask::{EXCHANGE_LIMIT, url as ask_for};
pub use files::{has_compose_files, name_in};
pub use reach::Heard;

/// One call. An engine that is busy starting containers takes 0.3 s (measured).
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// For the files of a deployment. Local ones take some milliseconds.
const FILES_LIMIT: Duration = Duration::from_secs(1);
/// Calls under way at once: one that blocks, as on a container that is dying, must not delay the others.
const CALLS_AT_ONCE: usize = 16;
/// For all images of services without a container.
const IMAGES_LIMIT: Duration = Duration::from_secs(3);
/// Of Traefik's log, the last lines in which a complaint is looked for: most of them are of requests.
const COMPLAINTS_WITHIN: usize = 5000;
/// Of the addresses at which users may ask.
const ADDRESSES_MOST: usize = 3;

/// An engine that answers.
pub struct Visit {
    client: Client,
    /// Whether its host is ours: then its containers' addresses, ports and files are near.
    here: bool,
}

impl Visit {
    /// Finds out whether an engine listens at `host`, a `DOCKER_HOST`.
    ///
    /// # Errors
    /// Nobody answers, or does not let us ask.
    pub async fn begin(host: Option<&str>) -> Result<Self, Trouble> {
        let here = host.is_none_or(|host| host.starts_with("unix://"));
        Ok(Self { client: Client::connect(host, CALL_LIMIT).await?, here })
    }

    /// The projects of this host.
    ///
    /// # Errors
    /// The engine's.
    pub async fn projects(&self) -> Result<Vec<Candidate>, Trouble> {
        let mut projects: BTreeMap<Box<str>, Candidate> = BTreeMap::new();
        for entry in self.client.list().await?.into_iter().filter(|entry| !entry.project.is_empty()) {
            let (name, services, folders) = (entry.project.clone(), Vec::new(), Vec::new());
            let known = projects.entry(entry.project).or_insert(Candidate { name, services, folders });
            known.services.push(entry.service);
            known.folders.push(entry.working_dir);
        }
        Ok(projects.into_values().collect())
    }

    /// Looks at a project's containers, and asks those that run whether they answer, but for those that were `heard`.
    ///
    /// # Errors
    /// The engine's.
    pub async fn glance(&self, project: &str, heard: &Heard) -> Result<Project, Trouble> {
        let since = SystemTime::now().checked_sub(CRASH_LOOP_WINDOW).unwrap_or(SystemTime::UNIX_EPOCH);
        let (list, networks, history) = join!(self.client.list(), self.client.networks(), self.client.history(since));
        let (list, networks) = (list?, networks?);
        // Without the past one sees less, and still much.
        let history = history.unwrap_or_default();
        let (members, neighbours) = of_interest(&list, project);
        let (members, neighbours) = join!(self.inspect(&members), self.inspect(&neighbours));
        let members =
            members.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().map(|(container, setup)| Member {
                events: events_of(&container, &history).into(),
                container,
                setup,
                reach: Reach::Untried,
                elsewhere: None,
                log: [].into(),
            });
        let engine = Engine::Available { version: self.client.version.clone() };
        let mut seen = Project {
            booted_at: surroundings::booted_at().filter(|_| self.here),
            members: members.collect(),
            // Of those one sees less without one, and still much.
            neighbours: neighbours.into_iter().filter_map(Result::ok).map(|(container, _)| container).collect(),
            networks: networks.into(),
            ..Project::of(project, engine, SystemTime::now())
        };
        seen.members.sort_by(|one, other| one.container.name.cmp(&other.container.name));
        if self.here {
            reach::ask_everyone(&mut seen, heard).await;
        }
        Ok(seen)
    }

    /// Adds what stands in files, what Traefik says, and what users get. `address` is where they ask; else it is told
    /// from Traefik's ports and rules.
    pub async fn look_deeper(&self, project: &mut Project, address: Option<Address>) {
        if self.here {
            let copy = project.clone();
            project.rules = read_files(move || files::rules(&copy)).await.unwrap_or_default();
            project.disk = self.disk().await;
        }
        self.read_definitions(project).await;
        let mut supposed = if address.is_none() && self.here { project.public_addresses() } else { Vec::new() };
        // A certificate that nobody can vouch for here says nothing against it.
        let unasked = supposed.iter().find(|it| it.scheme == Scheme::Https).filter(|_| !tls::has_roots());
        let unasked = unasked.map(ToString::to_string);
        if unasked.is_some() {
            supposed.retain(|it| it.scheme != Scheme::Https);
        }
        let dashboard = project.traefik().filter(|traefik| self.here && traefik.runs()).and_then(|traefik| {
            traefik
                .setup
                .published
                .iter()
                .find(|port| port.inside == traefik::DASHBOARD && port.outside > 0)
                .map(Published::near)
        });
        let complaints = self.complaints(project);
        let straight = project.straight_address().filter(|_| self.here);
        let straight = optional(straight, async |address: Address| Asked {
            url: address.to_string(),
            supposed: true,
            outcome: ask::url(&address, false, ask::EXCHANGE_LIMIT).await,
        });
        let (asked, api, complaints, straight) =
            join!(ask_one(project, address, supposed), optional(dashboard, ask::routers), complaints, straight);
        project.unasked = unasked.filter(|_| asked.as_ref().is_none_or(Asked::is_sent_on));
        project.asked = asked;
        project.straight = straight;
        // What the API says is true now; a log only tells what was.
        let is_silent = matches!(api, Some(ask::Routers::Silent));
        project.complaints = match api {
            Some(ask::Routers::Faulty(routers)) => routers,
            Some(ask::Routers::Silent | ask::Routers::Unreadable) | None => complaints,
        };
        project.silent_ports = dashboard.filter(|_| is_silent).map(|it| it.port()).into_iter().collect();
    }

    /// Adds what the compose files define.
    pub async fn read_definitions(&self, project: &mut Project) {
        let copy = project.clone();
        let read = if self.here {
            read_files(move || files::definitions(&copy)).await.unwrap_or(Err(Unread::Slow))
        } else {
            Err(Unread::Elsewhere)
        };
        project.undefined = read.as_ref().err().cloned();
        project.definitions = read.ok();
        self.find_images(project).await;
    }

    async fn inspect(&self, ids: &[&str]) -> Vec<Result<(Container, Setup), Trouble>> {
        let calls: Vec<_> = ids.iter().map(|id| self.client.inspect_with_setup(id)).collect();
        let answers: Vec<_> = stream::iter(calls).buffered(CALLS_AT_ONCE).collect().await;
        // One that is gone since the list was made is left out.
        answers.into_iter().filter_map(Result::transpose).collect()
    }

    /// Adds the logs of those that are not well: they may say why.
    pub async fn read_logs(&self, project: &mut Project) {
        let unwell: Vec<usize> = (0..project.members.len())
            .filter(|index| matches!(project.standing(&project.members[*index]), Standing::Coming | Standing::Hopeless))
            .take(CALLS_AT_ONCE)
            .collect();
        let calls: Vec<_> = unwell.iter().map(|index| self.client.log(&project.members[*index].container)).collect();
        let logs: Vec<_> = stream::iter(calls).buffered(CALLS_AT_ONCE).collect().await;
        for (index, log) in unwell.into_iter().zip(logs) {
            project.members[index].log = log.into();
        }
    }

    async fn complaints(&self, project: &Project) -> Vec<traefik::Complaint> {
        match project.traefik() {
            Some(traefik) => {
                let log = self.client.log_where(&traefik.container, COMPLAINTS_WITHIN, traefik::complains).await;
                traefik::complaints(&log)
            }
            None => Vec::new(),
        }
    }

    async fn find_images(&self, project: &mut Project) {
        let Some(definitions) = &mut project.definitions else { return };
        let here: HashSet<&str> = project.members.iter().map(Member::service).collect();
        let absent = definitions.iter_mut().filter(|it| !here.contains(&*it.service) && it.image.is_some());
        let wanted: Vec<_> = absent.collect();
        let calls: Vec<_> = wanted.iter().filter_map(|it| Some(self.client.has_image(it.image.as_deref()?))).collect();
        let answers = stream::iter(calls).buffered(CALLS_AT_ONCE).collect::<Vec<_>>();
        // However many they are. What is not known by then is not said to be missing.
        let answers = timeout(IMAGES_LIMIT, answers).await.unwrap_or_default();
        for (definition, answer) in wanted.into_iter().zip(answers) {
            definition.image_is_missing = matches!(answer, Ok(false));
        }
    }

    async fn disk(&self) -> Option<Disk> {
        let root = self.client.root().await.ok().flatten()?;
        let path = root.clone();
        let free = read_files(move || rustix::fs::statvfs(Path::new(&path)).ok()).await.flatten()?;
        Some(Disk {
            available: free.f_bavail.saturating_mul(free.f_frsize),
            total: free.f_blocks.saturating_mul(free.f_frsize),
            // Some file systems have as many as they have room for, and tell 0.
            files_left: (free.f_files > 0).then_some(free.f_favail),
            path: root.into(),
        })
    }
}

/// Reads what a remote file system may keep to itself; `None` if it does for too long.
async fn read_files<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    timeout(FILES_LIMIT, spawn_blocking(read)).await.ok()?.ok()
}

/// The containers of the project, and those of others on its networks.
fn of_interest<'a>(list: &'a [Listed], project: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let (members, others): (Vec<&Listed>, Vec<&Listed>) = list.iter().partition(|entry| &*entry.project == project);
    let networks: HashSet<&str> = members
        .iter()
        .flat_map(|member| &member.networks)
        .map(|(name, _)| &**name)
        // Everybody may be on the others.
        .filter(|name| has_names(name))
        .collect();
    let near =
        others.into_iter().filter(|it| it.alive && it.networks.iter().any(|(name, _)| networks.contains(&**name)));
    // All of them: one that was left out would be called absent, or its name unknown.
    let ids = |entries: Vec<&'a Listed>| entries.into_iter().map(|entry| &*entry.id).collect();
    (ids(members), ids(near.collect()))
}

fn events_of(container: &Container, history: &[Occurrence]) -> Vec<Happening> {
    let its: Vec<_> = history.iter().filter(|it| it.container == container.id).map(|it| it.happening.clone()).collect();
    its[its.len().saturating_sub(EVENTS_KEPT)..].to_vec()
}

/// What users get at the address that was given, or at the first of those that are supposed where anybody answers. Who is
/// sent on to HTTPS has no answer yet: Traefik does so whatever stands behind it.
async fn ask_one(project: &Project, given: Option<Address>, supposed: Vec<Address>) -> Option<Asked> {
    let ask = async |address: &Address, supposed: bool| Asked {
        url: address.to_string(),
        supposed,
        // A page that takes all paths is not told from itself.
        outcome: ask::url(address, project.has_own(&address.path), ask::EXCHANGE_LIMIT).await,
    };
    if let Some(address) = given {
        return Some(ask(&address, false).await);
    }
    let (mut told, mut left): (Option<Asked>, _) = (None, ADDRESSES_MOST);
    for address in supposed {
        let is_sent_on = told.as_ref().is_some_and(Asked::is_sent_on);
        if left == 0 || is_sent_on && address.scheme != Scheme::Https {
            continue;
        }
        left -= 1;
        let asked = ask(&address, true).await;
        match &asked.outcome {
            Ok(_) if !asked.is_sent_on() => return Some(asked),
            // To where users are sent, it is of no use that something before it failed.
            Ok(_) => told = Some(asked),
            Err(_) if told.is_none() || is_sent_on => told = Some(asked),
            Err(_) => {}
        }
    }
    told
}

async fn optional<T, O>(input: Option<T>, ask: impl AsyncFnOnce(T) -> O) -> Option<O> {
    match input {
        Some(input) => Some(ask(input).await),
        None => None,
    }
}
