//! Code of the host that the library calls, such as its transport, may use the library: no lock is
//! held meanwhile. And while such code is slow, readers do not wait for it.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use telemetry_gossip::gossip::PushPullGossip;
use telemetry_gossip::membership::MembershipState;
use telemetry_gossip::node::GossipNode;
use telemetry_gossip::transport::{
    BoxFuture, MemoryNetwork, PeerAddr, SharedSeal, Subscription, Transport,
};

use crate::support::{PATIENCE, alive};

type Hook = Box<dyn Fn() + Send + Sync>;

/// A transport that calls the hook of the test whenever the library calls it.
struct Hooked {
    inner: Arc<dyn Transport>,
    hook: Mutex<Option<Arc<Hook>>>,
    calls: AtomicU64,
}

impl Hooked {
    fn over(inner: Arc<dyn Transport>) -> Arc<Self> {
        Arc::new(Self { inner, hook: Mutex::default(), calls: AtomicU64::new(0) })
    }

    fn hook(&self, hook: impl Fn() + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(Box::new(hook)));
    }

    fn called(&self) {
        let hook = self.hook.lock().unwrap().clone();
        if let Some(hook) = hook {
            hook();
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl Transport for Hooked {
    fn local(&self) -> PeerAddr {
        self.called();
        self.inner.local()
    }

    fn send(&self, to: PeerAddr, bytes: &[u8]) -> io::Result<()> {
        self.called();
        self.inner.send(to, bytes)
    }

    fn seal(&self) -> Option<&Arc<SharedSeal>> {
        self.called();
        self.inner.seal()
    }

    fn subscribe(&self) -> Subscription {
        self.called();
        self.inner.subscribe()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<PeerAddr>>> {
        self.called();
        self.inner.resolve(name)
    }

    fn close(&self) {
        self.inner.close();
    }
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
        let hooked = Hooked::over(network.transport("a").unwrap());
        let (a, b) = (Arc::new(MembershipState::new()), Arc::new(MembershipState::new()));
        a.merge(&alive(&["b"]));
        b.merge(&alive(&["a", "c"]));
        let gossip = PushPullGossip::new(a.clone(), hooked.clone());
        let _answers = PushPullGossip::new(b, network.transport("b").unwrap());
        let read = a.clone();
        hooked.hook(move || assert!(read.snapshot().len() >= 2));
        gossip.gossip_round().await.unwrap();
        assert!(a.member("c").is_some());
        assert!(hooked.calls.load(Ordering::Relaxed) > 0);
    });
}

#[test]
fn a_transport_may_read_the_node_that_is_started_on_it() {
    without_deadlock(async || {
        let network = MemoryNetwork::new(1);
        let hooked = Hooked::over(network.transport("a").unwrap());
        let node = GossipNode::new("a".into(), vec!["b".into()], hooked.clone());
        let read = node.clone();
        hooked.hook(move || {
            let _ = (read.members(), read.view(), read.events(), read.is_running());
        });
        node.try_start().await.unwrap();
        node.publish("load", b"1").await.unwrap();
        node.shutdown().await;
        assert!(hooked.calls.load(Ordering::Relaxed) > 0);
        // The hook holds a handle of the node, which holds the transport.
        hooked.hook(|| {});
    });
}
