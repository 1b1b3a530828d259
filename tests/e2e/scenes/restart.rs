//! Grafana goes and comes back under load, as with `docker restart` or an update.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::scenes;
use crate::answer::Answer;
use crate::stack::Stack;

scenes![no_request_fails_while_grafana_is_stopped_and_started_again, no_request_fails_while_grafana_is_recreated,];

fn no_request_fails_while_grafana_is_stopped_and_started_again(stack: &Stack) {
    stack.set(&[("GRACE", "10s")]);
    under_load(stack, || {
        stack.grafana().stop();
        stack.grafana().start();
    });
}

fn no_request_fails_while_grafana_is_recreated(stack: &Stack) {
    stack.set(&[("GRACE", "10s")]);
    under_load(stack, || stack.compose("up -d --force-recreate --no-deps cvat_grafana"));
}

/// 50 requests a second, each on its own connection and sent when its time has come, whatever became of the others.
const INTERVAL: Duration = Duration::from_millis(20);

/// At 50 a second.
const BEFORE: usize = 25;
const AFTER: usize = 100;

fn under_load(stack: &Stack, happening: impl FnOnce() + Send) {
    let ask = |number: usize| stack.ask(&format!("/analytics/api/{number}")).in_background();
    let mut underway: Vec<JoinHandle<Result<Answer>>> = Vec::new();
    let start = Instant::now();
    thread::scope(|scope| {
        let mut send = |count: usize| {
            for _ in 0..count {
                let due = start + INTERVAL * u32::try_from(underway.len()).expect("a few hundred");
                thread::sleep(due.saturating_duration_since(Instant::now()));
                underway.push(ask(underway.len()));
            }
        };
        send(BEFORE);
        let happened = scope.spawn(happening);
        while !happened.is_finished() {
            send(1);
        }
        happened.join().expect("it happens without a panic");
        send(AFTER);
    });
    let count = underway.len();
    let answers = underway.into_iter().map(|answer| answer.join().expect("an attempt does not panic"));
    let failed: Vec<String> = answers
        .filter_map(|answer| match answer {
            Ok(answer) if answer.status == 200 && answer.is_from("grafana") => None,
            Ok(answer) => Some(answer.to_string()),
            Err(error) => Some(format!("{error:#}")),
        })
        .collect();
    assert!(failed.is_empty(), "{} of {count} requests failed; the first:\n{}", failed.len(), failed[0]);
}
