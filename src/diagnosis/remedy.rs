//! What mends a finding: commands from the deployment's own labels, and snippets for its override.
//!
//! Wrong advice is worse than none. So the smallest command that mends comes first, nothing here removes a volume,
//! and nothing but `--remove-orphans` a container for good, and where the labels do not tell how the deployment was made there is no remedy rather
//! than a guess. Containers without compose get the engine's plain commands.

pub(super) use super::Remedy;
use super::command::{Invocation, name};
use crate::evidence::{Compose, Container, Evidence, Status, Upstream};
use crate::phrase::{Phrase, phrase};
use crate::project::{Member, Project};

/// Starts a stopped container again, by the smallest command that can.
pub(super) fn start(evidence: &Evidence, container: &Container) -> Option<Remedy> {
    // `up -d` starts the old container, which asks for a network that is gone.
    if super::network::stale_attachment(evidence, container).is_some() {
        return reattach(evidence, container);
    }
    let together =
        |it: &str| phrase!("Starts {0} again, together with what it depends on; the rest is left alone.", it);
    let alone = |it: &str| phrase!("Starts {0} again; nothing else is touched.", it);
    service_command(evidence, container, "up -d", together).or_else(|| plain_command(container, "docker start", alone))
}

/// Makes a container anew that was removed.
pub(super) fn create(evidence: &Evidence, removed: &Container) -> Option<Remedy> {
    let effect =
        |it: &str| phrase!("Makes and starts {0} again, together with what it depends on; the rest is left alone.", it);
    service_command(evidence, removed, "up -d", effect)
}

/// Thaws a paused container.
pub(super) fn unpause(evidence: &Evidence, container: &Container) -> Option<Remedy> {
    let effect = |it: &str| phrase!("Lets {0} go on where it was paused; nothing is lost.", it);
    service_command(evidence, container, "unpause", effect)
        .or_else(|| plain_command(container, "docker unpause", effect))
}

/// Ends and starts a container that runs but does not work.
pub(super) fn restart(evidence: &Evidence, container: &Container) -> Option<Remedy> {
    let effect = |it: &str| phrase!("Restarts {0}: what it is doing is cut off, its volumes stay.", it);
    service_command(evidence, container, "restart", effect)
        .or_else(|| plain_command(container, "docker restart", effect))
}

/// Replaces a container by a new one of the same definition: a fresh endpoint with the aliases of the compose file.
pub(super) fn recreate(evidence: &Evidence, container: &Container) -> Option<Remedy> {
    let effect = |it: &str| {
        phrase!(
            "Replaces {0} by a new container as the compose files define it; its volumes stay, what was written elsewhere in it is lost.",
            it
        )
    };
    service_command(evidence, container, "up -d --force-recreate", effect)
}

/// Gets a stopped container onto the network that was made anew under the name of its old one: with the whole project
/// where it is ours, since its neighbours have lost the same network; else it alone.
pub(super) fn reattach(evidence: &Evidence, container: &Container) -> Option<Remedy> {
    rebuild(evidence, container).or_else(|| recreate(evidence, container))
}

/// The classic: takes the whole project down and brings it up again, without orphans. The cure for a network
/// that was made anew under its containers (`up -d` fails there) and for orphans that still answer to a name.
///
/// Never for a project that we know not to be ours: it is away meanwhile, with all that it does for others, and
/// whoever runs us may not even be the one who runs it.
pub(super) fn rebuild(evidence: &Evidence, container: &Container) -> Option<Remedy> {
    let compose = compose_of(container)?;
    let ours = evidence.ourselves.as_deref().and_then(|ourselves| ourselves.compose.as_ref());
    if ours.is_some_and(|ours| ours.project != compose.project) {
        return None;
    }
    let compose = deployment(evidence, compose);
    // A member that other files define would go, and not come again.
    let is_lost = |other: &Container| {
        compose_of(other).is_some_and(|its| its.project == compose.project && has_other_files(its, compose))
    };
    if evidence.others.iter().any(|other| other.status == Status::Running && is_lost(other)) {
        return None;
    }
    composed(
        compose,
        &["down", "up -d --remove-orphans"],
        phrase!(
            "Removes the containers and networks of project {0} and makes them anew, without leftovers of older \
             definitions. Named volumes stay, what was written elsewhere in the containers is lost; everything of the \
             project is away until it is up again.",
            compose.project
        ),
    )
}

