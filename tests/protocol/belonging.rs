//! Which nodes belong, by the cluster config of a registry. Whoever does not learns nothing, and
//! takes nobody for dead; and a config that reaches the nodes at different times wrongs nobody.

use std::borrow::Cow;
use std::time::Duration;

use telemetry_gossip_core::{Event, Input, NodeId, Status};
use telemetry_gossip_sim::{Cluster, Settings, Spawn, node_id};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 20;

fn names(members: impl IntoIterator<Item = usize>) -> Vec<NodeId> {
    members.into_iter().map(node_id).collect()
}

fn configure(cluster: &mut Cluster, node: usize, version: u64, members: &[NodeId]) {
    let members = Cow::Borrowed(members);
    cluster.command(node, Input::ApplyClusterConfig { version, members });
}

fn joined(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Settings::default().nodes(NODES).seed(seed));
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(5));
    cluster
}

fn is_told(cluster: &Cluster, node: usize, version: u64) -> usize {
    let told = |event: &Event<u32>| match *event {
        Event::NotAMember { version: said, .. } => said == version,
        _ => false,
    };
    cluster.events(node).filter(|(_, event)| told(event)).count()
}

/// A minute in which a host was told of more than four nodes, or of one of them twice.
fn told_too_often(cluster: &Cluster, node: usize) -> Option<Vec<(Duration, Option<NodeId>)>> {
    let told = cluster.events(node).filter_map(|(at, event)| match event {
        Event::NotAMember { by, .. } => Some((at, by)),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    let minutes = (0..told.len()).map(|first| {
        let within = |&&(at, _): &&(Duration, _)| at < told[first].0 + Duration::from_secs(60);
        told[first..].iter().take_while(within).copied().collect::<Vec<_>>()
    });
    let is_too_often = |minute: &Vec<(Duration, Option<NodeId>)>| {
        let mut names: Vec<_> = minute.iter().map(|&(_, by)| by).collect();
        names.sort_unstable();
        names.dedup();
        minute.len() > 4 || names.len() < minute.len()
    };
    minutes.into_iter().find(is_too_often)
}

/// It goes on with what it knew, and learns of nothing that was said after its removal.
#[test]
fn a_removed_member_learns_nothing_more() {
    for_each_seed(20, |seed| {
        let mut cluster = joined(seed);
        cluster.publish(1, "k", b"before");
        cluster.run_for(Duration::from_secs(5));
        let removed = NODES - 1;
        let config = names(0..removed);
        (0..removed).for_each(|node| configure(&mut cluster, node, 7, &config));
        cluster.run_for(Duration::from_millis(100));
        cluster.publish(1, "k", b"after");
        cluster.run_for(Duration::from_secs(300));
        assert!((0..removed).all(|node| cluster.status(node, removed).is_none()));
        assert_eq!(cluster.value(removed, 1, "k"), Some(b"before".as_slice()));
        assert!((0..removed).all(|it| cluster.status(removed, it) == Some(Status::Alive)));
        assert!(is_told(&cluster, removed, 7) >= 4, "of several nodes");
        assert!(
            told_too_often(&cluster, removed).is_none(),
            "{:?}",
            told_too_often(&cluster, removed)
        );
        let dropped = cluster.node(0).stats().datagrams_not_in_config;
        assert!(dropped > 0);
    });
}

/// It holds the key, and joins through a member: it learns of nobody.
#[test]
fn a_stranger_learns_of_nobody() {
    for_each_seed(20, |seed| {
        let mut cluster = joined(seed);
        let config = names(0..NODES);
        (0..NODES).for_each(|node| configure(&mut cluster, node, 7, &config));
        let stranger = cluster.add();
        cluster.run_for(Duration::from_secs(120));
        assert_eq!(cluster.view(stranger).len(), 1, "it knows itself alone");
        assert!((0..NODES).all(|node| cluster.status(node, stranger).is_none()));
        assert!(is_told(&cluster, stranger, 7) >= 1);
    });
}

/// No config names it yet: the hosts of the nodes that it asks hear of it, again and again.
#[test]
fn each_node_that_a_newcomer_asks_tells_its_host_by_id_and_address() {
    for_each_seed(20, |seed| {
        let mut cluster = Cluster::new(Settings::default().nodes(10).seed(seed));
        cluster.start_joined();
        let config = names(0..10);
        (0..10).for_each(|node| configure(&mut cluster, node, 7, &config));
        let newcomer = cluster.spawn(Spawn::new(node_id(10)));
        cluster.join(newcomer, &[2, 5, 8]);
        cluster.run_for(Duration::from_secs(120));
        for node in 0..10 {
            let told: Vec<(NodeId, u32)> = cluster
                .events(node)
                .filter_map(|(_, event)| match event {
                    Event::Knocked { id, address, .. } => Some((id, address)),
                    _ => None,
                })
                .collect();
            let address = cluster.node(newcomer).me().address().expect("a node has an address");
            let named = (node_id(newcomer), address);
            assert!(told.iter().all(|&knock| knock == named), "n{node}: {told:?}");
            let bounds = if [2, 5, 8].contains(&node) { 2..=5 } else { 0..=0 };
            assert!(bounds.contains(&told.len()), "n{node} was told {} times", told.len());
        }
    });
}

/// The members learn of the newcomer one after the other: some hold an older config for a while.
#[test]
fn a_newcomer_known_to_a_part_of_the_fleet_takes_nobody_for_dead_and_is_wronged_by_nobody() {
    for known in [2, 10, 18] {
        for_each_seed(10, |seed| {
            let mut cluster = joined(seed);
            let before = names(0..NODES);
            (0..NODES).for_each(|node| configure(&mut cluster, node, 7, &before));
            let newcomer = NODES;
            let after = names(0..=newcomer);
            (0..known).for_each(|node| configure(&mut cluster, node, 8, &after));
            assert_eq!(cluster.add(), newcomer);
            configure(&mut cluster, newcomer, 8, &after);
            cluster.run_for(Duration::from_secs(300));
            for node in 0..known {
                assert_eq!(cluster.status(node, newcomer), Some(Status::Alive), "at n{node}");
            }
            assert!((known..NODES).all(|node| cluster.status(node, newcomer).is_none()));
            let wrongs = |cluster: &Cluster, node: usize| {
                let wrongs = |event: &Event<u32>| {
                    matches!(event, Event::Suspected { .. } | Event::Dead { .. })
                };
                cluster.events(node).filter(|(_, event)| wrongs(event)).count()
            };
            for node in 0..=newcomer {
                assert_eq!(wrongs(&cluster, node), 0, "n{node} suspects nobody");
                assert!(cluster.health(node).isolated_since.is_none());
            }
            (known..NODES).for_each(|node| configure(&mut cluster, node, 8, &after));
            cluster.run_for(Duration::from_secs(30));
            assert!(cluster.views_complete_and_alive());
        });
    }
}
