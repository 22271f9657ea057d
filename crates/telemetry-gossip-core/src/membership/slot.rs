//! The place of a member in the table, and how the arrays over these places grow.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// The index of a row in the table. It is stable while the member is in the table, and reused
/// afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Reserves room for one more item: an eighth of the length instead of a doubling, so that the
/// memory per member stays flat.
pub(crate) fn grow<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact((items.len() / 8).max(8));
    }
}
