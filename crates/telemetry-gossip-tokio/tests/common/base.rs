//! What the tests of the driver share with those of the facade, which include this file: waiting
//! for what must come, either network, and settings for a test.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::Config;
use telemetry_gossip_tokio::{MemoryNetwork, Sealing, Transport, UdpTransport};

/// Longer than anything takes; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Fails the test if it takes longer than [`PATIENCE`].
pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Waits until `holds`, giving way to other tasks in between: for what no event tells. The host's
/// clock bounds it, as paused time does not pass meanwhile.
pub(crate) async fn until_so(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::task::yield_now().await;
    }
}

/// Polls a future at most so often, lets other tasks run in between, and drops it: its caller gives
/// up.
pub(crate) async fn give_up_after(polls: usize, future: impl Future) {
    let mut future = std::pin::pin!(future);
    for round in 0..polls {
        if round > 0 {
            tokio::task::yield_now().await;
        }
        let poll = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        if poll.await {
            return;
        }
    }
}

/// The tasks of the runtime that have not ended.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// The network of a cluster.
#[derive(Clone, Debug)]
pub(crate) enum Net {
    Udp,
    Memory(MemoryNetwork),
}

impl Net {
    pub(crate) async fn transport(&self, id: &str) -> Arc<dyn Transport> {
        match self {
            Self::Udp => udp().await,
            Self::Memory(network) => network.transport(id).unwrap(),
        }
    }
}

/// A UDP transport in plaintext, at a free port of the loopback address.
pub(crate) async fn udp() -> Arc<UdpTransport> {
    UdpTransport::bind("127.0.0.1:0".parse().unwrap(), Sealing::Plaintext).await.unwrap()
}

/// Quick enough for a test, with timeouts that a busy machine keeps.
pub(crate) fn quick() -> Config {
    Config::default()
        .probe_interval(Duration::from_millis(500))
        .probe_timeout(Duration::from_millis(250))
        .gossip_interval(Duration::from_millis(50))
        .reconnect_interval(Duration::from_millis(500))
        .join_timeout(Duration::from_millis(500))
}
