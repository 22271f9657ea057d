//! What another member holds under this node's id: it may be another process.

use crate::id::{Generation, Instance};
use crate::membership::claim::Claim;

/// What another member says that it holds under this node's id.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct HeldUnderId<A> {
    pub(super) instance: Instance,
    pub(super) address: Option<A>,
    pub(super) generation: Generation,
    pub(super) live: bool,
}

impl<A: Copy> HeldUnderId<A> {
    /// What a claim about `this` instance's id says, unless it is about that instance.
    pub(in crate::node) fn of(claim: &Claim<'_, A>, this: Instance) -> Option<Self> {
        (claim.instance != this).then_some(Self {
            instance: claim.instance,
            address: claim.address,
            generation: claim.generation,
            live: claim.status.is_live(),
        })
    }
}
