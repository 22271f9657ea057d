//! A model check (stateright) of the membership rules: it visits all states of three nodes, with
//! the code of the core.
//!
//! ```text
//! # 1.2 million states, half a minute
//! cargo test --release -p telemetry-gossip-tests --test model -- --nocapture
//! # 7.1 million states, 3 minutes
//! cargo test --release -p telemetry-gossip-tests --test model large -- --nocapture --ignored
//! ```
//!
//! **What is real.** A `Node` of the core performs each step of each node (`step.rs`): decoding,
//! merging, refutation, accusation after a probe, declaration of death, restart and leave. The
//! model contains none of these rules. Its checks (`cluster.rs`) are written independently of the
//! core, and planted bugs prove that they find mistakes.
//!
//! **What is checked.** At each step: a row's generation never falls; Dead and Left become live
//! only at a higher generation; only the owner issues Alive; a node never holds itself Suspected or
//! Dead; an accused node claims Alive above the accusation; of the held and the received claim the
//! greater is kept; and the core's own invariants hold. From each state: once all claims, and those
//! that follow from them, are delivered to all nodes, in either of two orders, all tables are equal
//! and hold every node Alive.
//!
//! **What is abstract.**
//! - A node consists of its table and remembers nothing else between two steps. In particular it
//!   does not remember id conflicts, so these never end here. Timers are choices: a probe of any
//!   node may fail at any time, and a suspicion may run out at any time. The mechanisms that decide
//!   when, and that make false accusations rare (roll calls, rechecks, status pings, isolation),
//!   are left out. They only restrict what can happen.
//! - The network is the set of all claims that any node ever held. It may deliver each claim to any
//!   node at any later time, any number of times or never, so loss, duplication, reordering and
//!   delay are unbounded. Nodes pass on the claims that they hold, which includes rumors, sessions
//!   and pages. Telemetry, addresses, accusers and ages of deaths are left out.
//! - Dead members are never forgotten, and an instance that was replaced makes no more claims
//!   (there are no two processes with one id).
//! - States are distinguished by 64-bit hashes. Among a million states, the probability of a
//!   collision is below one in ten million.
//!
//! **What is bounded.** There are three nodes. Each test states how many probes fail, how many
//! processes restart (with their last generation or from 0, with a greater or a lesser instance),
//! and how many nodes leave. Generations have no bound of their own.
//!
//! **Lies.** A liar may say anything about n0, of any status, at and around each cap of
//! generations, in the name of its process or of another. Two such claims (or three, `large`) reach
//! any node at any time. Nodes that ask members for their own word get it. Then a second kind of
//! convergence is checked, too: of what nodes hold alone, since a lie may be told to some nodes
//! only, once. Nodes whose hosts name each exchange do not ask. There, a refutation above the
//! highest start convinces only those that the lie has reached.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod cluster;
mod step;

use std::time::Instant;

use cluster::{
    Bug, CONVERGENCE, Cluster, GENERATION, GREATER, ISSUER, ITSELF, Lie, REFUTATION, RESURRECTION,
};
use stateright::{Checker, Model};
use telemetry_gossip_core::{Generation, Status};
use telemetry_gossip_tests::for_each_seed;

const THREADS: usize = 2;

/// Clusters of nodes that know each other, or only themselves.
const JOINED: Cluster = Cluster {
    accusations: 0,
    restarts: 0,
    leaves: 0,
    joined: true,
    asks: false,
    lies: &[],
    bug: None,
};
const STRANGERS: Cluster = Cluster { joined: false, ..JOINED };

/// Visits all states of some clusters, and fails if a rule is broken. Each cluster counts as a
/// seed, so that `.ci/repeat` distributes them over its runs.
fn check(clusters: &[Cluster]) {
    let mut states = 0;
    for_each_seed(clusters.len() as u64, |seed| {
        let cluster = clusters[seed as usize];
        let start = Instant::now();
        let checker = cluster.checker().threads(THREADS).spawn_bfs().join();
        checker.assert_properties();
        states += checker.unique_state_count();
        println!(
            "{cluster}: {} states, {} steps, depth {}, {:.1?}",
            checker.unique_state_count(),
            checker.state_count(),
            checker.max_depth(),
            start.elapsed(),
        );
    });
    println!("{states} states in all");
}

const START: u64 = Generation::MAX_START.0;
const LEAP: u64 = Generation::MAX_LEAP;

/// The generations at and around each cap: of a leap from a first start, of a start, of a leap from
/// there and from its refutation, and of the range.
const CAPS: [u64; 12] = [
    0,
    1,
    LEAP,
    LEAP + 1,
    START - 1,
    START,
    START + 1,
    START + LEAP,
    START + LEAP + 1,
    START + LEAP + 2,
    Generation::MAX.0 - 1,
    Generation::MAX.0,
];

/// The instance of n0, and made-up ones.
const OWN: u32 = 10;
const GREATER_INSTANCE: u32 = 20;
const LESSER_INSTANCE: u32 = 5;

