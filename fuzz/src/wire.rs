//! The little that the targets know of the wire format: enough to put a valid header before bytes, and to answer a
//! question under its number.
//!
//! Kept apart from the core on purpose: a change of the format that breaks this file breaks deployed peers too.

use telemetry_gossip_core::{Label, WIRE_VERSION};

/// Bytes before the first frame.
pub const HEADER_LEN: usize = 20;

/// The kinds whose body begins with a number: all but claims (5) and telemetry (6).
const NUMBERED: [u8; 11] = [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13];
/// Those of them that await an answer: ping, relay, the steps of a session but its last, page request.
const QUESTIONS: [u8; 7] = [1, 4, 7, 8, 9, 10, 12];

/// A header: version, label, the sender's tag, the fingerprint of its table, and a round clock that shows nothing yet.
#[must_use]
pub fn header(label: Label, tag: u32, fingerprint: u64) -> Vec<u8> {
    let mut bytes = vec![WIRE_VERSION];
    bytes.extend_from_slice(&label.0.to_be_bytes());
    bytes.extend_from_slice(&tag.to_be_bytes());
    bytes.extend_from_slice(&fingerprint.to_be_bytes());
    bytes.extend_from_slice(&[0; 3]);
    bytes
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

/// The number of the last question in a datagram.
#[must_use]
pub fn question(datagram: &[u8]) -> Option<[u8; 4]> {
    let at = numbers(datagram, &QUESTIONS).last()?;
    datagram.get(at)?.try_into().ok()
}

/// Puts `number` in place of each number in a datagram.
pub fn renumber(datagram: &mut [u8], number: [u8; 4]) {
    let places: Vec<_> = numbers(datagram, &NUMBERED).collect();
    for at in places {
        datagram[at].copy_from_slice(&number);
    }
}

fn numbers(datagram: &[u8], kinds: &[u8]) -> impl Iterator<Item = core::ops::Range<usize>> {
    frames(datagram)
        .filter(|(kind, body)| kinds.contains(kind) && body.len() >= 4)
        .map(|(_, body)| body.start..body.start + 4)
}
