//! The page in each of its states, in a browser: everybody can use it, however they read it.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};

use super::scenes;
use crate::ask::Ask;
use crate::beside::{self, Anteroom};
use crate::browser::{Browser, Habits};
use crate::examine::{examine, is_quiet_and_keeps_to_itself, unfold};
use crate::stack::Stack;

scenes![
    everybody_can_use_the_page_of_a_start only Labels,
    everybody_can_use_the_page_of_an_exit only FileProvider,
    everybody_can_use_the_page_of_a_crash_loop only Labels,
    everybody_can_use_the_page_of_a_missing_dependency only FileProvider,
    everybody_can_use_the_page_of_a_broken_answer only Labels,
    everybody_can_use_the_page_of_a_late_answer only FileProvider,
    everybody_can_use_the_page_of_a_busy_service only Labels,
    everybody_can_use_the_page_of_a_service_that_is_back only FileProvider,
    everybody_can_use_the_page_that_tells_no_names only Labels,
    every_reader_is_addressed_in_their_language only FileProvider,
    an_operators_own_look_is_shown_and_readable only Labels,
    nothing_moves_for_those_who_do_not_want_it only Labels,
    on_paper_everything_is_there_that_can_be_read only FileProvider,
    without_scripts_the_page_is_complete_and_comes_anew only Labels,
    the_button_copies_the_command_without_https_too only FileProvider,
    trying_again_keeps_the_place_on_the_page only Labels,
    what_a_browsers_search_has_opened_stays_open only FileProvider,
    the_examination_finds_what_is_wrong only Labels,
];

/// Far longer than a scene takes.
const NEVER: &str = "1h";

/// What a reader's browser asks for, the language that comes, and how the page of a start begins in it.
const LANGUAGES: [(&str, &str, &str); 2] =
    [("en-GB,en", "en", "Analytics is starting."), ("zh-CN,zh,en", "zh-Hans", "分析服务正在启动。")];

fn everybody_can_use_the_page_of_a_start(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::demo(stack, "slow-start", NEVER);
    shows(&browser, &anteroom, "Analytics is starting.");
    examine(&browser, "starting");
}

fn everybody_can_use_the_page_of_an_exit(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::demo(stack, "exited", "0s");
    shows(&browser, &anteroom, "Analytics is not available right now.");
    examine(&browser, "down-exited");
}

fn everybody_can_use_the_page_of_a_crash_loop(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::demo(stack, "crash-loop", NEVER);
    shows(&browser, &anteroom, "Analytics is not available right now.");
    examine(&browser, "down-crash-loop");
}

fn everybody_can_use_the_page_of_a_missing_dependency(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::demo(stack, "dependency-down", NEVER);
    shows(&browser, &anteroom, "Analytics is not available right now.");
    examine(&browser, "down-dependency");
}

fn everybody_can_use_the_page_of_a_broken_answer(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::serve(stack, beside::upstream(beside::curt), &[]);
    shows(&browser, &anteroom, "This service did not answer properly.");
    examine(&browser, "broken");
}

fn everybody_can_use_the_page_of_a_late_answer(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::serve(stack, beside::upstream(beside::silent), &[("ANTEROOM_RESPONSE_TIMEOUT", "1s")]);
    shows(&browser, &anteroom, "This service took too long to answer.");
    examine(&browser, "late");
}

fn everybody_can_use_the_page_of_a_busy_service(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::serve(stack, beside::upstream(beside::curt), &[]);
    // More than may be tried again: each of these spends of the budget what it can get.
    let ask = Ask::at(anteroom.address, "/");
    let others: Vec<_> = (0..150).map(|_| ask.clone().in_background()).collect();
    shows(&browser, &anteroom, "This service has more requests than it can take right now.");
    examine(&browser, "busy");
    others.into_iter().for_each(|other| drop(other.join().expect("no panic")));
}

fn everybody_can_use_the_page_of_a_service_that_is_back(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::demo(stack, "slow-start", "6s");
    // A form of somewhere else: the page itself has none, nor would its policy let one be sent.
    browser.visit(&format!(
        "data:text/html,<form method=post action='{}'><button>send</button></form>",
        anteroom.url("/analytics/")
    ));
    browser.click("button");
    browser.until("the page of a start", "document.querySelector('h1')?.textContent === 'Analytics is starting.'");
    let advice = "Your request was not delivered. Keep this page open: it will tell you when you can send it again.";
    assert!(browser.text().contains(advice), "{}", browser.text());
    // Nothing is sent a second time by itself.
    let again = "Analytics is ready again. Please send your request again.";
    browser.until("it can be sent again", &format!("document.querySelector('h1').textContent === '{again}'"));
    examine(&browser, "back");
}

