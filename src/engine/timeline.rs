//! What happened to the target lately, also while it was another container.
//!
//! The engine forgets: it keeps 256 events of all containers, and none over its own restart. A container that compose
//! recreated has a new id, and for a moment another name. So the memory is ours, bounded, and follows the service.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::convert::Occurrence;
use crate::evidence::{Container, EVENTS_KEPT, Happening};

/// Until the target is known, the events of every container are kept, as many as an engine does.
const KEPT_UNSORTED: usize = 256;

/// The latest events of the target, or of all containers until it is known.
#[derive(Debug, Default)]
pub struct Timeline {
    whose: Option<Whose>,
    kept: VecDeque<Occurrence>,
}

/// What a container and its successors have in common.
#[derive(Debug)]
struct Whose {
    id: Box<str>,
    name: Box<str>,
    /// Project and service, if compose made it.
    service: Option<(Box<str>, Box<str>)>,
    /// Made by `docker compose run`: carries the labels of the service that it is not.
    one_off: bool,
}

impl Timeline {
    /// Remembers an event of a container, unless it is of another one or known already: an engine that is asked
    /// again tells the same history again.
    pub fn record(&mut self, occurrence: Occurrence) {
        if occurrence.network.is_some() || self.whose.as_ref().is_some_and(|whose| !whose.concerns(&occurrence)) {
            return;
        }
        // Events come in order but for the history after a reconnect: look from the newest.
        let at = occurrence.happening.at.at;
        let later = self.kept.iter().rev().take_while(|kept| kept.happening.at.at > at).count();
        let place = self.kept.len() - later;
        let same = |kept: &&Occurrence| kept.happening.at.at == at;
        if self.kept.range(..place).rev().take_while(same).any(|kept| *kept == occurrence) {
            return;
        }
        self.kept.insert(place, occurrence);
        self.forget();
    }

    /// From now on only what happened and happens to this container, its predecessors and successors counts.
    pub fn follow(&mut self, target: &Container) {
        if self.whose.as_ref().is_some_and(|whose| whose.id == target.id && whose.name == target.name) {
            return;
        }
        let whose = Whose {
            id: target.id.clone(),
            name: target.name.clone(),
            service: target.compose.as_ref().map(|compose| (compose.project.clone(), compose.service.clone())),
            one_off: target.compose.as_ref().is_some_and(|compose| compose.one_off),
        };
        self.kept.retain(|kept| whose.concerns(kept));
        self.whose = Some(whose);
        self.forget();
    }

    /// The target's events, oldest first; none before [`Self::follow`].
    pub fn happenings(&self) -> Arc<[Happening]> {
        let known = self.whose.is_some();
        self.kept.iter().filter(|_| known).map(|kept| kept.happening.clone()).collect()
    }

    fn forget(&mut self) {
        let most = if self.whose.is_some() { EVENTS_KEPT } else { KEPT_UNSORTED };
        let surplus = self.kept.len().saturating_sub(most);
        self.kept.drain(..surplus);
    }
}

impl Whose {
    fn concerns(&self, occurrence: &Occurrence) -> bool {
        let same_service = || match &self.service {
            Some((project, service)) => {
                occurrence.project == *project && occurrence.service == *service && occurrence.one_off == self.one_off
            }
            None => false,
        };
        occurrence.container == self.id || occurrence.name == self.name || same_service()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::evidence::Moment;

    fn event(second: u64, container: &str, name: &str, action: &str) -> Occurrence {
        let at = Moment { at: UNIX_EPOCH + Duration::from_secs(second), text: second.to_string().into() };
        Occurrence {
            container: container.into(),
            name: name.into(),
            project: "".into(),
            service: "".into(),
            one_off: false,
            network: None,
            happening: Happening { at, action: action.into(), exit_code: None },
        }
    }

    fn of_service(occurrence: Occurrence, one_off: bool) -> Occurrence {
        Occurrence { project: "cvat".into(), service: "cvat_grafana".into(), one_off, ..occurrence }
    }

    fn grafana() -> Container {
        let text = include_str!("../../tests/fixtures/inspect/running.json");
        let inspected = serde_json::from_str(text).expect("a recorded answer");
        Container { id: "aa".into(), ..crate::engine::convert::container(inspected).expect("a container") }
    }

    fn actions(timeline: &Timeline) -> Vec<String> {
        timeline.happenings().iter().map(|happening| format!("{} {}", happening.at.text, happening.action)).collect()
    }

    #[test]
    fn what_happened_before_the_target_was_known_is_sorted_out_afterwards() {
        let mut timeline = Timeline::default();
        timeline.record(event(1, "aa", "old-name", "start"));
        timeline.record(event(2, "bb", "stranger", "die"));
        timeline.record(event(3, "cc", "enginefix_grafana", "die"));
        assert!(timeline.happenings().is_empty(), "nobody knows yet whose these are");
        timeline.follow(&grafana());
        timeline.record(event(4, "bb", "stranger", "start"));
        timeline.record(event(5, "aa", "enginefix_grafana", "oom"));
        assert_eq!(actions(&timeline), ["1 start", "3 die", "5 oom"]);
    }

    #[test]
    fn a_recreated_container_continues_the_timeline_of_its_service() {
        let mut timeline = Timeline::default();
        timeline.follow(&grafana());
        timeline.record(of_service(event(1, "bb", "aa_enginefix_grafana", "create"), false));
        timeline.record(of_service(event(2, "aa", "enginefix_grafana", "destroy"), false));
        timeline.follow(&Container { id: "bb".into(), ..grafana() });
        assert_eq!(actions(&timeline), ["1 create", "2 destroy"]);
    }

    #[test]
    fn a_one_off_container_is_not_its_service() {
        let mut timeline = Timeline::default();
        timeline.follow(&grafana());
        timeline.record(of_service(event(1, "bb", "cvat-cvat_grafana-run-1", "die"), true));
        assert_eq!(actions(&timeline), [""; 0]);
    }

    #[test]
    fn history_that_is_told_again_is_not_doubled() {
        let mut timeline = Timeline::default();
        timeline.follow(&grafana());
        let history = [(1, "start"), (2, "die"), (2, "oom"), (3, "start")];
        for (second, action) in history.iter().chain(&history) {
            timeline.record(event(*second, "aa", "enginefix_grafana", action));
        }
        assert_eq!(actions(&timeline), ["1 start", "2 die", "2 oom", "3 start"]);
    }

    #[test]
    fn only_the_newest_events_are_kept() {
        let mut timeline = Timeline::default();
        for second in 0..1_000 {
            timeline.record(event(second, "aa", "enginefix_grafana", "die"));
        }
        assert_eq!(timeline.kept.len(), KEPT_UNSORTED);
        timeline.follow(&grafana());
        assert_eq!(timeline.happenings().len(), EVENTS_KEPT);
        assert_eq!(&*timeline.happenings()[EVENTS_KEPT - 1].at.text, "999");
        // An event older than all that is kept does not push out a newer one.
        timeline.record(event(5, "aa", "enginefix_grafana", "die"));
        assert_eq!(&*timeline.happenings()[0].at.text, "980");
    }
}
