//! Each checker is proved by a planted bug that it catches, and by the correct course that it lets pass.

use super::*;
use telemetry_gossip_core::{Claim, Generation, NodeId, RemovalReason};

const OBSERVER: usize = 0;
const OTHER: Name = Name(1);

fn spot() -> Spot {
    Spot { at: Duration::from_secs(1), observer: OBSERVER }
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
        Status::Alive => Event::Alive { id, generation },
        Status::Suspected => Event::Suspected { id, generation, by: None },
        Status::Dead => Event::Dead { id, generation },
        Status::Left => Event::Left { id, generation },
    }
}

fn joined(generation: u64) -> Event<u32> {
    Event::Joined { id: id(), address: Some(1), generation: Generation(generation) }
}

/// An observer that knows one member, Alive at generation 0.
fn checker() -> Checker {
    let mut checker = Checker::default();
    checker.boot(OBSERVER);
    checker.issued(OTHER, 0);
    checker.event(spot(), OTHER, &joined(0));
    checker.row(spot(), OTHER, Some(row(Status::Alive, 0)));
    assert_eq!(checker.found(), 0, "{:?}", checker.violations());
    checker
}

/// The events and the row of each step; which rules broke in all.
fn after(steps: &[(Status, u64)]) -> Vec<Rule> {
    let mut checker = checker();
    for &(status, generation) in steps {
        checker.event(spot(), OTHER, &event(status, generation));
        checker.row(spot(), OTHER, Some(row(status, generation)));
    }
    broken(&checker)
}

fn broken(checker: &Checker) -> Vec<Rule> {
    checker.violations().iter().map(|violation| violation.rule).collect()
}

