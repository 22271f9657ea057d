//! Violations of the invariants that a node checks on itself.

use alloc::string::{String, ToString as _};

use thiserror::Error;

/// A broken invariant, which is a defect of this crate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invariant {rule} is broken: {detail}")]
#[non_exhaustive]
pub struct Violation {
    /// The short name of the invariant: `S6` (a running node never holds itself dead), `S14` (every
    /// structure is bounded), `S15` (every deadline has an owner) or `sums` (sums that are kept up
    /// to date equal sums over all rows).
    pub rule: &'static str,
    /// What was found in the node's state.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, detail: impl core::fmt::Display) -> Self {
        Self { rule, detail: detail.to_string() }
    }
}

/// A rule that a restored part breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsound {
    /// The part of the state.
    pub(crate) part: &'static str,
    /// The rule that it breaks.
    pub(crate) rule: &'static str,
}

/// Checks the rules of one part of a restored state. Each is given as (whether it is kept, rule).
pub(crate) fn check_rules(
    part: &'static str,
    rules: &[(bool, &'static str)],
) -> Result<(), Unsound> {
    match rules.iter().find(|(kept, _)| !kept) {
        Some(&(_, rule)) => Err(Unsound { part, rule }),
        None => Ok(()),
    }
}

/// Checks that no structure is longer than its bound. Each is given as (name, length, bound).
pub(crate) fn check_bounds(bounds: &[(&str, usize, usize)]) -> Result<(), Violation> {
    match bounds.iter().find(|(_, len, bound)| len > bound) {
        Some((name, len, bound)) => {
            let detail = alloc::format!("{name} has {len} entries, above its bound of {bound}");
            Err(Violation::new("S14", detail))
        }
        None => Ok(()),
    }
}
