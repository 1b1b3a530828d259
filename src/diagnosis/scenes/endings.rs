//! Containers that ended, one way or another.

use super::*;

pub(super) fn by_itself() -> Vec<Scene> {
    use Code::*;
    let policy =
        |restart_policy, restart_count, code| Container { restart_policy, restart_count, ..ended(code, MINUTE) };
    vec![
        ("exited 0", with(ended(0, MINUTE)), vec![TargetExited]),
        ("exited 1, name gone", probed(ended(1, 3 * MINUTE), not_resolved()), vec![TargetExited, NameNotResolved]),
        ("exited, address still there", probed(ended(1, 0), refused()), vec![TargetExited]),
        ("exited, packets vanish", probed(ended(137, 0), Some(Failure::ConnectTimeout)), vec![TargetExited]),
        ("killed", with(ended(137, MINUTE)), vec![TargetExited]),
        ("killed under a request", failed(ended(137, 0), Failure::ClosedEarly), vec![TargetExited, ClosedEarly]),
        (
            "exited, and a stranger has its name",
            probed(ended(0, MINUTE), resolved_outside()),
            vec![TargetExited, NameResolvedOutside],
        ),
        ("out of memory", with(Container { oom_killed: true, ..ended(137, MINUTE) }), vec![TargetOomKilled]),
        (
            "out of memory, and the flag does not say so",
            Evidence { events: [happening(HOUR, "oom", None)].into(), ..with(ended(137, HOUR)) },
            vec![TargetOomKilled],
        ),
        (
            "killed, and its former run was out of memory",
            Evidence { events: [happening(2 * DAY, "oom", None)].into(), ..with(ended(137, HOUR)) },
            vec![TargetExited],
        ),
        (
            "out of memory, and always restarts",
            with(Container { oom_killed: true, restart_count: 1, ..looping() }),
            vec![TargetOomKilled],
        ),
        (
            "ran out of memory earlier",
            probed(Container { oom_killed: true, ..started(20) }, refused()),
            vec![TargetWarming],
        ),
        ("stopped by hand", with(policy(RestartPolicy::Always, 0, 0)), vec![TargetStoppedByHand]),
        (
            "stopped by hand, unless-stopped",
            with(policy(RestartPolicy::UnlessStopped, 2, 143)),
            vec![TargetStoppedByHand],
        ),
        ("on-failure ended well", with(policy(RestartPolicy::OnFailure { most: 3 }, 0, 0)), vec![TargetExited]),
        ("on-failure gave up", with(policy(RestartPolicy::OnFailure { most: 3 }, 3, 1)), vec![TargetExited]),
        (
            "on-failure with retries left",
            with(policy(RestartPolicy::OnFailure { most: 3 }, 1, 143)),
            vec![TargetStoppedByHand],
        ),
    ]
}

