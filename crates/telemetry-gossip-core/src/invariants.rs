//! What must hold after every input: checked in debug builds and by the simulator.

use alloc::string::{String, ToString as _};

use thiserror::Error;

use crate::address::Address;
use crate::member::Status;
use crate::node::Node;

/// A broken invariant: a defect of this crate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invariant {rule} is broken: {detail}")]
pub struct Violation {
    /// Its short name: `S6` (a running node never holds itself dead), `S14` (every structure is
    /// bounded), `S15` (every deadline has an owner) or `sums` (sums kept up to date are the sums
    /// made anew).
    pub rule: &'static str,
    /// What was found.
    pub detail: String,
}

pub(crate) fn violation(rule: &'static str, detail: impl core::fmt::Display) -> Violation {
    Violation { rule, detail: detail.to_string() }
}

impl<A: Address> Node<A> {
    /// Checks what holds between the parts of the node after every input. Costs time in proportion
    /// to the table.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        let parts = self.parts();
        parts.table.check_sums().map_err(|detail| violation("sums", detail))?;
        if parts.lent {
            return Ok(());
        }
        parts.news.check().map_err(|detail| violation("sums", detail))?;
        parts.trees.check().map_err(|detail| violation("sums", detail))?;
        if parts.active && self.me().status() != Status::Alive {
            return Err(violation(
                "S6",
                alloc::format!("the node holds itself {}", self.me().status()),
            ));
        }
        for slot in parts.table.slots() {
            let row = parts.table.row(slot);
            let suspected = parts.suspicions.get(slot).map(|suspected| suspected.generation);
            let expected = (row.status == Status::Suspected).then_some(row.generation);
            if suspected != expected {
                return Err(violation(
                    "S15",
                    alloc::format!("{} is {} but suspected at {suspected:?}", row.id(), row.status),
                ));
            }
            if parts.tombstones.contains(slot) == row.status.is_live()
                && Some(slot) != parts.table.me()
            {
                return Err(violation(
                    "S15",
                    alloc::format!("{} is {}, tombstone or not", row.id(), row.status),
                ));
            }
        }
        let limit = usize::try_from(self.config().max_members).unwrap_or(usize::MAX);
        let bounds = [
            ("table", parts.table.len(), limit),
            ("suspicions", parts.suspicions.len(), parts.table.len()),
            ("tombstones", parts.tombstones.len(), parts.table.len()),
            ("relays", parts.relays, crate::relay::LIMIT),
            ("flaps", parts.flaps, parts.table.len()),
        ];
        for (name, len, bound) in bounds {
            if len > bound {
                return Err(violation(
                    "S14",
                    alloc::format!("{name} holds {len} of at most {bound}"),
                ));
            }
        }
        if !parts.history.is_bounded() {
            return Err(violation("S14", "a history is longer than its bound"));
        }
        if parts.cycle.is_some_and(|cycle| cycle + 1 != parts.table.len()) {
            return Err(violation(
                "sums",
                "the probe order is not the table without the node itself",
            ));
        }
        Ok(())
    }
}
