//! From bollard's models of the engine's answers to evidence: pure and total.
//!
//! Everything that is not named here is dropped at once, above all `Config.Env` and `Config.Cmd`, which hold secrets.
//! What comes from a container or its image can be of any length, so every text is cut and every list is bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models;

use crate::evidence::{
    Attachment, Compose, Container, Dependency, Happening, Health, HealthStatus, Moment, Network, PODMAN,
    RestartPolicy, Status,
};
use crate::project::traefik::Rule;
use crate::project::{Mount, Published, Setup};

/// In bytes. Engines allow longer names, people do not make them.
const NAME_MOST: usize = 256;
/// In bytes: enough for a runtime's message, for a path, and to tell what a health check printed.
const TEXT_MOST: usize = 4096;
/// Entries kept of any list in a container: networks, aliases, ports, compose files.
const ENTRIES_MOST: usize = 64;

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const ONE_OFF: &str = "com.docker.compose.oneoff";
const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
const ENV_FILES: &str = "com.docker.compose.project.environment_file";
const DEPENDS_ON: &str = "com.docker.compose.depends_on";

/// An entry of the engine's list of containers: enough to say whether the container is worth a closer look.
///
/// The list of API 1.41 leaves the aliases out (`null`, measured), so a search by alias needs the inspect answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub id: Box<str>,
    /// Without the leading slash.
    pub name: Box<str>,
    /// Empty if compose did not make it.
    pub project: Box<str>,
    pub service: Box<str>,
    /// Where compose was when it made it.
    pub working_dir: Box<str>,
    /// Running, paused or restarting.
    pub alive: bool,
    /// Names and ids of its networks; an id is empty until the container first starts.
    pub networks: Vec<(Box<str>, Box<str>)>,
    pub addresses: Vec<IpAddr>,
}

/// Lines of a log that are asked for, and kept.
pub const LOG_LINES: usize = 50;
/// In bytes: of what the engine tells of a log. More is not read.
pub const LOG_MOST: usize = 64 << 10;
/// In bytes: of one line.
const LINE_MOST: usize = 512;

/// What follows the line that `text` begins in, of which something is missing: without what stood before it, a secret could
/// not be told from any other word.
pub fn from_next_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1);
    &text[end..]
}

/// The last lines of what the engine tells of a log.
pub fn log(text: &[u8]) -> Vec<Box<str>> {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| cut_prose(line.trim_end(), LINE_MOST)).collect()
}

/// An event of a container or of a network, with what tells whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The id of the container that it is about; empty for a network that was made or removed.
    pub container: Box<str>,
    /// The name of that container; empty in a network's event, which does not tell.
    pub name: Box<str>,
    pub project: Box<str>,
    pub service: Box<str>,
    pub one_off: bool,
    /// The id of the network, if it is a network's event.
    pub network: Option<Box<str>>,
    pub happening: Happening,
}

/// `GET /containers/{id}/json`. `None` for an answer without an id, which no engine gives.
pub fn container(inspected: models::ContainerInspectResponse) -> Option<Container> {
    let state = inspected.state.unwrap_or_default();
    let host = inspected.host_config.unwrap_or_default();
    let config = inspected.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let networks = inspected.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    Some(Container {
        id: inspected.id.filter(|id| is_id(id))?.into(),
        name: name(&inspected.name.unwrap_or_default()),
        image: cut(&config.image.unwrap_or_default(), NAME_MOST),
        created: moment(inspected.created.as_deref()),
        status: status(state.status),
        exit_code: state.exit_code.unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        error: cut_prose(&state.error.unwrap_or_default(), TEXT_MOST),
        started: moment(state.started_at.as_deref()),
        finished: moment(state.finished_at.as_deref()),
        restart_count: unsigned(inspected.restart_count),
        restart_policy: restart_policy(host.restart_policy),
        health: state.health.and_then(health),
        memory_limit: Some(unsigned(host.memory)).filter(|bytes| *bytes > 0),
        networks: attachments(networks),
        borrows_network: host.network_mode.as_deref().is_some_and(|it| it == "host" || it.starts_with("container:")),
        exposed_ports: tcp_ports(&config.exposed_ports.unwrap_or_default()),
        routed_ports: routed_ports(&labels),
        compose: compose(&labels),
    })
}

