//! What `deploy/` promises: the image, the override, and how anteroom behaves as a container.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::scenes;
use crate::layout::Layout;
use crate::shipped::ROOT;
use crate::stack::Stack;

scenes![
    the_image_has_at_most_8_mb only FileProvider,
    the_override_fits_cvat_2_15 only FileProvider,
    a_pull_does_not_ask_a_registry_for_what_was_made_here,
    what_the_readme_asks_tells_the_layout_though_anteroom_is_there,
    an_idle_anteroom_needs_at_most_12_mib,
    anteroom_ends_with_0_when_it_is_stopped,
];

fn the_image_has_at_most_8_mb(stack: &Stack) {
    let image = stack.container("anteroom").inspect("{{.Config.Image}}");
    let size: u64 = stack.docker(&["image", "inspect", "--format", "{{.Size}}", &image]).trim().parse().expect("bytes");
    assert!(size <= 8_000_000, "{size} bytes");
}

fn the_override_fits_cvat_2_15(stack: &Stack) {
    let before = stack.configuration("tests/e2e/stage/cvat-2.15.yml", None);
    let after = stack.configuration("tests/e2e/stage/cvat-2.15.yml", Some(&stack.layout.anteroom()));
    for (name, service) in before["services"].as_object().expect("services") {
        let mut expected = service.clone();
        match name.as_str() {
            "traefik" => {
                expected["environment"]["DJANGO_LOG_VIEWER_HOST"] = "anteroom".into();
                expected["environment"]["DJANGO_LOG_VIEWER_PORT"] = "8080".into();
            }
            "cvat_grafana" => expected["restart"] = "always".into(),
            _ => {}
        }
        assert_eq!(after["services"][name], expected, "{name}");
    }
    assert_eq!(after["networks"], before["networks"]);
    let anteroom = &after["services"]["anteroom"];
    assert!(matches!(&anteroom["networks"], Value::Object(networks) if networks.contains_key("cvat")), "{anteroom:#}");
    assert_eq!(
        after["services"].as_object().map(serde_json::Map::len),
        before["services"].as_object().map(|it| it.len() + 1)
    );
}

fn a_pull_does_not_ask_a_registry_for_what_was_made_here(stack: &Stack) {
    // Of the others none is in a registry here, as those of CVAT are.
    let pulled = stack.shell(&stack.remedy(&["pull anteroom"]));
    pulled.unwrap_or_else(|error| panic!("{error:#}"));
}

fn what_the_readme_asks_tells_the_layout_though_anteroom_is_there(stack: &Stack) {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("there is a README");
    let question = readme.lines().map(str::trim).find(|line| line.starts_with("docker inspect cvat_grafana "));
    let question = question.expect("step 2 asks something").replace("cvat_grafana", stack.grafana().name());
    let printed = stack.shell(&question).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(printed.trim().is_empty(), stack.layout == Layout::FileProvider, "{printed:?}");
    assert!(printed.trim().is_empty() || printed.contains("PathPrefix(`/analytics`)"), "{printed:?}");
}

fn an_idle_anteroom_needs_at_most_12_mib(stack: &Stack) {
    let process = stack.container("anteroom").inspect("{{.State.Pid}}");
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the engine is on this machine");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has a size");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kib <= 12 * 1024, "{kib} KiB");
}

fn anteroom_ends_with_0_when_it_is_stopped(stack: &Stack) {
    stack.container("anteroom").stop();
    assert_eq!(stack.container("anteroom").inspect("{{.State.ExitCode}}"), "0");
}
