//! Datagrams that arrive otherwise than they were sent: altered on the way, or forged.
//!
//! UDP's checksum catches most of that, a seal all of it. What is left is a node's own business: an
//! altered datagram that can be read is a lie of a peer.

use crate::rng::Draws;

/// Alters a datagram: flips up to three bits, cuts it short, gives it the end of `other`, or
/// overwrites a few bytes.
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
    fn an_altered_datagram_is_nearly_always_another_one_and_never_empty_handed() {
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
        // Nothing to alter and nothing to take is no trouble.
        alter(&mut Vec::new(), &[], &mut draws);
    }
}