/// `GET /version`. Podman says who it is by the name of its first component.
pub fn version(told: models::SystemVersion) -> Box<str> {
    let is_podman = told.components.iter().flatten().any(|component| component.name.starts_with("Podman"));
    let name = if is_podman { PODMAN } else { "" };
    cut(&format!("{name}{}", told.version.unwrap_or_default()), NAME_MOST)
}

/// What of the same answer only a look at a whole project needs.
pub fn setup(inspected: &models::ContainerInspectResponse) -> Setup {
    let labels = inspected.config.as_ref().and_then(|config| config.labels.as_ref());
    let ports = inspected.network_settings.as_ref().and_then(|settings| settings.ports.as_ref());
    // Those that are published now; of a container that does not run there are none, but what was asked for.
    let mut open: Vec<Published> =
        ports.into_iter().flatten().flat_map(|port| published(port, None)).take(ENTRIES_MOST).collect();
    if open.is_empty() {
        let wanted = inspected.host_config.as_ref().and_then(|host| host.port_bindings.as_ref());
        open.extend(wanted.into_iter().flatten().flat_map(|port| published(port, Some(0))).take(ENTRIES_MOST));
    }
    let mounts = inspected.mounts.as_ref().map_or(&[][..], Vec::as_slice).iter().filter_map(|mount| {
        let (source, destination) = (mount.source.as_ref()?, mount.destination.as_ref()?);
        Some(Mount { source: cut(source, TEXT_MOST), destination: cut(destination, TEXT_MOST) })
    });
    let mut setup = Setup {
        published: open,
        mounts: mounts.take(ENTRIES_MOST).collect(),
        routers: labels.into_iter().flatten().filter_map(router).take(ENTRIES_MOST).collect(),
        asked_otherwise: labels.into_iter().flatten().any(is_asked_otherwise),
    };
    // The engine's order is that of a map: not the same twice.
    setup.published.sort_unstable_by_key(|port| (port.inside, port.outside));
    setup.published.dedup();
    setup.routers.sort_unstable_by(|one, other| one.router.cmp(&other.router));
    setup
}

/// `"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}]`. `any` stands for a
/// port of the host that the engine is to choose, as the empty one.
fn published((port, bindings): (&String, &Option<Vec<models::PortBinding>>), any: Option<u16>) -> Vec<Published> {
    let inside = port.strip_suffix("/tcp").and_then(|port| port.parse().ok());
    let only_at = |ip: &Option<String>| ip.as_ref()?.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified());
    let outside = |it: &models::PortBinding| it.host_port.as_ref().and_then(|port| port.parse().ok()).or(any);
    let bindings = bindings.iter().flatten().filter_map(|it| Some((outside(it)?, only_at(&it.host_ip))));
    let port = |(inside, (outside, only_at))| Published { inside, outside, only_at };
    inside.map_or_else(Vec::new, |inside| bindings.map(|binding| port((inside, binding))).collect())
}

/// `traefik.http.routers.<name>.rule`, in any letter case.
fn router((label, rule): (&String, &String)) -> Option<Rule> {
    let lower = label.to_ascii_lowercase();
    let name = lower.strip_prefix("traefik.http.routers.")?.strip_suffix(".rule")?;
    Some(Rule { router: format!("{}@docker", cut(name, NAME_MOST)), rule: cut(rule, TEXT_MOST).into() })
}

/// `traefik.http.services.<name>.loadbalancer.server.scheme`, if it is not Traefik's default.
fn is_asked_otherwise((label, scheme): (&String, &String)) -> bool {
    let label = label.to_ascii_lowercase();
    label.starts_with("traefik.http.services.")
        && label.ends_with(".loadbalancer.server.scheme")
        && !scheme.trim().eq_ignore_ascii_case("http")
}

