//! The required API, by its names and signatures: this file does not compile if one of them
//! differs.
#![forbid(unsafe_code)]
#![deny(warnings)]

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use telemetry_gossip::gossip::{self, PushPullGossip};
use telemetry_gossip::membership::{MemberInfo, MemberStatus, MembershipState};
use telemetry_gossip::node::GossipNode;
use telemetry_gossip::swim::SwimDetector;
use telemetry_gossip::transport::{MemoryNetwork, MemoryTransport, Transport, UdpTransport};

/// The argument is of exactly this type.
fn exactly<T>(_: T) {}

/// `derive(Clone, Debug, PartialEq, Eq)`.
fn derives<T: Clone + Debug + PartialEq + Eq + Send + Sync + 'static>() {}

/// Shared between tasks and threads by reference.
fn shared<T: Send + Sync + 'static + ?Sized>() {}

/// The asynchronous call's output is of this type, and its future may run on any thread.
fn future_of<T>(future: impl Future<Output = T> + Send) {
    drop(future);
}

#[test]
fn membership_is_as_required() {
    derives::<MemberStatus>();
    derives::<MemberInfo>();
    shared::<MembershipState>();
    for status in [MemberStatus::Alive, MemberStatus::Suspected, MemberStatus::Dead] {
        // No other variants: this match is exhaustive.
        match status {
            MemberStatus::Alive | MemberStatus::Suspected | MemberStatus::Dead => {}
        }
    }
    // No other fields, and each of its type.
    let info = MemberInfo {
        node_id: String::from("n0"),
        status: MemberStatus::Alive,
        generation: 0_u64,
        last_observed: Instant::now(),
    };
    let MemberInfo { node_id, status, generation, last_observed } = info;
    exactly::<String>(node_id);
    exactly::<MemberStatus>(status);
    exactly::<u64>(generation);
    exactly::<Instant>(last_observed);

    exactly::<fn() -> MembershipState>(MembershipState::new);
    exactly::<fn(&MembershipState, MemberInfo)>(MembershipState::upsert);
    exactly::<fn(&MembershipState, &[MemberInfo])>(MembershipState::merge);
    exactly::<fn(&MembershipState) -> Vec<MemberInfo>>(MembershipState::snapshot);
    exactly::<fn(&MembershipState) -> Vec<MemberInfo>>(MembershipState::alive_members);
    exactly::<fn(&MembershipState, &str) -> Option<MemberInfo>>(MembershipState::member);
}

#[test]
fn swim_is_as_required() {
    shared::<SwimDetector>();
    exactly::<fn(Arc<dyn Transport>, usize) -> SwimDetector>(SwimDetector::new);
    #[expect(dead_code, reason = "compiled, not called")]
    fn probe(detector: &SwimDetector, target: &str, members: &[MemberInfo]) {
        future_of::<bool>(detector.probe(target, members));
    }
}

#[test]
fn gossip_is_as_required() {
    shared::<PushPullGossip>();
    exactly::<fn(Arc<MembershipState>, Arc<dyn Transport>) -> PushPullGossip>(PushPullGossip::new);
    #[expect(dead_code, reason = "compiled, not called")]
    fn round(gossip: &PushPullGossip) {
        future_of::<gossip::Result<()>>(gossip.gossip_round());
    }
    // The error is one that `?` carries anywhere.
    #[expect(dead_code, reason = "compiled, not called")]
    async fn carried(
        gossip: &PushPullGossip,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        gossip.gossip_round().await?;
        Ok(())
    }
}

#[test]
fn node_is_as_required() {
    shared::<GossipNode>();
    exactly::<fn(String, Vec<String>, Arc<dyn Transport>) -> GossipNode>(GossipNode::new);
    exactly::<fn(&GossipNode) -> Vec<MemberInfo>>(GossipNode::members);
    #[expect(dead_code, reason = "compiled, not called")]
    fn start(node: &GossipNode) {
        future_of::<()>(node.start());
    }
}

#[test]
fn transports_are_objects_of_either_kind() {
    shared::<dyn Transport>();
    exactly::<fn(Arc<UdpTransport>) -> Arc<dyn Transport>>(|transport| transport);
    exactly::<fn(Arc<MemoryTransport>) -> Arc<dyn Transport>>(|transport| transport);
    let transport: Arc<dyn Transport> = MemoryNetwork::new(0).transport("n0").unwrap();
    assert_eq!(transport.local().to_string(), "n0");
}

#[test]
fn constructors_outside_a_runtime_do_not_panic() {
    let network = MemoryNetwork::new(0);
    let transport = |id: &str| -> Arc<dyn Transport> { network.transport(id).unwrap() };
    let detector = SwimDetector::new(transport("a"), 2);
    let state = Arc::new(MembershipState::new());
    let gossip = PushPullGossip::new(state.clone(), transport("b"));
    assert!(state.snapshot().is_empty());
    let node = GossipNode::new("c".into(), vec!["a".into()], transport("c"));
    assert!(node.members().is_empty());

    // Within one they work, though they were made outside.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        gossip.gossip_round().await.unwrap();
        assert!(!detector.probe("nobody", &[]).await);
        node.start().await;
    });
    assert_eq!(state.snapshot()[0].node_id, "b");
    assert_eq!(node.members()[0].node_id, "c");
}

#[test]
fn what_was_used_on_one_runtime_works_on_the_next() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let network = MemoryNetwork::new(0);
    let transport = |id: &str| -> Arc<dyn Transport> { network.transport(id).unwrap() };
    let detector = SwimDetector::new(transport("a"), 2);
    let gossip = PushPullGossip::new(Arc::default(), transport("b"));
    let node = GossipNode::new("c".into(), vec![], transport("c"));
    for _ in 0..3 {
        // Each ends with the tasks that ran on it.
        runtime().block_on(async {
            gossip.gossip_round().await.unwrap();
            node.start().await;
            assert!(detector.probe("c", &[]).await, "both answer, or ask");
            node.publish("load", b"1").await.unwrap();
        });
    }
}

/// A file of the workspace; a checkout may have other ends of lines.
fn text(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .replace('\r', "")
}

#[test]
fn the_readme_shows_the_example_that_is_compiled() {
    let example = text("crates/telemetry-gossip/examples/embed.rs");
    assert!(
        text("README.md").contains(&format!("```rust\n{example}```\n")),
        "copy embed.rs into the README"
    );
}
