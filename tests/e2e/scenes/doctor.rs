//! `anteroom doctor` on the host: the same faults, told without anteroom in the way, and those that only a host can see.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::scenes;
use crate::ask::poll;
use crate::stack::Stack;

scenes![
    a_healthy_deployment_has_nothing_to_mend,
    the_report_is_plain_where_no_terminal_is,
    an_exited_grafana_leads_and_the_printed_command_mends_it,
    what_a_grafana_needs_leads_before_what_grafana_says,
    a_grafana_on_another_network_is_told,
    a_lost_alias_is_told,
    a_grafana_that_has_just_started_and_refuses_is_starting only FileProvider,
    a_hanging_grafana_is_told_in_time only FileProvider,
    an_absent_container_is_told_and_the_printed_command_makes_it,
    a_login_backend_that_is_down_is_told_by_the_empty_500,
    an_orphan_is_told_and_the_printed_command_removes_it,
    an_image_that_is_missing_is_told only FileProvider,
    without_anteroom_a_router_that_is_left_out_is_told only Labels,
    without_anteroom_a_router_with_an_error_is_told only Labels,
    a_project_that_is_not_there_is_no_finding only FileProvider,
];

/// What the doctor said.
struct Examined {
    code: i32,
    document: Value,
}

impl Examined {
    fn findings(&self) -> &[Value] {
        self.document["findings"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Codes of what is wrong, hints left out.
    fn wrong(&self) -> Vec<&str> {
        let wrong = self.findings().iter().filter(|it| it["severity"] != "info");
        wrong.filter_map(|it| it["code"].as_str()).collect()
    }

    fn has(&self, code: &str) -> bool {
        self.findings().iter().any(|it| it["code"] == code)
    }

    #[track_caller]
    fn first(&self) -> &Value {
        self.findings().first().unwrap_or_else(|| panic!("nothing was found: {:#}", self.document))
    }

    #[track_caller]
    fn leads(&self, code: &str, service: &str) {
        let first = self.first();
        assert_eq!(
            (first["code"].as_str(), first["service"].as_str()),
            (Some(code), Some(service)),
            "{:#}",
            self.document
        );
        assert_eq!(self.code, 1);
    }

    #[track_caller]
    fn command(&self) -> String {
        self.first()["remedies"][0]["command"].as_str().expect("a remedy").to_owned()
    }
}

fn run(stack: &Stack, words: &[&str]) -> (i32, String, String) {
    let mut doctor = Command::new(stack.program());
    doctor.arg("doctor").args(words).env_remove("DOCKER_HOST");
    let output = doctor.output().expect("the doctor runs");
    let text = |bytes| String::from_utf8(bytes).expect("it is UTF-8");
    (output.status.code().expect("it ends by itself"), text(output.stdout), text(output.stderr))
}

fn examine(stack: &Stack) -> Examined {
    let (code, printed, complaint) = run(stack, &["--project", &stack.project, "--json"]);
    let document = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}{complaint}"));
    Examined { code, document }
}

/// Looks until this is the first finding: Traefik and health checks take their time.
#[track_caller]
fn examine_until(stack: &Stack, what: &str, seen: impl Fn(&Examined) -> bool) -> Examined {
    let mut last = None;
    let found = poll(|| {
        let examined = examine(stack);
        if seen(&examined) {
            return Some(examined);
        }
        last = Some(examined);
        None
    });
    found.unwrap_or_else(|| panic!("{what}: {:#}", last.expect("it was looked at").document))
}

fn a_healthy_deployment_has_nothing_to_mend(stack: &Stack) {
    // A scene before may have renewed anteroom, whose health check takes a moment.
    let examined = examine_until(stack, "all is well", |examined| examined.wrong().is_empty());
    assert_eq!(examined.code, 0, "{:#}", examined.document);
    assert_eq!(examined.document["healthy"], true);
    let services = examined.document["services"].as_array().expect("services");
    assert!(services.iter().all(|it| it["standing"] == "well"), "{services:#?}");
    let grafana = services.iter().find(|it| it["service"] == "cvat_grafana").expect("Grafana");
    assert_eq!(grafana["answers_on"], 3000);
    // Who is not logged in is told so by CVAT, and that is how it should be.
    assert_eq!(examined.document["asked"]["status"], 401);
}

fn the_report_is_plain_where_no_terminal_is(stack: &Stack) {
    stack.grafana().exit(1);
    let (code, report, complaint) = run(stack, &["-p", &stack.project]);
    if std::env::var_os("ANTEROOM_E2E_TABLES").is_some() {
        println!("{report}");
    }
    assert_eq!((code, complaint.as_str()), (1, ""));
    assert!(report.contains("error target-exited: "), "{report}");
    assert!(report.contains("✗ cvat_grafana"), "{report}");
    let command = stack.remedy(&["up -d cvat_grafana"]);
    assert!(command.lines().all(|line| report.contains(line)), "{report}");
    assert!(report.chars().all(|c| c == '\n' || !c.is_control()), "{report:?}");
}

fn an_exited_grafana_leads_and_the_printed_command_mends_it(stack: &Stack) {
    stack.grafana().exit(1);
    let examined = examine(stack);
    examined.leads("target-exited", "cvat_grafana");
    assert_eq!(examined.command(), stack.remedy(&["up -d cvat_grafana"]));
    stack.run(&examined.command());
    examine_until(stack, "it is mended", |examined| examined.wrong().is_empty());
}

fn what_a_grafana_needs_leads_before_what_grafana_says(stack: &Stack) {
    stack.container("cvat_clickhouse").stop();
    let examined = examine(stack);
    examined.leads("target-stopped-by-hand", "cvat_clickhouse");
    assert!(examined.has("dependency-down"), "{:#}", examined.document);
    stack.run(&examined.command());
    examine_until(stack, "it is mended", |examined| examined.wrong().is_empty());
}

fn a_grafana_on_another_network_is_told(stack: &Stack) {
    stack.grafana().move_to(&stack.other_network());
    examine(stack).leads("network-not-shared", "cvat_grafana");
}

fn a_lost_alias_is_told(stack: &Stack) {
    stack.grafana().disconnect();
    stack.docker(&["network", "connect", &stack.network(), stack.grafana().name()]);
    examine(stack).leads("alias-missing", "cvat_grafana");
}

fn a_grafana_that_has_just_started_and_refuses_is_starting(stack: &Stack) {
    stack.set(&[("GRAFANA_PORT", "4000")]);
    let examined = examine(stack);
    assert!(examined.wrong().contains(&"target-warming"), "it has started just now: {:#}", examined.document);
}

fn a_hanging_grafana_is_told_in_time(stack: &Stack) {
    stack.set(&[("GRAFANA_MODE", "hang")]);
    let began = Instant::now();
    let examined = examine(stack);
    assert!(began.elapsed() < Duration::from_secs(10), "it waits for nobody for long: {:?}", began.elapsed());
    let service = examined.first();
    assert!(service["title"].as_str().is_some_and(|title| title.contains("no answer in time")), "{service:#}");
}

fn an_absent_container_is_told_and_the_printed_command_makes_it(stack: &Stack) {
    stack.grafana().remove();
    let examined = examine(stack);
    examined.leads("target-absent", "cvat_grafana");
    stack.run(&examined.command());
    examine_until(stack, "it is mended", |examined| examined.wrong().is_empty());
}

fn a_login_backend_that_is_down_is_told_by_the_empty_500(stack: &Stack) {
    stack.container("cvat_server").pause();
    let examined = examine(stack);
    examined.leads("target-paused", "cvat_server");
    stack.run(&examined.command());
    stack.container("cvat_server").stop();
    let examined = examine_until(stack, "users get a 500", |it| it.document["asked"]["status"] == 500);
    examined.leads("target-stopped-by-hand", "cvat_server");
    assert!(examined.has("auth-backend-down"), "{:#}", examined.document);
    stack.run(&examined.command());
    examine_until(stack, "it is mended", |examined| examined.wrong().is_empty());
}

fn an_orphan_is_told_and_the_printed_command_removes_it(stack: &Stack) {
    let image = stack.grafana().inspect("{{.Config.Image}}");
    let file = stack.scratch("old.yml");
    let old = format!(
        "services:\n  cvat_old:\n    image: {image}\n    environment: {{STUB_ROLE: idle}}\n    networks: [cvat]\n"
    );
    std::fs::write(&file, old).expect("the stack's folder is ours");
    stack.compose("-f old.yml up -d cvat_old");
    // While its file is there, it is only left out.
    stack.compose("up -d --force-recreate cvat_grafana");
    assert!(!examine(stack).has("project-orphans"));
    std::fs::remove_file(&file).expect("the stack's folder is ours");
    // Started with the files of old no more: who reads the newest labels reads those of Grafana.
    stack.compose("up -d --force-recreate cvat_grafana");
    // Grafana has been made anew: anteroom still tells of a start, if it is asked soon.
    let examined = examine_until(stack, "the orphan is told", |examined| examined.wrong() == ["project-orphans"]);
    assert_eq!(examined.command(), stack.remedy(&["up -d --remove-orphans"]));
    stack.run(&examined.command());
    examine_until(stack, "it is gone", |examined| examined.wrong().is_empty());
}

fn an_image_that_is_missing_is_told(stack: &Stack) {
    let file = stack.scratch("docker-compose.override.yml");
    let before = std::fs::read_to_string(&file).expect("the override");
    let more = "\n  cvat_more:\n    image: example/absent:7\n";
    std::fs::write(&file, before.replacen("services:", &format!("services:{more}"), 1)).expect("the folder is ours");
    let examined = examine(stack);
    std::fs::write(&file, before).expect("the folder is ours");
    examined.leads("image-missing", "cvat_more");
    assert_eq!(examined.command(), "docker pull example/absent:7");
    assert_eq!(examined.first()["remedies"][1]["command"], stack.remedy(&["up -d cvat_more"]));
}

/// The stack as CVAT ships it: without the override, and with a change of its own.
fn without_anteroom(stack: &Stack, change: impl Fn(&str) -> String) {
    let base = std::fs::read_to_string(stack.scratch("docker-compose.yml")).expect("the base file");
    // It shortens times of anteroom, which it does not define.
    let (before, rest) = base.split_once("\n  anteroom:\n").expect("it is in there");
    let (_, after) = rest.split_once("\nnetworks:").expect("it is in there");
    let plain = change(&format!("{before}\nnetworks:{after}"));
    std::fs::write(stack.scratch("plain.yml"), plain).expect("the stack's folder is ours");
    let files = "docker compose -f plain.yml -f components/serverless/docker-compose.serverless.yml";
    stack.run(&format!("cd '{}'\n{files} up -d --remove-orphans", stack.scratch("").display()));
}

fn without_anteroom_a_router_that_is_left_out_is_told(stack: &Stack) {
    without_anteroom(stack, str::to_owned);
    examine_until(stack, "CVAT alone is well", |it| it.wrong().is_empty() && it.document["asked"]["status"] == 401);
    stack.grafana().exit(1);
    let examined = examine_until(stack, "the page of tasks answers", |it| it.document["asked"]["status"] == 200);
    examined.leads("target-exited", "cvat_grafana");
    let router = examined.findings().iter().find(|it| it["code"] == "router-invalid").expect("it is told");
    assert!(
        router["title"].as_str().is_some_and(|title| title.contains("leaves out what the labels of")),
        "{router:#}"
    );
}

fn without_anteroom_a_router_with_an_error_is_told(stack: &Stack) {
    without_anteroom(stack, |base| base.replace("analytics-auth@docker,", "nosuch@docker,"));
    // Traefik complains up to two seconds after it has left the router out.
    let named =
        |it: &Examined| it.findings().iter().any(|it| it["title"].as_str().unwrap_or("").contains("nosuch@docker"));
    let examined = examine_until(stack, "the middleware is named", named);
    assert_eq!(examined.wrong(), ["router-invalid"], "{:#}", examined.document);
}

fn a_project_that_is_not_there_is_no_finding(stack: &Stack) {
    let (code, printed, complaint) = run(stack, &["--project", "nothing-of-the-kind"]);
    assert_eq!((code, printed.as_str()), (2, ""));
    assert!(
        complaint.contains("there is no project of this name") && complaint.contains(&stack.project),
        "{complaint}"
    );
}
