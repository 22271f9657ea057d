//! What is said about a member: its status, the claims that members make, and the one order that
//! decides between two claims.
//!
//! ```text
//!               own, higher generation                     own, higher generation
//!        +-------------------------------------+   +--------------------------------------+
//!        v                                     |   |                                      v
//!      Alive --- a probe failed (G+1) ---> Suspected --- not refuted in time (G+1) ---> Dead
//!        |                                                                                |
//!        +--- the member says so (G+1) ---> Left                     (own, higher generation: Alive)
//! ```

use core::cmp::Ordering;

use arrayvec::ArrayVec;

use crate::id::{Generation, IdHash, Instance};
use crate::status::Status;

/// The most accusers named in one claim.
pub const MAX_ACCUSERS: usize = 4;

/// The id hashes of those who accuse; evidence that travels with a claim and decides nothing about
/// its order.
pub type Accusers = ArrayVec<IdHash, MAX_ACCUSERS>;

/// What somebody says about a member. Two claims about one member are ordered by
/// [`Claim::precedence`]; the table keeps the higher, so that any set of claims gives one table in
/// whatever order it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'a, A> {
    /// Whom it is about.
    pub id: &'a str,
    /// Where the member listens; `None` where the host finds members by their id.
    pub address: Option<A>,
    /// Which life of the member.
    pub instance: Instance,
    /// The member's generation, or one above it in an accusation.
    pub generation: Generation,
    /// What it is said to be.
    pub status: Status,
    /// Who accuses it, if it is Suspected. Evidence, not content.
    pub accusers: Accusers,
    /// For Dead and Left: whole seconds since it was declared. Evidence, not content.
    pub age_secs: u32,
}

impl<A: Ord + Copy> Claim<'_, A> {
    /// The merge rule, in one place: the higher generation wins; at one generation Left > Dead >
    /// Suspected > Alive; at one generation and status the greater content (instance, then address)
    /// wins, so that ties never break by arrival.
    ///
    /// A maximum under a total order: commutative, associative, idempotent.
    pub fn precedence(&self) -> Precedence<A> {
        Precedence {
            generation: self.generation,
            status: self.status,
            instance: self.instance,
            address: self.address,
        }
    }
}

impl<A> Claim<'_, A> {
    /// Whether this may be believed of a member known at `known`. What the member has to refute may
    /// lie half as far ahead as Alive: the refutation is believed by those, too, who have not heard
    /// of what it refutes.
    pub(crate) fn is_plausible(&self, known: Generation) -> bool {
        let room = if self.status == Status::Alive { 0 } else { Generation::PLAUSIBLE_LEAP / 2 };
        Generation(self.generation.0.saturating_add(room)).is_plausible(known)
    }
}

/// The part of a claim that is content, in the order in which it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence<A> {
    generation: Generation,
    status: Status,
    instance: Instance,
    address: Option<A>,
}

impl<A: Ord> Precedence<A> {
    /// Whether a claim of this precedence replaces one of `held`.
    pub fn beats(&self, held: &Self) -> bool {
        self.cmp(held) == Ordering::Greater
    }
}
