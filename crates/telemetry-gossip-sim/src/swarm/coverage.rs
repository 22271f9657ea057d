//! What happened in the runs of a sweep: everything that a report counts, added up, and a table of what has to be there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::Report;

/// A counter that a sweep must not leave at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Required {
    /// Its name in [`Coverage`].
    pub counter: &'static str,
    /// A sweep of so many seeds is expected to see it happen: some twenty times as many as it takes on average.
    pub within: u64,
}

/// In one seed of five at least.
const OFTEN: u64 = 100;
/// In one of sixteen.
const SOMETIMES: u64 = 300;
/// In one of a hundred.
const SELDOM: u64 = 2_000;

const fn required(counter: &'static str, within: u64) -> Required {
    Required { counter, within }
}

/// What happens in random scenarios: a new kind of fault gets a line for what counts it. Every counter of a report is either here
/// or among the [`EXCUSED`].
pub const REQUIRED: &[Required] = &[
    required("events.alive", OFTEN),
    required("events.dead", OFTEN),
    required("events.identity_conflicts", SOMETIMES),
    required("events.isolated", OFTEN),
    required("events.joined", OFTEN),
    required("events.left", SOMETIMES),
    required("events.moved", SOMETIMES),
    required("events.reconnected", OFTEN),
    required("events.refuted", OFTEN),
    required("events.removed", SELDOM),
    required("events.suspected", OFTEN),
    required("events.telemetry", OFTEN),
    required("operations.accept-loss", SOMETIMES),
    required("operations.block", SOMETIMES),
    required("operations.configure", SOMETIMES),
    required("operations.crash", OFTEN),
    required("operations.cut", SOMETIMES),
    required("operations.ghosts", SOMETIMES),
    required("operations.heal", OFTEN),
    required("operations.join", OFTEN),
    required("operations.jump", SOMETIMES),
    required("operations.leave", SOMETIMES),
    required("operations.lose", OFTEN),
    required("operations.network", OFTEN),
    required("operations.partition", OFTEN),
    required("operations.pause", SOMETIMES),
    required("operations.restart", OFTEN),
    required("operations.resume", SOMETIMES),
    required("operations.reunite", SELDOM),
    required("operations.ring", SOMETIMES),
    required("operations.slow", OFTEN),
    required("operations.twin", SOMETIMES),
    required("operations.unblock", SOMETIMES),
    required("traffic.altered", SOMETIMES),
    required("traffic.cut", OFTEN),
    required("traffic.delivered", OFTEN),
    required("traffic.duplicated", OFTEN),
    required("traffic.lost", OFTEN),
    required("traffic.lost_by_kind", SOMETIMES),
    required("traffic.nobody", OFTEN),
    required("traffic.replayed", OFTEN),
    required("traffic.sent", OFTEN),
    required("traffic.sent_bytes", OFTEN),
    required("traffic.too_long", SELDOM),
    required("nodes.acks_unmatched", OFTEN),
    required("nodes.bytes_received", OFTEN),
    required("nodes.bytes_sent", OFTEN),
    required("nodes.claims_not_in_config", SELDOM),
    required("nodes.datagrams_malformed", SOMETIMES),
    required("nodes.datagrams_other_label", SOMETIMES),
    required("nodes.datagrams_other_version", SOMETIMES),
    required("nodes.datagrams_received", OFTEN),
    required("nodes.datagrams_sent", OFTEN),
    required("nodes.datagrams_while_inactive", SOMETIMES),
    required("nodes.frames_unknown", SOMETIMES),
    required("nodes.pauses", OFTEN),
    required("nodes.probes", OFTEN),
    required("nodes.probes_failed", OFTEN),
    required("nodes.probes_indirect", OFTEN),
    required("nodes.refutations", OFTEN),
    required("nodes.relays", OFTEN),
    required("nodes.roll_calls", OFTEN),
    required("nodes.syncs", OFTEN),
    required("nodes.syncs_failed", OFTEN),
    required("nodes.telemetry_ignored", OFTEN),
    required("nodes.telemetry_merged", OFTEN),
    required("nodes.telemetry_resent", OFTEN),
];