/// An entry of `GET /containers/json`.
pub fn listed(summary: models::ContainerSummary) -> Option<Listed> {
    use models::ContainerSummaryStateEnum::{PAUSED, RESTARTING, RUNNING};

    let labels = summary.labels.unwrap_or_default();
    let networks = summary.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    // A container that another one links to is listed with names like `/web/db` too.
    let names = summary.names.unwrap_or_default();
    let own = names.iter().find(|name| !name.trim_start_matches('/').contains('/'));
    Some(Listed {
        id: summary.id.filter(|id| is_id(id))?.into(),
        name: own.map(|own| name(own)).unwrap_or_default(),
        project: label(&labels, PROJECT, NAME_MOST),
        service: label(&labels, SERVICE, NAME_MOST),
        working_dir: label(&labels, WORKING_DIR, TEXT_MOST),
        alive: matches!(summary.state, Some(RUNNING | PAUSED | RESTARTING)),
        addresses: networks.values().filter_map(address).take(ENTRIES_MOST).collect(),
        networks: networks
            .iter()
            .take(ENTRIES_MOST)
            .map(|(network, end)| {
                (cut(network, NAME_MOST), cut(end.network_id.as_deref().unwrap_or_default(), NAME_MOST))
            })
            .collect(),
    })
}

/// An entry of `GET /networks`.
pub fn network(network: models::Network) -> Option<Network> {
    Some(Network { id: cut(&network.id?, NAME_MOST), name: cut(&network.name?, NAME_MOST) })
}

/// A line of `GET /events`. `None` for one without action or time.
pub fn occurrence(event: models::EventMessage) -> Option<Occurrence> {
    let actor = event.actor.unwrap_or_default();
    let attributes = actor.attributes.unwrap_or_default();
    let id = cut(&actor.id.unwrap_or_default(), NAME_MOST);
    let is_network = event.typ == Some(models::EventMessageTypeEnum::NETWORK);
    let since_epoch = match (event.time_nano, event.time) {
        (Some(nanos), _) => Duration::from_nanos(u64::try_from(nanos).ok()?),
        (None, Some(seconds)) => Duration::from_secs(u64::try_from(seconds).ok()?),
        (None, None) => return None,
    };
    let happening = Happening {
        at: moment_at(UNIX_EPOCH.checked_add(since_epoch)?)?,
        action: cut(&event.action?, NAME_MOST),
        exit_code: attributes.get("exitCode").and_then(|code| code.parse().ok()),
    };
    Some(Occurrence {
        container: if is_network { label(&attributes, "container", NAME_MOST) } else { id.clone() },
        // In a network's event the name is the network's.
        name: if is_network { Box::default() } else { label(&attributes, "name", NAME_MOST) },
        project: label(&attributes, PROJECT, NAME_MOST),
        service: label(&attributes, SERVICE, NAME_MOST),
        one_off: is_one_off(&attributes),
        network: is_network.then_some(id),
        happening,
    })
}

/// Whether a text can be a container's id, or the beginning of one: what goes into a request's path is checked.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a text can be an image's name with its tag or digest (distribution/reference): it goes into a path, too.
pub fn is_image_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    (1..=NAME_MOST).contains(&text.len()) && text.bytes().all(known) && !text.contains("..") && !text.starts_with('/')
}

/// At most so many bytes of a text, never half a character.
pub fn cut(text: &str, most: usize) -> Box<str> {
    text[..text.floor_char_boundary(most)].into()
}

/// The same of what a program printed, without the word that the end would cut: half a secret does not look like one.
/// A word that is as long as all of it goes whole.
fn cut_prose(text: &str, most: usize) -> Box<str> {
    let kept = &text[..text.floor_char_boundary(most)];
    match kept.len() == text.len() || text[kept.len()..].starts_with(char::is_whitespace) {
        true => kept.into(),
        false => kept.rfind(char::is_whitespace).map_or("", |end| &kept[..end]).into(),
    }
}

