//! What the facade's tests share: clusters of whole nodes, waiting for what must come, a transport
//! that breaks one direction on purpose, and one whose names stand for what the test says.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use telemetry_gossip::config::{Config, SuspicionTimeout};
use telemetry_gossip::membership::{MemberInfo, MemberStatus};
use telemetry_gossip::node::{GossipNode, NodeError, NodeErrorKind};
use telemetry_gossip::transport::{
    BoxFuture, MemoryNetwork, NameError, PeerAddr, Sealing, SharedSeal, Subscription, Transport,
    UdpTransport,
};

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

/// The network of a cluster.
#[derive(Clone, Debug)]
pub(crate) enum Net {
    Udp,
    Memory(MemoryNetwork),
}

impl Net {
    pub(crate) async fn transport(&self, id: &str) -> Arc<dyn Transport> {
        match self {
            Self::Udp => UdpTransport::bind("127.0.0.1:0".parse().unwrap(), Sealing::Plaintext)
                .await
                .unwrap(),
            Self::Memory(network) => network.transport(id).unwrap(),
        }
    }
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

/// `n0`, `n1`, ...: the first waits to be found, the others join through it.
pub(crate) async fn cluster(net: &Net, count: usize, config: &Config) -> (Vec<GossipNode>, String) {
    let mut nodes = Vec::new();
    let mut seed = String::new();
    for index in 0..count {
        let id = format!("n{index}");
        let transport = net.transport(&id).await;
        let seeds = if index == 0 { vec![] } else { vec![seed.clone()] };
        if index == 0 {
            seed = transport.local().to_string();
        }
        let node = GossipNode::new(id, seeds, transport).with_config(config.clone()).unwrap();
        node.start().await;
        nodes.push(node);
    }
    (nodes, seed)
}

/// What went wrong.
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, NodeError>) -> NodeErrorKind {
    result.unwrap_err().kind()
}

pub(crate) fn status(node: &GossipNode, id: &str) -> Option<MemberStatus> {
    node.members().into_iter().find(|member| member.node_id == id).map(|member| member.status)
}

/// Waits until `holds`, asked again after each of the node's events.
pub(crate) async fn until(
    what: &str,
    node: &GossipNode,
    mut holds: impl FnMut(&GossipNode) -> bool,
) {
    let mut events = node.events();
    within(what, async {
        while !holds(node) {
            events.recv().await.expect("it runs");
        }
    })
    .await;
}

pub(crate) async fn all_hold(nodes: &[GossipNode], id: &str, expected: MemberStatus) {
    for node in nodes {
        until(&format!("{id} is {expected:?}"), node, |node| {
            status(node, id).as_ref() == Some(&expected)
        })
        .await;
    }
}

pub(crate) async fn agree(nodes: &[GossipNode]) {
    for node in nodes {
        until("all are Alive", node, |node| {
            let members = node.members();
            members.len() == nodes.len()
                && members.iter().all(|member| member.status == MemberStatus::Alive)
        })
        .await;
    }
}

/// A gossip period of 100 ms and a suspicion of 5 s.
pub(crate) fn patient() -> Config {
    Config::default()
        .gossip_interval(Duration::from_millis(100))
        .suspicion(SuspicionTimeout::Fixed(Duration::from_secs(5)))
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
    cut: Mutex<HashSet<PeerAddr>>,
    dropped: AtomicU64,
}

impl OneWayUdp {
    pub(crate) async fn bind() -> Arc<Self> {
        let inner =
            UdpTransport::bind("127.0.0.1:0".parse().unwrap(), Sealing::Plaintext).await.unwrap();
        Arc::new(Self { inner, cut: Mutex::default(), dropped: AtomicU64::new(0) })
    }

    pub(crate) fn cut(&self, to: PeerAddr) {
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
    fn local(&self) -> PeerAddr {
        self.inner.local()
    }

    fn send(&self, to: PeerAddr, bytes: &[u8]) -> io::Result<()> {
        if self.cut.lock().unwrap().contains(&to) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.inner.send(to, bytes)
    }

    fn seal(&self) -> Option<&Arc<SharedSeal>> {
        self.inner.seal()
    }

    fn subscribe(&self) -> Subscription {
        self.inner.subscribe()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<PeerAddr>>> {
        self.inner.resolve(name)
    }

    fn check_name(&self, name: &str) -> Result<(), NameError> {
        self.inner.check_name(name)
    }

    fn close(&self) {
        self.inner.close();
    }
}

/// A transport whose directory has other names: each stands for a peer, or is never found (and
/// never given up).
#[derive(Debug)]
pub(crate) struct Directory {
    inner: Arc<dyn Transport>,
    names: Mutex<HashMap<String, Option<PeerAddr>>>,
}

impl Directory {
    pub(crate) fn over(inner: Arc<dyn Transport>) -> Arc<Self> {
        Arc::new(Self { inner, names: Mutex::default() })
    }

    /// From now on `name` stands for `peer`.
    pub(crate) fn name(&self, name: &str, peer: PeerAddr) {
        self.names.lock().unwrap().insert(name.to_owned(), Some(peer));
    }

    /// From now on looking up `name` does not end.
    pub(crate) fn hang(&self, name: &str) {
        self.names.lock().unwrap().insert(name.to_owned(), None);
    }
}

impl Transport for Directory {
    fn local(&self) -> PeerAddr {
        self.inner.local()
    }

    fn send(&self, to: PeerAddr, bytes: &[u8]) -> io::Result<()> {
        self.inner.send(to, bytes)
    }

    fn seal(&self) -> Option<&Arc<SharedSeal>> {
        self.inner.seal()
    }

    fn subscribe(&self) -> Subscription {
        self.inner.subscribe()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<PeerAddr>>> {
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
