//! Records the inputs of a node. It does no IO and reads no clock: the host writes the chunks to
//! files.
//!
//! ```text
//!                input, transmit.., event.., handled
//!       +-----------------------------------------------+
//!       v                                               |
//!   recording --- shed: a chunk could not be written ---> gap: inputs are counted only
//!       ^                                               |
//!       +------ resume: a new file with the state ------+
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use postcard::ser_flavors::ExtendFlavor;
use serde::Serialize;
use telemetry_gossip_core::{
    Address, Event, Input, Instant, MAX_CONFIG_IDS, MAX_SEEDS, Node, NodeId, SnapshotError,
};
use thiserror::Error;

use crate::digest::OutputHasher;
#[cfg(test)]
use crate::format::PREAMBLE_LEN;
use crate::format::{
    Boot, Ending, EntriesHead, FRAME_LEN, FileHeader, MAX_FIXTURE_MEMBERS, Origin, OutputDigest,
    Start, TraceFixture, entry, frame, kind, preamble,
};

/// The limits of blocks and files.
///
/// ```
/// use std::time::Duration;
/// use telemetry_gossip_recorder::Limits;
///
/// let limits = Limits::default().file_bytes(1 << 20);
/// assert_eq!(limits.block_span, Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// A block with this many bytes of inputs is complete. The incomplete block is lost if the
    /// process is killed. Default 32 KiB.
    pub block_bytes: usize,
    /// A block is complete when this much time has passed since its first input. Default 1 s.
    pub block_span: Duration,
    /// A file with this many bytes is complete; or with twice the bytes of the node's state, if
    /// that is more. Default 8 MiB.
    pub file_bytes: u64,
}

impl Limits {
    /// Sets [`block_bytes`](Self::block_bytes).
    #[must_use]
    pub const fn block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes;
        self
    }

    /// Sets [`block_span`](Self::block_span).
    #[must_use]
    pub const fn block_span(mut self, span: Duration) -> Self {
        self.block_span = span;
        self
    }

    /// Sets [`file_bytes`](Self::file_bytes).
    #[must_use]
    pub const fn file_bytes(mut self, bytes: u64) -> Self {
        self.file_bytes = bytes;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { block_bytes: 32 << 10, block_span: Duration::from_secs(1), file_bytes: 8 << 20 }
    }
}

/// The error of an input or a state that was not recorded. The record has a gap from there on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The node cannot be saved.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The state or an input exceeds the size of a block.
    #[error("{what} is longer than a record can hold")]
    #[non_exhaustive]
    TooLong {
        /// The name of what is too long.
        what: &'static str,
    },
    /// The address type returned an error when it was serialised.
    #[error("an address of this node cannot be serialised")]
    Address,
}

/// Bytes to write to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    new_file: Option<u32>,
    bytes: Vec<u8>,
}

impl Chunk {
    /// Makes the chunk of a fixture, which belongs right after the first chunk of a file.
    pub fn fixture<A: Serialize>(fixture: &TraceFixture<A>) -> Result<Self, RecordError> {
        let members = fixture.before.len().max(fixture.after.len());
        if members > MAX_FIXTURE_MEMBERS {
            return Err(RecordError::TooLong { what: "the members of a fixture" });
        }
        let mut bytes = Vec::new();
        append(&mut bytes, kind::FIXTURE, fixture)?;
        Ok(Self::more(bytes))
    }

    const fn more(bytes: Vec<u8>) -> Self {
        Self { new_file: None, bytes }
    }

    /// Returns the opening of a file with another start.
    #[cfg(test)]
    pub(crate) fn with_start<A: Serialize + serde::de::DeserializeOwned>(
        self,
        start: Start<A>,
    ) -> Self {
        let payload = self.bytes.get(PREAMBLE_LEN + FRAME_LEN + 1..).unwrap();
        let header: FileHeader<A> = postcard::from_bytes(payload).unwrap();
        let mut bytes = preamble().to_vec();
        append(&mut bytes, kind::HEADER, &FileHeader { start, ..header }).unwrap();
        Self { bytes, ..self }
    }

    /// Returns the number of the file, from 0 within the instance, if the chunk begins a new one;
    /// `None` if it continues the current file.
    #[must_use]
    pub const fn new_file(&self) -> Option<u32> {
        self.new_file
    }

