//! What limits our own sight: without the engine there is no container state, and only probes speak.

use super::facts::row;
use super::redact::redact;
use super::{Code, Confidence, Finding, Remedy, Severity, remedy};
use crate::evidence::{Engine, Evidence};
use crate::phrase::{Phrase, phrase};

/// Where the engine listens unless it is told otherwise.
const SOCKET: &str = "/var/run/docker.sock";
/// Our service's name in the override that comes with anteroom: without the engine nobody tells us our own.
const SERVICE: &str = "anteroom";

/// There is no engine to ask.
pub(super) fn engine_unavailable(evidence: &Evidence) -> Option<Finding> {
    let Engine::Unavailable { reason } = &evidence.engine else { return None };
    let mount = format!("    user: \"0:0\"\n    volumes:\n      - {SOCKET}:{SOCKET}:ro");
    let effect = phrase!(
        "For the override file that defines anteroom: lets it ask the engine. Keep in mind that `:ro` does not make \
         the engine's API read-only; a socket proxy does (DOCKER_HOST=tcp://…)."
    );
    Some(Finding {
        code: Code::EngineUnavailable,
        severity: Severity::Info,
        confidence: Confidence::Certain,
        title: phrase!("The container engine cannot be asked, so the state of the container is not known"),
        evidence: vec![row!("engine", redact(reason))],
        // A directory is what a mount makes of a socket that is missing on the host: the mount is there already.
        remedies: snippet(evidence, &mount, effect)
            .filter(|_| !reason.contains("is a directory"))
            .into_iter()
            .collect(),
    })
}

/// There is an engine, and it does not let us ask.
pub(super) fn engine_forbidden(evidence: &Evidence) -> Option<Finding> {
    let Engine::Forbidden { reason } = &evidence.engine else { return None };
    let remedies = if reason.contains("401") || reason.contains("403") {
        // The variables of the usual socket proxies, named after the paths that they let through: those that the
        // engine's client asks for, and no more.
        let paths = "    environment:\n      CONTAINERS: 1\n      EVENTS: 1\n      NETWORKS: 1\n      VERSION: 1";
        let effect = phrase!(
            "For the service of the socket proxy: lets anteroom read what it needs. Nothing that writes is asked for."
        );
        vec![remedy::service_snippet("docker-socket-proxy", paths, effect)]
    } else {
        let group = "    group_add:\n      - \"${DOCKER_GID:?the number of the socket's group}\"";
        let effect = phrase!(
            "For the override file that defines anteroom, with DOCKER_GID in the environment or in .env. Where the \
             group is not known, `user: \"0:0\"` does it too."
        );
        vec![
            Some(Remedy {
                command: format!("stat -c %g {SOCKET}"),
                effect: phrase!(
                    "Shows the number of the group that may use the engine's socket: the value of DOCKER_GID."
                ),
                permanent: false,
            }),
            snippet(evidence, group, effect),
        ]
    };
    Some(Finding {
        code: Code::EngineForbidden,
        severity: Severity::Info,
        confidence: Confidence::Certain,
        title: phrase!("The container engine does not let anteroom ask it, so the state of the container is not known"),
        evidence: vec![row!("engine", redact(reason))],
        remedies: remedies.into_iter().flatten().collect(),
    })
}

fn snippet(evidence: &Evidence, body: &str, effect: Phrase) -> Option<Remedy> {
    // Known from before the engine went away, if at all.
    let compose = evidence.ourselves.as_ref().and_then(|ourselves| ourselves.compose.as_ref());
    remedy::service_snippet(compose.map_or(SERVICE, |compose| &compose.service), body, effect)
}
