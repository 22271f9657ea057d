//! The place of a member in the table, and how the arrays over these places grow.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize, Serializer};

/// The index of a row in the table. It is stable while the member is in the table, and reused
/// afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Serialises the number of a slot that may have become free. Code that reads it back must not
/// expect a member there.
pub(crate) fn serialize_maybe_free<S: Serializer>(
    slot: &Slot,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(slot.0)
}

/// Reserves room for one more item: an eighth of the length instead of a doubling, so that the
/// memory per member stays flat.
pub(crate) fn grow<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact((items.len() / 8).max(8));
    }
}
