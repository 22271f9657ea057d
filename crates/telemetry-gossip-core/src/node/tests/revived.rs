//! What a peer says of members that died or left: that they are back.

use super::*;

/// A cluster in which more members have died or left, one after the other, than go on.
fn more_dead_than_alive() -> Net {
    let mut net = Net::joined(24, &Config::default());
    for dead in (11..=24).rev() {
        if dead % 2 == 0 {
            net.input(dead, Input::Leave);
        }
        net.cut.extend((1..=24).flat_map(|other| [(other, dead), (dead, other)]));
        net.run_for(Duration::from_secs(15));
    }
    for address in 1..=10 {
        let health = net.node(address).health();
        assert_eq!((health.alive, health.dead), (10, 14), "n{address}");
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
    let mut net = more_dead_than_alive();
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
