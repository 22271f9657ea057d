//! Replays the files of a node one after the other, step by step.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use telemetry_gossip_core::{Address, Instant};
use thiserror::Error;

use crate::block::{Block, Cursor, Entries};
use crate::format::{Entry, FileHeader, OutputDigest, Start};
use crate::play::{Continuation, Divergence, Output, PlayError, Player};
use crate::read::{ReadError, Reader, Tail};

/// One step of a [`Playback`].
#[derive(Debug)]
#[non_exhaustive]
pub enum PlaybackStep<A: Clone + 'static> {
    /// A file begins, and the node has the state at its start.
    #[non_exhaustive]
    Opened {
        /// The header of the file.
        header: Box<FileHeader<A>>,
        /// The number of inputs of the same instance that are missing before this file.
        missing: u64,
        /// The difference, if the replay had reached another state than the file begins with. The
        /// state of the file has replaced it.
        divergence: Option<Divergence>,
    },
    /// An input to [play](Playback::play). If it is not played, the replay differs from here on.
    Input(Entry<A>),
    /// A block ended, and the replay was compared with it.
    Compared(Result<(), Divergence>),
    /// A file ended.
    #[non_exhaustive]
    Closed {
        /// The file.
        path: PathBuf,
        /// How it ended.
        tail: Tail,
    },
    /// A file, or the rest of it, cannot be replayed. The next one follows.
    #[non_exhaustive]
    Skipped {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: PlaybackReason,
    },
}

/// The error of a record that cannot be replayed further.
#[derive(Debug, Error)]
#[non_exhaustive]
#[error("{}: {reason}", path.display())]
pub struct PlaybackError {
    /// The current file.
    pub path: PathBuf,
    /// The reason.
    pub reason: PlaybackReason,
}

/// The reason of a [`PlaybackError`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlaybackReason {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file cannot be replayed.
    #[error(transparent)]
    Play(#[from] PlayError),
}

impl From<io::Error> for PlaybackReason {
    fn from(error: io::Error) -> Self {
        Self::Read(error.into())
    }
}

/// Replays the files of a node one after the other.
///
/// Whatever is in the files, it holds at most 32 times the bytes of the longest block, and 32 MiB;
/// beside that what the node comes to hold by the inputs, within the bounds of its settings. A file
/// that cannot be replayed is skipped, which is a step that names the block and the rule. If it is
/// the only one, or none can be replayed, that is an error.
///
/// ```no_run
/// use telemetry_gossip_recorder::{Playback, PlaybackStep, list};
///
/// let files = list("/var/lib/edge/record".as_ref())?.into_iter().map(|file| file.path);
/// let mut playback = Playback::<std::net::SocketAddr>::new(files);
/// while let Some(step) = playback.next_step()? {
///     if let PlaybackStep::Input(entry) = step {
///         playback.play(&entry, |output| println!("{}: {output:?}", entry.at));
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Playback<A: Clone + 'static> {
    files: VecDeque<PathBuf>,
    /// Whether there is one file only.
    alone: bool,
    path: PathBuf,
    reader: Option<Reader<BufReader<File>, A>>,
    player: Option<Player<A>>,
    instance: Option<u64>,
    /// The inputs of the present block, and the next of them.
    block: Option<(Entries<A>, Cursor)>,
    digest: Option<OutputDigest>,
}

impl<A: Address + Serialize + DeserializeOwned + 'static> Playback<A> {
    /// Replays these files in this order, which is that of [`list`](crate::list).
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files: VecDeque<PathBuf> = files.into_iter().collect();
        Self {
            alone: files.len() == 1,
            files,
            path: PathBuf::new(),
            reader: None,
            player: None,
            instance: None,
            block: None,
            digest: None,
        }
    }

    /// Returns the next step; `None` at the end of the last file.
    pub fn next_step(&mut self) -> Result<Option<PlaybackStep<A>>, PlaybackError> {
        match self.step() {
            Ok(step) => Ok(step),
            Err(reason) => {
                (self.reader, self.block, self.digest) = (None, None, None);
                let path = self.path.clone();
                if self.alone || (self.files.is_empty() && self.player.is_none()) {
                    return Err(PlaybackError { path, reason });
                }
                Ok(Some(PlaybackStep::Skipped { path, reason }))
            }
        }
    }

    fn step(&mut self) -> Result<Option<PlaybackStep<A>>, PlaybackReason> {
        if let Some(entry) = self.next_entry() {
            return Ok(Some(PlaybackStep::Input(entry)));
        }
        if let (Some(digest), Some(player)) = (self.digest.take(), &mut self.player) {
            return Ok(Some(PlaybackStep::Compared(player.compare(&digest))));
        }
        let Some(reader) = &mut self.reader else { return self.open() };
        // A block without inputs has no step.
        while let Some(block) = reader.next_block()? {
            let Block { entries, digest } = block;
            if !entries.is_empty() {
                let begin = entries.begin();
                (self.block, self.digest) = (Some((entries, begin)), Some(digest));
                return Ok(self.next_entry().map(PlaybackStep::Input));
            }
        }
        let tail = reader.tail();
        self.reader = None;
        Ok(Some(PlaybackStep::Closed { path: self.path.clone(), tail }))
    }

    fn next_entry(&mut self) -> Option<Entry<A>> {
        let (entries, cursor) = self.block.as_mut()?;
        let entry = entries.next(cursor);
        if entry.is_none() {
            self.block = None;
        }
        entry
    }

    fn open(&mut self) -> Result<Option<PlaybackStep<A>>, PlaybackReason> {
        let Some(path) = self.files.pop_front() else { return Ok(None) };
        self.path = path;
        let mut reader = match Reader::new(BufReader::new(File::open(&self.path)?)) {
            Ok(reader) => reader,
            // The process was killed as it began this file. The files before it are intact.
            Err(ReadError::NoHeader) if self.player.is_some() => {
                let tail = Tail::Torn { bytes: File::open(&self.path)?.metadata()?.len() };
                return Ok(Some(PlaybackStep::Closed { path: self.path.clone(), tail }));
            }
            Err(error) => return Err(error.into()),
        };
        let header = reader.take_header();
        let (mut missing, mut divergence) = (0, None);
        match &mut self.player {
            Some(player) => {
                if self.instance == Some(header.instance) && !matches!(header.start, Start::Boot(_))
                {
                    missing = header.before.inputs.saturating_sub(player.inputs());
                }
                if let Continuation::Diverged(found) = player.follow(&header)? {
                    divergence = Some(found);
                }
            }
            None => self.player = Some(Player::start(&header)?),
        }
        self.instance = Some(header.instance);
        self.reader = Some(reader);
        Ok(Some(PlaybackStep::Opened { header: Box::new(header), missing, divergence }))
    }

    /// Handles an input as the recorded node did, and passes its outputs to `output`. Returns false
    /// if the node refuses the input.
    pub fn play(&mut self, entry: &Entry<A>, output: impl FnMut(Output<'_, A>)) -> bool {
        self.player.as_mut().is_some_and(|player| player.play(entry, output))
    }

    /// Returns the player with the node at this moment; `None` before the first file.
    #[must_use]
    pub fn player(&self) -> Option<&Player<A>> {
        self.player.as_ref()
    }

    /// Returns the node's time at this moment.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.player.as_ref().map_or(Instant::ORIGIN, |player| player.node().now())
    }
}