fn status(status: Option<models::ContainerStateStatusEnum>) -> Status {
    use models::ContainerStateStatusEnum as Word;
    match status {
        Some(Word::CREATED) => Status::Created,
        Some(Word::RUNNING) => Status::Running,
        Some(Word::PAUSED) => Status::Paused,
        Some(Word::RESTARTING) => Status::Restarting,
        Some(Word::REMOVING) => Status::Removing,
        Some(Word::EXITED) => Status::Exited,
        Some(Word::DEAD) => Status::Dead,
        Some(Word::EMPTY | Word::STOPPING) | None => Status::Other,
    }
}

fn restart_policy(policy: Option<models::RestartPolicy>) -> RestartPolicy {
    use models::RestartPolicyNameEnum as Word;
    let Some(policy) = policy else { return RestartPolicy::No };
    match policy.name {
        Some(Word::ALWAYS) => RestartPolicy::Always,
        Some(Word::UNLESS_STOPPED) => RestartPolicy::UnlessStopped,
        Some(Word::ON_FAILURE) => RestartPolicy::OnFailure { most: unsigned(policy.maximum_retry_count) },
        Some(Word::NO | Word::EMPTY) | None => RestartPolicy::No,
    }
}

fn health(health: models::Health) -> Option<Health> {
    use models::HealthStatusEnum as Word;
    let status = match health.status? {
        Word::STARTING => HealthStatus::Starting,
        Word::HEALTHY => HealthStatus::Healthy,
        Word::UNHEALTHY => HealthStatus::Unhealthy,
        // Podman says so of a container without a check, where Docker leaves the object out.
        Word::NONE | Word::EMPTY => return None,
    };
    let last = health.log.unwrap_or_default().pop().and_then(|check| check.output).unwrap_or_default();
    Some(Health { status, failing_streak: unsigned(health.failing_streak), last_output: cut_prose(&last, TEXT_MOST) })
}

fn attachments(networks: HashMap<String, models::EndpointSettings>) -> Vec<Attachment> {
    let mut attachments: Vec<_> = networks
        .into_iter()
        .take(ENTRIES_MOST)
        .map(|(network, end)| Attachment {
            network: cut(&network, NAME_MOST),
            network_id: cut(end.network_id.as_deref().unwrap_or_default(), NAME_MOST),
            address: address(&end),
            // Since version 25 the resolver answers to the second alone, which hold more: `hostname:`, and the id cut short.
            aliases: distinct([end.aliases, end.dns_names].into_iter().flatten().flatten()),
        })
        .collect();
    // The engine's order is that of a map: not the same twice.
    attachments.sort_unstable_by(|one, other| one.network.cmp(&other.network));
    attachments
}

