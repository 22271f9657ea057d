//! Seeds for life, and members of an earlier run: who was apart finds each other again.

use super::*;

fn cut_between(left: &[u32], right: &[u32]) -> Vec<(u32, u32)> {
    let both = |&a: &u32| right.iter().flat_map(move |&b| [(a, b), (b, a)]);
    left.iter().flat_map(both).collect()
}

fn alive_at_each(net: &Net) -> Vec<u32> {
    net.nodes.iter().map(|node| node.health().alive).collect()
}

#[test]
fn two_sites_that_boot_apart_find_each_other_once_the_link_is_up() {
    let mut net = Net::new(4, &Config::default());
    net.cut = cut_between(&[1, 2], &[3, 4]);
    for address in 1..=4 {
        net.input(address, Input::Join { seeds: alloc::vec![1, 2, 3, 4].into() });
    }
    net.run_for(Duration::from_secs(600));
    assert_eq!(alive_at_each(&net), [2; 4]);
    net.cut.clear();
    net.run_for(Duration::from_secs(60));
    assert_eq!(alive_at_each(&net), [4; 4]);
}

/// No node has a seed: each remembers where members were that it had to forget.
#[test]
fn the_halves_of_a_split_that_outlasts_the_memory_of_the_dead_find_each_other() {
    let config = Config::default().tombstone_ttl(Duration::from_secs(60));
    let mut net = Net::joined(10, &config);
    for address in 1..=10 {
        net.input(address, Input::Seeds { seeds: alloc::vec![].into() });
    }
    let (left, right): (Vec<u32>, Vec<u32>) = ((1..=5).collect(), (6..=10).collect());
    net.cut = cut_between(&left, &right);
    net.run_for(Duration::from_secs(200));
    assert!(net.nodes.iter().all(|node| node.members().count() == 5), "all is forgotten");
    net.cut.clear();
    net.run_for(Duration::from_secs(60));
    assert_eq!(alive_at_each(&net), [10; 10]);
}

/// One that has left knows how to come back, and the address of one that this node has never heard
/// may be that of a victim.
#[test]
fn of_forgotten_members_only_those_that_have_answered_and_died_are_looked_for() {
    let config = Config::default().tombstone_ttl(Duration::from_secs(120));
    let mut net = Net::joined(4, &config);
    for address in 1..=4 {
        net.input(address, Input::Seeds { seeds: alloc::vec![].into() });
    }
    net.cut = cut_between(&[1, 2, 3, 5], &[4]);
    net.input(3, Input::Leave);
    net.run_for(Duration::from_secs(20));
    // A newcomer is told of both.
    net.nodes.push(node(5, &config));
    net.input(5, Input::Join { seeds: alloc::vec![1].into() });
    net.input(5, Input::Seeds { seeds: alloc::vec![].into() });
    net.run_for(Duration::from_secs(20));
    for observer in [1, 2, 5] {
        let held = [net.status(observer, 3), net.status(observer, 4)];
        assert_eq!(held, [Some(Status::Left), Some(Status::Dead)], "at n{observer}");
    }
    net.run_for(Duration::from_secs(200));
    assert!([1, 2, 5].iter().all(|&at| net.node(at).members().count() == 3), "all is forgotten");
    net.log.clear();
    net.run_for(Duration::from_secs(600));
    let looked_for = |from, to| net.log.iter().any(|it| (it.0, it.1) == (from, to));
    for (from, to, expected, why) in [
        (1, 4, true, "it has answered, and is dead"),
        (2, 4, true, "it has answered, and is dead"),
        (5, 4, false, "it has never answered"),
        (1, 3, false, "it has left"),
        (2, 3, false, "it has left"),
        (5, 3, false, "it has left"),
    ] {
        assert_eq!(looked_for(from, to), expected, "n{to} by n{from}: {why}");
    }
}

