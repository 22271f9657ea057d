//! Each check is proved by a planted fault that it catches, and by correct behaviour that it
//! accepts.

use super::*;
use telemetry_gossip_core::{Claim, Generation, NodeId, RemovalReason};

const OBSERVER: usize = 0;
const OTHER: Name = Name(1);

fn location() -> Location {
    Location { at: Duration::from_secs(1), observer: OBSERVER }
}

fn id() -> NodeId {
    NodeId::new("n1").unwrap()
}

fn row(status: Status, generation: u64) -> Row {
    Row { generation, status, instance: Instance(1), address: Some(1) }
}

fn event(status: Status, generation: u64) -> Event<u32> {
    let (id, generation) = (id(), Generation(generation));
    match status {
        Status::Alive => Event::alive(id, generation),
        Status::Suspected => Event::suspected(id, generation, None),
        Status::Dead => Event::dead(id, generation),
        Status::Left => Event::left(id, generation),
    }
}

fn joined(generation: u64) -> Event<u32> {
    Event::joined(id(), Some(1), Generation(generation))
}

/// Passes an event that a datagram caused.
fn tell(checker: &mut Checker, name: Name, event: &Event<u32>) {
    checker.event(location(), name, event, Cause::Input, Instant::ORIGIN);
}

/// A checker with an observer that holds one member Alive at generation 0.
fn checker() -> Checker {
    let mut checker = Checker::default();
    checker.started(OBSERVER);
    checker.issued(OTHER, 0);
    tell(&mut checker, OTHER, &joined(0));
    checker.row(location(), OTHER, Some(row(Status::Alive, 0)));
    assert_eq!(checker.found(), 0, "{:?}", checker.violations());
    checker
}

/// Passes an event and a row for each step, and returns the rules that were broken.
fn after(steps: &[(Status, u64)]) -> Vec<Rule> {
    let mut checker = checker();
    for &(status, generation) in steps {
        tell(&mut checker, OTHER, &event(status, generation));
        checker.row(location(), OTHER, Some(row(status, generation)));
    }
    broken(&checker)
}

fn broken(checker: &Checker) -> Vec<Rule> {
    checker.violations().iter().map(|violation| violation.rule).collect()
}

#[test]
fn valid_transitions_break_no_rule() {
    let mut checker = checker();
    let transitions = [
        (Status::Suspected, 1),
        (Status::Alive, 2),
        (Status::Suspected, 3),
        (Status::Dead, 3),
        (Status::Suspected, 5),
        (Status::Alive, 6),
        (Status::Left, 7),
        (Status::Alive, 8),
        (Status::Left, 9),
        (Status::Suspected, 11),
    ];
    for (status, generation) in transitions {
        checker.issued(OTHER, if generation == 11 { 10 } else { generation });
        tell(&mut checker, OTHER, &event(status, generation));
        checker.row(location(), OTHER, Some(row(status, generation)));
    }
    assert_eq!(broken(&checker), []);
}

#[test]
fn s3_a_generation_that_falls_is_caught() {
    assert_eq!(after(&[(Status::Suspected, 5), (Status::Suspected, 4)]), [Rule::S3]);
    let mut checker = checker();
    checker.own_row(location(), Name(0), row(Status::Alive, 4), true);
    checker.own_row(location(), Name(0), row(Status::Alive, 3), true);
    assert_eq!(broken(&checker), [Rule::S3]);
}

#[test]
fn s4_an_alive_that_its_owner_never_claimed_is_caught() {
    assert_eq!(after(&[(Status::Alive, 1)])[0], Rule::S4);
}

#[test]
fn s6_a_node_that_believes_its_accusers_is_caught() {
    for status in [Status::Suspected, Status::Dead] {
        let mut checker = checker();
        checker.own_row(location(), Name(0), row(status, 1), true);
        assert_eq!(broken(&checker), [Rule::S6]);
    }
    let mut checker = checker();
    checker.own_row(location(), Name(0), row(Status::Left, 1), true);
    checker.own_row(location(), Name(0), row(Status::Dead, 2), false);
    assert_eq!(broken(&checker), [], "a node that has left or lost its id may accept accusations");
}

