//! Grafana runs and can be found, but does not work, or what stands beside it does not.

use std::time::Duration;

use super::{names, scenes};
use crate::answer::Answer;
use crate::ask::Ask;
use crate::stack::Stack;

scenes![
    a_port_that_nobody_listens_on_is_named_with_the_one_that_is_open,
    a_grafana_that_listens_on_127_0_0_1_is_named,
    an_answer_that_never_comes_is_named,
    a_connection_that_is_closed_without_an_answer_is_named,
    an_answer_that_is_no_http_is_named_as_it_begins,
    an_answer_in_tls_is_named,
    a_health_check_that_fails_is_named_and_its_output_shown_at_full_alone,
    a_clickhouse_that_is_down_is_told_though_grafana_answers,
    a_login_that_is_down_is_told_by_anteroom_where_traefik_says_nothing,
    an_engine_that_is_not_there_is_told_though_grafana_answers,
    an_engine_that_may_not_be_asked_is_told_though_grafana_answers,
    a_second_container_with_the_name_is_told_though_grafana_answers,
    a_one_off_container_is_told_though_grafana_answers,
    a_plugin_that_cannot_be_downloaded_is_named_by_the_log_and_secrets_are_not_shown,
];

/// How things stand, once this is the first thing to say.
#[track_caller]
fn told(stack: &Stack, code: &str) -> Answer {
    let told = |status: &Answer| status.code().as_deref() == Some(code);
    stack.ask("/analytics/").for_status().until(&format!("anteroom tells {code}"), told)
}

fn a_port_that_nobody_listens_on_is_named_with_the_one_that_is_open(stack: &Stack) {
    stack.set(&[("GRAFANA_PORT", "4000"), ("GRAFANA_EXPOSES", "4000")]);
    names(stack, "port-mismatch").expect(503).finding("port-mismatch").evidence("accepts connections on", "4000");
}

fn a_grafana_that_listens_on_127_0_0_1_is_named(stack: &Stack) {
    stack.set(&[("GRAFANA_BIND", "127.0.0.1"), ("GRAFANA_WITHOUT_HEALTH", "false")]);
    let answer = names(stack, "listens-on-loopback");
    let name = stack.grafana().name().to_owned();
    let command =
        format!("docker inspect --format '{{{{.State.Pid}}}}' {name} | xargs -I PID sudo nsenter -t PID -n ss -ltn");
    answer.expect(503).finding("listens-on-loopback").remedy(&command);
    // As printed, but for `sudo`, which a container need not have.
    if stack.shell("command -v nsenter && command -v ss").is_ok() {
        let seen = stack.shell(&command.replace("sudo ", "")).expect("the command runs");
        assert!(seen.contains("127.0.0.1:3000"), "{seen}");
    }
}

fn an_answer_that_never_comes_is_named(stack: &Stack) {
    stack.set(&[("GRAFANA_MODE", "hang"), ("RESPONSE_TIMEOUT", "1s")]);
    let answer = stack.ask("/analytics/").until("it is not held any more", |answer| answer.status == 504);
    answer.finding("no-answer").within(Duration::from_secs(10));
}

fn a_connection_that_is_closed_without_an_answer_is_named(stack: &Stack) {
    stack.set(&[("GRAFANA_MODE", "close")]);
    let answer =
        stack.ask("/analytics/").header("prefer", "wait=1").until("it is ready", |answer| answer.status == 502);
    answer.finding("closed-early");
}

fn an_answer_that_is_no_http_is_named_as_it_begins(stack: &Stack) {
    stack.set(&[("GRAFANA_MODE", "garbage")]);
    stack.ask("/analytics/").send().expect(502).finding("not-http").has("SSH-2.0-OpenSSH_9.2");
}

fn an_answer_in_tls_is_named(stack: &Stack) {
    stack.set(&[("GRAFANA_MODE", "tls")]);
    let answer = stack.ask("/analytics/").send();
    answer.expect(502).finding("tls-mismatch").has("ANTEROOM_UPSTREAM: https://grafana:3000");
}

fn a_health_check_that_fails_is_named_and_its_output_shown_at_full_alone(stack: &Stack) {
    let ailing = [("GRAFANA_MODE", "unready"), ("GRAFANA_WITHOUT_HEALTH", "false"), ("GRAFANA_START_PERIOD", "0s")];
    stack.set(&ailing);
    names(stack, "target-unhealthy").expect(503).finding("target-unhealthy").lacks(&["health_output"]);
    stack.set(&[&ailing[..], &[("DETAIL", "full")]].concat());
    // The stub's check prints nothing; its log does.
    names(stack, "target-unhealthy").expect(503).has("grafana listens on 3000");
}

fn a_clickhouse_that_is_down_is_told_though_grafana_answers(stack: &Stack) {
    stack.container("cvat_clickhouse").stop();
    let status = told(stack, "dependency-down");
    status.state("ready").remedy(&stack.remedy(&["up -d cvat_clickhouse"]));
    stack.ask("/analytics/").send().expect(200).from("grafana");
    let command = status.member("/findings/0/remedies/0/command").expect("a remedy");
    stack.run(&command);
    stack.ask("/analytics/").for_status().until("nothing is left to say", |status| status.code().is_none());
}

