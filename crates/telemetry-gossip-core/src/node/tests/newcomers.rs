//! Newcomers: what a peer says of members that have never answered this node, and of other
//! processes than the ones that have.

use super::*;
use crate::node::apply::{Asked, Heard};
use crate::wire::kind;

fn made_up(from: u32, count: u32) -> Vec<Claim<'static, u32>> {
    (from..from + count).map(|address| alive(address, 0)).collect()
}

/// The lengths of the datagrams that the node sends now to addresses that no node has.
fn sent_to_strangers(node: &mut Node<u32>, nodes: u32) -> Vec<usize> {
    drain(node).iter().filter(|&&(to, _)| to > nodes).map(|(_, bytes)| bytes.len()).collect()
}

#[test]
fn made_up_members_enter_no_table_and_isolate_no_node() {
    let mut net = Net::joined(10, &Config::default());
    for round in 0..60 {
        for address in 1..=10 {
            let lie = claims(200, &made_up(20 + 30 * round, 30));
            hear(net.node(address), 200, &lie);
        }
        net.run_for(Duration::from_secs(1));
        for node in &net.nodes {
            assert_eq!((node.membership().len(), node.health().isolated_since), (10, None));
        }
    }
    // A crash is still found.
    net.cut = (1..10).flat_map(|other| [(other, 10), (10, other)]).collect();
    net.run_for(Duration::from_secs(6));
    for observer in 1..10 {
        assert_eq!(net.status(observer, 10), Some(Status::Dead));
    }
}

#[test]
fn a_claim_about_a_stranger_costs_three_short_pings_and_is_told_to_nobody() {
    let mut net = Net::joined(4, &Config::default());
    net.log.clear();
    let lie = claims(200, &[alive(99, 0)]);
    hear(net.node(1), 200, &lie);
    assert_eq!(sent_to_strangers(net.node(1), 4), [crate::wire::PING_LEN]);
    net.run_for(Duration::from_secs(600));
    let to_stranger = net.log.iter().filter(|&&(_, to, _)| to == 99).count();
    let names_it = net.log.iter().filter(|(.., bytes)| {
        let named = |frame: Frame<'_, u32>| match frame {
            Frame::Claims(mut claims) => claims.any(|claim| claim.id == "n99"),
            _ => false,
        };
        frames(bytes).into_iter().any(named)
    });
    // Two helpers have asked it as well.
    assert_eq!((to_stranger, names_it.count()), (2, 0));
}

#[test]
fn questions_about_strangers_cost_no_more_bytes_than_the_claims() {
    let mut node = node(1, &Config::default());
    let lie = claims(200, &made_up(20, 40));
    let mut total = 0;
    for _ in 0..100 {
        hear(&mut node, 200, &lie);
        let sent: usize = sent_to_strangers(&mut node, 1).iter().sum();
        assert!(sent <= lie.len(), "{sent} for {}", lie.len());
        total += sent;
    }
    assert_eq!(total, 40 * crate::wire::PING_LEN, "each is asked once");
}

#[test]
fn a_member_is_known_and_passed_on_once_it_answers() {
    let mut net = Net::joined(4, &Config::default());
    let stranger = node(5, &Config::default());
    let claim = Claim { instance: stranger.me().instance(), ..alive(5, 0) };
    net.nodes.push(stranger);
    hear(net.node(1), 200, &claims(200, &[claim]));
    net.run_for(Duration::from_secs(3));
    for address in 1..=5 {
        assert_eq!(net.node(address).health().alive, 5, "n{address}");
    }
}

/// What a member says, a liar says too; but another instance answers there, or none.
#[test]
fn a_claim_of_another_instance_or_address_leaves_a_member_that_answers_as_it_is() {
    let mut net = Net::joined(4, &Config::default());
    let before = net.node(2).me().instance();
    let moved = Claim { instance: before, address: Some(77), ..alive(2, 8) };
    let renewed = alive(2, 9);
    for address in [1, 3, 4] {
        hear(net.node(address), 200, &claims(200, &[moved.clone(), renewed.clone()]));
    }
    net.run_for(Duration::from_secs(5));
    for address in [1, 3, 4] {
        let held = net.node(address).member("n2").unwrap();
        assert_eq!((held.instance(), held.address()), (before, Some(2)));
        assert_eq!(held.status(), Status::Alive);
    }
}

