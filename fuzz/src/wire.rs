//! What the targets know of the wire format besides the page's reader and writer: enough to put a
//! valid header before bytes, and to answer a question under its number.
//!
//! Kept apart from the core on purpose: a change of the format that breaks this file breaks
//! deployed peers too.

use telemetry_gossip_core::{Address, Label, MAX_ADDRESS_LEN, Node};

use crate::meaning::Header;
use crate::reader::{self, Row};
use crate::writer;

/// Bytes before the first frame.
pub const HEADER_LEN: usize = 20;

/// The kinds of frames that a reader of this version knows.
pub const KINDS: core::ops::RangeInclusive<u8> = 1..=16;

/// Those that await an answer: ping, relay, the steps of a session but its last, page request,
/// tree.
const QUESTIONS: [u8; 8] = [1, 4, 7, 8, 9, 10, 12, 14];

/// The kinds whose bodies begin with a number, and of which some answer the others: probes,
/// sessions, pages, trees.
const TOPICS: [core::ops::RangeInclusive<u8>; 4] = [1..=4, 7..=11, 12..=13, 14..=15];

/// The last number under which somebody was asked, for each topic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked([Option<[u8; 4]>; TOPICS.len()]);

/// A header: version, label, the sender's tag, the two fingerprints of its table, and a round clock
/// that shows nothing yet.
#[must_use]
pub fn header(label: Label, tag: u32, fingerprints: [u32; 2]) -> Vec<u8> {
    let [claims, telemetry] = fingerprints;
    writer::datagram(&Header { label: label.0, sender: tag, claims, telemetry, clock: 0 }, &[])
}

/// The fingerprints in a node's header, made anew from what shows of its table.
#[must_use]
pub fn fingerprints<A: Address>(node: &Node<A>) -> [u32; 2] {
    reader::fingerprints(&rows(node))
}

/// A node's table, as the page's reader knows it.
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

/// The sender's tag in a datagram.
#[must_use]
pub fn sender(datagram: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(datagram.get(5..9)?.try_into().ok()?))
}

/// The frames of a datagram: kind, and where the body lies.
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

impl Asked {
    /// Notes the questions in a datagram.
    pub fn note(&mut self, datagram: &[u8]) {
        for (topic, kind, at) in numbers(datagram) {
            if QUESTIONS.contains(&kind) {
                self.0[topic] = datagram[at].try_into().ok();
            }
        }
    }

    /// Puts the number of the last question of its topic in place of each number in a datagram.
    pub fn answer(&self, datagram: &mut [u8]) {
        let places: Vec<_> = numbers(datagram).collect();
        for (topic, _, at) in places {
            if let Some(number) = self.0[topic] {
                datagram[at].copy_from_slice(&number);
            }
        }
    }
}

/// The numbers in a datagram: topic, kind of the frame, and where they lie.
fn numbers(datagram: &[u8]) -> impl Iterator<Item = (usize, u8, core::ops::Range<usize>)> {
    frames(datagram).filter(|(_, body)| body.len() >= 4).filter_map(|(kind, body)| {
        let topic = TOPICS.iter().position(|kinds| kinds.contains(&kind))?;
        Some((topic, kind, body.start..body.start + 4))
    })
}
