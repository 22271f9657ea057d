//! Accusations that no member has made: they are refuted, and have no further effect.

use super::*;
use crate::node::apply::{Asked, Heard};
use crate::wire::{Ping, kind};

/// The address of a stranger, who tells the lies.
const STRANGER: u32 = 9_999;

fn id_hash(address: u32) -> IdHash {
    id(address).id_hash()
}

/// The word of a stranger that member `of` of the network is suspected by `by`.
fn lie(net: &mut Net, of: u32, generation: u64, by: Option<u32>) -> Vec<u8> {
    let instance = net.node(of).me().instance();
    let accusers = by.map(id_hash).into_iter().collect();
    let status = Status::Suspected;
    claims(250, &[Claim { instance, status, accusers, ..alive(of, generation) }])
}

/// Hands a node a datagram of `from`, and delivers what follows from it.
fn tell(net: &mut Net, to: u32, from: u32, bytes: &[u8]) {
    net.input(to, Input::Datagram { from, bytes: bytes.into() });
}

/// A network whose nodes each hear ten lies a second, about all members in turn, most of them in
/// the name of another member.
struct Lies {
    net: Net,
    on: bool,
    told: u32,
    crashed: u32,
}

impl Lies {
    /// Lets 100 ms pass, as long as `goes_on`, which is looked at every 10 ms.
    fn step(&mut self, mut goes_on: impl FnMut(&mut Net) -> bool) -> bool {
        let nodes = u32::try_from(self.net.nodes.len()).unwrap();
        for to in (1..=nodes).filter(|&to| self.on && to != self.crashed) {
            self.told += 1;
            let of = 1 + (self.told * 7) % nodes;
            let by = Some(1 + (self.told * 11) % nodes).filter(|_| !self.told.is_multiple_of(4));
            let bytes = lie(&mut self.net, of, 1_000 + u64::from(self.told), by);
            tell(&mut self.net, to, STRANGER, &bytes);
        }
        self.net.log.clear();
        (0..10).all(|_| {
            self.net.run_for(Duration::from_millis(10));
            goes_on(&mut self.net)
        })
    }
}

/// How long it takes until all nodes hold a crashed one dead.
fn time_to_dead(nodes: u32, on: bool) -> Duration {
    let net = Net::joined(nodes, &Config::default());
    let mut lies = Lies { net, on, told: 0, crashed: 0 };
    for _ in 0..50 {
        lies.step(|_| true);
    }
    let crashed = nodes / 2;
    lies.crashed = crashed;
    lies.net.cut = (1..=nodes).flat_map(|other| [(other, crashed), (crashed, other)]).collect();
    let begin = lies.net.now;
    let others: Vec<u32> = (1..=nodes).filter(|&other| other != crashed).collect();
    let found =
        |net: &mut Net| others.iter().all(|&at| net.status(at, crashed) == Some(Status::Dead));
    while lies.step(|net| !found(net)) {
        assert!(lies.net.now.since(begin) < Duration::from_secs(60), "the crash is not found");
    }
    let took = lies.net.now.since(begin);
    for _ in 0..50 {
        lies.step(|_| true);
    }
    for &observer in &others {
        for event in lies.net.events(observer) {
            if let Event::Dead { id: dead, .. } = event {
                assert_eq!(dead, id(crashed), "n{observer} holds a member dead that runs");
            }
        }
    }
    lies.net.run_for(Duration::from_secs(30));
    for &observer in &others {
        let health = lies.net.node(observer).health();
        let doubts = (health.local_health, health.alive);
        assert_eq!(doubts, (0, nodes - 1), "n{observer} after the lies");
    }
    took
}

fn a_crash_is_found_as_soon_as_ever(nodes: u32) {
    let (usual, with_lies) = (time_to_dead(nodes, false), time_to_dead(nodes, true));
    assert!(with_lies <= usual * 13 / 10, "{with_lies:?} instead of {usual:?}");
}

#[test]
fn ten_lies_a_second_to_every_node_do_not_delay_a_crash_nor_kill_a_member() {
    a_crash_is_found_as_soon_as_ever(24);
}

