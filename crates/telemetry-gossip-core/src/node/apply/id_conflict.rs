//! Another process with this node's id.

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::event::Event;
use crate::id::Instance;
use crate::membership::claim::Claim;
use crate::node::Node;
use crate::time::Instant;

/// How often another process must claim this node's id, each time at a higher generation, before it
/// is held to run. A record of an earlier instance can look like one once or twice, not again and
/// again.
const CONFLICT_CLAIMS: u8 = 3;

/// Another process with this node's id.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::node) struct IdConflict {
    pub(in crate::node) instance: Instance,
    pub(in crate::node) claims: u8,
    /// The next claim that counts comes no sooner: what claims the id again and again at once is no
    /// process.
    pub(in crate::node) not_before: Instant,
}

impl<A: Address> Node<A> {
    /// Another process claims this node's id at a higher generation. After some rounds it is no
    /// record of an earlier instance, and the lower instance gives way. True if this node does, or
    /// has answered just now.
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
        // The winner is told one claim sooner: the loser is silent after its last.
        let proof = if lost { CONFLICT_CLAIMS } else { CONFLICT_CLAIMS - 1 };
        if claims == proof {
            let (instance, address) = (claim.instance, claim.address);
            self.cx.emit(Event::IdentityConflict { instance, address, lost });
        }
        let yields = lost && claims >= proof;
        if yields {
            // The other process is the member now; this one keeps its view of it and is silent.
            self.retire();
        }
        yields
    }
}
