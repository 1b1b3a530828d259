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
/// As docker-compose.anteroom-socket-proxy.yml has them: who may ask, and for the paths that the engine's client asks for.
/// All of them, since the `command` of an override takes the place of the whole one.
const PROXY_OPTIONS: &str = r"    command:
      - -listenip=0.0.0.0
      - -allowfrom=anteroom
      - -allowGET=(/v1\.[0-9]+)?/(version|events|containers/json|containers/[^/]+/json|networks)";

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
        let effect = phrase!(
            "For the service of the socket proxy that comes with anteroom: lets anteroom, and nobody else, read what it \
             needs. Tecnativa's takes variables instead: CONTAINERS, EVENTS, NETWORKS and VERSION, each with the value 1."
        );
        vec![remedy::service_snippet("docker-socket-proxy", PROXY_OPTIONS, effect)]
    } else {
        let group = "    group_add:\n      - \"${DOCKER_GID:?the number of the socket's group}\"";
        let effect = phrase!(
            "For the override file that defines anteroom, with DOCKER_GID in the environment or in .env. Where the \
             group is not known, `user: \"0:0\"` does it too. Where the engine remaps users, it is `userns_mode: host`; under \
             SELinux, `security_opt: [label=disable]`."
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