/// A cluster of four beside a process that uses the id of the last of them, and that answers; and
/// what it claims.
fn with_rival() -> (Net, Claim<'static, u32>) {
    let mut net = Net::joined(4, &Config::default());
    let rival = Node::new(Config::default(), Identity::new(id(4), 5), [55; 32], net.now).unwrap();
    let claim = Claim { instance: rival.me().instance(), address: Some(5), ..alive(4, 50) };
    net.nodes.push(rival);
    (net, claim)
}

#[test]
fn who_is_known_and_answers_stays_and_who_is_silent_makes_room() {
    let (mut net, claim) = with_rival();
    let old = net.node(4).me().instance();
    hear(net.node(1), 5, &claims(4, core::slice::from_ref(&claim)));
    net.run_for(Duration::from_secs(2));
    let held = net.node(1).member("n4").unwrap();
    assert_eq!((held.instance(), held.address()), (old, Some(4)));

    // A rival that has not yielded meanwhile: one that waits asks every five seconds only.
    let (mut net, claim) = with_rival();
    net.cut = [1, 2, 3, 5].into_iter().flat_map(|other| [(other, 4), (4, other)]).collect();
    hear(net.node(1), 5, &claims(4, core::slice::from_ref(&claim)));
    net.run_for(Duration::from_secs(2));
    let held = net.node(1).member("n4").unwrap();
    assert_eq!((held.instance(), held.address()), (claim.instance, Some(5)));
}

/// A node is restarted and its seeds are slow, so that a rival is the first to answer it.
#[test]
fn a_rival_that_answers_a_newcomer_before_its_seeds_takes_no_id_of_a_member() {
    for generation in [0, 60_000] {
        let mut net = Net::joined(5, &Config::default());
        let this = Identity::new(id(4), 6);
        let rival = Node::new(Config::default(), this, [55; 32], net.now).unwrap();
        let (instance, address) = (rival.me().instance(), Some(6));
        let claim = claims(4, &[Claim { instance, address, ..alive(4, generation) }]);
        net.nodes.push(rival);
        let this = Identity::new(id(1), 1);
        net.nodes[0] = Node::new(Config::default(), this, [66; 32], net.now).unwrap();
        net.cut = alloc::vec![(1, 2), (1, 3), (1, 4), (1, 5)];
        net.input(1, Input::Join { seeds: alloc::vec![2].into() });
        hear(net.node(1), 6, &claim);
        net.deliver();
        assert_eq!(net.node(1).member("n4").unwrap().address(), Some(6), "it was the first");
        net.cut.clear();
        net.run_for(Duration::from_secs(3));
        assert_eq!(net.node(1).member("n4").unwrap().address(), Some(4), "from {generation}");
        let displaced = Event::removed(id(4), RemovalReason::Displaced);
        assert!(net.events(1).contains(&displaced), "the host is told");
        hear(net.node(1), 6, &claim);
        net.run_for(Duration::from_secs(3));
        assert_eq!(net.node(1).member("n4").unwrap().address(), Some(4), "and stays");
    }
}

/// The member that a seed has named is slow to answer, and a rival that answers at once is not.
#[test]
fn a_member_that_a_seed_has_just_named_gets_time_to_answer_before_a_rival_is_believed() {
    let mut net = Net::joined(5, &Config::default());
    let rival = Node::new(Config::default(), Identity::new(id(4), 6), [55; 32], net.now).unwrap();
    let claim = Claim { instance: rival.me().instance(), address: Some(6), ..alive(4, 60_000) };
    net.nodes.push(rival);
    net.nodes[0] =
        Node::new(Config::default(), Identity::new(id(1), 1), [66; 32], net.now).unwrap();
    net.cut = alloc::vec![(1, 4), (4, 1)];
    net.input(1, Input::Join { seeds: alloc::vec![2].into() });
    net.run_for(Duration::from_millis(200));
    hear(net.node(1), 6, &claims(4, core::slice::from_ref(&claim)));
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.node(1).member("n4").unwrap().address(), Some(4));
}

#[test]
fn a_node_that_leaves_while_it_asks_how_high_it_is_held_has_left() {
    let mut net = Net::joined(3, &Config::default());
    let instance = net.node(3).me().instance();
    let lie = Claim { instance, status: Status::Dead, ..alive(3, Generation::MAX.0 - 1) };
    hear(net.node(3), 200, &claims(200, &[lie]));
    net.input(3, Input::Leave);
    net.run_for(Duration::from_secs(3));
    for observer in [1, 2] {
        assert_eq!(net.status(observer, 3), Some(Status::Left), "at n{observer}");
    }
}

