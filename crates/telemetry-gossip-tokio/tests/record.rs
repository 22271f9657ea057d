//! What an agent records is what a replay comes to; the record never stops the node.

mod common;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{PATIENCE, agree, next, quick, until};
use telemetry_gossip_core::{Event, NodeId};
use telemetry_gossip_recorder::{Continuation, Ending, Origin, Player, Reader, Start, Tail, list};
use telemetry_gossip_tokio::{
    Agent, MemoryNetwork, Options, PeerAddr, Recording, SharedTable, SpawnError,
};

fn options(id: &str, folder: &Path) -> Options {
    let record = Recording::new(folder).file_bytes(2_000).files(64);
    Options::new(id.parse().unwrap()).config(quick()).record(record)
}

/// Replays all files of a node in order; the node as it was at the end, and how the last file
/// ended.
fn replay(folder: &Path, id: &str) -> (Player<PeerAddr>, Tail, usize) {
    let files: Vec<_> = list(folder).unwrap().into_iter().filter(|file| file.stem == id).collect();
    let mut player: Option<Player<PeerAddr>> = None;
    let mut tail = Tail::Unread;
    for file in &files {
        let mut reader =
            Reader::<_, PeerAddr>::new(BufReader::new(File::open(&file.path).unwrap())).unwrap();
        match &mut player {
            Some(player) => {
                assert_eq!(player.follow(reader.header()).unwrap(), Continuation::Seamless)
            }
            None => player = Some(Player::start(reader.header()).unwrap()),
        }
        let player = player.as_mut().unwrap();
        while let Some(block) = reader.next_block().unwrap() {
            for entry in &block.entries {
                player.play(&entry, |_| {});
            }
            player.compare(&block.digest).unwrap();
        }
        tail = reader.tail();
    }
    (player.expect("a record"), tail, files.len())
}

/// Lets the writing thread come after.
fn until_written(agent: &Agent) {
    while agent.recorded().is_some_and(|record| record.waiting > 0) {
        std::thread::yield_now();
    }
}

