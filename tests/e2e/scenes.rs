//! What has to hold. Every scene begins with a whole stack whose Grafana is ready, and may leave it in ruins.
//!
//! To add one: write a function whose name says what holds, in the file where it belongs, and add it to that file's
//! list. It plays in both layouts, unless the list says otherwise.

mod broken;
mod browser;
mod deployment;
mod doctor;
mod engine;
mod load;
mod login;
mod network;
mod pages;
mod ready;
mod stopped;
mod unstartable;
mod wait;
mod warming;

use crate::answer::Answer;
use crate::layout::Layout;
use crate::stack::Stack;

/// One thing that has to hold.
#[derive(Clone, Copy)]
pub struct Scene {
    /// With its file: `stopped::a_paused_container_is_named`.
    pub name: &'static str,
    pub play: fn(&Stack),
    /// The layout in which it plays, if not in both.
    pub only: Option<Layout>,
}

/// A file's list of scenes, named as their functions are.
macro_rules! scenes {
    ($($name:ident $(only $layout:ident)?),* $(,)?) => {
        pub const SCENES: &[super::Scene] = &[$(super::Scene {
            name: concat!(module_path!(), "::", stringify!($name)),
            play: $name,
            only: scenes!(@only $($layout)?),
        }),*];
    };
    (@only) => { None };
    (@only $layout:ident) => { Some($crate::layout::Layout::$layout) };
}
use scenes;

/// In the order in which they play: what breaks nothing comes first, since a whole stack need not be mended.
pub fn all() -> impl Iterator<Item = Scene> {
    let files = [
        ready::SCENES,
        deployment::SCENES,
        login::SCENES,
        warming::SCENES,
        load::SCENES,
        engine::SCENES,
        stopped::SCENES,
        network::SCENES,
        broken::SCENES,
        unstartable::SCENES,
        doctor::SCENES,
        wait::SCENES,
        browser::SCENES,
        pages::SCENES,
    ];
    files.into_iter().flatten().copied()
}

/// The same diagnosis in its three shapes: to a program, to a person at a browser, to an operator at a terminal.
#[track_caller]
fn explains(stack: &Stack, code: &str, remedy: &str) {
    settles(stack, code);
    stack.ask("/analytics/d/all").send().expect(503).state("down").finding(code).remedy(remedy);
    let last_line = remedy.lines().last().expect("a remedy has a line");
    let page = stack.ask("/analytics/d/all").navigating().send();
    page.expect(503).by_anteroom().header("content-type", "text/html; charset=utf-8").shows(code).shows(last_line);
    let text = stack.ask("/analytics/d/all").by_curl().send();
    text.expect(503).by_anteroom().header("content-type", "text/plain; charset=utf-8").has(code).has(last_line);
}

/// Runs the first finding's first remedy as it is printed, and waits until Grafana answers again.
#[track_caller]
fn mends(stack: &Stack) {
    let answer = stack.ask("/analytics/").header("prefer", "wait=0").send();
    let command = answer.expect(503).member("/findings/0/remedies/0/command");
    mends_by(stack, &command.unwrap_or_else(|| panic!("there is no remedy\n{answer}")));
}

/// The same with a remedy that need not be the first one.
#[track_caller]
fn mends_by(stack: &Stack, command: &str) {
    stack.ask("/analytics/").header("prefer", "wait=0").send().expect(503).offers(command);
    stack.run(command);
    stack.ask("/analytics/").until("Grafana answers", |answer| answer.is_from("grafana"));
}

/// Waits until this is the first finding, whatever the state, and asks without patience.
#[track_caller]
fn names(stack: &Stack, code: &str) -> Answer {
    let told = |status: &Answer| status.code().as_deref() == Some(code);
    stack.ask("/analytics/").for_status().until(&format!("anteroom names {code}"), told);
    stack.ask("/analytics/d/all").header("prefer", "wait=0").send()
}

/// Waits until anteroom has seen what the scene did. An event takes some milliseconds to arrive, and a request that
/// was sent in them to a Grafana that was paused, say, waits for Grafana.
#[track_caller]
fn settles(stack: &Stack, code: &str) {
    let told =
        |status: &Answer| status.value("x-anteroom-state") == Some("down") && status.code().as_deref() == Some(code);
    stack.ask("/analytics/").for_status().until(&format!("anteroom tells {code}"), told);
}
