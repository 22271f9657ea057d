//! The swarm: random scenarios of many seeds, what broke, and whether enough happened for that to
//! mean anything.
//!
//! ```text
//! seeds --> Scenario::swarm --> run, each 16th twice --> faults   --> shrink --> a scenario file
//!           (on all cores)                           `-> coverage --> what never happened
//! ```
//!
//! A [`Sweep`] is a function of its seeds: however many threads share the runs, a band gives one
//! [`Swept`], times aside. A run in which nothing happened is no evidence, so a sweep counts what
//! did ([`Coverage`]) and a large one in which something of [`REQUIRED`] never did does not pass.
//! [`shrink`] makes of a failing run the least that still fails.
//!
//! ```
//! use std::ops::ControlFlow;
//! use telemetry_gossip_sim::swarm::{End, Sweep};
//! use telemetry_gossip_sim::Scenario;
//!
//! let sweep = Sweep { seeds: 0..20, ..Sweep::default() };
//! let swept = sweep.run(Scenario::swarm, |_| ControlFlow::Continue(()));
//! assert!(swept.passed(), "{:?}", swept.failures);
//! assert_eq!((swept.runs, swept.twice, swept.end), (20, 2, End::Complete));
//! assert!(swept.coverage.total("events.suspected") > 0);
//! ```

mod attempt;
mod calm;
mod coverage;
mod plainer;
mod shrink;
mod sweep;

pub use attempt::{Fault, Finding};
pub use coverage::{Count, Coverage, EXCUSED, REQUIRED, Required};
pub use shrink::{MOST_RUNS, Shrinking, Shrunk, shrink};
pub use sweep::{End, Failed, Sweep, Swept};
