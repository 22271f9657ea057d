//! Sealed clusters: a change of keys causes no suspicion, datagrams of other clusters are refused
//! and counted, and no sealed datagram exceeds the MTU (the simulator checks each).

use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_gossip::membership::{MemberInfo, MemberStatus, MembershipState};
use telemetry_gossip::transport::{Sealing, Transport, UdpTransport};
use telemetry_gossip::{GossipNode, PushPullGossip, SwimDetector};
use telemetry_gossip_core::{Config, Label};
use telemetry_gossip_seal::{Key, Keyring, SealStats};
use telemetry_gossip_sim::{Cluster, Memory, Network, Settings, Share};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 20;

fn key(byte: u8) -> Key {
    Key::new([byte; 32])
}

fn ring() -> Keyring {
    Keyring::new(Label::of("production"), key(1))
}

fn sealed(seed: u64, network: Network) -> Settings {
    Settings::default().nodes(NODES).sealing(Some(ring())).network(network).seed(seed)
}

/// The sum of one counter over all nodes.
fn sum(cluster: &Cluster, counter: impl Fn(SealStats) -> u64) -> u64 {
    (0..cluster.len()).map(|node| counter(cluster.seal_stats(node))).sum()
}

/// Adds the new key, uses it, and removes the old one. Each step visits all nodes, a third of a
/// second apart, like the loop of an operator over a fleet.
fn change_keys(cluster: &mut Cluster) {
    let (old, new) = (key(1).id(), key(2).id());
    for step in 0..3 {
        for node in 0..NODES {
            cluster.rekey(node, |ring| match step {
                0 => ring.add(key(2)),
                1 => ring.use_key(new),
                _ => ring.remove(old),
            });
            cluster.run_for(Duration::from_millis(333));
        }
    }
}

/// The loss is 5 %, which alone causes no suspicions at 20 nodes with the default configuration.
#[test]
fn changing_the_key_of_a_live_cluster_causes_no_suspicion() {
    let (mut changes, mut lost) = (0, 0);
    for_each_seed(200, |seed| {
        let mut cluster = Cluster::new(sealed(seed, Network::losing(Share::percent(5))));
        cluster.start_joined();
        let traffic = cluster.simulation().traffic();
        change_keys(&mut cluster);
        cluster.publish(0, "after", b"the change");
        cluster.run_for(Duration::from_secs(5));
        let counts = cluster.simulation().counts();
        assert_eq!((counts.suspected, counts.dead), (0, 0));
        assert!(cluster.views_complete_and_alive());
        assert!((0..NODES).all(|node| cluster.value(node, 0, "after") == Some(b"the change")));
        assert_eq!(sum(&cluster, |stats| stats.refused()), 0, "some datagrams were refused");
        let lost_now = cluster.simulation().traffic().lost - traffic.lost;
        assert!(lost_now > 20, "only {lost_now} lost: the network is too calm for a proof");
        (changes, lost) = (changes + 1, lost + lost_now);
        assert!((0..NODES).all(|node| {
            let ring = cluster.simulation().seal(node).unwrap().keyring();
            ring.ids().eq([key(2).id()])
        }));
    });
    println!("{changes} changes, {lost} datagrams lost: no suspicion, no refusal");
}

/// This is the reason for the order of the steps.
#[test]
fn datagrams_with_a_key_that_others_lack_are_refused_and_counted() {
    for_each_seed(20, |seed| {
        let mut cluster = Cluster::new(sealed(seed, Network::default()));
        cluster.start_joined();
        cluster.rekey(7, |ring| ring.add(key(2)).and_then(|()| ring.use_key(key(2).id())));
        cluster.run_for(Duration::from_secs(20));
        assert!(sum(&cluster, |stats| stats.unknown_key) > 0);
        assert!(!cluster.views_complete_and_alive(), "the datagrams of n7 are accepted");
        for node in (0..NODES).filter(|&node| node != 7) {
            cluster.rekey(node, |ring| ring.add(key(2)));
        }
        let healed = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(30));
        assert!(healed.is_some(), "the views are not complete although all have the key");
    });
}

