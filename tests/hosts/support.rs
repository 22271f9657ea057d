//! A network in memory on which names may stand for any addresses, and nodes on it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use telemetry_gossip::node::GossipNode;
use telemetry_gossip::transport::{
    BoxFuture, MemoryNetwork, NameError, PeerAddr, SharedSeal, Subscription, Transport,
};

/// The longest time after the return of a link until all know all.
pub(crate) const HEALS_WITHIN: Duration = Duration::from_secs(60);

/// The names of a name server, each with its addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<Mutex<BTreeMap<String, Vec<String>>>>);

impl Names {
    /// Lets `name` stand for these addresses from now on.
    pub(crate) fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
        self.0.lock().unwrap().insert(name.to_owned(), addresses);
    }
}

/// A node's place on a network with a name server.
#[derive(Debug)]
struct Named(Arc<dyn Transport>, Names);

impl Transport for Named {
    fn local(&self) -> PeerAddr {
        self.0.local()
    }

    fn send(&self, to: PeerAddr, bytes: &[u8]) -> io::Result<()> {
        self.0.send(to, bytes)
    }

    fn seal(&self) -> Option<&Arc<SharedSeal>> {
        None
    }

    fn subscribe(&self) -> Subscription {
        self.0.subscribe()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<PeerAddr>>> {
        Box::pin(async move {
            let names = self.1.0.lock().unwrap();
            let found = names.get(name).filter(|addresses| !addresses.is_empty());
            let found = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            Ok(found.iter().map(|at| PeerAddr::try_from(at.as_str()).unwrap()).collect())
        })
    }

    fn check_name(&self, _: &str) -> Result<(), NameError> {
        Ok(())
    }

    fn close(&self) {
        self.0.close();
    }
}

/// A network and its name server.
pub(crate) struct World {
    pub(crate) network: MemoryNetwork,
    pub(crate) names: Names,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { network: MemoryNetwork::new(1), names: Names::default() }
    }

    /// Starts a node at its own address, whose seeds are names.
    pub(crate) async fn start(&self, id: &str, at: &str, seeds: &[&str]) -> GossipNode {
        let transport = self.network.transport(at).unwrap();
        let transport = Arc::new(Named(transport, self.names.clone()));
        let seeds = seeds.iter().map(|&seed| seed.to_owned()).collect();
        let node = GossipNode::new(id.to_owned(), seeds, transport);
        node.start().await;
        node
    }

    /// Cuts all links between two sides.
    pub(crate) fn cut(&self, left: &[&str], right: &[&str]) {
        for (from, to) in left.iter().flat_map(|from| right.iter().map(move |to| (from, to))) {
            self.network.cut(from, to);
            self.network.cut(to, from);
        }
    }
}

/// How many members each node holds alive.
pub(crate) fn alive(nodes: &[GossipNode]) -> Vec<usize> {
    nodes.iter().map(|node| node.view().alive()).collect()
}

/// Waits, in virtual time, until each of the nodes holds all of them alive.
pub(crate) async fn until_whole(nodes: &[GossipNode], within: Duration) {
    let whole = async {
        while alive(nodes).iter().any(|&alive| alive != nodes.len()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let whole = tokio::time::timeout(within, whole).await;
    assert!(whole.is_ok(), "after {within:?} they hold {:?} alive", alive(nodes));
}
