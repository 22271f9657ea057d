//! Trees over small circles: which members get an update, and what happens if no partner answers.

use super::*;
use crate::config::Config;
use crate::dissemination::branch::MAX_TRIES;
use crate::id::{Generation, Instance};
use crate::membership::claim::{Accusers, Claim};
use crate::status::Status;

const ROOM: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(100);

/// A table of members at addresses 0, 1, ..., and the slot of member `me`.
fn table(members: u32, me: u32) -> (Membership<u32>, Slot) {
    let mut table = Membership::new(Config::default().max_members);
    for address in 0..members {
        let id = alloc::format!("n{address}");
        let (_, slot) = table.merge_at(Instant::ORIGIN, &claim(&id, address, 1, Status::Alive));
        table.heard(slot.unwrap(), Instant::ORIGIN, true);
    }
    let me = table.find(&alloc::format!("n{me}")).unwrap();
    (table, me)
}

fn claim(id: &str, address: u32, generation: u64, status: Status) -> Claim<'_, u32> {
    let (instance, generation) = (Instance(1), Generation(generation));
    Claim {
        id,
        address: Some(address),
        instance,
        generation,
        status,
        accusers: Accusers::new(),
        age_secs: 0,
    }
}

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1_000)
}

/// Members with trees, and a network that loses nothing.
struct Circle {
    members: Vec<(Membership<u32>, Slot, Trees)>,
    /// How often each member has received the update.
    got: Vec<u32>,
}

impl Circle {
    fn new(members: u32) -> Self {
        let trees = |me| {
            let (table, me) = table(members, me);
            let mut trees = Trees::default();
            trees.adapt(&table, me, Instant::ORIGIN);
            (table, me, trees)
        };
        Self { members: (0..members).map(trees).collect(), got: alloc::vec![0; members as usize] }
    }

    /// Carries an update of `owner` along its tree, and returns the steps of the longest path.
    fn carry(&mut self, owner: usize) -> u32 {
        let id_hash = self.members[owner].0.id_hash(self.members[owner].1);
        let update = self.update(owner, owner);
        self.members[owner].2.spread(update, 100, false, Furthest::ALL);
        let (mut steps, mut senders) = (0, alloc::vec![owner]);
        while !senders.is_empty() {
            let mut receivers = Vec::new();
            for sender in senders {
                for (to, end) in self.send(sender) {
                    self.got[to] += 1;
                    let (update, (table, me, trees)) =
                        (self.update(to, owner), &mut self.members[to]);
                    let mine = table.id_hash(*me);
                    trees.spread(
                        update,
                        100,
                        false,
                        Furthest::between(mine, end).min(Furthest::between(mine, id_hash)),
                    );
                    receivers.push(to);
                }
            }
            steps += u32::from(!receivers.is_empty());
            senders = receivers;
        }
        steps
    }

    fn update(&self, at: usize, owner: usize) -> Update {
        Update { owner: self.members[at].0.find(&alloc::format!("n{owner}")).unwrap(), since: 0 }
    }

    /// Delivers everything that is due at one member. Returns the receivers, each with the end of
    /// its arc.
    fn send(&mut self, sender: usize) -> Vec<(usize, IdHash)> {
        let (table, me, trees) = &mut self.members[sender];
        let mut sent = Vec::new();
        while let Some((branch, partner, datagrams)) =
            trees.begin(Instant::ORIGIN, ROOM, Duration::ZERO, Instant::ORIGIN, *me)
        {
            assert_eq!(datagrams, 1);
            let end = trees.accepts(branch, Some(partner)).unwrap();
            while trees.next(branch).is_some() {
                trees.include(branch, None);
            }
            trees.sent(branch, RequestId(7), 100, Instant::ORIGIN, at(1));
            trees.check().unwrap();
            assert!(trees.arrived(RequestId(7)).is_some());
            trees.check().unwrap();
            sent.push((table.address(partner).unwrap() as usize, end));
        }
        sent
    }
}

#[test]
fn each_member_gets_each_update_once_within_log2_n_steps() {
    for members in [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 100, 250] {
        let mut circle = Circle::new(members);
        let owner = members as usize / 3;
        let steps = circle.carry(owner);
        let expected: Vec<u32> = (0..members as usize).map(|at| u32::from(at != owner)).collect();
        assert_eq!(circle.got, expected, "{members} members");
        assert!(steps <= members.next_power_of_two().ilog2(), "{members} members: {steps} steps");
    }
}

