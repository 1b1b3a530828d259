//! anteroom stands between Traefik and a service that is slow to start or sometimes down. While the service warms up
//! it holds requests; when waiting is pointless it says what is wrong and which command mends it.
//!
//! # Where to look
//!
//! An arrow means "may import"; `tests/layering.rs` keeps it so.
//!
//! ```text
//! main ─▶ cli ─▶ instance ─▶ server ─▶ proxy ─▶ watch ─▶ probe ─▶ upstream ─▶ core
//!            │      └──────▶ admin        engine, surroundings, telemetry, tls ─▶ core
//!            └───▶ visit
//! ```
//!
//! | the core: what is true and what it means; no socket, no clock, no file | |
//! |---|---|
//! | [`evidence`] | everything that was seen, as plain data |
//! | [`readiness`] | may requests pass? the state machine, and what the evidence says about the future |
//! | [`diagnosis`] | from evidence to findings and remedies: an ordered list of small rules |
//! | [`project`] | a whole compose project: its members, the ways to them, what is waited for |
//! | [`mod@line`], [`patience`] | who of those that wait may go; how long a request may be held |
//! | [`retry`], [`backoff`] | may this failure of this request be tried again, and when |
//! | [`warmup`] | how long the target usually takes to become ready |
//! | [`admission`] | what is refused whoever is behind us: decided from a request's head |
//! | [`headers`] | what a proxy changes in a header block |
//! | [`mod@phrase`] | a sentence of ours with names of others in it, in any language |
//! | [`page`] | a diagnosis as HTML, problem document, text, or a message to somebody |
//! | [`alarm`] | when somebody is to be told that the upstream is down, or is back |
//! | [`config`] | every setting, read all at once |
//!
//! | the shell: thin and asynchronous | |
//! |---|---|
//! | [`cli`] | `serve`, `demo`, `doctor`, `wait`, `healthcheck` |
//! | [`instance`] | listeners, workers, watcher and admin port, put together |
//! | [`server`] | accept, limits, drain: one runtime a worker thread |
//! | [`proxy`] | the life of one request |
//! | [`room`] | where requests wait until they may go |
//! | [`watch`] | engine, probe and traffic → state machine → published snapshot |
//! | [`probe`], [`upstream`] | one question to the upstream; connections to it, new and pooled |
//! | [`conduit`] | large answers on their way from socket to socket |
//! | [`spelling`] | how names of fields are written, where that is not as everybody does |
//! | [`tls`] | certificates, keys and roots from files, read again when they change |
//! | [`visit`] | one look at a whole project, for `doctor` and `wait` |
//! | [`engine`], [`surroundings`] | what Docker tells; what can be told of our own container without it |
//! | [`mod@lock`] | a lock that outlives a panic |
//! | [`mod@file`] | small files that others wrote |
//! | [`brand`] | the style sheet and the logo of an operator's own page |
//! | [`memory`] | what is remembered over a restart |
//! | [`messenger`] | posts what the alarm tells, by HTTP |
//! | [`admin`], [`telemetry`] | are we alive, and how do things stand; the log and what is counted |
//!
//! # The life of a request
//!
//! 1. [`server`] accepts a connection on one of the worker threads; it lives and dies there.
//! 2. [`proxy::Proxy::receive`] finds out whether it is to be refused ([`admission`]) or forwarded, and
//!    [`proxy::Proxy::answer`] reads the newest snapshot: no lock that anyone waits for, no Docker call, no DNS.
//! 3. Ready: the request goes out on a pooled connection, and the answer streams back untouched. After a `101` two
//!    sockets are spliced.
//! 4. Not ready, or no connection came about: the request is held until the watcher publishes that the upstream is
//!    ready, until its patience ends, or until waiting is pointless. Of its body, as much is read meanwhile as can be
//!    kept.
//! 5. No answer's head came: the failure and the snapshot's evidence are diagnosed and rendered. After the head the
//!    client's connection breaks instead: a page is never injected into an answer that has begun.
//! 6. One line in the log, with the outcome.

#![forbid(unsafe_code)]
#![warn(rust_2018_idioms)]

pub mod admin;
pub mod admission;
pub mod alarm;
pub mod backoff;
pub mod brand;
pub mod cli;
pub mod conduit;
pub mod config;
pub mod diagnosis;
pub mod engine;
pub mod evidence;
pub mod file;
pub mod headers;
pub mod instance;
pub mod line;
pub mod lock;
pub mod memory;
pub mod messenger;
pub mod page;
pub mod patience;
pub mod phrase;
pub mod probe;
pub mod project;
pub mod proxy;
pub mod readiness;
pub mod retry;
pub mod room;
pub mod server;
pub mod spelling;
pub mod surroundings;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod visit;
pub mod warmup;
pub mod watch;
