//! A small cache of the claims that said nothing new.
//!
//! Each rumor reaches a node some ten times, byte for byte the same. From the second time on, its
//! hash alone shows that it is known.

use crate::id::bytes_hash;
use crate::status::Status;

/// The number of sets; the upper bits of a hash choose one.
const SETS: usize = 16;

/// The most hashes per set.
const WAYS: usize = 4;

/// The hashes of claims that the table held when they came.
///
/// It is emptied whenever a record changes, so that every claim in it is still known. A sender that
/// crafts another claim with the same hash only keeps its own claim from being read.
#[derive(Debug)]
pub(super) struct Echoes([[u64; WAYS]; SETS]);

impl Echoes {
    pub(super) const fn new() -> Self {
        Self([[0; WAYS]; SETS])
    }

    /// Returns `None` if this claim is in the cache, and otherwise its hash, which
    /// [`keep`](Self::keep) takes if the claim turns out to be known.
    #[inline]
    pub(super) fn hash_unless_kept(&self, claim: &[u8]) -> Option<ClaimHash> {
        // 0 stands for an empty place, so no hash is 0.
        let hash = ClaimHash(bytes_hash(claim) | 1);
        let [a, b, c, d] = self.0[hash.set()];
        let kept = a == hash.0 || b == hash.0 || c == hash.0 || d == hash.0;
        (!kept).then_some(hash)
    }

    /// Adds the hash of a known claim, in place of the oldest of its set.
    pub(super) fn keep(&mut self, hash: ClaimHash) {
        let set = &mut self.0[hash.set()];
        set.copy_within(..WAYS - 1, 1);
        set[0] = hash.0;
    }

    /// Empties the cache, since a record changes.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

/// The hash of a claim's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClaimHash(u64);

impl ClaimHash {
    #[expect(clippy::cast_possible_truncation, reason = "the upper 4 bits")]
    const fn set(self) -> usize {
        (self.0 >> (u64::BITS - SETS.trailing_zeros())) as usize
    }
}

/// Returns the bytes of the first claim if it is plain, which most are: Alive, with a generation of
/// one byte, no accusers and no age.
#[inline]
pub(super) fn first_plain(claims: &[u8]) -> Option<&[u8]> {
    const ALIVE: u8 = Status::Alive.rank();
    let &[ALIVE, 0..0x80, _, _, _, _, id] = claims.first_chunk()? else { return None };
    let address_at = 7 + usize::from(id);
    let end = address_at + 1 + usize::from(*claims.get(address_at)?) + 2;
    claims.get(..end).filter(|claim| claim.ends_with(&[0, 0]))
}