#[test]
fn with_different_rosters_only_a_member_that_some_do_not_know_may_be_left_out() {
    let mut circle = Circle::new(40);
    for (table, me, trees) in circle.members.iter_mut().step_by(2) {
        // Half of the members hold dead a member that the others hold alive.
        table.merge(Instant::ORIGIN, &claim("n7", 7, 2, Status::Dead));
        trees.adapt(table, *me, Instant::ORIGIN);
    }
    circle.carry(2);
    for (member, &got) in circle.got.iter().enumerate() {
        let expected = if member == 7 { 0..=2 } else { 1..=2 };
        assert!(member == 2 || expected.contains(&got), "n{member} got the update {got} times");
    }
}

/// A roll call of the node `me`, which the members for which `answers` holds have answered.
fn call_roll(table: &mut Membership<u32>, me: Slot, answers: impl Fn(u32) -> bool) {
    let asked: Vec<(Slot, bool)> = table
        .slots()
        .filter(|&slot| slot != me)
        .map(|slot| (slot, answers(table.address(slot).unwrap())))
        .collect();
    table.update_side(asked.into_iter());
}

#[test]
fn on_a_side_that_is_cut_off_each_member_gets_each_update_once() {
    let mut circle = Circle::new(40);
    for (table, me, trees) in circle.members.iter_mut().take(13) {
        call_roll(table, *me, |address| address < 13);
        trees.adapt(table, *me, Instant::ORIGIN);
        trees.check().unwrap();
    }
    let steps = circle.carry(4);
    let expected: Vec<u32> = (0..40).map(|at| u32::from(at < 13 && at != 4)).collect();
    assert_eq!(circle.got, expected);
    assert!(steps <= 4, "{steps} steps");
    // Once the sides are one again, an update reaches all.
    for (table, me, trees) in &mut circle.members {
        table.clear_side();
        trees.adapt(table, *me, Instant::ORIGIN);
    }
    circle.got.fill(0);
    circle.carry(4);
    let expected: Vec<u32> = (0..40).map(|at| u32::from(at != 4)).collect();
    assert_eq!(circle.got, expected);
}

#[test]
fn a_member_is_on_the_side_until_it_is_silent_in_two_roll_calls() {
    let (mut table, me) = table(5, 0);
    let on_the_side = |table: &Membership<u32>| {
        let circle = table.circle(me).unwrap();
        let mut side: Vec<u32> =
            circle.into_iter().map(|slot| table.address(slot).unwrap()).collect();
        side.sort_unstable();
        side
    };
    let calls: [(&[u32], &[u32]); 6] = [
        (&[1, 2], &[0, 1, 2]),
        (&[1], &[0, 1, 2]),
        (&[2, 3], &[0, 1, 2, 3]),
        (&[2, 3], &[0, 2, 3]),
        (&[], &[0, 2, 3]),
        (&[], &[0]),
    ];
    for (answers, side) in calls {
        call_roll(&mut table, me, |address| answers.contains(&address));
        assert_eq!(on_the_side(&table), side);
    }
    // Members that die or go are on no side.
    call_roll(&mut table, me, |_| true);
    table.merge(Instant::ORIGIN, &claim("n1", 1, 2, Status::Dead));
    table.remove(table.find("n2").unwrap());
    assert_eq!(on_the_side(&table), [0, 3, 4]);
}

/// A node among `members` with an update on all branches, of which branch 0 has begun its flight.
fn first_flight(members: u32) -> (Membership<u32>, Slot, Trees, Slot) {
    let (table, me) = table(members, 0);
    let mut trees = Trees::default();
    trees.adapt(&table, me, Instant::ORIGIN);
    trees.spread(Update { owner: me, since: 0 }, 100, false, Furthest::ALL);
    let (_, partner, _) = trees.begin(Instant::ORIGIN, ROOM, PAUSE, Instant::ORIGIN, me).unwrap();
    (table, me, trees, partner)
}

