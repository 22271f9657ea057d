//! The arguments of recording and of `tgossip replay`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use telemetry_gossip_core::NodeId;
use telemetry_gossip_tokio::Recording;

use super::node_id;

/// Into how many files a record is divided, so that the oldest can go.
const FILES: usize = 8;

/// The least of a record: a file must have room for more than the state that it begins with.
const LEAST: u64 = 1 << 20;

/// Where to record, and how much.
#[derive(Clone, Debug, Args)]
pub(crate) struct RecordArgs {
    /// Record all that happens to the node in files in this folder, for `tgossip replay`. They hold
    /// its telemetry and its secrets.
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,
    /// About how much is kept, 1MiB at least; the oldest goes first.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size, requires = "record")]
    pub(crate) record_limit: u64,
}

impl RecordArgs {
    pub(crate) fn recording(&self) -> Option<Recording> {
        let folder = self.record.as_ref()?;
        let file_bytes = self.record_limit / FILES as u64;
        Some(Recording::new(folder).file_bytes(file_bytes).files(FILES))
    }
}

fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => 0,
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|&bytes| bytes >= LEAST)
        .ok_or_else(|| "a size is a number and a unit, 1MiB at least: type 64MiB or 2GB".to_owned())
}

/// Replay what was recorded of a node: what happened to it, what it held and why, at any moment.
///
/// The recorded inputs go through the core of this build once more. That it says and tells the same
/// is checked block by block, against the hash that was recorded.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip replay /var/lib/edge/record
  tgossip replay /var/lib/edge/record --events --from 2026-03-07T14:02:00Z --at 2026-03-07T14:05:00Z
  tgossip replay /var/lib/edge/record --at +90s --members --explain edge-7
  tgossip replay /var/lib/edge/record --from +80s --at +2m --as-test tests/traces/flapping.tgrec

A TIME is one of the wall clock, as above, or a span after the start of the record: +90s, \"+1h 5m\".
A record may be of another life of the node than the present one: each begins where the node was started.

Exit codes:
  0    replayed
  1    the replay differs from the record, or with --verify: something is missing or damaged
  2    wrong arguments
  3    a file could not be read or written, or is no record")]
pub(crate) struct ReplayArgs {
    /// A file of a record, or the folder of its files.
    #[arg(value_name = "FILE|DIR")]
    pub(crate) path: PathBuf,
    /// Which node, if the folder has records of several.
    #[arg(long, value_name = "ID", value_parser = node_id)]
    pub(crate) node: Option<NodeId>,
    /// Show events from here on; a test begins here.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) from: Option<Moment>,
    /// Stop at this time, instead of the end.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<Moment>,
    /// Print what the node told its host, with the times it did.
    #[arg(long)]
    pub(crate) events: bool,
    /// Print whom the node knew at the end, or at the time of --at.
    #[arg(long)]
    pub(crate) members: bool,
    /// Print why it held this member to be what it was, then.
    #[arg(long, value_name = "ID", value_parser = node_id)]
    pub(crate) explain: Option<NodeId>,
    /// Fail unless all is there and the replay comes to all that was recorded.
    #[arg(long)]
    pub(crate) verify: bool,
    /// Write a file that a regression test replays: this stretch of the record, and how it ends.
    #[arg(long, value_name = "FILE")]
    pub(crate) as_test: Option<PathBuf>,
    /// Print JSON, one object a line, instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A time in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long after its start.
    After(Duration),
    /// By the wall clock.
    Wall(SystemTime),
}

impl Moment {
    /// As a time of the wall clock, in microseconds since 1970, in a record that started at one.
    pub(crate) fn unix_micros(self, start: u64) -> u64 {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        match self {
            Self::After(span) => start.saturating_add(micros(span)),
            Self::Wall(time) => {
                micros(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
            }
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let after = text.strip_prefix('+').and_then(|span| humantime::parse_duration(span).ok());
    let wall = || humantime::parse_rfc3339_weak(text).ok();
    after.map(Moment::After).or_else(|| wall().map(Moment::Wall)).ok_or_else(|| {
        "a time is a span after the start of the record, or one of the wall clock: type +90s or \
         2026-03-07T14:05:00Z"
            .to_owned()
    })
}
