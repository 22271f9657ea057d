//! The handles of a node: clones, settings while it runs, readers from before the start, errors,
//! and that every handle and future may go to any thread.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use telemetry_gossip::config::{CommandError, ConfigError};
use telemetry_gossip::event::{Events, ProbeOutcome};
use telemetry_gossip::gossip::PushPullGossip;
use telemetry_gossip::membership::{MemberStatus, MembershipState};
use telemetry_gossip::node::{GossipNode, NodeBuilder, NodeError, NodeErrorKind, RecvError};
use telemetry_gossip::swim::SwimDetector;
use telemetry_gossip::telemetry::{TelemetryChanges, View};
use telemetry_gossip::transport::{
    MemoryNetwork, MemoryTransport, Sealing, SharedSeal, Subscription, Transport, UdpTransport,
};
use telemetry_gossip::{Config, Event, Options, PeerAddr};

use crate::support::{give_up_after, kind, tasks, until, within};

const fn is_send_and_sync<T: Send + Sync + ?Sized>() {}

/// Fails to compile if a handle cannot be sent to another thread, or shared with it.
const _: () = {
    is_send_and_sync::<GossipNode>();
    is_send_and_sync::<NodeBuilder>();
    is_send_and_sync::<NodeError>();
    is_send_and_sync::<Events>();
    is_send_and_sync::<TelemetryChanges>();
    is_send_and_sync::<View>();
    is_send_and_sync::<MembershipState>();
    is_send_and_sync::<SwimDetector>();
    is_send_and_sync::<PushPullGossip>();
    is_send_and_sync::<dyn Transport>();
    is_send_and_sync::<UdpTransport>();
    is_send_and_sync::<MemoryNetwork>();
    is_send_and_sync::<MemoryTransport>();
    is_send_and_sync::<Subscription>();
    is_send_and_sync::<SharedSeal>();
    is_send_and_sync::<Sealing>();
    is_send_and_sync::<Options>();
    is_send_and_sync::<Event>();
};

fn is_send<T>(_: impl Future<Output = T> + Send) {}

#[expect(dead_code, reason = "compiled, not called")]
fn every_future_is_send(
    node: &GossipNode,
    builder: NodeBuilder,
    transport: std::sync::Arc<MemoryTransport>,
    events: &mut Events,
    changes: &mut TelemetryChanges,
) {
    is_send(builder.start(transport));
    is_send(node.start());
    is_send(node.try_start());
    is_send(node.publish("k", b"v"));
    is_send(node.publish_urgent("k", b"v"));
    is_send(node.publish_as("k", &1_u8));
    is_send(node.unpublish("k"));
    is_send(node.health());
    is_send(node.stats());
    is_send(node.explain("a"));
    is_send(node.join(&["a"]));
    is_send(node.leave(Duration::ZERO));
    is_send(node.probe("a"));
    is_send(node.exchange());
    is_send(node.introduce("a", None, 0));
    is_send(node.apply_cluster_config(1, &["a"]));
    is_send(node.accept_loss());
    is_send(node.shutdown());
    is_send(events.recv());
    is_send(changes.recv());
    is_send(UdpTransport::bind("127.0.0.1:0".parse().unwrap(), Sealing::Plaintext));
}