fn fly(trees: &mut Trees, branch: usize, request_id: u32, now: Instant) {
    while trees.next(branch).is_some() {
        trees.include(branch, None);
    }
    trees.sent(branch, RequestId(request_id), 100, now, now + Duration::from_millis(10));
    trees.check().unwrap();
}

#[test]
fn a_lost_flight_is_sent_again_and_a_silent_partner_is_passed_over_for_a_while() {
    let (table, me) = table(8, 0);
    let mut trees = Trees::default();
    trees.adapt(&table, me, Instant::ORIGIN);
    let update = Update { owner: me, since: 3 };
    trees.put(2, update, 100, false);
    let (mut now, mut partners) = (Instant::ORIGIN, Vec::new());
    for request_id in 0..u32::from(MAX_TRIES) + 1 {
        let (branch, partner, _) = trees.begin(now, ROOM, PAUSE, Instant::ORIGIN, me).unwrap();
        assert_eq!((branch, trees.next(branch)), (2, Some(update)));
        partners.push(partner);
        fly(&mut trees, branch, request_id, now);
        assert_eq!(trees.give_up(&table, me, now, Duration::from_secs(2)), None, "not yet");
        now = now + Duration::from_millis(10);
        let given_up = trees.give_up(&table, me, now, Duration::from_secs(2));
        assert_eq!(given_up.map(|it| it.lost), Some(1));
        trees.check().unwrap();
    }
    let (silent, next) = (partners[0], partners[usize::from(MAX_TRIES)]);
    assert_eq!(partners[..usize::from(MAX_TRIES)], alloc::vec![silent; MAX_TRIES.into()]);
    assert_eq!((table.live_rank(next) + 8 - table.live_rank(silent)) % 8, 1, "its successor");
    // After that, it is tried again.
    now = now + Duration::from_secs(2);
    trees.adapt(&table, me, now);
    assert_eq!(
        trees.begin(now, ROOM, PAUSE, Instant::ORIGIN, me).map(|(_, partner, _)| partner),
        Some(silent)
    );
}

/// They answer pings, and take no telemetry: nodes whose host names each exchange, or those of
/// another cluster config.
#[test]
fn members_that_never_acknowledge_are_tried_ever_more_seldom() {
    let (table, me) = table(8, 0);
    let (mut trees, mut now, mut request_id) = (Trees::default(), at(0), 0);
    trees.adapt(&table, me, now);
    let end = now + Duration::from_secs(3_600);
    let mut flights = 0;
    while now < end {
        now = now + Duration::from_millis(500);
        trees.adapt(&table, me, now);
        trees.spread(Update { owner: me, since: 3 }, 100, false, Furthest::ALL);
        while let Some((branch, ..)) = trees.begin(now, ROOM, PAUSE, Instant::ORIGIN, me) {
            request_id += 1;
            flights += 1;
            fly(&mut trees, branch, request_id, now);
        }
        now = now + Duration::from_millis(10);
        while trees.give_up(&table, me, now, Duration::from_secs(2)).is_some() {}
        trees.check().unwrap();
    }
    // Six tries of seven members, and then one of each in a minute.
    assert!(flights <= 6 * 7 + 7 * (5 + 60), "{flights} flights in an hour");
    // The first that answers ends it.
    let due = trees.branches[0].passed_until;
    trees.adapt(&table, me, due);
    trees.spread(Update { owner: me, since: 3 }, 100, false, Furthest::ALL);
    let (branch, ..) = trees.begin(due, ROOM, PAUSE, Instant::ORIGIN, me).unwrap();
    fly(&mut trees, branch, 0, due);
    assert!(trees.arrived(RequestId(0)).is_some());
    assert_eq!(trees.branches[branch].passes, 0);
}

#[test]
fn a_member_becomes_a_partner_once_its_address_is_verified() {
    let (mut table, me) = table(8, 0);
    let (mut trees, now) = (Trees::default(), at(0));
    trees.adapt(&table, me, now);
    let partner = trees.branches[0].partner.unwrap();
    let id = table.id(partner);
    let restarted = Claim { instance: Instance(2), ..claim(id.as_str(), 9, 2, Status::Alive) };
    table.merge(Instant::ORIGIN, &restarted);
    trees.adapt(&table, me, now);
    assert_eq!(trees.branches[0].partner, None, "it has not answered at its new address");
    table.heard(partner, now, true);
    trees.adapt(&table, me, now);
    assert_eq!(trees.branches[0].partner, Some(partner));
}