/// With restarts, duplicates, replays and reordering.
#[test]
fn replayed_datagrams_are_refused_and_those_of_restarted_nodes_accepted() {
    for_each_seed(20, |seed| {
        let network = Network::losing(Share::percent(2))
            .duplicate(Share::percent(5))
            .replay(Share::percent(10));
        let mut cluster = Cluster::new(sealed(seed, network));
        cluster.start_joined();
        for node in 0..5 {
            cluster.crash(node);
            cluster.run_for(Duration::from_secs(3));
            cluster.restart(node, Memory::Lost);
        }
        let settled = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(30));
        assert!(settled.is_some());
        let stats = (5..NODES).map(|node| cluster.seal_stats(node));
        // Each other node has accepted at least one of the five both before and after its restart.
        assert!(stats.clone().all(|stats| stats.replayed > 0 && stats.windows > 19));
        assert_eq!(stats.map(|stats| stats.not_authentic + stats.unknown_key).sum::<u64>(), 0);
    });
}

/// Two nodes on the same network have another key or another label.
#[test]
fn datagrams_of_another_cluster_are_refused() {
    for_each_seed(10, |seed| {
        let mut cluster = Cluster::new(sealed(seed, Network::default()));
        cluster.rekey(3, |ring| {
            *ring = Keyring::new(Label::of("production"), key(9));
            Ok(())
        });
        cluster.rekey(4, |ring| {
            *ring = Keyring::new(Label::of("staging"), key(1));
            Ok(())
        });
        for node in 1..NODES {
            cluster.join(node, &[0]);
        }
        cluster.run_for(Duration::from_secs(30));
        let seed = cluster.seal_stats(0);
        assert!(seed.unknown_key > 0 && seed.not_authentic > 0, "{seed:?}");
        assert!((0..NODES).all(|node| {
            let known = cluster.view(node).len();
            known == if [3, 4].contains(&node) { 1 } else { NODES - 2 }
        }));
    });
}

/// The simulator compares the length of each sealed datagram with the MTU.
#[test]
fn full_sealed_datagrams_keep_to_the_mtu() {
    for_each_seed(5, |seed| {
        let config = Config::default().mtu(850);
        let mut cluster = Cluster::new(sealed(seed, Network::default()).config(config));
        cluster.start_joined();
        // The network loses datagrams near the MTU in a second wave, to show that they exist.
        for (wave, lose_above) in [(1, 0), (2, 820)] {
            cluster.simulation_mut().set_network(Network::default().lose_above(lose_above));
            for (node, entry) in (0..NODES).flat_map(|node| (0..40).map(move |entry| (node, entry)))
            {
                cluster.publish(node, &format!("entry-{entry}"), &[wave; 50]);
            }
            cluster.run_for(Duration::from_secs(5));
            let told =
                (0..NODES).all(|node| cluster.value(node, 3, "entry-39") == Some(&[wave; 50]));
            assert!(told || wave == 2);
        }
        assert!(cluster.simulation().traffic().too_long > 0, "no datagram was near the MTU");
    });
}

/// A probe, an exchange and a node on sealed transports.
#[tokio::test]
async fn every_part_of_the_facade_works_with_a_sealed_transport() {
    let works = tokio::time::timeout(Duration::from_secs(60), all_parts_sealed()).await;
    works.expect("some part does not complete");
}

async fn all_parts_sealed() {
    let bind = || UdpTransport::bind("127.0.0.1:0".parse().unwrap(), Sealing::Keyring(ring()));
    let (a, b) = (bind().await.unwrap(), bind().await.unwrap());
    let alive = |transport: &UdpTransport| MemberInfo {
        node_id: transport.local_addr().to_string(),
        status: MemberStatus::Alive,
        generation: 0,
        last_observed: Instant::now(),
    };
    let states = [(), ()].map(|()| Arc::new(MembershipState::new()));
    states[0].upsert(alive(&b));
    let gossip = PushPullGossip::new(states[0].clone(), a.clone());
    let answering = PushPullGossip::new(states[1].clone(), b.clone());
    while gossip.gossip_round().await.is_err() {}
    assert!(states[1].member(&a.local_addr().to_string()).is_some());
    drop((gossip, answering));

    let (detector, target) = (SwimDetector::new(a.clone(), 2), SwimDetector::new(b.clone(), 2));
    while !detector.probe(&b.local_addr().to_string(), &[alive(&b)]).await {}
    drop((detector, target));

    let first = GossipNode::new("first".into(), vec![], a.clone());
    let second = GossipNode::new("second".into(), vec![a.local_addr().to_string()], b.clone());
    first.try_start().await.unwrap();
    second.try_start().await.unwrap();
    let mut events = first.events();
    while first.members().len() < 2 {
        events.recv().await.unwrap();
    }
    for transport in [a, b] {
        let stats = transport.seal().unwrap().stats();
        assert!(stats.opened > 0 && stats.refused() == 0, "{stats:?}");
    }
}
