//! Replaying: the recorded inputs into a core of this build, and what comes of them compared with
//! what was recorded.

use serde::Serialize;
use serde::de::DeserializeOwned;
use telemetry_gossip_core::{
    Address, ConfigError, Event, Identity, Input, Instant, Node, RestoreError, SnapshotError,
    Transmit,
};
use thiserror::Error;

use crate::digest::Digest;
use crate::format::{Brief, Entry, Opening, Origin, Seal, Start};

/// Why a record cannot be replayed.
#[derive(Debug, Error)]
pub enum PlayError {
    /// The settings at the node's start are refused.
    #[error("the recorded settings are refused: {0}")]
    Config(#[from] ConfigError),
    /// The recorded state is none for this build.
    #[error("the recorded state cannot be restored: {0}")]
    Restore(#[from] RestoreError),
    /// The node cannot be saved to compare it.
    #[error("the replayed node cannot be saved: {0}")]
    Snapshot(#[from] SnapshotError),
}

/// A replay comes to something else than was recorded: the build differs from the one that
/// recorded, or the record was made up, or the core is not deterministic, which is a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the replay differs from the record between {since} and {until}: \
     {} datagrams, {} events and hash {:016x} instead of {}, {} and {:016x}",
    found.transmits, found.events, found.hash, expected.transmits, expected.events, expected.hash
)]
pub struct Divergence {
    /// Up to here they were the same.
    pub since: Instant,
    /// By now they are not.
    pub until: Instant,
    /// What was recorded.
    pub expected: Seal,
    /// What the replay came to.
    pub found: Seal,
}

/// What a node says or tells.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "passed by and never kept")]
pub enum Output<'a, A> {
    /// A datagram.
    Transmit {
        /// Where to.
        to: A,
        /// Its payload.
        bytes: &'a [u8],
    },
    /// An event.
    Event(Event<A>),
}

/// A recorded node, alive again.
#[derive(Debug)]
pub struct Player<A> {
    node: Node<A>,
    digest: Digest,
    inputs: u64,
    buf: Vec<u8>,
    /// When the replay was last found to be the same.
    same_until: Instant,
}

impl<A: Address + Serialize + DeserializeOwned + 'static> Player<A> {
    /// The node as it was at the start of a file.
    pub fn start(opening: &Opening<A>) -> Result<Self, PlayError> {
        let node = match &opening.start {
            Start::Boot(boot) => boot.node()?,
            Start::State { state, .. } => Node::restore(state)?,
        };
        Ok(Self::of(node, opening.before, opening.at))
    }

    /// A node that is told no more than what a brief says was known at the start: for a build that
    /// cannot read the state. What comes of it is not what was recorded; that it is sound can be
    /// checked all the same.
    pub fn rebuild(opening: &Opening<A>, brief: &Brief<A>) -> Result<Self, PlayError> {
        let own = brief.before.iter().find(|known| known.id == opening.id);
        let address = own.or(brief.before.first()).and_then(|known| known.address);
        let Some(address) = address else { return Err(RestoreError::Malformed.into()) };
        let identity = Identity::new(opening.id, address)
            .generation(own.map_or_else(Default::default, |own| own.generation))
            .instance(own.map(|own| own.instance));
        let mut node = Node::new(brief.config.clone(), identity, [0; 32], opening.at)?;
        for known in
            brief.before.iter().filter(|known| known.id != opening.id && known.status.is_live())
        {
            let (id, address, generation) = (known.id, known.address, known.generation);
            let introduce =
                Input::Introduce { id, address, instance: Some(known.instance), generation };
            // Whom it refuses it does not know.
            let _ = node.handle(opening.at, introduce);
        }
        let mut player = Self::of(node, opening.before, opening.at);
        player.drain(&mut |_| {});
        Ok(player)
    }

    fn of(node: Node<A>, before: Seal, at: Instant) -> Self {
        Self {
            buf: vec![0; node.config().mtu.into()],
            node,
            digest: Digest::resume(before.hash, before.transmits, before.events),
            inputs: before.inputs,
            same_until: at,
        }
    }

    /// Handles one input as the recorded node did, and passes on what comes of it. False if the
    /// node refuses it.
    pub fn play(&mut self, entry: &Entry<A>, mut output: impl FnMut(Output<'_, A>)) -> bool {
        self.inputs += 1;
        let accepted = self.node.handle(entry.at, entry.input.clone()).is_ok();
        self.drain(&mut output);
        self.digest.handled(accepted);
        accepted
    }

    fn drain(&mut self, output: &mut impl FnMut(Output<'_, A>)) {
        while let Some(Transmit { to, len }) = self.node.poll_transmit(&mut self.buf) {
            let bytes = self.buf.get(..len).unwrap_or_default();
            self.digest.transmit(&to, bytes);
            output(Output::Transmit { to, bytes });
        }
        while let Some(event) = self.node.poll_event() {
            self.digest.event(&event);
            output(Output::Event(event));
        }
    }

    /// Compares what came of the inputs so far with what the record says at the end of a block.
    pub fn compare(&mut self, expected: &Seal) -> Result<(), Divergence> {
        let found = Seal { unfinished: expected.unfinished, ..self.seal() };
        // What came of an input that was not handled to its end is not in the record.
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

    /// Goes on with the next file of the same life: the node is held against the state that it
    /// begins with, bit for bit. After a gap, and where another life begins, it is that of the
    /// file. True if nothing was missing between.
    pub fn follow(&mut self, opening: &Opening<A>) -> Result<Result<bool, Divergence>, PlayError> {
        if let Start::State { origin: Origin::Rotated, state } = &opening.start
            && opening.before.inputs == self.inputs
        {
            let (expected, found) = (opening.before, self.seal());
            if found == expected && self.node.snapshot()? == *state {
                return Ok(Ok(true));
            }
            let (since, until) = (self.same_until, self.node.now());
            *self = Self::start(opening)?;
            return Ok(Err(Divergence { since, until, expected, found }));
        }
        *self = Self::start(opening)?;
        Ok(Ok(false))
    }

    /// What the outputs have come to.
    #[must_use]
    pub fn seal(&self) -> Seal {
        Seal {
            inputs: self.inputs,
            hash: self.digest.hash(),
            transmits: self.digest.transmits(),
            events: self.digest.events(),
            unfinished: false,
        }
    }

    /// The node as it is at this moment of the replay.
    #[must_use]
    pub fn node(&self) -> &Node<A> {
        &self.node
    }

    /// Inputs so far, from the node's start.
    #[must_use]
    pub fn inputs(&self) -> u64 {
        self.inputs
    }
}
