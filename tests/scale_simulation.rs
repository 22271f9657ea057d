//! Scale, with 250 nodes in memory: (a) memory per member, (b) network bytes of a push-pull
//! exchange, (c) the time in which a change of state reaches all nodes. The yardstick is 100 B per
//! member and 25 KB for an exchange of the full state.
//!
//! The figures are printed: `cargo test --release --test scale_simulation -- --nocapture`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use telemetry_gossip_core::{Config, Generation, Identity, Input, Instance, Instant, Node, NodeId};
use telemetry_gossip_sim::{
    Cluster, Network, News, Quantiles, RoundSettings, Rounds, Settings, Share,
};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 250;

/// An IPv4 address with a port, as in production.
fn address(index: usize) -> SocketAddr {
    let [_, _, high, low] = u32::try_from(index).expect("small").to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 0, high, low), 7946))
}

fn cluster(seed: u64) -> Rounds<SocketAddr> {
    let settings = RoundSettings::default().nodes(NODES).seed(seed);
    Rounds::new(&settings, address).expect("the default config is valid")
}

/// (a) At most 100 B per member. This is all memory that the allocator gave for the table of one
/// node: ids, addresses, versions, and one telemetry entry of each member.
#[test]
fn a_member_takes_at_most_100_bytes() {
    let mut rounds = cluster(1);
    for node in 0..NODES {
        rounds.publish(node, "load", b"0.75").expect("a short value");
    }
    while !rounds.in_sync() {
        rounds.round();
    }
    let table = rounds.into_table(0);
    assert_eq!((table.len(), table.get("n9").map(|row| row.telemetry_version())), (NODES, Some(1)));
    let counted = table.heap_bytes();
    let freed = allocation_counter::measure(|| drop(table)).bytes_current.unsigned_abs();
    let each = freed / NODES as u64;
    println!(
        "(a) memory: {freed} B for {NODES} members, {each} B per member, \
         including one telemetry entry"
    );
    assert_eq!(freed, counted as u64, "heap_bytes of the table is exact");
    assert!(each <= 100, "{each} B per member");
}

/// (a) The growth of a node's heap per member, without the text of its id, for few and many
/// members.
#[test]
fn a_member_takes_at_most_64_bytes_without_its_id() {
    let heap = |members: usize| {
        let identity = Identity::new("me".parse().expect("an id"), address(0));
        let mut node = Node::new(Config::default(), identity, [0; 32], Instant::ORIGIN)
            .expect("the default config is valid");
        let mut text = 0;
        for member in 1..=members {
            let id: NodeId = format!("n{member}").parse().expect("an id");
            text += id.as_str().len() as u64;
            let (address, instance) = (Some(address(member)), Some(Instance(7)));
            let input = Input::Introduce { id, address, instance, generation: Generation(1) };
            node.handle(Instant::ORIGIN, input).expect("there is room");
            while node.poll_event().is_some() {}
        }
        let counted = node.heap_bytes();
        let freed = allocation_counter::measure(|| drop(node)).bytes_current.unsigned_abs();
        assert_eq!(freed, counted as u64, "heap_bytes of the node is exact");
        (freed, text)
    };
    let (empty, _) = heap(0);
    for members in [250, 10_000] {
        let (freed, text) = heap(members);
        let each = (freed - empty - text) as f64 / members as f64;
        println!(
            "(a) memory: {each:.1} B for each of {members} members, without the text of its id"
        );
        assert!(each <= 64.0, "{each} B per member");
    }
}

/// (b) At most 120 B per node in a round without differences. When two nodes meet for the first
/// time, the partner also verifies the address of the initiator. At this size, partners repeat
/// after seven rounds.
#[test]
fn an_exchange_without_differences_costs_at_most_120_bytes_per_node() {
    for_each_seed(20, |seed| {
        let mut rounds = cluster(seed);
        let first = rounds.round().bytes / NODES as u64;
        for _ in 0..6 {
            rounds.round();
        }
        for _ in 0..14 {
            let round = rounds.round();
            assert_eq!(round.in_sync, NODES);
            let each = round.bytes / NODES as u64;
            assert!(each <= 120, "{each} B per node");
            if (seed, round.number) == (0, 8) {
                println!(
                    "(b) network: {each} B per node in a push-pull round of {NODES} nodes in sync, \
                     {first} B between nodes that have not met before"
                );
            }
        }
    });
}

