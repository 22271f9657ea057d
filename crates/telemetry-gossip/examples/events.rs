//! Reacting to events: a pool of the backends that are alive. Two nodes of one process, in memory;
//! `embed.rs` shows a node on a real network.

use std::collections::BTreeSet;
use std::time::Duration;

use telemetry_gossip::{Event, Events, GossipNode, MemberStatus, MemoryNetwork, RecvError};

/// The ids of the backends that are alive.
struct Pool {
    node: GossipNode,
    events: Events,
    backends: BTreeSet<String>,
}

impl Pool {
    fn new(node: GossipNode) -> Self {
        // Subscribe before reading the members, so that no change is missed in between.
        let mut pool = Self { events: node.events(), node, backends: BTreeSet::new() };
        pool.reload();
        pool
    }

    /// Waits until the pool may have changed; false once the node has ended.
    async fn changed(&mut self) -> bool {
        match self.events.recv().await {
            Ok(Event::Joined { id, .. } | Event::Alive { id, .. }) => {
                self.backends.insert(id.to_string());
            }
            // A suspected backend may only be slow: it stays in the pool.
            Ok(Event::Dead { id, .. } | Event::Left { id, .. } | Event::Removed { id, .. }) => {
                self.backends.remove(id.as_str());
            }
            Ok(_) => {}
            // The reader was too slow. The members are always up to date.
            Err(RecvError::Lagged(_)) => self.reload(),
            Err(RecvError::Closed) => return false,
        }
        true
    }

    fn reload(&mut self) {
        let members = self.node.members().into_iter();
        let live = members.filter(|member| member.status != MemberStatus::Dead);
        self.backends = live.map(|member| member.node_id).collect();
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = MemoryNetwork::new(1);
    let a = GossipNode::builder("a")?.start(network.transport("a")?).await?;
    let mut pool = Pool::new(a);
    let b = GossipNode::builder("b")?.seeds(["a"]).start(network.transport("b")?).await?;
    while !pool.backends.contains("b") && pool.changed().await {}
    println!("{:?}", pool.backends);
    b.leave(Duration::from_secs(5)).await?;
    while pool.backends.contains("b") && pool.changed().await {}
    println!("{:?}", pool.backends);
    Ok(())
}
