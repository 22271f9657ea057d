//! The arguments of `--record` and of `tgossip replay`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use telemetry_gossip_core::NodeId;
use telemetry_gossip_tokio::Recording;

use super::values::node_id;

/// The number of files of a record. When they are full, the oldest is deleted.
const FILES: usize = 8;

/// The smallest limit of a record in bytes. Each file begins with the state of the node and must
/// have room for inputs after it.
const MIN_RECORD_BYTES: u64 = 1 << 20;

/// Where to record, and how much to keep.
#[derive(Clone, Debug, Args)]
pub(crate) struct RecordArgs {
    /// Record every input of the node into files in this folder, for `tgossip replay`. The files
    /// contain its telemetry and its secrets.
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,
    /// Approximate size to keep, at least 1MiB; the oldest inputs are deleted first.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        value_parser = size,
        requires = "record",
        allow_hyphen_values = true
    )]
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
        .filter(|&bytes| bytes >= MIN_RECORD_BYTES)
        .ok_or_else(|| "a size is a number and a unit, at least 1MiB: type 64MiB or 2GB".to_owned())
}

/// Replay the record of a node: its events, and its view of the cluster at any time.
///
/// The command gives the recorded inputs to the core of this build. After each block of the record
/// it compares the datagrams and events of the replay with the recorded hash.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip replay /var/lib/edge/record
  tgossip replay /var/lib/edge/record --at +90s --members --explain edge-7
  tgossip replay /var/lib/edge/record --events \\
      --from 2026-03-07T14:02:00Z --at 2026-03-07T14:05:00Z
  tgossip replay /var/lib/edge/record --from +80s --at +2m \\
      --as-test tests/traces/flapping.tgrec

A TIME is a time of the wall clock, as above, or a span after the start of the record, such as \
+90s or \"+1h 5m\". A record may contain several instances of the node: a new one begins each \
time the node was started.

Exit codes:
  0    the record was replayed
  1    the replay differs from the record; with --verify, also if the record
       is incomplete or damaged
  2    wrong arguments
  3    a file could not be read or written, or is not a record
  5    the node knew no member of --explain then, or the record ends before
       the time of --at; all that was asked for is printed all the same")]
pub(crate) struct ReplayArgs {
    /// File of a record, or the folder of its files.
    #[arg(value_name = "FILE|DIR")]
    pub(crate) path: PathBuf,
    /// Id of the node, if the folder has records of several.
    #[arg(long, value_name = "ID", value_parser = node_id)]
    pub(crate) node: Option<NodeId>,
    /// Print events from this time on. With --as-test, the test begins here.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) from: Option<Moment>,
    /// Stop at this time, instead of at the end of the record.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<Moment>,
    /// Print the events of the node, with their times.
    #[arg(long)]
    pub(crate) events: bool,
    /// Print the members that the node knew at the end, or at the time of --at.
    #[arg(long)]
    pub(crate) members: bool,
    /// Print why the node considered this member alive, suspected or dead at that time.
    #[arg(long, value_name = "ID", value_parser = node_id)]
    pub(crate) explain: Option<NodeId>,
    /// Fail unless the record is complete and undamaged.
    #[arg(long)]
    pub(crate) verify: bool,
    /// Write this part of the record, with its expected outcome, as a file for a regression test.
    #[arg(long, value_name = "FILE")]
    pub(crate) as_test: Option<PathBuf>,
    /// Print JSON, one object per line, instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A point in time of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A span after the start of the record.
    After(Duration),
    /// A time of the wall clock.
    Wall(SystemTime),
}

impl Moment {
    /// Converts to the wall clock, in microseconds since 1970. `start` is the start of the record
    /// in the same unit.
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
        "a time is a span after the start of the record or a time of the wall clock: type +90s or \
         2026-03-07T14:05:00Z"
            .to_owned()
    })
}