/// A flood of made-up claims comes while the old address of a member that has moved is asked.
#[test]
fn a_flood_of_claims_does_not_keep_a_member_out_that_has_moved() {
    let mut net = Net::joined(4, &Config::default());
    net.cut = [1, 2, 3, 5].into_iter().flat_map(|other| [(other, 4), (4, other)]).collect();
    let moved = Node::new(Config::default(), Identity::new(id(4), 5), [55; 32], net.now).unwrap();
    let claim = Claim { instance: moved.me().instance(), address: Some(5), ..alive(4, 50) };
    net.nodes.push(moved);
    hear(net.node(1), 5, &claims(4, core::slice::from_ref(&claim)));
    for round in 0..100 {
        let made_up: Vec<_> = (0..25).map(|n| alive(1_000 + round * 25 + n, 0)).collect();
        hear(net.node(1), 200, &claims(200, &made_up));
        net.run_for(Duration::from_millis(15));
    }
    let held = net.node(1).member("n4").unwrap();
    assert_eq!((held.instance(), held.address()), (claim.instance, Some(5)));
}

/// The rival answers, and the members hear first that the owner of the id is gone.
#[test]
fn a_lie_that_a_member_is_gone_opens_its_place_to_no_rival() {
    for status in [Status::Suspected, Status::Dead, Status::Left] {
        let mut net = Net::joined(5, &Config::default());
        let (old, held) = (net.node(4).me().instance(), net.node(4).me().generation());
        let rival =
            Node::new(Config::default(), Identity::new(id(4), 6), [55; 32], net.now).unwrap();
        let instance = rival.me().instance();
        net.nodes.push(rival);
        for _ in 0..5 {
            let gone = Claim { instance: old, status, ..alive(4, held.next().0) };
            let here = Claim { instance, address: Some(6), ..alive(4, held.0 + 2) };
            let lie = claims(200, &[gone, here]);
            for address in [1, 2, 3, 5] {
                hear(net.node(address), 200, &lie);
            }
            net.run_for(Duration::from_secs(2));
        }
        assert!(net.node(4).health().active, "{status}");
        for address in [1, 2, 3, 5] {
            let held = net.node(address).member("n4").unwrap();
            let expected = (Status::Alive, old, Some(4));
            assert_eq!((held.status(), held.instance(), held.address()), expected, "{status}");
        }
    }
}

/// Lets a node take the word of a process at an address, beside a number of its own.
fn hear_word(net: &mut Net, at: u32, word: &Claim<'_, u32>) -> Generation {
    let node = net.node(at);
    let mut heard = Heard {
        rumor: true,
        from: 9,
        asked: Asked::No,
        word_from: word.address,
        questions_left: 1,
    };
    node.apply_claim(word, &mut heard);
    node.quiet = node.is_quiet();
    node.member(word.id).unwrap().generation()
}

#[test]
fn a_process_that_begins_at_the_highest_generation_is_accused_and_dies_like_any_other() {
    let mut net = Net::joined(5, &Config::default());
    for observer in 1..=5 {
        let held = hear_word(&mut net, observer, &alive(9, Generation::MAX.0));
        assert_eq!(held, Generation::MAX_START);
    }
    net.run_for(Duration::from_secs(10));
    for observer in 1..=5 {
        assert_eq!(net.status(observer, 9), Some(Status::Dead), "at n{observer}");
    }
}

#[test]
fn the_word_of_a_member_raises_it_near_the_end_of_the_range_by_bounded_leaps() {
    let mut net = Net::joined(3, &Config::default());
    let instance = net.node(2).me().instance();
    let word = Claim { instance, ..alive(2, Generation::MAX.0) };
    let start = Generation::MAX_START.0;
    assert_eq!(hear_word(&mut net, 1, &word), Generation(start + Generation::MAX_HIGH_LEAP));
    let again = start + Generation::MAX_HIGH_LEAP + Generation::MAX_LEAP;
    assert_eq!(hear_word(&mut net, 1, &word), Generation(again), "at the same time");
    net.now = net.now + Duration::from_secs(1);
    let now = net.now;
    net.node(1).handle(now, Input::Tick).unwrap();
    assert_eq!(hear_word(&mut net, 1, &word), Generation(again + Generation::MAX_HIGH_LEAP));
}

