//! Incidents that were recorded in the field, and extracted by `tgossip replay --as-test` into
//! `traces/*.tgrec`.
//!
//! A trace contains the inputs of one node. After each input, the test checks that the node does
//! not panic and that its invariants hold. As long as the core decides like the one that recorded
//! the trace, the final view must be the recorded one. A core that, for example, probes members in
//! another order gets acks to pings that it did not send. From that point on, the trace only tests
//! robustness, which the test reports.

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

/// Replays a trace with all checks, and returns where the outputs differ from the recorded ones, if
/// they do.
fn play(path: &Path) -> Option<Divergence> {
    let mut trace = Reader::<_, PeerAddr>::new(BufReader::new(File::open(path).unwrap())).unwrap();
    let fixture = trace.fixture().expect("`--as-test` made it").clone();
    let mut player = match Player::start(trace.header()) {
        // The state is of another version. Use a new node that knows the same members instead.
        Err(PlayError::Restore(RestoreError::Version { .. } | RestoreError::Malformed)) => {
            Player::rebuild(trace.header(), &fixture).unwrap()
        }
        started => started.unwrap(),
    };
    let (mut divergence, mut inputs) = (None, 0);
    while let Some(block) = trace.next_block().unwrap() {
        for entry in &block.entries {
            player.play(&entry, |_| {});
            assert_eq!(player.node().check_invariants(), Ok(()), "at {}", entry.at);
            inputs += 1;
        }
        divergence = divergence.or(player.compare(&block.digest).err());
    }
    assert!(inputs > 0, "the trace has no inputs");
    if divergence.is_none() {
        assert_eq!(
            KnownMember::of(player.node()),
            fixture.after,
            "the members that it knew at the end"
        );
    }
    divergence
}

#[test]
fn recorded_incidents_keep_the_invariants_and_end_as_recorded() {
    let traces = traces();
    assert!(!traces.is_empty());
    for path in traces {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        match play(&path) {
            None => println!("{name}: as recorded"),
            Some(Divergence { since, .. }) => {
                println!("{name}: this core decides differently from {since} on")
            }
        }
    }
}

/// A trace without a usable state can be replayed to a new node that knows the same members.
#[test]
fn an_incident_can_be_replayed_without_the_state_of_the_node() {
    for path in traces() {
        let mut trace =
            Reader::<_, PeerAddr>::new(BufReader::new(File::open(path).unwrap())).unwrap();
        let fixture = trace.fixture().unwrap().clone();
        let mut player = Player::rebuild(trace.header(), &fixture).unwrap();
        let live = fixture.before.iter().filter(|known| known.status.is_live()).count();
        assert_eq!(player.node().membership().live() as usize, live.max(1));
        while let Some(block) = trace.next_block().unwrap() {
            for entry in &block.entries {
                player.play(&entry, |_| {});
                assert_eq!(player.node().check_invariants(), Ok(()), "at {}", entry.at);
            }
        }
    }
}
