//! Id conflicts: another process that claims this node's id.
//!
//! ```text
//!   a claim of another instance ---> counted, outbid --- as often as it takes ---> conflict
//!                                        |                                           |
//!                                        +--- another instance: counted anew         v
//!                                                      the lower instance falls silent
//! ```

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::event::Event;
use crate::id::Instance;
use crate::membership::claim::Claim;
use crate::node::Node;
use crate::time::Instant;

/// The number of claims, each at a higher generation, after which another process with this node's
/// id counts as running. The record of an earlier instance of this node can look like one once or
/// twice, but not again and again.
const CONFLICT_CLAIMS: u8 = 3;

/// A process that claims this node's id, and may be running.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::node) struct IdConflict {
    pub(in crate::node) instance: Instance,
    /// The number of its claims that count.
    pub(in crate::node) claims: u8,
    /// The earliest time of the next claim that counts: a running process takes a gossip interval
    /// to outbid this node, so claims that follow at once do not come from one.
    pub(in crate::node) not_before: Instant,
}

impl<A: Address> Node<A> {
    /// Counts a claim of another process to this node's id, at a higher generation than ours. True
    /// if this node must not refute it: because it gives way, or has refuted one just now.
    ///
    /// After [`CONFLICT_CLAIMS`] claims, the process with the lower instance gives way.
    pub(super) fn yields_or_waits(&mut self, claim: &Claim<'_, A>) -> bool {
        let now = self.cx.now;
        let new = IdConflict { instance: claim.instance, claims: 0, not_before: now };
        let conflict = self.id_conflict.get_or_insert(new);
        if conflict.instance != claim.instance {
            *conflict = new;
        }
        if conflict.not_before > now {
            return true;
        }
        conflict.not_before = now + self.cx.config.gossip_interval;
        conflict.claims = conflict.claims.saturating_add(1);
        let claims = conflict.claims;
        let lost = self.cx.this.instance < claim.instance;
        // The winner concludes one claim sooner, since the loser is silent after its last claim.
        let proof = if lost { CONFLICT_CLAIMS } else { CONFLICT_CLAIMS - 1 };
        if claims == proof {
            let (instance, address) = (claim.instance, claim.address);
            self.cx.emit(Event::IdentityConflict { instance, address, lost });
        }
        let yields = lost && claims >= proof;
        if yields {
            // From now on the other process is the member. This one keeps its own view of itself,
            // and is silent.
            self.retire();
        }
        yields
    }
}