#[test]
#[ignore = "takes minutes"]
fn ten_lies_a_second_to_each_of_250_nodes_do_not_delay_a_crash_nor_kill_a_member() {
    a_crash_is_found_as_soon_as_ever(250);
}

#[test]
fn accusations_by_a_stranger_raise_no_doubt_and_are_refuted_at_once() {
    let mut net = Net::joined(5, &Config::default());
    for told in 0..120 {
        for to in 1..=5 {
            let accuser = 1 + to % 5;
            let bytes = lie(&mut net, to, 10 * (told + 1), Some(accuser));
            tell(&mut net, to, STRANGER, &bytes);
            let generation = net.node(to).me().generation();
            assert_eq!(generation, Generation(10 * (told + 1) + 1), "one above, at once");
            assert_eq!(net.node(to).health().local_health, 0);
        }
        net.run_for(Duration::from_millis(500));
    }
}

/// A member that was lied about three times has not flapped, so it is not pinged in vain for long
/// before it is accused.
#[test]
fn refuted_lies_about_a_member_are_no_flaps() {
    let mut net = Net::joined(5, &Config::default());
    for told in 1..=3 {
        for to in 1..=4 {
            let bytes = lie(&mut net, 5, 10 * told, Some(1 + to % 4));
            tell(&mut net, to, STRANGER, &bytes);
        }
        net.run_for(Duration::from_secs(70));
    }
    for observer in 1..=4 {
        assert_eq!(net.status(observer, 5), Some(Status::Alive));
        let slot = net.node(observer).cx.table.find("n5").unwrap();
        let now = net.now;
        let damping = &net.node(observer).detector.flap_damping;
        assert_eq!(damping.flaps(slot, now), 0, "n{observer}");
    }
}

/// Makes n1 accuse n5, which the others can reach, and returns what n1 tells of it.
fn accused_by_first(net: &mut Net) -> Vec<u8> {
    net.cut = (2..=5).map(|helper| (1, helper)).collect();
    let slot = net.node(1).cx.table.find("n5").unwrap();
    let held = net.node(1).cx.table.row(slot);
    let probe = crate::detector::Probe {
        pings: crate::detector::pings::Pings::first(crate::id::RequestId(0), Instant::ORIGIN),
        target: slot,
        address: 5,
        instance: held.instance,
        generation: held.generation,
        stage: crate::detector::probe::Stage::Last,
        deadline: Instant::ORIGIN,
        ends: Instant::ORIGIN,
        helpers: Default::default(),
        judged: 0,
        commanded: false,
    };
    let (now, node) = (net.now, &mut net.nodes[0]);
    node.detector.pending_accusations.push(probe);
    node.detector.make_pending_accusations(&mut node.cx);
    node.handle(now, Input::Tick).unwrap();
    net.cut.clear();
    let generation = net.node(1).member("n5").unwrap().generation().0;
    lie(net, 5, generation, Some(1))
}

#[test]
fn an_accusation_that_its_accuser_confirms_is_a_flap_and_a_doubt_once_a_minute() {
    let mut net = Net::joined(5, &Config::default());
    for (accusation, doubt) in [(1, 1), (2, 0)] {
        let bytes = accused_by_first(&mut net);
        for to in [2, 5] {
            tell(&mut net, to, STRANGER, &bytes);
        }
        assert_eq!(net.node(5).detector.local_health.score(), doubt, "{accusation}");
        net.run_for(Duration::from_millis(3_000));
        let slot = net.node(2).cx.table.find("n5").unwrap();
        let now = net.now;
        assert_eq!(net.status(2, 5), Some(Status::Alive), "it has refuted");
        assert_eq!(net.node(2).detector.flap_damping.flaps(slot, now), 1, "{accusation}");
    }
}

