//! What has to hold of a page in every state, in light and dark, on a screen and on a phone, and the pictures of it.

use serde_json::Value;

use crate::browser::{Browser, PHONE, SCREEN};
use crate::prepare;

/// Examines the page that is shown, and takes pictures called `name`. Leaves the details open.
#[track_caller]
pub fn examine(browser: &Browser, name: &str) {
    browser.run(&prepare::axe().unwrap_or_else(|error| panic!("{error:#}")));
    for (scheme, picture) in [("light", name.to_owned()), ("dark", format!("{name}-dark"))] {
        browser.prefer(&[("prefers-color-scheme", scheme)]);
        browser.photograph(&picture);
        // Folded at first, as the picture shows them; what is folded is not looked at.
        unfold(browser);
        let ground = browser.see("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0] < 128");
        assert_eq!(ground, scheme == "dark", "the ground of a {scheme} page");
        is_accessible(browser, &format!("{name}, {scheme}"));
    }
    browser.resize(PHONE);
    browser.prefer(&[("prefers-color-scheme", "light")]);
    browser.photograph(&format!("{name}-phone"));
    fits(browser);
    is_accessible(browser, &format!("{name}, phone"));
    browser.resize(SCREEN);
    is_quiet_and_keeps_to_itself(browser);
}

/// Opens the operator's part as a reader does, if there is one and it is not open.
#[track_caller]
pub fn unfold(browser: &Browser) {
    if browser.see("document.querySelector('details:not([open])') !== null") == true {
        browser.click("summary");
        assert_eq!(browser.see("document.querySelector('details').open"), true);
    }
}

/// By axe-core, all that it knows of WCAG 2.2 A and AA, and what it calls best practice. The rule of 2.2 has to be
/// asked for by name.
#[track_caller]
fn is_accessible(browser: &Browser, which: &str) {
    let found = browser.result_of(
        "async () => (await axe.run(document, {
            runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
            rules: {'target-size': {enabled: true}},
        })).violations.map(({id, help, nodes}) => [id, help, nodes.map(({html, failureSummary}) => [html, failureSummary])])",
    );
    assert!(found.as_array().is_some_and(Vec::is_empty), "{which}: {found:#}\n{}", browser.text());
}

/// Nothing is wider than the window, which would have to be scrolled sideways.
#[track_caller]
fn fits(browser: &Browser) {
    let width = PHONE.0;
    // What hides its own overflow, such as the bar that slides, is no wider for it; the whole document is.
    let wide = browser.see(&format!(
        "[...document.querySelectorAll('html, body *')].filter((it) => it.checkVisibility() && {width} <
            Math.floor(it === document.documentElement ? it.scrollWidth : it.getBoundingClientRect().right)
        ).map((it) => it.outerHTML.slice(0, 300))"
    ));
    assert!(wide.as_array().is_some_and(Vec::is_empty), "wider than {width} pixels: {wide:#}");
    assert_eq!(browser.see("innerWidth"), width, "the phone shows the page smaller than it is");
}

/// No line in the console but the status of a page itself, which Chromium always writes there, and no request to
/// anyone else.
#[track_caller]
pub fn is_quiet_and_keeps_to_itself(browser: &Browser) {
    // Those of the browser's own first page are not the page's.
    let requests: Vec<Value> = browser.requests().into_iter().filter(is_of_a_site).collect();
    assert!(!requests.is_empty(), "the log has lost the page itself");
    let strange: Vec<String> = requests.iter().filter(|request| !stays_at_home(request)).map(url).collect();
    assert!(strange.is_empty(), "requests to somebody else: {strange:?}");

    // The console writes the fragment too, which is not sent.
    let fragment = |request: &Value| request["request"]["urlFragment"].as_str().unwrap_or_default().to_owned();
    let pages: Vec<String> = requests
        .iter()
        .filter(|request| request["type"] == "Document")
        .map(|request| url(request) + &fragment(request))
        .collect();
    let lines = browser.console();
    let is_status = |line: &&Value| {
        let message = line["message"].as_str().unwrap_or_default();
        let status = " - Failed to load resource: the server responded with a status of 50";
        message.split_once(status).is_some_and(|(url, _)| pages.iter().any(|page| page == url))
    };
    let (statuses, others): (Vec<_>, Vec<_>) = lines.iter().partition(is_status);
    assert!(others.is_empty(), "in the console: {others:#?}");
    assert!(statuses.len() <= pages.len(), "more than the pages themselves: {statuses:#?}");
}

fn url(request: &Value) -> String {
    request["request"]["url"].as_str().unwrap_or_default().to_owned()
}

fn is_of_a_site(request: &Value) -> bool {
    request["documentURL"].as_str().is_some_and(|document| document.starts_with("http"))
}

/// Whether it goes to where its page has come from, or nowhere.
fn stays_at_home(request: &Value) -> bool {
    let origin = |url: &str| url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let to = url(request);
    to.starts_with("data:") || request["documentURL"].as_str().is_some_and(|page| origin(page) == origin(&to))
}
