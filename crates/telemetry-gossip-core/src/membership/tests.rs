//! The merge is a join-semilattice, and the sums of the table stay true.

mod laws;

use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::claim::{Accusers, Claim, MAX_ACCUSERS};
use super::*;
use crate::id::{Generation, IdHash, Instance};
use crate::status::Status;
use crate::time::Instant;

/// A claim with an owned id.
#[derive(Clone, Debug)]
struct OwnedClaim {
    id: String,
    address: Option<u32>,
    instance: u32,
    generation: u64,
    status: Status,
    accusers: Vec<u32>,
}

impl OwnedClaim {
    fn claim(&self) -> Claim<'_, u32> {
        Claim {
            id: &self.id,
            address: self.address,
            instance: Instance(self.instance),
            generation: Generation(self.generation),
            status: self.status,
            accusers: self.accusers.iter().map(|&id_hash| IdHash(id_hash)).collect(),
            age_secs: 0,
        }
    }
}

fn any_claim() -> impl Strategy<Value = OwnedClaim> {
    let status = prop_oneof![
        Just(Status::Alive),
        Just(Status::Suspected),
        Just(Status::Dead),
        Just(Status::Left)
    ];
    let address = prop::option::of(0_u32..3);
    let accusers = prop::collection::vec(any::<u32>(), 0..MAX_ACCUSERS);
    ("[a-d]", address, 0_u32..3, 0_u64..4, status, accusers).prop_map(
        |(id, address, instance, generation, status, accusers)| OwnedClaim {
            id,
            address,
            instance,
            generation,
            status,
            accusers,
        },
    )
}

type Content = (String, Option<u32>, Instance, Generation, Status);

fn table_of(claims: &[OwnedClaim]) -> Membership<u32> {
    let mut table = Membership::new(100);
    for owned in claims {
        table.merge(Instant::ORIGIN, &owned.claim());
        table.check_sums().unwrap();
    }
    table
}

fn content(table: &Membership<u32>) -> Vec<Content> {
    table
        .iter()
        .map(|m| (m.id().into(), m.address(), m.instance(), m.generation(), m.status()))
        .collect()
}

#[test]
fn at_one_generation_the_higher_status_wins() {
    // The held status, the claimed status, and whether the claim wins.
    use Status::{Alive, Dead, Left, Suspected};
    for (held, claimed, wins) in [
        (Alive, Suspected, true),
        (Alive, Dead, true),
        (Alive, Left, true),
        (Suspected, Alive, false),
        (Suspected, Dead, true),
        (Suspected, Left, true),
        (Dead, Alive, false),
        (Dead, Suspected, false),
        (Dead, Left, true),
        (Left, Alive, false),
        (Left, Suspected, false),
        (Left, Dead, false),
    ] {
        let claim = |status| OwnedClaim {
            id: "a".into(),
            address: Some(1),
            instance: 1,
            generation: 5,
            status,
            accusers: Vec::new(),
        };
        let table = table_of(&[claim(held), claim(claimed)]);
        assert_eq!(table.get("a").unwrap().status() == claimed, wins, "{held} then {claimed}");
    }
}

#[test]
fn a_full_table_refuses_unknown_members_and_still_merges_known_ones() {
    let mut table = Membership::<u32>::new(1);
    let claim = |id: &'static str, generation| Claim {
        id,
        address: None,
        instance: Instance(0),
        generation: Generation(generation),
        status: Status::Alive,
        accusers: Accusers::new(),
        age_secs: 0,
    };
    assert_eq!(table.merge(Instant::ORIGIN, &claim("a", 0)), Merged::Inserted);
    assert_eq!(table.merge(Instant::ORIGIN, &claim("b", 0)), Merged::Full);
    assert!(matches!(table.merge(Instant::ORIGIN, &claim("a", 1)), Merged::Replaced { .. }));
}

proptest! {
    /// The merge is commutative, associative and idempotent.
    #[test]
    fn a_set_of_claims_gives_the_same_table_in_any_order_and_repetition(
        (claims, shuffled) in prop::collection::vec(any_claim(), 0..24)
            .prop_flat_map(|claims| (Just(claims.clone()), Just(claims).prop_shuffle())),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let table = table_of(&claims);
        let mut repeated = shuffled.clone();
        if !shuffled.is_empty() {
            repeated.extend(again.iter().map(|index| index.get(&shuffled).clone()));
        }
        let other = table_of(&repeated);
        prop_assert_eq!(content(&table), content(&other));
        prop_assert_eq!(table.fingerprint(), other.fingerprint());
    }

    #[test]
    fn a_merge_gives_one_of_its_inputs_and_is_below_neither(
        first in any_claim(),
        second in any_claim(),
    ) {
        let second = OwnedClaim { id: first.id.clone(), ..second };
        let merged = content(&table_of(&[first.clone(), second.clone()]));
        let first_alone = content(&table_of(&[first]));
        let second_alone = content(&table_of(&[second]));
        prop_assert!(merged == first_alone || merged == second_alone);
        let rank = |rows: &[Content]| (rows[0].3, rows[0].4, rows[0].2, rows[0].1);
        prop_assert!(rank(&merged) >= rank(&first_alone) && rank(&merged) >= rank(&second_alone));
    }

    /// The sums stay true while slots are freed and reused.
    #[test]
    fn removed_members_leave_nothing_behind(claims in prop::collection::vec(any_claim(), 1..24)) {
        let mut table = table_of(&claims);
        while let Some(slot) = table.at_rank(0) {
            table.remove(slot);
            table.check_sums().unwrap();
        }
        prop_assert_eq!(table.fingerprint(), 0);
        for owned in &claims {
            table.merge(Instant::ORIGIN, &owned.claim());
        }
        prop_assert_eq!(content(&table), content(&table_of(&claims)));
    }
}

#[test]
fn a_known_claim_is_passed_over_until_a_record_changes() {
    let claim = |generation, status| OwnedClaim {
        id: "a".into(),
        address: Some(7),
        instance: 9,
        generation,
        status,
        accusers: Vec::new(),
    };
    // The wire form of Alive at generation 3, and the first byte of another claim.
    let alive = [0, 3, 0, 0, 0, 9, 1, b'a', 4, 0, 0, 0, 7, 0, 0, 1];
    let passes = |table: &mut Membership<u32>, bytes| {
        // The second time the echoes answer, and they must agree with the look-up.
        let first = table.pass_over(bytes).0 == 1;
        assert_eq!(table.pass_over(bytes), if first { (1, &bytes[15..]) } else { (0, bytes) });
        first
    };
    let mut table = table_of(&[claim(2, Status::Alive)]);
    assert!(!passes(&mut table, &alive), "it is newer than the record");
    table.merge(Instant::ORIGIN, &claim(3, Status::Alive).claim());
    assert!(passes(&mut table, &alive), "it is known");
    let mut elsewhere = alive;
    elsewhere[12] = 8;
    assert!(!passes(&mut table, &elsewhere), "another address was never held");
    table.merge(Instant::ORIGIN, &claim(4, Status::Suspected).claim());
    assert!(!passes(&mut table, &alive), "its sender does not know of the suspicion");
    table.merge(Instant::ORIGIN, &claim(5, Status::Alive).claim());
    assert!(passes(&mut table, &alive), "it is older than the record");
    let slot = table.find("a").unwrap();
    table.remove(slot);
    assert!(!passes(&mut table, &alive), "the member is unknown");
}