/// It has left, so the others have the lies and do not ping it.
#[test]
fn a_process_that_was_driven_far_up_comes_back_after_a_restart() {
    let mut net = Net::joined(5, &Config::default());
    for _ in 0..120 {
        let instance = net.node(3).me().instance();
        let lie = Claim { instance, status: Status::Dead, ..alive(3, Generation::MAX.0 - 1) };
        hear(net.node(3), 200, &claims(200, &[lie]));
        net.run_for(Duration::from_millis(500));
    }
    assert!(net.node(3).me().generation().0 > Generation::MAX_START.0 + (1 << 36));
    net.input(3, Input::Leave);
    net.run_for(Duration::from_secs(5));
    assert_eq!(net.status(1, 3), Some(Status::Left));
    net.nodes[2] =
        Node::new(Config::default(), Identity::new(id(3), 3), [77; 32], net.now).unwrap();
    net.input(3, Input::Join { seeds: alloc::vec![1].into() });
    net.run_for(Duration::from_secs(8));
    for observer in [1, 2, 4, 5] {
        assert_eq!(net.status(observer, 3), Some(Status::Alive), "at n{observer}");
    }
}

/// Each step is within reach of the one before, or so the liar says.
#[test]
fn a_ladder_of_generations_keeps_nobody_dead() {
    let mut net = Net::joined(5, &Config::default());
    let instance = net.node(3).me().instance();
    let (far, leap) = (1 << 56, 1 << 32);
    let step = |generation, status| Claim { instance, status, ..alive(3, generation) };
    let lie = claims(
        200,
        &[
            step(far + leap, Status::Alive),
            step(far + 2 * leap, Status::Alive),
            step(far + 2 * leap + 1, Status::Dead),
        ],
    );
    let near: Vec<_> = (1..=40)
        .map(|at| step(at * Generation::MAX_LEAP, Status::Alive))
        .chain([step(40 * Generation::MAX_LEAP + 1, Status::Left)])
        .collect();
    let near = claims(200, &near);
    for address in [1, 2, 4, 5] {
        hear(net.node(address), 200, &lie);
        hear(net.node(address), 200, &near);
    }
    net.run_for(Duration::from_secs(10));
    for address in 1..=5 {
        assert_eq!(net.status(address, 3), Some(Status::Alive), "at n{address}");
    }
}

/// The highest lie that a member answers at once lifts it to where it climbs slowly itself. Nothing
/// climbs past it from there.
#[test]
fn a_ladder_from_the_highest_start_keeps_nobody_dead() {
    for last in [Status::Suspected, Status::Dead, Status::Left] {
        let mut net = Net::joined(5, &Config::default());
        let instance = net.node(3).me().instance();
        let step = |generation, status| Claim { instance, status, ..alive(3, generation) };
        let highest = Generation::MAX_START.0;
        hear(net.node(3), 200, &claims(200, &[step(highest, Status::Suspected)]));
        net.run_for(Duration::from_secs(10));
        for address in 1..=5 {
            let held = net.node(address).member("n3").unwrap();
            let state = (held.status(), held.generation());
            assert_eq!(state, (Status::Alive, Generation(highest + 1)), "at n{address}");
        }
        for (leap, between) in [
            (Generation::MAX_LEAP, Status::Alive),
            (Generation::MAX_LEAP, Status::Suspected),
            (1, Status::Suspected),
        ] {
            let base = net.node(3).me().generation().0;
            let ladder: Vec<_> = (1..=40)
                .map(|at| step(base + at * leap, between))
                .chain([step(base + 40 * leap + 1, last)])
                .collect();
            let ladder = claims(200, &ladder);
            for address in [1, 2, 4, 5] {
                hear(net.node(address), 200, &ladder);
            }
            net.run_for(Duration::from_secs(20));
            for address in 1..=5 {
                assert_eq!(net.status(address, 3), Some(Status::Alive), "{last} at n{address}");
            }
        }
    }
}

