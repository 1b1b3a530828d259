//! The way of a request as a row of stations: what stands before us, we ourselves, the target, and what that needs.
//!
//! Up to the target the first station that fails is where the way ends. What the target needs lies behind it; where
//! one of those is the root cause the way breaks there, and the target only waits for it.

use super::foreign;
use super::problem::Link;
use super::view::Situation;
use super::words::Words;
use crate::diagnosis::{Code, Diagnosis};
use crate::evidence::{Container, Dependency, Engine, Evidence, HealthStatus, Status, Target};
use crate::readiness;

/// More than fit beside each other; those that fail are shown first.
const DEPENDENCIES_SHOWN: usize = 4;

/// The one status that is no word of the engine's: so each language has its own for people.
pub(super) const ABSENT: &str = "absent";

/// How a station is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Passes,
    /// It is not there yet, and may come by itself or by what it waits for.
    Waits,
    Broken,
}

/// The stations, from the client's side.
pub(super) fn links(diagnosis: &Diagnosis, situation: Situation, words: &'static Words, detailed: bool) -> Vec<Link> {
    let evidence = &diagnosis.evidence;
    let passed = |name: &str, role, note: &str| Link {
        name: name.into(),
        role,
        ok: true,
        note: note.into(),
        look: Look::Passes,
    };
    let mut links = vec![
        passed(words.router, "router", words.router_does),
        passed("anteroom", "anteroom", words.anteroom_does),
        target(diagnosis, situation, words, detailed),
    ];
    let look = |ok| match ok {
        true => Look::Passes,
        false if situation == Situation::Starting => Look::Waits,
        false => Look::Broken,
    };
    let mut needed: Vec<_> = dependencies(evidence).collect();
    needed.sort_by_key(|(_, ok)| *ok);
    links.extend(needed.into_iter().take(DEPENDENCIES_SHOWN).map(|(container, ok)| {
        let (name, note) = if detailed {
            (foreign::line(&container.name), condition(container, words))
        } else {
            (words.summary_dependency.into(), String::new())
        };
        Link { name, role: "dependency", ok, note, look: look(ok) }
    }));
    links
}

/// Where the way breaks, if it does.
pub(super) fn break_of(links: &[Link]) -> Option<usize> {
    links.iter().position(|link| link.look == Look::Broken)
}

fn target(diagnosis: &Diagnosis, situation: Situation, words: &'static Words, detailed: bool) -> Link {
    let evidence = &diagnosis.evidence;
    let ok = situation == Situation::Back;
    let name = match evidence.target.last_known() {
        _ if !detailed => words.summary_target.into(),
        Some(container) => foreign::line(&container.name),
        None => foreign::line(&evidence.upstream.authority()),
    };
    let note = match &evidence.target {
        _ if ok => words.answers.into(),
        // It can be reached, whatever became of this one request.
        _ if matches!(situation, Situation::Broken | Situation::TimedOut | Situation::Busy) => {
            situation.scene(words).label.into()
        }
        _ if !detailed => words.not_ready.into(),
        Target::Unknown => words.not_ready.into(),
        // An upstream that never was a container is none that is missing.
        Target::Absent { last: None } if !is_root(diagnosis, Code::TargetAbsent) => words.not_ready.into(),
        Target::Absent { .. } => words.phrases.find(ABSENT).into(),
        Target::Found(container) if container.status == Status::Running => {
            format!("{}{}{}", container.status.as_str(), words.comma, words.not_ready)
        }
        Target::Found(container) => condition(container, words),
    };
    let look = match ok {
        true => Look::Passes,
        false if situation == Situation::Starting || is_root(diagnosis, Code::DependencyDown) => Look::Waits,
        false => Look::Broken,
    };
    Link { name, role: "target", ok, note, look }
}

fn is_root(diagnosis: &Diagnosis, code: Code) -> bool {
    diagnosis.findings.first().is_some_and(|root| root.code == code)
}

/// What the engine says of a container, in its own words.
fn condition(container: &Container, words: &Words) -> String {
    let status = container.status.as_str();
    match container.status {
        Status::Running => match &container.health {
            Some(its) => format!("{status}{}{}", words.comma, its.status.as_str()),
            None => status.into(),
        },
        Status::Exited | Status::Dead | Status::Restarting => {
            format!("{status}{}{} {}", words.comma, words.exit_code, container.exit_code)
        }
        Status::Created | Status::Paused | Status::Removing => status.into(),
        Status::Other => words.unknown.into(),
    }
}
/// The containers of what the target needs, and whether they are as they should be. A service without a container is
/// left out: it may be one that this deployment does without. Of several containers of one service, one that is well
/// is enough.
fn dependencies(evidence: &Evidence) -> impl Iterator<Item = (&Container, bool)> {
    // What an engine said before it went away may be outdated.
    let told = matches!(evidence.engine, Engine::Available { .. } | Engine::Simulated);
    let target = evidence.target.last_known().filter(|_| told);
    let from = target.and_then(|target| Some((target, target.compose.as_ref()?)));
    from.into_iter().flat_map(move |(target, from)| {
        readiness::dependencies(target, evidence).iter().filter_map(move |needed| {
            let serving = evidence.others.iter().filter(|it| it.serves(&from.project, &needed.service));
            let serving = serving.map(|it| (it, is_well(it, needed)));
            serving.max_by_key(|(_, well)| *well)
        })
    })
}

