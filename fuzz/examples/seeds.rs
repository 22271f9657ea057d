//! Writes the seeds of the target `datagram` into `seeds/datagram`: what nodes really say to each other. And those of `replay`
//! into `seeds/replay`: records of the same runs.
//!
//! ```text
//! cargo run --release --example seeds
//! ```
//!
//! For each situation one seed replays its traffic to a node alone, and for each sequence of frame kinds one seed sends that datagram as it was, and with its header and numbers made anew. Run it
//! after the wire format or that of records has changed, and commit what changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use telemetry_gossip_fuzz::datagram::{ANSWER, EQUAL, HEADER, TICK, situations, write_step};
use telemetry_gossip_fuzz::{replay, wire};

/// The longest seed in bytes.
const LONGEST: usize = 2_048;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/datagram");
    std::fs::create_dir_all(&folder)?;
    for old in std::fs::read_dir(&folder)? {
        std::fs::remove_file(old?.path())?;
    }
    let mut files = 0;
    let mut write = |name: String, bytes: &[u8]| {
        let path: PathBuf = folder.join(name.replace(' ', "-"));
        files += 1;
        std::fs::write(path, bytes)
    };
    let mut kinds: BTreeMap<Vec<u8>, (u8, u8, &[u8])> = BTreeMap::new();
    let mut replays = BTreeSet::new();
    for (number, situation) in (0_u8..).zip(situations()) {
        let mut seed = vec![0];
        for (from, datagram) in &situation.traffic {
            // What the node said itself comes back from the stranger.
            let from = u8::try_from((from + 3) % 4).unwrap_or(0);
            let key = wire::frames(datagram).map(|(kind, _)| kind).collect();
            kinds.entry(key).or_insert((number, from, datagram));
            if from != 3 && seed.len() + datagram.len() + 3 <= LONGEST {
                write_step(&mut seed, from | TICK, datagram);
            }
        }
        if seed.len() > 1 && replays.insert(seed.clone()) {
            write(format!("replay-{}", situation.name), &seed)?;
        }
    }
    for (kinds, (number, from, datagram)) in kinds {
        let name: Vec<String> = kinds.iter().map(u8::to_string).collect();
        let body = datagram.get(wire::HEADER_LEN..).unwrap_or_default();
        let mut seed = vec![number];
        write_step(&mut seed, from, datagram);
        write_step(&mut seed, from | HEADER | ANSWER, body);
        write_step(&mut seed, from | HEADER | ANSWER | EQUAL | TICK, body);
        write_step(&mut seed, 3 | HEADER | ANSWER, body);
        write(format!("frames-{}", name.join("-")), &seed)?;
    }
    println!("{files} seeds in {}", folder.display());
    write_records()
}

fn write_records() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/replay");
    std::fs::create_dir_all(&folder)?;
    for old in std::fs::read_dir(&folder)? {
        std::fs::remove_file(old?.path())?;
    }
    let mut written = BTreeSet::new();
    for (name, mut seed) in replay::seeds() {
        // What is cut off is a torn tail, as a killed node leaves it.
        seed.truncate(LONGEST);
        if written.insert(seed.clone()) {
            std::fs::write(folder.join(name.replace(' ', "-")), &seed)?;
        }
    }
    println!("{} seeds in {}", written.len(), folder.display());
    Ok(())
}