/// Lets n1 compare its table, and answers in the name of its partner with these claims. True if it
/// has asked.
fn lie_in_session(net: &mut Net, lies: &[Claim<'_, u32>]) -> bool {
    net.now = net.now + Duration::from_millis(250);
    let now = net.now;
    net.node(1).handle(now, Input::Exchange).unwrap();
    let mut asked = false;
    for (to, bytes) in drain(net.node(1)) {
        for frame in frames(&bytes) {
            let Frame::SyncVersions(head, _) = frame else { continue };
            let done = datagram(to, |w| {
                let done = crate::wire::SyncDone { number: head.number, more: true };
                assert!(w.frame(kind::SYNC_DONE, &done));
            });
            let lie = [&claims(to, lies)[..], &done[crate::wire::HEADER_LEN..]].concat();
            hear(net.node(1), to, &lie);
            asked = true;
        }
    }
    asked
}

/// Peers that compare tables may be asked for all that they know, and still not be believed.
#[test]
fn a_partner_that_lies_in_a_session_brings_nobody_who_does_not_answer() {
    let mut net = Net::joined(3, &Config::default());
    net.run_for(Duration::from_secs(30));
    let told = (0..200).filter(|at| lie_in_session(&mut net, &made_up(20 + 20 * at, 20))).count();
    assert!(told > 50, "{told}");
    assert_eq!(net.node(1).membership().len(), 3);
}

/// A process that is gone cannot be asked, so its death is taken from a partner; but only as far as
/// the member can refute it.
#[test]
fn what_a_partner_says_of_the_dead_is_refuted_by_a_member_that_runs() {
    let mut net = Net::joined(4, &Config::default());
    net.run_for(Duration::from_secs(30));
    let mut told = 0;
    for generation in [3, Generation::MAX_LEAP, Generation::MAX_START.0, Generation::MAX.0] {
        for status in [Status::Dead, Status::Left] {
            let lie = Claim { status, instance: Instance(5), ..alive(3, generation) };
            told += usize::from(lie_in_session(&mut net, &[lie]));
        }
    }
    assert!(told > 4, "{told}");
    net.run_for(Duration::from_secs(20));
    for address in 1..=4 {
        assert_eq!(net.status(address, 3), Some(Status::Alive), "at n{address}");
    }
}

/// A seed can make up a whole cluster. It is forgotten within a minute, and no other node hears of
/// it.
#[test]
fn members_from_the_pages_of_a_lying_seed_are_forgotten_if_they_never_answer() {
    let mut net = Net::new(1, &Config::default());
    net.input(1, Input::Join { seeds: alloc::vec![9].into() });
    let request = net.log.iter().rev().find_map(|(_, to, bytes)| {
        frames(bytes).into_iter().find_map(|frame| match frame {
            Frame::PageRequest(request) if *to == 9 => Some(request.number),
            _ => None,
        })
    });
    let number = request.unwrap();
    let lie = claims(9, &made_up(20, 30));
    let page = datagram(9, |w| {
        assert!(w.frame(kind::PAGE, &crate::wire::Page { number, next: None }));
    });
    hear(net.node(1), 9, &[&lie[..], &page[crate::wire::HEADER_LEN..]].concat());
    assert_eq!(net.node(1).membership().len(), 31);
    net.run_for(Duration::from_secs(70));
    assert_eq!(net.node(1).membership().len(), 1);
    net.run_for(Duration::from_secs(10));
    assert_eq!(net.node(1).health().isolated_since, None);
    let to_each = net.log.iter().filter(|&&(_, to, _)| to == 25).map(|(.., bytes)| bytes.len());
    assert!(to_each.sum::<usize>() <= 16 * crate::wire::PING_LEN);
}

#[test]
fn a_crowd_that_answers_is_told_and_one_that_falls_silent_is_ended_by_a_cluster_config() {
    let mut net = Net::joined(40, &Config::default());
    net.run_for(Duration::from_secs(700));
    net.events(1);
    for address in 41..=100 {
        let crowd = node(address, &Config::default());
        net.nodes.push(crowd);
        net.input(address, Input::Join { seeds: alloc::vec![1].into() });
    }
    net.run_for(Duration::from_secs(70));
    let told = net.events(1).into_iter().any(|event| matches!(event, Event::TableDoubled { .. }));
    assert!(told);
    let silent = |at: u32| (1..=40).flat_map(move |other| [(other, at), (at, other)]);
    net.cut = (41..=100).flat_map(silent).collect();
    net.run_for(Duration::from_secs(20));
    assert!((1..=40).all(|address| net.node(address).health().isolated_since.is_some()));
    for address in 1..=40 {
        let members: Vec<_> = (1..=40).map(id).collect();
        net.input(address, Input::ApplyClusterConfig { version: 1, members: members.into() });
    }
    net.run_for(Duration::from_secs(10));
    for address in 1..=40 {
        let health = net.node(address).health();
        assert_eq!((health.alive, health.isolated_since), (40, None), "n{address}");
    }
}

/// A datagram with as many made-up members as fit, from this address on.
fn full_of_made_up(from: u32) -> (Vec<u8>, u32) {
    let mut count = 0;
    let bytes = datagram(9_999, |w| {
        let open = w.open(kind::CLAIMS).unwrap();
        loop {
            let (address, id) = ((from + count).to_be_bytes(), name(from + count));
            let fits = w.item(&crate::wire::WireClaim {
                status: Status::Alive.rank(),
                generation: 0,
                instance: 77,
                id: id.as_bytes(),
                address: &address,
                accusers: Accusers::new(),
                age_secs: 0,
            });
            if !fits {
                break;
            }
            count += 1;
        }
        w.close(open);
    });
    (bytes, count)
}

/// Bytes of the heap of all nodes.
fn heap_bytes(net: &Net) -> usize {
    net.nodes.iter().map(Node::heap_bytes).sum()
}

/// Each node hears a datagram full of made-up members in each of some seconds, or none if `lies` is
/// false. In the middle of it a member crashes. Returns the bytes of the heap ten minutes later,
/// and the most meanwhile.
fn heap_after_made_up_members(nodes: u32, seconds: u32, lies: bool) -> (usize, usize) {
    let mut net = Net::joined(nodes, &Config::default());
    net.run_for(Duration::from_secs(60));
    let crashed = nodes / 2;
    let (mut crash, mut found, mut most) = (None, None, 0);
    for second in 0..seconds.max(12) {
        if lies && second < seconds {
            let (lie, count) = full_of_made_up(10_000 + 100 * second);
            assert!(count > 60, "{count}");
            for address in 1..=nodes {
                let now = net.now;
                let input = Input::Datagram { from: 9_999, bytes: lie.as_slice().into() };
                net.node(address).handle(now, input).unwrap();
            }
        }
        if second == seconds / 2 {
            let paths = (1..=nodes).flat_map(|other| [(other, crashed), (crashed, other)]);
            net.cut = paths.collect();
            crash = Some(net.now);
        }
        for _ in 0..10 {
            net.run_for(Duration::from_millis(100));
            net.log.clear();
            drain_events(&mut net);
            let dead = |node: &Node<u32>| {
                let held = node.member(&name(crashed)).map(|held| held.status());
                held == Some(Status::Dead) || node.me().id() == name(crashed)
            };
            if let (Some(crash), None) = (crash, found)
                && net.nodes.iter().all(dead)
            {
                found = Some(net.now.since(crash));
            }
        }
        most = most.max(heap_bytes(&net));
        for node in net.nodes.iter().filter(|node| node.me().id() != name(crashed)) {
            assert_eq!(node.membership().len(), nodes as usize);
            assert_eq!(node.health().isolated_since, None, "{}", node.me().id());
        }
    }
    let found = found.expect("the crash was found");
    assert!(found <= Duration::from_secs(6), "the crash was found after {found:?}");
    net.cut.clear();
    for _ in 0..600 {
        net.run_for(Duration::from_secs(1));
        net.log.clear();
        drain_events(&mut net);
    }
    for node in &net.nodes {
        let health = node.health();
        assert_eq!((node.membership().len(), health.alive), (nodes as usize, nodes));
        assert_eq!((health.local_health, health.isolated_since), (0, None));
    }
    (heap_bytes(&net), most)
}

/// Takes all events, as a host does: those that wait take memory.
fn drain_events(net: &mut Net) {
    for node in &mut net.nodes {
        while node.poll_event().is_some() {}
    }
}

fn made_up_members_change_nothing(nodes: u32, seconds: u32) {
    let (usual, _) = heap_after_made_up_members(nodes, seconds, false);
    for seconds in [1, seconds] {
        let (after, most) = heap_after_made_up_members(nodes, seconds, true);
        // A queue keeps the room for a few datagrams that it had to hold once.
        assert!(after <= usual * 105 / 100, "{after} B instead of {usual} B, {most} B meanwhile");
    }
}

#[test]
fn datagrams_full_of_made_up_members_change_nothing() {
    made_up_members_change_nothing(24, 20);
}

#[test]
#[ignore = "takes minutes: --release --lib datagrams_full_of_made_up -- --ignored"]
fn datagrams_full_of_made_up_members_change_nothing_at_250_nodes() {
    made_up_members_change_nothing(250, 60);
}

/// A process with 300 addresses that all answer joins 250 nodes, and falls silent.
#[test]
#[ignore = "takes minutes: --release --lib a_crowd_of_300 -- --ignored"]
fn a_crowd_of_300_is_told_to_250_nodes_and_ended_by_a_cluster_config_within_ten_seconds() {
    const NODES: u32 = 250;
    let mut net = Net::joined(NODES, &Config::default());
    for _ in 0..700 {
        net.run_for(Duration::from_secs(1));
        net.log.clear();
    }
    (1..=NODES).for_each(|address| drop(net.events(address)));
    for address in NODES + 1..=NODES + 300 {
        net.nodes.push(node(address, &Config::default()));
    }
    for address in NODES + 1..=NODES + 300 {
        net.input(address, Input::Join { seeds: alloc::vec![1].into() });
        net.log.clear();
    }
    for _ in 0..70 {
        net.run_for(Duration::from_secs(1));
        net.log.clear();
    }
    let told = |event| matches!(event, Event::TableDoubled { .. });
    let untold = (1..=NODES).filter(|&address| !net.events(address).into_iter().any(told)).count();
    assert_eq!(untold, 0, "nodes were not told of the crowd");
    // All of it falls silent at once.
    net.nodes.truncate(NODES as usize);
    net.run_for(Duration::from_secs(20));
    let isolated = |node: &&Node<u32>| node.health().isolated_since.is_some();
    assert_eq!(net.nodes.iter().filter(isolated).count(), NODES as usize);
    let members: Vec<_> = (1..=NODES).map(id).collect();
    for address in 1..=NODES {
        let members = members.clone().into();
        net.input(address, Input::ApplyClusterConfig { version: 1, members });
    }
    let begin = net.now;
    let ended = |node: &Node<u32>| {
        let health = node.health();
        (health.alive, health.isolated_since) == (NODES, None)
    };
    while !net.nodes.iter().all(ended) {
        net.run_for(Duration::from_millis(100));
        assert!(net.now.since(begin) <= Duration::from_secs(10), "it has not ended");
    }
}

#[test]
fn an_accepted_loss_is_known_everywhere_soon() {
    let mut net = Net::joined(50, &Config::default());
    let lost: Vec<u32> = (21..=50).collect();
    for &at in &lost {
        net.cut.extend((1..=50).flat_map(|other| [(other, at), (at, other)]));
    }
    net.run_for(Duration::from_secs(30));
    assert!((1..=20).all(|address| net.node(address).health().isolated_since.is_some()));
    net.input(1, Input::AcceptLoss);
    net.run_for(Duration::from_secs(15));
    for address in 1..=20 {
        let health = net.node(address).health();
        assert_eq!(
            (health.alive, health.dead, health.isolated_since),
            (20, 30, None),
            "n{address}"
        );
    }
}

#[test]
fn a_claim_that_waited_while_the_cluster_config_changed_is_refused() {
    let mut net = Net::joined(3, &Config::default());
    hear(net.node(1), 200, &claims(200, &[alive(99, 0)]));
    let asked = drain(net.node(1)).into_iter().find(|&(to, _)| to == 99);
    let Some(Frame::Ping(ping)) = asked.iter().flat_map(|(_, bytes)| frames(bytes)).next() else {
        panic!("the stranger is asked");
    };
    let members: Vec<_> = (1..=3).map(id).collect();
    net.input(1, Input::ApplyClusterConfig { version: 1, members: members.into() });
    let ack = datagram(99, |w| assert!(w.lead(kind::ACK, ping.number, 77)));
    hear(net.node(1), 99, &ack);
    assert_eq!(net.node(1).membership().len(), 3);
}

#[test]
fn two_nodes_that_reach_each_other_only_through_helpers_know_each_other() {
    let mut net = Net::joined(6, &Config::default());
    net.cut = alloc::vec![(3, 7), (7, 3)];
    net.nodes.push(node(7, &Config::default()));
    net.input(7, Input::Join { seeds: alloc::vec![1].into() });
    net.run_for(Duration::from_secs(10));
    for _ in 0..300 {
        net.run_for(Duration::from_secs(1));
        assert_eq!(
            (net.status(7, 3), net.status(3, 7)),
            (Some(Status::Alive), Some(Status::Alive))
        );
    }
    let removed = |event: &Event<u32>| matches!(event, Event::Removed { .. });
    assert!(!net.events(7).iter().any(removed));
}