#[test]
fn a_life_by_the_rules_breaks_none() {
    let mut checker = checker();
    let life = [
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
    for (status, generation) in life {
        checker.issued(OTHER, if generation == 11 { 10 } else { generation });
        checker.event(spot(), OTHER, &event(status, generation));
        checker.row(spot(), OTHER, Some(row(status, generation)));
    }
    assert_eq!(broken(&checker), []);
}

#[test]
fn s3_a_generation_that_falls_is_caught() {
    assert_eq!(after(&[(Status::Suspected, 5), (Status::Suspected, 4)]), [Rule::S3]);
    let mut checker = checker();
    checker.own_row(spot(), Name(0), row(Status::Alive, 4), true);
    checker.own_row(spot(), Name(0), row(Status::Alive, 3), true);
    assert_eq!(broken(&checker), [Rule::S3]);
}

#[test]
fn s4_an_alive_that_its_owner_never_said_is_caught() {
    assert_eq!(after(&[(Status::Alive, 1)])[0], Rule::S4);
}

#[test]
fn s6_a_node_that_believes_its_accusers_is_caught() {
    for status in [Status::Suspected, Status::Dead] {
        let mut checker = checker();
        checker.own_row(spot(), Name(0), row(status, 1), true);
        assert_eq!(broken(&checker), [Rule::S6]);
    }
    let mut checker = checker();
    checker.own_row(spot(), Name(0), row(Status::Left, 1), true);
    checker.own_row(spot(), Name(0), row(Status::Dead, 2), false);
    assert_eq!(broken(&checker), [], "who has left or lost its id may hold what it likes");
}

#[test]
fn s7_a_resurrection_at_one_generation_is_caught() {
    let mut checker = checker();
    checker.issued(OTHER, 1);
    for status in [Status::Dead, Status::Alive] {
        checker.event(spot(), OTHER, &event(status, 1));
        checker.row(spot(), OTHER, Some(row(status, 1)));
    }
    assert_eq!(broken(&checker), [Rule::S7]);
}

#[test]
fn s8_a_suspicion_of_the_gone_is_caught() {
    assert_eq!(after(&[(Status::Dead, 1), (Status::Suspected, 1)]), [Rule::S8]);
    assert_eq!(after(&[(Status::Left, 1), (Status::Suspected, 1)]), [Rule::S8]);
    assert_eq!(after(&[(Status::Left, 1), (Status::Suspected, 2)]), [Rule::S8]);
}

#[test]
fn s13_a_datagram_above_the_mtu_is_caught() {
    let mut checker = checker();
    checker.datagram(spot(), 1_400, 1_400);
    assert_eq!(broken(&checker), []);
    checker.datagram(spot(), 1_401, 1_400);
    assert_eq!(broken(&checker), [Rule::S13]);
}

#[test]
fn s14_a_table_above_its_limit_is_caught() {
    let mut checker = checker();
    checker.table_len(spot(), 10, 10);
    checker.telemetry_len(spot(), OTHER, 4_096, 4_096);
    assert_eq!(broken(&checker), []);
    checker.table_len(spot(), 11, 10);
    checker.telemetry_len(spot(), OTHER, 4_097, 4_096);
    assert_eq!(broken(&checker), [Rule::S14, Rule::S14]);
}

#[test]
fn s18_a_row_that_no_event_announced_is_caught() {
    let mut changed = checker();
    changed.row(spot(), OTHER, Some(row(Status::Suspected, 1)));
    assert_eq!(broken(&changed), [Rule::S18]);

    let mut moved = checker();
    moved.row(spot(), OTHER, Some(Row { address: Some(9), ..row(Status::Alive, 0) }));
    assert_eq!(broken(&moved), [Rule::S18]);

    let mut vanished = checker();
    vanished.row(spot(), OTHER, None);
    assert_eq!(broken(&vanished), [Rule::S18]);

    let mut appeared = checker();
    appeared.len(spot(), Name(0), 2);
    assert_eq!(broken(&appeared), [Rule::S18]);
}

#[test]
fn s18_events_that_make_no_sense_are_caught() {
    let mut twice = checker();
    twice.event(spot(), OTHER, &joined(0));
    assert_eq!(broken(&twice), [Rule::S18]);

    let mut unknown = checker();
    unknown.event(spot(), Name(2), &event(Status::Suspected, 1));
    unknown.event(spot(), Name(3), &Event::Removed { id: id(), reason: RemovalReason::Expired });
    unknown.event(spot(), Name(4), &Event::Moved { id: id(), address: None });
    assert_eq!(broken(&unknown), [Rule::S18; 3]);
}

#[test]
fn a_member_first_heard_of_as_dead_is_no_violation() {
    let mut checker = checker();
    checker.event(spot(), Name(2), &event(Status::Dead, 7));
    checker.row(spot(), Name(2), Some(row(Status::Dead, 7)));
    checker.len(spot(), Name(0), 2);
    checker.event(spot(), Name(2), &Event::Removed { id: id(), reason: RemovalReason::Expired });
    checker.row(spot(), Name(2), None);
    assert_eq!(broken(&checker), []);
}

#[test]
fn s1_a_tie_that_goes_to_the_lower_instance_is_caught() {
    let mut checker = checker();
    checker.row(spot(), OTHER, Some(Row { instance: Instance(0), ..row(Status::Alive, 0) }));
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
    let claims = [claim(1, Status::Dead, 1), claim(1, Status::Alive, 2), claim(2, Status::Alive, 1)];
    let [a, b, c] = &claims;
    assert_eq!(merge_is_a_lattice([a, b, c], merge_in_a_table), Ok(()));
    let last_wins = |claims: &[&Claim<'_, u32>]| claims.last().map(|claim| lattice::content(claim));
    assert!(merge_is_a_lattice([a, b, c], last_wins).is_err());
}

#[test]
fn many_violations_are_counted_and_few_are_kept() {
    let mut checker = checker();
    for _ in 0..1_000 {
        checker.datagram(spot(), 2_000, 1_400);
    }
    assert_eq!((checker.found(), checker.violations().len()), (1_000, KEPT));
}