/// Found by fuzzing: only the first member of the arc was passed over, and the silent partner after
/// it was tried again and again.
#[test]
fn a_silent_partner_is_passed_over_with_members_before_it_that_have_no_address() {
    let (mut table, me) = table(16, 0);
    // All members of the longest arc but its last two have no address.
    let from = table.live_rank(me);
    for places in 8..14 {
        let slot = table.at_live_rank((from + places) % 16).unwrap();
        let id = table.id(slot);
        let unknown = Claim { address: None, ..claim(id.as_str(), 0, 2, Status::Alive) };
        table.merge(Instant::ORIGIN, &unknown);
    }
    let (mut trees, mut now) = (Trees::default(), at(0));
    trees.adapt(&table, me, now);
    let partner = |trees: &Trees| trees.branches[3].partner;
    let first = partner(&trees);
    trees.spread(Update { owner: me, since: 0 }, 100, false, Furthest::ALL);
    for try_ in 1..=u32::from(MAX_TRIES) {
        assert_eq!(partner(&trees), first, "try {try_}");
        while let Some((branch, ..)) = trees.begin(now, ROOM, PAUSE, now, me) {
            fly(&mut trees, branch, try_, now);
        }
        now = now + Duration::from_secs(1);
        while trees.give_up(&table, me, now, Duration::from_secs(60)).is_some() {}
        assert_eq!(trees.check(), Ok(()));
    }
    assert_eq!(partner(&trees), table.at_live_rank((from + 15) % 16));
}

#[test]
fn updates_wait_for_the_flight_and_the_pause_and_merge_per_owner() {
    let (table, me, mut trees, _) = first_flight(2);
    fly(&mut trees, 0, 1, Instant::ORIGIN);
    trees.spread(Update { owner: me, since: 1 }, 100, false, Furthest::ALL);
    trees.spread(Update { owner: me, since: 2 }, 100, false, Furthest::ALL);
    assert_eq!(trees.begin(at(1), ROOM, PAUSE, Instant::ORIGIN, me), None, "one flight at a time");
    assert!(trees.arrived(RequestId(2)).is_none(), "with another request id");
    assert!(trees.arrived(RequestId(1)).is_some());
    assert_eq!(
        trees.begin(at(99), ROOM, PAUSE, Instant::ORIGIN, me),
        None,
        "before the pause is over"
    );
    assert_eq!(trees.deadline(ROOM, Instant::ORIGIN, me), Some(at(100)));
    assert!(trees.begin(at(100), ROOM, PAUSE, Instant::ORIGIN, me).is_some());
    assert_eq!(trees.next(0), Some(Update { owner: me, since: 1 }), "both updates in one");
    trees.skip(0);
    assert_eq!(trees.next(0), None);
    trees.cancel(0);
    // Updates that fill a datagram do not wait.
    fly_after(&mut trees, &table, me);
}

fn fly_after(trees: &mut Trees, table: &Membership<u32>, me: Slot) {
    let other = table.slots().find(|&slot| slot != me).unwrap();
    trees.spread(Update { owner: me, since: 4 }, ROOM / 2, false, Furthest::ALL);
    assert_eq!(trees.begin(at(101), ROOM, PAUSE, Instant::ORIGIN, me), None);
    trees.spread(Update { owner: other, since: 4 }, ROOM / 2, false, Furthest::ALL);
    assert_eq!(trees.begin(at(101), ROOM, PAUSE, Instant::ORIGIN, me), Some((0, other, 1)));
}

/// Requests get lost, and a datagram has room for only a few.
#[test]
fn missing_entries_are_requested_again_until_they_arrive() {
    let mut trees = Trees::default();
    let owner = Slot(3);
    let mut asks = |now, room| trees.gaps.add(owner, Furthest::ALL, now, PAUSE, room);
    assert!(!asks(at(0), false), "there is no room for the request");
    assert!(asks(at(1), true));
    assert!(!asks(at(2), true), "the answer is under way");
    assert!(asks(at(1) + PAUSE, true));
    assert_eq!(trees.gaps.fill(owner), Some(Furthest::ALL));
    assert!(trees.gaps.add(owner, Furthest::ALL, at(3), PAUSE, true), "it is another gap");
}

