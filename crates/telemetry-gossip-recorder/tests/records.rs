//! Records replay exactly, whole or damaged.

mod common;

use std::time::Duration;

use common::{Cluster, play};
use proptest::prelude::*;
use telemetry_gossip_core::{Config, Identity, Input, Instant, Node, Stamp};
use telemetry_gossip_recorder::{
    Boot, Continuation, Ending, Limits, Origin, Player, ReadError, Reader, Recorder, Start, Tail,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Limits so small that a record has many blocks and files.
fn small() -> Limits {
    let span = Duration::from_millis(500);
    Limits::default().block_bytes(2_000).block_span(span).file_bytes(20_000)
}

fn recorded(limits: Limits) -> Cluster {
    let mut cluster = Cluster::new(5, limits);
    cluster.run_for(MINUTE);
    cluster.recorder.end();
    cluster.write_chunks();
    cluster
}

#[test]
fn a_replay_has_the_outputs_of_the_recorded_node() {
    let cluster = recorded(small().file_bytes(u64::MAX));
    let [file] = &cluster.files[..] else { panic!("one file, not {}", cluster.files.len()) };
    let played = play(file);
    assert_eq!((played.divergence, played.tail), (None, Tail::Ended(Ending::Ended)));
    assert!(played.outputs.len() > 500);
    assert_eq!(played.outputs, cluster.outputs);
    assert_eq!(played.player.node().stats(), cluster.node().stats());
    assert_eq!(played.player.inputs(), cluster.recorder.inputs());
}

#[test]
fn each_file_replays_alone_and_continues_the_one_before() {
    let cluster = recorded(small());
    assert!(cluster.files.len() > 3, "{} files", cluster.files.len());
    let mut outputs = Vec::new();
    let mut whole: Option<Player<u32>> = None;
    for (serial, file) in (0..).zip(&cluster.files) {
        let header = Reader::<_, u32>::new(file.as_slice()).unwrap().header().clone();
        assert_eq!((header.serial, header.id.as_str()), (serial, "n0"));
        let played = play(file);
        assert_eq!(played.divergence, None, "file {serial}");
        if let Some(before) = &mut whole {
            assert_eq!(
                before.follow(&header).unwrap(),
                Continuation::Seamless,
                "nothing is missing before file {serial}"
            );
        }
        outputs.extend(played.outputs);
        whole = Some(played.player);
    }
    assert_eq!(outputs, cluster.outputs);
}

#[test]
fn a_gap_counts_the_missing_inputs_and_the_record_resumes_from_the_state() {
    let mut cluster = Cluster::new(5, small());
    cluster.run_for(MINUTE / 4);
    cluster.writes = false;
    let before = play(cluster.files.last().unwrap()).player.inputs();
    cluster.run_for(MINUTE / 4);
    assert!(cluster.recorder.is_shed());
    let missed = cluster.recorder.inputs() - before;
    cluster.writes = true;
    let node = cluster.node().snapshot().unwrap();
    cluster.recorder.resume(&Node::<u32>::restore(&node).unwrap()).unwrap();
    cluster.run_for(MINUTE / 4);
    cluster.recorder.end();
    cluster.write_chunks();

    let gaps: Vec<u64> = cluster
        .files
        .iter()
        .filter_map(|file| match Reader::<_, u32>::new(file.as_slice()).unwrap().header().start {
            Start::State { origin: Origin::Gap { lost, .. }, .. } => Some(lost),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [missed]);
    for file in &cluster.files {
        assert_eq!(play(file).divergence, None);
    }
}

#[test]
fn a_torn_file_replays_up_to_its_last_complete_block() {
    let file = recorded(small().file_bytes(10_000)).files.swap_remove(1);
    let whole = play(&file);
    let mut last = 0;
    for len in (0..file.len()).rev().step_by(97) {
        match Reader::<_, u32>::new(&file[..len]) {
            Ok(_) => {
                let played = play(&file[..len]);
                assert_eq!(played.divergence, None);
                assert!(matches!(played.tail, Tail::Torn { .. } | Tail::Open), "{:?}", played.tail);
                assert!(whole.outputs.starts_with(&played.outputs));
                last = len;
            }
            Err(ReadError::NoHeader | ReadError::NotARecord) => assert!(last < 9_000 || len < last),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(last > 0);
}

#[test]
fn a_flipped_bit_is_detected_and_the_blocks_before_it_replay() {
    let file = recorded(small().file_bytes(10_000)).files.swap_remove(1);
    let whole = play(&file);
    for at in (0..file.len()).step_by(61) {
        let mut damaged = file.clone();
        damaged[at] ^= 4;
        match Reader::<_, u32>::new(damaged.as_slice()) {
            Ok(_) => {
                let played = play(&damaged);
                assert_eq!(played.divergence, None);
                assert!(!matches!(played.tail, Tail::Ended(_)), "byte {at}: {:?}", played.tail);
                assert!(whole.outputs.starts_with(&played.outputs));
            }
            Err(ReadError::NoHeader | ReadError::NotARecord | ReadError::Version { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_divergence_is_found_in_the_block_where_it_happens() {
    let cluster = recorded(small().file_bytes(u64::MAX));
    let mut reader = Reader::<_, u32>::new(cluster.files[0].as_slice()).unwrap();
    let mut player = Player::start(reader.header()).unwrap();
    let mut blocks = 0;
    let found = loop {
        let block = reader.next_block().unwrap().expect("a block differs");
        blocks += 1;
        for (at, mut entry) in block.entries.iter().enumerate() {
            if (blocks, at) == (10, 0) {
                // Replace one input.
                let value = b"other"[..].into();
                entry.input = Input::Publish { key: "k".into(), value, urgent: true };
            }
            player.play(&entry, |_| {});
        }
        if let Err(found) = player.compare(&block.digest) {
            assert_eq!(blocks, 10);
            let first = block.entries.iter().next().unwrap().at;
            assert!(found.since <= first && first <= found.until);
            break found;
        }
    };
    assert_ne!(found.expected.hash, found.found.hash);
    assert_eq!(found.expected.inputs, found.found.inputs);
}

/// The nodes of a sealed cluster decide by stamps and proofs, and take new randomness.
#[test]
fn sealed_datagrams_and_new_randomness_replay_exactly() {
    let at = Instant::from_millis;
    let boot = |id: &str, address: u32| {
        let identity = Identity::new(id.parse().unwrap(), address);
        Boot::new(Config::default(), identity, [7; 32], at(5))
    };
    let mut other = boot("b", 2).node().unwrap();
    let (boot, mut file) = (boot("a", 1), Vec::new());
    let mut node = boot.node().unwrap();
    let mut recorder = Recorder::new(boot, Limits::default(), 0).unwrap();
    let mut numbers = Vec::new();
    other.handle(at(5), Input::join(&[1][..])).unwrap();
    let (mut buf, mut proved_at) = ([0; 1_400], None);
    for step in 0..3_000_u64 {
        let now = at(6 + step);
        let mut inputs = vec![Input::Tick];
        if step % 500 == 499 {
            inputs.push(Input::Reseed { entropy: [step as u8; 32] });
        }
        other.handle(now, Input::Tick).unwrap();
        while let Some(sent) = other.poll_transmit(&mut buf) {
            let stamp = Stamp { prefix: [1; 16], counter: step };
            let age = proved_at.map(|at| now.since(at));
            inputs.push(Input::sealed(2, stamp, age, buf[..sent.len].to_vec()));
        }
        for input in inputs {
            recorder.input(now, &input).unwrap();
            let accepted = node.handle(now, input).is_ok();
            while let Some(sent) = node.poll_transmit(&mut buf) {
                recorder.transmit(&sent.to, &buf[..sent.len]);
                numbers.push(buf[..sent.len].to_vec());
                other.handle(now, Input::datagram(1, &buf[..sent.len])).unwrap();
            }
            while let Some(event) = node.poll_event() {
                recorder.event(&event);
            }
            recorder.handled(&node, accepted).unwrap();
            proved_at = node.poll_proof().map(|_| now).or(proved_at);
        }
    }
    recorder.end();
    while let Some(chunk) = recorder.poll_chunk() {
        file.extend(chunk.bytes());
    }
    assert!(proved_at.is_some() && node.members().count() == 2, "they have met");
    let played = play(&file);
    assert_eq!((played.divergence, played.tail), (None, Tail::Ended(Ending::Ended)));
    let sent = played.outputs.into_iter().filter_map(|(_, sent, _)| sent);
    assert!(sent.eq(numbers));
}

/// Records of the first format have no sealed datagrams, and are still read.
#[test]
fn a_record_of_the_first_format_is_read() {
    let mut file = recorded(small().file_bytes(u64::MAX)).files.remove(0);
    assert_eq!(file[6..8], [2, 0]);
    file[6] = 1;
    assert_eq!(play(&file).divergence, None);
    file[6] = 3;
    let later = Reader::<_, u32>::new(file.as_slice()).unwrap_err();
    assert!(matches!(later, ReadError::Version { found: 3, .. }), "{later}");
}

#[test]
fn the_input_that_stopped_the_process_is_the_last_on_record() {
    let mut cluster = Cluster::new(3, small());
    cluster.run_for(MINUTE / 12);
    let now = cluster.now;
    cluster.recorder.input::<u32>(now, &Input::AcceptLoss).unwrap();
    // The node panics, and the drop of its host ends the record.
    cluster.recorder.end();
    cluster.write_chunks();
    let file = cluster.files.pop().unwrap();
    let mut reader = Reader::<_, u32>::new(file.as_slice()).unwrap();
    let blocks: Vec<_> = std::iter::from_fn(|| reader.next_block().unwrap()).collect();
    let last = blocks.last().unwrap();
    assert!(
        last.digest.unfinished
            && blocks[..blocks.len() - 1].iter().all(|block| !block.digest.unfinished)
    );
    assert_eq!(last.entries.iter().last().unwrap().input, Input::AcceptLoss);
    assert_eq!(play(&file).divergence, None);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_make_the_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        has_checksum in any::<bool>(),
    ) {
        let mut file = b"TGREC\0\x01\0".to_vec();
        if has_checksum {
            // With a correct checksum the payload itself is parsed.
            file.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            file.extend(crc32fast::hash(&bytes).to_le_bytes());
        }
        file.extend(&bytes);
        for file in [&file[..], &bytes[..]] {
            if let Ok(mut reader) = Reader::<_, u32>::new(file) {
                while let Ok(Some(_)) = reader.next_block() {}
            }
        }
    }
}