/// Brings up what is missing of our own project: all that is left to say when nothing is known of the target. Not of one in
/// which we are alone: whoever we stand before is of another.
pub(super) fn bring_up_ours(evidence: &Evidence) -> Option<Remedy> {
    let compose = compose_of(evidence.ourselves.as_deref()?)?;
    evidence.others.iter().find(|it| compose_of(it).is_some_and(|its| its.project == compose.project))?;
    composed(
        compose,
        &["up -d"],
        phrase!(
            "Makes and starts whatever is missing of project {0}, and makes anew what its files define otherwise by \
             now; nothing else is removed.",
            compose.project
        ),
    )
}

/// Runs compose's subcommands for a service of which there is no container.
pub(super) fn of_service(project: &Project, service: &str) -> Option<Remedy> {
    let word = name(service)?;
    let newest = project.newest()?;
    composed(
        newest,
        &[&format!("up -d {word}")],
        phrase!("Makes and starts {0}, together with what it depends on; the rest is left alone.", service),
    )
}

/// Brings the image of a service. Not by compose, which leaves out what its files say is never pulled, and calls that well.
pub(super) fn image(service: &str, image: &str) -> Option<Remedy> {
    Some(Remedy {
        command: format!("docker pull {}", name(image)?),
        effect: phrase!(
            "Brings the image of {0} from its registry. One that is in none has to be built on this host, or loaded.",
            service
        ),
        permanent: false,
    })
}

/// Removes containers whose services the files do not define any more.
pub(super) fn remove_orphans(project: &Project, orphans: &[&Member], names: &[&str]) -> Option<Remedy> {
    compose_of(&orphans.first()?.container)?;
    let newest = project.newest()?;
    let is_orphan = |member: &Member| orphans.iter().any(|it| it.container.id == member.container.id);
    // A member that other files define would go, too.
    let is_lost = |member: &Member| {
        !is_orphan(member) && compose_of(&member.container).is_some_and(|its| has_other_files(its, newest))
    };
    if project.members.iter().any(is_lost) {
        return None;
    }
    composed(
        newest,
        &["up -d --remove-orphans"],
        phrase!(
            "Removes {0}, and makes anew what the files define otherwise by now. Volumes stay. Name all files of the deployment: what is defined in none of them is removed.",
            Phrase::list(", ", names)
        ),
    )
}

/// Whether something was defined by a file that a command with those of another one would leave out.
fn has_other_files(its: &Compose, given: &Compose) -> bool {
    its.config_files.iter().any(|file| !given.config_files.contains(file))
}

/// Has Traefik take a container's address on this network.
pub(super) fn chosen_network(network: &str, container: &Container) -> Option<Remedy> {
    snippet(
        container,
        &format!("    labels:\n      traefik.docker.network: \"{network}\""),
        |it| phrase!("For an override file: Traefik takes the address of {0} on this network. Takes effect with the next `up -d`.", it),
    )
    .filter(|_| is_plain(network))
}

/// Shows what the engine's data takes.
pub(super) fn disk_use() -> Remedy {
    Remedy {
        command: "docker system df -v".to_owned(),
        effect: phrase!("Shows what images, containers, volumes and build caches take; nothing is removed."),
        permanent: false,
    }
}

/// The engine restarts all of these from now on.
pub(super) fn always_restart_all<'a>(services: impl Iterator<Item = &'a str>) -> Option<Remedy> {
    let bodies: Option<Vec<String>> = services.map(|it| service_body(it, "    restart: always")).collect();
    Some(Remedy {
        command: format!("services:\n{}", bodies.filter(|bodies| !bodies.is_empty())?.join("\n")),
        effect: phrase!(
            "For an override file: the engine starts them again after a crash and after a reboot. Takes effect with the \
             next `up -d`."
        ),
        permanent: true,
    })
}

/// Shows what the container printed last: no cure, but where the cure is found.
pub(super) fn logs(container: &Container) -> Option<Remedy> {
    let effect = |it: &str| phrase!("Shows the last 50 lines of {0}: they say why.", it);
    plain_command(container, "docker logs --tail 50", effect)
}

