//! Grafana does not run, or might as well not: waiting is pointless, and the answer says why and what mends it.

use std::fs;
use std::time::Duration;

use super::{explains, mends, scenes, settles};
use crate::answer::Answer;
use crate::stack::Stack;

scenes![
    an_exit_with_0_is_named_with_its_code,
    an_exit_with_1_is_named_with_its_code,
    a_large_upload_gets_the_page_too only FileProvider,
    a_request_waits_while_grafana_may_come_back_and_no_longer,
    a_kill_is_named_with_its_code,
    a_stop_by_hand_is_named_and_the_remedy_mends_it,
    running_out_of_memory_is_named_and_the_remedy_mends_it,
    running_out_of_memory_again_and_again_is_named_before_the_loop,
    a_restart_loop_is_named,
    a_policy_that_has_given_up_is_named,
    a_grafana_that_was_restarted_often_by_hand_is_no_restart_loop only FileProvider,
    a_grafana_that_was_recreated_often_is_no_restart_loop only FileProvider,
    an_absent_container_is_named_and_the_remedy_mends_it,
    a_container_that_was_never_started_is_named_and_the_remedy_mends_it,
    a_container_that_waits_for_an_unhealthy_one_is_named_with_that_one,
    a_paused_container_is_named_and_the_remedy_mends_it,
    the_remedy_mends_an_exited_container_when_it_is_run_as_printed,
];

fn an_exit_with_0_is_named_with_its_code(stack: &Stack) {
    stack.grafana().exit(0);
    explains(stack, "target-exited", &start(stack));
    stack.ask("/analytics/").send().evidence("exit code", "0");
}

fn an_exit_with_1_is_named_with_its_code(stack: &Stack) {
    stack.grafana().exit(1);
    explains(stack, "target-exited", &start(stack));
    stack.ask("/analytics/").send().evidence("exit code", "1");
}

fn a_large_upload_gets_the_page_too(stack: &Stack) {
    stack.grafana().exit(1);
    explains(stack, "target-exited", &start(stack));
    // Were the rest of it not read, a reset would overtake the answer now and then, and Traefik say 502.
    let upload = "x".repeat(5 << 20);
    for _ in 0..8 {
        stack.ask("/analytics/").post(&upload).send().expect(503).finding("target-exited");
    }
}

fn a_request_waits_while_grafana_may_come_back_and_no_longer(stack: &Stack) {
    stack.grafana().exit(1);
    // `docker restart` passes through this state, so for the grace of one second nobody is told the worst.
    let answer = stack.ask("/analytics/").send();
    answer.expect(503).state("down").finding("target-exited").within(Duration::from_secs(3));
    // Then waiting is pointless, so nobody waits. 20 ms are promised, and measured where nothing else runs.
    stack.ask("/analytics/").send().expect(503).within(Duration::from_millis(500));
    stack.ask("/analytics/").navigating().send().expect(503).within(Duration::from_millis(500));
}

fn a_kill_is_named_with_its_code(stack: &Stack) {
    stack.grafana().kill();
    explains(stack, "target-exited", &start(stack));
    stack.ask("/analytics/").send().evidence("exit code", "137");
}

fn a_stop_by_hand_is_named_and_the_remedy_mends_it(stack: &Stack) {
    stack.grafana().stop();
    explains(stack, "target-stopped-by-hand", &start(stack));
    mends(stack);
}

fn running_out_of_memory_is_named_and_the_remedy_mends_it(stack: &Stack) {
    stack.grafana().run_out_of_memory();
    explains(stack, "target-oom-killed", &start(stack));
    mends(stack);
}

fn running_out_of_memory_again_and_again_is_named_before_the_loop(stack: &Stack) {
    stack.set(&[("GRAFANA_DELAY", "60000"), ("GRAFANA_EAT_AFTER", "100")]);
    let both =
        |status: &Answer| status.code().as_deref() == Some("target-oom-killed") && status.tells("target-crash-loop");
    let status = stack.ask("/analytics/").for_status().until("anteroom tells memory, then the loop", both);
    status.state("down").says("64 MiB").lacks(&["target-exited"]);
}

