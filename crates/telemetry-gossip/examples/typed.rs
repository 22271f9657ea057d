//! Typed telemetry: one node publishes a struct, another follows it. In memory; `embed.rs` shows a
//! node on a real network.

use serde::{Deserialize, Serialize};
use telemetry_gossip::{Fixed, GossipNode, MemoryNetwork};

/// The load of a node. Three bytes on the wire: two digits after the point suffice.
#[derive(Debug, Serialize, Deserialize)]
struct Load {
    cpu: Fixed<2>,
    tasks: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = MemoryNetwork::new(1);
    let a = GossipNode::builder("a")?.start(network.transport("a")?).await?;
    let b = GossipNode::builder("b")?.seeds(["a"]).start(network.transport("b")?).await?;
    let mut loads = a.subscribe("load");
    b.publish_as("load", &Load { cpu: 0.75.into(), tasks: 12 }).await?;
    while let Some(change) = loads.recv().await {
        // `None`: the value was removed, or its owner forgotten.
        let Some(value) = change.value else { continue };
        let load: Load = value.decode()?; // an error if it is of another type
        println!("{}: {} CPU, {} tasks, {:?} ago", change.id, load.cpu, load.tasks, value.age());
        break;
    }
    Ok(())
}