/// Visits all states of the clusters in which a liar makes `count` different claims: all sets of
/// them, or each `nth`, with nodes that ask members and with nodes that do not.
fn sweep(count: usize, instances: &[u32], nth: usize) {
    let mut lies = Vec::new();
    for generation in CAPS {
        for status in [Status::Alive, Status::Suspected, Status::Dead, Status::Left] {
            lies.extend(instances.iter().map(|&instance| Lie { status, generation, instance }));
        }
    }
    let mut sets = vec![Vec::new()];
    for _ in 0..count {
        let longer = |set: &Vec<Lie>| {
            let from = set.last().map_or(0, |last| 1 + place(&lies, last));
            lies[from..].iter().map(|&lie| [&set[..], &[lie]].concat()).collect::<Vec<_>>()
        };
        sets = sets.iter().flat_map(longer).collect();
    }
    let (start, mut states, mut clusters) = (Instant::now(), 0, 0);
    for set in sets.into_iter().step_by(nth) {
        let lies = set.leak();
        for asks in [false, true] {
            let cluster = Cluster { asks, lies, ..JOINED };
            let checker = cluster.checker().spawn_bfs().join();
            if !checker.is_done() || !checker.discoveries().is_empty() {
                println!("{cluster}");
                checker.assert_properties();
            }
            (states, clusters) = (states + checker.unique_state_count(), clusters + 1);
        }
    }
    println!("{clusters} clusters with {count} lies: {states} states, {:.1?}", start.elapsed());
}

fn place(lies: &[Lie], of: &Lie) -> usize {
    lies.iter().position(|lie| lie == of).unwrap_or_else(|| panic!("{of:?} is not a lie"))
}

/// These tests are exhaustive, so there is no use in repeating them.
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

    /// What a liar claims at the highest generation that nodes take from others is refuted, while
    /// probes fail, and the cluster continues above it. (A false Alive leaves a few generations as
    /// room for the accusations that follow.)
    #[test]
    fn a_false_claim_at_the_highest_accepted_generation_can_be_refuted() {
        let claims = [
            (Status::Alive, START - 8),
            (Status::Suspected, START),
            (Status::Dead, START),
            (Status::Left, START),
        ];
        check(&claims.map(|(status, generation)| {
            let lies = [Lie { status, generation, instance: OWN }].to_vec().leak();
            Cluster { accusations: 2, lies, ..JOINED }
        }));
    }

    /// Each pair of lies at and around each cap, of each status, in the name of n0's own process;
    /// and each eleventh of those that may be in the name of a greater and a lesser one, too.
    #[test]
    fn two_lies_at_any_cap_are_refuted_or_refused() {
        sweep(2, &[OWN], 1);
        sweep(2, &[OWN, GREATER_INSTANCE, LESSER_INSTANCE], 11);
    }

    #[test]
    #[ignore = "takes minutes: --test model large -- --ignored"]
    fn three_lies_within_large_bounds_are_refuted_or_refused() {
        sweep(2, &[OWN, GREATER_INSTANCE, LESSER_INSTANCE], 1);
        sweep(3, &[OWN, GREATER_INSTANCE, LESSER_INSTANCE], 61);
    }

    /// Each planted bug breaks the expected rules.
    #[test]
    fn planted_bugs_are_found() {
        for (bug, rules) in [
            (Bug::LastWins, [GENERATION, RESURRECTION, GREATER, CONVERGENCE].as_slice()),
            (Bug::AliveWinsTies, &[RESURRECTION, GREATER]),
            (Bug::BelievesOthers, &[ITSELF, REFUTATION, CONVERGENCE]),
            (Bug::RefutesTooLow, &[REFUTATION, CONVERGENCE]),
            (Bug::VouchesForOthers, &[ISSUER]),
        ] {
            // Only a restart with the last generation claims Alive at the generation of an
            // accusation.
            let (accusations, restarts) = if bug == Bug::AliveWinsTies { (1, 1) } else { (2, 0) };
            let cluster = Cluster { accusations, restarts, bug: Some(bug), ..JOINED };
            let checker = cluster.checker().threads(THREADS).spawn_bfs().join();
            for rule in rules {
                let path = checker
                    .discovery(rule)
                    .unwrap_or_else(|| panic!("{bug:?} does not break the rule: {rule}"));
                println!("{bug:?} breaks \"{rule}\" in {} steps", path.into_actions().len());
            }
        }
    }

    /// A cap that is too low or too high breaks the expected rules, with the lies that go there.
    #[test]
    fn wrong_caps_are_found() {
        let lie = |status, generation| Lie { status, generation, instance: OWN };
        let above = START + 1 + LEAP;
        for (bug, asks, lies, rules) in [
            (
                Bug::RefutesLess,
                false,
                [lie(Status::Dead, START)].as_slice(),
                [REFUTATION, CONVERGENCE].as_slice(),
            ),
            (
                Bug::RefutesLess,
                true,
                &[lie(Status::Alive, LEAP), lie(Status::Left, START + 1)],
                &[REFUTATION],
            ),
            (Bug::BelievesLeaps, false, &[lie(Status::Left, above)], &[CONVERGENCE]),
            (Bug::BelievesLeaps, true, &[lie(Status::Suspected, above)], &[CONVERGENCE]),
            (
                Bug::BelievesLadders,
                true,
                &[
                    lie(Status::Suspected, START),
                    lie(Status::Alive, above),
                    lie(Status::Dead, above + 1),
                ],
                &[CONVERGENCE],
            ),
        ] {
            let cluster = Cluster { asks, lies: lies.to_vec().leak(), ..JOINED };
            cluster.checker().spawn_bfs().join().assert_properties();
            let checker = Cluster { bug: Some(bug), ..cluster }.checker().spawn_bfs().join();
            for rule in rules {
                let path = checker.discovery(rule);
                let path = path.unwrap_or_else(|| panic!("{bug:?} does not break: {rule}"));
                println!("{bug:?} breaks \"{rule}\" in {} steps", path.into_actions().len());
            }
        }
    }
}
