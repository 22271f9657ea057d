//! The invariants of a node, which hold after every input. Debug builds and the simulator check
//! them.
//!
//! Each part checks its own state; this module checks what holds between the parts.

use super::Node;
use crate::address::Address;
use crate::cx::{Activity, Part};
use crate::membership::newcomers::MAX_WAITING;
use crate::status::Status;
use crate::violation::{Violation, check_bounds};

impl<A: Address> Node<A> {
    /// Checks the invariants of the node, which hold after every input. The time it takes grows
    /// with the table.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        let Self {
            cx,
            detector,
            anti_entropy,
            dissemination,
            freshness,
            id_conflict: _,
            newcomers,
            farewell: _,
            wrong_accusers: _,
            quiet: _,
            lent,
        } = self;
        cx.table.check_sums().map_err(|detail| Violation::new("sums", detail))?;
        if *lent {
            return Ok(());
        }
        cx.rumors.check().map_err(|detail| Violation::new("sums", detail))?;
        if cx.activity == Activity::Active && self.me().status() != Status::Alive {
            let status = self.me().status();
            let detail = alloc::format!("an active node holds itself {status}, not alive");
            return Err(Violation::new("S6", detail));
        }
        self.check_tombstones()?;
        let limit = usize::try_from(cx.config.max_members).unwrap_or(usize::MAX);
        let (parked, most) = freshness.bound();
        check_bounds(&[
            ("parked datagrams", parked, most),
            ("table", cx.table.len(), limit),
            ("tombstones", cx.tombstones.len(), cx.table.len()),
            ("claims that wait", newcomers.len(), MAX_WAITING),
        ])?;
        detector.check(cx)?;
        anti_entropy.check(cx)?;
        dissemination.check(cx)
    }

    /// Checks that a member has a tombstone if and only if it is not live. This node itself needs
    /// none.
    fn check_tombstones(&self) -> Result<(), Violation> {
        let table = &self.cx.table;
        for slot in table.slots() {
            let row = table.row(slot);
            let remembered = self.cx.tombstones.contains(slot);
            if remembered == row.status.is_live() && Some(slot) != table.me() {
                let (id, status) = (row.id(), row.status);
                let has = if remembered { "a tombstone" } else { "no tombstone" };
                let detail = alloc::format!("{id} is {status}, but has {has}");
                return Err(Violation::new("S15", detail));
            }
        }
        Ok(())
    }
}