/// (b) At most 1,000 B for an exchange of two nodes that differ in one member.
#[test]
fn an_exchange_with_a_single_difference_costs_at_most_1000_bytes() {
    let mut most = 0;
    for_each_seed(200, |seed| {
        let mut rounds = cluster(seed);
        let node = usize::try_from(seed).expect("small") % NODES;
        if seed % 2 == 0 {
            rounds.update(node);
        } else {
            rounds.publish(node, "load", b"0.75").expect("a short value");
        }
        let before = rounds.cost().1;
        rounds.exchange(node);
        let bytes = rounds.cost().1 - before;
        assert_eq!(rounds.aware_of(node), 2, "the partner has the change");
        most = most.max(bytes);
        assert!(bytes <= 1_000, "{bytes} B");
    });
    println!(
        "(b) network: at most {most} B in an exchange with a single difference; a full one takes \
         25,000 B"
    );
}

/// (b) The cost of whole rounds after one change. Only exchanges that transfer it cost more.
#[test]
fn a_round_after_one_change_costs_at_most_1000_bytes_per_node() {
    let mut rounds = cluster(1);
    rounds.update(0);
    let mut number = 0;
    while !rounds.in_sync() {
        let round = rounds.round();
        number += 1;
        let each = round.bytes / NODES as u64;
        println!(
            "(b) network: {each} B per node in round {number} after one change, {} nodes know it",
            rounds.aware_of(0)
        );
        assert!(each <= 1_000);
    }
}

/// The times until all nodes knew of each of `changes` changes of one kind, with a gossip period of
/// 200 ms.
fn spread(news: News, loss: u32, seed: u64, changes: usize) -> Vec<Duration> {
    let config = Config::default().gossip_interval(Duration::from_millis(200));
    let network = Network::losing(Share::percent(loss));
    let mut cluster = Cluster::new(
        Settings::default()
            .nodes(NODES)
            .config(config)
            .network(network)
            .seed(seed)
            .keep_events(false),
    );
    cluster.start_joined();
    for change in 0..changes {
        cluster.run_for(Duration::from_millis(2_000 + seed * 61 % 200));
        let node = (usize::try_from(seed).expect("small") * 31 + change * 17) % NODES;
        match news {
            News::Telemetry => cluster.publish(node, "load", b"0.75"),
            _ => cluster.leave(node),
        }
    }
    let known = |cluster: &Cluster| {
        cluster.simulation().spreads().iter().all(|spread| spread.everyone.is_some())
    };
    assert!(
        cluster.run_until(known, Duration::from_secs(60)).is_some(),
        "some nodes never learned of a change"
    );
    let spreads = cluster.simulation().spreads();
    spreads
        .iter()
        .filter(|spread| spread.news == news)
        .filter_map(|spread| spread.everyone)
        .collect()
}

/// (c) A change reaches all nodes in 1.0 s on average, without loss and at 1 % and 5 %.
fn changes_reach_all_nodes_within_a_second(seeds: u64, changes: usize) {
    for (news, what) in [(News::Telemetry, "a publication"), (News::Leave, "a leave")] {
        for loss in [0, 1, 5] {
            let mut times = Vec::new();
            for_each_seed(seeds, |seed| times.extend(spread(news, loss, seed, changes)));
            let times = Quantiles::of(times).expect("there were changes");
            println!("(c) convergence: {what} reaches all {NODES} nodes at {loss} % loss: {times}");
            assert!(times.mean <= Duration::from_secs(1), "{what} at {loss} % loss: {times}");
        }
    }
}

#[test]
fn a_change_reaches_all_nodes_within_a_second() {
    changes_reach_all_nodes_within_a_second(2, 6);
}

#[test]
#[ignore = "takes minutes: 200 seeds"]
fn a_change_reaches_all_nodes_within_a_second_in_200_seeds() {
    changes_reach_all_nodes_within_a_second(200, 8);
}

/// The traffic of a cluster in which nothing happens, in 60 s of virtual time.
#[test]
fn a_quiet_cluster_sends_at_most_100_bytes_per_node_per_second() {
    let mut cluster = Cluster::new(Settings::default().nodes(NODES).seed(1));
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(10));
    let before: u64 = (0..NODES).map(|node| cluster.usage(node).sent_bytes).sum();
    cluster.run_for(Duration::from_secs(60));
    let after: u64 = (0..NODES).map(|node| cluster.usage(node).sent_bytes).sum();
    let each = (after - before) / 60 / NODES as u64;
    println!(
        "(b) network: {each} B per node per second in a quiet cluster of {NODES}, \
         probe interval 1 s"
    );
    // Each node sends one ping and one ack per second, of about 30 B each, at any cluster size.
    assert!(each <= 100, "{each} B per node per second");
    assert_eq!(cluster.simulation().counts().suspected, 0);
}
