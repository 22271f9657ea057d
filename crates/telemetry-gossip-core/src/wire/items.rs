//! Iterators over the items in the body of a frame.
//!
//! An iterator is used twice: by the first pass, which checks each item, and by the node, which
//! reads items that were checked.

use core::marker::PhantomData;

use serde::Deserialize;

use super::read::{Read, Reader, head, rule, text};
use super::{RangeHead, WireClaim, WireEntry, WireVersion};
use crate::address::Address;
use crate::error::WireError;
use crate::id::{Generation, IdError, Instance, check_id};
use crate::membership::claim::Claim;
use crate::status::Status;

/// An iterator over items of one type, to the end of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items<'a, T> {
    pub(super) rest: &'a [u8],
    pub(super) item: PhantomData<T>,
}

impl<T> Items<'_, T> {
    /// Whether there are no items.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a, T: Deserialize<'a>> Items<'a, T> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest, item: PhantomData }
    }

    /// Returns the items, and an error for the first one that is malformed.
    pub(super) fn checked(
        mut self,
        name: &'static str,
    ) -> impl Iterator<Item = Result<T, WireError>> + use<'a, T> {
        core::iter::from_fn(move || {
            if self.rest.is_empty() {
                return None;
            }
            let item = head(self.rest, name).map(|(item, rest)| {
                self.rest = rest;
                item
            });
            if item.is_err() {
                self.rest = &[];
            }
            Some(item)
        })
    }
}

impl<'a, T: Deserialize<'a>> Iterator for Items<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let (item, rest) = postcard::take_from_bytes(self.rest).ok()?;
        self.rest = rest;
        Some(item)
    }
}

/// An iterator over the entries of a telemetry frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries<'a> {
    pub(super) reader: Reader<'a>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = WireEntry<'a>;

    fn next(&mut self) -> Option<WireEntry<'a>> {
        WireEntry::read(&mut self.reader)
    }
}

/// An iterator over the claims of a frame, without those that the table holds already.
#[derive(Clone, Debug)]
pub(crate) struct ClaimsIn<'a, A> {
    pub(super) items: Items<'a, WireClaim<'a>>,
    /// A bit per claim, from the lowest on: whether it is passed over.
    pub(super) known: u64,
    pub(super) address: PhantomData<A>,
}

impl<'a, A: Address> Iterator for ClaimsIn<'a, A> {
    type Item = Claim<'a, A>;

    fn next(&mut self) -> Option<Claim<'a, A>> {
        loop {
            let mut reader = Reader::new(self.items.rest);
            let claim = WireClaim::read(&mut reader)?;
            self.items.rest = reader.rest();
            let known = self.known & 1 != 0;
            self.known >>= 1;
            if !known {
                return check_claim(&claim).ok();
            }
        }
    }
}

/// An iterator over the ranges of a version list, each with its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranges<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Ranges<'a> {
    /// Returns the ranges, and an error for the first one that is malformed.
    pub(super) fn checked(
        mut self,
    ) -> impl Iterator<Item = Result<(RangeHead, Items<'a, WireVersion>), WireError>> + use<'a>
    {
        core::iter::from_fn(move || {
            if self.rest.is_empty() {
                return None;
            }
            let range = split_range(self.rest).map(|(head, rows, rest)| {
                self.rest = rest;
                (head, rows)
            });
            if range.is_err() {
                self.rest = &[];
            }
            Some(range)
        })
    }
}

impl<'a> Iterator for Ranges<'a> {
    type Item = (RangeHead, Items<'a, WireVersion>);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rows, rest) = split_range(self.rest).ok()?;
        self.rest = rest;
        Some((head, rows))
    }
}

type Range<'a> = (RangeHead, Items<'a, WireVersion>, &'a [u8]);

/// Splits the first range off: its head, its rows, and the bytes after it.
pub(super) fn split_range(bytes: &[u8]) -> Result<Range<'_>, WireError> {
    const NAME: &str = "sync range";
    let (range, rows): (RangeHead, _) = head(bytes, NAME)?;
    let mut rest = rows;
    // The stated count is only believed as far as there are rows; nothing is allocated for it.
    for _ in 0..range.rows {
        (_, rest) = head::<WireVersion>(rest, NAME)?;
    }
    let used = rows.len() - rest.len();
    Ok((range, Items::new(&rows[..used]), rest))
}

/// Checks a claim against the rules of its fields. What passes needs no further checks.
pub(super) fn check_claim<'a, A: Address>(
    claim: &WireClaim<'a>,
) -> Result<Claim<'a, A>, WireError> {
    let id = text(claim.id).ok_or(WireError::Malformed("claim"))?;
    check_id(id).map_err(|error| match error {
        IdError::ForbiddenCharacter { .. } | IdError::MixedScripts { .. } => {
            rule("id", "visible letters of one script")
        }
        _ => rule("id", "1 to 127 bytes without control characters"),
    })?;
    let status = Status::from_rank(claim.status).ok_or(rule("status", "0 to 3"))?;
    let address = match claim.address {
        [] => None,
        bytes => Some(A::decode(bytes).ok_or(WireError::Malformed("address"))?),
    };
    // The member must be able to refute the claim at a higher generation.
    if claim.generation >= u64::MAX - 1 {
        return Err(rule("generation", "leaves room for a refutation"));
    }
    if status != Status::Suspected && !claim.accusers.is_empty() {
        return Err(rule("accusers", "only of a suspicion"));
    }
    if status.is_live() && claim.age_secs != 0 {
        return Err(rule("age", "only of the dead and the left"));
    }
    Ok(Claim {
        id,
        address,
        instance: Instance(claim.instance),
        generation: Generation(claim.generation),
        status,
        accusers: claim.accusers.clone(),
        age_secs: claim.age_secs,
    })
}
