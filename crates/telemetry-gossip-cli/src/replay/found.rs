//! What a replay came upon, and the verdict.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::json;
use telemetry_gossip_recorder::{Divergence, Ending, FileHeader, Player, Start, Tail};
use telemetry_gossip_tokio::PeerAddr;

use crate::error::Error;
use crate::text;

/// Divergences are told one by one up to this many.
const TOLD: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Found {
    files: u64,
    /// Lives of the node that begin in the record.
    boots: u64,
    inputs: u64,
    blocks: u64,
    /// The wall clock at the first input and at the last, in microseconds since 1970.
    pub(super) start: Option<u64>,
    pub(super) end: u64,
    /// Inputs that were not recorded, in so many places.
    missing: u64,
    gaps: u64,
    divergences: Vec<Divergence>,
    /// Files that do not end in good order.
    ends: Vec<(PathBuf, Tail)>,
    /// How long the core took.
    pub(super) took: Duration,
}

impl Found {
    /// A file begins; whether another life of the node begins with it.
    pub(super) fn opened(
        &mut self,
        header: &FileHeader<PeerAddr>,
        missing: u64,
        divergence: Option<Divergence>,
    ) -> bool {
        let boots = matches!(header.start, Start::Boot(_));
        self.files += 1;
        self.boots += u64::from(boots);
        self.missing += missing;
        self.gaps += u64::from(missing > 0);
        self.divergences.extend(divergence);
        boots && self.files > 1
    }

    pub(super) fn played(&mut self) {
        self.inputs += 1;
    }

    pub(super) fn compared(&mut self, compared: Result<(), Divergence>) {
        self.blocks += 1;
        self.divergences.extend(compared.err());
    }

    pub(super) fn closed(&mut self, path: PathBuf, tail: Tail) {
        if !matches!(tail, Tail::Ended(_)) {
            self.ends.push((path, tail));
        }
    }

    /// From the first input to the last.
    fn span(&self) -> Duration {
        Duration::from_micros(self.end.saturating_sub(self.start.unwrap_or(self.end)))
    }

    /// How many times faster than it happened.
    fn speed(&self) -> f64 {
        self.span().as_secs_f64() / self.took.as_secs_f64().max(1e-9)
    }

    pub(super) fn print(
        &self,
        out: &mut impl Write,
        player: &Player<PeerAddr>,
        json: bool,
    ) -> io::Result<()> {
        let time = |micros| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
            humantime::format_rfc3339_millis(time).to_string()
        };
        let (start, end) = (time(self.start.unwrap_or(self.end)), time(self.end));
        let (digest, node) = (player.digest(), player.node());
        let hash = format!("{:016x}", digest.hash);
        let ends: Vec<String> = self.ends.iter().map(|(path, tail)| ending(path, *tail)).collect();
        let differs: Vec<String> = self.divergences.iter().map(ToString::to_string).collect();
        if json {
            let summary = json!({
                "replay": node.me().id(), "from": start, "to": end, "files": self.files, "lives": self.boots,
                "inputs": self.inputs, "blocks": self.blocks, "missing": self.missing, "gaps": self.gaps,
                "datagrams": digest.transmits, "events": digest.events, "hash": hash,
                "differs": differs, "ends": ends, "span_s": self.span().as_secs_f64(), "took_s": self.took.as_secs_f64(), "speed": self.speed(),
            });
            return writeln!(out, "{summary}");
        }
        let id = text::printable(node.me().id(), 127);
        let files =
            if self.files == 1 { "1 file".to_owned() } else { format!("{} files", self.files) };
        writeln!(out, "{id}: {files}, from {start} to {end} ({})", text::age(self.span()))?;
        let lives = match self.boots {
            0 => "the record begins in the middle of the node's life".to_owned(),
            1 => "the node started once".to_owned(),
            more => format!("the node started {more} times"),
        };
        writeln!(
            out,
            "  {lives}; {} inputs replayed; in this life {} datagrams sent, {} events told so far",
            self.inputs, digest.transmits, digest.events
        )?;
        if self.missing > 0 {
            writeln!(out, "  {} inputs in {} places were not recorded", self.missing, self.gaps)?;
        }
        for end in &ends {
            writeln!(out, "  {end}")?;
        }
        for differs in differs.iter().take(TOLD) {
            writeln!(out, "  {differs}")?;
        }
        if differs.is_empty() {
            writeln!(
                out,
                "  the replay is what was recorded, block by block: {} blocks, hash {hash}",
                self.blocks
            )?;
        }
        writeln!(out, "  {:.0} times as fast as it happened", self.speed())
    }

    /// The verdict as an exit: what differs is a fault, what is missing if all was asked for.
    pub(super) fn verdict(&self, verify: bool) -> Result<(), Error> {
        if !self.divergences.is_empty() {
            let what =
                format!("the replay differs from the record in {} places", self.divergences.len());
            return Err(Error::Replay(format!(
                "{what}: this build of the core decides otherwise than the one that recorded"
            )));
        }
        let damaged = self.ends.iter().filter(|(_, tail)| !matches!(tail, Tail::Open)).count();
        if verify && (self.missing > 0 || damaged > 0) {
            return Err(Error::Replay(format!(
                "what there is replays as recorded, but {} inputs are missing and {damaged} files are damaged or torn",
                self.missing
            )));
        }
        Ok(())
    }
}

/// How a file ended, where that is worth a word.
fn ending(path: &std::path::Path, tail: Tail) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let what = match tail {
        Tail::Open => "ends without a word: the node was killed, or still runs".to_owned(),
        Tail::Torn { bytes, .. } => {
            format!(
                "ends in the middle of a block: the node was killed as it wrote, {bytes} bytes are not read"
            )
        }
        Tail::Damaged { block, .. } => {
            format!(
                "is damaged: block {block} has another checksum, it and what follows is not read"
            )
        }
        Tail::Ended(Ending::Ended) => "ends with the node".to_owned(),
        Tail::Ended(Ending::Rotated) => "is followed by another".to_owned(),
        _ => "is not read to its end".to_owned(),
    };
    format!("{name} {what}")
}
