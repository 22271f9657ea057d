//! The end of a node at any moment: while it joins or leaves, twice, and from many tasks at once.

use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip::membership::MemberStatus;
use telemetry_gossip::node::{GossipNode, NodeErrorKind};
use telemetry_gossip::transport::{MemoryNetwork, Transport};
use telemetry_gossip::{Event, RecvError};

use crate::support::{
    Net, PATIENCE, Wrapped, agree, all_hold, cluster, kind, quick, status, tasks, until, until_so,
    within,
};

async fn start(id: &str, seeds: &[&str], transport: Arc<dyn Transport>) -> GossipNode {
    let builder = GossipNode::builder(id).unwrap().config(quick()).seeds(seeds.iter().copied());
    builder.start(transport).await.unwrap()
}

/// While a name is looked up, while a seed does not answer, and while its page is on its way.
#[tokio::test(start_paused = true)]
async fn a_shutdown_during_a_join_ends_it_at_once() {
    let network = MemoryNetwork::new(1);
    let seed = start("seed", &[], network.transport("seed").unwrap()).await;
    let silent = network.transport("silent").unwrap();
    for name in ["never-found", "silent", "seed", "unknown"] {
        let transport = Wrapped::over(network.transport("a").unwrap());
        transport.hang("never-found");
        let node = start("a", &[name], transport).await;
        let (begun, seeds) = (tokio::time::Instant::now(), [name]);
        // A second join on top of the first, by a command that looks up the name itself.
        let (joined, ()) = tokio::join!(within(name, node.join(&seeds)), async {
            tokio::task::yield_now().await;
            within(name, node.shutdown()).await;
            assert_eq!(begun.elapsed(), Duration::ZERO, "{name}: it waits for the join");
        });
        if name != "seed" && name != "silent" {
            assert!(joined.is_err(), "{name}: {joined:?}");
        }
        assert!(!node.is_running());
        drop(node);
        until_so("no task is left but that of the seed", || tasks() == 1).await;
    }
    assert!(seed.is_running());
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_a_leave_ends_both_and_the_leave_says_that_it_was_cut_short() {
    let (nodes, _) = cluster(&Net::Memory(MemoryNetwork::new(1)), 3, &quick()).await;
    agree(&nodes).await;
    let leaving = nodes[2].clone();
    let leaving = tokio::spawn(async move { leaving.leave(PATIENCE).await });
    tokio::task::yield_now().await;
    within("it ends", nodes[2].shutdown()).await;
    let left = within("the leave is answered", leaving).await.unwrap();
    assert_eq!(kind(left), NodeErrorKind::Closed);
    // Left, if its first datagrams were sent, or found by probes: it is gone in any case.
    all_hold(&nodes[..2], "n2", MemberStatus::Dead).await;
    within("it starts again", nodes[2].try_start()).await.unwrap();
    agree(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_shutdowns_at_once_and_one_more_all_return_and_each_reader_is_told_once() {
    for _ in 0..20 {
        let node = start("a", &["127.0.0.1:9"], Net::Udp.transport("a").await).await;
        let mut events = node.events();
        let shutdowns: Vec<_> = (0..32)
            .map(|number| {
                let node = node.clone();
                tokio::spawn(async move {
                    match number % 4 {
                        3 => drop(node.publish("load", b"1").await),
                        _ => node.shutdown().await,
                    }
                })
            })
            .collect();
        for shutdown in shutdowns {
            within("a shutdown returns", shutdown).await.unwrap();
        }
        within("one more returns", node.shutdown()).await;
        assert!(!node.is_running());
        while within("the events end", events.recv()).await.is_ok() {}
        assert_eq!(events.recv().await, Err(RecvError::Closed));
        assert_eq!(kind(node.publish("load", b"1").await), NodeErrorKind::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leave_with_all_others_dead_ends_at_once() {
    let (nodes, _) = cluster(&Net::Memory(MemoryNetwork::new(1)), 2, &quick()).await;
    agree(&nodes).await;
    nodes[1].shutdown().await;
    until("the other is dead or given up", &nodes[0], |node| {
        status(node, "n1") == Some(MemberStatus::Dead) || node.view().isolation().is_some()
    })
    .await;
    nodes[0].accept_loss().await.unwrap();
    all_hold(&nodes[..1], "n1", MemberStatus::Dead).await;
    let begun = tokio::time::Instant::now();
    nodes[0].leave(PATIENCE).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO, "there is nobody to tell");
}

/// At the same address and at another one, at once and a second later.
#[tokio::test(start_paused = true)]
async fn a_node_that_has_left_is_back_as_soon_as_it_starts_and_each_change_is_told_once() {
    for pause in [0, 100, 1_000] {
        let network = MemoryNetwork::new(1);
        let (mut nodes, _) = cluster(&Net::Memory(network.clone()), 4, &quick()).await;
        agree(&nodes).await;
        let mut events = nodes[0].events();
        let left = nodes.pop().unwrap();
        left.leave(PATIENCE).await.unwrap();
        left.shutdown().await;
        tokio::time::advance(Duration::from_millis(pause)).await;
        let place = if pause == 100 { "elsewhere" } else { "n3" };
        nodes.push(start("n3", &["n1"], network.transport(place).unwrap()).await);
        agree(&nodes).await;
        let (mut lefts, mut returns) = (0, 0);
        while let Ok(event) = tokio::time::timeout(Duration::from_secs(5), events.recv()).await {
            match event.unwrap() {
                Event::Left { id, .. } if id == "n3" => lefts += 1,
                Event::Alive { id, .. } if id == "n3" => returns += 1,
                bad @ (Event::Suspected { .. } | Event::Dead { .. }) => panic!("{bad:?}"),
                _ => {}
            }
        }
        assert_eq!((lefts, returns), (1, 1), "after {pause} ms");
    }
}