/// Shows what the health check printed.
pub(super) fn health_log(container: &Container) -> Option<Remedy> {
    let effect = |it: &str| phrase!("Shows what the last health checks of {0} printed.", it);
    plain_command(container, "docker inspect --format '{{json .State.Health}}'", effect)
}

/// Shows on which addresses and ports the container's processes listen, with the host's own tools: its image may have
/// none.
pub(super) fn listeners(container: &Container) -> Option<Remedy> {
    let name = name(&container.name)?;
    Some(Remedy {
        command: format!(
            "docker inspect --format '{{{{.State.Pid}}}}' {name} | xargs -I PID sudo nsenter -t PID -n ss -ltn"
        ),
        effect: phrase!(
            "Shows where {0} listens. 0.0.0.0 or * can be reached; what is on 127.0.0.1 can be reached from inside its \
             container alone, and its own settings have to say otherwise.",
            container.name
        ),
        permanent: false,
    })
}

/// Shows what is mounted into the container, and from where.
pub(super) fn mounts(container: &Container) -> Option<Remedy> {
    plain_command(
        container,
        "docker inspect --format '{{json .HostConfig.Binds}} {{json .Mounts}} user={{.Config.User}}'",
        |it| {
            phrase!("Shows what is mounted into {0}, and as whom it runs: who may use those paths, `ls -ln` tells.", it)
        },
    )
}

/// Has us send requests to another port.
pub(super) fn other_port(evidence: &Evidence, port: u16) -> Option<Remedy> {
    let Upstream { scheme, host, .. } = &evidence.upstream;
    upstream(evidence, scheme.as_str(), host, port)
}

/// Has us speak TLS with the upstream.
pub(super) fn over_tls(evidence: &Evidence) -> Option<Remedy> {
    let Upstream { host, port, .. } = &evidence.upstream;
    let mut remedy = upstream(evidence, "https", host, *port)?;
    remedy.effect =
        phrase!("{0} Where its certificate is its own, ANTEROOM_UPSTREAM_CA names the one to trust.", remedy.effect);
    Some(remedy)
}

fn upstream(evidence: &Evidence, scheme: &str, host: &str, port: u16) -> Option<Remedy> {
    let service = evidence.ourselves.as_deref().and_then(compose_of).map_or("anteroom", |compose| &compose.service);
    let body = format!("    environment:\n      ANTEROOM_UPSTREAM: {scheme}://{host}:{port}");
    let effect = phrase!("For the override file that defines anteroom. Takes effect with the next `up -d`.");
    service_snippet(service, &body, effect).filter(|_| is_plain(host))
}

/// Lets the engine ask it whether it is well, so that `depends_on` and this page know.
pub(super) fn health_check(evidence: &Evidence, container: &Container) -> Option<Remedy> {
    other_health_check(evidence, container).filter(|_| container.health.is_none())
}

/// The same in the place of one that does not work.
pub(super) fn other_health_check(evidence: &Evidence, container: &Container) -> Option<Remedy> {
    if !evidence.speaks_http {
        return None;
    }
    let path = evidence.upstream.ready_path.as_deref().unwrap_or("/");
    let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let port = evidence.upstream.port;
    let check = format!(
        "    healthcheck:\n      test: [\"CMD-SHELL\", \"wget -q -O /dev/null http://127.0.0.1:{port}{path} || exit 1\"]\n      \
         interval: 10s\n      start_period: 2m"
    );
    let effect = |it: &str| {
        phrase!(
            "For an override file: the health check of {0}. Where its image has no wget, curl -fsS does it. Takes \
             effect with the next `up -d`.",
            it
        )
    };
    snippet(container, &check, effect).filter(|_| plain)
}

/// Has compose wait for what a service needs before it starts it. Not where it waits for the end of a job, as which it has
/// been declared: that would be taken back.
pub(super) fn waits_for(container: &Container, dependency: &Container) -> Option<Remedy> {
    let needed = &compose_of(dependency)?.service;
    if compose_of(container)?.depends_on.iter().any(|it| it.service == *needed && it.ends) {
        return None;
    }
    let condition = if dependency.health.is_some() { "service_healthy" } else { "service_started" };
    let body = format!("    depends_on:\n      \"{needed}\":\n        condition: {condition}\n        restart: true");
    let effect = |it: &str| {
        phrase!(
            "For an override file: starts {0} only once what it needs is there. Takes effect with the next `up -d`.",
            it
        )
    };
    snippet(container, &body, effect).filter(|_| is_plain(needed))
}

