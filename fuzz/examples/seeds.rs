//! Writes the seeds that are generated: datagrams of real nodes and the golden datagrams into
//! `seeds/bytes` and `seeds/datagram`, costly datagrams into `seeds/cost`, records of the same
//! runs as the first two into `seeds/replay`, histories into `seeds/node`, and documents of a
//! registry into `seeds/document`.
//!
//! ```text
//! cargo run --release --example seeds
//! ```
//!
//! Run it after a change of the wire format, of records, of the state of a node, of its random
//! numbers or of the type `History`, and commit the difference.

use std::collections::BTreeSet;
use std::path::Path;

use telemetry_gossip_fuzz::seeds::{self, LONGEST, Seed};
use telemetry_gossip_fuzz::{cost, document, replay};

fn main() -> std::io::Result<()> {
    write("bytes", seeds::bytes())?;
    write("cost", cost::seeds())?;
    write("datagram", seeds::datagram())?;
    write("document", document::seeds())?;
    write("node", seeds::node())?;
    write("replay", replay::seeds())
}

/// Replaces all seeds of a target.
fn write(target: &str, seeds: Vec<Seed>) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    std::fs::create_dir_all(&folder)?;
    for old in std::fs::read_dir(&folder)? {
        std::fs::remove_file(old?.path())?;
    }
    let mut written = BTreeSet::new();
    for (name, mut seed) in seeds {
        // A record that is cut has a torn tail, as after the process was killed.
        seed.truncate(LONGEST);
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        if written.insert(seed.clone()) {
            std::fs::write(folder.join(name.collect::<Vec<_>>().join("-")), &seed)?;
        }
    }
    println!("{} seeds in {}", written.len(), folder.display());
    Ok(())
}
