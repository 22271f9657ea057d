//! Writes the seeds that are made of the project itself: datagrams of real nodes and the golden
//! ones into `seeds/bytes` and `seeds/datagram`, records of the same runs into `seeds/replay`.
//!
//! ```text
//! cargo run --release --example seeds
//! ```
//!
//! Run it after the wire format, that of records, or what a node draws or saves has changed, and
//! commit what changes.

use std::collections::BTreeSet;
use std::path::Path;

use telemetry_gossip_fuzz::replay;
use telemetry_gossip_fuzz::seeds::{self, LONGEST, Seed};

fn main() -> std::io::Result<()> {
    write("bytes", seeds::bytes())?;
    write("datagram", seeds::datagram())?;
    write("replay", replay::seeds())
}

/// All seeds of a target, in place of those that are there.
fn write(target: &str, seeds: Vec<Seed>) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    std::fs::create_dir_all(&folder)?;
    for old in std::fs::read_dir(&folder)? {
        std::fs::remove_file(old?.path())?;
    }
    let mut written = BTreeSet::new();
    for (name, mut seed) in seeds {
        // Of a record, what is cut off is a torn tail, as a killed node leaves it.
        seed.truncate(LONGEST);
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        if written.insert(seed.clone()) {
            std::fs::write(folder.join(name.collect::<Vec<_>>().join("-")), &seed)?;
        }
    }
    println!("{} seeds in {}", written.len(), folder.display());
    Ok(())
}