#[test]
fn an_accusation_in_the_name_of_this_node_is_not_its_own() {
    let mut net = Net::joined(3, &Config::default());
    let bytes = lie(&mut net, 3, 10, Some(1));
    net.cut = alloc::vec![(1, 3), (3, 1), (1, 2), (2, 1)];
    tell(&mut net, 1, STRANGER, &bytes);
    assert_eq!(net.status(1, 3), Some(Status::Suspected));
    let node = net.node(1);
    let slot = node.cx.table.find("n3").unwrap();
    assert!(!node.detector.suspicions.get(slot).unwrap().mine);
    assert!(!node.detector.hearsay.is_grounded(slot));
}

#[test]
fn one_datagram_of_lies_causes_one_question() {
    let mut net = Net::joined(8, &Config::default());
    let accusers: Accusers = [2, 3, 4, 5].map(id_hash).into_iter().collect();
    let all: Vec<_> = (6..=8)
        .map(|of| {
            let instance = net.node(of).me().instance();
            let status = Status::Suspected;
            Claim { instance, status, accusers: accusers.clone(), ..alive(of, 10) }
        })
        .collect();
    let now = net.now;
    let bytes = claims(250, &all);
    net.node(1).handle(now, Input::Datagram { from: STRANGER, bytes: bytes.into() }).unwrap();
    assert_eq!(drain(net.node(1)).len(), 1);
}

#[test]
fn a_clock_is_taken_from_answers_only() {
    let mut net = Net::joined(3, &Config::default());
    let now = net.now;
    let round = net.node(1).detector.schedule.clock.round(now);
    let mut ping = datagram(2, |w| {
        assert!(w.frame(kind::PING, &Ping { number: 1, target: id_hash(1).0 }));
    });
    ping[17..20].copy_from_slice(&[0x40, 0, 0]);
    tell(&mut net, 1, 2, &ping);
    assert_eq!(net.node(1).detector.schedule.clock.round(now), round);
}

/// Lets a node hear a claim from a partner.
fn apply(net: &mut Net, at: u32, asked: Asked, claim: &Claim<'_, u32>) {
    let node = net.node(at);
    let rumor = asked == Asked::No;
    let mut heard = Heard { rumor, from: 3, asked, word_from: None, questions_left: 1 };
    node.apply_claim(claim, &mut heard);
    node.quiet = node.is_quiet();
}

/// Lets a node believe a claim of a partner, which no other node has to confirm.
fn believe(net: &mut Net, at: u32, claim: &Claim<'_, u32>) {
    apply(net, at, Asked::InSession, claim);
    let status = net.node(at).member(claim.id).map(|member| member.status());
    assert_eq!(status, Some(claim.status));
}

#[test]
fn a_lie_far_above_its_member_is_refuted_within_seconds() {
    let mut net = Net::joined(40, &Config::default());
    let (generation, instance) = (net.node(2).me().generation().0, net.node(2).me().instance());
    // The second one is higher than the other nodes would believe, so node 1 stays alone with it,
    // and node 2 would ping node 1 in up to 39 s.
    for (above, status) in [(1 << 16, Status::Left), ((1 << 16) + 3, Status::Dead)] {
        believe(&mut net, 1, &Claim { instance, status, ..alive(2, generation + above) });
    }
    net.run_for(Duration::from_secs(8));
    assert_eq!(net.status(1, 2), Some(Status::Alive));
}

#[test]
fn a_member_that_takes_part_learns_at_once_that_it_is_held_dead_or_left() {
    for (status, at_once) in
        [(Status::Dead, true), (Status::Left, true), (Status::Suspected, false)]
    {
        let mut net = Net::joined(40, &Config::default());
        let me = net.node(2).me();
        let (instance, generation) = (me.instance(), me.generation());
        believe(&mut net, 1, &Claim { instance, generation, status, ..alive(2, 0) });
        let nothing_new = datagram(2, |_| {});
        tell(&mut net, 1, 2, &nothing_new);
        assert_eq!(net.status(1, 2) == Some(Status::Alive), at_once, "{status}");
    }
}

