//! The input of the target `replay`: a record of a node, as the flight recorder writes it.
//!
//! The bytes are read as they are, and once more with all lengths and checksums set right, so that
//! what the fuzzer changes in a block is looked at and not refused for its checksum. What can be
//! replayed then is.

use std::net::SocketAddr;

use telemetry_gossip_core::{Config, Identity, Input, Instant, Node};
use telemetry_gossip_recorder::{
    Boot, Chunk, KnownMember, Limits, Player, Reader, Recorder, Start, TraceFixture,
};

use crate::cluster::{Cluster, START, id};
use crate::datagram::{ADDRESSES, situations};

/// The most inputs that are replayed.
const MAX_INPUTS: usize = 2_000;

/// Magic and version.
const HEADER_LEN: usize = 8;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Files that have an opening.
    pub opened: usize,
    /// Inputs that were read.
    pub inputs: usize,
    /// Inputs that were replayed.
    pub played: usize,
    /// Blocks whose replay came to what they say.
    pub same: usize,
}

/// Reads the bytes as they are and with all checksums set right, and replays what can be.
///
/// # Panics
/// If anything is broken.
pub fn run(input: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    read(input, &mut outcome);
    read(&sealed(input), &mut outcome);
    outcome
}

fn read(file: &[u8], outcome: &mut Outcome) {
    let Ok(mut reader) = Reader::<_, SocketAddr>::new(file) else { return };
    outcome.opened += 1;
    // A state is trusted like memory: what is made up may be nonsense, and is only looked at.
    let made_up = matches!(reader.header().start, Start::State { .. });
    let mut player = Player::start(reader.header()).ok();
    if let Some(player) = &player {
        assert_eq!(player.node().check_invariants(), Ok(()));
    }
    if let Some(fixture) = reader.fixture().cloned()
        && let Ok(player) = Player::rebuild(reader.header(), &fixture)
    {
        assert_eq!(player.node().check_invariants(), Ok(()));
    }
    while let Ok(Some(block)) = reader.next_block() {
        outcome.inputs += block.entries.len();
        let Some(player) = player.as_mut().filter(|_| !made_up) else { continue };
        for entry in &block.entries {
            if outcome.played < MAX_INPUTS {
                player.play(entry, |_| {});
                outcome.played += 1;
            }
        }
        outcome.same += usize::from(player.compare(&block.digest).is_ok());
    }
}

/// The same file with lengths that fit and checksums that are right.
fn sealed(file: &[u8]) -> Vec<u8> {
    let (header, mut rest) = file.split_at(HEADER_LEN.min(file.len()));
    let mut sealed = header.to_vec();
    while let Some((frame, after)) = rest.split_first_chunk::<8>() {
        let [l0, l1, l2, l3, ..] = *frame;
        let len = (u32::from_le_bytes([l0, l1, l2, l3]) as usize).min(after.len());
        let (payload, after) = after.split_at(len);
        sealed.extend(u32::try_from(len).unwrap_or(0).to_le_bytes());
        sealed.extend(crc32fast::hash(payload).to_le_bytes());
        sealed.extend_from_slice(payload);
        rest = after;
    }
    sealed
}

/// Records of the situations' first node: from its start, and from its state in the end.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for situation in situations().iter().filter(|situation| !situation.log.is_empty()) {
        let (seed, instance) = Cluster::<SocketAddr>::birth(0, 0);
        let identity = Identity::new(id(0), ADDRESSES[0]).instance(instance);
        let boot = Boot::new(situation.config.clone(), identity, seed, START);
        let Ok(mut node) = boot.node() else { continue };
        let limits = Limits::default().block_bytes(300);
        if let Ok(mut recorder) = Recorder::new(boot, limits, 0) {
            for (at, input) in &situation.log {
                play(&mut node, &mut recorder, *at, input.clone());
            }
            seeds.push((format!("boot-{}", situation.name), file(&mut recorder, None)));
        }
        let Ok(mut recorder) = Recorder::resumed(&node, limits, 0) else { continue };
        let before = KnownMember::of(&node);
        for _ in 0..6 {
            let Some(due) = node.poll_timeout() else { break };
            play(&mut node, &mut recorder, due, Input::Tick);
        }
        let config = Config::clone(node.config());
        let fixture = TraceFixture::new(before, config, KnownMember::of(&node));
        let fixture = Chunk::fixture(&fixture).ok();
        seeds.push((format!("state-{}", situation.name), file(&mut recorder, fixture)));
    }
    seeds
}

fn play(
    node: &mut Node<SocketAddr>,
    recorder: &mut Recorder,
    at: Instant,
    input: Input<'static, SocketAddr>,
) {
    // Addresses can be written, and the node is drained: nothing is refused.
    let _ = recorder.input(at, &input);
    let accepted = node.handle(at, input).is_ok();
    let mut buf = vec![0; node.config().mtu.into()];
    while let Some(sent) = node.poll_transmit(&mut buf) {
        recorder.transmit(&sent.to, &buf[..sent.len]);
    }
    while let Some(event) = node.poll_event() {
        recorder.event(&event);
    }
    let _ = recorder.handled(node, accepted);
}

fn file(recorder: &mut Recorder, mut fixture: Option<Chunk>) -> Vec<u8> {
    recorder.end();
    let mut file = Vec::new();
    while let Some(chunk) = recorder.poll_chunk() {
        file.extend_from_slice(chunk.bytes());
        file.extend(fixture.take().iter().flat_map(Chunk::bytes));
    }
    file
}
