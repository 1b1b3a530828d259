//! Every way in which the deployment was seen to fail, and its near misses, each with all the codes that it must give,
//! in order. The tables of the tests run over these.

mod endings;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::Code;
use super::fixtures::*;
use crate::evidence::{
    Bound, Compose, Container, Dependency, Engine, Evidence, Failure, HealthStatus, RestartPolicy, Status, Stray,
    Target,
};
use crate::phrase::phrase;

/// What happened, what was seen of it, and what must be made of it.
pub(crate) type Scene = (&'static str, Evidence, Vec<Code>);

pub(crate) fn all() -> Vec<Scene> {
    [
        starting(),
        absent(),
        not_started(),
        endings::by_itself(),
        endings::from_outside(),
        endings::loops(),
        endings::by_their_logs(),
        network(),
        exchange(),
        blind_ones(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn probed(container: Container, probe: Option<Failure>) -> Evidence {
    Evidence { probe, ..with(container) }
}

fn bounded(container: Container, bound: Bound) -> Evidence {
    Evidence { bound: Some(bound), ..with(container) }
}

fn failed(container: Container, exchange: Failure) -> Evidence {
    Evidence { exchange: Some(exchange), ..with(container) }
}

fn not_ready(status: u16) -> Evidence {
    let mut evidence = probed(grafana(), Some(Failure::NotReady { status }));
    evidence.upstream.ready_path = Some("/api/health".into());
    evidence
}

/// With what its log says.
pub(super) fn logged(log: &[&str], evidence: Evidence) -> Evidence {
    Evidence { log: log.iter().map(|line| (*line).into()).collect(), ..evidence }
}

/// One address of the name refuses, though another one answered.
fn strayed(evidence: Evidence) -> Evidence {
    let address = IpAddr::V4(Ipv4Addr::new(172, 28, 0, 99));
    Evidence { strays: [Stray { address, failure: Failure::Refused { address } }].into(), ..evidence }
}

/// With a ClickHouse that Grafana needs, and that is down.
fn needs_clickhouse(mut evidence: Evidence) -> Evidence {
    evidence.upstream.depends_on = Some([Dependency { service: "cvat_clickhouse".into(), ends: false }].into());
    let down = Container { status: Status::Exited, exit_code: 1, ..container("cvat_clickhouse") };
    evidence.others = evidence.others.iter().filter(|it| it.name != down.name).cloned().chain([down.clone()]).collect();
    evidence
}

fn on_port(port: u16, mut evidence: Evidence) -> Evidence {
    evidence.upstream.port = port;
    evidence
}

/// With a neighbour of the project as it is now.
fn beside(other: Container, evidence: Evidence) -> Evidence {
    let others = evidence.others.iter().filter(|it| it.name != other.name).cloned().chain([other.clone()]);
    Evidence { others: others.collect(), ..evidence }
}

fn started(seconds: u64) -> Container {
    Container { started: ago(seconds), ..grafana() }
}

fn starting() -> Vec<Scene> {
    use Code::*;
    let checked = |status, streak| Container { health: health(status, streak), ..grafana() };
    vec![
        ("started 12 s ago and refuses", probed(started(12), refused()), vec![TargetWarming]),
        ("refuses just before it counts as long", probed(started(5 * MINUTE - 1), refused()), vec![TargetWarming]),
        ("refuses after a long start", probed(started(5 * MINUTE), refused()), vec![PortRefused]),
        (
            "refuses while its check says starting",
            probed(checked(HealthStatus::Starting, 0), refused()),
            vec![TargetWarming],
        ),
        ("ready path answers 503 for days", not_ready(503), vec![UpstreamError]),
        (
            "the same, and what it needs has exited",
            needs_clickhouse(not_ready(503)),
            vec![DependencyDown, UpstreamError],
        ),
        ("what it needs has exited, and it answers", needs_clickhouse(probed(started(12), None)), vec![DependencyDown]),
        (
            "what CVAT's Grafana needs keeps crashing, though nothing says that it needs it",
            beside(
                Container { status: Status::Restarting, restart_count: 9, ..container("cvat_clickhouse") },
                probed(grafana(), None),
            ),
            vec![DependencyDown],
        ),
        (
            "who lets users in has exited",
            beside(Container { status: Status::Exited, exit_code: 1, ..container("cvat_server") }, with(started(9))),
            vec![TargetWarming, AuthBackendDown],
        ),
        (
            "what it needs has exited, and it refuses",
            needs_clickhouse(probed(started(12), refused())),
            vec![TargetWarming],
        ),
        (
            "ready path answers 503 at first",
            Evidence { target: Target::Found(Arc::new(started(20))), ..not_ready(503) },
            vec![TargetWarming],
        ),
        (
            "refuses on a port that it does not declare, and accepts on another",
            Evidence { elsewhere: Some(3000), ..on_port(3001, probed(started(12), refused())) },
            vec![PortMismatch],
        ),
        (
            "the same after a long start",
            Evidence { elsewhere: Some(3000), ..on_port(3001, probed(grafana(), refused())) },
            vec![PortMismatch],
        ),
        (
            "refuses on a port that it does not declare, and nothing else is open",
            on_port(3001, probed(started(12), refused())),
            vec![TargetWarming],
        ),
        (
            "healthy by its own check, and refuses",
            probed(checked(HealthStatus::Healthy, 0), refused()),
            vec![ListensOnLoopback],
        ),
        (
            "says that it listens on 127.0.0.1",
            logged(
                &["logger=http.server msg=\"HTTP Server Listen\" address=127.0.0.1:3000"],
                probed(started(9), refused()),
            ),
            vec![ListensOnLoopback],
        ),
        (
            "says that it listens for everybody",
            logged(&["logger=http.server msg=\"HTTP Server Listen\" address=[::]:3000"], probed(started(9), refused())),
            vec![TargetWarming],
        ),
        (
            "healthy by its own check on another port",
            Evidence { elsewhere: Some(3000), ..on_port(3001, probed(checked(HealthStatus::Healthy, 0), refused())) },
            vec![PortMismatch],
        ),
        ("unhealthy", with(checked(HealthStatus::Unhealthy, 4)), vec![TargetUnhealthy]),
        (
            "unhealthy and refuses",
            probed(checked(HealthStatus::Unhealthy, 4), refused()),
            vec![TargetUnhealthy, PortRefused],
        ),
        ("healthy again", with(checked(HealthStatus::Healthy, 0)), vec![TargetWarming]),
        (
            "unhealthy when it was stopped",
            with(Container { health: health(HealthStatus::Unhealthy, 4), ..ended(0, MINUTE) }),
            vec![TargetExited],
        ),
        (
            "runs again after an exit",
            probed(Container { finished: ago(20), exit_code: 137, ..started(5) }, refused()),
            vec![TargetWarming],
        ),
        (
            "no route to it",
            probed(grafana(), Some(Failure::Unreachable { reason: "no route to host".into() })),
            vec![TargetWarming],
        ),
        ("a status from the future", with(Container { status: Status::Other, ..grafana() }), vec![TargetWarming]),
    ]
}

fn absent() -> Vec<Scene> {
    use Code::*;
    let absent = |last: Option<Container>| Evidence {
        target: Target::Absent { last: last.map(Arc::new) },
        probe: not_resolved(),
        ..evidence()
    };
    let mut elsewhere = Evidence { probe: refused(), ..absent(None) };
    elsewhere.upstream.host = "grafana.example.com".into();
    vec![
        ("removed", absent(Some(grafana())), vec![TargetAbsent, NameNotResolved]),
        ("never there", absent(None), vec![TargetAbsent, NameNotResolved]),
        ("being removed", with(Container { status: Status::Removing, ..ended(0, 1) }), vec![TargetAbsent]),
        ("never a container", elsewhere, vec![TargetWarming]),
        ("we are in no container", Evidence { ourselves: None, probe: refused(), ..absent(None) }, vec![TargetWarming]),
        ("dead", with(Container { status: Status::Dead, ..ended(0, HOUR) }), vec![TargetDead]),
        ("paused", with(Container { status: Status::Paused, ..grafana() }), vec![TargetPaused]),
        (
            "paused, and the probe hangs",
            probed(Container { status: Status::Paused, ..grafana() }, Some(Failure::NoAnswer)),
            vec![TargetPaused],
        ),
    ]
}

pub(super) fn created(error: &str, exit_code: i64) -> Container {
    Container {
        status: Status::Created,
        created: ago(MINUTE),
        started: None,
        error: error.into(),
        exit_code,
        ..grafana()
    }
}

pub(super) const PORT_TAKEN: &str = "driver failed programming external connectivity on endpoint cvat_grafana: Bind \
     for 0.0.0.0:8080 failed: port is already allocated";
const BAD_ENTRYPOINT: &str = "failed to create task for container: OCI runtime create failed: exec: \"run.sh\": \
     executable file not found in $PATH: unknown";

const DENIED: &str = "failed to create task for container: OCI runtime create failed: exec: \"/run.sh\": permission \
     denied: unknown";
const NO_SOURCE: &str = "error while creating mount source path '/srv/cvat/x': bind source path does not exist: \
     /srv/cvat/x";

pub(super) fn stale(container: Container) -> Evidence {
    with(Container { networks: vec![attachment("cvat_cvat", "0ld0ld0ld0ld0ld0", &["grafana"])], ..container })
}

fn not_started() -> Vec<Scene> {
    use Code::*;
    let unlisted = Evidence { networks: Arc::new([]), ..stale(ended(0, MINUTE)) };
    let mut by_name = ended(0, MINUTE);
    by_name.networks[0].network_id = "cvat_cvat".into();
    let mut never_attached = created("", 0);
    never_attached.networks[0].network_id = "".into();
    vec![
        ("created and left", with(created("", 0)), vec![TargetNeverStarted]),
        ("created just now", with(Container { created: ago(3), ..created("", 0) }), vec![TargetWarming]),
        ("created and never attached", with(never_attached), vec![TargetNeverStarted]),
        ("bad entry point", with(created(BAD_ENTRYPOINT, 127)), vec![TargetStartFailed]),
        (
            "bad entry point just now",
            with(Container { created: ago(1), ..created(BAD_ENTRYPOINT, 127) }),
            vec![TargetStartFailed],
        ),
        (
            "an old error of one that runs",
            probed(Container { error: BAD_ENTRYPOINT.into(), ..started(3) }, refused()),
            vec![TargetWarming],
        ),
        ("a mount that may not be used", with(created(DENIED, 126)), vec![PermissionDenied]),
        ("a mount of what is not there", with(created(NO_SOURCE, 128)), vec![MountFailed]),
        ("port taken", with(created(PORT_TAKEN, 128)), vec![PortConflict]),
        (
            "port taken at a later start",
            with(Container { error: PORT_TAKEN.into(), ..ended(128, MINUTE) }),
            vec![PortConflict],
        ),
        ("network made anew", stale(ended(0, MINUTE)), vec![NetworkStale, TargetExited]),
        (
            "network made anew, and a start tried",
            stale(Container { error: "network 0ld0ld0ld0ld0ld0 not found".into(), ..ended(128, MINUTE) }),
            vec![NetworkStale],
        ),
        (
            "network missing, and networks are not told",
            Evidence {
                networks: Arc::new([]),
                ..stale(Container { error: "network 0ld0ld0ld0ld0ld0 not found".into(), ..ended(128, MINUTE) })
            },
            vec![NetworkStale],
        ),
        ("networks are not told", unlisted, vec![TargetExited]),
        ("network known by name, as Podman has it", with(by_name), vec![TargetExited]),
    ]
}

pub(super) fn apart() -> Evidence {
    with(Container { networks: vec![attachment("monitoring_default", OTHER_NETWORK, &["grafana"])], ..grafana() })
}

/// Disconnected and connected again by hand: the aliases are lost.
pub(super) fn nameless() -> Evidence {
    let networks = vec![attachment("cvat_cvat", NETWORK, &["cvat_grafanaa"])];
    probed(Container { networks, ..grafana() }, not_resolved())
}

/// A leftover of an older definition that answers to the name as well.
pub(super) fn doubled(other: Container) -> Evidence {
    let networks = vec![attachment("cvat_cvat", NETWORK, &["grafana"])];
    let mut evidence = evidence();
    evidence.others = [container("traefik"), Container { networks, ..other }].into();
    evidence
}

fn network() -> Vec<Scene> {
    use Code::*;
    let mut by_address = apart();
    by_address.upstream.host = "172.18.0.5".into();
    let mut own_name = nameless();
    own_name.upstream.host = "cvat_grafana".into();
    let mut elsewhere = doubled(container("old_grafana"));
    let of_service = |project: &str, one_off| {
        let compose = Compose { project: project.into(), one_off, ..compose("cvat_grafana") };
        Container { compose: Some(compose), ..container("cvat-cvat_grafana-2") }
    };
    let mut scaled_and_old = doubled(of_service("cvat", false));
    let old =
        Container { name: "old_grafana".into(), compose: Some(compose("old")), ..scaled_and_old.others[1].clone() };
    scaled_and_old.others = [scaled_and_old.others[1].clone(), old].into();
    let mut without_compose = doubled(Container { compose: None, ..container("old_grafana") });
    without_compose.target = Target::Found(Arc::new(Container { compose: None, ..grafana() }));
    let mut orphan = elsewhere.others[1].clone();
    orphan.networks[0].network_id = OTHER_NETWORK.into();
    elsewhere.others = [orphan].into();
    vec![
        ("on another network", apart(), vec![NetworkNotShared]),
        (
            "on another network, name gone",
            Evidence { probe: not_resolved(), ..apart() },
            vec![NetworkNotShared, NameNotResolved],
        ),
        ("on no network", with(Container { networks: vec![], ..grafana() }), vec![NetworkNotShared]),
        ("on another network, by address", by_address, vec![TargetWarming]),
        (
            "on another network, and stopped",
            {
                let networks = vec![attachment("monitoring_default", OTHER_NETWORK, &[])];
                with(Container { networks, ..ended(0, MINUTE) })
            },
            vec![TargetExited],
        ),
        ("alias lost", nameless(), vec![AliasMissing, NameNotResolved]),
        (
            "alias lost, and a stranger has the name",
            Evidence { probe: resolved_outside(), ..nameless() },
            vec![AliasMissing, NameResolvedOutside],
        ),
        ("its own name is enough", own_name, vec![NameNotResolved]),
        ("alias lost, yet it resolves", Evidence { probe: refused(), ..nameless() }, vec![PortRefused]),
        ("an address leads nowhere", strayed(with(started(9))), vec![TargetWarming, AliasDuplicated]),
        (
            "an address leads nowhere, and no engine",
            strayed(blind(Engine::Unknown)),
            vec![TargetWarming, AliasDuplicated],
        ),
        (
            "two answer to the name, and one leads nowhere",
            strayed(doubled(container("old_grafana"))),
            vec![TargetWarming, AliasDuplicated],
        ),
        ("two answer to the name", doubled(container("old_grafana")), vec![TargetWarming, AliasDuplicated]),
        (
            "two answer to the name, and neither listens",
            Evidence { probe: refused(), ..doubled(container("old_grafana")) },
            vec![AliasDuplicated, PortRefused],
        ),
        ("two of one scaled service", doubled(of_service("cvat", false)), vec![TargetWarming]),
        ("two of one scaled service and a leftover", scaled_and_old, vec![TargetWarming, AliasDuplicated]),
        (
            "the same service of another project",
            doubled(of_service("old", false)),
            vec![TargetWarming, AliasDuplicated],
        ),
        (
            "a one-off of the same service",
            doubled(of_service("cvat", true)),
            vec![TargetWarming, AliasDuplicated, OneOffContainer],
        ),
        (
            "a one-off of the same service, without its name",
            beside(of_service("cvat", true), with(started(9))),
            vec![TargetWarming, OneOffContainer],
        ),
        ("two without compose", without_compose, vec![TargetWarming, AliasDuplicated]),
        (
            "the other one is stopped",
            doubled(Container { status: Status::Exited, ..container("old_grafana") }),
            vec![TargetWarming],
        ),
        ("the other one is elsewhere", elsewhere, vec![TargetWarming]),
        ("name gone though all is well", probed(grafana(), not_resolved()), vec![NameNotResolved]),
        ("name leads outside", probed(grafana(), resolved_outside()), vec![NameResolvedOutside]),
    ]
}

fn exchange() -> Vec<Scene> {
    use Code::*;
    let tls = || Failure::Tls { reason: phrase!("its certificate has expired") };
    let not_http = || Failure::NotHttp { reason: "SSH-2.0-OpenSSH".into() };
    vec![
        ("connection attempts vanish", probed(grafana(), Some(Failure::ConnectTimeout)), vec![ConnectTimeout]),
        ("no answer to a request", failed(grafana(), Failure::NoAnswer), vec![NoAnswer]),
        ("no answer to a probe", probed(grafana(), Some(Failure::NoAnswer)), vec![NoAnswer]),
        ("no answer to a probe at first", probed(started(9), Some(Failure::NoAnswer)), vec![TargetWarming]),
        (
            "nothing but 503 to a request, which was waited with",
            failed(started(9), Failure::NotReady { status: 503 }),
            vec![UpstreamError],
        ),
        ("TLS in answer to plain HTTP", failed(started(9), Failure::SpeaksTls), vec![TlsMismatch]),
        ("closed under a request", failed(started(9), Failure::ClosedEarly), vec![ClosedEarly]),
        ("closed under a probe", probed(grafana(), Some(Failure::ClosedEarly)), vec![ClosedEarly]),
        ("closed under a probe at first", probed(started(9), Some(Failure::ClosedEarly)), vec![TargetWarming]),
        ("certificate refused", failed(grafana(), tls()), vec![TlsMismatch]),
        ("certificate refused at first", probed(started(9), Some(tls())), vec![TlsMismatch]),
        ("closed in the handshake at first", probed(started(9), Some(Failure::ClosedEarly)), vec![TargetWarming]),
        ("garbage", failed(grafana(), not_http()), vec![NotHttp]),
        ("garbage at first", probed(started(9), Some(not_http())), vec![NotHttp]),
        ("too many wait", bounded(started(9), Bound::Number { most: 1024 }), vec![TargetWarming, WaitingRoomFull]),
        (
            "too many wait for one that exited",
            bounded(ended(0, 2), Bound::Number { most: 1024 }),
            vec![TargetExited, WaitingRoomFull],
        ),
        (
            "those that wait are too large",
            bounded(started(9), Bound::Bytes { most: 64 << 20 }),
            vec![TargetWarming, HeldBytesSpent],
        ),
        (
            "it has waited for long enough",
            bounded(started(9), Bound::Patience { held: Duration::from_secs(2) }),
            vec![TargetWarming, PatienceEnded],
        ),
        (
            "it has waited for long enough, and failed before",
            Evidence {
                bound: Some(Bound::Patience { held: Duration::from_secs(2) }),
                ..failed(started(9), Failure::ClosedEarly)
            },
            vec![ClosedEarly, PatienceEnded],
        ),
        ("came back to us", failed(grafana(), Failure::Loop), vec![ProxyLoop]),
        (
            "a probe is told of a loop elsewhere",
            probed(grafana(), Some(Failure::NotReady { status: 508 })),
            vec![UpstreamError],
        ),
        ("too much tried again", failed(grafana(), Failure::RetryBudgetSpent), vec![TargetWarming, RetryBudgetSpent]),
    ]
}

pub(super) fn unavailable() -> Engine {
    Engine::Unavailable { reason: "/var/run/docker.sock: No such file or directory".into() }
}

fn blind_ones() -> Vec<Scene> {
    use Code::*;
    let blind_with = |engine, probe| Evidence { probe, ..blind(engine) };
    let forbidden = Engine::Forbidden { reason: "/var/run/docker.sock: Permission denied".into() };
    let mut by_address = blind_with(Engine::Unknown, None);
    by_address.upstream.host = IpAddr::V4(Ipv4Addr::LOCALHOST).to_string().into();
    vec![
        ("no engine, refuses", blind_with(unavailable(), refused()), vec![TargetWarming, EngineUnavailable]),
        ("no engine, name gone", blind_with(unavailable(), not_resolved()), vec![NameNotResolved, EngineUnavailable]),
        (
            "no engine, garbage",
            blind_with(unavailable(), Some(Failure::NotHttp { reason: "SSH".into() })),
            vec![NotHttp, EngineUnavailable],
        ),
        ("engine forbids", blind_with(forbidden, refused()), vec![TargetWarming, EngineForbidden]),
        ("engine not asked yet", by_address, vec![TargetWarming]),
        (
            "engine went away, and it had exited",
            Evidence { engine: unavailable(), ..with(ended(1, MINUTE)) },
            vec![TargetWarming, EngineUnavailable],
        ),
        ("simulated", Evidence { engine: Engine::Simulated, ..with(ended(1, MINUTE)) }, vec![TargetExited]),
    ]
}
