//! What a person sees in a browser who opens CVAT's analytics: all of it, from the login to Grafana.

use super::scenes;
use crate::browser::{Browser, Habits};
use crate::examine::{examine, is_quiet_and_keeps_to_itself, unfold};
use crate::stack::{LOGGED_IN, Stack};

scenes![
    the_page_of_a_cold_start_turns_into_the_dashboard_by_itself,
    the_remedy_that_a_click_has_copied_mends_grafana_and_the_page_becomes_the_dashboard,
    the_page_gives_way_to_the_login_when_the_session_has_ended only Labels,
    the_page_after_a_form_stays_and_sends_nothing_again_when_the_session_has_ended only Labels,
    without_scripts_the_page_still_becomes_the_dashboard only FileProvider,
    a_start_like_the_one_before_shows_how_far_it_has_come only Labels,
];

/// With a query and a fragment, which no reload may lose.
const DASHBOARD: &str = "/analytics/d/all/events?orgId=1&from=now-6h#panel-7";

/// What the stand-in for Grafana answers, as Chromium shows it.
const IS_DASHBOARD: &str = "document.body.innerText.includes('\"service\":\"grafana\"')";
const IS_STARTING: &str = "document.querySelector('h1')?.textContent === 'Analytics is starting.'";
const IS_DOWN: &str = "document.querySelector('h1')?.textContent === 'Analytics is not available right now.'";

fn the_page_of_a_cold_start_turns_into_the_dashboard_by_itself(stack: &Stack) {
    let Some(browser) = logged_in(stack, Habits::default()) else { return };
    stack.set(&[("GRAFANA_DELAY", "8000")]);
    let url = stack.url(DASHBOARD);
    browser.visit(&url);
    browser.until("the page of a start", IS_STARTING);
    assert_eq!(browser.see("document.title"), "Analytics is starting.");

    // It gets newer without being loaded anew, and what the reader has opened stays open.
    unfold(&browser);
    browser.run("window.before = document.querySelector('#meta p').textContent");
    browser.until(
        "it updates itself",
        "window.before !== undefined && document.querySelector('#meta p').textContent !== window.before",
    );
    assert_eq!(browser.see("document.querySelector('details').open"), true, "{}", browser.text());
    browser.photograph("traefik-starting");

    browser.until("it is the dashboard", IS_DASHBOARD);
    is_grafana_at(&browser, &url);
    is_quiet_and_keeps_to_itself(&browser);
}

fn the_remedy_that_a_click_has_copied_mends_grafana_and_the_page_becomes_the_dashboard(stack: &Stack) {
    let Some(browser) = logged_in(stack, Habits::default()) else { return };
    stack.grafana().exit(1);
    let url = stack.url(DASHBOARD);
    browser.visit(&url);
    browser.until("the page of an exit", IS_DOWN);
    browser.photograph("traefik-exited");
    browser.permit("clipboard-read");
    browser.click(".command button");
    browser.until("it says so", "document.querySelector('#note').textContent === 'Copied'");
    let copied = browser.result_of("() => navigator.clipboard.readText()");
    assert_eq!(copied, stack.remedy(&["up -d cvat_grafana"]));

    stack.run(copied.as_str().expect("a remedy is text"));
    browser.until("it is the dashboard", IS_DASHBOARD);
    is_grafana_at(&browser, &url);
    is_quiet_and_keeps_to_itself(&browser);
}

fn the_page_gives_way_to_the_login_when_the_session_has_ended(stack: &Stack) {
    let Some(browser) = logged_in(stack, Habits::default()) else { return };
    stack.grafana().exit(1);
    browser.visit(&stack.url(DASHBOARD));
    browser.until("the page of an exit", IS_DOWN);
    browser.clear_cookies();
    // The stand-in says so in words, where CVAT sends to its login.
    browser.until("the visitor is asked to log in", "document.body.innerText.includes('log in first')");
    assert_eq!(browser.see("location.href"), stack.url(DASHBOARD));
}

fn the_page_after_a_form_stays_and_sends_nothing_again_when_the_session_has_ended(stack: &Stack) {
    let Some(browser) = logged_in(stack, Habits::default()) else { return };
    stack.grafana().exit(1);
    stack.ask("/analytics/").for_status().until("down", |it| it.value("x-anteroom-state") == Some("down"));
    browser.run(
        "const form = document.createElement('form');
         [form.method, form.action] = ['post', '/analytics/api/dashboards'];
         document.body.append(form);
         form.submit()",
    );
    browser.until("the page of an exit", IS_DOWN);
    let loaded = browser.see("performance.timeOrigin");
    browser.clear_cookies();
    browser.until_asked_again(4);
    assert_eq!(browser.see("performance.timeOrigin"), loaded, "{}", browser.text());
    assert!(browser.text().contains("The connection is interrupted. Still trying."), "{}", browser.text());
    let posts = browser.requests().into_iter().filter(|it| it["request"]["method"] == "POST");
    assert_eq!(posts.count(), 1);
}

fn without_scripts_the_page_still_becomes_the_dashboard(stack: &Stack) {
    let Some(browser) = logged_in(stack, Habits { without_scripts: true, ..Habits::default() }) else { return };
    stack.set(&[("GRAFANA_DELAY", "8000")]);
    // Without the fragment: a refresh of a page that has one only moves to it.
    let url = stack.url(DASHBOARD.split('#').next().expect("there is a first part"));
    browser.visit(&url);
    browser.until("the page of a start", IS_STARTING);
    browser.photograph("traefik-starting-without-scripts");
    browser.until("it is the dashboard", IS_DASHBOARD);
    is_grafana_at(&browser, &url);
}

fn a_start_like_the_one_before_shows_how_far_it_has_come(stack: &Stack) {
    let Some(browser) = logged_in(stack, Habits::default()) else { return };
    stack.renew_anteroom();
    let ready =
        || stack.ask("/analytics/").for_status().until("ready", |it| it.value("x-anteroom-state") == Some("ready"));
    // Long enough to be looked at the second time before it is over.
    stack.set(&[("GRAFANA_DELAY", "12000")]);
    ready();
    // Another container of the same service and image, which takes longer than the examination.
    stack.set(&[("GRAFANA_DELAY", "60000")]);
    browser.visit(&stack.url(DASHBOARD));
    browser.until("it shows how far", "document.querySelector('progress')?.value > 0");
    assert!(browser.text().contains("usually ready after"), "{}", browser.text());
    examine(&browser, "starting-as-before");
}

/// A browser of a user whom CVAT knows, on another of its pages.
#[track_caller]
fn logged_in(stack: &Stack, habits: Habits<'_>) -> Option<Browser> {
    let browser = Browser::open(stack, habits)?;
    browser.visit(&stack.url("/tasks"));
    browser.set_cookie(LOGGED_IN);
    Some(browser)
}

/// At the same address, and Grafana has got the same request, with the session that forward-auth asks for.
#[track_caller]
fn is_grafana_at(browser: &Browser, url: &str) {
    assert_eq!(browser.see("location.href"), url);
    let seen = browser.see("JSON.parse(document.querySelector('pre').textContent)");
    assert_eq!(seen["path"], "/d/all/events?orgId=1&from=now-6h", "{seen}");
    assert_eq!(seen["headers"]["cookie"], LOGGED_IN, "{seen}");
}
