//! Grafana goes and comes back while many use it, as with `docker restart` or an update: nobody notices, and nothing is
//! done twice.

use std::fs;
use std::thread;
use std::time::Duration;

use super::scenes;
use crate::load::{Load, Tally};
use crate::stack::Stack;

scenes![
    nothing_is_lost_or_done_twice_when_grafana_is_restarted only FileProvider,
    nothing_is_lost_or_done_twice_when_grafana_is_stopped_and_started_again,
    nothing_is_lost_or_done_twice_when_grafana_is_killed_and_started_again only FileProvider,
    nothing_is_lost_or_done_twice_when_grafana_is_recreated,
    nothing_is_lost_or_done_twice_when_grafana_is_taken_off_its_network_for_a_while only FileProvider,
    nothing_is_lost_or_done_twice_when_grafana_comes_back_to_its_network_with_another_address only FileProvider,
];

/// Within the grace, but long enough that everybody has to wait.
const AWAY: Duration = Duration::from_secs(3);

fn nothing_is_lost_or_done_twice_when_grafana_is_restarted(stack: &Stack) {
    under_load(stack, || stack.grafana().restart()).was_cut();
}

fn nothing_is_lost_or_done_twice_when_grafana_is_stopped_and_started_again(stack: &Stack) {
    let tally = under_load(stack, || {
        stack.grafana().stop();
        thread::sleep(AWAY);
        stack.grafana().start();
    });
    tally.was_cut();
}

fn nothing_is_lost_or_done_twice_when_grafana_is_killed_and_started_again(stack: &Stack) {
    let tally = under_load(stack, || {
        stack.grafana().kill();
        stack.grafana().start();
    });
    tally.was_cut();
}

fn nothing_is_lost_or_done_twice_when_grafana_is_recreated(stack: &Stack) {
    under_load(stack, || stack.compose("up -d --force-recreate --no-deps cvat_grafana")).was_cut();
}

fn nothing_is_lost_or_done_twice_when_grafana_is_taken_off_its_network_for_a_while(stack: &Stack) {
    let tally = under_load(stack, || {
        stack.grafana().disconnect();
        thread::sleep(AWAY);
        stack.grafana().connect();
    });
    // Sockets need not be cut: with the same address as before their connections go on.
    tally.was_held_for(AWAY);
}

fn nothing_is_lost_or_done_twice_when_grafana_comes_back_to_its_network_with_another_address(stack: &Stack) {
    let address = || stack.grafana().inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let before = address();
    let tally = under_load(stack, || {
        stack.grafana().disconnect();
        // Takes the address that has become free. What was on its way to Grafana gets no answer, and no end either.
        stack.another_anteroom(&["--env", "ANTEROOM_UPSTREAM=http://localhost:1"]);
        thread::sleep(AWAY);
        stack.grafana().connect();
    });
    stack.container("another").remove();
    assert_ne!(address(), before);
    tally.was_cut();
}

/// As CVAT's users and as long as it takes.
#[track_caller]
fn under_load(stack: &Stack, happening: impl FnOnce() + Send) -> Tally {
    // All that are asked within the grace have room: how long the engine takes to bring Grafana back is not tried here.
    stack.set(&[("GRACE", "10s"), ("MAX_HELD", "4096")]);
    let load = Load { ask: stack.ask("/analytics/api/ds/query"), prepare: &|| {} };
    let tally = load.during(happening);
    tally.print();
    tally.is_flawless(&fs::read_to_string(stack.ledger()).expect("Grafana has written it"));
    tally
}