fn a_login_that_is_down_is_told_by_anteroom_where_traefik_says_nothing(stack: &Stack) {
    let port = stack.another_anteroom(&[&UPSTREAM[..], &SOCKET, &["--user", "0:0"]].concat());
    let status = || Ask::new(port, "/").for_status();
    let ready = |status: &Answer| status.value(STATE) == Some("ready");
    let whole = status().until("it is ready", ready);
    assert!(!whole.tells("auth-backend-down"), "{whole}");
    let server = stack.container("cvat_server");
    server.stop();
    let mute = stack.ask("/analytics/").until("Traefik finds nobody to ask", |answer| answer.status == 500);
    assert_eq!(mute.body, "", "{mute}");
    let told = status().until("anteroom tells it", |status| status.code().as_deref() == Some("auth-backend-down"));
    told.state("ready").says(server.name()).remedy(&stack.remedy(&["up -d cvat_server"]));
    stack.run(&told.member("/findings/0/remedies/0/command").expect("a remedy"));
    stack.ask("/analytics/").until("Grafana answers", |answer| answer.is_from("grafana"));
    status().until("nothing is left to say", |status| !status.tells("auth-backend-down"));
    stack.container("another").remove();
}

const UPSTREAM: [&str; 2] = ["--env", "ANTEROOM_UPSTREAM=http://grafana:3000"];
const SOCKET: [&str; 2] = ["--volume", "/var/run/docker.sock:/var/run/docker.sock:ro"];

fn an_engine_that_is_not_there_is_told_though_grafana_answers(stack: &Stack) {
    is_blind(stack, &UPSTREAM, "engine-unavailable");
}

fn an_engine_that_may_not_be_asked_is_told_though_grafana_answers(stack: &Stack) {
    is_blind(stack, &[&UPSTREAM[..], &SOCKET, &["--user", "65534:65534"]].concat(), "engine-forbidden");
}

/// An anteroom so started says in its document why it cannot see containers, and works.
#[track_caller]
fn is_blind(stack: &Stack, options: &[&str], code: &str) {
    let port = stack.another_anteroom(options);
    let told = |status: &Answer| status.code().as_deref() == Some(code);
    let status = Ask::new(port, "/").for_status().until(&format!("anteroom tells {code}"), told);
    status.state("ready").lacks(&["cvat_grafana"]);
    Ask::new(port, "/").send().expect(200).from("grafana");
    // The near miss: the one beside it, that may ask.
    let seeing = stack.ask("/analytics/").for_status().send();
    assert!(!seeing.tells(code), "{seeing}");
    // With Grafana down it still tells both, what was tried first.
    stack.grafana().exit(1);
    let down =
        Ask::new(port, "/").for_status().until("Grafana is missed", |status| status.value(STATE) != Some("ready"));
    assert!(down.tells(code) && !told(&down), "{down}");
    stack.container("another").remove();
}

/// Where an answer to the page's question has the readiness at a glance.
const STATE: &str = "x-anteroom-state";

fn a_second_container_with_the_name_is_told_though_grafana_answers(stack: &Stack) {
    let image = stack.grafana().inspect("{{.Config.Image}}");
    let name = format!("{}_another", stack.project);
    let network = stack.network();
    let alias = ["--network", &network, "--network-alias", "grafana"];
    let options = [&["run", "--detach", "--name", &name][..], &alias, &["--env", "STUB_ROLE=idle", &image]].concat();
    stack.soil();
    stack.docker(&options);
    told(stack, "alias-duplicated").state("ready").has(&name);
    stack.container("another").remove();
    stack.ask("/analytics/").for_status().until("nothing is left to say", |status| status.code().is_none());
}

fn a_one_off_container_is_told_though_grafana_answers(stack: &Stack) {
    let name = format!("{}_another", stack.project);
    stack.compose(&format!("run --detach --no-deps --name {name} --env STUB_ROLE=idle cvat_grafana"));
    let status = told(stack, "one-off-container");
    status.state("ready").remedy(&format!("docker stop {name}"));
    stack.run(&format!("docker stop {name}"));
    stack.ask("/analytics/").for_status().until("nothing is left to say", |status| status.code().is_none());
    stack.container("another").remove();
}

fn a_plugin_that_cannot_be_downloaded_is_named_by_the_log_and_secrets_are_not_shown(stack: &Stack) {
    let says = "\"Error: failed to download plugin: lookup grafana.com: no such host (GF_TOKEN=correct-horse)\"";
    stack.set(&[("GRAFANA_SAYS", says), ("DETAIL", "full")]);
    // It gives up: what somebody kills did not end for what it had said.
    stack.grafana().exit(1);
    let answer = names(stack, "plugin-download-failed");
    answer.expect(503).finding("plugin-download-failed").has("lookup grafana.com").lacks(&["correct-horse"]);
}