fn everybody_can_use_the_page_that_tells_no_names(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::serve(stack, beside::nobody(), &[("ANTEROOM_DETAIL", "summary")]);
    shows(&browser, &anteroom, "This service is starting.");
    assert_eq!(browser.see("document.querySelector('details')"), Value::Null);
    assert_eq!(browser.see("document.body.innerText.includes('127.0.0.1')"), false, "{}", browser.text());
    examine(&browser, "summary");
}

fn every_reader_is_addressed_in_their_language(stack: &Stack) {
    let anteroom = Anteroom::demo(stack, "slow-start", NEVER);
    let exited = Anteroom::demo(stack, "exited", "0s");
    for (asked, language, sentence) in LANGUAGES {
        let habits = Habits { languages: Some(asked), ..Habits::default() };
        let Some(browser) = Browser::open(stack, habits) else { return };
        shows(&browser, &anteroom, sentence);
        assert_eq!(browser.see("document.documentElement.lang"), language);
        browser.photograph(&format!("starting-{language}"));
        browser.visit(&exited.url("/analytics/"));
        browser.until("a page that tells more", "document.querySelector('.command button') !== null");
        assert_eq!(browser.see("document.documentElement.lang"), language);
        examine(&browser, &format!("down-{language}"));
    }
}

fn an_operators_own_look_is_shown_and_readable(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let [css, logo] = [("page.css", OWN_CSS), ("logo.svg", OWN_LOGO)].map(|(name, text)| {
        let file = stack.scratch(name);
        fs::write(&file, text).expect("the stack's folder is ours");
        file.display().to_string()
    });
    let settings = [
        ("ANTEROOM_PAGE_CSS", css.as_str()),
        ("ANTEROOM_PAGE_LOGO", logo.as_str()),
        ("ANTEROOM_PAGE_SUPPORT", "mailto:help@example.org"),
        ("ANTEROOM_PAGE_NOTE", "On Mondays it takes longer."),
    ];
    let anteroom = Anteroom::serve(stack, beside::nobody(), &settings);
    shows(&browser, &anteroom, "This service is starting.");
    // Its style is let in by the page's policy, and its picture is one.
    assert_eq!(browser.see("getComputedStyle(document.querySelector('h1')).fontStyle"), "italic");
    assert_eq!(browser.see("document.querySelector('img.logo').naturalWidth"), 120);
    assert_eq!(browser.see("document.querySelector('a[href^=mailto]').textContent"), "help@example.org");
    assert!(browser.text().contains("On Mondays it takes longer."), "{}", browser.text());
    examine(&browser, "own-look");
}

const OWN_CSS: &str = "h1 { font-family: serif; font-style: italic; }";
const OWN_LOGO: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"120\" height=\"40\" viewBox=\"0 0 120 40\">\
    <rect width=\"120\" height=\"40\" rx=\"8\" fill=\"#7a1fa2\"/><circle cx=\"24\" cy=\"20\" r=\"10\" fill=\"#fff\"/></svg>";

fn nothing_moves_for_those_who_do_not_want_it(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::demo(stack, "slow-start", NEVER);
    shows(&browser, &anteroom, "Analytics is starting.");
    let moving = "document.getAnimations().length > 0";
    browser.until("something moves for all others", moving);
    browser.prefer(&[("prefers-reduced-motion", "reduce")]);
    browser.until("it stands still", "document.getAnimations().length === 0");
    // What unfolds does not move either, nor what an update brings.
    unfold(&browser);
    assert_eq!(browser.see(moving), false);
    browser.run("window.before = document.querySelector('#meta p').textContent");
    browser.until("it updates itself", "document.querySelector('#meta p').textContent !== window.before");
    assert_eq!(browser.see(moving), false);
    browser.photograph("starting-without-motion");
}

fn on_paper_everything_is_there_that_can_be_read(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::demo(stack, "exited", "0s");
    shows(&browser, &anteroom, "Analytics is not available right now.");
    // About the width of A4, in pixels of CSS.
    browser.resize((794, 1123));
    // Folded by its reader; on paper nobody could unfold it.
    browser.click("summary");
    assert_eq!(browser.see("document.querySelector('section').checkVisibility()"), false);
    browser.print();
    let unread = "[...document.querySelectorAll('h1, #advice, #reference, section, pre, table, .chain li, dl div')]
        .filter((it) => it.getBoundingClientRect().height === 0 || !it.checkVisibility()).map((it) => it.outerHTML)";
    assert_eq!(browser.see(unread), json!([]));
    let pressed = "[...document.querySelectorAll('button, #again, #note, .bar')]
        .filter((it) => it.checkVisibility()).map((it) => it.outerHTML)";
    assert_eq!(browser.see(pressed), json!([]));
    browser.photograph("down-exited-print");
}

