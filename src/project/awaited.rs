//! Whether what `anteroom wait` waits for is there: the wanted services and what they need, look after look.
//!
//! Three things cannot be told from one look. A service without a container may be about to get one; a container that
//! was never started may wait for what it needs, as compose makes it; and one that keeps crashing for lack of what it
//! needs deserves one more try once that is there. So a little is [remembered](Vigil).

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use super::{Member, Project, Standing};
use crate::evidence::Status;
use crate::readiness::{ABOUT_TO_START, Cause, Outlook, outlook};

/// How long a service may have no container: whoever deploys makes them all before the first one is started.
pub const ABOUT_TO_APPEAR: Duration = Duration::from_secs(10);

/// One service that is waited for.
#[derive(Clone, Debug)]
pub struct Awaited<'a> {
    pub service: &'a str,
    /// Its containers.
    pub members: Vec<&'a Member>,
    /// How they do together; `None` if there are none.
    pub standing: Option<Standing>,
}

impl Awaited<'_> {
    /// Whether nothing more is expected of it.
    pub fn is_ready(&self) -> bool {
        matches!(self.standing, Some(Standing::Well | Standing::Done))
    }
}

/// What comes of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    Ready,
    Waiting,
    /// This service is down for good, or has no container and gets none.
    Pointless(&'a str),
    /// There is no service of this name.
    Unknown(&'a str),
    /// None was named, and there is none.
    Nothing,
}

/// What is waited for, and what is remembered of it.
#[derive(Debug)]
pub struct Vigil {
    /// The services that were named; none: all that a plain `up` starts.
    names: Vec<Box<str>>,
    began: Instant,
    /// When each service last had a container.
    present: HashMap<Box<str>, Instant>,
    /// When a service last lacked something that it needs: for us, and by the clock of its host.
    hindered: HashMap<Box<str>, (Instant, SystemTime)>,
}

impl Vigil {
    /// Begins to wait for these services, or for all.
    pub fn new(names: impl IntoIterator<Item = Box<str>>, now: Instant) -> Self {
        let mut named = HashSet::new();
        let names = names.into_iter().filter(|name| named.insert(name.clone())).collect();
        Self { names, began: now, present: HashMap::new(), hindered: HashMap::new() }
    }

    /// Whether it matters what the compose files define: they tell which services there should be, and whether one
    /// that is named and has no container ever gets one.
    pub fn needs_definitions(&self, project: &Project) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| !has(project, name))
    }

    /// How those do that are waited for, what they need before them, and what that means.
    pub fn judge<'a>(&'a mut self, project: &'a Project, now: Instant) -> (Vec<Awaited<'a>>, Verdict<'a>) {
        let wanted = self.wanted(project);
        let mut all: Vec<Awaited<'a>> = Vec::new();
        for member in project.services() {
            match all.iter_mut().find(|it| it.service == member.service()) {
                Some(known) => known.members.push(member),
                None if wanted.contains(member.service()) => {
                    all.push(Awaited { service: member.service(), members: vec![member], standing: None });
                }
                None => {}
            }
        }
        // What a service needs stands before it, and has its standing by then.
        for index in 0..all.len() {
            let lacks = needs(project, &all[index])
                .any(|needed| all[..index].iter().any(|it| it.service == needed && !it.is_ready()));
            if lacks {
                self.hindered.insert(all[index].service.into(), (now, project.seen_at));
            }
            all[index].standing = Some(self.standing(project, &all[index], now));
        }
        for member in project.members.iter().filter(|member| !member.is_one_off()) {
            self.present.insert(member.service().into(), now);
        }
        let missing = self.expected(project).filter(|name| !has(project, name));
        all.extend(missing.map(|service| Awaited { service, members: Vec::new(), standing: None }));
        let verdict = self.verdict(project, &all, now);
        (all, verdict)
    }

    /// The services that should have a container: those that were named, or that a plain `up` starts.
    fn expected<'a>(&'a self, project: &'a Project) -> impl Iterator<Item = &'a str> {
        let defined = project.definitions.iter().flatten().filter(|it| self.names.is_empty() && !it.optional);
        self.names.iter().map(|name| &**name).chain(defined.map(|it| it.service.as_str()))
    }

    /// The services that are waited for and have a container, and all that they need.
    fn wanted<'a>(&self, project: &'a Project) -> HashSet<&'a str> {
        let is_named = |member: &Member| self.names.iter().any(|name| **name == *member.service());
        let counts =
            |member: &&Member| if self.names.is_empty() { is_meant(project, member) } else { is_named(member) };
        let mut open: Vec<&Member> = project.services().into_iter().filter(counts).collect();
        let mut wanted = HashSet::new();
        while let Some(member) = open.pop() {
            if wanted.insert(member.service()) {
                open.extend(
                    project
                        .members
                        .iter()
                        .filter(|other| other.service() == member.service())
                        .flat_map(|it| project.needs(it)),
                );
            }
        }
        wanted
    }

    /// How the containers of a service do together. An old one that is taken away for a new one says nothing: while one
    /// is coming, the service is. Otherwise it is as well as the worst.
    fn standing(&self, project: &Project, awaited: &Awaited<'_>, now: Instant) -> Standing {
        let each = || awaited.members.iter().map(|member| self.standing_of(project, member, now));
        let any = |wanted: Standing| each().any(|standing| standing == wanted);
        [Standing::Coming, Standing::Hopeless, Standing::Well].into_iter().find(|it| any(*it)).unwrap_or(Standing::Done)
    }

    fn standing_of(&self, project: &Project, member: &Member, now: Instant) -> Standing {
        let crashes = || outlook(&project.evidence_of(member)) == Outlook::Pointless(Cause::CrashLoop);
        match project.standing(member) {
            // It answers, as it may have done before each of its deaths.
            Standing::Well if crashes() => Standing::Coming,
            // What others need is its end.
            Standing::Well if project.is_awaited(member) => Standing::Coming,
            Standing::Hopeless if self.is_excused(project, member, now) => Standing::Coming,
            // Compose has just started it, or it would not have ended well: whoever is to stay is asked by somebody.
            Standing::Hopeless if project.may_be_a_job(member) => Standing::Done,
            standing => standing,
        }
    }

    /// Whether it is down for lack of something that it needs, and has not had its chance since.
    fn is_excused(&self, project: &Project, member: &Member, now: Instant) -> bool {
        let Some((since, then)) = self.hindered.get(member.service()) else { return false };
        let started_since = member.container.started.as_ref().is_some_and(|started| started.at > *then);
        match outlook(&project.evidence_of(member)) {
            // Compose starts it when it may.
            Outlook::Pointless(Cause::NeverStarted) => {
                member.container.error.is_empty() && now.saturating_duration_since(*since) < ABOUT_TO_START
            }
            // The engine does, after at most a minute.
            Outlook::Pointless(Cause::CrashLoop) => member.container.status == Status::Running || !started_since,
            _ => false,
        }
    }

    fn verdict<'a>(&'a self, project: &'a Project, all: &[Awaited<'a>], now: Instant) -> Verdict<'a> {
        let defined =
            |service: &str| project.definitions.as_ref().map(|list| list.iter().any(|it| it.service == service));
        let is_late = |service: &str| {
            let since = self.present.get(service).copied().unwrap_or(self.began);
            now.saturating_duration_since(since) >= ABOUT_TO_APPEAR
        };
        let is_unknown = |it: &&Awaited<'_>| {
            it.members.is_empty()
                && !self.present.contains_key(it.service)
                && match defined(it.service) {
                    Some(defined) => !defined,
                    // Nothing tells what there should be.
                    None => is_late(it.service),
                }
        };
        let is_pointless = |it: &&Awaited<'_>| match it.standing {
            Some(standing) => standing == Standing::Hopeless,
            None => is_late(it.service),
        };
        if let Some(unknown) = all.iter().find(is_unknown) {
            Verdict::Unknown(unknown.service)
        } else if let Some(pointless) = all.iter().find(is_pointless) {
            Verdict::Pointless(pointless.service)
        } else if all.is_empty() && now.saturating_duration_since(self.began) >= ABOUT_TO_APPEAR {
            Verdict::Nothing
        } else if !all.is_empty() && all.iter().all(Awaited::is_ready) {
            Verdict::Ready
        } else {
            Verdict::Waiting
        }
    }
}

/// Whether `up` means a service that nobody has named: one that the files define no more is a leftover, and one of a
/// profile counts while somebody has it running.
fn is_meant(project: &Project, member: &Member) -> bool {
    let Some(definitions) = &project.definitions else { return true };
    let definition = definitions.iter().find(|it| *it.service == *member.service());
    definition.is_some_and(|it| !it.optional || member.runs() || member.container.status == Status::Restarting)
}

fn has(project: &Project, service: &str) -> bool {
    project.members.iter().any(|member| !member.is_one_off() && member.service() == service)
}

/// The services that one needs.
fn needs<'a>(project: &'a Project, awaited: &Awaited<'a>) -> impl Iterator<Item = &'a str> {
    let needed: Vec<&Member> = awaited.members.iter().flat_map(|member| project.needs(member)).collect();
    needed.into_iter().map(Member::service)
}

#[cfg(test)]
mod tests;
