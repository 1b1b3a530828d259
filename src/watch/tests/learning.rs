//! What the watcher learns of warm-ups.

use super::*;

/// What was learned of the target so far: how often, and the median in milliseconds.
fn learned(stage: &Stage) -> Option<(usize, u128)> {
    let usual = stage.snapshots.borrow().usual;
    usual.map(|usual| (usual.count, usual.median.as_millis()))
}

#[test]
fn a_warm_up_is_learned_from_start_to_ready() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.sees(Status::Running, 1);
        stage.becomes("ready").await;
        assert_eq!(learned(&stage), None, "it was ready when it was first seen");
        for (times, started) in [(1, 2), (2, 3)] {
            stage.answer(refused());
            stage.sees(Status::Exited, started - 1);
            stage.becomes("warming").await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            stage.sees(Status::Running, started);
            let _held = stage.holds();
            tokio::time::sleep(Duration::from_secs(20)).await;
            stage.answer(Answer::Passes);
            stage.becomes("ready").await;
            let (count, took) = learned(&stage).expect("it was seen");
            assert_eq!(count, times);
            // The wall clock of the tests runs far ahead of the container's: it had not begun while it was seen ended.
            assert!((23_000..23_100).contains(&took), "{took}");
        }
    });
}

#[test]
fn a_run_that_is_over_before_it_was_ready_teaches_nothing() {
    play(|| async {
        let mut stage = Stage::set(refused());
        stage.sees(Status::Running, 1);
        stage.becomes("warming").await;
        tokio::time::sleep(Duration::from_secs(50)).await;
        stage.sees(Status::Exited, 1);
        stage.becomes("down").await;
        stage.sees(Status::Running, 2);
        stage.becomes("warming").await;
        tokio::time::sleep(Duration::from_secs(7)).await;
        stage.answer(Answer::Passes);
        stage.becomes("ready").await;
        let (count, took) = learned(&stage).expect("the second run was seen");
        assert!(count == 1 && (7_000..9_500).contains(&took), "{count}, {took}");
    });
}

#[test]
fn a_target_that_ran_for_long_before_we_came_teaches_nothing() {
    play(|| async {
        let mut stage = Stage::set(refused());
        stage.sees(Status::Running, 1);
        stage.becomes("warming").await;
        stage.answer(Answer::Passes);
        stage.becomes("ready").await;
        assert_eq!(learned(&stage), None, "what kept it from being ready was not its start");
    });
}

#[test]
fn a_run_that_served_before_it_fell_teaches_nothing() {
    // Another run, of which no fall was seen: the engine tells of it at once, or when it is asked, after the next one.
    for at_once in [true, false] {
        play(|| async {
            let mut stage = Stage::set(Answer::Passes);
            stage.sees(Status::Running, 1);
            stage.becomes("ready").await;
            if at_once {
                stage.sees(Status::Running, 2);
            }
            tokio::time::sleep(Duration::from_secs(30 * 60)).await;
            stage.answer(refused());
            stage.becomes("suspect").await;
            stage.sees(Status::Running, 2);
            stage.becomes("warming").await;
            assert_eq!(stage.snapshots.borrow().began, None, "it is no start that it is away from");
            stage.answer(Answer::Passes);
            stage.becomes("ready").await;
            assert_eq!(learned(&stage), None, "{at_once}");
        });
    }
}

#[test]
fn another_container_that_has_run_for_long_teaches_nothing() {
    play(|| async {
        let mut stage = Stage::set(refused());
        stage.sees(Status::Running, 1);
        stage.becomes("warming").await;
        stage.sees(Status::Exited, 1);
        stage.becomes("down").await;
        // As after `docker rename`.
        let other = Container { id: "c0c0a".into(), ..container(Status::Running, 2) };
        stage.answer(Answer::Passes);
        stage.sightings.send_modify(|sighting| sighting.target = Target::Found(Arc::new(other)));
        stage.becomes("ready").await;
        assert_eq!(learned(&stage), None);
    });
}
