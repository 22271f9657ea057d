//! Every handle and every future of the driver may go to any thread: this file does not compile if
//! one of them may not.

use std::future::Future;
use std::time::Duration;

use crate::{
    Agent, AgentError, Event, Events, MemberView, MemoryNetwork, MemoryTransport, Options,
    PeerAddr, Recording, RecvError, Sealing, SharedSeal, SpawnError, Subscribers, Subscription,
    TelemetryChanges, TelemetryValue, Transport, UdpTransport, View,
};
use telemetry_gossip_core::{Generation, NodeId};

const fn is_send_and_sync<T: Send + Sync + ?Sized>() {}

const _: () = {
    is_send_and_sync::<Agent>();
    is_send_and_sync::<AgentError>();
    is_send_and_sync::<SpawnError>();
    is_send_and_sync::<Event>();
    is_send_and_sync::<Events>();
    is_send_and_sync::<RecvError>();
    is_send_and_sync::<TelemetryChanges>();
    is_send_and_sync::<TelemetryValue>();
    is_send_and_sync::<MemberView>();
    is_send_and_sync::<View>();
    is_send_and_sync::<Options>();
    is_send_and_sync::<Recording>();
    is_send_and_sync::<PeerAddr>();
    is_send_and_sync::<Sealing>();
    is_send_and_sync::<SharedSeal>();
    is_send_and_sync::<Subscribers>();
    is_send_and_sync::<Subscription>();
    is_send_and_sync::<dyn Transport>();
    is_send_and_sync::<UdpTransport>();
    is_send_and_sync::<MemoryNetwork>();
    is_send_and_sync::<MemoryTransport>();
};

fn is_send<T>(_: impl Future<Output = T> + Send) {}

#[expect(dead_code, reason = "compiled, not called")]
fn every_future_is_send(
    agent: &Agent,
    id: NodeId,
    events: &mut Events,
    changes: &mut TelemetryChanges,
    subscription: &mut Subscription,
) {
    is_send(agent.health());
    is_send(agent.explain("a"));
    is_send(agent.stats());
    is_send(agent.publish("k", b"v"));
    is_send(agent.publish_urgent("k", b"v"));
    is_send(agent.publish_as("k", &1_u8));
    is_send(agent.unpublish("k"));
    is_send(agent.join(&[]));
    is_send(agent.leave(Duration::ZERO));
    is_send(agent.probe(id));
    is_send(agent.exchange());
    is_send(agent.introduce(id, None, Generation(0)));
    is_send(agent.apply_cluster_config(1, Vec::new()));
    is_send(agent.accept_loss());
    is_send(agent.shutdown());
    is_send(events.recv());
    is_send(changes.recv());
    is_send(subscription.recv());
    is_send(UdpTransport::bind(([127, 0, 0, 1], 0).into(), Sealing::Plaintext));
}