pub(super) fn from_outside() -> Vec<Scene> {
    use Code::*;
    let rebooted = |seconds: u64, evidence: Evidence| Evidence { booted_at: Some(before(seconds)), ..evidence };
    let lone = |container| Evidence { ourselves: None, others: Arc::new([]), ..with(container) };
    // Most of the neighbours have been up all the time; one crashed and came back.
    let mut one_crashed = with(ended(1, 30 * MINUTE));
    let crashed = shut_down(1, 30 * MINUTE).others[0].clone();
    one_crashed.others = [crashed, container("cvat_server"), container("cvat_clickhouse")].into();
    // Brought up together, and Grafana gave up while the slower ones were still coming.
    let up = |container: Container| Container { created: ago(65), started: ago(58), ..container };
    let mut first_up = with(Container { created: ago(65), started: ago(61), ..ended(1, MINUTE) });
    first_up.ourselves = Some(Arc::new(up(container("cvat_anteroom"))));
    first_up.others = [up(container("traefik"))].into();
    // Of those that could have come back with it, all did; the others were made later, or had been stopped by hand.
    let mut beside_newer = shut_down(0, 30 * MINUTE);
    let newer = |service| Container { created: ago(HOUR / 4), started: ago(HOUR / 4), ..container(service) };
    beside_newer.others = [newer("one"), newer("two"), newer("three")].into();
    let mut beside_stopped = shut_down(0, 30 * MINUTE);
    let stopped = |service| Container { status: Status::Exited, finished: ago(DAY), ..container(service) };
    beside_stopped.others = [stopped("one"), stopped("two"), stopped("three")].into();
    // It was made after the others had come back.
    let mut later = shut_down(0, HOUR);
    later.target = Target::Found(Arc::new(ended(0, MINUTE)));
    // Everything was up until the reboot and after it, but Grafana, which was stopped two weeks before.
    let back_from = |ended: u64| {
        let back = move |service| {
            let (created, started, finished) = (ago(16 * DAY), ago(HOUR - 30), ago(ended));
            Container { created, started, finished, ..container(service) }
        };
        let (ourselves, others) = (Some(Arc::new(back("cvat_anteroom"))), ["traefik", "cvat_server"].map(back).into());
        move |target| Evidence { ourselves, others, ..with(Container { created: ago(16 * DAY), ..target }) }
    };
    let stopped_before = back_from(HOUR + 40)(ended(0, 14 * DAY));
    // Of the others all but one were restarted again since, so that their last end tells nothing.
    let mut weekend = back_from(3 * DAY - 5)(ended(143, 3 * DAY));
    let again = |service| Container { started: ago(MINUTE), finished: ago(2 * MINUTE), ..container(service) };
    weekend.others = ["traefik", "cvat_server"].map(again).into();
    let witnessed = Evidence { events: [happening(MINUTE, "die", Some(255))].into(), ..with(ended(255, MINUTE)) };
    vec![
        ("power failure", rebooted(HOUR, with(ended(255, HOUR - 30))), vec![TargetNotRestarted]),
        (
            "power failure, boot unknown",
            Evidence { booted_at: None, ..lone(ended(255, HOUR)) },
            vec![TargetNotRestarted],
        ),
        ("engine lost all", shut_down(255, HOUR), vec![TargetNotRestarted]),
        ("exited 255 before our eyes", Evidence { booted_at: None, ..witnessed }, vec![TargetExited]),
        ("exited 255 by itself", with(ended(255, HOUR)), vec![TargetExited]),
        ("reboot", rebooted(HOUR, lone(ended(0, HOUR + 40))), vec![TargetNotRestarted]),
        ("reboot after a long shutdown", rebooted(HOUR, lone(ended(0, HOUR + 10 * MINUTE))), vec![TargetNotRestarted]),
        ("stopped before a reboot", rebooted(HOUR, lone(ended(0, HOUR + 10 * MINUTE + 1))), vec![TargetExited]),
        ("stopped two weeks before a reboot", rebooted(HOUR, lone(ended(137, 14 * DAY))), vec![TargetExited]),
        ("stopped two weeks before others rebooted", rebooted(HOUR, stopped_before), vec![TargetExited]),
        ("off over a weekend", rebooted(HOUR, weekend), vec![TargetNotRestarted]),
        (
            "power failure two weeks before a reboot",
            rebooted(HOUR, lone(ended(255, 14 * DAY))),
            vec![TargetNotRestarted],
        ),
        (
            "reboot, ended with an error as others",
            rebooted(29 * MINUTE, shut_down(1, 30 * MINUTE)),
            vec![TargetNotRestarted],
        ),
        ("crashed long before a reboot", rebooted(HOUR, lone(ended(1, DAY))), vec![TargetExited]),
        ("exited long after a reboot", rebooted(2 * DAY, with(ended(0, HOUR))), vec![TargetExited]),
        (
            "started after the boot and ended soon",
            rebooted(100, with(Container { started: ago(95), ..ended(0, 80) })),
            vec![TargetExited],
        ),
        ("engine restarted", shut_down(0, 30 * MINUTE), vec![TargetNotRestarted]),
        ("engine restarted, others came later", beside_newer, vec![TargetNotRestarted]),
        ("engine restarted, others had been stopped", beside_stopped, vec![TargetNotRestarted]),
        (
            "engine restarted, on-failure ended well",
            {
                let policy = RestartPolicy::OnFailure { most: 0 };
                let target = Container { restart_policy: policy, ..ended(0, 30 * MINUTE) };
                Evidence { target: Target::Found(Arc::new(target)), ..shut_down(0, 30 * MINUTE) }
            },
            vec![TargetNotRestarted],
        ),
        ("a neighbour crashed then too", one_crashed, vec![TargetExited]),
        ("ended while the others came up", first_up, vec![TargetExited]),
        ("ended long after the engine restarted", later, vec![TargetExited]),
        (
            "engine restarted, and it was stopped by hand",
            Evidence {
                target: Target::Found(Arc::new(Container {
                    restart_policy: RestartPolicy::UnlessStopped,
                    ..ended(0, 30 * MINUTE)
                })),
                ..shut_down(0, 30 * MINUTE)
            },
            vec![TargetStoppedByHand],
        ),
    ]
}

