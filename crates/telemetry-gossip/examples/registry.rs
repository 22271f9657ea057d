//! A node that follows a registry: `cargo run --example registry --features registry -- ID URL`.
//!
//! The URL is that of a file that `tgossip registry` writes, such as `file:cluster.toml`, or of an
//! etcd with the feature `registry-etcd`.

use std::time::Duration;

use telemetry_gossip::node::GossipNode;
use telemetry_gossip::registry::{Registry, State};
use telemetry_gossip::transport::{Sealing, UdpTransport};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let id = args.next().unwrap_or("edge-1".into());
    let url = args.next().unwrap_or("file:cluster.toml".into());
    let listen = args.next().unwrap_or("127.0.0.1:7946".into());
    // Plaintext is for one machine. `Sealing::from_files` reads keys, encrypts and authenticates.
    let transport = UdpTransport::bind(listen.parse()?, Sealing::Plaintext).await?;
    let node = GossipNode::builder(&id)?
        .registry(Registry::open(&url)?)
        .state_dir(format!("{id}.state"))
        .start(transport)
        .await?;

    // Each change of what the node makes of the registry. A node that is removed leaves.
    let registry = node.registry().expect("the node was started with one");
    let mut changes = registry.changes();
    loop {
        let status = changes.borrow_and_update().clone();
        println!("ready: {}, {}", status.is_ready(), status.state);
        if let (State::Gone(_), true) = (&status.state, status.left) {
            return Ok(());
        }
        tokio::select! {
            changed = changes.changed() => changed?,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    Ok(node.leave(Duration::from_secs(5)).await?)
}