#[test]
fn members_that_are_gone_by_the_word_of_a_partner_are_told_so_at_once() {
    for status in [Status::Dead, Status::Left] {
        let mut net = Net::joined(40, &Config::default());
        // The first of them would be contacted at once in any case.
        for of in 2..=9 {
            let me = net.node(of).me();
            let (instance, generation) = (me.instance(), Generation(me.generation().0 + 5));
            believe(&mut net, 1, &Claim { instance, generation, status, ..alive(of, 0) });
        }
        net.run_for(Duration::from_millis(100));
        for of in 2..=9 {
            assert_eq!(net.status(1, of), Some(Status::Alive), "n{of}, {status}");
        }
    }
}

/// Lets a node hold another process than the one that runs as the member `of`.
fn hold_rival(net: &mut Net, at: u32, of: u32, rival: &Claim<'_, u32>, has_answered: bool) {
    let (now, id) = (net.now, name(of));
    let node = net.node(at);
    let slot = node.cx.table.find(&id).unwrap();
    node.remove(slot, RemovalReason::Expired);
    apply(net, at, Asked::ToJoin, &Claim { status: Status::Alive, ..rival.clone() });
    let node = net.node(at);
    let slot = node.cx.table.find(&id).unwrap();
    if has_answered {
        node.cx.table.heard(slot, now, true);
    }
    apply(net, at, Asked::InSession, rival);
    assert_eq!(net.status(at, of), Some(rival.status));
}

/// Two members hold rivals of each other's ids, which have answered them and then fallen silent.
/// The others never heard of the rivals, and the true processes are no higher.
#[test]
fn a_rival_that_is_gone_hides_no_process_that_all_others_know() {
    for (status, above) in [(Status::Dead, 0), (Status::Left, 70_000)] {
        let mut net = Net::joined(10, &Config::default());
        for (at, of) in [(1, 2), (2, 1)] {
            let generation = Generation(net.node(of).me().generation().0 + above);
            let (instance, address) = (Instance(991), Some(90 + of));
            let rival = Claim { instance, generation, address, status, ..alive(of, 0) };
            hold_rival(&mut net, at, of, &rival, true);
        }
        net.run_for(Duration::from_secs(60));
        for (at, of) in [(1, 2), (2, 1)] {
            let member = net.node(at).member(&name(of)).unwrap();
            let held = (member.status(), member.address());
            assert_eq!(held, (Status::Alive, Some(of)), "n{of} at n{at}, {status}");
        }
    }
}

/// Half of the members hold each of two processes that run.
#[test]
fn of_two_processes_that_half_of_the_members_hold_the_lower_instance_yields() {
    for (above, holder) in [(false, 1), (true, 6)] {
        let mut net = Net::joined(5, &Config::default());
        let Instance(held) = net.node(1).me().instance();
        let instance = Instance(if above { held + 1 } else { held - 1 });
        let this = Identity { instance: Some(instance), ..Identity::new(id(1), 6) };
        net.nodes.push(Node::new(Config::default(), this, [55; 32], net.now).unwrap());
        let rival = Claim { instance, address: Some(6), ..alive(1, 0) };
        for at in [4, 5] {
            hold_rival(&mut net, at, 1, &rival, true);
        }
        let others: Vec<_> = (2..=5)
            .map(|of| Claim { instance: net.node(of).me().instance(), ..alive(of, 0) })
            .collect();
        introduce(net.node(6), others);
        net.run_for(Duration::from_secs(30));
        let active = [1, 6].map(|at| net.node(at).health().active);
        assert_eq!(active, [holder == 1, holder == 6], "above {above}");
        for at in 2..=5 {
            let member = net.node(at).member("n1").unwrap();
            let known = (member.status(), member.address());
            assert_eq!(known, (Status::Alive, Some(holder)), "n{at}, above {above}");
        }
    }
}

