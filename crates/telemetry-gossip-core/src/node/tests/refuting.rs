//! Accusations of a node, and its refutations.

use super::*;

fn accuse(of: u32, generation: u64, instance: Instance, status: Status) -> Claim<'static, u32> {
    Claim { status, instance, ..alive(of, generation) }
}

#[test]
fn an_accusation_is_refuted_once_one_generation_above() {
    for status in [Status::Suspected, Status::Dead, Status::Left] {
        let mut node = node(1, &Config::default());
        let instance = node.me().instance();
        let accusation = claims(2, &[alive(2, 0), accuse(1, 5, instance, status)]);
        hear(&mut node, 2, &accusation);
        hear(&mut node, 2, &accusation);
        assert_eq!((node.me().status(), node.me().generation()), (Status::Alive, Generation(6)));
        assert_eq!(node.stats().refutations, 1);
    }
}

#[test]
fn an_accusation_that_is_refuted_already_does_not_raise_the_generation() {
    let mut node = node(1, &Config::default());
    let instance = node.me().instance();
    hear(&mut node, 2, &claims(2, &[alive(2, 0), accuse(1, 5, instance, Status::Suspected)]));
    hear(&mut node, 2, &claims(2, &[accuse(1, 5, instance, Status::Dead)]));
    assert_eq!(node.me().generation(), Generation(6));
}

#[test]
fn an_accusation_implausibly_far_ahead_is_refused() {
    let mut node = node(1, &Config::default());
    let instance = node.me().instance();
    let lowest = Generation::MAX_START.0 + Generation::MAX_LEAP + 1;
    for generation in [u64::MAX - 2, Generation::MAX.0, lowest] {
        hear(&mut node, 2, &claims(2, &[accuse(1, generation, instance, Status::Dead)]));
    }
    assert_eq!(node.me().generation(), Generation(0));
    assert_eq!(node.stats().claims_implausible, 3);
}

/// The member itself refutes at any height. The others have not heard of the accusation, and take
/// so high a claim from the member only.
#[test]
fn the_highest_accusation_is_refuted_and_the_refutation_is_accepted() {
    for status in [Status::Suspected, Status::Dead, Status::Left] {
        let mut net = Net::joined(5, &Config::default());
        let highest = Generation::MAX_START.0;
        let accusation = accuse(1, highest, net.node(1).me().instance(), status);
        for address in 1..=5 {
            hear(net.node(address), 9, &claims(9, core::slice::from_ref(&accusation)));
            assert_eq!(net.status(address, 1), Some(Status::Alive), "{status}");
        }
        net.run_for(Duration::from_secs(10));
        for address in 1..=5 {
            let held = net.node(address).member("n1").unwrap();
            assert_eq!(
                (held.status(), held.generation()),
                (Status::Alive, Generation(highest + 1))
            );
        }
    }
}

#[test]
fn a_ping_tells_its_target_of_the_accusation() {
    let mut net = Net::joined(3, &Config::default());
    let accused = net.node(3).me().generation();
    net.cut = alloc::vec![(1, 3), (3, 1), (2, 3), (3, 2)];
    while net.status(1, 3) != Some(Status::Suspected) {
        net.run_for(Duration::from_millis(10));
    }
    net.cut.clear();
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.status(1, 3), Some(Status::Alive));
    assert!(net.node(3).me().generation() > accused);
}

#[test]
fn a_stale_alive_of_a_dead_member_is_answered_with_its_death() {
    let mut node = node(1, &Config::default());
    introduce(&mut node, [alive(2, 4), alive(3, 0)]);
    hear(&mut node, 3, &claims(3, &[accuse(2, 5, Instance(77), Status::Dead)]));
    drain(&mut node);
    hear(&mut node, 2, &claims(2, &[alive(2, 4)]));
    let answers = drain(&mut node);
    let answer = answers.iter().find(|(to, _)| *to == 2).expect("an answer to the dead member");
    let names_death = frames(&answer.1).into_iter().any(|frame| match frame {
        Frame::Claims(mut claims) => {
            claims.any(|claim| claim.id == "n2" && claim.status == Status::Dead)
        }
        _ => false,
    });
    assert!(names_death);
}

#[test]
fn a_member_that_no_node_reaches_is_held_dead_and_returns_after_the_partition() {
    let mut net = Net::joined(5, &Config::default());
    net.cut = (1..=4).flat_map(|other| [(other, 5), (5, other)]).collect();
    net.run_for(Duration::from_secs(20));
    for observer in 1..=4 {
        assert_eq!(net.status(observer, 5), Some(Status::Dead));
        assert_eq!(
            net.status(5, observer).filter(|&status| status == Status::Dead),
            None,
            "a node that is cut off declares no member dead"
        );
    }
    assert!(net.node(5).health().isolated_since.is_some());
    net.cut.clear();
    net.run_for(Duration::from_secs(30));
    for observer in 1..=5 {
        assert_eq!(net.node(observer).health().alive, 5);
    }
    assert_eq!(net.node(5).health().isolated_since, None);
}

