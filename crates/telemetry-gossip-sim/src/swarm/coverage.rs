//! The coverage of a sweep: the sums of all counters in the reports, and a table of those that must
//! not be zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::Report;

/// A counter that must not be zero after a large sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Required {
    /// The name of the counter in [`Coverage`].
    pub counter: &'static str,
    /// The number of seeds from which on the counter must not be zero: about twenty times as many
    /// as one occurrence takes on average.
    pub within: u64,
}

/// For counters of at least one seed in five.
const OFTEN: u64 = 100;
/// For counters of at least one seed in 16.
const SOMETIMES: u64 = 300;
/// For counters of at least one seed in a hundred.
const SELDOM: u64 = 2_000;

const fn required(counter: &'static str, within: u64) -> Required {
    Required { counter, within }
}

/// The counters that random scenarios must raise. A new kind of fault needs a line for its counter
/// here. Every counter of a report is either in this table or in [`EXCUSED`].
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
    required("operations.lie", OFTEN),
    required("operations.lie-crowd", SOMETIMES),
    required("operations.lie-ladder", SOMETIMES),
    required("operations.lie-newcomers", SOMETIMES),
    required("operations.lie-partner", SOMETIMES),
    required("operations.lie-poison", SOMETIMES),
    required("operations.lie-recording", SOMETIMES),
    required("operations.lie-rival", SOMETIMES),
    required("operations.lie-spoof", SOMETIMES),
    required("operations.lose", OFTEN),
    required("operations.network", OFTEN),
    required("operations.partition", OFTEN),
    required("operations.pause", SOMETIMES),
    required("operations.restart", OFTEN),
    required("operations.resume", SOMETIMES),
    required("operations.reunite", SELDOM),
    required("operations.ring", SOMETIMES),
    required("operations.slow", OFTEN),
    required("operations.stop-lying", OFTEN),
    required("operations.twin", SOMETIMES),
    required("operations.unblock", SOMETIMES),
    required("traffic.altered", SOMETIMES),
    required("traffic.congested", SOMETIMES),
    required("traffic.cut", OFTEN),
    required("traffic.delivered", OFTEN),
    required("traffic.duplicated", OFTEN),
    required("traffic.lies", OFTEN),
    required("traffic.lost", OFTEN),
    required("traffic.lost_by_kind", SOMETIMES),
    required("traffic.no_listener", OFTEN),
    required("traffic.recorded", SOMETIMES),
    required("traffic.replayed", OFTEN),
    required("traffic.sent", OFTEN),
    required("traffic.sent_bytes", OFTEN),
    required("traffic.to_liars", OFTEN),
    required("traffic.too_long", SELDOM),
    required("nodes.acks_unmatched", OFTEN),
    required("nodes.bytes_received", OFTEN),
    required("nodes.bytes_sent", OFTEN),
    required("nodes.claims_implausible", OFTEN),
    required("nodes.claims_not_in_config", SELDOM),
    required("nodes.claims_unasked", OFTEN),
    required("nodes.claims_waited", OFTEN),
    required("nodes.datagrams_echoed", SOMETIMES),
    required("nodes.datagrams_not_in_config", SELDOM),
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
    required("nodes.ping_reqs", OFTEN),
    required("nodes.roll_calls", OFTEN),
    required("nodes.rows_visited", OFTEN),
    required("nodes.syncs", OFTEN),
    required("nodes.syncs_failed", OFTEN),
    required("nodes.telemetry_ignored", OFTEN),
    required("nodes.telemetry_merged", OFTEN),
    required("nodes.telemetry_resent", OFTEN),
];