fn without_scripts_the_page_is_complete_and_comes_anew(stack: &Stack) {
    let habits = Habits { without_scripts: true, ..Habits::default() };
    let Some(browser) = Browser::open(stack, habits) else { return };
    let anteroom = Anteroom::demo(stack, "exited", "0s");
    shows(&browser, &anteroom, "Analytics is not available right now.");
    for text in
        ["For the people who run it", "target-exited", "docker compose", "Path of a request", "Container engine"]
    {
        assert!(browser.text().contains(text), "{text}\n{}", browser.text());
    }
    assert_eq!(browser.see("[...document.querySelectorAll('button')].some((it) => it.checkVisibility())"), false);
    browser.photograph("down-exited-without-scripts");
    let loaded = browser.see("performance.timeOrigin");
    browser.until("it comes anew", &format!("performance.timeOrigin > {loaded}"));
}

fn the_button_copies_the_command_without_https_too(stack: &Stack) {
    // A name that no browser takes for this machine: an insecure page, as most of CVAT's are.
    let habits = Habits { host: Some("cvat.test"), ..Habits::default() };
    let Some(browser) = Browser::open(stack, habits) else { return };
    let anteroom = Anteroom::demo(stack, "exited", "0s");
    browser.visit(&format!("http://cvat.test:{}/analytics/", anteroom.address.port()));
    // The first page may still be of a start, where the command is folded away and nobody could press its button.
    let seen = "document.querySelector('.command button')?.checkVisibility() === true";
    browser.until("a command with its button, unfolded", seen);
    assert_eq!(browser.see("isSecureContext"), false);
    let command = browser.see("document.querySelector('code[data-command]').dataset.command");
    browser.click(".command button");
    browser.until("it says so", "document.querySelector('#note').textContent === 'Copied'");

    // Only a page of this machine may read what was copied.
    browser.visit(&anteroom.url("/analytics/"));
    browser.permit("clipboard-read");
    assert_eq!(browser.result_of("() => navigator.clipboard.readText()"), command);
}

fn trying_again_keeps_the_place_on_the_page(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::serve(stack, beside::upstream(beside::curt), &[]);
    let url = anteroom.url("/d/all?orgId=1#panel-7");
    browser.visit_until(&url, "document.querySelector('#again a')?.checkVisibility() === true");
    let loaded = browser.see("performance.timeOrigin");
    browser.click("#again a");
    browser.until("it was tried again", &format!("performance.timeOrigin > {loaded}"));
    assert_eq!(browser.see("location.href"), url);
}

fn what_a_browsers_search_has_opened_stays_open(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::demo(stack, "slow-start", NEVER);
    shows(&browser, &anteroom, "Analytics is starting.");
    assert_eq!(browser.see("document.querySelector('details').open"), false);
    // As a browser does where it finds what is searched for: without a click.
    browser.run("document.querySelector('details').open = true");
    browser.until_asked_again(3);
    assert_eq!(browser.see("document.querySelector('details').open"), true, "{}", browser.text());
}

fn the_examination_finds_what_is_wrong(stack: &Stack) {
    let Some(browser) = Browser::open(stack, Habits::default()) else { return };
    let anteroom = Anteroom::demo(stack, "exited", "0s");
    shows(&browser, &anteroom, "Analytics is not available right now.");
    examine(&browser, "down-exited");
    // None of them in `main`, where the next update would mend it.
    let style = |rule: &str| {
        format!(
            "const style = new CSSStyleSheet(); style.replaceSync('{rule}'); document.adoptedStyleSheets = [style];"
        )
    };
    let faults = [
        ("color-contrast", style("#advice { color: #888 }")),
        ("html-has-lang", "document.documentElement.lang = ''".to_owned()),
        ("wider than", style("h1 { width: 2000px }")),
        ("in the console", "console.error('a fault')".to_owned()),
    ];
    for (complaint, fault) in faults {
        shows(&browser, &anteroom, "Analytics is not available right now.");
        browser.run(&fault);
        complains(complaint, || examine(&browser, "faulty"));
    }
    // The page's policy lets nothing out, so another page has to.
    browser.visit(&stack.url("/tasks"));
    browser.run("fetch('http://127.0.0.1:1/').catch(() => {})");
    complains("somebody else", || is_quiet_and_keeps_to_itself(&browser));
}

#[track_caller]
fn complains(complaint: &str, examine: impl FnOnce()) {
    let found = catch_unwind(AssertUnwindSafe(examine)).expect_err(complaint);
    let found = found.downcast_ref::<String>().expect("a complaint has words");
    assert!(found.contains(complaint), "{complaint}: {found}");
}

/// Opens the page again and again until it says so: a request is held for a while before it gets one, and not every
/// state is known at once.
#[track_caller]
fn shows(browser: &Browser, anteroom: &Anteroom, sentence: &str) {
    browser.visit_until(
        &anteroom.url("/analytics/"),
        &format!("document.querySelector('h1')?.textContent === '{sentence}'"),
    );
}
