//! Whether what `anteroom wait` waits for is there: the wanted services and what they need, look after look.
//!
//! Four things cannot be told from one look. A service without a container may be about to get one; a container that
//! was never started may wait for what it needs, as compose makes it; one that keeps crashing for lack of what it
//! needs deserves one more try once that is there; and one that has just been started has yet to live on. So a little
//! is [remembered](Vigil).

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use super::{Member, Project, Reach, Run, Standing, ago};
use crate::evidence::{Container, Status};
use crate::readiness::{ABOUT_TO_START, Cause, Outlook, SETTLED, outlook, was_ended};

/// How long a service may have no container: whoever deploys makes them all before the first one is started.
pub const ABOUT_TO_APPEAR: Duration = Duration::from_secs(10);

/// A program that cannot start mostly shows it within this.
const LIVES_ON: Duration = Duration::from_secs(3);

/// The longest run that is taken for a start that failed, of a slow program, too: who has lived for longer and is down
/// may have been stopped a week ago, and of that no event tells any more.
const FAILED_START_MOST: Duration = Duration::from_secs(60);

/// For how long others excuse a crash loop: who crashes for ever for its own sake is told after that.
const LOOP_EXCUSED_MOST: Duration = Duration::from_secs(90);

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
    /// When each run was first seen.
    runs: HashMap<Run, Instant>,
    /// When a service last lacked something that it needs, or may need: for us, and by the clock of its host.
    hindered: HashMap<Box<str>, (Instant, SystemTime)>,
    /// Since when a service is in a crash loop that others excuse.
    looping: HashMap<Box<str>, Instant>,
}

impl Vigil {
    /// Begins to wait for these services, or for all.
    pub fn new(names: impl IntoIterator<Item = Box<str>>, now: Instant) -> Self {
        let mut named = HashSet::new();
        let names = names.into_iter().filter(|name| named.insert(name.clone())).collect();
        Self {
            names,
            began: now,
            present: HashMap::new(),
            runs: HashMap::new(),
            hindered: HashMap::new(),
            looping: HashMap::new(),
        }
    }

    /// Whether it matters what the compose files define: they tell which services there should be, and whether one
    /// that is named or needed and has no container ever gets one.
    pub fn needs_definitions(&self, project: &Project) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| !project.has(name)) || !project.absent().is_empty()
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
        let needing = |all: &[Awaited<'a>], service: &str| all.iter().position(|it| needs(it).any(|it| it == service));
        for service in expected(&self.names, project, &wanted) {
            let place = needing(&all, service).unwrap_or(all.len());
            all.insert(place, Awaited { service, members: Vec::new(), standing: None });
        }
        for member in project.members.iter().filter(|member| !member.is_one_off()) {
            self.present.insert(member.service().into(), now);
            self.runs.entry(member.run()).or_insert(now);
        }
        // What a service needs stands before it, and has its standing by then.
        for index in (0..all.len()).filter(|index| !all[*index].members.is_empty()).collect::<Vec<_>>() {
            let lacks =
                needs(&all[index]).any(|needed| all[..index].iter().any(|it| it.service == needed && !it.is_ready()));
            if lacks {
                self.hindered.insert(all[index].service.into(), (now, project.seen_at));
            }
            all[index].standing = Some(self.standing(project, &all[index], now));
        }
        for index in excused_loops(project, &all) {
            let since = *self.looping.entry(all[index].service.into()).or_insert(now);
            if now.saturating_duration_since(since) >= LOOP_EXCUSED_MOST {
                continue;
            }
            self.hindered.insert(all[index].service.into(), (now, project.seen_at));
            all[index].standing = Some(self.standing(project, &all[index], now));
        }
        let verdict = self.verdict(project, &all, now);
        (all, verdict)
    }

    /// The services that are passed over, since nothing tells that the last `up` meant them: see `is_leftover`.
    pub fn leftovers<'a>(&self, project: &'a Project) -> Vec<&'a str> {
        let wanted = self.wanted(project);
        let mut passed: Vec<&str> = Vec::new();
        for member in project.services().into_iter().filter(|it| self.names.is_empty() && is_leftover(project, it)) {
            if !wanted.contains(member.service()) && !passed.contains(&member.service()) {
                passed.push(member.service());
            }
        }
        passed
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
        match project.standing(member) {
            // It answers, as it may have done before each of its deaths.
            Standing::Well if is_crash_loop(project, member) => Standing::Coming,
            // What others need is its end.
            Standing::Well if project.is_awaited(member) => Standing::Coming,
            Standing::Well if self.up_for(project, member, now) < trusted_after(member) => Standing::Coming,
            Standing::Hopeless if self.is_excused(project, member, now) => Standing::Coming,
            // Compose has just started it, or it would not have ended well: whoever is to stay is asked by somebody.
            Standing::Hopeless if project.may_be_a_job(member) => Standing::Done,
            standing => standing,
        }
    }

    /// How long it has been up, by its host's clock or, if that differs from ours, as long as we have seen it.
    fn up_for(&self, project: &Project, member: &Member, now: Instant) -> Duration {
        let told = member.container.started.as_ref().map(|started| ago(started.at, project.seen_at));
        let seen = self.runs.get(&member.run()).map(|since| now.saturating_duration_since(*since));
        told.unwrap_or_default().max(seen.unwrap_or_default())
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
        let needed = |service: &str| all.iter().any(|it| needs(it).any(|needed| needed == service));
        let defined = |service: &str| match &project.definitions {
            Some(list) => Some(list.iter().any(|it| it.service == service)),
            None => needed(service).then_some(true),
        };
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
            Verdict::Pointless(root(all, pointless))
        } else if all.is_empty() && now.saturating_duration_since(self.began) >= ABOUT_TO_APPEAR {
            Verdict::Nothing
        } else if !all.is_empty() && all.iter().all(Awaited::is_ready) {
            Verdict::Ready
        } else {
            Verdict::Waiting
        }
    }
}