/// The counters that random scenarios do not raise, with the reasons.
pub const EXCUSED: &[(&str, &str)] = &[
    ("operations.publish", "telemetry is published by a load, not by steps"),
    ("traffic.overflowed", "no pause is long enough to fill a queue"),
    ("nodes.addresses_refused", "addresses of the simulator are numbers, all of which are allowed"),
    ("nodes.claims_table_full", "tables have room for all members"),
    ("nodes.frames_beyond_limit", "no step packs several questions into one datagram"),
    ("nodes.events_shed", "the simulator drains every event"),
    ("nodes.outbox_shed", "the simulator drains every datagram"),
    ("nodes.ping_reqs_shed", "so few nodes send too few ping-reqs"),
];

/// The value of a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Count {
    /// The sum over all runs.
    pub total: u64,
    /// The number of runs in which the counter is not zero.
    pub runs: u64,
}

/// The counters of all runs of a sweep by name: `events.*` for the events of all nodes, `traffic.*`
/// for the network, `nodes.*` for the counters of the nodes, and `operations.*` for the steps that
/// had an effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    runs: u64,
    counters: BTreeMap<String, Count>,
}

impl Coverage {
    /// Adds the counters of a run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        for (name, count) in counters(report) {
            let sum = self.counters.entry(name).or_default();
            sum.total += count;
            sum.runs += u64::from(count > 0);
        }
    }

    /// The sum of a counter over all runs; 0 if there is no such counter.
    #[must_use]
    pub fn total(&self, counter: &str) -> u64 {
        self.count(counter).total
    }

    /// The value of a counter; zero if there is no such counter.
    #[must_use]
    pub fn count(&self, counter: &str) -> Count {
        self.counters.get(counter).copied().unwrap_or_default()
    }

    /// All counters that were counted or are required, ordered by name.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&str, Count> {
        let required = REQUIRED.iter().map(|required| (required.counter, Count::default()));
        required.chain(self.counters.iter().map(|(name, &count)| (name.as_str(), count))).collect()
    }

    /// The required counters that are zero after enough runs.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        let missing = |required: &&Required| {
            self.runs >= required.within && self.total(required.counter) == 0
        };
        REQUIRED.iter().filter(missing).map(|required| required.counter)
    }
}

/// All counters of a report, by the names of its fields. New fields are included automatically.
fn counters(report: &Report) -> impl Iterator<Item = (String, u64)> {
    let Report { events, traffic, stats, operations, .. } = report;
    let parts = [
        ("events", toml::Table::try_from(events)),
        ("traffic", toml::Table::try_from(traffic)),
        ("nodes", toml::Table::try_from(stats)),
        ("operations", toml::Table::try_from(operations)),
    ];
    parts.into_iter().flat_map(|(part, counts)| {
        let count =
            |value: toml::Value| value.as_integer().and_then(|count| u64::try_from(count).ok());
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
        for name in REQUIRED
            .iter()
            .map(|required| required.counter)
            .chain(EXCUSED.iter().map(|(name, _)| *name))
        {
            assert!(listed.insert(name), "{name} is listed twice");
        }
        let report = run(&Scenario::named("mixed").unwrap(), 1).unwrap();
        let counted: BTreeSet<String> = counters(&report).map(|(name, _)| name).collect();
        for name in &counted {
            assert!(listed.contains(name.as_str()), "{name} is neither in REQUIRED nor in EXCUSED");
        }
        // A report contains only those operations that occurred, but all other counters.
        for name in listed.iter().filter(|name| !name.starts_with("operations.")) {
            assert!(counted.contains(*name), "nothing counts {name}");
        }
    }

    /// Of a band of seeds in which no liar says anything, nothing is learned about lies.
    #[test]
    fn a_band_of_runs_without_lies_is_caught() {
        let crash = run(&Scenario::named("crash").unwrap().with_nodes(4), 1).unwrap();
        let mut coverage = Coverage::default();
        for _ in 0..SOMETIMES {
            coverage.add(&crash);
        }
        let missing: Vec<_> = coverage.missing().collect();
        for counter in ["operations.lie", "operations.lie-rival", "traffic.lies"] {
            assert!(missing.contains(&counter), "{counter}");
        }
    }

    #[test]
    fn a_counter_at_zero_is_missing_only_after_enough_runs() {
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