/// Ends a container that `docker compose run` left behind.
pub(super) fn stop(container: &Container) -> Option<Remedy> {
    let effect = |it: &str| phrase!("Stops {0}: what it is doing is cut off, and it is kept.", it);
    plain_command(container, "docker stop", effect)
}

/// Shows which container holds a port of the host.
pub(super) fn who_publishes(port: u16) -> Remedy {
    Remedy {
        command: format!("docker ps --filter publish={port}"),
        effect: phrase!(
            "Shows which container holds port {0}; if none does, another program of the host has it. Stop that one, \
             or publish another port.",
            port
        ),
        permanent: false,
    }
}

/// Makes a network that compose expects to be there.
pub(super) fn create_network(network: &str) -> Option<Remedy> {
    Some(Remedy {
        command: format!("docker network create {}", name(network)?),
        effect: phrase!("Makes network {0}, which no compose file of the project makes.", network),
        permanent: false,
    })
}

/// Shows for which machines the container's image was made.
pub(super) fn architecture(container: &Container) -> Option<Remedy> {
    let image = super::command::quote(&container.image).filter(|image| !image.starts_with('-'))?;
    Some(Remedy {
        command: format!("docker image inspect --format '{{{{.Os}}}}/{{{{.Architecture}}}}' {image} && uname -m"),
        effect: phrase!("Shows for which machines the image of {0} was made, and which one this is.", container.name),
        permanent: false,
    })
}

/// Takes a container off a network, where two answer to one name.
pub(super) fn disconnect(network: &str, container: &Container) -> Option<Remedy> {
    Some(Remedy {
        command: format!("docker network disconnect {} {}", name(network)?, name(&container.name)?),
        effect: phrase!("Takes {0} off network {1}; it keeps running and keeps its data.", container.name, network),
        permanent: false,
    })
}

/// Puts a container onto a network under the name that is asked for.
pub(super) fn connect(alias: &str, network: &str, container: &Container) -> Option<Remedy> {
    let (alias_word, network_word) = (name(alias)?, name(network)?);
    Some(Remedy {
        command: format!("docker network connect --alias {alias_word} {network_word} {}", name(&container.name)?),
        effect: phrase!("Joins {0} to network {1} as {2}, until it is created anew.", container.name, network, alias),
        permanent: false,
    })
}

/// Puts a service onto a network of its own project whenever it is created, under the name that is asked for.
pub(super) fn joins(alias: &str, network: &str, container: &Container) -> Option<Remedy> {
    let project = &compose_of(container)?.project;
    // As compose names the networks that its files define.
    let key_of = |network: &str| network.strip_prefix(&**project)?.strip_prefix('_').map(str::to_owned);
    let key = key_of(network)?;
    // A service that names networks is not on the default one (compose-spec, `networks`). Where the files give that one another
    // name, nobody here can tell.
    let is_on_default = container.networks.iter().any(|it| key_of(&it.network).is_some_and(|it| it == "default"));
    let default = if is_on_default && key != "default" { "      \"default\": {}\n" } else { "" };
    let body = format!("    networks:\n{default}      \"{key}\":\n        aliases:\n          - \"{alias}\"");
    let effect = |it: &str| {
        phrase!(
            "For an override file: joins {0} to this network whenever it is created. Takes effect with the next `up -d`.",
            it
        )
    };
    snippet(container, &body, effect).filter(|_| is_plain(&key) && is_plain(alias))
}

/// The engine restarts it from now on, after a crash and after a reboot.
pub(super) fn always_restart(container: &Container) -> Option<Remedy> {
    let of_service = |it: &str| {
        phrase!(
            "For an override file: the engine starts {0} again after a crash and after a reboot. Takes effect with the \
             next `up -d`.",
            it
        )
    };
    snippet(container, "    restart: always", of_service).or_else(|| {
        let effect = |it: &str| phrase!("The engine starts {0} again after a crash and after a reboot.", it);
        let mut remedy = plain_command(container, "docker update --restart unless-stopped", effect)?;
        remedy.permanent = true;
        Some(remedy)
    })
}

