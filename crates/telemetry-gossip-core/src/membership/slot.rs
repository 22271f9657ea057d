//! A member's place in the table.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// The place of a row; stable while the member is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Makes room by an eighth, not by doubling: the table's memory per member stays flat.
pub(crate) fn grow<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact((items.len() / 8).max(8));
    }
}
