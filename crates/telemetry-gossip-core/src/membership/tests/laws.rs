//! The law of the merge, over all claims: no claim, order or repetition is left out.
//!
//! ```text
//! # 10^7 triples of claims
//! cargo test --release -p telemetry-gossip-core --lib ten_million_triples -- --ignored
//! ```
//!
//! The claims here are merged through [`Membership::merge`], without what a node looks at before:
//! whether a stranger has answered, who says so, and how far a claim leaps. These are rules of
//! admission. They depend on what a node has heard and asked before, so two nodes that hear the
//! same claims may admit different ones for a while; the merge, of what they admit, does not.

use super::super::*;
use crate::id::{Generation, IdHash, Instance};
use crate::membership::claim::{Claim, MAX_ACCUSERS};
use crate::status::Status;
use crate::time::Instant;

/// The generations at and around which rules change.
const EDGES: [u64; 9] = [
    0,
    1,
    Generation::MAX_LEAP,
    Generation::MAX_START.0 - 1,
    Generation::MAX_START.0,
    Generation::MAX_START.0 + Generation::MAX_LEAP,
    Generation::MAX.0 - 1,
    Generation::MAX.0,
    u64::MAX - 1,
];

/// Few, so that most triples have two claims about one member.
const IDS: [&str; 3] = ["a", "b", "edge-17.example"];

const STATUSES: [Status; 4] = [Status::Alive, Status::Suspected, Status::Dead, Status::Left];

const INSTANCES: [u32; 5] = [0, 1, 2, u32::MAX - 1, u32::MAX];

const ADDRESSES: [Option<u32>; 5] = [None, Some(0), Some(1), Some(u32::MAX - 1), Some(u32::MAX)];

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Random numbers that cost next to nothing (SplitMix64).
struct Dice(u64);

impl Dice {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.word() % end as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn half(&mut self) -> bool {
        self.word().is_multiple_of(2)
    }

    /// Any claim: three of four at an edge or beside it, the others anywhere.
    fn claim(&mut self) -> Claim<'static, u32> {
        let far = self.below(4) == 0;
        let edge = self.pick(&EDGES).saturating_add(self.word() % 3).saturating_sub(1);
        let accusers = self.below(MAX_ACCUSERS + 1);
        Claim {
            id: self.pick(&IDS),
            address: self.pick(&ADDRESSES),
            instance: Instance(self.pick(&INSTANCES)),
            generation: Generation(if far { self.word() } else { edge }),
            status: self.pick(&STATUSES),
            accusers: (0..accusers).map(|_| IdHash(self.pick(&INSTANCES))).collect(),
            age_secs: self.pick(&[0, 1, u32::MAX]),
        }
    }

    /// Three claims. Half of the triples have a generation in common, since random ones rarely
    /// have.
    fn triple(&mut self) -> [Claim<'static, u32>; 3] {
        let mut triple = [self.claim(), self.claim(), self.claim()];
        if self.half() {
            let common = triple[0].generation.0;
            for claim in &mut triple[1..] {
                claim.generation = Generation(common.saturating_add(self.word() % 3).max(1) - 1);
            }
        }
        triple
    }
}

/// What decides between two claims, written down once more.
type Content = (Generation, u8, Instance, Option<u32>);

fn content(claim: &Claim<'_, u32>) -> Content {
    (claim.generation, claim.status.rank(), claim.instance, claim.address)
}

