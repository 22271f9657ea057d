//! A thousand callers of one node at once: each is answered, and each reader ends with the last
//! values.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Net, agree, cluster, within};
use telemetry_gossip_tokio::{Agent, MemoryNetwork, TelemetryChanges};
use tokio::sync::Barrier;

const CALLERS: usize = 1_000;

/// All fit into the telemetry of one node.
const KEYS: usize = 16;

const LAST: &[u8] = b"the last";

fn key(number: usize) -> String {
    format!("key-{:02}", number % KEYS)
}

/// Reads until the last value of each key has come. The versions of a key never fall meanwhile.
async fn read_to_the_end(mut changes: TelemetryChanges) {
    let mut versions = BTreeMap::new();
    let mut done = BTreeMap::new();
    while done.len() < KEYS {
        let change = changes.recv().await.expect("the node runs");
        let value = change.value.expect("nothing is removed");
        let before = versions.insert(change.key.clone(), value.version);
        assert!(
            before.is_none_or(|before| before < value.version),
            "{} falls from version {before:?} to {}",
            change.key,
            value.version
        );
        if value.value == LAST {
            done.insert(change.key, ());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_publishers_and_a_thousand_readers_at_once_are_each_answered() {
    let agents = cluster(&Net::Memory(MemoryNetwork::new(1)), 2).await;
    agree(&agents).await;
    let begin = Arc::new(Barrier::new(2 * CALLERS));
    let (mut publishing, mut reading) = (Vec::new(), Vec::new());
    for caller in 0..CALLERS {
        let (agent, turn): (Agent, _) = (agents[0].clone(), begin.clone());
        publishing.push(tokio::spawn(async move {
            turn.wait().await;
            let key = key(caller);
            match caller % 3 {
                0 => agent.publish_urgent(&key, &caller.to_le_bytes()).await,
                1 => agent.publish_as(&key, &(caller as u64)).await,
                _ => agent.publish(&key, &caller.to_le_bytes()).await,
            }
        }));
        // Half of them read at the node itself, and half at another one.
        let (agent, turn) = (agents[caller % 2].clone(), begin.clone());
        reading.push(tokio::spawn(async move {
            turn.wait().await;
            read_to_the_end(agent.subscribe("key-")).await;
        }));
    }
    for published in publishing {
        let published = within("a publisher is answered", published).await.unwrap();
        assert_eq!(published, Ok(()));
    }
    for number in 0..KEYS {
        agents[0].publish(&key(number), LAST).await.unwrap();
    }
    for reader in reading {
        within("a reader has the last values", reader).await.unwrap();
    }
    let own = agents[0].member("n0").unwrap();
    assert_eq!(own.telemetry.len(), KEYS);
    let published = (CALLERS + KEYS) as u64;
    assert_eq!(own.telemetry_version, published, "each of them was carried out once");
}
