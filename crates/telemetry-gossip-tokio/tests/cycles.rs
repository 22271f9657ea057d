//! A node that starts and ends again and again leaves nothing: no task, no open file, no byte.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![cfg(target_os = "linux")]

mod common;

use std::net::SocketAddr;
use std::sync::Mutex;

use common::{PATIENCE, quick, tasks, udp, until_so, within};
use telemetry_gossip_tokio::{Agent, Options, Recording, Sealing, Transport as _, UdpTransport};

/// How a node ends.
#[derive(Clone, Copy, Debug)]
enum Way {
    ShutDown,
    LeavesFirst,
    LastHandleDropped,
    TransportClosed,
}

const WAYS: [Way; 4] =
    [Way::ShutDown, Way::LeavesFirst, Way::LastHandleDropped, Way::TransportClosed];

/// Held by each test: they count what the whole process has.
static ALONE: Mutex<()> = Mutex::new(());

/// The open files of this process. Listing them opens one more, each time.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Starts a node on this address that looks for a seed, uses it, and ends it in one of the ways.
async fn cycle(way: Way, address: SocketAddr, more: impl FnOnce(Options) -> Options) {
    let transport = within("the port is free", async {
        loop {
            match UdpTransport::bind(address, Sealing::Plaintext).await {
                Ok(transport) => break transport,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let options = Options::new("a".parse().unwrap()).config(quick()).seeds(["127.0.0.1:9"]);
    let agent = Agent::spawn(more(options), transport.clone()).unwrap();
    let (mut events, mut changes) = (agent.events(), agent.subscribe(""));
    agent.publish("load", b"1").await.unwrap();
    assert!(within("it is told", changes.recv()).await.is_some());
    match way {
        Way::ShutDown => agent.shutdown().await,
        Way::LeavesFirst => {
            agent.leave(PATIENCE).await.unwrap();
            agent.shutdown().await;
        }
        Way::LastHandleDropped => {}
        Way::TransportClosed => {
            transport.close();
            until_so("it has ended", || !agent.is_running()).await;
        }
    }
    drop((agent, transport));
    while within("the events end", events.recv()).await.is_ok() {}
    until_so("no task is left", || tasks() == 0).await;
}

/// Runs the cycles, and returns how many bytes more are held after them.
fn held_after(runtime: &tokio::runtime::Runtime, cycles: usize, address: SocketAddr) -> i64 {
    let measured = allocation_counter::measure(|| {
        runtime.block_on(async {
            for round in 0..cycles {
                cycle(WAYS[round % WAYS.len()], address, |options| options).await;
            }
        });
    });
    measured.bytes_current
}

#[test]
fn five_hundred_starts_and_ends_in_four_ways_leave_no_task_no_descriptor_and_no_byte() {
    let _alone = ALONE.lock();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = runtime.block_on(async { udp().await.local_addr() });
    // What the runtime keeps for later: rooms of tasks, timers and sockets.
    held_after(&runtime, 40, address);
    let open = descriptors();
    let held = held_after(&runtime, 500, address);
    assert_eq!(descriptors(), open, "open files are left");
    // Less than a byte for each of them.
    assert!(held < 500, "{held} bytes are left");
}

/// Those of a node that keeps its members and is recorded: its threads end with it, too.
#[test]
fn a_node_with_folders_leaves_no_thread_and_no_descriptor() {
    let _alone = ALONE.lock();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = runtime.block_on(async { udp().await.local_addr() });
    let root = tempfile::tempdir().unwrap();
    let folder = |name: &str| root.path().join(name);
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let round = |round: usize| {
        runtime.block_on(cycle(WAYS[round % WAYS.len()], address, |options| {
            let record = Recording::new(folder("record")).files(2);
            options.state_dir(folder("state")).record(Some(record))
        }));
    };
    (0..8).for_each(round);
    let before = (descriptors(), threads());
    (0..40).for_each(round);
    runtime.block_on(until_so("no thread and no file is left", || {
        let now = (descriptors(), threads());
        now.0 <= before.0 && now.1 <= before.1
    }));
}
