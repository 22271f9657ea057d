use std::time::Duration;

use telemetry_gossip::core::Label;
use telemetry_gossip::node::GossipNode;
use telemetry_gossip::transport::{Sealing, UdpTransport};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Name, address to listen on (others must reach it), members to join through (none: the first
    // of its cluster).
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "edge-1".into());
    let listen = args.next().unwrap_or_else(|| "127.0.0.1:7946".into());
    // Others on the network can neither read nor forge what is sealed. In plaintext they can: for
    // one machine only.
    let sealing = match std::env::var_os("TGOSSIP_KEY_FILE") {
        Some(file) => Sealing::from_files(Label::of(""), [file])?,
        None => Sealing::Plaintext,
    };
    let transport = UdpTransport::bind(listen.parse()?, sealing).await?;
    let node = GossipNode::new(name, args.collect(), transport);
    node.try_start().await?; // joins in the background, for as long as it takes
    node.publish("load", b"0.7").await?; // every node will read it

    let mut events = node.events().ok_or("the node has just started")?;
    loop {
        for member in node.members() {
            // Never waits for the network or the protocol.
            let load = node.telemetry(&member.node_id, "load").map(|load| load.value);
            let load = load.map(|value| String::from_utf8_lossy(&value).into_owned());
            println!(
                "{} {:?} generation {} load {load:?}",
                member.node_id, member.status, member.generation
            );
        }
        let notice = tokio::select! {
            notice = events.recv() => notice, // `None`: the node has ended
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(notice) = notice else { break };
        println!("{notice:?}");
    }
    node.leave(Duration::from_secs(5)).await?; // the others learn of it at once
    node.shutdown().await;
    Ok(())
}