/// Twice the memory that was not enough.
pub(super) fn more_memory(container: &Container) -> Option<Remedy> {
    const MEBIBYTE: u64 = 1024 * 1024;
    let doubled = container.memory_limit?.checked_mul(2)?.div_ceil(MEBIBYTE);
    let effect = |it: &str| {
        phrase!(
            "For an override file: doubles the memory limit of {0}. If the limit is written as \
             deploy.resources.limits.memory, raise it there. Takes effect with the next `up -d`.",
            it
        )
    };
    snippet(container, &format!("    mem_limit: {doubled}m"), effect)
}

/// A compose snippet for a service of an override file; `body` is indented by four.
pub(super) fn service_snippet(service: &str, body: &str, effect: Phrase) -> Option<Remedy> {
    let command = format!("services:\n{}", service_body(service, body)?);
    Some(Remedy { command, effect, permanent: true })
}

/// Whether a name is safe in YAML between quotes: a service, network or host of an honest name is.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// What stands below `services:` for one of them.
fn service_body(service: &str, body: &str) -> Option<String> {
    // Compose allows no other characters in a service's name. Quotes keep `no`, `false` and `1` strings in YAML, whose
    // words with a meaning of their own have at most five letters.
    let plain = service.starts_with(|c: char| c.is_ascii_alphabetic()) && service.len() > 5;
    let key = if plain { service.to_owned() } else { format!("\"{service}\"") };
    is_plain(service).then(|| format!("  {key}:\n{body}"))
}

fn snippet(container: &Container, body: &str, effect: fn(&str) -> Phrase) -> Option<Remedy> {
    let service = &compose_of(container)?.service;
    service_snippet(service, body, effect(service))
}

/// The labels that say how the deployment was started last: a label is written when its container is created, so the
/// newest of the target's and our own knows best. Ours also win when the target's are merely a part of them: the
/// target was then recreated with fewer files, and `down` and `up` with those would remove ourselves as an orphan.
fn deployment<'a>(evidence: &'a Evidence, target: &'a Compose) -> &'a Compose {
    let created = |container: &Container| container.created.as_ref().map(|moment| moment.at);
    let Some(ourselves) = evidence.ourselves.as_deref() else { return target };
    let Some(ours) = compose_of(ourselves).filter(|ours| ours.project == target.project) else { return target };
    let newer = created(ourselves) > evidence.target.last_known().and_then(created);
    let wider = ours.working_dir == target.working_dir
        && target.config_files.iter().all(|file| ours.config_files.contains(file));
    if newer || wider { ours } else { target }
}

fn service_command(
    evidence: &Evidence,
    container: &Container,
    subcommand: &str,
    effect: fn(&str) -> Phrase,
) -> Option<Remedy> {
    let compose = compose_of(container)?;
    let service = name(&compose.service)?;
    composed(deployment(evidence, compose), &[&format!("{subcommand} {service}")], effect(&compose.service))
}

/// Commands of compose. It keeps no variables of the shell that made the containers: CVAT is told its host name by one.
fn composed(compose: &Compose, subcommands: &[&str], effect: Phrase) -> Option<Remedy> {
    let command = Invocation::of(compose)?.lines(subcommands);
    let makes = subcommands.iter().any(|it| it.starts_with("up "));
    let effect = if makes {
        phrase!("{0} Variables that were exported for it, as CVAT_HOST, must be exported again.", effect)
    } else {
        effect
    };
    Some(Remedy { command, effect, permanent: false })
}

fn plain_command(container: &Container, command: &str, effect: fn(&str) -> Phrase) -> Option<Remedy> {
    Some(Remedy {
        command: format!("{command} {}", name(&container.name)?),
        effect: effect(&container.name),
        permanent: false,
    })
}

/// A one-off container (`docker compose run`) belongs to no `up`: for it the plain commands are right.
fn compose_of(container: &Container) -> Option<&Compose> {
    container.compose.as_ref().filter(|compose| !compose.one_off)
}