async fn start(network: &MemoryNetwork, id: &str, seeds: &[&str]) -> GossipNode {
    let builder = GossipNode::builder(id).unwrap().seeds(seeds.iter().copied());
    builder.start(network.transport(id).unwrap()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_node_runs_as_long_as_one_of_its_clones() {
    let network = MemoryNetwork::new(1);
    let node = start(&network, "a", &[]).await;
    let clone = node.clone();
    let mut events = node.events();
    drop(node);
    clone.publish("load", b"1").await.unwrap();
    assert!(clone.is_running() && clone.telemetry("a", "load").is_some());
    assert!(matches!(events.recv().await, Ok(Event::Telemetry { .. })));
    drop(clone);
    assert_eq!(within("the node ends", events.recv()).await, Err(RecvError::Closed));
}

#[tokio::test(start_paused = true)]
async fn settings_of_a_running_node_cannot_be_changed() {
    let network = MemoryNetwork::new(1);
    let node = start(&network, "a", &[]).await;
    node.publish("load", b"1").await.unwrap();
    let other = Config::default().label(telemetry_gossip::Label::of("other"));
    let refused = node.clone().with_config(other.clone());
    let refused = refused.expect_err("settings of a node that runs are refused");
    assert_eq!(refused.kind(), NodeErrorKind::Running);
    let refused = node.clone().with_options(Options::new("b".parse().unwrap()));
    let refused = refused.expect_err("options of a node that runs are refused");
    assert_eq!(refused.kind(), NodeErrorKind::Running);
    assert!(node.telemetry("a", "load").is_some(), "the same node goes on");
    node.shutdown().await;
    let node = node.with_config(other).unwrap();
    node.try_start().await.unwrap();
    assert!(node.telemetry("a", "load").is_none(), "a restarted node");
}

#[tokio::test]
async fn a_start_during_a_shutdown_starts_the_node_after_it() {
    for dropped in [false, true] {
        let network = MemoryNetwork::new(1);
        let node = start(&network, "a", &[]).await;
        for _ in 0..50 {
            let before = node.view().get("a").unwrap().instance;
            let started = if dropped {
                give_up_after(1, node.shutdown()).await;
                node.try_start().await
            } else {
                tokio::join!(node.shutdown(), node.try_start()).1
            };
            started.unwrap();
            assert_eq!(tasks(), 1, "the earlier one has ended: there are no two on one transport");
            node.publish("load", b"1").await.expect("a start that is Ok leaves a node that runs");
            assert_ne!(node.view().get("a").unwrap().instance, before, "a new instance");
        }
        assert_eq!(tasks(), 1);
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_command_before_a_shutdown_is_carried_out() {
    let network = MemoryNetwork::new(1);
    let node = start(&network, "a", &[]).await;
    let (published, ()) = tokio::join!(node.publish("load", b"1"), node.shutdown());
    published.unwrap();
    assert!(node.telemetry("a", "load").is_some());
}

#[tokio::test]
async fn a_node_is_not_started_on_a_closed_transport() {
    let network = MemoryNetwork::new(1);
    let transport = network.transport("a").unwrap();
    let node = GossipNode::new("a".into(), vec![], transport.clone());
    node.try_start().await.unwrap();
    // The task of the node has not run since.
    transport.close();
    let started = node.try_start().await;
    let error = started.expect_err("a start on a closed transport is refused");
    assert_eq!(error.kind(), NodeErrorKind::Closed);
    assert!(error.to_string().contains("the transport is closed"), "{error}");
    assert!(!node.is_running());
    let builder = GossipNode::builder("b").unwrap();
    assert_eq!(kind(builder.start(transport).await), NodeErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn options_do_not_replace_the_id_and_the_seeds() {
    let network = MemoryNetwork::new(1);
    let a = start(&network, "a", &[]).await;
    let b = GossipNode::new("b".into(), vec!["a".into()], network.transport("b").unwrap());
    let options = Options::new("c".parse().unwrap()).seeds(["nowhere"]);
    let b = b.with_options(options.generation(telemetry_gossip::config::Generation(7))).unwrap();
    b.try_start().await.unwrap();
    until("b has joined", &a, |a| a.members().len() == 2).await;
    let held = a.members().pop().unwrap();
    assert_eq!((b.id(), held.node_id.as_str(), held.generation), ("b", "b", 7));
}

#[tokio::test(start_paused = true)]
async fn readers_from_before_the_start_miss_nothing() {
    let network = MemoryNetwork::new(1);
    let node = GossipNode::new("a".into(), vec![], network.transport("a").unwrap());
    let (mut events, mut changes) = (node.events(), node.subscribe("load"));
    node.try_start().await.unwrap();
    node.publish("load", b"1").await.unwrap();
    assert!(matches!(events.recv().await, Ok(Event::Joined { id, .. }) if id == "a"));
    assert_eq!(changes.recv().await.unwrap().value.unwrap().value, b"1");
    node.shutdown().await;
    assert!(changes.recv().await.is_none());

    let waiting = GossipNode::new("b".into(), vec![], network.transport("b").unwrap());
    let mut events = waiting.events();
    drop(waiting);
    assert_eq!(within("it never starts", events.recv()).await, Err(RecvError::Closed));
}

#[tokio::test(start_paused = true)]
async fn the_age_of_a_value_is_by_the_clock_of_the_runtime() {
    let network = MemoryNetwork::new(1);
    let node = start(&network, "a", &[]).await;
    node.publish("load", b"1").await.unwrap();
    let second = Duration::from_secs(1);
    assert!(node.fresh_telemetry("a", "load", second).is_some());
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let age = node.telemetry("a", "load").unwrap().age();
    assert!(age >= Duration::from_secs(3_600) && age < Duration::from_secs(3_601), "{age:?}");
    assert_eq!(node.fresh_telemetry("a", "load", second), None);
}

#[tokio::test(start_paused = true)]
async fn every_command_is_on_the_handle() {
    let network = MemoryNetwork::new(1);
    let (a, b) = (start(&network, "a", &[]).await, start(&network, "b", &[]).await);
    a.introduce("b", Some(PeerAddr::try_from("b").unwrap()), 0).await.unwrap();
    assert_eq!(a.probe("b").await.unwrap(), ProbeOutcome::Direct);
    assert_eq!(a.probe("unknown").await.unwrap(), ProbeOutcome::NotProbed);
    b.join(&["a"]).await.unwrap();
    until("a is known", &b, |b| b.members().len() == 2).await;
    a.exchange().await.unwrap();
    a.accept_loss().await.unwrap();
    assert_eq!(a.health().await.unwrap().alive, 2);
    assert!(a.stats().await.unwrap().probes >= 1);
    assert_eq!((a.seal_stats(), a.record_stats()), (None, None));
    a.apply_cluster_config(1, &["a"]).await.unwrap();
    assert_eq!(a.members().len(), 1);
    b.leave(Duration::from_secs(5)).await.unwrap();
    assert!(!b.health().await.unwrap().active);
    assert_eq!(b.members()[1].status, MemberStatus::Dead);
}

#[tokio::test(start_paused = true)]
async fn an_error_has_a_kind_and_the_typed_error_below() {
    let network = MemoryNetwork::new(1);
    let node = start(&network, "a", &[]).await;
    let error = node.publish("", b"1").await.unwrap_err();
    assert_eq!(error.kind(), NodeErrorKind::Refused);
    let source = error.source().and_then(|source| source.downcast_ref());
    assert!(matches!(source, Some(CommandError::Key { len: 0, .. })), "{error:?}");
    assert_eq!(error.to_string(), "refused: a telemetry key has 1 to 64 bytes, this one has 0");

    assert_eq!(kind(node.join(&["unknown"]).await), NodeErrorKind::Unresolved);
    assert_eq!(kind(node.probe("").await), NodeErrorKind::Id);
    assert_eq!(kind(node.apply_cluster_config(1, &["\n"]).await), NodeErrorKind::Id);
    assert_eq!(kind(node.apply_cluster_config(1, &["b"]).await), NodeErrorKind::Refused);

    let builder = GossipNode::builder("b").unwrap().config(Config::default().mtu(1));
    let error = builder.start(network.transport("b").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), NodeErrorKind::Config);
    let source = error.source().and_then(|source| source.downcast_ref());
    assert!(matches!(source, Some(ConfigError::Range { field: "mtu", .. })), "{error:?}");
}

#[cfg(feature = "stream")]
#[tokio::test(start_paused = true)]
async fn events_and_changes_are_streams_that_end_with_the_node() {
    use futures_core::Stream;

    async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
        std::future::poll_fn(|context| std::pin::Pin::new(&mut *stream).poll_next(context)).await
    }
    is_send_and_sync::<telemetry_gossip::event::EventStream>();
    is_send_and_sync::<telemetry_gossip::telemetry::TelemetryStream>();

    let network = MemoryNetwork::new(1);
    let node = start(&network, "a", &[]).await;
    let mut events = node.events().into_stream();
    let mut changes = node.subscribe("load").into_stream();
    node.publish("load", b"1").await.unwrap();
    assert!(matches!(next(&mut events).await, Some(Ok(Event::Telemetry { .. }))));
    assert_eq!(next(&mut changes).await.unwrap().key, "load");
    node.shutdown().await;
    assert_eq!(next(&mut events).await, None);
    assert_eq!(next(&mut events).await, None, "it stays at its end");
    assert!(next(&mut changes).await.is_none());
}

#[test]
fn a_node_is_not_started_outside_a_runtime() {
    let network = MemoryNetwork::new(1);
    let builder = GossipNode::builder("a").unwrap();
    let starting = builder.start(network.transport("a").unwrap());
    let error = ready(starting).unwrap_err();
    assert_eq!(error.kind(), NodeErrorKind::Runtime);
}

/// The output of a future that is ready at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("not ready"),
    }
}
