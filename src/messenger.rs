//! Tells somebody that the upstream is down, and that it is back, by posting to a URL: for whoever has no monitoring,
//! or has it in the very service that is down.
//!
//! ```text
//! snapshots ──condition──▶ Alarm ──news──▶ Outbox ──letter──▶ Post ──▶ the receiver
//!                          (core)          at most two         one attempt at a time
//! ```
//!
//! It listens, and nobody waits for it: a receiver that hangs costs one socket and two messages.

mod outbox;
mod post;
mod signature;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use self::outbox::{Letter, Outbox};
use self::post::Post;
pub use self::signature::Key;
use crate::alarm::{Alarm, Condition, News};
use crate::config::{Detail, Notify, Template};
use crate::diagnosis::Diagnosis;
use crate::page::notice::{Notice, Occasion, condition};
use crate::readiness::State;
use crate::tls::Towards;
use crate::watch::{Snapshot, finished, until};

/// What a warming target is found to be changes with time alone, and nothing is published then. As often as it is
/// probed while nobody waits.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Who tells.
#[derive(Debug)]
pub struct Messenger {
    post: Post,
    detail: Detail,
    template: Template,
    settles: Duration,
    /// What was told last, if it was that the upstream is down.
    told: Option<Notice>,
    /// Differs between two runs, so that no receiver takes a message of this one for a repetition.
    run: u64,
    written: u64,
}

impl Messenger {
    /// Messages are signed with `key`, and sent over `tls` where the receiver speaks it.
    pub fn new(notify: &Notify, key: Option<Key>, tls: Option<Towards>, detail: Detail) -> Self {
        let post = Post::new(&notify.receiver, key, tls);
        let Notify { template, settles, .. } = *notify;
        Self { post, detail, template, settles, told: None, run: fastrand::u64(..), written: 0 }
    }

    /// Tells what is to be told until nothing is published any more. What could not be delivered by then is lost: a
    /// fresh start that finds the upstream down tells it again.
    pub async fn run(mut self, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let (mut alarm, mut outbox, mut attempt) = (Alarm::default(), Outbox::default(), None);
        let post = Arc::new(self.post.clone());
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            let now = Instant::now();
            let (next, news) = alarm.step(judge(&snapshot), self.settles, now.into_std());
            alarm = next;
            if let Some(news) = news {
                outbox.put(self.write(news, &snapshot));
            }
            if attempt.is_none()
                && let Some(letter) = outbox.due(now)
            {
                let post = Arc::clone(&post);
                attempt = Some(Box::pin(async move { (letter.number, post.deliver(&letter).await) }));
            }
            let look = matches!(snapshot.state, State::Warming { .. }).then(|| now + LOOK_AGAIN);
            let send = outbox.next().filter(|_| attempt.is_none());
            let wake = [look, send, alarm.due(self.settles, now.into_std()).map(Instant::from_std)]
                .into_iter()
                .flatten()
                .min();
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                (number, outcome) = finished(&mut attempt) => {
                    attempt = None;
                    outbox.record(number, outcome, Instant::now());
                }
                () = until(wake) => {}
            }
        }
    }

    fn write(&mut self, news: News, snapshot: &Snapshot) -> Letter {
        let diagnosis = unread(snapshot);
        self.written += 1;
        let (event, since, outage) = match news {
            News::Fell { since } => (outbox::Event::Down, since, since.elapsed()),
            News::Recovered { fell, since } => (outbox::Event::Up, since, since - fell),
        };
        let began = SystemTime::now().checked_sub(since.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
        let occasion = Occasion {
            id: format!("{:016x}-{}", self.run, self.written),
            since: humantime::format_rfc3339_seconds(began).to_string(),
            outage,
        };
        let (content_type, body) = match (event, self.told.take()) {
            (outbox::Event::Up, Some(told)) => told.recovered(&diagnosis, self.detail, occasion).write(self.template),
            (outbox::Event::Down, _) | (_, None) => {
                let notice = Notice::fell(&diagnosis, self.detail, occasion);
                let written = notice.write(self.template);
                self.told = Some(notice);
                written
            }
        };
        Letter::new(self.written, event, content_type, body, Instant::now())
    }
}

/// What programs print is in no message, and what is concluded from it quotes it. So nothing is told that only a log tells.
fn unread(snapshot: &Snapshot) -> Diagnosis {
    snapshot.unread().diagnose(None, None)
}

/// Only a warming target has to be diagnosed for it.
fn judge(snapshot: &Snapshot) -> Condition {
    match snapshot.state {
        State::Ready { .. } => Condition::Well,
        State::Unknown | State::Suspect { .. } => Condition::Unsure,
        State::Down { .. } => Condition::Out,
        State::Warming { .. } => condition(&unread(snapshot)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Receiver;
    use crate::diagnosis::scenes;
    use crate::evidence::{Evidence, Scheme};
    use crate::readiness::Cause;

    #[test]
    fn what_programs_print_is_in_no_message() {
        let receiver = Receiver {
            scheme: Scheme::Http,
            host: Ipv4Addr::LOCALHOST.to_string().into(),
            port: 9,
            target: "/".into(),
            credentials: None,
        };
        let mut told = 0;
        for template in [Template::Json, Template::Slack, Template::Text] {
            let settles = Duration::ZERO;
            let notify = Notify { receiver: receiver.clone(), template, settles, key: None, ca: None };
            for (scene, evidence, _) in scenes::all() {
                let since = std::time::Instant::now();
                let log = Arc::clone(&evidence.log);
                let state = State::Down { since, cause: Cause::Exited };
                let snapshot = Snapshot { sequence: 1, run: 1, state, evidence, usual: None, began: None, root: None };
                let mut messenger = Messenger::new(&notify, None, None, Detail::Full);
                let letter = messenger.write(News::Fell { since }, &snapshot);
                for line in log.iter().filter(|line| line.len() > 10) {
                    let beginning: Vec<u8> = line.bytes().take(20).collect();
                    assert!(
                        !letter.body.windows(beginning.len()).any(|it| *it == beginning),
                        "{scene}: {line:?} is in {:?}",
                        letter.body
                    );
                    told += 1;
                }
            }
        }
        assert!(told > 20, "only {told} lines were looked for");
    }

    #[test]
    fn what_only_a_log_tells_is_not_told() {
        for (scene, evidence, _) in scenes::all() {
            let state = State::Warming { since: std::time::Instant::now(), attempts: 1, fell: None };
            let snapshot = Snapshot { sequence: 1, run: 1, state, evidence, usual: None, began: None, root: None };
            let unread = Snapshot {
                evidence: Evidence { log: Arc::default(), ..snapshot.evidence.clone() },
                ..snapshot.clone()
            };
            assert_eq!(judge(&snapshot), judge(&unread), "{scene}");
        }
    }
}
