//! Taking down what happens to a node. No IO and no clock: whoever runs the node carries the pieces
//! to a file.
//!
//! ```text
//!                 input, transmit.., event.., handled
//!        +------------------------------------------------+
//!        v                                                |
//!   recording --- a piece could not be carried: shed ---> gap: inputs are counted, nothing is taken down
//!        ^                                                |
//!        +------- resume: a file with the state as it is -+
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use postcard::ser_flavors::ExtendFlavor;
use serde::Serialize;
use telemetry_gossip_core::{Address, Event, Input, Instant, Node, NodeId, SnapshotError};
use thiserror::Error;

use crate::digest::Digest;
use crate::format::{
    Boot, Brief, Ending, EntriesHead, FRAME_LEN, Opening, Origin, Seal, Start, entry, frame,
    header, kind,
};

/// When a block is complete, and when a file is.
///
/// ```
/// use std::time::Duration;
/// use telemetry_gossip_recorder::Limits;
///
/// let limits = Limits { file: 1 << 20, ..Limits::default() };
/// assert_eq!(limits.block_span, Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of inputs in a block; what is in the open one is lost if the process is killed.
    /// Default 32 KiB.
    pub block: usize,
    /// The time from the first to the last input of a block. Default 1 s.
    pub block_span: Duration,
    /// Bytes of a file; or twice those of the node's state, if that is more. Default 8 MiB.
    pub file: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { block: 32 << 10, block_span: Duration::from_secs(1), file: 8 << 20 }
    }
}

/// Why something was not recorded. The recording has a gap from there on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The node's state cannot be saved.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The state or an input is longer than a block may be.
    #[error("{what} is longer than the 256 MiB that a block may have")]
    TooLong {
        /// What.
        what: &'static str,
    },
    /// An address has no serialised form.
    #[error("the address type of this node cannot be serialised")]
    Address,
}

/// Something to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The beginning of a new file: its header and opening.
    Begin {
        /// Which file of the node's life, from 0.
        serial: u32,
        /// What to write.
        bytes: Vec<u8>,
    },
    /// More of the same file.
    More(Vec<u8>),
}

impl Piece {
    /// What a record that became a test says about itself: it goes right behind the opening.
    pub fn brief<A: Serialize>(brief: &Brief<A>) -> Result<Self, RecordError> {
        let mut bytes = Vec::new();
        append(&mut bytes, kind::BRIEF, brief)?;
        Ok(Self::More(bytes))
    }

    /// What to write.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Begin { bytes, .. } | Self::More(bytes) => bytes,
        }
    }
}

/// Takes down one node's life. The crate's documentation has an example.
#[derive(Debug)]
pub struct Recorder {
    limits: Limits,
    id: NodeId,
    run: u64,
    serial: u32,
    /// The wall clock less the node's, in microseconds; for people.
    unix_lead: u64,
    digest: Digest,
    inputs: u64,
    last: Instant,
    /// The entries of the open block, behind room for its frame.
    block: Block,
    /// Bytes of the file so far, and how many it may have.
    file: u64,
    file_limit: u64,
    /// Recording was given up, with this many inputs on record.
    gap: Option<u64>,
    /// Each with the inputs that are on record once it is written.
    pieces: VecDeque<(u64, Piece)>,
    /// The inputs on record with the last piece that was polled, and with the one before it.
    polled: u64,
    polled_before: u64,
}

#[derive(Debug, Default)]
struct Block {
    entries: Vec<u8>,
    count: u32,
    since: Instant,
    /// The last entry's outputs are not complete.
    open_entry: bool,
}

impl Recorder {
    /// A recorder of a node from its start, before its first input. `unix_micros` is the wall clock
    /// at that time in microseconds since 1970: it names the run, and is for people otherwise.
    pub fn new<A: Address + Serialize>(
        boot: Boot<A>,
        limits: Limits,
        unix_micros: u64,
    ) -> Result<Self, RecordError> {
        let at = boot.at;
        let mut recorder = Self::empty(boot.identity.id, limits, at, unix_micros);
        recorder.begin(Start::Boot(Box::new(boot)), at)?;
        Ok(recorder)
    }

