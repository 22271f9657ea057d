//! What must hold after every input: checked in debug builds and by the simulator.

use super::Node;
use crate::address::Address;
use crate::cx::{Activity, Part};
use crate::status::Status;
use crate::violation::{Violation, check_bounds};

impl<A: Address> Node<A> {
    /// Checks what holds between the parts of the node after every input. Costs time in proportion
    /// to the table.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        let Self {
            cx,
            detector,
            anti_entropy,
            dissemination,
            id_conflict: _,
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
            return Err(Violation::new("S6", alloc::format!("the node holds itself {status}")));
        }
        self.check_tombstones()?;
        let limit = usize::try_from(cx.config.max_members).unwrap_or(usize::MAX);
        check_bounds(&[
            ("table", cx.table.len(), limit),
            ("tombstones", cx.tombstones.len(), cx.table.len()),
        ])?;
        detector.check(cx)?;
        anti_entropy.check(cx)?;
        dissemination.check(cx)
    }

    /// A member has a tombstone if and only if it is not live; this node itself needs none.
    fn check_tombstones(&self) -> Result<(), Violation> {
        let table = &self.cx.table;
        for slot in table.slots() {
            let row = table.row(slot);
            let remembered = self.cx.tombstones.contains(slot);
            if remembered == row.status.is_live() && Some(slot) != table.me() {
                let (id, status) = (row.id(), row.status);
                let detail = alloc::format!("{id} is {status}, tombstone or not");
                return Err(Violation::new("S15", detail));
            }
        }
        Ok(())
    }
}
