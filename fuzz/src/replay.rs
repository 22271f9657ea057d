//! The input of the target `replay`: a record of a node, in the format of the flight recorder.
//!
//! The bytes are read unchanged, and once more with corrected lengths and checksums, so that the
//! changes of the fuzzer within a block are parsed and not refused for their checksum. Inputs that
//! can be replayed are replayed, from a forged state as well: what is restored keeps its invariants
//! from then on. In the end the node runs for some time without inputs.

use std::net::SocketAddr;

use telemetry_gossip_core::{Config, Identity, Input, Instant, Node};
use telemetry_gossip_recorder::{
    Boot, Chunk, Entry, KnownMember, Limits, Player, Reader, Recorder, TraceFixture,
};

use crate::cluster::{Cluster, START, id};
use crate::situation::{ADDRESSES, situations};

/// The most inputs that are replayed.
const MAX_INPUTS: usize = 2_000;

/// The most deadlines that are met after the last input.
const LAST_TICKS: usize = 300;

/// More ticks than a node needs at one time.
const MAX_TICKS_AT_ONCE: usize = 32;

/// Bytes before the first block: magic and version.
const PREAMBLE_LEN: usize = 8;

/// The outcome of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Files with a header.
    pub opened: usize,
    /// Inputs that were read.
    pub inputs: usize,
    /// Inputs that were replayed.
    pub played: usize,
    /// Blocks whose replay equals the record.
    pub same: usize,
}

/// Reads and replays the bytes, unchanged and with corrected checksums.
///
/// # Panics
/// If the reader or the node breaks a rule.
pub fn run(input: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    read(input, &mut outcome);
    read(&with_checksums(input), &mut outcome);
    outcome
}

fn read(file: &[u8], outcome: &mut Outcome) {
    let Ok(mut reader) = Reader::<_, SocketAddr>::new(file) else { return };
    outcome.opened += 1;
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
        let Some(player) = &mut player else { continue };
        for entry in &block.entries {
            if outcome.played < MAX_INPUTS {
                player.play(&entry, |_| {});
                outcome.played += 1;
            }
        }
        outcome.same += usize::from(player.compare(&block.digest).is_ok());
    }
    if let Some(player) = &mut player {
        run_on(player);
    }
}

/// Lets the node meet its next deadlines. After a few ticks at one time, none is due any more.
fn run_on(player: &mut Player<SocketAddr>) {
    let (mut last, mut at_once) = (player.node().now(), 0);
    for _ in 0..LAST_TICKS {
        let Some(due) = player.node().poll_timeout() else { break };
        player.play(&Entry::new(due, Input::Tick), |_| {});
        let now = player.node().now();
        at_once = if now == last { at_once + 1 } else { 0 };
        last = now;
        assert!(at_once < MAX_TICKS_AT_ONCE, "the node stays due at {now}");
        assert_eq!(player.node().check_invariants(), Ok(()));
    }
}

/// Returns the file with corrected lengths and checksums.
fn with_checksums(file: &[u8]) -> Vec<u8> {
    let (preamble, mut rest) = file.split_at(PREAMBLE_LEN.min(file.len()));
    let mut corrected = preamble.to_vec();
    while let Some((frame, after)) = rest.split_first_chunk::<8>() {
        let [l0, l1, l2, l3, ..] = *frame;
        let len = (u32::from_le_bytes([l0, l1, l2, l3]) as usize).min(after.len());
        let (payload, after) = after.split_at(len);
        corrected.extend(u32::try_from(len).unwrap_or(0).to_le_bytes());
        corrected.extend(crc32fast::hash(payload).to_le_bytes());
        corrected.extend_from_slice(payload);
        rest = after;
    }
    corrected
}

/// Makes the seeds: records of the first node of each situation, from its start and from its last
/// state.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for situation in situations().iter().filter(|situation| !situation.log.is_empty()) {
        let (seed, instance) = Cluster::<SocketAddr>::entropy(0, 0);
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
    // Recording cannot fail: addresses can be serialised, and the node is drained.
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
