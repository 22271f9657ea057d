//! Seeds for life: who was apart finds each other again.

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