fn a_restart_loop_is_named(stack: &Stack) {
    stack.set(&[("GRAFANA_DELAY", "60000"), ("GRAFANA_EXIT_AFTER", "100"), ("GRAFANA_EXIT_CODE", "3")]);
    explains(stack, "target-crash-loop", &format!("docker logs --tail 50 {}", stack.grafana().name()));
}

fn a_policy_that_has_given_up_is_named(stack: &Stack) {
    stack.set(&[("GRAFANA_DELAY", "60000"), ("GRAFANA_EXIT_AFTER", "300"), ("GRAFANA_EXIT_CODE", "3")]);
    stack.grafana().give_up_after(3);
    explains(stack, "target-exited", &start(stack));
    let answer = stack.ask("/analytics/").send();
    answer.says("its restart policy `on-failure:3` has given up").evidence("exit code", "3");
}

/// More often than an engine has to restart a container before that counts as a loop.
const OFTEN: usize = 6;

fn a_grafana_that_was_restarted_often_by_hand_is_no_restart_loop(stack: &Stack) {
    stack.set(&[("GRAFANA_DELAY", "2000")]);
    for _ in 0..OFTEN {
        stack.grafana().restart();
    }
    is_warming(stack);
}

fn a_grafana_that_was_recreated_often_is_no_restart_loop(stack: &Stack) {
    stack.set(&[("GRAFANA_DELAY", "2000")]);
    for _ in 0..OFTEN {
        stack.compose("up -d --force-recreate --no-deps cvat_grafana");
    }
    is_warming(stack);
}

/// Grafana was started just now, and anteroom holds requests until it listens.
fn is_warming(stack: &Stack) {
    // The engine tells of the start a moment later.
    let is_known = |status: &Answer| status.code().as_deref() == Some("target-warming");
    let status = stack.ask("/analytics/").for_status().until("the start is known", is_known);
    status.expect(200).state("warming");
    let held = stack.ask("/analytics/").in_background();
    held.join().expect("no panic").expect("an answer").expect(200).from("grafana");
}

fn an_absent_container_is_named_and_the_remedy_mends_it(stack: &Stack) {
    stack.grafana().remove();
    explains(stack, "target-absent", &start(stack));
    mends(stack);
}

fn a_container_that_was_never_started_is_named_and_the_remedy_mends_it(stack: &Stack) {
    stack.grafana().remove();
    stack.compose("create cvat_grafana");
    assert_eq!(stack.grafana().inspect("{{.State.Status}}"), "created");
    explains(stack, "target-never-started", &start(stack));
    mends(stack);
}

/// As the operator's own fourth file may have it.
const WAITS: &str = "
services:
  cvat_clickhouse:
    healthcheck: {test: [CMD, /stub, health], interval: 1s, retries: 1}
  cvat_grafana:
    depends_on: {cvat_clickhouse: {condition: service_healthy}}
";

fn a_container_that_waits_for_an_unhealthy_one_is_named_with_that_one(stack: &Stack) {
    stack.grafana().remove();
    fs::write(stack.scratch("waits.yml"), WAITS).expect("the stack's folder is ours");
    let up = stack.remedy(&["-f waits.yml up -d cvat_grafana"]);
    assert!(stack.shell(&up).is_err(), "compose has started it");
    let clickhouse = stack.container("cvat_clickhouse");
    assert_eq!(clickhouse.inspect("{{.State.Health.Status}}"), "unhealthy");
    explains(stack, "target-never-started", &up);
    stack.ask("/analytics/").send().says(clickhouse.name());
}

fn a_paused_container_is_named_and_the_remedy_mends_it(stack: &Stack) {
    stack.grafana().pause();
    explains(stack, "target-paused", &stack.remedy(&["unpause cvat_grafana"]));
    mends(stack);
}

fn the_remedy_mends_an_exited_container_when_it_is_run_as_printed(stack: &Stack) {
    stack.grafana().exit(1);
    settles(stack, "target-exited");
    mends(stack);
}

/// The smallest command that mends a single stopped service.
fn start(stack: &Stack) -> String {
    stack.remedy(&["up -d cvat_grafana"])
}
