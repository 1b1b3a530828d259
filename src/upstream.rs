//! The way to the upstream: [`Dialer`] makes connections, [`Pool`] keeps them for the next request.
//!
//! The prober uses the dialer too, so that what a probe finds is what a request would find.

pub mod body;
pub mod dial;
pub mod failure;
pub mod framing;
pub mod gate;
pub mod half_open;
pub mod haul;
pub mod heads;
pub mod lease;
pub mod places;
pub mod pool;
pub mod reel;
pub mod spool;
pub mod strays;
mod tasks;
pub mod tongue;
pub mod trailers;

pub use dial::Dialer;
pub use failure::failure;
pub use lease::Lease;
pub use pool::{Pool, reset};