/// What random scenarios do not bring about, and why.
pub const EXCUSED: &[(&str, &str)] = &[
    ("operations.publish", "telemetry is a load, not a step"),
    ("traffic.overflowed", "no pause is long enough to fill a queue"),
    ("nodes.claims_implausible", "ghosts, and what is altered, are never so far ahead"),
    ("nodes.claims_table_full", "tables have room for all"),
    ("nodes.events_shed", "the simulator takes every event"),
    ("nodes.outbox_shed", "the simulator takes every datagram"),
    ("nodes.relays_shed", "so few nodes do not ask so often"),
];

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// In all runs together.
    pub total: u64,
    /// In how many runs it did at all.
    pub runs: u64,
}

/// How often what happened, by counter: `events.*` of all nodes, `traffic.*` of the network, `nodes.*` the counters of the nodes
/// themselves, `operations.*` the steps of scenarios that found something to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    runs: u64,
    counters: BTreeMap<String, Count>,
}

impl Coverage {
    /// Adds what a run has counted.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        for (name, count) in counters(report) {
            let sum = self.counters.entry(name).or_default();
            sum.total += count;
            sum.runs += u64::from(count > 0);
        }
    }

    /// How often something happened in all runs; 0 for what is not counted.
    #[must_use]
    pub fn total(&self, counter: &str) -> u64 {
        self.count(counter).total
    }

    /// How often something happened, and in how many runs.
    #[must_use]
    pub fn count(&self, counter: &str) -> Count {
        self.counters.get(counter).copied().unwrap_or_default()
    }

    /// Everything that is counted or required, in the order of the names.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&str, Count> {
        let required = REQUIRED.iter().map(|required| (required.counter, Count::default()));
        required.chain(self.counters.iter().map(|(name, &count)| (name.as_str(), count))).collect()
    }

    /// What should have happened in so many runs, and never did.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        let missing =
            |required: &&Required| self.runs >= required.within && self.total(required.counter) == 0;
        REQUIRED.iter().filter(missing).map(|required| required.counter)
    }
}

/// Everything that a report counts, by the names of its fields: a field that is added is counted without a word.
fn counters(report: &Report) -> impl Iterator<Item = (String, u64)> {
    let Report { events, traffic, stats, operations, .. } = report;
    let parts = [
        ("events", toml::Table::try_from(events)),
        ("traffic", toml::Table::try_from(traffic)),
        ("nodes", toml::Table::try_from(stats)),
        ("operations", toml::Table::try_from(operations)),
    ];
    parts.into_iter().flat_map(|(part, counts)| {
        let count = |value: toml::Value| value.as_integer().and_then(|count| u64::try_from(count).ok());
        let counts = counts.unwrap_or_default().into_iter();
        counts.filter_map(move |(name, value)| Some((format!("{part}.{name}"), count(value)?)))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::{Scenario, run};

    #[test]
    fn every_counter_is_required_or_excused_once() {
        let mut listed = BTreeSet::new();
        for name in
            REQUIRED.iter().map(|required| required.counter).chain(EXCUSED.iter().map(|(name, _)| *name))
        {
            assert!(listed.insert(name), "{name} is listed twice");
        }
        let report = run(&Scenario::named("mixed").unwrap(), 1).unwrap();
        let counted: BTreeSet<String> = counters(&report).map(|(name, _)| name).collect();
        for name in &counted {
            assert!(listed.contains(name.as_str()), "{name} is neither in REQUIRED nor in EXCUSED");
        }
        // Operations are counted once there are some; the rest is there from the start.
        for name in listed.iter().filter(|name| !name.starts_with("operations.")) {
            assert!(counted.contains(*name), "nothing counts {name}");
        }
    }

    #[test]
    fn what_never_happened_is_missing_only_from_a_sweep_large_enough() {
        let quiet = run(&Scenario::named("quiet").unwrap().with_nodes(2), 1).unwrap();
        let mut coverage = Coverage::default();
        let dead = REQUIRED.iter().find(|required| required.counter == "events.dead").unwrap();
        for _ in 1..dead.within {
            coverage.add(&quiet);
        }
        assert!(coverage.missing().all(|counter| counter != dead.counter));
        coverage.add(&quiet);
        assert!(coverage.missing().any(|counter| counter == dead.counter));
        assert!(coverage.missing().all(|counter| counter != "events.joined"));
        let crash = run(&Scenario::named("crash").unwrap().with_nodes(4), 1).unwrap();
        coverage.add(&crash);
        assert!(coverage.missing().all(|counter| counter != dead.counter));
        assert_eq!(coverage.count("operations.crash"), Count { total: 1, runs: 1 });
    }
}
