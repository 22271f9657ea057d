//! The input of the target `cluster`: a plan of operations, after which the cluster must become
//! live and then quiet.
//!
//! In a live cluster each running node considers each running node Alive, at its generation and
//! address and with its telemetry. No node considers a stopped node live, and each leave is
//! complete. In a quiet cluster no rumors are sent.

use std::time::Duration;

use arbitrary::Arbitrary;
use telemetry_gossip_core::{Config, Generation, Input, SuspicionTimeout};

use crate::cluster::{Cluster, MAX_NODES, id};

/// The most operations of a plan; the rest is ignored.
const MAX_OPS: usize = 64;
/// The most virtual time of a plan.
const MAX_TIME: Duration = Duration::from_secs(400);
/// The time from the healing of the network until the cluster is live. Under local health, two
/// probe timeouts are up to 7.2 s and the probe interval up to 9 s. Each side contacts one of at
/// most four dead members every 2.5 to 7.5 s, and a join is repeated every 0.8 s.
pub const LIVE_WITHIN: Duration = Duration::from_secs(120);
/// The time for which rumors are sent once the cluster is live: four times per node at the gossip
/// interval, and the anti-entropy sessions that have begun meanwhile.
const QUIET_AFTER: Duration = Duration::from_secs(10);

/// Operations on a cluster of two to five nodes.
#[derive(Arbitrary, Clone, Debug)]
pub struct Plan {
    /// The number of nodes beyond two, modulo four.
    pub nodes: u8,
    /// Lets all nodes join before the operations begin.
    pub joined: bool,
    /// A fixed suspicion timeout in tenths of a second beyond 0.4 s; the default if `None`.
    pub suspicion: Option<u8>,
    /// Ends an isolation after 20 s.
    pub isolation_limit: bool,
    /// The operations.
    pub ops: Vec<Op>,
}

/// One operation. Nodes are taken modulo their number.
#[derive(Arbitrary, Clone, Debug)]
pub enum Op {
    /// Lets hundredths of a second pass.
    Run(u16),
    /// Sets the patterns of one direction of a link.
    Link {
        /// The sender.
        from: u8,
        /// The receiver.
        to: u8,
        /// Which datagrams are lost.
        lose: u8,
        /// Which datagrams are repeated.
        repeat: u8,
        /// Which datagrams are late.
        delay: u8,
    },
    /// Separates the nodes with a set bit from the others.
    Partition(u8),
    /// Loses all datagrams of one node to another.
    Cut(u8, u8),
    /// Restores all links.
    Heal,
    /// Stops a node without a leave.
    Crash(u8),
    /// Starts a stopped node without its state, and lets it join.
    Restart {
        /// The node.
        node: u8,
        /// Moves it to another address.
        moved: bool,
    },
    /// Lets a node leave.
    Leave(u8),
    /// Pauses a node.
    Pause(u8),
    /// Resumes a node.
    Resume(u8),
    /// Lets a node join with all hosts as its seeds.
    Join(u8),
    /// Publishes telemetry.
    Publish {
        /// The node.
        node: u8,
        /// One of four keys.
        key: u8,
        /// The value.
        value: Vec<u8>,
    },
    /// Removes telemetry.
    Unpublish {
        /// The node.
        node: u8,
        /// One of four keys.
        key: u8,
    },
    /// Lets a node probe another.
    Probe(u8, u8),
    /// Lets a node exchange with a member.
    Exchange(u8),
    /// Lets a node accept the loss of the unreachable members.
    AcceptLoss(u8),
    /// Introduces a member to a node.
    Introduce {
        /// The node.
        node: u8,
        /// The member.
        of: u8,
        /// The generation, one of those that the member has reached.
        generation: u8,
    },
    /// Alters a byte of the next datagram from one node to another.
    Alter {
        /// The sender.
        from: u8,
        /// The receiver.
        to: u8,
        /// The position of the byte.
        position: u16,
        /// The bits to flip.
        bits: u8,
    },
    /// Delivers bytes that no node has sent.
    Garbage {
        /// The apparent sender.
        from: u8,
        /// The receiver.
        to: u8,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

impl Plan {
    /// Carries out the plan.
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
            assert_eq!(cluster.defect(), None, "the cluster is not live before the operations");
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
            // A host cannot know a generation that the member has not reached.
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
    // Datagrams in flight arrive first, since they may connect nodes.
    cluster.run_for(Duration::from_secs(1));
    let healed = cluster.now();
    // The cluster must stay live: a node that is still isolated declares no member dead, and may do
    // so as soon as its isolation ends.
    loop {
        while let Some(defect) = cluster.defect() {
            let span = cluster.now().since(healed);
            assert!(
                span < LIVE_WITHIN,
                "L4: not live {span:?} after the network was healed: {defect}"
            );
            for host in cluster.unconnected() {
                cluster.join(host);
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
    let fingerprints = |cluster: &Cluster<u32>| -> Vec<u64> {
        cluster.running().map(|(_, watched)| watched.node.membership().fingerprint()).collect()
    };
    let sessions = |cluster: &Cluster<u32>| -> Vec<u64> {
        cluster.running().map(|(_, watched)| watched.node.stats().syncs).collect()
    };
    let (before, opened, sent) = (fingerprints(cluster), sessions(cluster), cluster.traffic);
    let alike = cluster.remembers_the_same();
    cluster.run_for(Duration::from_secs(5));
    let alike = alike && cluster.remembers_the_same();
    let (after, sent) =
        (fingerprints(cluster), (cluster.traffic.0 - sent.0, cluster.traffic.1 - sent.1));
    assert_eq!(
        before, after,
        "L6: {QUIET_AFTER:?} after the cluster was live, tables still change"
    );
    // Nodes compare what they remember of members that are gone once in ten probe intervals, with
    // each other node that says its sum. Such a session may be the first one in which they meet.
    let most = if alike { 0 } else { MAX_NODES as u64 - 1 };
    for (was, is) in opened.iter().zip(sessions(cluster)) {
        assert!(
            is - was <= most,
            "L6: {} sessions of a quiet node in 5 s, at most {most}: all remember the same of \
             those that are gone: {alike}",
            is - was
        );
    }
    assert!(after.windows(2).all(|pair| pair[0] == pair[1]), "L2: live tables differ: {after:?}");
    // One ping and one ack per node and second, and pings to dead members. A quiet datagram has 27
    // bytes. A claim about a suspected member with four accusers adds up to 60.
    let (most, nodes) = (5 * 8 * cluster.len() as u64, MAX_NODES);
    assert!(
        sent.0 <= most,
        "L6: {} datagrams of at most {most} in 5 quiet s of at most {nodes} nodes",
        sent.0
    );
    // A node without peers keeps its rumors.
    let sends_rumors = cluster.running().count() > 1;
    assert!(
        !sends_rumors || sent.1 <= 90 * sent.0,
        "L6: {} quiet datagrams have {} bytes",
        sent.0,
        sent.1
    );
}
