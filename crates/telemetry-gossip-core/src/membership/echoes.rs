//! Claims that said nothing new. A rumor comes back some ten times, word for word: from the second
//! time on, its hash says that it is known.

use crate::id::bytes_hash;
use crate::status::Status;

/// Four are remembered of those whose hashes begin alike, in so many sets.
const SETS: usize = 16;
const WAYS: usize = 4;

/// The hashes of claims that the table held when they came. Emptied whenever a record changes, so
/// that what was known still is. Whoever makes another claim with the same hash keeps it to itself.
#[derive(Debug)]
pub(super) struct Echoes([[u64; WAYS]; SETS]);

impl Echoes {
    pub(super) const fn new() -> Self {
        Self([[0; WAYS]; SETS])
    }

    /// Nothing if this claim has come before; otherwise its hash, to be kept if it turns out to be
    /// known.
    #[inline]
    pub(super) fn print_unless_kept(&self, claim: &[u8]) -> Option<Print> {
        // No hash is 0, which stands for none.
        let print = Print(bytes_hash(claim) | 1);
        let [a, b, c, d] = self.0[print.set()];
        let kept = a == print.0 || b == print.0 || c == print.0 || d == print.0;
        (!kept).then_some(print)
    }

    /// The claim of this hash is known. The oldest of its set makes room.
    pub(super) fn keep(&mut self, print: Print) {
        let set = &mut self.0[print.set()];
        set.copy_within(..WAYS - 1, 1);
        set[0] = print.0;
    }

    /// A record changes.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

/// The hash of a claim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Print(u64);

impl Print {
    #[expect(clippy::cast_possible_truncation, reason = "the upper 4 bits")]
    const fn set(self) -> usize {
        (self.0 >> (u64::BITS - SETS.trailing_zeros())) as usize
    }
}

/// The first of the claims, up to where it ends, if it is of the common kind: somebody is Alive, at
/// a generation of one byte, and there is nothing to say of accusers or of an age.
#[inline]
pub(super) fn first_plain(claims: &[u8]) -> Option<&[u8]> {
    const ALIVE: u8 = Status::Alive.rank();
    let &[ALIVE, ..0x80, _, _, _, _, id] = claims.first_chunk()? else { return None };
    let address_at = 7 + usize::from(id);
    let end = address_at + 1 + usize::from(*claims.get(address_at)?) + 2;
    claims.get(..end).filter(|claim| claim.ends_with(&[0, 0]))
}
