//! Agents as processes on a network that the test makes and breaks, and the events that each of
//! them has printed.

pub(crate) mod delay_proxy;
pub(crate) mod fleet;
pub(crate) mod net;
