//! `anteroom wait` on the host, as a deploy script runs it after `docker compose up -d`.

use std::process::Command;
use std::time::{Duration, Instant};

use super::scenes;
use crate::stack::Stack;

scenes![
    a_deployment_that_is_ready_is_not_waited_for,
    a_cold_start_is_waited_for,
    an_exited_grafana_ends_the_waiting_at_once_with_cause_and_log,
    what_a_grafana_needs_is_waited_for_first,
    a_grafana_that_is_slow_runs_out_of_time only FileProvider,
    a_service_that_nobody_defines_is_not_found only FileProvider,
    a_job_that_has_ended_well_is_done only FileProvider,
    the_address_is_waited_for_as_well,
];

/// What the program left behind.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
    took: Duration,
}

fn wait(stack: &Stack, words: &[&str]) -> Ended {
    let mut program = Command::new(stack.program());
    program.args(["wait", "--project", &stack.project]).args(words).env_remove("DOCKER_HOST");
    let began = Instant::now();
    let output = program.output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("it is UTF-8");
    let code = output.status.code().expect("it ends by itself");
    Ended { code, out: text(output.stdout), err: text(output.stderr), took: began.elapsed() }
}

fn a_deployment_that_is_ready_is_not_waited_for(stack: &Stack) {
    let ended = wait(stack, &[]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    assert!(ended.out.contains("cvat_grafana: well after"), "{ended:?}");
}

fn a_cold_start_is_waited_for(stack: &Stack) {
    // Twice the pace at which is looked, several times over.
    stack.set(&[("GRAFANA_DELAY", "4000")]);
    stack.grafana().restart();
    let ended = wait(stack, &["cvat_grafana"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("cvat_grafana: not ready after"), "{ended:?}");
    assert!(ended.took < Duration::from_secs(60), "{ended:?}");
    // What it said is true: Grafana answers.
    assert!(stack.grafana().log().contains("grafana listens on"), "{ended:?}");
}

fn an_exited_grafana_ends_the_waiting_at_once_with_cause_and_log(stack: &Stack) {
    stack.grafana().exit(1);
    let ended = wait(stack, &[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in ["cvat_grafana is down", "target-exited", "up -d cvat_grafana", "grafana listens on"] {
        assert!(ended.err.contains(part), "{part} in {}", ended.err);
    }
    assert!(ended.took < Duration::from_secs(10), "five minutes were allowed: {ended:?}");
}

fn what_a_grafana_needs_is_waited_for_first(stack: &Stack) {
    stack.container("cvat_clickhouse").stop();
    let ended = wait(stack, &["cvat_grafana"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("cvat_clickhouse is down"), "{ended:?}");
    assert!(ended.out.starts_with("cvat_clickhouse: down"), "{ended:?}");
}

fn a_grafana_that_is_slow_runs_out_of_time(stack: &Stack) {
    stack.set(&[("GRAFANA_DELAY", "600000")]);
    // Longer than what it needs may take to have been up for long enough.
    let ended = wait(stack, &["cvat_grafana", "--timeout", "6s"]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains("time is up: not ready: cvat_grafana"), "{ended:?}");
}

fn a_service_that_nobody_defines_is_not_found(stack: &Stack) {
    let ended = wait(stack, &["cvat_grafan"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.err.contains("there is no service cvat_grafan in"), "{ended:?}");
    assert!(ended.took < Duration::from_secs(10), "the files say so at once: {ended:?}");
}

fn a_job_that_has_ended_well_is_done(stack: &Stack) {
    let image = stack.grafana().inspect("{{.Config.Image}}");
    let job = format!(
        "services:\n  cvat_job:\n    image: {image}\n    environment: {{STUB_ROLE: idle, STUB_EXIT_AFTER: 1500}}\n  \
         cvat_after:\n    image: {image}\n    environment: {{STUB_ROLE: idle}}\n    \
         depends_on: {{cvat_job: {{condition: service_completed_successfully}}}}\n"
    );
    std::fs::write(stack.scratch("job.yml"), job).expect("the stack's folder is ours");
    stack.compose("-f job.yml up -d cvat_job cvat_after");
    let ended = wait(stack, &["cvat_after"]);
    stack.compose("up -d --remove-orphans");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("cvat_job: done") && ended.out.contains("cvat_after: well"), "{ended:?}");
}

fn the_address_is_waited_for_as_well(stack: &Stack) {
    let of = |path: &str| stack.url(path);
    let ended = wait(stack, &["--http", &of("/tasks")]);
    assert_eq!(ended.code, 0, "{ended:?}");
    // Whoever is not logged in is not told whether Grafana is there.
    let ended = wait(stack, &["--http", &of("/analytics/"), "--timeout", "1s"]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.out.contains("(401)"), "{ended:?}");
}
