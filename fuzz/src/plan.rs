//! The input of the target `cluster`: a plan of operations, and the calm after it in which the
//! cluster must become live.
//!
//! Live means: each running node holds each running one Alive, at its own generation and address
//! and with its telemetry; nobody holds a node Alive that has gone; who leaves has left; and then
//! nothing is told any more.

use std::time::Duration;

use arbitrary::Arbitrary;
use telemetry_gossip_core::{Config, Generation, Input, SuspicionTimeout};

use crate::cluster::{Cluster, MAX_NODES, id};

/// The most operations of a plan that are carried out.
const MAX_OPS: usize = 64;
/// The most virtual time that a plan may take.
const MAX_TIME: Duration = Duration::from_secs(400);
/// How soon after the network is healed the cluster is live. Two probe timeouts of a doubting node
/// are 7.2 s, its probe interval is 9 s; one of the at most four dead is contacted each 2.5 to 7.5
/// s, by each side; a join is tried again each 0.8 s.
pub const LIVE_WITHIN: Duration = Duration::from_secs(120);
/// How long news is told at most, once the cluster is live: four sends a node at the gossip
/// interval, and the comparisons that began meanwhile.
const QUIET_AFTER: Duration = Duration::from_secs(10);

/// Operations on a cluster of two to five nodes.
#[derive(Arbitrary, Clone, Debug)]
pub struct Plan {
    /// Two and up to three more.
    pub nodes: u8,
    /// Whether all have joined, in calm, before the operations begin.
    pub joined: bool,
    /// SuspicionTimeout for this many tenths of a second, or as it scales.
    pub suspicion: Option<u8>,
    /// Whether an isolation ends after 20 s by itself.
    pub isolation_limit: bool,
    /// What happens.
    pub ops: Vec<Op>,
}

/// One operation. Nodes are taken modulo their number.
#[derive(Arbitrary, Clone, Debug)]
pub enum Op {
    /// Time passes: hundredths of a second.
    Run(u16),
    /// One link loses, repeats and delays by these patterns.
    Link {
        /// The sender.
        from: u8,
        /// The receiver.
        to: u8,
        /// Which datagrams are lost.
        lose: u8,
        /// Which are repeated.
        repeat: u8,
        /// Which are late.
        delay: u8,
    },
    /// The nodes of which the bit is set are cut off from the others.
    Partition(u8),
    /// Datagrams of one node to another vanish.
    Cut(u8, u8),
    /// All links work again.
    Heal,
    /// A node ends without a word.
    Crash(u8),
    /// A node starts again, having forgotten everything, perhaps elsewhere, and joins.
    Restart {
        /// Which.
        node: u8,
        /// Whether at another address.
        moved: bool,
    },
    /// A node leaves.
    Leave(u8),
    /// A node is not called for a while.
    Pause(u8),
    /// It is called again.
    Resume(u8),
    /// A node joins by asking all.
    Join(u8),
    /// A node publishes some telemetry.
    Publish {
        /// Which.
        node: u8,
        /// Under which of four keys.
        key: u8,
        /// What.
        value: Vec<u8>,
    },
    /// A node removes telemetry.
    Unpublish {
        /// Which.
        node: u8,
        /// Under which of four keys.
        key: u8,
    },
    /// The host wants a probe.
    Probe(u8, u8),
    /// The host wants an exchange.
    Exchange(u8),
    /// The host takes the loss for real.
    AcceptLoss(u8),
    /// The host knows of a member.
    Introduce {
        /// Who is told.
        node: u8,
        /// Of whom.
        of: u8,
        /// At which generation, of those that the member has reached.
        generation: u8,
    },
    /// The next datagram from one node to another has a byte altered.
    Alter {
        /// The sender.
        from: u8,
        /// The receiver.
        to: u8,
        /// Which byte.
        position: u16,
        /// Which bits.
        bits: u8,
    },
    /// Bytes arrive that no node sent.
    Garbage {
        /// From where they seem to come.
        from: u8,
        /// Where to.
        to: u8,
        /// What.
        bytes: Vec<u8>,
    },
}

impl Plan {
    /// Carries the plan out.
    ///
    /// # Panics
    /// If a node breaks a rule, or the cluster does not become live.
    pub fn run(&self) {
        let mut cluster = self.start();
        let mut left = MAX_TIME;
        for op in self.ops.iter().take(MAX_OPS) {
            carry_out(&mut cluster, op, &mut left);
        }
        settle(&mut cluster);
    }

    fn start(&self) -> Cluster<u32> {
        let config = Config::default()
            .suspicion(match self.suspicion {
                Some(tenths) => {
                    SuspicionTimeout::Fixed(Duration::from_millis(400 + 100 * u64::from(tenths)))
                }
                None => SuspicionTimeout::default(),
            })
            .isolation_limit(self.isolation_limit.then_some(Duration::from_secs(20)))
            .max_members(64)
            .max_telemetry(512)
            .max_value(64);
        let addresses: Vec<u32> = (1..=2 + u32::from(self.nodes) % 4).collect();
        let mut cluster = Cluster::new(config, &addresses);
        if self.joined {
            for host in 1..cluster.len() {
                cluster.join(host);
            }
            cluster.run_for(Duration::from_secs(3));
            assert_eq!(cluster.defect(), None, "a calm start");
        }
        cluster
    }
}

