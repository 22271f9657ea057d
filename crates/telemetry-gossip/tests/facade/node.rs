//! Whole nodes through the public API, on both transports: five nodes find each other, one dies and
//! returns, one leaves; and criterion 7, suspicion and its refutation.
use std::sync::Arc;
use std::time::Duration;

use crate::support::{
    Net, PATIENCE, agree, all_hold, cluster, kind, patient, quick, status, tasks, until, until_so,
    within,
};
use MemberStatus::{Alive, Dead, Suspected};
use telemetry_gossip::config::IdError;
use telemetry_gossip::membership::MemberStatus;
use telemetry_gossip::node::{GossipNode, NodeErrorKind, RecvError};
use telemetry_gossip::transport::{MemoryNetwork, Transport};
use telemetry_gossip::{Config, Event, Events, Fixed};

async fn five_nodes_agree_through_a_crash_a_return_and_a_leave(net: Net) {
    let (mut nodes, seed) = cluster(&net, 5, &quick()).await;
    agree(&nodes).await;
    let ids: Vec<String> = nodes[3].members().into_iter().map(|member| member.node_id).collect();
    assert_eq!(ids, ["n0", "n1", "n2", "n3", "n4"], "in the order of their ids, itself included");

    nodes[2].publish("load", b"0.7").await.unwrap();
    for node in &nodes {
        until("the telemetry has come", node, |node| node.telemetry("n2", "load").is_some()).await;
        assert_eq!(node.telemetry("n2", "load").unwrap().value, b"0.7");
        assert_eq!(node.telemetry("n2", "temperature"), None);
    }
    nodes[2].unpublish("load").await.unwrap();
    for node in &nodes {
        until("the value is gone", node, |node| node.telemetry("n2", "load").is_none()).await;
    }

    // One node stops without leaving, and returns under its id. The accuser reports the suspicion
    // first; to the others the rumor of the death may come before.
    let watched: Vec<Events> = nodes[..4].iter().map(|node| node.events()).collect();
    let died = nodes.pop().unwrap();
    let generation = died.members()[4].generation;
    drop(died);
    all_hold(&nodes, "n4", Dead).await;
    assert!(nodes.iter().all(|node| !node.has_left("n4")), "it failed");
    let mut suspected = 0;
    for mut events in watched {
        let first = told(&mut events, "n4").await.0;
        suspected += usize::from(first == Suspected);
        assert!(matches!(first, Suspected | Dead), "{first:?}");
    }
    assert!(suspected > 0, "some node suspected it first");
    let again =
        GossipNode::new("n4".into(), vec![seed], net.transport("n4").await).with_config(quick());
    let again = again.unwrap();
    again.start().await;
    nodes.push(again);
    agree(&nodes).await;
    until("n4 has outbid its death", &nodes[4], |n4| n4.members()[4].generation > generation).await;

    // Another one leaves. It is Dead in the required enum, and no node suspects it.
    let mut events = nodes[0].events();
    let left = nodes.remove(3);
    left.leave(PATIENCE).await.unwrap();
    assert!(!left.health().await.unwrap().active);
    within("n3 is seen to leave", async {
        loop {
            match events.recv().await {
                Ok(Event::Left { id, .. }) if id == "n3" => return,
                Ok(Event::Dead { id, .. }) if id == "n3" => {
                    panic!("left, not dead")
                }
                Ok(_) => {}
                Err(error) => panic!("n0 runs: {error}"),
            }
        }
    })
    .await;
    all_hold(&nodes, "n3", Dead).await;
    for node in &nodes {
        let status: MemberStatus = node.members()[3].status;
        assert_eq!((status, status, node.has_left("n3")), (Dead, Dead, true), "it left");
        assert!(!node.has_left("n0") && !node.has_left("unknown"));
    }
    left.shutdown().await;
    // What it knew stays readable, and nothing more is done.
    assert_eq!(left.members().len(), 5);
    let ended = within("the events end", left.events().recv()).await;
    assert_eq!(ended, Err(RecvError::Closed));
    assert_eq!(kind(left.publish("load", b"1").await), NodeErrorKind::Closed);
    assert_eq!(kind(left.unpublish("load").await), NodeErrorKind::Closed);
    assert_eq!(kind(left.leave(PATIENCE).await), NodeErrorKind::Closed);
    assert_eq!(kind(left.health().await), NodeErrorKind::Closed);
    left.shutdown().await;

    for node in &nodes {
        node.shutdown().await;
    }
    drop((nodes, left));
    until_so("no task is left", || tasks() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn five_nodes_in_memory_agree_through_a_crash_a_return_and_a_leave() {
    five_nodes_agree_through_a_crash_a_return_and_a_leave(Net::Memory(MemoryNetwork::new(1))).await;
}

#[tokio::test]
async fn five_nodes_on_udp_agree_through_a_crash_a_return_and_a_leave() {
    five_nodes_agree_through_a_crash_a_return_and_a_leave(Net::Udp).await;
}

/// The next status that is reported of `id`.
async fn told(events: &mut Events, id: &str) -> (MemberStatus, u64) {
    within("a status is reported", async {
        loop {
            match events.recv().await.expect("it runs") {
                Event::Suspected { id: member, generation, .. } if member == *id => {
                    return (Suspected, generation.0);
                }
                Event::Dead { id: member, generation, .. } if member == *id => {
                    return (Dead, generation.0);
                }
                Event::Alive { id: member, generation, .. } if member == *id => {
                    return (Alive, generation.0);
                }
                _ => {}
            }
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_node_is_suspected_then_dead_after_the_timeout() {
    let network = MemoryNetwork::new(1);
    let (nodes, _) = cluster(&Net::Memory(network.clone()), 5, &patient()).await;
    agree(&nodes).await;
    let [n0, n1, n2, n3] = [0, 1, 2, 3].map(|at: usize| nodes[at].events());
    network.isolate("n4");
    // When each first heard of the suspicion, if it did, and of the death.
    let watch = |mut events| async move {
        let mut suspected = None;
        loop {
            match told(&mut events, "n4").await {
                (Suspected, generation) => {
                    suspected.get_or_insert((tokio::time::Instant::now(), generation));
                }
                (Dead, generation) => {
                    return (suspected, (tokio::time::Instant::now(), generation));
                }
                (status, _) => panic!("{status:?} though no node reaches it"),
            }
        }
    };
    let told = tokio::join!(watch(n0), watch(n1), watch(n2), watch(n3));
    let told = [told.0, told.1, told.2, told.3];
    let (first, suspected) =
        told.iter().filter_map(|(suspected, _)| *suspected).min().expect("it is suspected");
    let (then, dead) = told.iter().map(|&(_, dead)| dead).min().expect("it is dead");
    assert_eq!(dead, suspected, "the death is of the suspicion's generation");
    // The accuser's time, and a roll call.
    let took = then - first;
    assert!(took >= Duration::from_secs(5) && took <= Duration::from_secs(7), "{took:?}");
    all_hold(&nodes[..4], "n4", Dead).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_recovers_within_the_suspicion_timeout_clears_the_suspicion() {
    let network = MemoryNetwork::new(1);
    let (nodes, _) = cluster(&Net::Memory(network.clone()), 5, &patient()).await;
    agree(&nodes).await;
    let mut events: Vec<_> = nodes[..4].iter().map(|node| node.events()).collect();
    let mut own_events = nodes[4].events();
    let before = nodes[4].members()[4].generation;
    network.isolate("n4");
    let (first, suspected) = told(&mut events[0], "n4").await;
    assert_eq!((first, suspected), (Suspected, before + 1), "the accuser proposes G + 1");
    network.heal();
    let refuted = within("n4 refutes", async {
        loop {
            if let Event::Refuted { generation, .. } = own_events.recv().await.expect("it runs") {
                return generation.0;
            }
        }
    });
    assert!(refuted.await > suspected, "the suspect answers one above");
    for (node, events) in nodes.iter().zip(&mut events) {
        // A probe begun before the healing may accuse it once more; no node declares it dead.
        loop {
            let (status, generation) = told(events, "n4").await;
            assert_ne!(status, Dead, "for {:?}", node.id());
            if status == Alive {
                assert!(generation > suspected);
                break;
            }
        }
    }
    agree(&nodes).await;
    for node in &nodes {
        assert!(node.members()[4].generation > suspected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_direct_path_is_broken_holds_the_other_alive() {
    let network = MemoryNetwork::new(1);
    let (nodes, _) = cluster(&Net::Memory(network.clone()), 4, &patient()).await;
    agree(&nodes).await;
    network.cut("n0", "n1");
    let mut events = nodes[0].events();
    let before = nodes[0].stats().await.unwrap();
    // Criterion 6 for whole nodes: a minute of probes, none of which reaches n1 directly.
    let mut indirect = 0;
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while let Ok(event) = tokio::time::timeout_at(end, events.recv()).await {
        let bad = matches!(event, Ok(Event::Suspected { .. } | Event::Dead { .. }));
        assert!(!bad, "{event:?}");
    }
    let after = nodes[0].stats().await.unwrap();
    indirect += after.probes_indirect - before.probes_indirect;
    assert!(indirect >= 5, "{indirect} of a minute's probes went through others");
    assert_eq!(status(&nodes[0], "n1"), Some(Alive));
    agree(&nodes).await;
}

#[tokio::test(start_paused = true)]
async fn starting_twice_is_starting_once() {
    let network = MemoryNetwork::new(1);
    let node = GossipNode::new("a".into(), vec![], network.transport("a").unwrap());
    assert!(
        node.members().is_empty()
            && node.view().is_empty()
            && node.telemetry("a", "load").is_none()
    );
    assert!(!node.is_running());
    let error = node.publish("load", b"1").await.unwrap_err();
    assert_eq!(error.kind(), NodeErrorKind::NotStarted);
    assert_eq!(kind(node.unpublish("load").await), NodeErrorKind::NotStarted);
    assert_eq!(kind(node.leave(PATIENCE).await), NodeErrorKind::NotStarted);
    assert_eq!(kind(node.health().await), NodeErrorKind::NotStarted);
    assert!(error.to_string().contains("call GossipNode::start first"), "{error}");
    node.shutdown().await;
    node.start().await;
    node.publish("load", b"1").await.unwrap();
    node.start().await;
    node.try_start().await.unwrap();
    assert!(node.telemetry("a", "load").is_some(), "it is the same node");
    assert_eq!(tasks(), 1);
    assert_eq!(node.members().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_shut_down_starts_again() {
    let network = MemoryNetwork::new(1);
    let (nodes, _) = cluster(&Net::Memory(network), 2, &quick()).await;
    for left in [false, true] {
        agree(&nodes).await;
        let before = nodes[1].view().get("n1").unwrap().instance;
        if left {
            nodes[1].leave(PATIENCE).await.unwrap();
            all_hold(&nodes[..1], "n1", Dead).await;
        }
        nodes[1].shutdown().await;
        nodes[1].try_start().await.unwrap();
        nodes[1].publish("load", b"1").await.unwrap();
        agree(&nodes).await;
        until("the telemetry of the new instance has come", &nodes[0], |n0| {
            n0.telemetry("n1", "load").is_some()
        })
        .await;
        assert_ne!(nodes[0].view().get("n1").unwrap().instance, before, "a new instance");
    }
}

#[tokio::test]
async fn an_invalid_id_is_refused_by_its_rule_and_does_no_harm() {
    let network = MemoryNetwork::new(1);
    let long = "n".repeat(128);
    let cases = [
        ("", "a node id has at least 1 byte"),
        ("a\nb", "a node id has no control characters, and this one has U+000A"),
        (&long, "a node id has at most 127 bytes, this one has 128"),
    ];
    for (text, rule) in cases {
        let node = GossipNode::new(text.into(), vec![], network.transport("a").unwrap());
        node.start().await;
        assert!(node.members().is_empty() && !node.is_running());
        for error in [
            node.try_start().await.unwrap_err(),
            GossipNode::builder(text).unwrap_err(),
            node.publish("load", b"1").await.unwrap_err(),
        ] {
            let expected = match error.kind() {
                NodeErrorKind::Id => format!("{text:?} is not a node id: {rule}"),
                kind => {
                    assert_eq!(kind, NodeErrorKind::NotStarted);
                    continue;
                }
            };
            assert_eq!(error.to_string(), expected);
            let source = std::error::Error::source(&error).unwrap();
            assert!(source.is::<IdError>());
        }
        assert_eq!(node.events().recv().await, Err(RecvError::Closed));
        assert!(node.subscribe("").recv().await.is_none());
    }
}

#[tokio::test]
async fn a_seed_that_cannot_be_a_name_is_refused_by_its_rule() {
    let try_start = async |seeds: &[&str], transport: Arc<dyn Transport>| {
        let seeds = seeds.iter().map(|&seed| seed.to_owned()).collect();
        let node = GossipNode::new("a".into(), seeds, transport);
        let started = node.try_start().await;
        assert_eq!(node.is_running(), started.is_ok(), "refused before anything runs");
        started
    };
    for bad in ["", "nohost", "a:b:c:99999", "host:0", "::1:7946"] {
        let refused =
            try_start(&["127.0.0.1:7946", bad], Net::Udp.transport("a").await).await.unwrap_err();
        assert_eq!(refused.kind(), NodeErrorKind::Seed);
        let told = refused.to_string();
        assert!(told.contains(&format!("{bad:?}")) && told.contains("host:port"), "{told}");
    }
    try_start(&["127.0.0.1:7946", "localhost:7946"], Net::Udp.transport("a").await).await.unwrap();

    // In memory a seed is a node's id, whether it is there or not.
    let network = Net::Memory(MemoryNetwork::new(1));
    try_start(&["nohost", "a:b:c:99999"], network.transport("a").await).await.unwrap();
    let refused = try_start(&[""], network.transport("a").await).await.unwrap_err();
    assert!(
        refused.kind() == NodeErrorKind::Seed
            && refused.to_string().contains(&IdError::Empty.to_string()),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_config_that_breaks_a_rule_is_refused() {
    let network = MemoryNetwork::new(1);
    let config = Config::default().mtu(1);
    let node =
        GossipNode::new("a".into(), vec![], network.transport("a").unwrap()).with_config(config);
    let node = node.unwrap();
    node.start().await;
    assert!(node.members().is_empty());
    let error = node.try_start().await.unwrap_err();
    assert_eq!(error.kind(), NodeErrorKind::Config);
    assert!(error.to_string().contains("mtu is 1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_and_two_nodes_are_clusters_too() {
    for count in [1, 2] {
        let network = MemoryNetwork::new(1);
        let (mut nodes, _) = cluster(&Net::Memory(network), count, &quick()).await;
        agree(&nodes).await;
        tokio::time::advance(Duration::from_secs(600)).await;
        agree(&nodes).await;
        if count == 2 {
            nodes[1].leave(PATIENCE).await.unwrap();
            drop(nodes.pop());
            all_hold(&nodes, "n1", Dead).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn typed_values_and_their_changes_reach_subscribers() {
    let network = MemoryNetwork::new(1);
    let (nodes, _) = cluster(&Net::Memory(network.clone()), 3, &quick()).await;
    agree(&nodes).await;
    nodes[1].publish_as("load", &Fixed::<2>::from(0.5)).await.unwrap();
    nodes[1].publish_urgent("disk.sda", b"failing").await.unwrap();
    until("it has come", &nodes[0], |n0| n0.telemetry("n1", "disk.sda").is_some()).await;
    assert!(nodes[0].telemetry("n1", "disk.sda").unwrap().urgent);
    until("so has the load", &nodes[0], |n0| n0.telemetry("n1", "load").is_some()).await;
    assert_eq!(nodes[0].telemetry("n1", "load").unwrap().decode(), Ok(Fixed::<2>(50)));
    assert!(nodes[0].telemetry("n1", "load").unwrap().decode::<String>().is_err());

    // What is known comes first, then the changes, and nothing of other keys.
    let mut disks = nodes[0].subscribe("disk.");
    let mut next = async || {
        let change = within("there is a change", disks.recv()).await.unwrap();
        (change.id.to_string(), change.key, change.value.map(|value| value.value))
    };
    let change =
        |id: &str, key: &str, value: Option<&[u8]>| (id.into(), key.into(), value.map(Vec::from));
    assert_eq!(next().await, change("n1", "disk.sda", Some(b"failing")));
    nodes[2].publish("load", b"1").await.unwrap();
    nodes[2].publish("disk.sdb", b"ok").await.unwrap();
    assert_eq!(next().await, change("n2", "disk.sdb", Some(b"ok")));
    nodes[1].unpublish("disk.sda").await.unwrap();
    assert_eq!(next().await, change("n1", "disk.sda", None));

    assert!(nodes[0].fresh_telemetry("n1", "load", PATIENCE).is_some());
    assert_eq!(nodes[0].fresh_telemetry("n1", "load", Duration::ZERO), None);
    assert!(nodes[0].telemetry("n1", "load").is_some(), "and still the last that is known");
}
