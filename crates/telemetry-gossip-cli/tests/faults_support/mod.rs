//! Agents as processes on a network that the test makes and breaks, and what each of them has said.

pub(crate) mod fleet;
pub(crate) mod net;
pub(crate) mod relay;
