//! Checks that merging is a join-semilattice, on claims that occur in a run.

use std::collections::BTreeMap;

use telemetry_gossip_core::{Claim, Generation, Instance, Instant, Membership, Status};

/// The content of a claim, which decides a merge. The evidence beside it does not.
pub(crate) type Content = (Generation, Status, Instance, Option<u32>);

pub(crate) fn content(claim: &Claim<'_, u32>) -> Content {
    (claim.generation, claim.status, claim.instance, claim.address)
}

/// The contents of a whole table, by id.
pub(crate) type Contents = BTreeMap<String, Content>;

/// Merges claims about any members into an empty table with room for all of them.
pub(crate) fn whole_table(claims: &mut dyn Iterator<Item = &Claim<'_, u32>>) -> Contents {
    let mut table = Membership::new(u32::MAX);
    for claim in claims {
        table.merge(Instant::ORIGIN, claim);
    }
    table.claims().map(|claim| (claim.id.to_owned(), content(&claim))).collect()
}

/// Checks that `merge` gives the same table for the claims in their order, backwards, and with each
/// claim twice.
pub(crate) fn order_decides_nothing(
    claims: &[Claim<'_, u32>],
    merge: impl Fn(&mut dyn Iterator<Item = &Claim<'_, u32>>) -> Contents,
) -> Result<(), String> {
    let forwards = merge(&mut claims.iter());
    let backwards = merge(&mut claims.iter().rev());
    let twice = merge(&mut claims.iter().chain(claims.iter().rev()));
    if forwards == backwards && forwards == twice {
        return Ok(());
    }
    let (id, held) = forwards
        .iter()
        .find(|(id, held)| backwards.get(*id) != Some(held) || twice.get(*id) != Some(held))
        .map_or(("a member", None), |(id, held)| (id.as_str(), Some(held)));
    Err(format!("about #{id}: {held:?} in one order, something else in another"))
}

/// Merges claims about one member in their order into an empty table.
pub(crate) fn merge_in_a_table(claims: &[&Claim<'_, u32>]) -> Option<Content> {
    let mut table = Membership::new(1);
    for claim in claims {
        table.merge(Instant::ORIGIN, claim);
    }
    table.claims().next().map(|claim| content(&claim))
}

/// Checks that `merge` gives the highest of three claims about one member, in every order and also
/// with repetitions.
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
            return Err(format!("about #{}: {given:?} merged to {result:?}", a.id));
        }
    }
    Ok(())
}
