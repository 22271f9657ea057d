//! Replays recorded inputs through the core of this build and compares the outputs with the record.

use serde::Serialize;
use serde::de::DeserializeOwned;
use telemetry_gossip_core::{
    Address, ConfigError, Event, Identity, Input, Instant, Node, RestoreError, SnapshotError,
    Transmit,
};
use thiserror::Error;

use crate::digest::OutputHasher;
use crate::format::{Entry, FileHeader, Origin, OutputDigest, Start, TraceFixture};

/// The error of a record that cannot be replayed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlayError {
    /// The settings at the start of the node are invalid.
    #[error("block 0 of the record has settings that are invalid: {0}")]
    Config(#[from] ConfigError),
    /// This build cannot restore the recorded state.
    #[error("block 0 of the record has a state that cannot be restored: {0}")]
    Restore(#[from] RestoreError),
    /// The replayed node has no snapshot to compare with the record.
    #[error("the replayed node cannot be saved: {0}")]
    Snapshot(#[from] SnapshotError),
}

/// A difference between a replay and its record.
///
/// Either this build differs from the one that recorded, or the record is forged, or the core is
/// not deterministic, which is a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[error(
    "the replay differs from the record between {since} and {until}: \
     {} datagrams, {} events and hash {:016x} instead of {}, {} and {:016x}",
    found.transmits, found.events, found.hash, expected.transmits, expected.events, expected.hash
)]
pub struct Divergence {
    /// The latest time at which they were known to be equal.
    pub since: Instant,
    /// The time at which they were found to differ.
    pub until: Instant,
    /// The recorded digest.
    pub expected: OutputDigest,
    /// The digest of the replay.
    pub found: OutputDigest,
}

/// How a file relates to the replay before it, as found by [`Player::follow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Continuation {
    /// The file begins with the state that the replay had reached.
    Seamless,
    /// Inputs are missing in between, or another instance of the node begins.
    Restarted,
    /// Nothing is missing, but the file begins with another state.
    Diverged(Divergence),
}

/// One output of a node.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "passed by value and never stored")]
#[non_exhaustive]
pub enum Output<'a, A> {
    /// A datagram.
    #[non_exhaustive]
    Transmit {
        /// The destination.
        to: A,
        /// The payload.
        bytes: &'a [u8],
    },
    /// An event.
    Event(Event<A>),
}

/// A recorded node during its replay.
#[derive(Debug)]
pub struct Player<A> {
    node: Node<A>,
    hasher: OutputHasher,
    inputs: u64,
    buf: Vec<u8>,
    /// The latest time at which the replay was known to equal the record.
    same_until: Instant,
}

impl<A: Address + Serialize + DeserializeOwned + 'static> Player<A> {
    /// Restores the node at the start of a file.
    pub fn start(header: &FileHeader<A>) -> Result<Self, PlayError> {
        let node = match &header.start {
            Start::Boot(boot) => boot.node()?,
            Start::State { state, .. } => Node::restore(state)?,
        };
        Ok(Self::of(node, header.before, header.at))
    }

    /// Makes a node that knows the members of a fixture, for a build that cannot read the recorded
    /// state.
    ///
    /// Its outputs differ from the record, but its invariants can be checked all the same.
    pub fn rebuild(header: &FileHeader<A>, fixture: &TraceFixture<A>) -> Result<Self, PlayError> {
        let own = fixture.before.iter().find(|known| known.id == header.id);
        let address = own.or(fixture.before.first()).and_then(|known| known.address);
        let Some(address) = address else { return Err(RestoreError::Malformed.into()) };
        let identity = Identity::new(header.id, address)
            .generation(own.map_or_else(Default::default, |own| own.generation))
            .instance(own.map(|own| own.instance));
        let mut node = Node::new(fixture.config.clone(), identity, [0; 32], header.at)?;
        for known in
            fixture.before.iter().filter(|known| known.id != header.id && known.status.is_live())
        {
            let (id, address, generation) = (known.id, known.address, known.generation);
            let introduce =
                Input::Introduce { id, address, instance: Some(known.instance), generation };
            // A refused introduction leaves the member unknown.
            let _ = node.handle(header.at, introduce);
        }
        let mut player = Self::of(node, header.before, header.at);
        player.drain(&mut |_| {});
        Ok(player)
    }

    fn of(node: Node<A>, before: OutputDigest, at: Instant) -> Self {
        Self {
            buf: vec![0; node.config().mtu.into()],
            node,
            hasher: OutputHasher::resume(before.hash, before.transmits, before.events),
            inputs: before.inputs,
            same_until: at,
        }
    }

    /// Handles one input as the recorded node did, and passes its outputs to `output`. Returns
    /// false if the node refuses the input.
    pub fn play(&mut self, entry: &Entry<A>, mut output: impl FnMut(Output<'_, A>)) -> bool {
        self.inputs += 1;
        let accepted = self.node.handle(entry.at, entry.input.clone()).is_ok();
        self.drain(&mut output);
        self.hasher.handled(accepted);
        accepted
    }

    fn drain(&mut self, output: &mut impl FnMut(Output<'_, A>)) {
        while let Some(Transmit { to, len, .. }) = self.node.poll_transmit(&mut self.buf) {
            let bytes = self.buf.get(..len).unwrap_or_default();
            self.hasher.transmit(&to, bytes);
            output(Output::Transmit { to, bytes });
        }
        while let Some(event) = self.node.poll_event() {
            self.hasher.event(&event);
            output(Output::Event(event));
        }
    }

    /// Compares all outputs so far with the digest at the end of a block.
    pub fn compare(&mut self, expected: &OutputDigest) -> Result<(), Divergence> {
        let found = OutputDigest { unfinished: expected.unfinished, ..self.digest() };
        // The record does not have the outputs of an unfinished input.
        if found == *expected || expected.unfinished && found.inputs == expected.inputs {
            self.same_until = self.node.now();
            return Ok(());
        }
        Err(Divergence {
            since: self.same_until,
            until: self.node.now(),
            expected: *expected,
            found,
        })
    }

    /// Continues with the next file.
    ///
    /// If nothing is missing before it, the node must equal the state in its header, bit for bit.
    /// After a gap, and for another instance, the node of the file replaces the replayed one.
    pub fn follow(&mut self, header: &FileHeader<A>) -> Result<Continuation, PlayError> {
        if let Start::State { origin: Origin::Rotated, state } = &header.start
            && header.before.inputs == self.inputs
        {
            let (expected, found) = (header.before, self.digest());
            if found == expected && self.node.snapshot()? == *state {
                return Ok(Continuation::Seamless);
            }
            let (since, until) = (self.same_until, self.node.now());
            *self = Self::start(header)?;
            let divergence = Divergence { since, until, expected, found };
            return Ok(Continuation::Diverged(divergence));
        }
        *self = Self::start(header)?;
        Ok(Continuation::Restarted)
    }

    /// Returns the digest of all outputs so far.
    #[must_use]
    pub fn digest(&self) -> OutputDigest {
        OutputDigest {
            inputs: self.inputs,
            hash: self.hasher.hash(),
            transmits: self.hasher.transmits(),
            events: self.hasher.events(),
            unfinished: false,
        }
    }

    /// Returns the node at this moment of the replay.
    #[must_use]
    pub fn node(&self) -> &Node<A> {
        &self.node
    }

    /// Returns the number of inputs since the start of the node.
    #[must_use]
    pub fn inputs(&self) -> u64 {
        self.inputs
    }
}
