use std::time::Duration;
use telemetry_gossip::node::GossipNode;
use telemetry_gossip::transport::{Sealing, UdpTransport};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // An id, an address that the others reach, and members to join through (none at the first).
    let mut args = std::env::args().skip(1);
    let id = args.next().unwrap_or("edge-1".into());
    let listen = args.next().unwrap_or("127.0.0.1:7946".into());
    // Plaintext is for one machine. `Sealing::from_files` reads keys, encrypts and authenticates.
    let transport = UdpTransport::bind(listen.parse()?, Sealing::Plaintext).await?;
    let node = GossipNode::builder(&id)?.seeds(args).start(transport).await?;
    node.publish("load", b"0.7").await?; // every node will read it

    let mut events = node.events();
    loop {
        println!("{:?}", node.members()); // reads memory: never waits
        tokio::select! {
            event = events.recv() => println!("{:?}", event?), // an error: the node has ended
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    Ok(node.leave(Duration::from_secs(5)).await?) // tells the others
}