fn is_crash_loop(project: &Project, member: &Member) -> bool {
    outlook(&project.evidence_of(member)) == Outlook::Pointless(Cause::CrashLoop)
}

/// Those in a crash loop that may be well yet. Nobody has to declare what it needs: a web server that dies until its
/// database accepts connections does that at every first start. So while another service is coming, or has no container
/// yet, a crash loop is no last word. Two that only crash do not excuse each other, nor does who comes only when the one
/// that crashes is there.
fn excused_loops(project: &Project, all: &[Awaited<'_>]) -> Vec<usize> {
    let crashes = |it: &Awaited<'_>| it.members.iter().any(|member| is_crash_loop(project, member));
    let is_coming = |it: &&Awaited<'_>| it.standing.is_none_or(|it| it == Standing::Coming) && !crashes(it);
    let coming: Vec<HashSet<&str>> = all.iter().filter(is_coming).map(|it| all_needs(all, it)).collect();
    let is_excused = |index: &usize| coming.iter().any(|needs| !needs.contains(all[*index].service));
    (0..all.len()).filter(|index| crashes(&all[*index])).filter(is_excused).collect()
}

/// The services that one needs, and those that they need.
fn all_needs<'a>(all: &[Awaited<'a>], awaited: &Awaited<'a>) -> HashSet<&'a str> {
    let mut open: Vec<&str> = needs(awaited).collect();
    let mut found = HashSet::new();
    while let Some(service) = open.pop() {
        if found.insert(service) {
            open.extend(all.iter().filter(|it| it.service == service).flat_map(needs));
        }
    }
    found
}

