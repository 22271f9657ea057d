//! Indirect probes: the direct path from A to B is broken, in this direction only. A probes B
//! directly without success, asks K other nodes to probe B, and holds B Alive. With fewer than K
//! other nodes, A asks all of them.

use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Input, Mode, NodeId, ProbeOutcome, Status};
use telemetry_gossip_sim::{Cluster, Settings, node_id};
use telemetry_gossip_tests::for_each_seed;

const A: usize = 0;
const B: usize = 1;

fn cluster(nodes: usize, mode: Mode, indirect_probes: u8, seed: u64) -> Cluster {
    let config = Config::default().mode(mode).indirect_probes(indirect_probes);
    let mut cluster = Cluster::new(Settings::default().nodes(nodes).config(config).seed(seed));
    cluster.start_known();
    cluster
}

/// Lets a node probe another, and returns the outcome.
fn probe(cluster: &mut Cluster, from: usize, of: NodeId) -> Option<ProbeOutcome> {
    cluster.command(from, Input::Probe { id: of });
    // A probe ends after two timeouts.
    cluster.run_for(Config::default().probe_timeout * 2 + Duration::from_millis(50));
    cluster.events(from).filter_map(|(_, event)| outcome(&event)).last()
}

fn outcome(event: &Event<u32>) -> Option<ProbeOutcome> {
    match event {
        Event::ProbeCompleted { outcome, .. } => Some(*outcome),
        _ => None,
    }
}

#[test]
fn a_node_behind_a_broken_direct_path_is_reached_through_helpers_and_stays_alive() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(4, Mode::OnDemand, 2, seed);
        assert_eq!(probe(&mut cluster, A, node_id(B)), Some(ProbeOutcome::Direct));

        cluster.cut([A], [B]);
        assert_eq!(probe(&mut cluster, A, node_id(B)), Some(ProbeOutcome::Indirect));
        assert_eq!(cluster.status(A, B), Some(Status::Alive));
        assert_eq!(cluster.node(A).stats().probes_indirect, 1);
        assert_eq!(
            cluster.node(2).stats().ping_reqs + cluster.node(3).stats().ping_reqs,
            2,
            "both helpers were asked"
        );
    });
}

#[test]
fn one_helper_that_answers_is_enough() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(4, Mode::OnDemand, 2, seed);
        cluster.cut([A], [B]);
        cluster.cut([2], [B]);
        assert_eq!(probe(&mut cluster, A, node_id(B)), Some(ProbeOutcome::Indirect));
        assert_eq!(cluster.status(A, B), Some(Status::Alive));
    });
}

#[test]
fn a_node_that_no_helper_reaches_is_suspected() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(4, Mode::OnDemand, 2, seed);
        cluster.cut([A, 2, 3], [B]);
        assert_eq!(probe(&mut cluster, A, node_id(B)), Some(ProbeOutcome::Failed));
        assert_eq!(cluster.status(A, B), Some(Status::Suspected));
    });
}

/// The nodes are autonomous: in a minute of virtual time, none of them is ever suspected.
#[test]
fn a_running_cluster_never_suspects_a_node_that_others_reach() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(4, Mode::Autonomous, 3, seed);
        cluster.cut([A], [B]);
        cluster.run_for(Duration::from_secs(60));
        assert!(cluster.node(A).stats().probes_indirect > 0, "A never used an indirect probe");
        let counts = cluster.simulation().counts();
        assert_eq!((counts.suspected, counts.dead), (0, 0));
        assert!(cluster.views_complete_and_alive());
    });
}

/// A node asks min(K, other nodes) helpers.
#[test]
fn at_most_k_helpers_are_asked_and_fewer_than_k_suffice() {
    for_each_seed(200, |seed| {
        for (nodes, k) in [(2, 3), (3, 3), (4, 3), (5, 3), (12, 3), (12, 0), (12, 1), (12, 16)] {
            let mut cluster = cluster(nodes, Mode::OnDemand, k, seed);
            cluster.cut([A], [B]);
            let outcome = probe(&mut cluster, A, node_id(B));
            let helpers: u64 = (2..nodes).map(|node| cluster.node(node).stats().ping_reqs).sum();
            let others = nodes as u64 - 2;
            assert_eq!(helpers, others.min(k.into()), "{nodes} nodes, K = {k}");
            let expected = if helpers > 0 { ProbeOutcome::Indirect } else { ProbeOutcome::Failed };
            assert_eq!(outcome, Some(expected), "{nodes} nodes, K = {k}");
        }
    });
}
