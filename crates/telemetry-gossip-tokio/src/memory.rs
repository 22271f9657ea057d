//! A network in memory with faults on demand, for tests and for clusters within one process.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use telemetry_gossip_core::{IdError, NodeId};

use crate::peer_addr::PeerAddr;
use crate::sealing::SharedSeal;
use crate::transport::{BoxFuture, NameError, Subscribers, Subscription, Transport};

/// A network of named nodes in memory. Cheap to clone; a clone is the same network.
///
/// Without faults a datagram arrives before `send` returns. A datagram to a name that no transport
/// has is dropped.
///
/// ```
/// use telemetry_gossip_tokio::{MemoryNetwork, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = MemoryNetwork::new(7);
/// let (a, b) = (network.transport("a")?, network.transport("b")?);
/// let mut arriving = b.subscribe();
/// a.send(b.local(), b"hello")?;
/// network.cut("a", "b");
/// a.send(b.local(), b"lost")?;
/// assert_eq!(&*arriving.recv().await.expect("b is open").bytes, b"hello");
/// assert!(arriving.try_recv().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryNetwork {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    nodes: HashMap<NodeId, Weak<MemoryTransport>>,
    cut: HashSet<(NodeId, NodeId)>,
    isolated: HashSet<NodeId>,
    loss_permille: u32,
    duplicate_permille: u32,
    latency: Duration,
    rng: ChaCha8Rng,
}

impl MemoryNetwork {
    /// A network without faults. `seed` decides which datagrams get lost once there is loss.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let shared = Shared {
            nodes: HashMap::new(),
            cut: HashSet::new(),
            isolated: HashSet::new(),
            loss_permille: 0,
            duplicate_permille: 0,
            latency: Duration::ZERO,
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Makes a transport for the node called `id`, which stays in the network until it is dropped.
    /// An earlier transport with this id is closed. Datagrams travel in plaintext, as they never
    /// leave the process.
    ///
    /// # Errors
    /// `id` breaks the rule of node ids.
    pub fn transport(&self, id: &str) -> Result<Arc<MemoryTransport>, IdError> {
        self.add(id, None)
    }

    /// Makes a transport that seals its datagrams, as on a real network.
    pub fn sealed_transport(
        &self,
        id: &str,
        seal: Arc<SharedSeal>,
    ) -> Result<Arc<MemoryTransport>, IdError> {
        self.add(id, Some(seal))
    }

    fn add(
        &self,
        id: &str,
        seal: Option<Arc<SharedSeal>>,
    ) -> Result<Arc<MemoryTransport>, IdError> {
        let id = NodeId::new(id)?;
        let subscribers = Subscribers::default();
        let transport = Arc::new(MemoryTransport { id, network: self.clone(), seal, subscribers });
        let before = self.lock().nodes.insert(id, Arc::downgrade(&transport));
        if let Some(before) = before.and_then(|before| before.upgrade()) {
            before.subscribers.close();
        }
        Ok(transport)
    }

    /// Datagrams from one node to the other are lost, until [`MemoryNetwork::heal`]; the other
    /// direction is not touched.
    pub fn cut(&self, from: &str, to: &str) {
        if let (Ok(from), Ok(to)) = (NodeId::new(from), NodeId::new(to)) {
            self.lock().cut.insert((from, to));
        }
    }

    /// Loses all datagrams from and to the node, until [`MemoryNetwork::heal`].
    pub fn isolate(&self, id: &str) {
        if let Ok(id) = NodeId::new(id) {
            self.lock().isolated.insert(id);
        }
    }

    /// Loses this many of a thousand datagrams, 0 to 1,000.
    pub fn set_loss(&self, permille: u32) {
        self.lock().loss_permille = permille;
    }

    /// Delivers this many of a thousand datagrams twice, 0 to 1,000.
    pub fn set_duplicates(&self, permille: u32) {
        self.lock().duplicate_permille = permille;
    }