    /// Returns the bytes to write.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Records one node. The documentation of the [crate](crate) has an example.
#[derive(Debug)]
pub struct Recorder {
    limits: Limits,
    id: NodeId,
    instance: u64,
    serial: u32,
    /// The wall clock minus the node's clock, in microseconds; for people.
    unix_lead: u64,
    hasher: OutputHasher,
    inputs: u64,
    last: Instant,
    block: Block,
    /// The bytes of the current file, and their limit.
    file: u64,
    file_limit: u64,
    /// In a gap: the number of inputs on record.
    gap: Option<u64>,
    /// Each with the number of inputs on record once it is written.
    chunks: VecDeque<(u64, Chunk)>,
    /// The inputs on record with the last chunk that was polled, and with the one before it.
    polled: u64,
    polled_before: u64,
}

/// The incomplete block.
#[derive(Debug, Default)]
struct Block {
    entries: Vec<u8>,
    count: u32,
    since: Instant,
    /// The outputs of the last entry are incomplete.
    open_entry: bool,
}

impl Recorder {
    /// Makes a recorder of a node from its start, before its first input.
    ///
    /// `unix_micros` is the wall clock at that time, in microseconds since 1970. It names the
    /// instance in the [`FileHeader`] and tells people the time.
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

    /// Makes a recorder of a running node. Its earlier inputs are not on record.
    pub fn resumed<A: Address + Serialize>(
        node: &Node<A>,
        limits: Limits,
        unix_micros: u64,
    ) -> Result<Self, RecordError> {
        // An id in a table is valid.
        let id = NodeId::new(node.me().id()).map_err(|_| RecordError::Address)?;
        let mut recorder = Self::empty(id, limits, node.now(), unix_micros);
        recorder.begin_with_state(node, Origin::Cut)?;
        Ok(recorder)
    }

    fn empty(id: NodeId, limits: Limits, at: Instant, unix_micros: u64) -> Self {
        Self {
            limits,
            id,
            instance: unix_micros,
            serial: 0,
            unix_lead: unix_micros.wrapping_sub(at.as_micros()),
            hasher: OutputHasher::default(),
            inputs: 0,
            last: at,
            block: Block::default(),
            file: 0,
            file_limit: limits.file_bytes,
            gap: None,
            chunks: VecDeque::new(),
            polled: 0,
            polled_before: 0,
        }
    }

