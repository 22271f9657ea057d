//! Rolling upgrades: a fleet is upgraded node by node, and downgraded again. Nodes of a later
//! version, which send frames that current nodes do not understand, work together with current
//! nodes.
//!
//! The later version is the current core behind a host that appends frames of unknown kinds to
//! every datagram with room for them. The test therefore shows that such frames do no harm. It
//! cannot show that a future version keeps to the rules of `docs/wire.md`.

use std::time::Duration;

use telemetry_gossip_core::Event;
use telemetry_gossip_sim::{Cluster, Memory, Network, Settings, Share, node_id};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 8;

/// The frames of the later version: kind 17 with a body, and kind 255 without one.
const LATER: [u8; 40] = {
    let mut frames = [0xa5; 40];
    (frames[0], frames[1]) = (17, 36);
    (frames[38], frames[39]) = (255, 0);
    frames
};

/// How long a node is down: long enough for some pings to get no answer, and too short for an
/// accusation, since a probe fails after 600 ms.
const DOWN: Duration = Duration::from_millis(250);

#[test]
fn a_rolling_upgrade_and_downgrade_causes_no_suspicion() {
    for_each_seed(400, |seed| {
        let network =
            if seed % 4 == 3 { Network::losing(Share::percent(2)) } else { Network::default() };
        let mut cluster =
            Cluster::new(Settings::default().nodes(NODES).network(network).seed(seed));
        cluster.start_joined();
        cluster.run_for(Duration::from_secs(3));
        (0..NODES).for_each(|node| cluster.publish(node, "version", b"1"));

        for (version, frames) in [(b"2", LATER.as_slice()), (b"1", &[])] {
            let order = cluster.simulation_mut().pick(&(0..NODES).collect::<Vec<_>>(), NODES);
            for (step, node) in order.into_iter().enumerate() {
                let memory = if (seed as usize + step).is_multiple_of(2) {
                    Memory::Lost
                } else {
                    Memory::Kept
                };
                replace(&mut cluster, node, memory, frames);
                cluster.publish(node, "version", version);
                // The two halves of the fleet have different versions for a while.
                cluster.run_for(Duration::from_secs(if step == NODES / 2 { 10 } else { 1 }));
            }
            cluster.run_for(Duration::from_secs(20));
            converged(&cluster, version);
            let skips = |node| cluster.node(node).stats().frames_unknown > 0;
            assert!(
                version == b"1" || (0..NODES).all(skips),
                "a node has received no unknown frame"
            );
        }
        let counts = cluster.simulation().counts();
        // Where the network loses datagrams, the ping before a node goes down may be lost, too. The
        // node may then be suspected when it comes back, by each of the others, and refutes at
        // once.
        let suspected = if network.loss == Share::default() { 0 } else { NODES as u64 - 1 };
        assert!(counts.suspected <= suspected, "{} suspicions", counts.suspected);
        assert_eq!((counts.dead, counts.left, counts.removed), (0, 0, 0));
        assert_eq!((counts.isolated, counts.identity_conflicts), (0, 0));
        assert_eq!(cluster.simulation().false_deads(), 0);
    });
}

/// Replaces a process by one of the other version. Until all nodes know of it, all events are about
/// that node.
fn replace(cluster: &mut Cluster, node: usize, memory: Memory, frames: &[u8]) {
    let since = cluster.now();
    cluster.crash(node);
    cluster.simulation_mut().add_to_datagrams(node, frames);
    cluster.run_for(DOWN);
    cluster.restart(node, memory);
    let instance = cluster.node(node).me().instance();
    let known = |cluster: &Cluster| {
        let held = |observer| cluster.held(observer, node).map(|held| held.instance());
        (0..NODES).all(|observer| held(observer) == Some(instance))
            && cluster.views_complete_and_alive()
    };
    assert!(
        cluster.run_until(known, Duration::from_secs(10)).is_some(),
        "not all nodes know the new instance of n{node}"
    );
    for logged in cluster.log().iter().filter(|logged| logged.at >= since && logged.node != node) {
        if let Event::Alive { id, .. } | Event::Joined { id, .. } | Event::Moved { id, .. } =
            logged.event
        {
            assert_eq!(id, node_id(node), "at n{}: {:?}", logged.node, logged.event);
        }
    }
}

/// Asserts that all tables are equal, including telemetry.
fn converged(cluster: &Cluster, version: &[u8]) {
    assert!(cluster.views_complete_and_alive());
    let fingerprint = |node| cluster.node(node).membership().fingerprint();
    for observer in 0..NODES {
        assert_eq!(fingerprint(observer), fingerprint(0), "n{observer} differs");
        for of in 0..NODES {
            assert_eq!(
                cluster.value(observer, of, "version"),
                Some(version),
                "n{of} at n{observer}"
            );
        }
    }
}
