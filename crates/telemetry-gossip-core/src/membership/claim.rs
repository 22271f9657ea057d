//! Claims about a member, and the one order that decides between two claims.
//!
//! A claim states a member's status at a generation, the incarnation number of SWIM. Only the
//! member itself raises its generation to say Alive or Left. G is the generation of the claim that
//! is held.
//!
//! ```text
//!   Alive ----------- a probe of it failed (G+1) ------------------> Suspected
//!   Suspected ------- it did not refute in time (G) ---------------> Dead
//!   Suspected, Dead, Left --- the member says so (higher than G) --> Alive
//!   Alive ----------- the member says so (G+1) --------------------> Left
//! ```
//!
//! Timers and the messages that carry claims are not here.

use core::cmp::Ordering;

use arrayvec::ArrayVec;

use crate::id::{Generation, IdHash, Instance};
use crate::status::Status;

/// The most accusers named in one claim.
pub const MAX_ACCUSERS: usize = 4;

/// The id hashes of the accusers of a suspected member: evidence that travels with a claim and has
/// no influence on its precedence.
pub type Accusers = ArrayVec<IdHash, MAX_ACCUSERS>;

/// A statement about a member. Two claims about one member are ordered by [`Claim::precedence`];
/// the table keeps the higher one, so that a set of claims gives the same table in any order of
/// arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'a, A> {
    /// The id of the member.
    pub id: &'a str,
    /// The address on which the member listens; `None` where the host finds members by their id.
    pub address: Option<A>,
    /// The instance of the member that the claim is about.
    pub instance: Instance,
    /// The member's generation, or one above it in an accusation.
    pub generation: Generation,
    /// The claimed status.
    pub status: Status,
    /// The members that accuse it, if it is Suspected. Evidence, not content.
    pub accusers: Accusers,
    /// For Dead and Left: whole seconds since it was declared. Evidence, not content.
    pub age_secs: u32,
}

impl<A: Ord + Copy> Claim<'_, A> {
    /// Returns the precedence of this claim, which is the whole merge rule: the higher generation
    /// wins; at one generation Left > Dead > Suspected > Alive; at one generation and status the
    /// greater content (instance, then address) wins, so that the order of arrival never decides.
    ///
    /// A merge is a maximum under a total order: commutative, associative and idempotent.
    pub fn precedence(&self) -> Precedence<A> {
        Precedence {
            generation: self.generation,
            status: self.status,
            instance: self.instance,
            address: self.address,
        }
    }
}

/// The content of a claim, its fields in the order in which they decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence<A> {
    generation: Generation,
    status: Status,
    instance: Instance,
    address: Option<A>,
}

impl<A: Ord> Precedence<A> {
    /// Whether a claim of this precedence replaces a claim of precedence `held`.
    pub fn beats(&self, held: &Self) -> bool {
        self.cmp(held) == Ordering::Greater
    }
}
