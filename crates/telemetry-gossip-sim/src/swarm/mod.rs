//! The swarm: runs random scenarios of many seeds, collects faults, and measures coverage.
//!
//! ```text
//! seeds --> Scenario::swarm --> run, each 16th twice --> faults   --> shrink --> a scenario file
//!           (on all cores)                           `-> coverage --> required counters at zero
//! ```
//!
//! A [`Sweep`] is a function of its seeds: except for real times, a range of seeds gives the same
//! [`Swept`] with any number of threads. A run in which nothing happened is no evidence. A sweep
//! therefore adds up the counters of its runs ([`Coverage`]), and a large sweep fails if one of the
//! counters in [`REQUIRED`] stays at zero. [`shrink`] reduces a failing run to the smallest
//! scenario that still fails.
//!
//! ```
//! use std::ops::ControlFlow;
//! use telemetry_gossip_sim::swarm::{End, Sweep};
//! use telemetry_gossip_sim::Scenario;
//!
//! let sweep = Sweep::default().seeds(0..20);
//! let swept = sweep.run(Scenario::swarm, |_| ControlFlow::Continue(()));
//! assert!(swept.passed(), "{:?}", swept.failures);
//! assert_eq!((swept.runs, swept.twice, swept.end), (20, 2, End::Complete));
//! assert!(swept.coverage.total("events.suspected") > 0);
//! ```

mod attempt;
mod coverage;
mod shrink;
mod sweep;

pub use attempt::{Fault, Finding};
pub use coverage::{Count, Coverage, EXCUSED, REQUIRED, Required};
pub use shrink::{MAX_RUNS, Shrinking, Shrunk, shrink};
pub use sweep::{End, Failed, Sweep, Swept};