/// Virtual time is faster than any disk: it stands still while something waits to be written.
async fn keep_to_the_disk(agents: Vec<Agent>) {
    loop {
        agents.iter().for_each(until_written);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Time passes at once while all tasks wait, except for the threads that write.
#[tokio::test(start_paused = true)]
async fn the_record_of_each_node_replays_to_its_view() {
    let folder = tempfile::tempdir().unwrap();
    let network = MemoryNetwork::new(1);
    let mut agents = Vec::new();
    for id in ["n0", "n1", "n2", "n3"] {
        let options = options(id, folder.path()).seeds(["n0"]);
        agents.push(Agent::spawn(options, network.transport(id).unwrap()).unwrap());
    }
    let keeper = tokio::spawn(keep_to_the_disk(agents.clone()));
    agree(&agents).await;
    network.set_loss(200);
    for round in 0..40_u8 {
        agents[usize::from(round) % 4].publish("load", &[round]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    network.isolate("n3");
    let mut events = agents[0].events();
    next("n3 is dead", &mut events, |event| match event {
        Event::Dead { id, .. } if id.as_str() == "n3" => Some(()),
        _ => None,
    })
    .await;
    network.heal();
    agree(&agents).await;

    for agent in &agents {
        agent.shutdown().await;
        let (player, tail, files) = replay(folder.path(), agent.id().as_str());
        assert_eq!(tail, Tail::Ended(Ending::Ended));
        assert!(files > 2, "{files} files");
        let recorded = agent.recorded().unwrap();
        assert_eq!((recorded.files, recorded.gaps, recorded.failures), (files as u64, 0, 0));
        let view: Vec<_> =
            agent.view().iter().map(|seen| (seen.id, seen.status, seen.generation)).collect();
        let id = |id: &str| id.parse::<NodeId>().unwrap();
        let mut replayed: Vec<_> = player
            .node()
            .members()
            .map(|member| (id(member.id()), member.status(), member.generation()))
            .collect();
        replayed.sort();
        assert_eq!(replayed, view);
    }
    keeper.abort();
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_to_is_told_of_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("taken");
    fs::write(&file, "a file").unwrap();
    let network = MemoryNetwork::new(1);
    let refused = Agent::spawn(options("a", &file), network.transport("a").unwrap()).unwrap_err();
    assert!(matches!(&refused, SpawnError::Record { folder, .. } if *folder == file), "{refused}");

    let table = Some(Arc::new(SharedTable::new()));
    let shared = options("a", folder.path()).table(table);
    let refused = Agent::spawn(shared, network.transport("a").unwrap()).unwrap_err();
    assert!(matches!(refused, SpawnError::RecordShared), "{refused}");
}

/// Where the folder cannot be written to, the node goes on, says so once, and records again once
/// it can.
#[tokio::test]
async fn a_record_that_cannot_be_written_is_a_gap_and_the_node_goes_on() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("record");
    let network = MemoryNetwork::new(1);
    let transport = network.transport("a").unwrap();
    let options = options("a", &folder);
    let agent = Agent::spawn(options, transport).unwrap();
    let mut told = agent.host_status();
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in its place").unwrap();
    // Enough to fill files, the next of which cannot be made.
    let publish = async || {
        for round in 0..200_u32 {
            agent.publish("load", &round.to_le_bytes().repeat(100)).await.unwrap();
            until_written(&agent);
        }
    };
    let started = std::time::Instant::now();
    while agent.recorded().unwrap().failures < 2 {
        publish().await;
        assert!(started.elapsed() < PATIENCE);
    }
    assert!(told.has_changed().unwrap(), "it is told that the node is not recorded");
    let text = told.borrow_and_update().record.clone().expect("it is told");
    assert!(text.contains(&folder.display().to_string()) && text.contains("again every 5 s"));
    // Then the folder is only missing, and is made again.
    fs::remove_file(&folder).unwrap();
    while list(&folder).is_ok_and(|files| files.is_empty()) || told.borrow().record.is_some() {
        publish().await;
        assert!(started.elapsed() < PATIENCE);
    }
    assert!(told.has_changed().unwrap(), "and told when it works again");
    until("it runs", &agent, |agent| agent.member("a").is_some()).await;
    agent.shutdown().await;
    assert!(agent.recorded().unwrap().gaps > 0, "a write that fails is a gap");
    let first = list(&folder).unwrap().remove(0);
    let reader = Reader::<_, PeerAddr>::new(File::open(&first.path).unwrap()).unwrap();
    let start = &reader.header().start;
    assert!(
        matches!(start, Start::State { origin: Origin::Gap { lost, .. }, .. } if *lost > 0),
        "{start:?}"
    );
    let (player, tail, _) = replay(&folder, "a");
    assert_eq!(tail, Tail::Ended(Ending::Ended));
    assert!(player.node().me().value("load").is_some());
}

/// At the end of `main` a runtime is dropped, and with it the tasks of nodes that were not shut
/// down.
#[test]
fn the_record_has_its_end_when_the_runtime_is_dropped() {
    for handle_dropped in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let agent = runtime.block_on(async {
            let transport = MemoryNetwork::new(1).transport("a").unwrap();
            let agent = Agent::spawn(options("a", folder.path()), transport).unwrap();
            for round in 0..100_u32 {
                agent.publish("load", &round.to_le_bytes().repeat(100)).await.unwrap();
            }
            Some(agent)
        });
        let agent = agent.filter(|_| !handle_dropped);
        drop(runtime);
        // At once, as the process would end now.
        let (player, tail, _) = replay(folder.path(), "a");
        assert_eq!(tail, Tail::Ended(Ending::Ended));
        assert_eq!(player.node().me().value("load").unwrap().value[..4], 99_u32.to_le_bytes());
        drop(agent);
    }
}
