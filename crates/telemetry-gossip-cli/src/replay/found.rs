//! The findings of a replay, and its result.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;
use telemetry_gossip_recorder::{
    Divergence, Ending, FileHeader, PlaybackReason, Player, Start, Tail,
};
use telemetry_gossip_tokio::PeerAddr;

use crate::error::Error;
use crate::text::{self, counted};

/// The number of divergences printed as text.
const MAX_PRINTED_DIVERGENCES: usize = 3;

/// The number of divergences that are kept, and printed as JSON. A forged record may have one per
/// block; all of them are counted.
const MAX_KEPT_DIVERGENCES: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Found {
    files: u64,
    /// Instances of the node that begin in the record.
    instances: u64,
    inputs: u64,
    blocks: u64,
    /// The wall clock at the first input and at the last, in microseconds since 1970.
    pub(super) start: Option<u64>,
    pub(super) end: u64,
    /// Whether the record ends before the time at which the replay was to stop.
    pub(super) ends_before_stop: bool,
    /// The number of inputs that were not recorded, and of the gaps that they leave.
    missing: u64,
    gaps: u64,
    divergences: Vec<Divergence>,
    /// The number of all divergences, those that are not kept included.
    places: u64,
    /// Files that do not end properly.
    ends: Vec<(PathBuf, Tail)>,
    /// Files that cannot be replayed, each with the reason. There are as many as files.
    skipped: Vec<String>,
    /// Time that the core took.
    pub(super) took: Duration,
}

impl Found {
    /// Counts a file. Returns whether a new instance of the node begins with it.
    pub(super) fn opened(
        &mut self,
        header: &FileHeader<PeerAddr>,
        missing: u64,
        divergence: Option<Divergence>,
    ) -> bool {
        let begins = matches!(header.start, Start::Boot(_));
        self.files += 1;
        self.instances += u64::from(begins);
        self.missing = self.missing.saturating_add(missing);
        self.gaps += u64::from(missing > 0);
        self.diverged(divergence);
        begins && self.files > 1
    }

    pub(super) fn played(&mut self) {
        self.inputs += 1;
    }

    pub(super) fn compared(&mut self, compared: Result<(), Divergence>) {
        self.blocks += 1;
        self.diverged(compared.err());
    }

    fn diverged(&mut self, divergence: Option<Divergence>) {
        let Some(divergence) = divergence else { return };
        self.places += 1;
        if self.divergences.len() < MAX_KEPT_DIVERGENCES {
            self.divergences.push(divergence);
        }
    }

    pub(super) fn closed(&mut self, path: PathBuf, tail: Tail) {
        if !matches!(tail, Tail::Ended(_)) {
            self.ends.push((path, tail));
        }
    }

    pub(super) fn skipped(&mut self, path: &Path, reason: &PlaybackReason) {
        self.skipped.push(format!("{} is skipped: {reason}", name(path)));
    }

    /// The time from the first input to the last.
    fn span(&self) -> Duration {
        Duration::from_micros(self.end.saturating_sub(self.start.unwrap_or(self.end)))
    }

    /// How many times faster the replay was than the recorded events.
    fn speed(&self) -> f64 {
        self.span().as_secs_f64() / self.took.as_secs_f64().max(1e-9)
    }

    /// When the record ends, if that is before the time at which the replay was to stop.
    pub(super) fn end_before_stop(&self) -> Option<String> {
        self.ends_before_stop.then(|| wall_clock(self.end))
    }

