//! English, in which the rules write: they need no table.

use super::{Engine, Facts, Scene, Words};
use crate::diagnosis::{Code, Confidence, Severity};
use crate::phrase::Table;

pub(in crate::page) const WORDS: Words = Words {
    lang: "en",
    asked_by: &["en"],
    akin_to: &[],
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
    support: "Whom to ask",
    try_again: "Try again",
    send_again: "{it} is ready again. Please send your request again.",
    still_failing: "{it} says that it is ready, but this page does not open.",
    lost: "The connection is interrupted. Still trying.",
    copy: "Copy",
    copied: "Copied",
    how_long: |elapsed, usual| {
        let elapsed = (WORDS.duration)(elapsed);
        match usual {
            Some(usual) => format!("Starting for {elapsed}, usually ready after {}", (WORDS.duration)(usual)),
            None => format!("Starting for {elapsed}"),
        }
    },
    reference: "Reference",
    colon: ": ",
    comma: ", ",

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
    router_does: "passed it on",
    anteroom_does: "sent this page",
    summary_target: "service",
    summary_dependency: "dependency",
    answers: "answers",
    unknown: "state unknown",
    not_ready: "not ready",
    timeline: "What happened to the container",
    log: "The last lines of its log",
    health_output: "What its health check printed last",
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

    phrases: Table::ENGLISH,
    severity: |severity| match severity {
        Severity::Info => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    },
    confidence: |confidence| match confidence {
        Confidence::Possible => "possible",
        Confidence::Likely => "likely",
        Confidence::Certain => "",
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
        Code::PluginDownloadFailed => "The service could not get a plugin",
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
