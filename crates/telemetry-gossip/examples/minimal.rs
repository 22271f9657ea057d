//! The shortest node: it joins through the addresses given as arguments, publishes its load, and
//! prints the members at each event. `embed.rs` adds what a service needs.

use telemetry_gossip::{GossipNode, Sealing, UdpTransport};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let transport = UdpTransport::bind("127.0.0.1:7946".parse()?, Sealing::Plaintext).await?;
    let seeds = std::env::args().skip(1);
    let node = GossipNode::builder("edge-1")?.seeds(seeds).start(transport).await?;
    node.publish("load", b"0.7").await?;
    let mut events = node.events();
    while let Ok(event) = events.recv().await {
        println!("{event:?}: {:?}", node.members());
    }
    Ok(())
}