pub(super) fn loops() -> Vec<Scene> {
    use Code::*;
    let deaths = |count: u64, code| (1..=count).map(|n| happening(30 * n, "die", Some(code))).rev().collect::<Vec<_>>();
    let up = Container { status: Status::Running, exit_code: 0, started: ago(1), ..looping() };
    let mut killed = deaths(6, 137);
    killed.push(happening(31, "oom", None));
    let recreated = Container { created: ago(20), ..up.clone() };
    vec![
        ("loop, between two runs", with(looping()), vec![TargetCrashLoop]),
        ("loop, up for a moment", Evidence { events: deaths(6, 1).into(), ..with(up.clone()) }, vec![TargetCrashLoop]),
        (
            "up for a moment after four deaths",
            Evidence { events: deaths(4, 1).into(), ..with(up.clone()) },
            vec![TargetWarming],
        ),
        ("first restarts", with(Container { restart_count: 2, ..looping() }), vec![TargetWarming]),
        (
            "memory feeds the loop",
            with(Container { oom_killed: true, exit_code: 137, ..looping() }),
            vec![TargetOomKilled, TargetCrashLoop],
        ),
        (
            "memory feeds the loop, up for a moment",
            Evidence { events: killed.into(), ..with(up) },
            vec![TargetOomKilled, TargetCrashLoop],
        ),
        (
            "memory fed the loop of its predecessor",
            Evidence { events: [deaths(6, 1), vec![happening(31, "oom", None)]].concat().into(), ..with(recreated) },
            vec![TargetCrashLoop],
        ),
        ("loop, name gone", probed(looping(), not_resolved()), vec![TargetCrashLoop, NameNotResolved]),
    ]
}

pub(in crate::diagnosis) fn by_their_logs() -> Vec<Scene> {
    use Code::*;
    let offline = "Error: failed to download plugin archive: Get \"https://grafana.com/api/plugins/x\": dial tcp: lookup \
                   grafana.com on 127.0.0.11:53: no such host";
    let denied = "mkdir: can't create directory '/var/lib/grafana/plugins': Permission denied";
    let looping = || Container { status: Status::Restarting, exit_code: 1, restart_count: 2, ..grafana() };
    vec![
        (
            "a plugin could not be had",
            logged(&[offline], with(ended(1, MINUTE))),
            vec![PluginDownloadFailed, TargetExited],
        ),
        (
            "a plugin could not be had, and it is tried again",
            logged(&[offline], with(looping())),
            vec![PluginDownloadFailed],
        ),
        ("a plugin was had", logged(&["installed plugin x"], with(ended(1, MINUTE))), vec![TargetExited]),
        (
            "a plugin could not be had once, and all was well",
            logged(&[offline], with(ended(0, MINUTE))),
            vec![TargetExited],
        ),
        (
            "a directory may not be made",
            logged(&[denied], with(ended(1, MINUTE))),
            vec![PermissionDenied, TargetExited],
        ),
        ("something was denied, and it ended well", logged(&[denied], with(ended(0, MINUTE))), vec![TargetExited]),
    ]
}