    /// A recorder of a node from now on, in the middle of its life: what went before is not known.
    pub fn resumed<A: Address + Serialize>(
        node: &Node<A>,
        limits: Limits,
        unix_micros: u64,
    ) -> Result<Self, RecordError> {
        // An id in a table is a valid one.
        let id = NodeId::new(node.me().id()).map_err(|_| RecordError::Address)?;
        let mut recorder = Self::empty(id, limits, node.now(), unix_micros);
        recorder.begin_with_state(node, Origin::Cut)?;
        Ok(recorder)
    }

    fn empty(id: NodeId, limits: Limits, at: Instant, unix_micros: u64) -> Self {
        Self {
            limits,
            id,
            run: unix_micros,
            serial: 0,
            unix_lead: unix_micros.wrapping_sub(at.as_micros()),
            digest: Digest::default(),
            inputs: 0,
            last: at,
            block: Block::default(),
            file: 0,
            file_limit: limits.file,
            gap: None,
            pieces: VecDeque::new(),
            polled: 0,
            polled_before: 0,
        }
    }

    /// An input is about to be handled.
    pub fn input<A: Address + Serialize>(
        &mut self,
        now: Instant,
        input: &Input<'_, A>,
    ) -> Result<(), RecordError> {
        // As the core does: time never goes back.
        let now = now.max(self.last);
        let since = std::mem::replace(&mut self.last, now);
        self.inputs += 1;
        if self.gap.is_some() {
            return Ok(());
        }
        if self.block.count == 0 {
            self.block.since = since;
        }
        (self.block.count, self.block.open_entry) = (self.block.count + 1, true);
        self.block.put(since, now, input).inspect_err(|_| self.give_up())
    }

    /// The node has sent a datagram.
    pub fn transmit<A: Serialize>(&mut self, to: &A, bytes: &[u8]) {
        self.digest.transmit(to, bytes);
    }

    /// The node has told an event.
    pub fn event<A: Serialize>(&mut self, event: &Event<A>) {
        self.digest.event(event);
    }

    /// All that came of the input was polled; `accepted` unless the node refused it. Pieces may be
    /// there to be carried.
    pub fn handled<A: Address + Serialize>(
        &mut self,
        node: &Node<A>,
        accepted: bool,
    ) -> Result<(), RecordError> {
        self.digest.handled(accepted);
        self.block.open_entry = false;
        if self.gap.is_some() {
            return Ok(());
        }
        let old = self.last.since(self.block.since) >= self.limits.block_span;
        if old || self.block.entries.len() >= self.limits.block {
            self.close_block();
            if self.file >= self.file_limit {
                self.put(kind::ENDING, &Ending::Rotated);
                return self
                    .begin_with_state(node, Origin::Rotated)
                    .inspect_err(|_| self.give_up());
            }
        }
        Ok(())
    }

    /// The next piece to be written.
    pub fn poll_piece(&mut self) -> Option<Piece> {
        let (inputs, piece) = self.pieces.pop_front()?;
        self.polled_before = std::mem::replace(&mut self.polled, inputs);
        Some(piece)
    }

    /// The piece polled last could not be carried: the recording is given up until
    /// [`Recorder::resume`].
    pub fn shed(&mut self) {
        self.polled = self.polled_before;
        self.give_up();
    }

    /// What was carried cannot be written: the recording is given up until [`Recorder::resume`],
    /// and what is queued, or in the open block, becomes no part of any file.
    pub fn give_up(&mut self) {
        self.gap.get_or_insert(self.polled);
        self.pieces.clear();
        self.block.clear();
    }

    /// Whether the recording was given up.
    #[must_use]
    pub fn is_shed(&self) -> bool {
        self.gap.is_some()
    }

    /// Begins a new file with the node's state as it is, between two inputs. It says how many were
    /// not recorded.
    pub fn resume<A: Address + Serialize>(&mut self, node: &Node<A>) -> Result<(), RecordError> {
        let on_record = self.gap.take().unwrap_or(self.inputs);
        let lost = self.inputs - on_record;
        self.begin_with_state(node, Origin::Gap { lost })
            .inspect_err(|_| self.gap = Some(on_record))
    }

    /// The node has ended: what is open is closed. After a panic, too: the input that led to it is
    /// the last.
    pub fn end(&mut self) {
        if self.gap.is_none() {
            self.close_block();
            self.put(kind::ENDING, &Ending::Ended);
        }
    }

