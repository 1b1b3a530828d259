//! When the engine is asked how things stand.

use super::*;

#[test]
fn nobody_is_asked_while_all_is_well() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.sees(Status::Running, 1);
        stage.becomes("ready").await;
        let asked = tokio::time::timeout(Duration::from_secs(600), stage.look.notified()).await;
        assert!(asked.is_err(), "the engine was asked though nothing happened");
    });
}

#[test]
fn while_something_is_wrong_the_engine_is_asked_again() {
    play(|| async {
        let mut stage = Stage::set(refused());
        stage.becomes("warming").await;
        let began = tokio::time::Instant::now();
        for _ in 0..3 {
            stage.look.notified().await;
        }
        assert!(began.elapsed() <= 3 * LOOK_AGAIN, "{:?}", began.elapsed());
    });
}

#[test]
fn evidence_that_is_wrong_does_not_keep_anyone_busy() {
    play(|| async {
        let mut stage = Stage::set(Answer::Passes);
        stage.sees(Status::Exited, 1);
        stage.becomes("ready").await;
        // An engine that answers each look with the same wrong news.
        let (looks, look) = (Rc::new(Cell::new(0)), Arc::clone(&stage.look));
        let (sightings, counted) = (stage.sightings.clone(), Rc::clone(&looks));
        tokio::task::spawn_local(async move {
            loop {
                look.notified().await;
                counted.set(counted.get() + 1);
                sightings.send_modify(|_| {});
            }
        });
        let before = stage.script.asked.get();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(looks.get() <= 2, "{} looks", looks.get());
        assert!(stage.script.asked.get() - before <= 31, "{} probes", stage.script.asked.get() - before);
    });
}

#[test]
fn what_is_back_before_the_engine_tells_of_it_is_asked_for() {
    // By then the engine may have told of an end, or of nothing but the run before.
    for status in [Status::Exited, Status::Running] {
        play(|| async {
            let mut stage = Stage::set(Answer::Passes);
            stage.sees(Status::Running, 1);
            stage.becomes("ready").await;
            stage.answer(refused());
            stage.sees(status, 1);
            stage.becomes("warming").await;
            // What was asked for at the fall.
            stage.look.notified().await;
            stage.answer(Answer::Passes);
            stage.becomes("ready").await;
            let asked = tokio::time::timeout(Duration::from_millis(1), stage.look.notified()).await;
            assert!(asked.is_ok(), "no event tells that it runs again where events are forbidden: {status:?}");
        });
    }
}