/// A third of the members hold each of three processes that run, so that none is held by most.
#[test]
fn of_three_processes_that_a_third_of_the_members_hold_one_stays() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut net = Net::joined(7, &Config::default());
        let Instance(held) = net.node(1).me().instance();
        let instance = |process: usize| Instance(held + order[process] - order[0]);
        for (process, address, seed) in [(1, 8, [58; 32]), (2, 9, [59; 32])] {
            let instance = instance(process);
            let this = Identity { instance: Some(instance), ..Identity::new(id(1), address) };
            net.nodes.push(Node::new(Config::default(), this, seed, net.now).unwrap());
            let rival = Claim { instance, address: Some(address), ..alive(1, 0) };
            let holders = if process == 1 { [4, 5] } else { [6, 7] };
            for at in holders {
                hold_rival(&mut net, at, 1, &rival, true);
            }
            let others: Vec<_> = (2..=7)
                .map(|of| Claim { instance: net.node(of).me().instance(), ..alive(of, 0) })
                .collect();
            introduce(net.node(address), others);
        }
        net.run_for(Duration::from_secs(60));
        let active: Vec<u32> =
            [1, 8, 9].into_iter().filter(|&at| net.node(at).health().active).collect();
        assert_eq!(active.len(), 1, "{active:?} are active, order {order:?}");
        for at in 2..=7 {
            let member = net.node(at).member("n1").unwrap();
            let known = (member.status(), member.address());
            assert_eq!(known, (Status::Alive, active.first().copied()), "n{at}, order {order:?}");
        }
    }
}

/// The process at the address of a member is another one than its node holds, and does not know
/// that node.
#[test]
fn a_member_is_contacted_and_another_process_of_its_id_answers() {
    for status in [Status::Dead, Status::Left] {
        let mut net = Net::joined(2, &Config::default());
        let (generation, runs) = (net.node(2).me().generation(), net.node(2).me().instance());
        let instance = Instance(991);
        let rival = Claim { instance, generation, status, ..alive(2, 0) };
        hold_rival(&mut net, 1, 2, &rival, false);
        let slot = net.node(2).cx.table.find("n1").unwrap();
        net.node(2).remove(slot, RemovalReason::Expired);
        net.run_for(Duration::from_secs(60));
        for (at, of) in [(1, 2), (2, 1)] {
            assert_eq!(net.status(at, of), Some(Status::Alive), "n{of} at n{at}, {status}");
            assert_eq!(net.node(1).member("n2").map(|member| member.instance()), Some(runs));
        }
    }
}

/// A partner says of all members at once that other processes of theirs have died.
#[test]
fn the_word_of_a_partner_about_other_processes_takes_no_member_that_runs_and_no_address() {
    for status in [Status::Dead, Status::Left] {
        let mut net = Net::joined(5, &Config::default());
        for at in 1..=5 {
            for of in (1..=5).filter(|&of| of != at) {
                // First that the process which is held has died, and then a later one.
                let instance = net.node(of).me().instance();
                apply(&mut net, at, Asked::No, &Claim { instance, status, ..alive(of, 5) });
                let address = Some(50 + of);
                let lie = Claim { instance: Instance(991), address, status, ..alive(of, 60_000) };
                apply(&mut net, at, Asked::InSession, &lie);
            }
        }
        net.run_for(Duration::from_secs(10));
        for (at, of) in (1..=5).flat_map(|at| (1..=5).map(move |of| (at, of))) {
            let member = net.node(at).member(&name(of)).unwrap();
            let held = (member.status(), member.address());
            assert_eq!(held, (Status::Alive, Some(of)), "n{at} of n{of}, {status}");
        }
    }
}

#[test]
fn the_word_of_a_partner_about_a_later_process_is_taken_once_the_one_that_is_held_is_dead() {
    let mut net = Net::joined(5, &Config::default());
    net.cut = (1..=5).flat_map(|other| [(other, 5), (5, other)]).collect();
    let (instance, status) = (Instance(991), Status::Left);
    let later = Claim { instance, address: Some(55), status, ..alive(5, 60_000) };
    apply(&mut net, 1, Asked::InSession, &later);
    assert_eq!(net.status(1, 5), Some(Status::Alive));
    net.run_for(Duration::from_secs(6));
    assert_eq!(net.status(1, 5), Some(Status::Dead));
    net.run_for(Duration::from_secs(60));
    apply(&mut net, 1, Asked::InSession, &later);
    let member = net.node(1).member("n5").unwrap();
    assert_eq!((member.status(), member.instance()), (Status::Left, instance));
}
