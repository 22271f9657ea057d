//! The membership rules in every state that three nodes can come to: a model check (stateright) of
//! the core's own code.
//!
//! ```text
//! cargo test --release -p telemetry-gossip-tests --test model -- --nocapture            1.2 million states, half a minute
//! cargo test --release -p telemetry-gossip-tests --test model large -- --nocapture --ignored       7.1 million, 3 minutes
//! ```
//!
//! **What is real.** Each step of each node is made by a `Node` of the core: its datagram reader,
//! merge, refutation, accusation after a probe, declaration of death, restart and leave
//! (`step.rs`). The model has none of these rules. What it checks it says in other words
//! (`cluster.rs`), and planted mistakes show that it would find them.
//!
//! **What is checked.** In each step: a row's generation never falls; Dead and Left become live
//! only at a higher generation; only the owner issues Alive; a node never holds itself Suspected or
//! Dead; an accused node says Alive above the accusation; of what is held and what is heard the
//! greater is kept; and the core's own invariants. From each state: once all that was said, and
//! what follows from it, is delivered to everybody, in whatever of two orders, all hold the same
//! and every node is Alive.
//!
//! **What is abstract.**
//! - A node is its table, and remembers nothing else between two steps (not who outbid it before,
//!   so conflicts of identity have no end here). Timers are choices: a probe of anybody can fail at
//!   any time, and the time of a suspicion can be up at any time. What decides when, and keeps
//!   false accusations rare (roll calls, trials, calls, isolation), is left out: with it less
//!   happens, not more.
//! - The network is a set of all claims that anybody ever held. Each may be delivered to anybody,
//!   at any later time, any number of times or never: loss, repetition, reordering and delay have
//!   no bound. Nodes pass on what they hold, so rumors, sessions and pages are this, too.
//!   Telemetry, addresses, accusers and ages of deaths are not in it.
//! - The dead are never forgotten, and a life that was replaced says nothing more of its own (no
//!   two processes with one id).
//! - States are told apart by 64-bit hashes: of a million, two have one hash with a probability
//!   below one in ten million.
//!
//! **What is bounded.** Three nodes; how many probes fail, processes restart (with their last
//! generation or from 0, with a greater or a lesser instance) and leave, as each test says.
//! Generations have no bound of their own.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod cluster;
mod step;

use std::time::Instant;

use cluster::{
    Bug, CONVERGENCE, Cluster, GENERATION, GREATER, ISSUER, ITSELF, REFUTATION, RESURRECTION,
};
use stateright::{Checker, Model};
use telemetry_gossip_core::{Generation, Status};
use telemetry_gossip_tests::for_each_seed;

const THREADS: usize = 2;

/// Nodes that know each other, or only themselves.
const JOINED: Cluster =
    Cluster { accusations: 0, restarts: 0, leaves: 0, joined: true, forged: None, bug: None };
const STRANGERS: Cluster = Cluster { joined: false, ..JOINED };

/// Visits every state of these clusters, and fails if a rule is broken. Each cluster is a seed:
/// `.ci/repeat` deals them out.
fn check(clusters: &[Cluster]) {
    let mut states = 0;
    for_each_seed(clusters.len() as u64, |seed| {
        let cluster = clusters[seed as usize];
        let start = Instant::now();
        let checker = cluster.checker().threads(THREADS).spawn_bfs().join();
        checker.assert_properties();
        states += checker.unique_state_count();
        println!(
            "{cluster}: {} states, {} steps to them, the deepest {}, {:.1?}",
            checker.unique_state_count(),
            checker.state_count(),
            checker.max_depth(),
            start.elapsed(),
        );
    });
    println!("{states} states in all");
}

/// They have no seeds: whoever has seen them once has seen all.
mod exhaustive {
    use super::*;

    #[test]
    fn no_state_within_small_bounds_breaks_a_rule() {
        check(&[
            Cluster { accusations: 3, ..JOINED },
            Cluster { accusations: 1, restarts: 1, leaves: 1, ..JOINED },
            Cluster { accusations: 2, restarts: 1, ..JOINED },
            Cluster { accusations: 1, restarts: 2, ..JOINED },
            Cluster { accusations: 2, ..STRANGERS },
            Cluster { accusations: 1, restarts: 1, ..STRANGERS },
        ]);
    }

    #[test]
    #[ignore = "takes minutes, and some GB of memory"]
    fn no_state_within_large_bounds_breaks_a_rule() {
        check(&[
            Cluster { accusations: 4, ..JOINED },
            Cluster { accusations: 2, restarts: 1, leaves: 1, ..JOINED },
            Cluster { accusations: 3, ..STRANGERS },
            Cluster { accusations: 2, restarts: 1, ..STRANGERS },
        ]);
    }

    /// One lie, as far ahead as anybody believes: it is refuted, and all goes on above it. (An
    /// Alive leaves a few generations: at the very end of what is believed there is no room for the
    /// accusations that follow.)
    #[test]
    fn a_lie_as_far_ahead_as_is_believed_can_be_refuted() {
        let (start, leap) = (Generation::PLAUSIBLE_START.0, Generation::PLAUSIBLE_LEAP);
        let lies = [
            (Status::Alive, start + leap - 8),
            (Status::Suspected, start + leap / 2),
            (Status::Dead, start + leap / 2),
            (Status::Left, start + leap / 2),
        ];
        check(&lies.map(|lie| Cluster { accusations: 2, forged: Some(lie), ..JOINED }));
    }

    /// Every planted mistake is found, by the rules that it breaks.
    #[test]
    fn planted_bugs_are_found() {
        for (bug, rules) in [
            (Bug::LastWins, [GENERATION, RESURRECTION, GREATER, CONVERGENCE].as_slice()),
            (Bug::AliveWinsTies, &[RESURRECTION, GREATER]),
            (Bug::BelievesOthers, &[ITSELF, REFUTATION, CONVERGENCE]),
            (Bug::RefutesTooLow, &[REFUTATION, CONVERGENCE]),
            (Bug::VouchesForOthers, &[ISSUER]),
        ] {
            // A restart with the last generation is what says Alive at the generation of an
            // accusation.
            let (accusations, restarts) = if bug == Bug::AliveWinsTies { (1, 1) } else { (2, 0) };
            let cluster = Cluster { accusations, restarts, bug: Some(bug), ..JOINED };
            let checker = cluster.checker().threads(THREADS).spawn_bfs().join();
            for rule in rules {
                let path = checker
                    .discovery(rule)
                    .unwrap_or_else(|| panic!("{bug:?} is not found to break: {rule}"));
                println!("{bug:?} breaks \"{rule}\" in {} steps", path.into_actions().len());
            }
        }
    }
}
