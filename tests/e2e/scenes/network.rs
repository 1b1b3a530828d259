//! Grafana runs, but not where anteroom could reach it: the class of the report that this project exists for.

use super::{explains, scenes};
use crate::stack::Stack;

scenes![a_grafana_on_another_network_is_named_and_the_classic_remedy_mends_it];

fn a_grafana_on_another_network_is_named_and_the_classic_remedy_mends_it(stack: &Stack) {
    stack.grafana().move_to(&stack.other_network());
    explains(stack, "network-not-shared", &stack.classic_remedy());
    let command = stack.ask("/analytics/").send().member("/findings/0/remedies/0/command").expect("a remedy");
    stack.run(&command);
    stack.ask("/analytics/").until("Grafana answers", |answer| answer.is_from("grafana"));
}
