//! anteroom.
pub mod backoff;
pub mod config;
pub mod diagnosis;
pub mod engine;
pub mod evidence;
pub mod headers;
pub mod page;
pub mod probe;
pub mod proxy;
pub mod readiness;
pub mod retry;
pub mod server;
pub mod telemetry;
pub mod upstream;
pub mod watch;