/// While all seeds are members, they are not asked, and the host resolves them every five minutes.
#[test]
fn seeds_that_are_members_are_left_alone() {
    let mut net = Net::joined(3, &Config::default());
    net.events(3);
    net.log.clear();
    net.run_for(Duration::from_secs(1_800));
    let opens = |bytes: &[u8]| frames(bytes).iter().any(|it| matches!(it, Frame::SyncOpen(_)));
    assert_eq!(net.log.iter().filter(|(_, _, bytes)| opens(bytes)).count(), 0);
    let due = |event: &Event<u32>| matches!(event, Event::SeedsDue);
    let times = net.events(3).iter().filter(|&event| due(event)).count();
    assert!((5..=6).contains(&times), "{times} in half an hour");
}

/// A seed may lead to a member by another address, such as that of a load balancer. It is asked a
/// short question, and nothing follows.
#[test]
fn a_seed_that_leads_to_a_member_by_another_address_costs_little() {
    let mut net = Net::joined(3, &Config::default());
    net.sends_from = alloc::vec![(2, 102)];
    net.input(3, Input::Seeds { seeds: alloc::vec![102].into() });
    net.run_for(Duration::from_secs(10));
    net.log.clear();
    net.run_for(Duration::from_secs(600));
    let asked = |it: &&(u32, u32, Vec<u8>)| {
        (it.0, it.1) == (3, 102) && frames(&it.2).iter().any(|it| matches!(it, Frame::SyncOpen(_)))
    };
    let lens: Vec<usize> = net.log.iter().filter(asked).map(|it| it.2.len()).collect();
    assert!((10..=45).contains(&lens.len()), "{}", lens.len());
    assert!(lens.iter().all(|&len| len <= crate::wire::PING_LEN), "{lens:?}");
}

/// A network of `nodes` in which the first ones know each other, and the last one has just started.
fn net_with_newcomer(nodes: u32, config: &Config) -> Net {
    let mut net = Net::joined(nodes - 1, config);
    net.nodes.push(node(nodes, config));
    net
}

#[test]
fn a_node_without_seeds_joins_through_the_members_of_its_earlier_run() {
    let mut net = net_with_newcomer(5, &Config::default());
    // Its own address and one that is gone are among them.
    net.input(5, Input::peers(alloc::vec![5, 77, 3]));
    net.run_for(Duration::from_secs(20));
    assert_eq!(alive_at_each(&net), [5; 5]);
    assert!(
        net.events(5).iter().any(|event| matches!(event, Event::JoinCompleted { seed: 3, .. }))
    );
    assert!(!net.log.iter().any(|it| (it.0, it.1) == (5, 5)), "it never asks itself");
}

#[test]
fn seeds_are_asked_first_and_members_of_an_earlier_run_once_the_seeds_are_silent() {
    let config = Config::default();
    let mut net = net_with_newcomer(5, &config);
    net.input(5, Input::Join { seeds: alloc::vec![77, 78].into() });
    net.input(5, Input::peers(alloc::vec![3]));
    net.log.clear();
    net.run_for(config.join_timeout - Duration::from_millis(100));
    assert!(!net.log.iter().any(|it| (it.0, it.1) == (5, 3)), "not yet");
    net.cut = alloc::vec![(5, 3)];
    net.run_for(Duration::from_millis(200));
    assert!(net.events(5).contains(&Event::JoinFailed));
    // The host resolves the names again, and they lead to the same addresses: what was silent once
    // is not waited for once more.
    net.input(5, Input::Join { seeds: alloc::vec![77, 78].into() });
    net.cut.clear();
    net.run_for(config.join_timeout / 2);
    assert_eq!(alive_at_each(&net)[4], 5);
    net.run_for(Duration::from_secs(20));
    assert_eq!(alive_at_each(&net), [5; 5]);
}

#[test]
fn seeds_that_answer_are_enough() {
    let mut net = net_with_newcomer(5, &Config::default());
    net.input(5, Input::Join { seeds: alloc::vec![2].into() });
    // Later nodes at the addresses of an earlier run are none of this cluster's business.
    net.input(5, Input::peers(alloc::vec![77, 78]));
    net.log.clear();
    net.run_for(Duration::from_secs(10));
    assert_eq!(alive_at_each(&net), [5; 5]);
    let pages = |bytes: &[u8]| frames(bytes).iter().any(|it| matches!(it, Frame::PageRequest(_)));
    assert!(!net.log.iter().any(|it| it.1 >= 77 && pages(&it.2)));
}

