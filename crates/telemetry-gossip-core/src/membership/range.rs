//! Ranges of id hashes: how two nodes name the same part of their tables.

use crate::id::IdHash;

use super::BUCKETS;

/// The binary digits of an id hash that say in which part of a range it lies.
const PART_BITS: u8 = 4;

/// The number of equal parts into which a range is split.
pub(crate) const PARTS: usize = 1 << PART_BITS;

/// A range of 2^`bits` id hashes that begins at a multiple of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashRange {
    from: u32,
    bits: u8,
}

impl HashRange {
    /// All id hashes.
    pub(crate) const WHOLE: Self = Self { from: 0, bits: 32 };

    /// Returns the range of one fingerprint of the table.
    #[expect(clippy::cast_possible_truncation, reason = "there are 64 buckets")]
    pub(crate) const fn of_bucket(bucket: usize) -> Self {
        let bits = (u32::BITS - BUCKETS.trailing_zeros()) as u8;
        Self { from: (bucket as u32) << bits, bits }
    }

    /// Returns the range that begins here, if it can be split and begins at a multiple of its
    /// length.
    pub(crate) fn new(from: u32, bits: u8) -> Option<Self> {
        let aligned = bits == 32 && from == 0 || bits < 32 && from.trailing_zeros() >= bits.into();
        (bits >= PART_BITS && aligned).then_some(Self { from, bits })
    }

    pub(crate) const fn bits(self) -> u8 {
        self.bits
    }

    pub(crate) const fn first(self) -> IdHash {
        IdHash(self.from)
    }

    pub(crate) fn last(self) -> IdHash {
        IdHash(self.from | u32::MAX.checked_shr(32 - u32::from(self.bits)).unwrap_or(0))
    }

    /// Whether the range has enough id hashes to be split.
    pub(crate) const fn is_divisible(self) -> bool {
        self.bits >= PART_BITS
    }

    /// Returns the parts in order; none if the range cannot be split.
    pub(crate) fn parts(self) -> impl Iterator<Item = Self> {
        let bits = self.bits.checked_sub(PART_BITS);
        let part = move |at: u32, bits| Self { from: self.from + (at << bits), bits };
        (0..1 << PART_BITS).filter_map(move |at| bits.map(|bits| part(at, bits)))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn the_parts_of_a_range_are_the_range() {
        for range in [
            HashRange::of_bucket(0),
            HashRange::of_bucket(BUCKETS - 1),
            HashRange::new(0, 32).unwrap(),
            HashRange::new(48, 4).unwrap(),
        ] {
            let parts: Vec<_> = range.parts().collect();
            assert_eq!(parts.len(), PARTS);
            assert_eq!(parts[0].first(), range.first());
            assert_eq!(parts[PARTS - 1].last(), range.last());
            for pair in parts.windows(2) {
                assert_eq!(pair[0].last().0 + 1, pair[1].first().0);
            }
        }
        assert_eq!(HashRange::new(48, 4).unwrap().parts().next().unwrap().parts().count(), 0);
    }

    #[test]
    fn a_range_begins_at_a_multiple_of_its_length() {
        let valid = [(0, 32), (0, 4), (1 << 26, 26), (u32::MAX - 15, 4)];
        let invalid = [(1, 32), (0, 33), (0, 255), (0, 3), (1 << 25, 26), (8, 4)];
        assert!(valid.iter().all(|&(from, bits)| HashRange::new(from, bits).is_some()));
        assert!(invalid.iter().all(|&(from, bits)| HashRange::new(from, bits).is_none()));
    }
}
