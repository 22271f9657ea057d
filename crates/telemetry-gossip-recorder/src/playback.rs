//! Files in order, and what is in them step by step: the whole record of a node as one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use telemetry_gossip_core::{Address, Instant};
use thiserror::Error;

use crate::format::{Entry, Opening, Seal, Start};
use crate::play::{Divergence, Output, PlayError, Player};
use crate::read::{ReadError, Reader, Tail};

/// What comes next in a record.
#[derive(Debug)]
pub enum Step<A: Clone + 'static> {
    /// A file begins, and the node is as it was then.
    Opened {
        /// Which node, when, and where the file starts.
        opening: Box<Opening<A>>,
        /// Inputs of the same life between the file before and this one that are not on record.
        missing: u64,
        /// The node had come to another state than the file begins with; it is that of the file
        /// now.
        divergence: Option<Divergence>,
    },
    /// An input is to be [played](Playback::play); if it is not, the replay differs from there on.
    Input(Entry<A>),
    /// A block ended: the replay came to what was recorded, or not.
    Compared(Result<(), Divergence>),
    /// A file ended.
    Closed {
        /// Which.
        path: PathBuf,
        /// How.
        tail: Tail,
    },
}

/// Why a record cannot be replayed further.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct PlaybackError {
    /// The file at hand.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: PlaybackReason,
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum PlaybackReason {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be replayed.
    #[error(transparent)]
    Play(#[from] PlayError),
}

impl From<io::Error> for PlaybackReason {
    fn from(error: io::Error) -> Self {
        Self::Read(error.into())
    }
}

/// Replays files one after the other.
///
/// ```no_run
/// use telemetry_gossip_recorder::{Playback, Step, list};
///
/// let files = list("/var/lib/edge/record".as_ref())?.into_iter().map(|file| file.path);
/// let mut playback = Playback::<std::net::SocketAddr>::new(files);
/// while let Some(step) = playback.next_step()? {
///     if let Step::Input(entry) = step {
///         playback.play(&entry, |output| println!("{}: {output:?}", entry.at));
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Playback<A: Clone + 'static> {
    files: VecDeque<PathBuf>,
    path: PathBuf,
    reader: Option<Reader<BufReader<File>, A>>,
    player: Option<Player<A>>,
    run: Option<u64>,
    entries: VecDeque<Entry<A>>,
    seal: Option<Seal>,
}

impl<A: Address + Serialize + DeserializeOwned + 'static> Playback<A> {
    /// These files, in this order: as [`list`](crate::list) has those of one node.
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            files: files.into_iter().collect(),
            path: PathBuf::new(),
            reader: None,
            player: None,
            run: None,
            entries: VecDeque::new(),
            seal: None,
        }
    }

    /// The next step; `None` at the end of the last file.
    pub fn next_step(&mut self) -> Result<Option<Step<A>>, PlaybackError> {
        self.step().map_err(|reason| PlaybackError { path: self.path.clone(), reason })
    }

    fn step(&mut self) -> Result<Option<Step<A>>, PlaybackReason> {
        if let Some(entry) = self.entries.pop_front() {
            return Ok(Some(Step::Input(entry)));
        }
        if let (Some(seal), Some(player)) = (self.seal.take(), &mut self.player) {
            return Ok(Some(Step::Compared(player.compare(&seal))));
        }
        let Some(reader) = &mut self.reader else { return self.open() };
        // A block has an input at least, or nothing is to be done for it.
        while let Some(block) = reader.next_block()? {
            self.entries = block.entries.into();
            self.seal = Some(block.seal);
            if let Some(entry) = self.entries.pop_front() {
                return Ok(Some(Step::Input(entry)));
            }
        }
        let tail = reader.tail();
        self.reader = None;
        Ok(Some(Step::Closed { path: self.path.clone(), tail }))
    }

    fn open(&mut self) -> Result<Option<Step<A>>, PlaybackReason> {
        let Some(path) = self.files.pop_front() else { return Ok(None) };
        self.path = path;
        let reader = match Reader::new(BufReader::new(File::open(&self.path)?)) {
            Ok(reader) => reader,
            // The node was killed as it was begun, which does no harm to the files before it.
            Err(ReadError::NoOpening) if self.player.is_some() => {
                let tail = Tail::Torn { bytes: File::open(&self.path)?.metadata()?.len() };
                return Ok(Some(Step::Closed { path: self.path.clone(), tail }));
            }
            Err(error) => return Err(error.into()),
        };
        let opening = reader.opening().clone();
        let (mut missing, mut divergence) = (0, None);
        match &mut self.player {
            Some(player) => {
                if self.run == Some(opening.run) && !matches!(opening.start, Start::Boot(_)) {
                    missing = opening.before.inputs.saturating_sub(player.inputs());
                }
                divergence = player.follow(&opening)?.err();
            }
            None => self.player = Some(Player::start(&opening)?),
        }
        self.run = Some(opening.run);
        self.reader = Some(reader);
        Ok(Some(Step::Opened { opening: Box::new(opening), missing, divergence }))
    }

    /// Handles an input as the recorded node did, and passes on what comes of it. False if the node
    /// refuses it.
    pub fn play(&mut self, entry: &Entry<A>, output: impl FnMut(Output<'_, A>)) -> bool {
        self.player.as_mut().is_some_and(|player| player.play(entry, output))
    }

    /// The node as it is at this moment; `None` before the first file.
    #[must_use]
    pub fn player(&self) -> Option<&Player<A>> {
        self.player.as_ref()
    }

    /// The node's time at this moment.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.player.as_ref().map_or(Instant::ORIGIN, |player| player.node().now())
    }
}