fn is_well(container: &Container, needed: &Dependency) -> bool {
    match container.status {
        Status::Running => container.health.as_ref().is_none_or(|health| health.status != HealthStatus::Unhealthy),
        Status::Exited => needed.ends && container.exit_code == 0,
        Status::Created | Status::Paused | Status::Restarting | Status::Removing | Status::Dead | Status::Other => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Detail;
    use crate::page::{Format, fixtures, render};
    use serde_json::{Value, json};

    fn chain(diagnosis: &Diagnosis, detail: Detail) -> Value {
        let body = render(diagnosis, &fixtures::someone(detail), Format::Problem).body;
        let document: Value = serde_json::from_str(&body).expect("JSON");
        document["chain"].clone()
    }

    fn link(name: &str, role: &str, ok: bool) -> Value {
        json!({ "name": name, "role": role, "ok": ok })
    }

    #[test]
    fn the_chain_goes_on_to_what_the_target_needs() {
        let told = chain(&fixtures::dependency_down(), Detail::State);
        let expected = json!([
            link("Traefik", "router", true),
            link("anteroom", "anteroom", true),
            link("cvat_grafana", "target", false),
            link("cvat_clickhouse", "dependency", false),
            link("cvat_migration", "dependency", true),
        ]);
        assert_eq!(told, expected);
    }

    #[test]
    fn a_summary_names_nothing_that_the_target_needs() {
        let told = chain(&fixtures::dependency_down(), Detail::Summary);
        assert_eq!(told[2], link("service", "target", false));
        assert_eq!(told[3], link("dependency", "dependency", false));
    }

    #[test]
    fn only_containers_of_the_same_project_that_are_no_one_offs_are_what_it_needs() {
        let strangers: [fn(&mut crate::evidence::Compose); 3] =
            [|it| it.project = "other".into(), |it| it.service = "redis".into(), |it| it.one_off = true];
        for change in strangers {
            let mut diagnosis = fixtures::dependency_down();
            let mut others = diagnosis.evidence.others.to_vec();
            others.iter_mut().for_each(|other| change(other.compose.as_mut().expect("compose made it")));
            diagnosis.evidence.others = others.into();
            assert_eq!(chain(&diagnosis, Detail::State).as_array().map(Vec::len), Some(3));
        }
        let mut diagnosis = fixtures::dependency_down();
        diagnosis.evidence.engine = Engine::Unavailable { reason: "".into() };
        assert_eq!(chain(&diagnosis, Detail::State).as_array().map(Vec::len), Some(3), "nobody vouches for them");
    }

    #[test]
    fn what_was_configured_takes_the_place_of_the_label() {
        let mut diagnosis = fixtures::dependency_down();
        let needed = Dependency { service: "cvat_migration".into(), ends: true };
        diagnosis.evidence.upstream.depends_on = Some([needed].into());
        let told = chain(&diagnosis, Detail::State);
        assert_eq!(
            told.as_array().map(|links| &links[3..]),
            Some([link("cvat_migration", "dependency", true)].as_slice())
        );
    }

    #[test]
    fn only_a_container_can_be_absent() {
        let text = |it: &Diagnosis| render(it, &fixtures::someone(Detail::State), Format::Text).body;
        let mut diagnosis = fixtures::absent();
        assert!(text(&diagnosis).contains("✗ cvat_grafana (absent)"));
        diagnosis.evidence.target = Target::Absent { last: None };
        assert!(text(&diagnosis).contains("✗ grafana:3000 (absent)"));
        diagnosis.findings[0].code = Code::PortRefused;
        assert!(text(&diagnosis).contains("✗ grafana:3000 (not ready)"));
    }

    #[test]
    fn one_of_several_that_is_well_is_enough_and_more_than_four_are_not_shown() {
        let mut diagnosis = fixtures::dependency_down();
        let up = Container { status: Status::Running, name: "second".into(), ..diagnosis.evidence.others[0].clone() };
        diagnosis.evidence.others = diagnosis.evidence.others.iter().cloned().chain([up.clone()]).collect();
        let told = chain(&diagnosis, Detail::State);
        assert_eq!(told[3], link("second", "dependency", true));

        let service = |number: usize| {
            let mut container = Container { name: format!("c{number}").into(), ..up.clone() };
            container.compose.as_mut().expect("compose made it").service = format!("s{number}").into();
            container.status = if number == 7 { Status::Paused } else { Status::Running };
            container
        };
        diagnosis.evidence.others = (0..8).map(service).collect();
        let needed = (0..8).map(|number| Dependency { service: format!("s{number}").into(), ends: false });
        diagnosis.evidence.upstream.depends_on = Some(needed.collect());
        let told = chain(&diagnosis, Detail::State);
        let names: Vec<_> = told.as_array().expect("a list").iter().map(|link| link["name"].clone()).collect();
        assert_eq!(names[3..], ["c7", "c0", "c1", "c2"], "what fails comes first");
    }

    #[test]
    fn what_is_needed_is_well_by_its_status() {
        let mut container = fixtures::dependency_down().evidence.others[0].clone();
        let (needed, once) =
            (Dependency { service: "a".into(), ends: false }, Dependency { service: "a".into(), ends: true });
        let health = |status| Some(crate::evidence::Health { status, failing_streak: 0, last_output: "".into() });
        let cases = [
            (Status::Running, 0, None, true, true),
            (Status::Running, 0, health(HealthStatus::Healthy), true, true),
            (Status::Running, 0, health(HealthStatus::Starting), true, true),
            (Status::Running, 0, health(HealthStatus::Unhealthy), false, false),
            (Status::Exited, 0, None, false, true),
            (Status::Exited, 1, None, false, false),
            (Status::Restarting, 0, None, false, false),
            (Status::Paused, 0, None, false, false),
            (Status::Created, 0, None, false, false),
        ];
        for (status, exit_code, health, well, well_once) in cases {
            container = Container { status, exit_code, health, ..container };
            assert_eq!((is_well(&container, &needed), is_well(&container, &once)), (well, well_once), "{container:?}");
        }
    }
}
