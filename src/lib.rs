//! anteroom.
pub mod config;
pub mod diagnosis;
pub mod evidence;
pub mod page;
pub mod readiness;