#[test]
fn a_forgotten_member_gets_no_updates_and_its_own_are_dropped() {
    let (mut table, me, mut trees, partner) = first_flight(3);
    fly(&mut trees, 0, 1, Instant::ORIGIN);
    trees.spread(Update { owner: partner, since: 0 }, 100, false, Furthest::ALL);
    trees.gaps.add(partner, Furthest::ALL, at(0), PAUSE, true);
    trees.mark_learned_by_anti_entropy(partner);
    trees.forget(partner);
    trees.check().unwrap();
    assert_eq!(
        (trees.gaps.fill(partner), trees.take_learned_by_anti_entropy(partner)),
        (None, false)
    );
    table.remove(partner);
    trees.adapt(&table, me, at(1));
    trees.check().unwrap();
    let (_, next, _) = trees.begin(at(1), ROOM, PAUSE, Instant::ORIGIN, me).unwrap();
    assert_ne!(next, partner);
    assert_eq!(
        trees.next(0),
        Some(Update { owner: me, since: 0 }),
        "the update that had not arrived"
    );
}

/// It would not be a partner, and the one before it in the tree knows how to reach it.
#[test]
fn a_member_that_has_not_answered_here_is_in_the_arc_of_the_partner_before_it() {
    for place in [2, 4, 8, 16, 3, 5, 17] {
        let mut circle = Circle::new(20);
        let (table, me, trees) = &mut circle.members[0];
        let newcomer = super::circle::Circle::new(table, *me).at(place).unwrap();
        let (id, address) = (table.id(newcomer), table.address(newcomer).unwrap());
        let moved = Claim { address: Some(99), ..claim(id.as_str(), 99, 2, Status::Alive) };
        table.merge(Instant::ORIGIN, &moved);
        trees.adapt(table, *me, Instant::ORIGIN);
        circle.carry(0);
        let missed: Vec<_> = (1..20).filter(|&at| circle.got[at] == 0).collect();
        assert!(missed.is_empty(), "n{address}, {place} places on, is unknown: {missed:?}");
    }
}

#[test]
fn a_partner_that_acknowledges_a_part_of_each_flight_runs_and_is_not_passed_over() {
    let (table, me) = table(8, 0);
    let (mut trees, mut now) = (Trees::default(), at(0));
    trees.adapt(&table, me, now);
    let owners: Vec<Slot> = table.slots().collect();
    let mut partners = Vec::new();
    for round in 0..4 * u32::from(MAX_TRIES) {
        for &owner in &owners {
            trees.put(2, Update { owner, since: 3 }, ROOM / 4, false);
        }
        let (branch, partner, datagrams) =
            trees.begin(now, ROOM, PAUSE, Instant::ORIGIN, me).unwrap();
        assert!(branch == 2 && datagrams >= 2);
        partners.push(partner);
        trees.include(branch, None);
        trees.sent(branch, RequestId(2 * round), 100, now, now + Duration::from_millis(10));
        fly(&mut trees, branch, 2 * round + 1, now);
        assert!(trees.arrived(RequestId(2 * round)).is_some());
        now = now + Duration::from_millis(10);
        let given_up = trees.give_up(&table, me, now, Duration::from_secs(2));
        assert_eq!(given_up.map(|it| it.lost), Some(1));
        now = now + PAUSE;
    }
    assert!(partners.iter().all(|&partner| partner == partners[0]), "{partners:?}");
}

#[test]
fn a_lost_update_begins_where_it_began_though_a_newer_one_of_its_owner_waits() {
    let (table, me, mut trees, _) = first_flight(8);
    let older = trees.next(0).unwrap();
    fly(&mut trees, 0, 1, at(0));
    trees.put(0, Update { since: 7, ..older }, 100, false);
    assert!(trees.give_up(&table, me, at(10), Duration::from_secs(2)).is_some());
    assert_eq!(trees.next(0), Some(older), "the partner lacks what was lost");
    trees.skip(0);
    assert_eq!(trees.next(0), None, "they are one update");
}