    /// Inputs so far, recorded or not.
    #[must_use]
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    fn seal(&self) -> Seal {
        Seal {
            inputs: self.inputs,
            hash: self.digest.hash(),
            transmits: self.digest.transmits(),
            events: self.digest.events(),
            unfinished: self.block.open_entry,
        }
    }

    fn begin_with_state<A: Address + Serialize>(
        &mut self,
        node: &Node<A>,
        origin: Origin,
    ) -> Result<(), RecordError> {
        let state = node.snapshot()?;
        self.file_limit = self.limits.file.max(2 * state.len() as u64);
        self.begin(Start::<A>::State { origin, state }, self.last)
    }

    fn begin<A: Address + Serialize>(
        &mut self,
        start: Start<A>,
        at: Instant,
    ) -> Result<(), RecordError> {
        let opening = Opening {
            library: env!("CARGO_PKG_VERSION").to_owned(),
            id: self.id,
            run: self.run,
            serial: self.serial,
            at,
            unix_micros: at.as_micros().wrapping_add(self.unix_lead),
            start,
            before: self.seal(),
        };
        let mut bytes = header().to_vec();
        append(&mut bytes, kind::OPENING, &opening)?;
        self.file = bytes.len() as u64;
        self.pieces.push_back((self.inputs, Piece::Begin { serial: self.serial, bytes }));
        self.serial = self.serial.saturating_add(1);
        Ok(())
    }

    fn close_block(&mut self) {
        if self.block.count == 0 {
            return;
        }
        let head =
            EntriesHead { seal: self.seal(), count: self.block.count, since: self.block.since };
        let mut payload = Vec::with_capacity(FRAME_LEN + 64 + self.block.entries.len());
        payload.resize(FRAME_LEN, 0);
        payload.push(kind::ENTRIES);
        // Numbers alone: nothing can refuse.
        let mut payload =
            postcard::serialize_with_flavor(&head, ExtendFlavor::new(payload)).unwrap_or_default();
        payload.extend_from_slice(&self.block.entries);
        self.block.clear();
        match payload
            .split_first_chunk_mut()
            .and_then(|(place, payload)| Some((place, frame(payload)?)))
        {
            Some((place, frame)) => {
                *place = frame;
                self.file += payload.len() as u64;
                self.pieces.push_back((self.inputs, Piece::More(payload)));
            }
            // One input alone is longer than a block may be.
            None => self.give_up(),
        }
    }

    fn put(&mut self, kind: u8, value: &impl Serialize) {
        let mut bytes = Vec::new();
        if append(&mut bytes, kind, value).is_ok() {
            self.file += bytes.len() as u64;
            self.pieces.push_back((self.inputs, Piece::More(bytes)));
        }
    }
}

impl Block {
    fn put<A: Address + Serialize>(
        &mut self,
        since: Instant,
        now: Instant,
        input: &Input<'_, A>,
    ) -> Result<(), RecordError> {
        let micros = now.as_micros() - since.as_micros();
        self.value(&micros)?;
        match input {
            Input::Tick => self.entries.push(entry::TICK),
            Input::Datagram { from, bytes } => {
                self.entries.push(entry::DATAGRAM);
                self.value(from)?;
                self.value(&bytes.len())?;
                self.entries.extend_from_slice(bytes);
            }
            other => {
                self.entries.push(entry::INPUT);
                self.value(other)?;
            }
        }
        Ok(())
    }

    fn value(&mut self, value: &impl Serialize) -> Result<(), RecordError> {
        let entries = std::mem::take(&mut self.entries);
        let written = postcard::serialize_with_flavor(value, ExtendFlavor::new(entries));
        self.entries = written.map_err(|_| RecordError::Address)?;
        Ok(())
    }

    /// Keeps the room.
    fn clear(&mut self) {
        self.entries.clear();
        (self.count, self.open_entry) = (0, false);
    }
}

/// A whole block.
fn append(bytes: &mut Vec<u8>, kind: u8, value: &impl Serialize) -> Result<(), RecordError> {
    let payload = postcard::to_extend(value, vec![kind]).map_err(|_| RecordError::Address)?;
    let frame = frame(&payload).ok_or(RecordError::TooLong { what: "the state of the node" })?;
    bytes.extend_from_slice(&frame);
    bytes.extend_from_slice(&payload);
    Ok(())
}
