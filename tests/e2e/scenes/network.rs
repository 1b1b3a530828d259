//! Grafana runs, but not where anteroom could reach it: the class of the report that this project exists for.

use super::{explains, mends, names, scenes};
use crate::ask::Ask;
use crate::stack::Stack;

scenes![
    a_name_that_leads_outside_our_networks_is_not_connected_to only FileProvider,
    a_grafana_on_another_network_is_named_and_the_first_remedy_mends_it,
];

fn a_name_that_leads_outside_our_networks_is_not_connected_to(stack: &Stack) {
    // What the host's resolver may make of an alias that is missing; 192.0.2.0/24 is nobody's (RFC 5737).
    let options = ["--add-host", "grafana-of-others:192.0.2.7", "--env", "ANTEROOM_PATIENCE_REQUEST=100ms"];
    let upstream = ["--env", "ANTEROOM_UPSTREAM=http://grafana-of-others:3000"];
    let port = stack.another_anteroom(&[options, [upstream[0], upstream[1], "--env", "ANTEROOM_LOG=debug"]].concat());
    let answer = Ask::new(port, "/").until("it answers", |answer| answer.status == 503);
    answer.by_anteroom().finding("name-resolved-outside").evidence("address", "192.0.2.7");
    // The near miss: a name of our own network.
    stack.container("another").remove();
    let port = stack.another_anteroom(&["--env", "ANTEROOM_UPSTREAM=http://grafana:3000"]);
    Ask::new(port, "/").until("Grafana answers", |answer| answer.is_from("grafana"));
    stack.container("another").remove();
}

fn a_grafana_on_another_network_is_named_and_the_first_remedy_mends_it(stack: &Stack) {
    stack.grafana().move_to(&stack.other_network());
    let answer = names(stack, "network-not-shared");
    // Whichever is the smallest that will do comes first; what cured the report is offered as well.
    answer.expect(503).finding("network-not-shared").offers(&stack.classic_remedy());
    explains(stack, "network-not-shared", &answer.member("/findings/0/remedies/0/command").expect("a remedy"));
    mends(stack);
}