#[test]
fn s7_a_resurrection_at_one_generation_is_caught() {
    let mut checker = checker();
    checker.issued(OTHER, 1);
    for status in [Status::Dead, Status::Alive] {
        tell(&mut checker, OTHER, &event(status, 1));
        checker.row(location(), OTHER, Some(row(status, 1)));
    }
    assert_eq!(broken(&checker), [Rule::S7]);
}

#[test]
fn s8_a_suspicion_of_a_dead_or_left_member_is_caught() {
    assert_eq!(after(&[(Status::Dead, 1), (Status::Suspected, 1)]), [Rule::S8]);
    assert_eq!(after(&[(Status::Left, 1), (Status::Suspected, 1)]), [Rule::S8]);
    assert_eq!(after(&[(Status::Left, 1), (Status::Suspected, 2)]), [Rule::S8]);
}

#[test]
fn an_accusation_of_an_earlier_instance_may_arrive_after_a_leave() {
    let mut checker = checker();
    checker.restarted(OTHER);
    for (status, generation) in [(Status::Left, 1), (Status::Suspected, 2)] {
        tell(&mut checker, OTHER, &event(status, generation));
    }
    assert_eq!(broken(&checker), []);
}

#[test]
fn s2_a_table_that_depends_on_the_order_of_claims_is_caught() {
    let claim = |id, generation, status| Claim {
        id,
        address: Some(1),
        instance: Instance(1),
        generation: Generation(generation),
        status,
        accusers: Default::default(),
        age_secs: 0,
    };
    let claims = [
        claim("n1", 1, Status::Alive),
        claim("n2", 3, Status::Suspected),
        claim("n1", 2, Status::Dead),
        claim("n2", 3, Status::Alive),
    ];
    assert_eq!(order_decides_nothing(&claims, whole_table), Ok(()));
    let first_wins = |claims: &mut dyn Iterator<Item = &Claim<'_, u32>>| {
        let mut table = std::collections::BTreeMap::new();
        for claim in claims {
            table.entry(claim.id.to_owned()).or_insert(lattice::content(claim));
        }
        table
    };
    assert!(order_decides_nothing(&claims, first_wins).is_err());
}

#[test]
fn s5_an_accusation_that_leaves_no_room_to_refute_is_caught() {
    assert_eq!(after(&[(Status::Suspected, MAX_ACCUSED_WITHOUT_LIES)]), []);
    assert_eq!(after(&[(Status::Dead, MAX_ACCUSED_WITHOUT_LIES + 1)])[0], Rule::S5);
}

/// The third version of the load of some member.
fn load(value: &[u8]) -> TelemetryEntry<'_> {
    TelemetryEntry { key: "load", value, version: 3, published: Instant::ORIGIN, urgent: false }
}

#[test]
fn s9_an_entry_with_two_values_is_caught() {
    let mut checker = checker();
    let mut read =
        |instance, value| checker.payload(location(), OTHER, Instance(instance), &load(value));
    read(1, b"7");
    read(1, b"7");
    read(2, b"another instance may publish another value");
    assert_eq!(broken(&checker), []);
    checker.payload(location(), OTHER, Instance(1), &load(b"8"));
    assert_eq!(broken(&checker), [Rule::S9]);
}

#[test]
fn s10_a_publication_that_changes_a_status_is_caught() {
    let mut checker = checker();
    checker.event(
        location(),
        OTHER,
        &event(Status::Suspected, 1),
        Cause::Publication,
        Instant::ORIGIN,
    );
    assert_eq!(broken(&checker), [Rule::S10]);
}

#[test]
fn s11_a_death_without_the_time_to_refute_is_caught() {
    let (start, shortest) = (Instant::from_micros(5_000_000), Duration::from_secs(1));
    let after = |waited: Duration, suspected: bool| {
        let mut checker = Checker { shortest_suspicion: shortest, ..checker() };
        if suspected {
            checker.event(location(), OTHER, &event(Status::Suspected, 1), Cause::Input, start);
            checker.row(location(), OTHER, Some(row(Status::Suspected, 1)));
        }
        checker.event(location(), OTHER, &event(Status::Dead, 1), Cause::Timer, start + waited);
        broken(&checker)
    };
    assert_eq!(after(shortest, true), []);
    assert_eq!(after(shortest - Duration::from_micros(1), true), [Rule::S11]);
    assert_eq!(after(shortest, false), [Rule::S11]);
}

