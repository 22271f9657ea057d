//! What the facade's tests share: waiting for what must come, a transport that breaks one direction on purpose, and one
//! whose names stand for what the test says.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use telemetry_gossip::membership::{MemberInfo, MemberStatus};
use telemetry_gossip::transport::{BoxFuture, NameError, Peer, Subscription, Transport, UdpTransport};

/// Longer than anything takes; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Fails the test if it takes longer than [`PATIENCE`].
pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Waits until `holds`, giving way to other tasks in between: for what no event tells. The host's clock bounds it, as
/// paused time does not pass meanwhile.
pub(crate) async fn until_so(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::task::yield_now().await;
    }
}

/// A record as a host makes it.
pub(crate) fn info(id: &str, status: MemberStatus, generation: u64) -> MemberInfo {
    MemberInfo { node_id: id.to_owned(), status, generation, last_observed: Instant::now() }
}

/// Records of members that are all Alive.
pub(crate) fn alive<T: AsRef<str>>(ids: &[T]) -> Vec<MemberInfo> {
    ids.iter().map(|id| info(id.as_ref(), MemberStatus::Alive, 0)).collect()
}

/// A UDP transport that drops what is sent to some peers, and nothing else.
#[derive(Debug)]
pub(crate) struct OneWayUdp {
    inner: Arc<UdpTransport>,
    cut: Mutex<HashSet<Peer>>,
    dropped: AtomicU64,
}

impl OneWayUdp {
    pub(crate) async fn bind() -> Arc<Self> {
        let inner = UdpTransport::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        Arc::new(Self { inner, cut: Mutex::default(), dropped: AtomicU64::new(0) })
    }

    pub(crate) fn cut(&self, to: Peer) {
        self.cut.lock().unwrap().insert(to);
    }

    /// Datagrams that the cut has taken.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn id(&self) -> String {
        self.inner.local_addr().to_string()
    }
}

impl Transport for OneWayUdp {
    fn local(&self) -> Peer {
        self.inner.local()
    }

    fn send(&self, to: Peer, bytes: &[u8]) -> io::Result<()> {
        if self.cut.lock().unwrap().contains(&to) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.inner.send(to, bytes)
    }

    fn subscribe(&self) -> Subscription {
        self.inner.subscribe()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<Peer>>> {
        self.inner.resolve(name)
    }

    fn check_name(&self, name: &str) -> Result<(), NameError> {
        self.inner.check_name(name)
    }

    fn close(&self) {
        self.inner.close();
    }
}

/// A transport whose directory has other names: each stands for a peer, or is never found (and never given up).
#[derive(Debug)]
pub(crate) struct Directory {
    inner: Arc<dyn Transport>,
    names: Mutex<HashMap<String, Option<Peer>>>,
}

impl Directory {
    pub(crate) fn over(inner: Arc<dyn Transport>) -> Arc<Self> {
        Arc::new(Self { inner, names: Mutex::default() })
    }

    /// From now on `name` stands for `peer`.
    pub(crate) fn name(&self, name: &str, peer: Peer) {
        self.names.lock().unwrap().insert(name.to_owned(), Some(peer));
    }

    /// From now on looking up `name` does not end.
    pub(crate) fn hang(&self, name: &str) {
        self.names.lock().unwrap().insert(name.to_owned(), None);
    }
}

impl Transport for Directory {
    fn local(&self) -> Peer {
        self.inner.local()
    }

    fn send(&self, to: Peer, bytes: &[u8]) -> io::Result<()> {
        self.inner.send(to, bytes)
    }

    fn subscribe(&self) -> Subscription {
        self.inner.subscribe()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<Peer>>> {
        let named = self.names.lock().unwrap().get(name).copied();
        match named {
            Some(Some(peer)) => Box::pin(std::future::ready(Ok(vec![peer]))),
            Some(None) => Box::pin(std::future::pending()),
            None => self.inner.resolve(name),
        }
    }

    fn close(&self) {
        self.inner.close();
    }
}
