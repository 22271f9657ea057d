//! The memory of a replay is bounded by the length of the longest block, whatever is in the record.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use telemetry_gossip_core::{Config, Identity, Input, Instant, NodeId};
use telemetry_gossip_recorder::{Boot, Limits, Playback, PlaybackStep, Recorder};

/// The bound: this many times the longest block, and some more.
const TIMES: u64 = 32;
const MORE: u64 = 32 << 20;

/// Inputs that fill a block, in bytes.
const BLOCK: usize = 2 << 20;

/// Records these inputs in one block of one file.
fn record(
    folder: &tempfile::TempDir,
    inputs: impl Iterator<Item = Input<'static, SocketAddr>>,
) -> PathBuf {
    let address = SocketAddr::from(([127, 0, 0, 1], 7_946));
    let identity = Identity::new("edge-17".parse().unwrap(), address);
    let at = Instant::ORIGIN;
    let boot = Boot::new(Config::default(), identity, [3; 32], at);
    let limits = Limits::default().block_bytes(usize::MAX).file_bytes(u64::MAX);
    let mut recorder = Recorder::new(boot, limits, 0).unwrap();
    for input in inputs {
        recorder.input(at, &input).unwrap();
    }
    recorder.end();
    let mut file = Vec::new();
    while let Some(chunk) = recorder.poll_chunk() {
        file.extend_from_slice(chunk.bytes());
    }
    let path = folder.path().join("record");
    fs::write(&path, file).unwrap();
    path
}

/// Replays a file within the bound, and returns the number of inputs.
#[track_caller]
fn replay(path: &PathBuf) -> usize {
    let longest = fs::metadata(path).unwrap().len();
    let mut inputs = 0;
    let took = allocation_counter::measure(|| {
        let mut playback = Playback::<SocketAddr>::new([path.clone()]);
        while let Some(step) = playback.next_step().unwrap() {
            if let PlaybackStep::Input(entry) = step {
                playback.play(&entry, |_| {});
                inputs += 1;
            }
        }
    });
    let (most, bound) = (took.bytes_max, TIMES * longest + MORE);
    assert!(most <= bound, "{most} bytes for a record of {longest}: {} times", most / longest);
    inputs
}

#[test]
fn a_block_of_ticks_takes_no_more_memory_than_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let ticks = BLOCK / 2;
    let path = record(&folder, std::iter::repeat_with(|| Input::Tick).take(ticks));
    assert_eq!(replay(&path), ticks);
}

#[test]
fn an_input_of_many_short_ids_or_seeds_takes_a_bounded_multiple_of_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<NodeId> = std::iter::once("edge-17".to_owned())
        .chain((1..1 << 16).map(|id| format!("{id:x}")))
        .map(|id| id.parse().unwrap())
        .collect();
    let path = record(&folder, [Input::apply_cluster_config(1, ids)].into_iter());
    assert_eq!(replay(&path), 1);
    let seeds = vec![SocketAddr::from(([1, 1, 1, 1], 1)); 1 << 16];
    let path = record(&folder, [Input::join(seeds)].into_iter());
    assert_eq!(replay(&path), 1);
}
