//! Members that are gone: all nodes settle on one record of each, although nobody is there to speak
//! up for it.

use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Status};
use telemetry_gossip_sim::{
    Checking, Cluster, Memory, Network, Quantiles, Settings, Share, node_id,
};
use telemetry_gossip_tests::for_each_seed;

/// How long nodes may take to find a record of a member that is gone and that differs.
const SETTLED: Duration = Duration::from_secs(90);

fn cluster(nodes: usize, loss: Share, seed: u64) -> Cluster {
    let settings = Settings::default().nodes(nodes).seed(seed).network(Network::losing(loss));
    let mut cluster = Cluster::new(settings.checking(Checking::Sampled));
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(5));
    cluster
}

/// Whether all nodes that take part hold the same record of `gone`, as Left.
fn agree_on(cluster: &Cluster, gone: usize) -> bool {
    let records = cluster.taking_part().map(|observer| {
        cluster.held(observer, gone).map(|held| (held.status(), held.generation()))
    });
    let mut records: Vec<_> = records.collect();
    records.dedup();
    matches!(records[..], [Some((Status::Left, _))])
}

/// A member leaves on one side of a partition, and is found dead on the other.
fn leaves_behind_a_partition(left: usize, right: usize, loss: Share, seeds: u64) {
    let mut times = Vec::new();
    for_each_seed(seeds, |seed| {
        let nodes = left + right;
        let mut cluster = cluster(nodes, loss, seed);
        // On either side in turn.
        let leaver = if seed % 2 == 0 { 1 } else { nodes - 1 };
        cluster.partition(0..left, left..nodes);
        cluster.run_for(Duration::from_secs(3 + seed % 60));
        cluster.leave(leaver);
        cluster.run_for(Duration::from_secs(60));
        cluster.heal();
        let settled =
            |cluster: &Cluster| cluster.views_complete_and_alive() && agree_on(cluster, leaver);
        let took = cluster.run_until(settled, Duration::from_secs(600)).expect("they agree");
        times.push(took);
        let newcomer = cluster.add();
        cluster.run_for(Duration::from_secs(30));
        assert_eq!(cluster.status(newcomer, leaver), Some(Status::Left), "the newcomer's record");
        assert!(agree_on(&cluster, leaver));
    });
    let times = Quantiles::of(times).expect("there were seeds");
    println!("{left} and {right} nodes, {loss} loss: one record after {times}");
    assert!(times.max <= SETTLED, "{times}");
}

#[test]
fn who_left_behind_a_partition_has_left_for_all() {
    for (left, right) in [(6, 3), (5, 4), (24, 6), (2, 2)] {
        leaves_behind_a_partition(left, right, Share::NONE, 20);
    }
    leaves_behind_a_partition(24, 6, Share::percent(10), 20);
    leaves_behind_a_partition(50, 14, Share::NONE, 4);
}

/// After a leave, a return and another leave, all hold the last one. A node that missed the return
/// takes a partner's word about another process only a minute after it has heard of the first one,
/// as that may be a lie; and tables that were compared in vain are compared once a minute at least.
#[test]
fn who_left_twice_has_left_at_one_generation_for_all() {
    for_each_seed(40, |seed| {
        let mut cluster = cluster(9, Share::percent(5), seed);
        cluster.leave(4);
        cluster.run_for(Duration::from_secs(2 + seed % 7));
        cluster.crash(4);
        cluster.restart(4, if seed % 2 == 0 { Memory::Lost } else { Memory::Kept });
        cluster.run_for(Duration::from_millis(300 * (1 + seed % 10)));
        cluster.leave(4);
        cluster.run_for(SETTLED + Duration::from_secs(60));
        let held = |it| cluster.held(it, 4).map(|held| (held.status(), held.generation()));
        let all: Vec<_> = cluster.taking_part().map(held).collect();
        assert!(agree_on(&cluster, 4), "{all:?}");
    });
}

/// A node misses the death of a member, cut off or paused, and returns after all others have
/// forgotten it. It still holds the member Alive.
#[test]
fn a_member_that_all_others_have_forgotten_is_not_brought_back() {
    const NODES: usize = 8;
    for pauses in [false, true] {
        for_each_seed(20, |seed| {
            let config = Config::default().tombstone_ttl(Duration::from_secs(60));
            let settings = Settings::default().nodes(NODES).seed(seed).config(config);
            let mut cluster = Cluster::new(settings.checking(Checking::Off));
            cluster.start_joined();
            cluster.run_for(Duration::from_millis(5_000 + seed * 77));
            let (witness, victim) = (2, NODES - 1);
            if pauses {
                cluster.pause(witness);
            } else {
                cluster.partition([witness], (0..NODES).filter(|&node| node != witness));
            }
            cluster.crash(victim);
            cluster.run_for(Duration::from_secs(180));
            let others = |&node: &usize| node != witness && node != victim;
            assert!((0..NODES).filter(others).all(|node| cluster.held(node, victim).is_none()));
            let returns = cluster.now();
            cluster.resume(witness);
            cluster.heal();
            cluster.run_for(Duration::from_secs(120));
            let ghost = node_id(victim);
            let is_ghost = |event: &Event<u32>| match event {
                Event::Joined { id, .. } | Event::Alive { id, .. } => *id == ghost,
                _ => false,
            };
            for node in (0..NODES).filter(others) {
                let mut events = cluster.events(node);
                let seen = events.find(|(at, event)| *at >= returns && is_ghost(event));
                assert_eq!(seen, None, "seed {seed}: at {node}");
            }
            // It has learned of the death, at last, or has forgotten the member as well.
            let held = cluster.status(witness, victim);
            assert!(matches!(held, None | Some(Status::Dead)), "{held:?}");
        });
    }
}