#[test]
fn s13_a_datagram_above_the_mtu_is_caught() {
    let mut checker = checker();
    checker.datagram(location(), 1_400, 1_400);
    assert_eq!(broken(&checker), []);
    checker.datagram(location(), 1_401, 1_400);
    assert_eq!(broken(&checker), [Rule::S13]);
}

#[test]
fn s14_a_table_above_its_limit_is_caught() {
    let mut checker = checker();
    checker.table_len(location(), 10, 10);
    checker.telemetry_len(location(), OTHER, 4_096, 4_096);
    assert_eq!(broken(&checker), []);
    checker.table_len(location(), 11, 10);
    checker.telemetry_len(location(), OTHER, 4_097, 4_096);
    assert_eq!(broken(&checker), [Rule::S14, Rule::S14]);
}

#[test]
fn s15_a_deadline_that_a_tick_leaves_behind_is_caught() {
    let mut checker = checker();
    checker.stuck(location(), Instant::from_micros(7), Instant::from_micros(7));
    assert_eq!(broken(&checker), [Rule::S15]);
}

#[test]
fn s17_a_datagram_with_many_replies_is_caught() {
    let mut checker = checker();
    checker.replies(location(), &[Kind::Ack; MAX_REPLIES], 1);
    checker.replies(location(), &[Kind::Ack; MAX_REPLIES + 1], 2);
    assert_eq!(broken(&checker), []);
    checker.replies(location(), &[Kind::Ack; MAX_REPLIES + 1], 1);
    assert_eq!(broken(&checker), [Rule::S17]);
    checker.lied(OTHER, 1, false, true);
    checker.replies(location(), &[Kind::Ack; MAX_REPLIES + 1], 1);
    assert_eq!(broken(&checker), [Rule::S17, Rule::S17]);
}

#[test]
fn a_refused_datagram_and_a_wrongly_opened_seal_are_caught() {
    let mut checker = checker();
    checker.refused(location(), WireError::Truncated, 7);
    checker.opened_altered(location(), 7);
    assert_eq!(broken(&checker), [Rule::Wire, Rule::Seal]);
}

#[test]
fn the_origin_of_claims_is_not_checked_once_an_altered_datagram_was_accepted() {
    let mut checker = checker();
    checker.unknown_member(location(), "stranger");
    assert_eq!(broken(&checker), [Rule::S4]);
    checker.accepted_altered();
    checker.unknown_member(location(), "stranger");
    tell(&mut checker, OTHER, &event(Status::Alive, 9));
    assert_eq!(checker.found(), 1, "{:?}", checker.violations());
}

#[test]
fn a_claim_of_a_liar_is_held_against_no_node_and_all_other_claims_are() {
    let mut checker = checker();
    checker.lied(OTHER, 9, true, true);
    let alive = |generation| event(Status::Alive, generation);
    tell(&mut checker, OTHER, &alive(9));
    assert_eq!(broken(&checker), []);
    // Higher than the liar said, or about a member of which no liar has spoken.
    tell(&mut checker, OTHER, &alive(10));
    tell(&mut checker, Name(2), &joined(0));
    tell(&mut checker, Name(2), &alive(1));
    assert_eq!(broken(&checker), [Rule::S4, Rule::S4]);
}

#[test]
fn an_accusation_that_leaves_no_room_is_caught_unless_its_member_is_made_up() {
    let mut checker = checker();
    for (name, is_node) in [(OTHER, true), (Name(2), false)] {
        checker.lied(name, u64::MAX, false, is_node);
        tell(&mut checker, name, &event(Status::Dead, MAX_ACCUSED_GENERATION + 1));
    }
    assert_eq!(broken(&checker), [Rule::S5]);
}

