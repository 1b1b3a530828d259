//! Pages that were just made, for others who ask the same: a storm of requests on a service that is down must not cost a
//! page each.
//!
//! Of two requests at the same time only the id differs in their pages. So a page is made with a stand-in for it, and
//! kept for a moment; whoever comes meanwhile gets a copy with its own id.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::record::Id;
use crate::diagnosis::Code;
use crate::evidence::{Bound, Failure};
use crate::lock::lock;
use crate::page::{Format, Page};

/// A page tells of seconds, so nobody sees that it is as old as this.
const FRESH: Duration = Duration::from_millis(200);
/// In two languages, three formats, and whether the page may ask again. Beyond, the oldest goes.
const MOST: usize = 16;

/// What a page depends on, beside the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Of the snapshot that it tells of.
    pub sequence: u64,
    pub failure: Option<Failure>,
    pub bound: Option<Bound>,
    pub repeatable: bool,
    pub format: Format,
    /// By its tag.
    pub language: &'static str,
}

/// What was made for it.
#[derive(Clone, Debug)]
pub struct Made {
    pub page: Page,
    pub finding: Option<Code>,
}

struct Kept {
    question: Question,
    since: Instant,
    made: Made,
}

/// The pages that one worker has just made. Its lock is the worker's own, and never held while a page is made.
pub struct Pages {
    /// Stands where a request's id goes. Nobody can know it, so nothing else reads like it.
    stand_in: String,
    kept: Mutex<Vec<Kept>>,
}

impl Default for Pages {
    fn default() -> Self {
        Self { stand_in: Id(fastrand::u64(..)).to_string(), kept: Mutex::default() }
    }
}

impl Pages {
    /// The answer to a question for the request with this id: made with an id that it is given, unless it was just made.
    pub fn get(&self, question: Question, id: u64, make: impl FnOnce(&str) -> Made) -> Made {
        let kept = self.find(&question);
        let made = kept.unwrap_or_else(|| {
            let made = make(&self.stand_in);
            self.keep(question, made.clone());
            made
        });
        let body = made.page.body.replace(&self.stand_in, &Id(id).to_string());
        Made { page: Page { body, ..made.page }, ..made }
    }

    fn find(&self, question: &Question) -> Option<Made> {
        let kept = lock(&self.kept);
        let known = kept.iter().find(|it| it.since.elapsed() < FRESH && it.question == *question)?;
        Some(known.made.clone())
    }

    fn keep(&self, question: Question, made: Made) {
        let mut kept = lock(&self.kept);
        kept.retain(|it| it.since.elapsed() < FRESH && it.question != question);
        if kept.len() == MOST {
            kept.remove(0);
        }
        kept.push(Kept { question, since: Instant::now(), made });
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::page::Language;

    fn question(sequence: u64) -> Question {
        let format = Format::Text;
        Question { sequence, failure: None, bound: None, repeatable: true, format, language: "en" }
    }

    fn made(id: &str, text: &str) -> Made {
        let page = Page {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: None,
            content_type: "text/plain",
            language: Language::ENGLISH,
            content_security_policy: None,
            body: format!("{text} {id} {id}"),
        };
        Made { page, finding: Some(Code::TargetExited) }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_question_gets_the_same_page_with_its_own_id_for_a_moment() {
        let pages = Pages::default();
        let ask = |sequence, id, text| pages.get(question(sequence), id, |stand_in| made(stand_in, text)).page.body;
        assert_eq!(ask(1, 10, "one"), "one 000000000000000a 000000000000000a");
        assert_eq!(ask(1, 11, "two"), "one 000000000000000b 000000000000000b");
        assert_eq!(ask(2, 12, "news"), "news 000000000000000c 000000000000000c");
        assert_eq!(ask(1, 13, "two"), "one 000000000000000d 000000000000000d");
        let other = Question { repeatable: false, ..question(1) };
        assert!(pages.get(other, 14, |id| made(id, "post")).page.body.starts_with("post"));
        tokio::time::advance(FRESH).await;
        assert_eq!(ask(1, 15, "later"), "later 000000000000000f 000000000000000f");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pages = Pages::default();
        for sequence in 0..100 {
            pages.get(question(sequence), sequence, |id| made(id, ""));
        }
        assert_eq!(lock(&pages.kept).len(), MOST);
        assert!(pages.find(&question(99)).is_some() && pages.find(&question(0)).is_none());
    }
}
