//! The merge rule as a join-semilattice, tried on claims that a run has brought about.

use telemetry_gossip_core::{Claim, Generation, Instance, Instant, Membership, Status};

/// What of a claim is content: the evidence beside it decides nothing.
pub(crate) type Content = (Generation, Status, Instance, Option<u32>);

pub(crate) fn content(claim: &Claim<'_, u32>) -> Content {
    (claim.generation, claim.status, claim.instance, claim.address)
}

/// Merges claims about one member, one after another, into an empty table.
pub(crate) fn merge_in_a_table(claims: &[&Claim<'_, u32>]) -> Option<Content> {
    let mut table = Membership::new(1);
    for claim in claims {
        table.merge(Instant::ORIGIN, claim);
    }
    table.claims().next().map(|claim| content(&claim))
}

/// Whether `merge` gives, for three claims about one member in any order and however often, one result that is the
/// highest of them.
pub(crate) fn merge_is_a_lattice(
    [a, b, c]: [&Claim<'_, u32>; 3],
    merge: impl Fn(&[&Claim<'_, u32>]) -> Option<Content>,
) -> Result<(), String> {
    // The order of contents is the order of precedence: generation, status, instance, address.
    let highest = content(a).max(content(b)).max(content(c));
    let orders: [&[&Claim<'_, u32>]; 8] = [
        &[a, b, c],
        &[a, c, b],
        &[b, a, c],
        &[b, c, a],
        &[c, a, b],
        &[c, b, a],
        &[a, a, b, b, c, c],
        &[a, b, c, a, b, c],
    ];
    for order in orders {
        let result = merge(order);
        if result != Some(highest) {
            let given: Vec<Content> = order.iter().map(|claim| content(claim)).collect();
            return Err(format!("of #{}: {given:?} merged to {result:?}", a.id));
        }
    }
    Ok(())
}