/// It hears of the accusations and could refute them for ever, but nothing reaches its address.
#[test]
fn a_member_that_hears_but_is_not_reached_refutes_once_a_ping_reaches_it() {
    let mut net = Net::joined(4, &Config::default());
    net.cut = (1..=3).map(|other| (other, 4)).collect();
    let instance = net.node(4).me().instance();
    let accuse_it = |net: &mut Net, generation| {
        let accusation = accuse(4, generation, instance, Status::Suspected);
        net.input(4, Input::Datagram { from: 1, bytes: claims(1, &[accusation]).into() });
        let refuted = net.node(4).me().generation() > Generation(generation);
        net.run_for(Duration::from_secs(4));
        refuted
    };
    net.run_for(Duration::from_secs(2));
    let refuted = [10, 20, 30, 40].map(|generation| accuse_it(&mut net, generation));
    assert_eq!(refuted, [false; 4]);
    let told = |event: &Event<u32>| matches!(event, Event::Unreached { .. });
    assert_eq!(net.events(4).into_iter().filter(told).count(), 1);
    net.cut.clear();
    net.run_for(Duration::from_secs(30));
    assert!((1..=3).all(|observer| net.status(observer, 4) == Some(Status::Alive)));
    assert!(accuse_it(&mut net, 100));
}

#[test]
fn lies_do_not_keep_a_member_that_is_reached_from_refuting() {
    let mut net = Net::joined(4, &Config::default());
    let instance = net.node(4).me().instance();
    for told in 1..300 {
        let accusation = accuse(4, 10 * told, instance, Status::Suspected);
        let bytes = claims(99, &[accusation]);
        net.input(4, Input::Datagram { from: 99, bytes: bytes.into() });
        assert_eq!(net.node(4).me().generation(), Generation(10 * told + 1));
        net.run_for(Duration::from_millis(100));
    }
    assert!(!net.events(4).iter().any(|event| matches!(event, Event::Unreached { .. })));
}

/// A node that has been lied about up to the highest generation at which a process may start, and
/// has refuted.
fn risen(nodes: u32) -> Net {
    let mut net = Net::joined(nodes, &Config::default());
    let highest = Generation::MAX_START.0;
    let accusation = accuse(3, highest, net.node(3).me().instance(), Status::Dead);
    hear(net.node(3), 9, &claims(9, &[accusation]));
    net.run_for(Duration::from_secs(5));
    assert_eq!(net.node(1).member("n3").unwrap().generation(), Generation(highest + 1));
    net
}

fn assert_alive_at_all(net: &mut Net, of: u32) {
    for address in 1..=u32::try_from(net.nodes.len()).unwrap() {
        assert_eq!(net.status(address, of), Some(Status::Alive), "at n{address}");
    }
}

#[test]
fn a_node_climbs_by_a_bounded_leap_per_second_above_the_highest_start() {
    let mut node = node(1, &Config::default());
    let instance = node.me().instance();
    let lie = claims(2, &[accuse(1, Generation::MAX.0 - 1, instance, Status::Dead)]);
    for second in 1..=20 {
        let now = Instant::from_micros(second * 1_000_000);
        for _ in 0..50 {
            node.handle(now, Input::Datagram { from: 2, bytes: lie.as_slice().into() }).unwrap();
            // It refutes only what it can be reached about.
            drain(&mut node);
        }
    }
    let most = Generation::MAX_START.0 + (20 << 32);
    let generation = node.me().generation().0;
    assert!((Generation::MAX_START.0 + 1..=most).contains(&generation), "{generation}");
}

#[test]
fn a_node_that_restarts_without_its_generation_climbs_above_the_highest_start() {
    for generation in [0, Generation::MAX_START.0] {
        let mut net = risen(5);
        let identity = Identity::new(id(3), 3).generation(Generation(generation));
        let now = net.now;
        *net.node(3) = Node::new(Config::default(), identity, [99; 32], now).unwrap();
        net.input(3, Input::Join { seeds: alloc::vec![1].into() });
        net.run_for(Duration::from_secs(15));
        let reborn = net.node(3).me().instance();
        assert_alive_at_all(&mut net, 3);
        for address in 1..=5 {
            assert_eq!(net.node(address).member("n3").unwrap().instance(), reborn);
        }
    }
}

#[test]
fn a_newcomer_learns_of_members_above_the_highest_start() {
    let mut net = risen(4);
    net.nodes.push(node(5, &Config::default()));
    net.input(5, Input::Join { seeds: alloc::vec![1].into() });
    net.run_for(Duration::from_secs(10));
    assert_alive_at_all(&mut net, 3);
    let generation = net.node(5).member("n3").unwrap().generation();
    assert_eq!(generation, net.node(3).me().generation());
}

/// The others hold a far earlier life of it Left, and it does not know at which generation.
#[test]
fn a_restarted_node_far_above_what_is_held_of_it_is_taken_in_once_it_answers() {
    for height in [1, 1 << 40, Generation::MAX_START.0 - 7, Generation::MAX_START.0] {
        let mut net = risen(5);
        let old = net.node(3).me().instance();
        let left = accuse(3, Generation::MAX_START.0 + 9, old, Status::Left);
        net.cut = [1, 2, 4, 5].iter().flat_map(|&other| [(other, 3), (3, other)]).collect();
        for address in [1, 2, 4, 5] {
            hear(net.node(address), 9, &claims(9, core::slice::from_ref(&left)));
        }
        let identity = Identity::new(id(3), 3).generation(Generation(height));
        let now = net.now;
        *net.node(3) = Node::new(Config::default(), identity, [99; 32], now).unwrap();
        let reborn = net.node(3).me().instance();
        net.run_for(Duration::from_secs(2));
        let far = accuse(3, Generation::MAX_START.0 + (1 << 32), reborn, Status::Left);
        hear(net.node(3), 9, &claims(9, &[far]));
        net.cut.clear();
        net.input(3, Input::Join { seeds: alloc::vec![1].into() });
        net.run_for(Duration::from_secs(20));
        assert_alive_at_all(&mut net, 3);
    }
}
