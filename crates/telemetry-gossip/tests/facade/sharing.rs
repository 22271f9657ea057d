//! A node and single parts on one transport: others see one member, or the part is refused.

use std::sync::Arc;

use telemetry_gossip::gossip::PushPullGossip;
use telemetry_gossip::membership::{MemberStatus, MembershipState};
use telemetry_gossip::node::NodeErrorKind;
use telemetry_gossip::swim::SwimDetector;
use telemetry_gossip::transport::{MemoryNetwork, Sealing, Transport, UdpTransport};
use telemetry_gossip::{GossipNode, Options};

use crate::support::{
    Net, Wrapped, agree, alive, all_hold, give_up_after, kind, quick, tasks, until, until_so,
    within,
};

async fn start(id: &str, seeds: &[String], transport: Arc<dyn Transport>) -> GossipNode {
    let builder = GossipNode::builder(id).unwrap().config(quick()).seeds(seeds);
    builder.start(transport).await.unwrap()
}

/// A detector made before the node, and one made after it.
async fn a_detector_beside_a_node_makes_no_second_member(transports: [Arc<dyn Transport>; 2]) {
    let names = [0, 1].map(|at: usize| transports[at].local().to_string());
    let before = SwimDetector::new(transports[0].clone(), 2);
    let n0 = start("n0", &[], transports[0].clone()).await;
    let n1 = start("n1", &names[..1], transports[1].clone()).await;
    let after = SwimDetector::new(transports[0].clone(), 2);
    let nodes = [n0, n1];
    agree(&nodes).await;
    let generations = |node: &GossipNode| -> Vec<(String, u64)> {
        node.members().into_iter().map(|member| (member.node_id, member.generation)).collect()
    };
    let held = generations(&nodes[1]);
    for _ in 0..20 {
        for detector in [&before, &after] {
            assert!(detector.probe("n1", &alive(&["n1"])).await);
            nodes[1].exchange().await.unwrap();
        }
    }
    agree(&nodes).await;
    assert_eq!(generations(&nodes[1]), held);

    // Its detectors do not answer for a node that is gone.
    nodes[0].shutdown().await;
    all_hold(&nodes[1..], "n0", MemberStatus::Dead).await;
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_detector_beside_a_node_makes_no_second_member() {
    let network = MemoryNetwork::new(1);
    let transport = |id| network.transport(id).unwrap() as Arc<dyn Transport>;
    a_detector_beside_a_node_makes_no_second_member(["n0", "n1"].map(transport)).await;
}

#[tokio::test]
async fn on_udp_a_detector_beside_a_node_makes_no_second_member() {
    let bind = || UdpTransport::bind("127.0.0.1:0".parse().unwrap(), Sealing::Plaintext);
    let (n0, n1) = (bind().await.unwrap(), bind().await.unwrap());
    n0.add_peer("n1", n1.local_addr());
    a_detector_beside_a_node_makes_no_second_member([n0, n1]).await;
}

#[tokio::test]
async fn an_exchange_and_a_node_are_refused_on_one_transport() {
    for net in [Net::Udp, Net::Memory(MemoryNetwork::new(1))] {
        let transport = net.transport("a").await;
        let state = Arc::new(MembershipState::new());
        let node = start("a", &[], transport.clone()).await;
        let gossip = PushPullGossip::new(state.clone(), transport.clone());
        let error = gossip.gossip_round().await.unwrap_err();
        assert_eq!(error.kind(), NodeErrorKind::TransportTaken);
        assert!(error.to_string().contains("a transport of its own"), "{error}");
        assert!(state.snapshot().is_empty(), "it is not entered into the state");
        // Once the node has ended, shut down or dropped, the transport is free.
        node.shutdown().await;
        gossip.gossip_round().await.unwrap();
        assert_eq!(kind(node.try_start().await), NodeErrorKind::TransportTaken);
        assert!(!node.is_running());
        drop(gossip);
        node.try_start().await.unwrap();
        until("it runs", &node, |node| node.members().len() == 1).await;
        drop(node);
        PushPullGossip::new(state, transport).gossip_round().await.unwrap();
    }
}

/// Whatever else holds the node or its transport: handles, readers, a detector, calls given up.
#[tokio::test(start_paused = true)]
async fn a_running_node_beside_its_parts_refuses_other_settings_and_stays_one_member() {
    let network = MemoryNetwork::new(1);
    let transport = network.transport("n0").unwrap();
    let n0 = start("n0", &[], transport.clone()).await;
    let n1 = start("n1", &["n0".to_owned()], network.transport("n1").unwrap()).await;
    let nodes = [n0, n1];
    agree(&nodes).await;
    let detector = SwimDetector::new(transport, 2);
    let (readers, handle) = ((nodes[0].events(), nodes[0].subscribe("")), nodes[0].clone());
    let held = nodes[1].view().get("n0").unwrap().instance;
    let running = tasks();
    for round in 0..10 {
        give_up_after(round % 3, detector.probe("n1", &alive(&["n1"]))).await;
        give_up_after(round % 3, nodes[0].exchange()).await;
        let other = quick().label(telemetry_gossip::Label::of("other"));
        let options = Options::new("other".parse().unwrap());
        for refused in [handle.clone().with_config(other), handle.clone().with_options(options)] {
            let refused = refused.expect_err("settings of a node that runs are refused");
            assert_eq!(refused.kind(), NodeErrorKind::Running);
        }
        handle.try_start().await.unwrap();
        assert!(within("a probe", detector.probe("n1", &alive(&["n1"]))).await);
    }
    until_so("no second node runs", || tasks() == running).await;
    agree(&nodes).await;
    let instance = nodes[1].view().get("n0").unwrap().instance;
    assert_eq!((instance, nodes[0].members().len()), (held, 2), "the same node goes on");
    drop(readers);
}

/// Each setting of a part starts it anew; calls that were given up before keep no old one.
#[tokio::test(start_paused = true)]
async fn a_part_that_gets_other_settings_ends_before_it_starts_anew() {
    let network = MemoryNetwork::new(1);
    let answering = SwimDetector::new(network.transport("b").unwrap(), 2);
    let transport = Wrapped::over(network.transport("a").unwrap());
    transport.hang("silent");
    let members = alive(&["b", "silent"]);
    let mut detector = SwimDetector::new(transport.clone(), 2);
    for round in 1..20 {
        network.isolate("b");
        give_up_after(round % 5, detector.probe("b", &members)).await;
        network.heal();
        let timeout = std::time::Duration::from_millis(100 + round as u64);
        detector = detector.with_timeout(timeout).with_id(&format!("a-{round}")).unwrap();
        until_so("one detector each", || tasks() == 2).await;
        assert!(within("a probe", detector.probe("b", &members)).await);
    }
    drop((detector, answering));
    until_so("all have ended", || tasks() == 0).await;

    let state = Arc::new(MembershipState::new());
    state.merge(&members);
    let mut gossip = PushPullGossip::new(state.clone(), transport);
    for round in 1..20 {
        give_up_after(round % 5, gossip.gossip_round()).await;
        gossip = gossip.with_rng_seed([7; 32]).with_id(&format!("a-{round}")).unwrap();
        until_so("one exchange", || tasks() == 1).await;
    }
    let ids: Vec<String> = state.snapshot().into_iter().map(|member| member.node_id).collect();
    assert_eq!(ids, ["a-19", "b", "silent"], "and one record of itself");
}
