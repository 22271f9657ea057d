//! The parts of the wire format that the targets need besides the second reader and the writer: a
//! valid header, and the numbers by which answers match requests.
//!
//! This module shares no code with the core on purpose: a change of the format that breaks this
//! file also breaks deployed peers.

use telemetry_gossip_core::{Address, Label, MAX_ADDRESS_LEN, Node};

use crate::meaning::Header;
use crate::reader::{self, Row};
use crate::writer;

/// Bytes before the first frame.
pub const HEADER_LEN: usize = 20;

/// The kinds of frames that a reader of this version knows.
pub const KINDS: [u8; 21] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22];

/// The kinds that request an answer: ping, ping-req, the steps of a session except the last, page
/// request, tree.
const REQUESTS: [u8; 9] = [1, 4, 7, 8, 9, 10, 12, 14, 19];

/// The groups of kinds whose bodies begin with a number, and in which some kinds answer others:
/// probes, sessions, pages, trees.
const GROUPS: [&[u8]; 4] = [&[1, 2, 3, 4], &[7, 8, 9, 10, 11, 19], &[12, 13], &[14, 15]];

/// The number of the last request, for each group of kinds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requests([Option<[u8; 4]>; GROUPS.len()]);

/// Writes a header: version, label, the id hash of the sender, the two fingerprints of its table,
/// and a round clock at zero.
#[must_use]
pub fn header(label: Label, sender: u32, fingerprints: [u32; 2]) -> Vec<u8> {
    let [claims, telemetry] = fingerprints;
    writer::datagram(&Header { label: label.0, sender, claims, telemetry, clock: 0 }, &[])
}

/// Computes the fingerprints in a node's header from its public table.
#[must_use]
pub fn fingerprints<A: Address>(node: &Node<A>) -> [u32; 2] {
    reader::fingerprints(&rows(node))
}

/// Returns a node's table in the form of the second reader.
pub(crate) fn rows<A: Address>(node: &Node<A>) -> Vec<Row> {
    let rows = node.members().map(|member| {
        let mut address = [0; MAX_ADDRESS_LEN];
        let len = member.address().map_or(0, |held| held.encode(&mut address));
        Row {
            id: member.id().as_bytes().to_vec(),
            address: address[..len].to_vec(),
            instance: member.instance().0,
            generation: member.generation().0,
            status: member.status() as u8,
            telemetry: member.telemetry_version(),
        }
    });
    rows.collect()
}

/// Returns the id hash of the sender of a datagram.
#[must_use]
pub fn sender(datagram: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(datagram.get(5..9)?.try_into().ok()?))
}

/// Returns the frames of a datagram: the kind, and the range of the body.
pub fn frames(datagram: &[u8]) -> impl Iterator<Item = (u8, core::ops::Range<usize>)> {
    let mut at = HEADER_LEN;
    core::iter::from_fn(move || {
        let kind = *datagram.get(at)?;
        let (mut len, mut shift) = (0_usize, 0);
        loop {
            at += 1;
            let byte = *datagram.get(at)?;
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
            if shift > 21 {
                return None;
            }
        }
        let body = at + 1..at + 1 + len;
        at = body.end;
        (body.end <= datagram.len()).then_some((kind, body))
    })
}

impl Requests {
    /// Notes the requests in a datagram.
    pub fn note(&mut self, datagram: &[u8]) {
        for (group, kind, at) in numbers(datagram) {
            if REQUESTS.contains(&kind) {
                self.0[group] = datagram[at].try_into().ok();
            }
        }
    }

    /// Replaces each number in a datagram by that of the last request in its group.
    pub fn answer(&self, datagram: &mut [u8]) {
        let places: Vec<_> = numbers(datagram).collect();
        for (group, _, at) in places {
            if let Some(number) = self.0[group] {
                datagram[at].copy_from_slice(&number);
            }
        }
    }
}

/// Returns the numbers in a datagram: the group, the kind of the frame, and the range.
fn numbers(datagram: &[u8]) -> impl Iterator<Item = (usize, u8, core::ops::Range<usize>)> {
    frames(datagram).filter(|(_, body)| body.len() >= 4).filter_map(|(kind, body)| {
        let group = GROUPS.iter().position(|kinds| kinds.contains(&kind))?;
        Some((group, kind, body.start..body.start + 4))
    })
}