#[test]
fn an_accusation_further_above_a_lie_than_one_generation_is_caught() {
    let mut checker = checker();
    checker.lied(OTHER, 1 << 60, false, true);
    tell(&mut checker, OTHER, &event(Status::Dead, (1 << 60) + 1));
    assert_eq!(broken(&checker), []);
    tell(&mut checker, OTHER, &event(Status::Dead, (1 << 60) + 2));
    // Of a member about which no liar has spoken.
    tell(&mut checker, Name(2), &event(Status::Dead, 1 << 60));
    assert_eq!(broken(&checker), [Rule::S5, Rule::S5]);
}

#[test]
fn forged_telemetry_excuses_readers_of_its_owner_only() {
    let mut checker = checker();
    checker.lied_telemetry(OTHER);
    for name in [OTHER, Name(2)] {
        for value in [b"7", b"8"] {
            checker.payload(location(), name, Instance(1), &load(value));
        }
    }
    assert_eq!(broken(&checker), [Rule::S9]);
}

#[test]
fn s18_a_row_that_no_event_announced_is_caught() {
    let mut changed = checker();
    changed.row(location(), OTHER, Some(row(Status::Suspected, 1)));
    assert_eq!(broken(&changed), [Rule::S18]);

    let mut moved = checker();
    moved.row(location(), OTHER, Some(Row { address: Some(9), ..row(Status::Alive, 0) }));
    assert_eq!(broken(&moved), [Rule::S18]);

    let mut vanished = checker();
    vanished.row(location(), OTHER, None);
    assert_eq!(broken(&vanished), [Rule::S18]);

    let mut appeared = checker();
    appeared.len(location(), Name(0), 2);
    assert_eq!(broken(&appeared), [Rule::S18]);
}

#[test]
fn s18_contradictory_events_are_caught() {
    let mut twice = checker();
    tell(&mut twice, OTHER, &joined(0));
    assert_eq!(broken(&twice), [Rule::S18]);

    let mut unknown = checker();
    tell(&mut unknown, Name(2), &event(Status::Suspected, 1));
    tell(&mut unknown, Name(3), &Event::removed(id(), RemovalReason::Expired));
    tell(&mut unknown, Name(4), &Event::moved(id(), None));
    assert_eq!(broken(&unknown), [Rule::S18; 3]);
}

#[test]
fn a_member_may_be_first_heard_of_as_dead() {
    let mut checker = checker();
    tell(&mut checker, Name(2), &event(Status::Dead, 7));
    checker.row(location(), Name(2), Some(row(Status::Dead, 7)));
    checker.len(location(), Name(0), 2);
    tell(&mut checker, Name(2), &Event::removed(id(), RemovalReason::Expired));
    checker.row(location(), Name(2), None);
    assert_eq!(broken(&checker), []);
}

#[test]
fn s1_a_tie_that_goes_to_the_lower_instance_is_caught() {
    let mut checker = checker();
    checker.row(location(), OTHER, Some(Row { instance: Instance(0), ..row(Status::Alive, 0) }));
    assert_eq!(broken(&checker), [Rule::S1]);
}

#[test]
fn s1_a_merge_that_keeps_the_last_claim_is_caught() {
    let claim = |generation, status, instance| Claim {
        id: "n1",
        address: Some(1),
        instance: Instance(instance),
        generation: Generation(generation),
        status,
        accusers: Default::default(),
        age_secs: 0,
    };
    let claims =
        [claim(1, Status::Dead, 1), claim(1, Status::Alive, 2), claim(2, Status::Alive, 1)];
    let [a, b, c] = &claims;
    assert_eq!(merge_is_a_lattice([a, b, c], merge_in_a_table), Ok(()));
    let last_wins = |claims: &[&Claim<'_, u32>]| claims.last().map(|claim| lattice::content(claim));
    assert!(merge_is_a_lattice([a, b, c], last_wins).is_err());
}

#[test]
fn many_violations_are_counted_and_few_are_kept() {
    let mut checker = checker();
    for _ in 0..1_000 {
        checker.datagram(location(), 2_000, 1_400);
    }
    assert_eq!((checker.found(), checker.violations().len()), (1_000, KEPT));
}