fn carry_out(cluster: &mut Cluster<u32>, op: &Op, left: &mut Duration) {
    let nodes = cluster.len();
    let host = |index: u8| usize::from(index) % nodes;
    let key = |key: u8| ["load", "health", "zone", "version"][usize::from(key) % 4];
    match *op {
        Op::Run(hundredths) => {
            let span = Duration::from_millis(10 * u64::from(hundredths)).min(*left);
            *left -= span;
            cluster.run_for(span);
        }
        Op::Link { from, to, lose, repeat, delay } => {
            let link = cluster.link(host(from), host(to));
            (link.lose, link.repeat, link.delay) = (lose, repeat, delay);
        }
        Op::Partition(mask) => {
            for (from, to) in (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to))) {
                cluster.link(from, to).cut = (mask >> from) & 1 != (mask >> to) & 1;
            }
        }
        Op::Cut(from, to) => cluster.link(host(from), host(to)).cut = true,
        Op::Heal => cluster.heal(),
        Op::Crash(node) => cluster.crash(host(node)),
        Op::Restart { node, moved } => {
            let at = host(node);
            if cluster.node(at).is_none() {
                let address = cluster.address(at) + if moved { 100 } else { 0 };
                cluster.start(at, Some(address));
                cluster.join(at);
            }
        }
        Op::Leave(node) => cluster.command(host(node), Input::Leave),
        Op::Pause(node) => cluster.pause(host(node)),
        Op::Resume(node) => cluster.resume(host(node)),
        Op::Join(node) => cluster.join(host(node)),
        Op::Publish { node, key: name, ref value } => {
            let value = value.iter().copied().take(64).collect::<Vec<u8>>();
            cluster.command(
                host(node),
                Input::Publish { key: key(name).into(), value: value.into(), urgent: false },
            );
        }
        Op::Unpublish { node, key: name } => {
            cluster.command(host(node), Input::Unpublish { key: key(name).into() });
        }
        Op::Probe(node, of) => cluster.command(host(node), Input::Probe { id: id(host(of)) }),
        Op::Exchange(node) => cluster.command(host(node), Input::Exchange),
        Op::AcceptLoss(node) => cluster.command(host(node), Input::AcceptLoss),
        Op::Introduce { node, of, generation } => {
            let of = host(of);
            // A host knows no generation that the member has not reached.
            let reached = cluster.node(of).map_or(0, |watched| watched.node.me().generation().0);
            let generation = Generation(u64::from(generation) % (reached + 1));
            let address = Some(cluster.address(of));
            cluster.command(
                host(node),
                Input::Introduce { id: id(of), address, instance: None, generation },
            );
        }
        Op::Alter { from, to, position, bits } => {
            cluster.link(host(from), host(to)).alter = (bits != 0).then_some((position, bits));
        }
        Op::Garbage { from, to, ref bytes } => cluster.forge(host(from), host(to), bytes.clone()),
    }
}

/// Heals the network and waits for the cluster to become live, and then quiet.
///
/// # Panics
/// If it does not.
pub fn settle(cluster: &mut Cluster<u32>) {
    cluster.heal();
    // What was under way arrives first; only then is it known who has met whom.
    cluster.run_for(Duration::from_secs(1));
    let healed = cluster.now();
    // Live it is once it stays so: who is cut off still takes nobody for dead, and may find a
    // moment later that it no longer is.
    loop {
        while let Some(defect) = cluster.defect() {
            let span = cluster.now().since(healed);
            assert!(
                span < LIVE_WITHIN,
                "L4: not live {span:?} after the network was healed: {defect}"
            );
            for stranger in cluster.strangers() {
                cluster.join(stranger);
            }
            cluster.run_for(Duration::from_secs(1));
        }
        if cluster.forged {
            return;
        }
        cluster.run_for(QUIET_AFTER);
        if cluster.defect().is_none() {
            break;
        }
    }
    let fingerprints = |cluster: &Cluster<u32>| -> Vec<(u64, u64)> {
        let nodes = cluster.running().map(|(_, watched)| &watched.node);
        nodes.map(|node| (node.membership().fingerprint(), node.stats().syncs)).collect()
    };
    let (before, sent) = (fingerprints(cluster), cluster.traffic);
    cluster.run_for(Duration::from_secs(5));
    let (after, sent) =
        (fingerprints(cluster), (cluster.traffic.0 - sent.0, cluster.traffic.1 - sent.1));
    assert_eq!(before, after, "L6: {QUIET_AFTER:?} after the cluster was live there is still news");
    assert!(
        after.windows(2).all(|pair| pair[0].0 == pair[1].0),
        "L2: live tables differ: {after:?}"
    );
    // One ping and one ack a node and second, and pings to the dead. A quiet datagram has 27 bytes;
    // a claim about a member in doubt, its four accusers named, adds up to 60.
    let (most, nodes) = (5 * 8 * cluster.len() as u64, MAX_NODES);
    assert!(
        sent.0 <= most,
        "L6: {} datagrams of at most {most} in 5 s of calm among {nodes}",
        sent.0
    );
    // Whoever is alone has told nobody its news.
    let told = cluster.running().count() > 1;
    assert!(
        !told || sent.1 <= 90 * sent.0,
        "L6: {} datagrams of calm have {} bytes",
        sent.0,
        sent.1
    );
}
