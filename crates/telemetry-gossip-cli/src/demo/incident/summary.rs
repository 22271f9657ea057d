//! The times of a demo with a registry.

use std::fmt;
use std::time::Duration;

use crate::text::seconds;

/// The measurements of the whole demo.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    /// The nodes that joined first.
    pub(super) nodes: usize,
    /// What the registry was.
    pub(super) registry: &'static str,
    /// The last version.
    pub(super) version: u64,
    pub(super) total: Duration,
    /// From the first write until all views were complete and version 1 was in force.
    pub(super) joined: Duration,
    /// From the write until the version was in force everywhere and the new node in all views.
    pub(super) added: Duration,
    /// From the write until no other node listed the removed one.
    pub(super) removed: Duration,
    /// From the write until the removed node had left by itself.
    pub(super) left: Duration,
    /// How long the registry was down.
    pub(super) outage: Duration,
    /// From the kill until the node was Dead in all views.
    pub(super) dead: Duration,
    /// From the restart of the crashed node until all views were complete.
    pub(super) returned: Duration,
    /// From the end of the process until all others knew the next one.
    pub(super) restarted: Duration,
    /// From the publication until all other nodes had it.
    pub(super) telemetry: Duration,
    /// From the return of the registry until all nodes were current.
    pub(super) current: Duration,
    /// From the next write until it was in force everywhere.
    pub(super) written: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, registry, version, .. } = self;
        writeln!(f, "Summary of {nodes} nodes on loopback UDP whose registry is {registry}")?;
        let mut row = |label: &str, text: String| writeln!(f, "  {label:11} {text}");
        row("join", format!("{} until version 1 was in force everywhere", seconds(self.joined)))?;
        row("add", format!("{} until all listed the new node", seconds(self.added)))?;
        row(
            "remove",
            format!(
                "{} until no other node listed the removed one, {} until that had left by itself",
                seconds(self.removed),
                seconds(self.left)
            ),
        )?;
        row("down", format!("the registry was down for {}; meanwhile:", seconds(self.outage)))?;
        row("  crash", format!("known to all after {}", seconds(self.dead)))?;
        row("  restart", format!("known to all after {}", seconds(self.restarted)))?;
        row("  return", format!("known to all after {}", seconds(self.returned)))?;
        row("  telemetry", format!("known to all after {}", seconds(self.telemetry)))?;
        row("  removed", "came back, and was admitted nowhere".to_owned())?;
        row("current", format!("{} from the return until all were", seconds(self.current)))?;
        row(
            "next",
            format!("{} until version {version} was in force everywhere", seconds(self.written)),
        )?;
        write!(f, "PASS: the demo saw every step, {} in all", seconds(self.total))
    }
}
