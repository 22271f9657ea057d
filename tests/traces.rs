//! Incidents that were recorded in the field, cut out by `tgossip replay --as-test`:
//! `traces/*.tgrec`.
//!
//! One node's inputs are given; what it makes of them is checked after each: no panic, all
//! invariants. As long as the core decides as the one that recorded, the view at the end must be
//! the recorded one. A core that asks others in another order, say, gets answers to questions that
//! it has not asked: from there on a trace is hard treatment, and no more; the test says so.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use telemetry_gossip_core::RestoreError;
use telemetry_gossip_recorder::{Divergence, KnownMember, PlayError, Player, Reader};
use telemetry_gossip_tokio::PeerAddr;

fn traces() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut traces: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "tgrec")).collect();
    traces.sort();
    traces
}

/// Replays a trace with everything checked; where it comes to something else than was recorded.
fn play(path: &Path) -> Option<Divergence> {
    let mut trace = Reader::<_, PeerAddr>::new(BufReader::new(File::open(path).unwrap())).unwrap();
    let fixture = trace.fixture().expect("`--as-test` made it").clone();
    let mut player = match Player::start(trace.header()) {
        // Of another shape of the state: a node that knows whom the recorded one knew has to do.
        Err(PlayError::Restore(RestoreError::Version { .. } | RestoreError::Malformed)) => {
            Player::rebuild(trace.header(), &fixture).unwrap()
        }
        started => started.unwrap(),
    };
    let (mut divergence, mut inputs) = (None, 0);
    while let Some(block) = trace.next_block().unwrap() {
        for entry in &block.entries {
            player.play(entry, |_| {});
            assert_eq!(player.node().check_invariants(), Ok(()), "at {}", entry.at);
            inputs += 1;
        }
        divergence = divergence.or(player.compare(&block.digest).err());
    }
    assert!(inputs > 0, "it has inputs");
    if divergence.is_none() {
        assert_eq!(KnownMember::of(player.node()), fixture.after, "whom it knew at the end");
    }
    divergence
}

#[test]
fn recorded_incidents_are_survived_and_end_as_they_did() {
    let traces = traces();
    assert!(!traces.is_empty());
    for path in traces {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        match play(&path) {
            None => println!("{name}: as recorded"),
            Some(Divergence { since, .. }) => {
                println!("{name}: this core decides otherwise from {since} on")
            }
        }
    }
}

/// Whoever has lost the node's state still has a sound node.
#[test]
fn an_incident_can_be_replayed_to_a_node_that_is_told_whom_it_knew() {
    for path in traces() {
        let mut trace =
            Reader::<_, PeerAddr>::new(BufReader::new(File::open(path).unwrap())).unwrap();
        let fixture = trace.fixture().unwrap().clone();
        let mut player = Player::rebuild(trace.header(), &fixture).unwrap();
        let live = fixture.before.iter().filter(|known| known.status.is_live()).count();
        assert_eq!(player.node().membership().live() as usize, live.max(1));
        while let Some(block) = trace.next_block().unwrap() {
            for entry in &block.entries {
                player.play(entry, |_| {});
                assert_eq!(player.node().check_invariants(), Ok(()), "at {}", entry.at);
            }
        }
    }
}