    /// Records an input that the node is about to handle.
    pub fn input<A: Address + Serialize>(
        &mut self,
        now: Instant,
        input: &Input<'_, A>,
    ) -> Result<(), RecordError> {
        // As in the core, time never goes back.
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

    /// Adds a datagram that the node has sent.
    pub fn transmit<A: Serialize>(&mut self, to: &A, bytes: &[u8]) {
        self.hasher.transmit(to, bytes);
    }

    /// Adds an event that the node has emitted.
    pub fn event<A: Serialize>(&mut self, event: &Event<A>) {
        self.hasher.event(event);
    }

    /// Completes an input after all its outputs were polled. `accepted` is false if the node
    /// refused it. Then poll for chunks to write.
    pub fn handled<A: Address + Serialize>(
        &mut self,
        node: &Node<A>,
        accepted: bool,
    ) -> Result<(), RecordError> {
        self.hasher.handled(accepted);
        self.block.open_entry = false;
        if self.gap.is_some() {
            return Ok(());
        }
        let old = self.last.since(self.block.since) >= self.limits.block_span;
        if old || self.block.entries.len() >= self.limits.block_bytes {
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

    /// Returns the next chunk to write.
    pub fn poll_chunk(&mut self) -> Option<Chunk> {
        let (inputs, chunk) = self.chunks.pop_front()?;
        self.polled_before = std::mem::replace(&mut self.polled, inputs);
        Some(chunk)
    }

    /// Stops recording until [`Recorder::resume`], because the last chunk polled could not be
    /// queued for writing.
    pub fn shed(&mut self) {
        self.polled = self.polled_before;
        self.give_up();
    }

    /// Stops recording until [`Recorder::resume`], because writing has failed. Chunks not yet
    /// polled and the incomplete block are dropped.
    pub fn give_up(&mut self) {
        self.gap.get_or_insert(self.polled);
        self.chunks.clear();
        self.block.clear();
    }

    /// Returns whether recording has stopped, so that the record has a gap.
    #[must_use]
    pub fn is_shed(&self) -> bool {
        self.gap.is_some()
    }

    /// Resumes recording between two inputs, with a new file that begins with the node's state and
    /// tells how many inputs are missing.
    pub fn resume<A: Address + Serialize>(&mut self, node: &Node<A>) -> Result<(), RecordError> {
        let on_record = self.gap.take().unwrap_or(self.inputs);
        let lost = self.inputs - on_record;
        self.begin_with_state(node, Origin::Gap { lost })
            .inspect_err(|_| self.gap = Some(on_record))
    }

    /// Ends the record when the node has stopped: completes the block and the file.
    ///
    /// After a panic of the node, the input that caused it is the last on record.
    pub fn end(&mut self) {
        if self.gap.is_none() {
            self.close_block();
            self.put(kind::ENDING, &Ending::Ended);
        }
    }

    /// Returns the number of inputs so far, recorded or not.
    #[must_use]
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    fn digest(&self) -> OutputDigest {
        OutputDigest {
            inputs: self.inputs,
            hash: self.hasher.hash(),
            transmits: self.hasher.transmits(),
            events: self.hasher.events(),
            unfinished: self.block.open_entry,
        }
    }

    fn begin_with_state<A: Address + Serialize>(
        &mut self,
        node: &Node<A>,
        origin: Origin,
    ) -> Result<(), RecordError> {
        let state = node.snapshot()?;
        self.file_limit = self.limits.file_bytes.max(2 * state.len() as u64);
        self.begin(Start::<A>::State { origin, state }, self.last)
    }

    fn begin<A: Address + Serialize>(
        &mut self,
        start: Start<A>,
        at: Instant,
    ) -> Result<(), RecordError> {
        let header = FileHeader {
            library: env!("CARGO_PKG_VERSION").to_owned(),
            id: self.id,
            instance: self.instance,
            serial: self.serial,
            at,
            unix_micros: at.as_micros().wrapping_add(self.unix_lead),
            start,
            before: self.digest(),
        };
        let mut bytes = preamble().to_vec();
        append(&mut bytes, kind::HEADER, &header)?;
        self.file = bytes.len() as u64;
        let chunk = Chunk { new_file: Some(self.serial), bytes };
        self.chunks.push_back((self.inputs, chunk));
        self.serial = self.serial.saturating_add(1);
        Ok(())
    }

    fn close_block(&mut self) {
        if self.block.count == 0 {
            return;
        }
        let head =
            EntriesHead { digest: self.digest(), count: self.block.count, since: self.block.since };
        let mut payload = Vec::with_capacity(FRAME_LEN + 64 + self.block.entries.len());
        payload.resize(FRAME_LEN, 0);
        payload.push(kind::ENTRIES);
        // The head has numbers only, so that this cannot fail.
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
                self.chunks.push_back((self.inputs, Chunk::more(payload)));
            }
            // A single input exceeds the size of a block.
            None => self.give_up(),
        }
    }

    fn put(&mut self, kind: u8, value: &impl Serialize) {
        let mut bytes = Vec::new();
        if append(&mut bytes, kind, value).is_ok() {
            self.file += bytes.len() as u64;
            self.chunks.push_back((self.inputs, Chunk::more(bytes)));
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
            Input::Sealed { from, stamp, proof_age, bytes } => {
                self.entries.push(entry::SEALED);
                self.value(&(from, stamp, proof_age))?;
                self.value(&bytes.len())?;
                self.entries.extend_from_slice(bytes);
            }
            Input::ApplyClusterConfig { members, .. } if members.len() > MAX_CONFIG_IDS => {
                return Err(RecordError::TooLong { what: "a cluster config" });
            }
            Input::Join { seeds } if seeds.len() > MAX_SEEDS => {
                return Err(RecordError::TooLong { what: "a list of seeds" });
            }
            Input::Peers { peers } if peers.len() > MAX_SEEDS => {
                return Err(RecordError::TooLong { what: "a list of peers" });
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

    /// Clears the block and keeps its buffer.
    fn clear(&mut self) {
        self.entries.clear();
        (self.count, self.open_entry) = (0, false);
    }
}

/// Appends a complete block.
fn append(bytes: &mut Vec<u8>, kind: u8, value: &impl Serialize) -> Result<(), RecordError> {
    let payload = postcard::to_extend(value, vec![kind]).map_err(|_| RecordError::Address)?;
    let frame = frame(&payload).ok_or(RecordError::TooLong { what: "the state of the node" })?;
    bytes.extend_from_slice(&frame);
    bytes.extend_from_slice(&payload);
    Ok(())
}
