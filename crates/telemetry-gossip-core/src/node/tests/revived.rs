//! What a peer says of members that died or left: that they are back.

use super::*;

/// A cluster of 24 in which members have died, or left if `leaves` says so, one after the other,
/// until `live` are left.
fn more_dead_than_alive(live: u32, leaves: impl Fn(u32) -> bool) -> Net {
    let mut net = Net::joined(24, &Config::default());
    for dead in (live + 1..=24).rev() {
        if leaves(dead) {
            net.input(dead, Input::Leave);
        }
        net.cut.extend((1..=24).flat_map(|other| [(other, dead), (dead, other)]));
        net.run_for(Duration::from_secs(15));
    }
    for address in 1..=live {
        let health = net.node(address).health();
        assert_eq!((health.alive, health.dead + health.left), (live, 24 - live), "n{address}");
    }
    net
}

/// Says that the dead are alive, above the generation at which they died.
fn raise(net: &mut Net, at: u32) {
    let lies: Vec<Claim<'_, u32>> = (11..=24)
        .map(|dead| {
            let held = net.node(at).member(&name(dead)).unwrap();
            let (instance, generation) = (held.instance(), held.generation().next());
            Claim { instance, generation, ..alive(dead, 0) }
        })
        .collect();
    hear(net.node(at), 200, &claims(200, &lies));
}

#[test]
fn dead_members_that_a_liar_raises_isolate_no_node_and_are_dead_again_soon() {
    let mut net = more_dead_than_alive(10, |address| address % 2 == 0);
    for _ in 0..30 {
        for address in 1..=10 {
            raise(&mut net, address);
        }
        net.run_for(Duration::from_secs(1));
        assert!((1..=10).all(|address| net.node(address).health().isolated_since.is_none()));
    }
    net.run_for(Duration::from_secs(30));
    for address in 1..=10 {
        let health = net.node(address).health();
        assert_eq!((health.alive, health.suspected), (10, 0), "n{address}");
    }
}

#[test]
fn each_node_contacts_all_the_dead_in_turn_and_sooner_if_there_are_many() {
    let mut net = more_dead_than_alive(3, |_| false);
    net.log.clear();
    net.run_for(Duration::from_secs(30));
    for address in 1..=3 {
        for dead in 4..=24 {
            let contacts = net.log.iter().filter(|(from, to, _)| (*from, *to) == (address, dead));
            assert!((1..=4).contains(&contacts.count()), "n{address} to n{dead}");
        }
    }
}
