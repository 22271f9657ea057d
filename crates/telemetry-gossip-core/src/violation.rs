//! A broken invariant.

use alloc::string::{String, ToString as _};

use thiserror::Error;

/// A broken invariant: a defect of this crate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invariant {rule} is broken: {detail}")]
#[non_exhaustive]
pub struct Violation {
    /// Its short name: `S6` (a running node never holds itself dead), `S14` (every structure is
    /// bounded), `S15` (every deadline has an owner) or `sums` (sums kept up to date are the sums
    /// made anew).
    pub rule: &'static str,
    /// What was found.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, detail: impl core::fmt::Display) -> Self {
        Self { rule, detail: detail.to_string() }
    }
}

/// Checks that each structure, as (name, length, bound), keeps its bound.
pub(crate) fn check_bounds(bounds: &[(&str, usize, usize)]) -> Result<(), Violation> {
    match bounds.iter().find(|(_, len, bound)| len > bound) {
        Some((name, len, bound)) => {
            Err(Violation::new("S14", alloc::format!("{name} holds {len} of at most {bound}")))
        }
        None => Ok(()),
    }
}
