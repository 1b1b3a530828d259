//! The main job on a real Traefik and a real Docker engine: a small CVAT (see `stage/`) with the overrides of
//! `deploy/cvat` as an operator would add them, broken in every way that the field notes know, and asked as a
//! client of Traefik asks.
//!
//! - [`scenes`] says what has to hold. A new one is a function of a [`stack::Stack`] in one of its files.
//! - [`stack`] is one running CVAT, [`container`] what can be broken in it, [`ask`] and [`answer`] the two halves of
//!   a request to it.
//! - [`browser`] is a Chromium, [`examine`] what every page in it has to bear. Where neither Docker nor Traefik has a
//!   part in it, the page is that of a [`beside::Anteroom`], beside the containers. [`kept`] ends such programs.
//! - [`load`] is many users at once, and what became of their requests.
//! - [`prepare`] makes, once per run and from local files only, the three images; [`engine`] drives `docker`, and
//!   removes what the run has made however the run ends. [`second_engine`] is one that may be restarted.
//! - [`runner`] stands in for libtest, which can neither share a stack between tests nor clean up after them.
//!
//! `cargo test --test e2e -- paused` plays the scenes whose name contains "paused". Without an engine or Python
//! nothing can be played: the suite says so and passes, unless `ANTEROOM_E2E=required`. With
//! `ANTEROOM_E2E_TABLES=1` it shows what became of the load. Pictures of the pages are in `target/screenshots`.

mod answer;
mod ask;
mod beside;
mod browser;
mod container;
mod engine;
mod examine;
mod kept;
mod layout;
mod load;
mod prepare;
mod runner;
mod scenes;
mod second_engine;
#[path = "../support/shipped.rs"]
mod shipped;
mod stack;

use std::process::ExitCode;

fn main() -> ExitCode {
    runner::run()
}