    pub(super) fn print(
        &self,
        out: &mut impl Write,
        player: &Player<PeerAddr>,
        json: bool,
    ) -> io::Result<()> {
        // A record without an input has no times.
        let start = self.start.map(wall_clock);
        let end = self.start.map(|_| wall_clock(self.end));
        let (digest, node) = (player.digest(), player.node());
        let hash = format!("{:016x}", digest.hash);
        let ends: Vec<String> = self.ends.iter().map(|(path, tail)| ending(path, *tail)).collect();
        let differs: Vec<String> = self.divergences.iter().map(ToString::to_string).collect();
        if json {
            let summary = json!({
                "replay": node.me().id(),
                "from": start,
                "to": end,
                "ends_before_at": self.ends_before_stop,
                "files": self.files,
                "instances": self.instances,
                "inputs": self.inputs,
                "blocks": self.blocks,
                "missing": self.missing,
                "gaps": self.gaps,
                "datagrams": digest.transmits,
                "events": digest.events,
                "hash": hash,
                "differs": differs,
                "ends": ends,
                "skipped": self.skipped,
                "span_s": self.span().as_secs_f64(),
                "took_s": self.took.as_secs_f64(),
                "speed": self.speed(),
            });
            return writeln!(out, "{summary}");
        }
        let id = text::word(node.me().id());
        let span = start.zip(end).map_or_else(
            || "no inputs".to_owned(),
            |(start, end)| format!("from {start} to {end} ({})", text::age(self.span())),
        );
        writeln!(out, "{id}: {}, {span}", counted(self.files, "file"))?;
        if self.ends_before_stop {
            writeln!(out, "  the record ends before the time of --at")?;
        }
        let starts = match self.instances {
            0 => "the record begins while the node was running".to_owned(),
            1 => "the node started once".to_owned(),
            more => format!("the node started {more} times"),
        };
        writeln!(
            out,
            "  {starts}; {} replayed; this instance sent {} and emitted {}",
            counted(self.inputs, "input"),
            counted(digest.transmits, "datagram"),
            counted(digest.events, "event")
        )?;
        if self.missing > 0 {
            writeln!(
                out,
                "  the record lacks {} in {}",
                counted(self.missing, "input"),
                counted(self.gaps, "gap")
            )?;
        }
        for line in self.skipped.iter().chain(&ends) {
            writeln!(out, "  {line}")?;
        }
        for differs in differs.iter().take(MAX_PRINTED_DIVERGENCES) {
            writeln!(out, "  {differs}")?;
        }
        if differs.is_empty() {
            writeln!(
                out,
                "  the replay equals the record: {} compared, hash {hash}",
                counted(self.blocks, "block")
            )?;
        }
        writeln!(out, "  the replay ran {:.0} times as fast as the node", self.speed())
    }

    /// The result of the replay: any difference is an error; with `verify`, so is a record that is
    /// incomplete or damaged.
    pub(super) fn verdict(&self, verify: bool) -> Result<(), Error> {
        if !self.divergences.is_empty() {
            let places = counted(self.places, "place");
            return Err(Error::Replay(format!(
                "the replay differs from the record in {places}: the core of this build behaves \
                 differently from the one that recorded. Replay with the build that made the record"
            )));
        }
        let damaged = self.ends.iter().filter(|(_, tail)| !matches!(tail, Tail::Open)).count();
        let damaged = damaged + self.skipped.len();
        if verify && (self.missing > 0 || damaged > 0) {
            return Err(Error::Replay(format!(
                "the record is incomplete: it lacks {}, and the number of files that are damaged, \
                 or end in the middle of a block, is {damaged}. The rest replays as recorded",
                counted(self.missing, "input"),
            )));
        }
        Ok(())
    }
}

/// Formats microseconds since 1970.
fn wall_clock(micros: u64) -> String {
    text::wall_clock(SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
}

fn name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Describes how a file ends.
fn ending(path: &Path, tail: Tail) -> String {
    let name = name(path);
    let what = match tail {
        Tail::Open => {
            "ends without an end mark: the node was killed, or is still running".to_owned()
        }
        Tail::Torn { bytes, .. } => format!(
            "ends in the middle of a block, as the node was killed while it wrote: the replay \
             lacks the last {}",
            counted(bytes, "byte")
        ),
        Tail::Damaged { block, .. } => format!(
            "is damaged: the checksum of block {block} is wrong. This block and the rest of the \
             file were not replayed"
        ),
        Tail::Ended(Ending::Ended) => "ends with the end of the node".to_owned(),
        Tail::Ended(Ending::Rotated) => "is continued by another file".to_owned(),
        _ => "was not read to its end".to_owned(),
    };
    format!("{name} {what}")
}