    /// Sets the time that a datagram takes. Above zero, datagrams must be sent within a tokio
    /// runtime.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// Removes all faults. The latency stays.
    pub fn heal(&self) {
        let mut shared = self.lock();
        shared.cut.clear();
        shared.isolated.clear();
        (shared.loss_permille, shared.duplicate_permille) = (0, 0);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The target of a datagram, how many copies of it arrive, and after what time.
    fn route(&self, from: NodeId, to: NodeId) -> Option<(Arc<MemoryTransport>, usize, Duration)> {
        let mut shared = self.lock();
        let target = shared.nodes.get(&to)?.upgrade()?;
        let broken = shared.cut.contains(&(from, to))
            || shared.isolated.contains(&from)
            || shared.isolated.contains(&to);
        let (loss, duplicates) = (shared.loss_permille, shared.duplicate_permille);
        if broken || shared.happens(loss) {
            return None;
        }
        let copies = if shared.happens(duplicates) { 2 } else { 1 };
        Some((target, copies, shared.latency))
    }
}

impl Shared {
    fn happens(&mut self, permille: u32) -> bool {
        permille > 0 && self.rng.next_u32() % 1_000 < permille
    }
}

/// The transport of one node in a [`MemoryNetwork`], from [`MemoryNetwork::transport`].
#[derive(Debug)]
pub struct MemoryTransport {
    id: NodeId,
    network: MemoryNetwork,
    seal: Option<Arc<SharedSeal>>,
    subscribers: Subscribers,
}

impl MemoryTransport {
    /// Handles a datagram that has arrived, sealed if its sender seals.
    fn arrive(&self, from: PeerAddr, bytes: &[u8]) {
        let Some(seal) = &self.seal else {
            self.subscribers.deliver(from, bytes);
            return;
        };
        match seal.open_from(from, &mut bytes.to_vec()) {
            Ok((contents, sealed)) => {
                self.subscribers.deliver_sealed(from, contents, sealed);
            }
            Err(refusal) => tracing::trace!(%from, %refusal, "datagram not opened"),
        }
    }

    /// Carries a datagram to its target, as it is to arrive.
    fn carry(&self, to: NodeId, bytes: &[u8]) -> io::Result<()> {
        let Some((target, copies, latency)) = self.network.route(self.id, to) else {
            return Ok(());
        };
        let from = self.local();
        if latency.is_zero() {
            for _ in 0..copies {
                target.arrive(from, bytes);
            }
            return Ok(());
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let bytes: Arc<[u8]> = bytes.into();
        // A weak reference: a datagram under way must not keep its target alive.
        let target = Arc::downgrade(&target);
        runtime.spawn(async move {
            tokio::time::sleep(latency).await;
            if let Some(target) = target.upgrade() {
                for _ in 0..copies {
                    target.arrive(from, &bytes);
                }
            }
        });
        Ok(())
    }
}

impl Transport for MemoryTransport {
    fn local(&self) -> PeerAddr {
        PeerAddr::Name(self.id)
    }

    fn send(&self, to: PeerAddr, bytes: &[u8]) -> io::Result<()> {
        let PeerAddr::Name(to) = to else {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "a network in memory has no socket addresses",
            ));
        };
        let Some(seal) = &self.seal else { return self.carry(to, bytes) };
        // Seal first and carry afterwards: the target may be this transport, whose seal must not be
        // in use.
        let sealed = seal.send(bytes, |sealed| Ok(sealed.to_vec()))?;
        self.carry(to, &sealed)
    }

    fn seal(&self) -> Option<&Arc<SharedSeal>> {
        self.seal.as_ref()
    }

    fn subscribe(&self) -> Subscription {
        self.subscribers.subscribe()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<PeerAddr>>> {
        Box::pin(async move {
            let known =
                NodeId::new(name).ok().filter(|id| self.network.lock().nodes.contains_key(id));
            let unknown = || {
                io::Error::new(io::ErrorKind::NotFound, format!("no node {name} in this network"))
            };
            known.map(|id| vec![PeerAddr::Name(id)]).ok_or_else(unknown)
        })
    }

    fn check_name(&self, name: &str) -> Result<(), NameError> {
        NodeId::new(name).map(|_| ()).map_err(|rule| NameError::new(name, rule))
    }

    fn close(&self) {
        self.subscribers.close();
    }
}
