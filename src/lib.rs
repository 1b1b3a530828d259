//! anteroom.
pub mod config;
pub mod diagnosis;
pub mod engine;
pub mod evidence;
pub mod page;
pub mod readiness;
pub mod surroundings;
