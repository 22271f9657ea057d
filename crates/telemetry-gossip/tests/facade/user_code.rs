//! Code of the host that the library calls, such as its transport, may use the library: no lock is
//! held meanwhile. And while such code is slow, readers do not wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use telemetry_gossip::gossip::PushPullGossip;
use telemetry_gossip::membership::MembershipState;
use telemetry_gossip::node::{GossipNode, NodeErrorKind};
use telemetry_gossip::transport::MemoryNetwork;

use crate::support::{PATIENCE, Wrapped, alive, quick};

/// Has the transport call the hook whenever the library calls it. Returns the number of calls.
fn hook(transport: &Wrapped, hook: impl Fn() + Send + Sync + 'static) -> Arc<AtomicU64> {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    transport.on_call(move || {
        hook();
        counted.fetch_add(1, Ordering::Relaxed);
    });
    calls
}

/// Runs the test on a thread of its own, so that a deadlock fails it instead of hanging it.
fn without_deadlock<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(test());
        done.send(()).unwrap();
    });
    ended.recv_timeout(PATIENCE).expect("the test ends, and has not panicked");
}

#[test]
fn a_transport_may_read_the_state_that_is_exchanged_over_it() {
    without_deadlock(async || {
        let network = MemoryNetwork::new(1);
        let hooked = Wrapped::over(network.transport("a").unwrap());
        let (a, b) = (Arc::new(MembershipState::new()), Arc::new(MembershipState::new()));
        a.merge(&alive(&["b"]));
        b.merge(&alive(&["a", "c"]));
        let gossip = PushPullGossip::new(a.clone(), hooked.clone());
        let _answers = PushPullGossip::new(b, network.transport("b").unwrap());
        let read = a.clone();
        let calls = hook(&hooked, move || assert!(read.snapshot().len() >= 2));
        gossip.gossip_round().await.unwrap();
        assert!(a.member("c").is_some());
        assert!(calls.load(Ordering::Relaxed) > 0);
    });
}

#[test]
fn a_transport_may_read_the_node_that_is_started_on_it() {
    without_deadlock(async || {
        let network = MemoryNetwork::new(1);
        let hooked = Wrapped::over(network.transport("a").unwrap());
        let node = GossipNode::new("a".into(), vec!["b".into()], hooked.clone());
        let read = node.clone();
        let calls = hook(&hooked, move || {
            let _ = (read.members(), read.view(), read.events(), read.is_running());
        });
        node.try_start().await.unwrap();
        node.publish("load", b"1").await.unwrap();
        node.shutdown().await;
        assert!(calls.load(Ordering::Relaxed) > 0);
        // The hook holds a handle of the node, which holds the transport.
        hooked.mend();
    });
}

/// They would be taken, and have no effect.
#[test]
fn settings_given_in_the_middle_of_a_start_are_refused() {
    without_deadlock(async || {
        let network = MemoryNetwork::new(1);
        let hooked = Wrapped::over(network.transport("a").unwrap());
        let node = GossipNode::new("a".into(), vec![], hooked.clone());
        let starting = node.clone();
        let (refused, accepted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counts = (refused.clone(), accepted.clone());
        let calls = hook(&hooked, move || {
            let count = match starting.clone().with_config(quick()) {
                Ok(_) => &counts.1,
                Err(error) => {
                    assert_eq!(error.kind(), NodeErrorKind::Running);
                    &counts.0
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
        });
        node.try_start().await.unwrap();
        node.shutdown().await;
        hooked.mend();
        let [accepted, refused] = [accepted, refused].map(|count| count.load(Ordering::Relaxed));
        // The start looks at the transport once before it reads the settings.
        assert!(accepted <= 1, "settings are taken while the node starts with others: {accepted}");
        assert!(refused > 0 && calls.load(Ordering::Relaxed) >= refused);
    });
}
