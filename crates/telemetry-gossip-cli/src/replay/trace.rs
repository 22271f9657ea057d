//! A part of a record as a file of its own, for a regression test. The file begins with the state
//! of the node and contains the expected outcome.

use std::fs;
use std::path::Path;

use telemetry_gossip_core::Config;
use telemetry_gossip_recorder::{
    Boot, Chunk, Entry, KnownMember, Limits, Output, Player, RecordError, Recorder, TraceFixture,
};
use telemetry_gossip_tokio::PeerAddr;

use crate::error::Error;

/// A new record, written while the old one is replayed.
pub(super) struct Trace {
    recorder: Recorder,
    before: Vec<KnownMember<PeerAddr>>,
    config: Config,
}

impl Trace {
    /// Begins with the present state of the node, at this time of the wall clock. If the node has
    /// had no input yet, begins with the parameters that it was started with.
    pub(super) fn begin(
        player: &Player<PeerAddr>,
        boot: Option<Boot<PeerAddr>>,
        unix_micros: u64,
    ) -> Result<Self, Error> {
        // All of it goes into one file.
        let limits = Limits::default().file_bytes(u64::MAX);
        let recorder = match boot {
            Some(boot) => Recorder::new(boot, limits, unix_micros),
            None => Recorder::resumed(player.node(), limits, unix_micros),
        };
        let recorder = recorder.map_err(not_recorded)?;
        Ok(Self {
            recorder,
            before: KnownMember::of(player.node()),
            config: player.node().config().clone(),
        })
    }

    /// Handles the beginning of another file; `broken` says that inputs before it are missing, or
    /// that it belongs to a new instance of the node.
    pub(super) fn interrupted(&self, broken: bool) -> Result<(), Error> {
        if broken {
            return Err(Error::Usage(
                "this part of the record has a gap or a restart of the node, and a test must have \
                 neither: choose another part with --from and --at"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    pub(super) fn input(&mut self, entry: &Entry<PeerAddr>) -> Result<(), Error> {
        self.recorder.input(entry.at, &entry.input).map_err(not_recorded)
    }

    pub(super) fn output(&mut self, output: &Output<'_, PeerAddr>) {
        match output {
            Output::Transmit { to, bytes, .. } => self.recorder.transmit(to, bytes),
            Output::Event(event) => self.recorder.event(event),
            _ => {}
        }
    }

    pub(super) fn handled(
        &mut self,
        player: &Player<PeerAddr>,
        accepted: bool,
    ) -> Result<(), Error> {
        self.recorder.handled(player.node(), accepted).map_err(not_recorded)
    }

    /// Ends the record, and writes it with the expected outcome.
    pub(super) fn write(mut self, path: &Path, player: &Player<PeerAddr>) -> Result<(), Error> {
        self.recorder.end();
        let after = KnownMember::of(player.node());
        let fixture = TraceFixture::new(self.before, self.config, after);
        let fixture = Chunk::fixture(&fixture).map_err(not_recorded)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = self.recorder.poll_chunk() {
            bytes.extend_from_slice(chunk.bytes());
            if chunk.new_file().is_some() {
                bytes.extend_from_slice(fixture.bytes());
            }
        }
        fs::write(path, bytes).map_err(|error| Error::Unwritable { path: path.to_owned(), error })
    }
}

fn not_recorded(error: RecordError) -> Error {
    Error::Replay(format!("the file of the test cannot be made: {error}"))
}