/// Each once, in the engine's order.
fn distinct(told: impl Iterator<Item = String>) -> Vec<Box<str>> {
    let mut names = Vec::new();
    for name in told.take(2 * ENTRIES_MOST).map(|name| cut(&name, NAME_MOST)) {
        if names.len() < ENTRIES_MOST && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn address(end: &models::EndpointSettings) -> Option<IpAddr> {
    let parse = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    parse(&end.ip_address).or_else(|| parse(&end.global_ipv6_address))
}

/// `3000/tcp`, in order.
fn tcp_ports(exposed: &[String]) -> Vec<u16> {
    let tcp = |port: &String| port.strip_suffix("/tcp").and_then(|number| number.parse().ok());
    let mut ports: Vec<_> = exposed.iter().filter_map(tcp).filter(|port| *port > 0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.truncate(ENTRIES_MOST);
    ports
}

/// Where Traefik's labels say that services listen: `traefik.http.services.<name>.loadbalancer.server.port`, in any
/// letter case.
fn routed_ports(labels: &HashMap<String, String>) -> Vec<u16> {
    let is_port = |label: &str| {
        let label = label.to_ascii_lowercase();
        label.starts_with("traefik.http.services.") && label.ends_with(".loadbalancer.server.port")
    };
    let values = labels.iter().filter(|(label, _)| is_port(label)).filter_map(|(_, value)| value.trim().parse().ok());
    let mut ports: Vec<_> = values.filter(|port| *port > 0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.truncate(ENTRIES_MOST);
    ports
}

fn compose(labels: &HashMap<String, String>) -> Option<Compose> {
    let (project, service) = (label(labels, PROJECT, NAME_MOST), label(labels, SERVICE, NAME_MOST));
    if project.is_empty() || service.is_empty() {
        return None;
    }
    Some(Compose {
        project,
        service,
        working_dir: label(labels, WORKING_DIR, TEXT_MOST),
        config_files: files(labels, CONFIG_FILES),
        env_files: files(labels, ENV_FILES),
        depends_on: depends_on(labels),
        one_off: is_one_off(labels),
    })
}

/// All of them or none: a command with some of them would remove what the others define.
fn files(labels: &HashMap<String, String>, name: &str) -> Vec<Box<str>> {
    let files = labels.get(name).map(String::as_str).unwrap_or_default().split(',');
    let files: Vec<&str> = files.filter(|file| !file.is_empty()).take(ENTRIES_MOST + 1).collect();
    let is_whole = files.len() <= ENTRIES_MOST && files.iter().all(|file| file.len() <= TEXT_MOST);
    files.into_iter().filter(|_| is_whole).map(Into::into).collect()
}

/// `service:condition:restart`, separated by commas; older versions of compose write the service alone.
fn depends_on(labels: &HashMap<String, String>) -> Vec<Dependency> {
    let listed = labels.get(DEPENDS_ON).map(String::as_str).unwrap_or_default().split(',');
    let parts = listed.map(|entry| entry.split_once(':').unwrap_or((entry, "")));
    parts
        .filter(|(service, _)| !service.is_empty())
        .take(ENTRIES_MOST)
        .map(|(service, rest)| Dependency {
            service: cut(service, NAME_MOST),
            ends: rest.split(':').next() == Some("service_completed_successfully"),
        })
        .collect()
}

/// Compose writes `True` and `False`, as its first version in Python did.
fn is_one_off(labels: &HashMap<String, String>) -> bool {
    labels.get(ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn label(labels: &HashMap<String, String>, key: &str, most: usize) -> Box<str> {
    labels.get(key).map(|value| cut(value, most)).unwrap_or_default()
}

fn name(text: &str) -> Box<str> {
    cut(text.trim_start_matches('/'), NAME_MOST)
}

fn unsigned(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

/// RFC 3339 with any fraction and any zone: Docker writes UTC, Podman the host's own zone. Go's zero time,
/// `0001-01-01T00:00:00Z`, means never.
fn moment(text: Option<&str>) -> Option<Moment> {
    let text = text?;
    let (local, east) = match text.strip_suffix('Z') {
        Some(local) => (local, 0),
        None => {
            let (local, zone) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let seconds = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
            (local, if zone.starts_with('-') { -seconds } else { seconds })
        }
    };
    let local = humantime::parse_rfc3339_weak(local).ok()?;
    let offset = Duration::from_secs(east.unsigned_abs());
    moment_at(if east < 0 { local.checked_add(offset)? } else { local.checked_sub(offset)? })
}

fn moment_at(at: SystemTime) -> Option<Moment> {
    // What is beyond the year 9999 cannot be written in RFC 3339.
    const YEAR_10000: u64 = 253_402_300_800;
    let since_epoch = at.duration_since(UNIX_EPOCH).ok()?;
    (since_epoch.as_secs() < YEAR_10000)
        .then(|| Moment { at, text: humantime::format_rfc3339_seconds(at).to_string().into() })
}

#[cfg(test)]
mod tests;
