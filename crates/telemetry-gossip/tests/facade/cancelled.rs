//! Calls whose futures are dropped: nothing hangs or is left, and no reader misses anything.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip::gossip::PushPullGossip;
use telemetry_gossip::membership::{MemberStatus, MembershipState};
use telemetry_gossip::swim::SwimDetector;
use telemetry_gossip::transport::MemoryNetwork;
use telemetry_gossip::{Event, GossipNode, RecvError};

use crate::support::{
    Net, PATIENCE, agree, alive, all_hold, cluster, give_up_after, quick, tasks, until, until_so,
    within,
};

/// How often each call is given up.
const TIMES: usize = 300;

type Given<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A call of a node, made for the round of this number.
type Call = for<'a> fn(&'a GossipNode, u64) -> Given<'a>;

/// Makes a call of a method whose result does not matter.
macro_rules! call {
    (|$node:ident, $round:ident| $made:expr) => {{
        let call: Call = |$node, $round| {
            let _ = $round;
            Box::pin(async move {
                let _ = $made.await;
            })
        };
        call
    }};
}

fn calls() -> Vec<(&'static str, Call)> {
    vec![
        ("publish", call!(|node, round| node.publish("load", &round.to_le_bytes()))),
        ("publish_urgent", call!(|node, round| node.publish_urgent("disk", &round.to_le_bytes()))),
        ("publish_as", call!(|node, round| node.publish_as("typed", &round))),
        ("unpublish", call!(|node, round| node.unpublish("disk"))),
        ("health", call!(|node, round| node.health())),
        ("stats", call!(|node, round| node.stats())),
        ("explain", call!(|node, round| node.explain("n1"))),
        ("join", call!(|node, round| node.join(&["n1"]))),
        ("probe", call!(|node, round| node.probe("n1"))),
        ("exchange", call!(|node, round| node.exchange())),
        ("introduce", call!(|node, round| node.introduce("n2", None, 0))),
        (
            "apply_cluster_config",
            call!(|node, round| node.apply_cluster_config(round + 1, &["n0", "n1", "n2"])),
        ),
        ("accept_loss", call!(|node, round| node.accept_loss())),
        ("events", call!(|node, round| async { node.events().recv().await })),
        ("subscribe", call!(|node, round| async { node.subscribe("none").recv().await })),
        ("start", call!(|node, round| node.start())),
        ("try_start", call!(|node, round| node.try_start())),
    ]
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_given_up_leave_nothing_and_hinder_no_other() {
    let (nodes, _) = cluster(&Net::Memory(MemoryNetwork::new(1)), 3, &quick()).await;
    agree(&nodes).await;
    let running = tasks();
    let calls = calls();
    assert!(calls.len() >= 16);
    let mut events = nodes[1].events();
    for (name, call) in calls {
        for round in 0..TIMES {
            // Before it begins, once it waits, and later.
            give_up_after(round % 4, call(&nodes[0], round as u64)).await;
        }
        within(name, nodes[0].publish("after", name.as_bytes())).await.unwrap();
        until(&format!("{name}: others are told"), &nodes[1], |node| {
            let held = node.telemetry("n0", "after");
            held.is_some_and(|after| after.value == name.as_bytes())
        })
        .await;
        until_so(&format!("{name}: no task is left"), || tasks() == running).await;
    }
    agree(&nodes).await;
    // No member was accused meanwhile.
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(1), events.recv()).await {
        assert!(!matches!(event, Ok(Event::Suspected { .. } | Event::Dead { .. })), "{event:?}");
    }

    // What ends a node does so although its caller gives up, and the next caller is answered.
    for round in 0..TIMES {
        give_up_after(1 + round % 3, nodes[0].leave(PATIENCE)).await;
    }
    within("it leaves", nodes[0].leave(PATIENCE)).await.unwrap();
    all_hold(&nodes[1..], "n0", MemberStatus::Dead).await;
    for round in 0..TIMES {
        give_up_after(1 + round % 3, nodes[0].shutdown()).await;
        give_up_after(round % 3, nodes[0].try_start()).await;
    }
    within("it starts", nodes[0].try_start()).await.unwrap();
    agree(&nodes).await;
    until_so("it runs once", || tasks() == running).await;
}

#[tokio::test(start_paused = true)]
async fn rounds_and_probes_that_are_given_up_leave_nothing_and_hinder_no_other() {
    let network = MemoryNetwork::new(1);
    let states = ["a", "b"].map(|id| {
        let state = Arc::new(MembershipState::new());
        state.merge(&alive(&["a", "b"]));
        (state.clone(), PushPullGossip::new(state, network.transport(id).unwrap()))
    });
    let probing = ["c", "d"].map(|id| SwimDetector::new(network.transport(id).unwrap(), 2));
    let running = tasks();
    for round in 0..TIMES {
        give_up_after(round % 6, states[0].1.gossip_round()).await;
        give_up_after(round % 6, probing[0].probe("d", &alive(&["d"]))).await;
    }
    until_so("no task is left", || tasks() == running).await;
    states[0].0.merge(&alive(&["e"]));
    within("a round", states[0].1.gossip_round()).await.unwrap();
    assert!(states[1].0.member("e").is_some());
    assert!(within("a probe", probing[0].probe("d", &alive(&["d"]))).await);
}

/// Readers of events and of telemetry that give up each wait, again and again, get the same as
/// readers that wait.
#[tokio::test(start_paused = true)]
async fn a_reader_that_gives_up_each_wait_misses_nothing() {
    let (nodes, _) = cluster(&Net::Memory(MemoryNetwork::new(1)), 2, &quick()).await;
    agree(&nodes).await;
    let [mut patient, mut hasty] = [(); 2].map(|()| nodes[0].events());
    let mut changes = nodes[0].subscribe("load");
    let (mut seen, mut values) = (Vec::new(), Vec::new());
    for round in 0..TIMES as u64 {
        nodes[1].publish("load", &round.to_le_bytes()).await.unwrap();
        until("it has come", &nodes[0], |node| {
            node.telemetry("n1", "load").is_some_and(|load| load.value == round.to_le_bytes())
        })
        .await;
        // Nothing is ready at the end of this loop, so its last wait is given up.
        while let Some(event) = ready(hasty.recv()).await {
            seen.push(event.unwrap());
        }
        while let Some(change) = ready(changes.recv()).await {
            values.push(change.unwrap().value.unwrap().value);
        }
    }
    nodes[0].shutdown().await;
    while let Ok(event) = hasty.recv().await {
        seen.push(event);
    }
    let mut all = Vec::new();
    while let Ok(event) = patient.recv().await {
        all.push(event);
    }
    assert_eq!(patient.recv().await, Err(RecvError::Closed));
    assert_eq!(seen, all);
    let expected: Vec<Vec<u8>> = (0..TIMES as u64).map(|load| load.to_le_bytes().into()).collect();
    assert_eq!(values, expected);
}

/// What a future yields at once; it is given up if it would wait.
async fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut output = None;
    give_up_after(1, async { output = Some(future.await) }).await;
    output
}
