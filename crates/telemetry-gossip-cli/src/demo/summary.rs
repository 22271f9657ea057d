//! The measurements of a demo, and the summary at its end.

use std::fmt;
use std::time::Duration;

use telemetry_gossip_core::{Config, Stats};

use crate::text::{bytes, seconds, the_others};

/// What all nodes have sent up to a point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    pub(crate) datagrams: u64,
}

impl Sent {
    pub(crate) fn add(&mut self, stats: &Stats) {
        self.bytes += stats.bytes_sent;
        self.datagrams += stats.datagrams_sent;
    }
}

/// Traffic during a span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) sent: Sent,
    pub(crate) span: Duration,
}

impl Traffic {
    /// The traffic between two counts.
    pub(crate) fn between(before: Sent, after: Sent, span: Duration) -> Self {
        let sent = Sent {
            bytes: after.bytes.saturating_sub(before.bytes),
            datagrams: after.datagrams.saturating_sub(before.datagrams),
        };
        Self { sent, span }
    }

    fn per_node(&self, nodes: usize) -> String {
        let nodes = nodes.max(1) as u64;
        format!(
            "{} in {} datagrams per node",
            bytes(self.sent.bytes / nodes),
            self.sent.datagrams / nodes
        )
    }

    fn per_node_second(&self, nodes: usize) -> String {
        let node_millis = (self.span.as_millis() * nodes as u128).max(1);
        let rate = u128::from(self.sent.bytes) * 1_000 / node_millis;
        format!("{} per node and second", bytes(u64::try_from(rate).unwrap_or(u64::MAX)))
    }
}

/// The measurements of the whole demo.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) nodes: usize,
    pub(crate) config: Config,
    pub(crate) total: Duration,
    /// From the first socket until all views were complete.
    pub(crate) joined: Duration,
    /// From the publication until all other nodes had it.
    pub(crate) telemetry: Duration,
    /// From the kill to the first suspicion.
    pub(crate) suspected: Duration,
    /// From the kill to the first view in which the node was Dead.
    pub(crate) first_dead: Duration,
    /// From the kill until the node was Dead in all views.
    pub(crate) dead: Duration,
    /// From the restart until all views were complete.
    pub(crate) returned: Duration,
    /// From the leave until all other nodes knew of it.
    pub(crate) left: Duration,
    pub(crate) joining: Traffic,
    pub(crate) after: Traffic,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, others) = (self.nodes, the_others(self.nodes - 1));
        writeln!(f, "Summary of {n} nodes on loopback UDP, {}", settings(&self.config))?;
        let mut row = |label: &str, text: String| writeln!(f, "  {label:10} {text}");
        row("join", format!("{} until all {n} views were complete", seconds(self.joined)))?;
        row("telemetry", format!("{} until {others} had it", seconds(self.telemetry)))?;
        row(
            "crash",
            format!(
                "suspected after {}, first held dead after {}, held dead by {others} after {}",
                seconds(self.suspected),
                seconds(self.first_dead),
                seconds(self.dead)
            ),
        )?;
        row(
            "return",
            format!("{} until all {n} views were complete again", seconds(self.returned)),
        )?;
        row("leave", format!("{} until {others} knew of it", seconds(self.left)))?;
        row("joining", self.joining.per_node(n))?;
        row(
            "after that",
            format!("{}, {}", self.after.per_node(n), self.after.per_node_second(n)),
        )?;
        write!(f, "PASS: the demo saw every step, {} in all", seconds(self.total))
    }
}

/// Describes the settings that determine the times.
pub(crate) fn settings(config: &Config) -> String {
    format!(
        "a probe every {:?}, gossip every {:?}, datagrams of at most {} B",
        config.probe_interval, config.gossip_interval, config.mtu
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_printed_per_node_and_second() {
        let before = Sent { bytes: 1_000, datagrams: 10 };
        let after = Sent { bytes: 41_000, datagrams: 210 };
        let traffic = Traffic::between(before, after, Duration::from_secs(2));
        assert_eq!(traffic.per_node(10), "4.0 KB in 20 datagrams per node");
        assert_eq!(traffic.per_node_second(10), "2.0 KB per node and second");
    }
}
