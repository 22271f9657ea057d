//! Altered datagrams.
//!
//! The checksum of UDP catches most alterations, a seal catches all of them. The rest reaches the
//! node, for which a readable altered datagram is a false claim of a peer.

use crate::rng::Draws;

/// Alters a datagram: flips up to three bits, truncates it, replaces its end by the end of `other`,
/// or overwrites a few bytes.
pub(crate) fn alter(bytes: &mut Vec<u8>, other: &[u8], draws: &mut Draws) {
    let len = bytes.len();
    match draws.below(4) {
        0 => {
            for _ in 0..=draws.below(3) {
                let bit = draws.below(len * 8);
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
        1 => bytes.truncate(draws.below(len)),
        2 => {
            let (keep, from) = (draws.below(len), draws.below(other.len()));
            bytes.truncate(keep);
            bytes.extend_from_slice(other.get(from..).unwrap_or_default());
        }
        _ => {
            let at = draws.below(len);
            for byte in bytes.iter_mut().skip(at).take(4) {
                *byte = draws.below(256) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn an_altered_datagram_nearly_always_differs_from_the_original() {
        let mut draws = Draws::new(1, Stream::Network);
        let (sent, other) = (vec![7; 40], vec![9; 60]);
        let mut same = 0;
        for _ in 0..1_000 {
            let mut bytes = sent.clone();
            alter(&mut bytes, &other, &mut draws);
            assert!(bytes.len() <= sent.len() + other.len());
            same += u32::from(bytes == sent);
        }
        assert!(same < 5, "{same}");
        // Empty datagrams do not panic.
        alter(&mut Vec::new(), &[], &mut draws);
    }
}