/// What any table has to hold of `id` after these claims, by the definition: the greatest of those
/// that are not above the last generation.
fn greatest(claims: &[Claim<'_, u32>], id: &str) -> Option<Content> {
    let plausible = claims.iter().filter(|claim| claim.id == id && claim.generation.0 <= 1 << 63);
    plausible.map(content).max()
}

fn held(table: &Membership<u32>, id: &str) -> Option<Content> {
    table.find(id).map(|slot| content(&table.claim(slot)))
}

/// Merges the claims in this order, some of them twice in a row, and one again at the end.
fn table_of(triple: &[Claim<'_, u32>; 3], order: [usize; 3], dice: &mut Dice) -> Membership<u32> {
    let mut table = Membership::new(8);
    let twice = dice.word();
    for at in order {
        table.merge(Instant::ORIGIN, &triple[at]);
        if (twice >> at) & 1 == 1 {
            table.merge(Instant::ORIGIN, &triple[at]);
        }
    }
    table.merge(Instant::ORIGIN, &triple[dice.below(3)]);
    table
}

/// Merges the rows of one table into another.
fn join(into: &mut Membership<u32>, from: &Membership<u32>) {
    for claim in from.claims() {
        into.merge(Instant::ORIGIN, &claim);
    }
}

/// Merges a triple in all orders and groupings.
fn check(triple: &[Claim<'static, u32>; 3], dice: &mut Dice) {
    let expected = IDS.map(|id| greatest(triple, id));
    let mut fingerprint = None;
    let mut judge = |table: &Membership<u32>, how: &str| {
        assert_eq!(IDS.map(|id| held(table, id)), expected, "{how}: {triple:#?}");
        assert_eq!(table.len(), expected.iter().flatten().count(), "{how}: {triple:#?}");
        let before = *fingerprint.get_or_insert(table.fingerprint());
        assert_eq!(table.fingerprint(), before, "{how}: {triple:#?}");
    };
    for order in ORDERS {
        let mut table = table_of(triple, order, dice);
        judge(&table, "claim by claim");
        for claim in triple {
            let merged = table.merge(Instant::ORIGIN, claim);
            let idle = matches!(merged, Merged::Same | Merged::Stale | Merged::Implausible);
            assert!(idle, "{merged:?} when it is merged again: {claim:#?}");
        }
    }
    // (a + b) + c = a + (b + c), of tables.
    let alone = |at: usize| {
        let mut table = Membership::new(8);
        table.merge(Instant::ORIGIN, &triple[at]);
        table
    };
    let [mut left, mut right, mut last] = [alone(0), alone(1), alone(2)];
    join(&mut left, &right);
    join(&mut left, &last);
    judge(&left, "(a + b) + c");
    join(&mut right, &last);
    join(&mut right, &alone(0));
    judge(&right, "a + (b + c)");
    join(&mut last, &right);
    judge(&last, "c + (a + b + c)");
    left.check_sums().unwrap();
}

fn all_orders_give_one_table(triples: u32, seed: u64) {
    let mut dice = Dice(seed);
    // How many triples have claims of the same member, and how many a claim that is refused.
    let (mut about_one, mut refused) = (0, 0);
    for _ in 0..triples {
        let triple = dice.triple();
        about_one += u32::from(triple.iter().all(|claim| claim.id == triple[0].id));
        refused += u32::from(triple.iter().any(|claim| claim.generation > Generation::MAX));
        check(&triple, &mut dice);
    }
    assert!(about_one > triples / 12 && refused > triples / 4, "{about_one}, {refused}");
}

#[test]
fn any_three_claims_give_one_table_in_all_orders_and_groupings() {
    all_orders_give_one_table(60_000, 1);
}

#[test]
#[ignore = "takes minutes: --release --lib ten_million_triples -- --ignored"]
fn ten_million_triples_of_claims_give_one_table_each_in_all_orders_and_groupings() {
    all_orders_give_one_table(10_000_000, 2);
}

/// In a table at its limit, no claim about a stranger costs a row, and those that are known merge
/// as ever.
#[test]
fn a_table_at_its_limit_loses_no_row_and_merges_the_known_ones() {
    let mut dice = Dice(3);
    for _ in 0..2_000 {
        let mut table = Membership::new(2);
        let mut heard = [const { alloc::vec::Vec::new() }; IDS.len()];
        for id in &IDS[..2] {
            let claim = Claim { id, generation: Generation(dice.word() % 3), ..dice.claim() };
            table.merge(Instant::ORIGIN, &claim);
            heard[usize::from(*id != IDS[0])].push(claim);
        }
        for _ in 0..20 {
            let claim = dice.claim();
            let merged = table.merge(Instant::ORIGIN, &claim);
            let place = IDS.iter().position(|&id| id == claim.id).unwrap();
            assert!(
                place < 2 || [Merged::Full, Merged::Implausible].contains(&merged),
                "{merged:?}: {claim:?}"
            );
            heard[place].push(claim);
            for (at, id) in IDS[..2].iter().enumerate() {
                assert_eq!(held(&table, id), greatest(&heard[at], id));
            }
            assert_eq!(table.len(), 2);
        }
        table.check_sums().unwrap();
    }
}
