//! Every word that a page says, in one place. A language is one [`Words`] table: a second one is a second constant
//! here, and the compiler asks for every sentence.
//!
//! Two kinds of reader, two registers. The visitor's sentences name no container, network or code, and promise only
//! what is certain. The operator's labels use the engine's own words. `{it}` stands for what was asked for.
//! The findings' own sentences are written by the rules, which know what they saw.

use std::time::Duration;

use crate::diagnosis::{Code, Severity};
use crate::evidence::Evidence;

/// A language.
pub(super) struct Words {
    /// BCP 47, for `<html lang>`.
    pub lang: &'static str,
    /// What was asked for, as the start of a sentence: where it is known to be an analytics service, and elsewhere.
    pub analytics: &'static str,
    pub service: &'static str,

    pub starting: Scene,
    pub down: Scene,
    pub checking: Scene,
    pub broken: Scene,
    pub timed_out: Scene,
    pub busy: Scene,
    pub back: Scene,
    /// What to do when the request was not a GET, so that a page cannot repeat it: nothing was sent, and it waits.
    pub keep_open: &'static str,
    /// The same after a broken exchange: nobody knows whether the request did its work.
    pub uncertain: &'static str,
    /// After [`LONG`] of starting.
    pub long: &'static str,
    pub try_again: &'static str,
    /// Said by the script: the upstream is back, but the request was not a GET.
    pub send_again: &'static str,
    /// Said by the script: ready again and again, and yet the page does not open.
    pub still_failing: &'static str,
    /// Said by the script: anteroom itself cannot be reached.
    pub lost: &'static str,
    pub copy: &'static str,
    pub copied: &'static str,
    /// Before a duration.
    pub elapsed: &'static str,
    /// Before a duration, after the former.
    pub usually: &'static str,
    pub reference: &'static str,

    pub operator: &'static str,
    pub simulated: &'static str,
    pub cause: &'static str,
    pub also: &'static str,
    pub no_finding: &'static str,
    pub remedy: &'static str,
    pub permanent: &'static str,
    pub unshowable: &'static str,
    pub chain: &'static str,
    pub breaks_here: &'static str,
    pub router: &'static str,
    pub router_does: &'static str,
    pub anteroom_does: &'static str,
    pub summary_target: &'static str,
    pub answers: &'static str,
    pub unknown: &'static str,
    pub not_ready: &'static str,
    pub timeline: &'static str,
    pub exit_code: &'static str,
    pub facts: &'static str,
    pub last_known: &'static str,
    pub fact: Facts,
    pub engine: Engine,

    pub severity: fn(Severity) -> &'static str,
    /// What a code means, in general: the problem document's `title`, and all that `summary` tells.
    pub meaning: fn(Code) -> &'static str,
    pub duration: fn(Duration) -> String,
    pub ago: fn(Duration) -> String,
}

/// The visitor's part of a page.
pub(super) struct Scene {
    /// One or two words.
    pub label: &'static str,
    /// What happened.
    pub sentence: &'static str,
    /// What to do.
    pub advice: &'static str,
}

/// The names of a target's facts.
pub(super) struct Facts {
    pub container: &'static str,
    pub state: &'static str,
    pub oom_killed: &'static str,
    pub health: &'static str,
    pub no_health_check: &'static str,
    pub restarts: &'static str,
    pub policy: &'static str,
    pub started: &'static str,
    pub finished: &'static str,
    pub never: &'static str,
    pub image: &'static str,
    pub networks: &'static str,
    pub none: &'static str,
    pub project: &'static str,
    pub service: &'static str,
    pub engine: &'static str,
    pub yes: &'static str,
    pub no: &'static str,
}

/// How the engine answers; a version or a reason follows those that end in a colon.
pub(super) struct Engine {
    pub unknown: &'static str,
    pub available: &'static str,
    pub unavailable: &'static str,
    pub forbidden: &'static str,
    pub simulated: &'static str,
}

/// Starting for longer than this is worth telling someone.
pub(super) const LONG: Duration = Duration::from_secs(180);

impl Words {
    /// A template with what was asked for put into it.
    pub fn about(&self, template: &str, evidence: &Evidence) -> String {
        template.replace("{it}", if is_analytics(evidence) { self.analytics } else { self.service })
    }
}

