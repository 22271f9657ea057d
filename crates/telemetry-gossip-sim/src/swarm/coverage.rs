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

const fn required(counter: &'static str, within: u64) -> Required {
    Required { counter, within }
}

/// What happens in random scenarios: a new kind of fault gets a line for what counts it. Every counter of a report is either here
/// or among the [`EXCUSED`].
pub const REQUIRED: &[Required] = &[
    required("events.alive", 50),
    required("events.dead", 50),
    required("events.isolated", 50),
    required("events.joined", 50),
    required("events.left", 50),
    required("events.moved", 150),
    required("events.reconnected", 50),
    required("events.refuted", 50),
    required("events.suspected", 50),
    required("events.telemetry", 50),
    required("nodes.acks_unmatched", 50),
    required("nodes.bytes_received", 50),
    required("nodes.bytes_sent", 50),
    required("nodes.datagrams_received", 50),
    required("nodes.datagrams_sent", 50),
    required("nodes.datagrams_while_inactive", 150),
    required("nodes.pauses", 50),
    required("nodes.probes", 50),
    required("nodes.probes_failed", 50),
    required("nodes.probes_indirect", 50),
    required("nodes.refutations", 50),
    required("nodes.relays", 50),
    required("nodes.roll_calls", 50),
    required("nodes.syncs", 50),
    required("nodes.syncs_failed", 50),
    required("nodes.telemetry_ignored", 50),
    required("nodes.telemetry_merged", 50),
    required("nodes.telemetry_resent", 50),
    required("traffic.cut", 50),
    required("traffic.delivered", 50),
    required("traffic.duplicated", 50),
    required("traffic.lost", 50),
    required("traffic.nobody", 50),
    required("traffic.replayed", 50),
    required("traffic.sent", 50),
    required("traffic.sent_bytes", 50),
    required("traffic.too_long", 1_000),
    required("operations.crash", 50),
    required("operations.cut", 50),
    required("operations.heal", 50),
    required("operations.join", 50),
    required("operations.leave", 50),
    required("operations.lose", 50),
    required("operations.network", 50),
    required("operations.partition", 50),
    required("operations.pause", 50),
    required("operations.restart", 50),
    required("operations.resume", 50),
    required("operations.ring", 50),
];

/// What random scenarios do not bring about, and why.
pub const EXCUSED: &[(&str, &str)] = &[
    ("events.identity_conflicts", "each process has an id of its own"),
    ("events.removed", "tombstones outlive the run"),
    ("nodes.claims_implausible", "nobody lies"),
    ("nodes.claims_not_in_config", "no cluster config is applied"),
    ("nodes.claims_table_full", "tables have room for all"),
    ("nodes.datagrams_malformed", "datagrams arrive as they were sent"),
    ("nodes.datagrams_other_label", "all are of one cluster"),
    ("nodes.datagrams_other_version", "all are of one version"),
    ("nodes.events_shed", "the simulator takes every event"),
    ("nodes.frames_unknown", "all are of one version"),
    ("nodes.outbox_shed", "the simulator takes every datagram"),
    ("nodes.relays_shed", "so few nodes do not ask so often"),
    ("traffic.overflowed", "no pause is long enough to fill a queue"),
    ("operations.block", "nobody is blocked"),
    ("operations.publish", "telemetry is a load, not a step"),
    ("operations.unblock", "nobody is blocked"),
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
