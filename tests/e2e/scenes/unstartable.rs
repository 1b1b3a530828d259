//! Grafana cannot be started: the engine says why, and nowhere else would anybody see it.

use super::{explains, mends, mends_by, names, scenes};
use crate::stack::Stack;

scenes![
    a_program_that_is_not_there_is_named,
    a_program_that_may_not_be_run_is_named,
    a_mount_that_cannot_be_made_is_named,
    a_published_port_that_is_taken_is_named_with_who_has_it_and_free_again_the_remedy_mends_it,
    a_network_that_was_made_anew_is_named_and_the_classic_remedy_mends_it,
    a_lost_alias_is_named_and_the_remedy_mends_it,
];

fn a_program_that_is_not_there_is_named(stack: &Stack) {
    stack.set_in_vain(&[("GRAFANA_PROGRAM", "/missing")]);
    explains(stack, "target-start-failed", &stack.remedy(&["up -d cvat_grafana"]));
    stack.ask("/analytics/").send().evidence("exit code", "127");
}

fn a_program_that_may_not_be_run_is_named(stack: &Stack) {
    stack.set_in_vain(&[("GRAFANA_PROGRAM", "/ledger")]);
    names(stack, "permission-denied").expect(503).finding("permission-denied").remedy(&mounts(stack));
}

fn a_mount_that_cannot_be_made_is_named(stack: &Stack) {
    stack.set_in_vain(&[("LEDGER_AT", "/stub")]);
    names(stack, "mount-failed").expect(503).finding("mount-failed").remedy(&mounts(stack));
    stack.run(&mounts(stack));
}

fn mounts(stack: &Stack) -> String {
    let name = stack.grafana().name().to_owned();
    format!(
        "docker inspect --format '{{{{json .HostConfig.Binds}}}} {{{{json .Mounts}}}} user={{{{.Config.User}}}}' {name}"
    )
}

fn a_published_port_that_is_taken_is_named_with_who_has_it_and_free_again_the_remedy_mends_it(stack: &Stack) {
    let port = stack.another_anteroom(&["--env", "ANTEROOM_UPSTREAM=http://grafana:3000"]).to_string();
    stack.set_in_vain(&[("GRAFANA_PUBLISHED", &port)]);
    let who = format!("docker ps --filter publish={port}");
    explains(stack, "port-conflict", &who);
    let another = stack.container("another");
    assert!(stack.shell(&who).expect("it runs").contains(another.name()), "that is who has it");
    another.remove();
    mends_by(stack, &stack.remedy(&["up -d cvat_grafana"]));
}

fn a_network_that_was_made_anew_is_named_and_the_classic_remedy_mends_it(stack: &Stack) {
    let other = stack.other_network();
    stack.grafana().move_to(&other);
    stack.grafana().stop();
    stack.docker(&["network", "rm", &other]);
    stack.other_network();
    explains(stack, "network-stale", &stack.classic_remedy());
    mends(stack);
}

fn a_lost_alias_is_named_and_the_remedy_mends_it(stack: &Stack) {
    stack.grafana().disconnect();
    stack.docker(&["network", "connect", &stack.network(), stack.grafana().name()]);
    let answer = names(stack, "alias-missing");
    answer.expect(503).finding("alias-missing").remedy(&stack.remedy(&["up -d --force-recreate cvat_grafana"]));
    mends(stack);
}