/// Whether the upstream is the analytics service of a CVAT deployment, by any name that CVAT gives it.
fn is_analytics(evidence: &Evidence) -> bool {
    let host = &*evidence.upstream.host;
    let service = evidence.target.last_known().and_then(|target| target.compose.as_ref()).map(|from| &*from.service);
    matches!(host, "grafana" | "cvat_grafana") || service == Some("cvat_grafana")
}

pub(super) const ENGLISH: Words = Words {
    lang: "en",
    analytics: "Analytics",
    service: "This service",

    starting: Scene {
        label: "Starting",
        sentence: "{it} is starting.",
        advice: "This page will open by itself. There is nothing you need to do.",
    },
    down: Scene {
        label: "Not available",
        sentence: "{it} is not available right now.",
        advice: "It is unlikely to come back by itself. Please tell the people who run it, and give them the reference \
                 below. This page opens as soon as it is back.",
    },
    checking: Scene {
        label: "Not answering",
        sentence: "{it} does not answer yet.",
        advice: "This page opens by itself as soon as it does.",
    },
    broken: Scene {
        label: "No proper answer",
        sentence: "{it} did not answer properly.",
        advice: "Often that passes. If it happens again, please tell the people who run it, and give them the \
                 reference below.",
    },
    timed_out: Scene {
        label: "No answer in time",
        sentence: "{it} took too long to answer.",
        advice: "It may be busy. If it happens again, please tell the people who run it, and give them the reference \
                 below.",
    },
    busy: Scene {
        label: "Very busy",
        sentence: "{it} has more requests than it can take right now.",
        advice: "Please try again in a moment.",
    },
    back: Scene { label: "Ready", sentence: "{it} is ready.", advice: "The page is loading." },
    keep_open: "Your request was not delivered. Keep this page open: it will tell you when you can send it again.",
    uncertain: "It is not certain whether your request was carried out. Please check before you send it again.",
    long: "It is taking a while. You can keep waiting; if it goes on, please tell the people who run it, \
           and give them the reference below.",
    try_again: "Try again",
    send_again: "{it} is ready again. Please send your request again.",
    still_failing: "{it} says that it is ready, but this page does not open.",
    lost: "The connection is interrupted. Still trying.",
    copy: "Copy",
    copied: "Copied",
    elapsed: "Starting for",
    usually: "usually ready after",
    reference: "Reference",

    operator: "For the people who run it",
    simulated: "Simulated: this is a demonstration. No container was looked at.",
    cause: "Cause",
    also: "Also found",
    no_finding: "No known cause fits what was seen.",
    remedy: "What to do",
    permanent: "permanent",
    unshowable: "There is a command for this, but it cannot be shown here exactly as it would run.",
    chain: "Path of a request",
    breaks_here: "It breaks here.",
    router: "Traefik",
    router_does: "passed the request on",
    anteroom_does: "sent this page",
    summary_target: "service",
    answers: "answers",
    unknown: "state unknown",
    not_ready: "not ready",
    timeline: "What happened to the container",
    exit_code: "exit code",
    facts: "The container",
    last_known: "The container, as it was last seen",
    fact: Facts {
        container: "Container",
        state: "State",
        oom_killed: "Out of memory",
        health: "Health",
        no_health_check: "no health check",
        restarts: "Restarts",
        policy: "Restart policy",
        started: "Started",
        finished: "Finished",
        never: "never",
        image: "Image",
        networks: "Networks",
        none: "none",
        project: "Project",
        service: "Service",
        engine: "Container engine",
        yes: "yes",
        no: "no",
    },
    engine: Engine {
        unknown: "Not asked yet",
        available: "Answers, version",
        unavailable: "Cannot be reached, so container states are not known:",
        forbidden: "Does not let anteroom ask, so container states are not known:",
        simulated: "Simulated",
    },

    severity: |severity| match severity {
        Severity::Info => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    },
    meaning: |code| match code {
        Code::TargetWarming => "The service is starting",
        Code::TargetExited => "The service has stopped",
        Code::TargetNotRestarted => "The service was not started again after a reboot",
        Code::TargetStoppedByHand => "The service was stopped by hand",
        Code::TargetOomKilled => "The service ran out of memory",
        Code::TargetCrashLoop => "The service keeps crashing",
        Code::TargetStartFailed => "The service could not be started",
        Code::TargetNeverStarted => "The service was never started",
        Code::TargetAbsent => "The service does not exist",
        Code::TargetPaused => "The service is paused",
        Code::TargetDead => "The service could not be removed completely",
        Code::TargetUnhealthy => "The service fails its health check",
        Code::PortConflict => "The service's port is taken by something else",
        Code::NetworkNotShared => "The service is on another network",
        Code::NetworkStale => "The service is on a network that no longer exists",
        Code::AliasMissing => "The service does not answer to its name",
        Code::AliasDuplicated => "Several services answer to one name",
        Code::NameNotResolved => "The service's name is not known",
        Code::NameResolvedOutside => "The service's name leads somewhere else",
        Code::ConnectTimeout => "The service does not accept connections in time",
        Code::PortRefused => "The service refuses connections",
        Code::NoAnswer => "The service did not answer in time",
        Code::ClosedEarly => "The service closed the connection before it answered",
        Code::NotHttp => "The service's answer is not HTTP",
        Code::TlsMismatch => "The service and its proxy do not agree on encryption",
        Code::UpstreamError => "The service answers with an error",
        Code::ProxyLoop => "Requests go round in a circle",
        Code::EngineUnavailable => "The container engine cannot be reached",
        Code::EngineForbidden => "The container engine may not be asked",
        Code::WaitingRoomFull => "Too many requests are waiting",
        Code::HeldBytesSpent => "The requests that are waiting are too large",
        Code::DependencyDown => "What the service needs is not running",
        Code::PatienceEnded => "The request has waited for as long as it may",
        Code::PortMismatch => "The service listens on another port",
        Code::ListensOnLoopback => "The service cannot be reached from outside its container",
        Code::PermissionDenied => "The service lacks a permission that it needs",
        Code::MountFailed => "What the service should be given cannot be mounted",
        Code::OneOffContainer => "A second copy of the service is running",
        Code::AuthBackendDown => "Who lets users in is not running",
        Code::EvidenceContradictory => "What was seen does not agree",
        Code::RetryBudgetSpent => "Too many requests were tried again",
    },
    duration: |duration| {
        let seconds = duration.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match seconds {
            0..60 => format!("{seconds} s"),
            60..3600 => format!("{minutes} min {} s", seconds % 60),
            3600..86_400 => format!("{hours} h {} min", minutes % 60),
            _ => format!("{days} d {} h", hours % 24),
        }
    },
    ago: |duration| {
        let seconds = duration.as_secs();
        match seconds {
            0..60 => format!("{seconds} s ago"),
            60..3600 => format!("{} min ago", seconds / 60),
            3600..86_400 => format!("{} h ago", seconds / 3600),
            _ => format!("{} d ago", seconds / 86_400),
        }
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::fixtures;

    #[test]
    fn visitors_are_told_without_the_words_of_operators() {
        let scenes = [
            &ENGLISH.starting,
            &ENGLISH.down,
            &ENGLISH.checking,
            &ENGLISH.broken,
            &ENGLISH.timed_out,
            &ENGLISH.busy,
            &ENGLISH.back,
        ];
        let others = [
            ENGLISH.keep_open,
            ENGLISH.uncertain,
            ENGLISH.long,
            ENGLISH.send_again,
            ENGLISH.still_failing,
            ENGLISH.lost,
        ];
        let said = scenes.iter().flat_map(|scene| [scene.label, scene.sentence, scene.advice]).chain(others);
        for sentence in said {
            let sentence = sentence.to_lowercase();
            for word in ["container", "docker", "upstream", "proxy", "gateway", "network", "503", "anteroom", "backend"]
            {
                assert!(!sentence.contains(word), "{word:?} in {sentence:?}");
            }
        }
    }

    #[test]
    fn only_the_analytics_service_is_called_so() {
        let mut evidence = fixtures::no_engine().evidence;
        assert_eq!(ENGLISH.about("{it} is starting.", &evidence), "Analytics is starting.");
        evidence.upstream.host = "wiki".into();
        assert_eq!(ENGLISH.about("{it} is starting.", &evidence), "This service is starting.");
    }

    #[test]
    fn durations_are_told_in_their_two_largest_units() {
        let told = [0, 59, 60, 3599, 3600, 86_399, 90_000].map(|s| (ENGLISH.duration)(Duration::from_secs(s)));
        assert_eq!(told, ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "1 d 1 h"]);
    }
}