/// Whether `up` means a service that nobody has named: one that the files define no more is a leftover, and one of a
/// profile counts while somebody has it running, or if it was started with the others, or later, and did not stay.
fn is_meant(project: &Project, member: &Member) -> bool {
    let Some(definitions) = &project.definitions else { return !is_leftover(project, member) };
    let is_optional =
        |it: &Member| definitions.iter().find(|known| *known.service == *it.service()).map(|known| known.optional);
    let began = |it: &Member| it.container.started.as_ref().or(it.container.created.as_ref()).map(|moment| moment.at);
    let started_with_others = || {
        let others = project.members.iter().filter(|it| !it.is_one_off() && is_optional(it) == Some(false));
        let newest = others.filter_map(|it| it.container.started.as_ref()).map(|moment| moment.at).max();
        let Container { started, finished, .. } = &member.container;
        let lived = started.as_ref().zip(finished.as_ref()).map(|(from, to)| ago(from.at, to.at)).unwrap_or_default();
        let by_itself = || lived < FAILED_START_MOST && !was_ended(&member.container, &project.evidence_of(member));
        newest.zip(began(member)).is_some_and(|(newest, began)| ago(began, newest) <= ABOUT_TO_START) && by_itself()
    };
    match is_optional(member) {
        // A start that has failed is the newest there was, whatever its times say.
        Some(true) if !member.container.error.is_empty() => true,
        Some(true) => member.runs() || member.container.status == Status::Restarting || started_with_others(),
        Some(false) => true,
        None => false,
    }
}

/// Whether a member had ended before the last `up` made its newest container. That one starts whatever it means, so it did
/// not mean this. Only where nothing says what the files define.
fn is_leftover(project: &Project, member: &Member) -> bool {
    let members = project.members.iter().filter(|it| !it.is_one_off());
    let newest = members.filter_map(|it| it.container.created.as_ref()).map(|moment| moment.at).max();
    let ended = member.container.finished.as_ref().map(|moment| moment.at);
    // One whose start has failed keeps the times of the run before.
    let is_over = matches!(member.container.status, Status::Exited | Status::Dead) && member.container.error.is_empty();
    project.definitions.is_none() && is_over && ended.zip(newest).is_some_and(|(ended, newest)| ended < newest)
}

/// The services that should have a container and have none: of those that were named, of those that a plain `up` starts,
/// and of those that the `wanted` need.
fn expected<'a>(names: &'a [Box<str>], project: &'a Project, wanted: &HashSet<&str>) -> Vec<&'a str> {
    let is_needed = |service: &str| {
        let members = project.members.iter().filter(|it| !it.is_one_off() && wanted.contains(it.service()));
        members.flat_map(Member::needs).any(|needed| needed == service)
    };
    let named = names.iter().map(|name| &**name).filter(|name| !project.has(name));
    let absent = project.absent().into_iter().map(|(service, _)| service);
    let mut all: Vec<&str> = named.collect();
    for service in absent.filter(|service| names.is_empty() || is_needed(service)) {
        if !all.contains(&service) {
            all.push(service);
        }
    }
    all
}

/// The services that one needs.
fn needs<'a>(awaited: &Awaited<'a>) -> impl Iterator<Item = &'a str> {
    awaited.members.clone().into_iter().flat_map(Member::needs)
}

/// What is to be named as the cause where a service is down: one without a container that it needs, however far behind
/// it, or else the service itself.
fn root<'a>(all: &[Awaited<'a>], down: &Awaited<'a>) -> &'a str {
    let mut open = vec![down.service];
    let mut seen = HashSet::new();
    while let Some(service) = open.pop() {
        let Some(awaited) = all.iter().find(|it| it.service == service).filter(|_| seen.insert(service)) else {
            continue;
        };
        if awaited.members.is_empty() {
            return service;
        }
        open.extend(needs(awaited));
    }
    down.service
}

/// How long a member has to have been up before it is called well: one that has died lately may die again, as it may have
/// done each time after it had answered; one that can be asked nothing shows only by living on that it can.
fn trusted_after(member: &Member) -> Duration {
    let Container { restart_count, health, .. } = &member.container;
    if *restart_count > 0 || has_died(member) {
        SETTLED
    } else if member.reach == Reach::Untried && health.is_none() {
        LIVES_ON
    } else {
        Duration::ZERO
    }
}

/// Whether it has died lately, and not because somebody stopped it.
fn has_died(member: &Member) -> bool {
    let mut was_asked_to = false;
    for event in &*member.events {
        match &*event.action {
            "start" => was_asked_to = false,
            "kill" | "stop" => was_asked_to = true,
            "die" if !was_asked_to => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