/// All nodes lose their power at once, each remembers all others, and they come back one by one.
#[test]
fn a_fleet_that_starts_anew_without_seeds_is_one_cluster_again() {
    let mut net = Net::new(8, &Config::default());
    for address in 1..=8 {
        net.cut =
            cut_between(&(1..=address).collect::<Vec<_>>(), &(address + 1..=8).collect::<Vec<_>>());
        net.input(address, Input::peers((1..=8).collect::<Vec<_>>()));
        net.run_for(Duration::from_secs(15));
    }
    net.cut.clear();
    net.run_for(Duration::from_secs(60));
    assert_eq!(alive_at_each(&net), [8; 8]);
}

/// What was remembered is asked short questions once nothing has answered, and is forgotten.
#[test]
fn members_of_an_earlier_run_that_are_gone_cost_little_and_are_forgotten() {
    let config = Config::default();
    let mut net = Net::new(1, &config);
    net.input(1, Input::peers(alloc::vec![77, 78]));
    net.run_for(config.join_timeout + Duration::from_secs(1));
    assert!(net.events(1).contains(&Event::JoinFailed));
    net.log.clear();
    net.run_for(Duration::from_secs(600));
    assert!((100..=300).contains(&net.log.len()), "{}", net.log.len());
    assert!(net.log.iter().all(|it| it.2.len() <= crate::wire::PING_LEN));
    assert!(!net.events(1).contains(&Event::JoinFailed), "told once");
    net.now = net.now + Duration::from_secs(31 * 24 * 3_600);
    net.run_for(Duration::from_secs(10));
    net.log.clear();
    net.run_for(Duration::from_secs(60));
    assert_eq!(net.log.len(), 0);
}

#[test]
fn members_of_an_earlier_run_outside_of_the_allowed_networks_are_not_asked() {
    let at = |ip: &str| core::net::SocketAddr::new(ip.parse().unwrap(), 7946);
    let identity = Identity::new(id(1), at("10.0.0.1"));
    let mut node = Node::new(Config::default(), identity, [1; 32], Instant::ORIGIN).unwrap();
    let networks = Networks::new(["10.0.0.0/24".parse().unwrap()]).unwrap();
    node.handle(Instant::ORIGIN, Input::AllowNetworks { networks }).unwrap();
    let peers = ["10.0.1.7", "127.0.0.1", "10.0.0.1", "10.0.0.7"].map(at);
    node.handle(Instant::ORIGIN, Input::peers(peers.to_vec())).unwrap();
    let (mut asked, mut buf) = (alloc::collections::BTreeSet::new(), [0; 1_500]);
    for _ in 0..200 {
        while let Some(sent) = node.poll_transmit(&mut buf) {
            asked.insert(sent.to);
        }
        let Some(at) = node.poll_timeout() else { break };
        node.handle(at, Input::Tick).unwrap();
    }
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), [at("10.0.0.7")]);
}

/// Far more than are used, as a file might have them.
#[test]
fn no_more_members_of_an_earlier_run_are_used_than_the_bound() {
    let mut net = Net::new(1, &Config::default());
    net.input(1, Input::peers((1_000..3_000).collect::<Vec<u32>>()));
    net.run_for(Duration::from_secs(120));
    let asked: alloc::collections::BTreeSet<u32> = net.log.iter().map(|it| it.1).collect();
    assert!((16..=MAX_PEERS).contains(&asked.len()), "{}", asked.len());
}

/// The host may know the members of the earlier run before it knows where its seeds are.
#[test]
fn seeds_that_come_later_are_asked_first_all_the_same() {
    let config = Config::default();
    let mut net = Net::new(1, &config);
    net.input(1, Input::peers(alloc::vec![79]));
    net.run_for(Duration::from_millis(500));
    net.input(1, Input::Join { seeds: alloc::vec![77].into() });
    let asked = |net: &Net, at| net.log.iter().any(|it| it.1 == at);
    assert!(asked(&net, 79));
    net.log.clear();
    net.run_for(config.join_timeout - Duration::from_millis(100));
    assert!(asked(&net, 77) && !asked(&net, 79));
    net.run_for(Duration::from_secs(5));
    assert!(asked(&net, 79));
}
