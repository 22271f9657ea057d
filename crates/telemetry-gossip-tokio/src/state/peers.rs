//! The file `peers` of the state folder: members that were alive when the node was last seen to
//! run.
//!
//! ```text
//! telemetry-gossip peers 1
//! node edge-17
//! label 9f3c01d2
//! generation 4
//! peer edge-3 10.0.0.3:7946
//! crc32 5be1a7f0
//! ```
//!
//! The label is that of the cluster, hashed, and the checksum is of all bytes before its line. A
//! file of another node, or of another cluster, is not used.

use std::fmt::Write as _;

use telemetry_gossip_core::{Generation, Label, MAX_PEERS, NodeId};
use thiserror::Error;

use super::{StateDir, Unread};
use crate::peer_addr::PeerAddr;

/// The name of the file.
pub(crate) const FILE: &str = "peers";

/// The largest file that is read. The largest that is written has about 9 KB.
const MAX_BYTES: u64 = 64 << 10;

const VERSION: &str = "telemetry-gossip peers 1";

/// What the file contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerList {
    /// The last generation of the node that was written.
    pub(crate) generation: Generation,
    /// The members, at most [`MAX_PEERS`].
    pub(crate) peers: Vec<(NodeId, PeerAddr)>,
}

/// Why a file of peers is not used.
#[derive(Debug, Error)]
pub(crate) enum PeersError {
    #[error(transparent)]
    Unread(#[from] Unread),
    #[error("another version of the program has written it")]
    Version,
    #[error("it is damaged")]
    Damaged,
    #[error("it belongs to the node {0}")]
    OtherNode(String),
    #[error("it belongs to a cluster with another label")]
    OtherLabel,
}

impl PeerList {
    /// Reads the file; `None` if there is none.
    pub(crate) fn read(
        dir: &StateDir,
        node: NodeId,
        label: Label,
    ) -> Result<Option<Self>, PeersError> {
        dir.read(FILE, MAX_BYTES)?.map(|bytes| Self::parse(&bytes, node, label)).transpose()
    }

    /// The contents of the file.
    pub(crate) fn to_text(&self, node: NodeId, label: Label) -> String {
        let mut text = format!(
            "{VERSION}\nnode {node}\nlabel {:08x}\ngeneration {}\n",
            label.0, self.generation.0
        );
        for (id, address) in &self.peers {
            // A text takes everything.
            let _ = writeln!(text, "peer {id} {address}");
        }
        let sum = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "crc32 {sum:08x}");
        text
    }

    fn parse(bytes: &[u8], node: NodeId, label: Label) -> Result<Self, PeersError> {
        let text = std::str::from_utf8(bytes).map_err(|_| PeersError::Damaged)?;
        let first = text.lines().next().unwrap_or_default();
        if first != VERSION {
            let of_ours = first.starts_with("telemetry-gossip peers ");
            return Err(if of_ours { PeersError::Version } else { PeersError::Damaged });
        }
        Self::parse_lines(text, node, label).unwrap_or(Err(PeersError::Damaged))
    }

    /// `None` if the text is damaged.
    fn parse_lines(text: &str, node: NodeId, label: Label) -> Option<Result<Self, PeersError>> {
        let (summed, last) = text.split_at(text.trim_end_matches('\n').rfind('\n')? + 1);
        let sum = last.strip_prefix("crc32 ")?.strip_suffix('\n')?;
        if u32::from_str_radix(sum, 16).ok()? != crc32fast::hash(summed.as_bytes()) {
            return None;
        }
        let mut lines = summed.lines().skip(1);
        let mut value = |word| lines.next()?.strip_prefix(word)?.strip_prefix(' ');
        let owner = NodeId::new(value("node")?).ok()?;
        let of_label = Label(u32::from_str_radix(value("label")?, 16).ok()?);
        let generation = Generation(value("generation")?.parse().ok()?);
        if owner != node {
            return Some(Err(PeersError::OtherNode(owner.to_string())));
        }
        if of_label != label {
            return Some(Err(PeersError::OtherLabel));
        }
        let mut peers = Vec::new();
        for line in lines {
            let (id, address) = line.strip_prefix("peer ")?.split_once(' ')?;
            if peers.len() == MAX_PEERS {
                return None;
            }
            peers.push((NodeId::new(id).ok()?, PeerAddr::try_from(address).ok()?));
        }
        Some(Ok(Self { generation, peers }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    fn list() -> PeerList {
        let peers = ["10.0.0.3:7946", "[2001:db8::1]:7946", "in-memory"].map(|address| {
            (id(&format!("of-{}", address.len())), PeerAddr::try_from(address).unwrap())
        });
        PeerList { generation: Generation(7), peers: peers.to_vec() }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let label = Label::of("production");
        for list in [list(), PeerList::default()] {
            let text = list.to_text(id("a"), label);
            assert_eq!(PeerList::parse(text.as_bytes(), id("a"), label).unwrap(), list);
        }
    }

    #[test]
    fn the_longest_list_is_read() {
        let long = |index: usize| format!("{index:03}{}", "n".repeat(124));
        let peers =
            (0..MAX_PEERS).map(|index| (id(&long(index)), PeerAddr::Name(id(&long(index)))));
        let mut list = PeerList { generation: Generation(u64::MAX), peers: peers.collect() };
        let read = |list: &PeerList| {
            let text = list.to_text(id("a"), Label(0));
            assert!(text.len() as u64 <= MAX_BYTES);
            PeerList::parse(text.as_bytes(), id("a"), Label(0))
        };
        assert_eq!(read(&list).unwrap(), list);
        list.peers.push((id("one-more"), PeerAddr::Name(id("one-more"))));
        assert!(matches!(read(&list), Err(PeersError::Damaged)));
    }

    #[test]
    fn a_foreign_file_is_told_from_a_damaged_one() {
        let label = Label::of("production");
        let text = list().to_text(id("a"), label);
        let read = |text: &str, node, label| PeerList::parse(text.as_bytes(), node, label);
        assert!(
            matches!(read(&text, id("b"), label), Err(PeersError::OtherNode(owner)) if owner == "a")
        );
        assert!(matches!(read(&text, id("a"), Label::of("")), Err(PeersError::OtherLabel)));
        let later = text.replace("peers 1", "peers 2");
        assert!(matches!(read(&later, id("a"), label), Err(PeersError::Version)));
    }

    /// Cut off anywhere, or with any byte changed, it is never read as another list.
    #[test]
    fn a_damaged_file_is_never_read() {
        let label = Label::of("production");
        let text = list().to_text(id("a"), label).into_bytes();
        for at in 0..text.len() {
            assert!(PeerList::parse(&text[..at], id("a"), label).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = text.clone();
                changed[at] ^= 1 << bit;
                match PeerList::parse(&changed, id("a"), label) {
                    Err(_) => {}
                    // Another case of a digit of the sum.
                    Ok(read) => assert_eq!(read, list(), "bit {bit} of byte {at}"),
                }
            }
        }
        assert!(PeerList::parse(b"", id("a"), label).is_err());
        assert!(PeerList::parse(&[0xff; 300], id("a"), label).is_err());
    }
}
