//! CVAT's login comes before everything. Whoever reaches Grafana is its administrator, and the page names containers,
//! so neither may be seen by somebody whom CVAT's server turns away.

use super::scenes;
use crate::ask::{Ask, poll};
use crate::stack::{SECRET, Stack};

scenes![
    nobody_whom_cvat_turns_away_sees_anything_of_a_ready_grafana,
    nobody_whom_cvat_turns_away_sees_anything_of_a_grafana_that_is_down,
    nobody_whom_cvat_turns_away_sees_anything_of_a_grafana_that_is_gone,
];

fn nobody_whom_cvat_turns_away_sees_anything_of_a_ready_grafana(stack: &Stack) {
    turned_away(stack);
    // The log shows what has reached Grafana, and that it would show it.
    stack.ask("/analytics/of-a-user").send().expect(200);
    // The engine has it a moment later.
    poll(|| stack.grafana().log().contains("/of-a-user").then_some(())).expect("who may see Grafana reaches it");
    let log = stack.grafana().log();
    assert!(!log.contains("/of-nobody"), "{log}");
}

fn nobody_whom_cvat_turns_away_sees_anything_of_a_grafana_that_is_down(stack: &Stack) {
    stack.grafana().exit(1);
    stack.ask("/analytics/").send().expect(503).finding("target-exited");
    turned_away(stack);
}

fn nobody_whom_cvat_turns_away_sees_anything_of_a_grafana_that_is_gone(stack: &Stack) {
    stack.grafana().remove();
    stack.ask("/analytics/").send().expect(503).finding("target-absent");
    turned_away(stack);
}

fn turned_away(stack: &Stack) {
    let ask = || stack.ask("/analytics/of-nobody");
    let shapes: [fn(Ask) -> Ask; 5] =
        [|ask| ask, Ask::navigating, Ask::by_curl, Ask::for_status, |ask| ask.post("a dashboard")];
    for shape in shapes {
        shape(ask()).anonymous().send().expect(401).from("server").lacks(INSIDE).has("log in first");
        shape(ask()).forbidden().send().expect(403).from("server").lacks(INSIDE).has("not allowed");
    }
    let (answer, echoed) = ask().anonymous().echo(b"let me in").expect("an answer");
    answer.expect(401).from("server").lacks(INSIDE);
    assert_eq!(echoed, b"");
}

/// Words of Grafana's answers and of anteroom's.
const INSIDE: &[&str] =
    &["grafana", "anteroom", "target", "docker", "listening_since", "warming", "proxy-status", SECRET];
