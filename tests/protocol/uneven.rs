//! Clusters whose nodes are not alike: a site far away, and hosts that are always late.

use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Input, Mode, Status};
use telemetry_gossip_sim::{Checking, Cluster, Network, Quantiles, Settings, Share, node_id};
use telemetry_gossip_tests::for_each_seed;

/// How long news takes to reach all nodes.
#[derive(Default)]
struct Times {
    telemetry: Duration,
    crash: Duration,
}

/// A network with `site` nodes at a site of this round trip. If `one_way`, the way there takes
/// all of it.
fn with_site(site: u32, round_trip: Duration, one_way: bool) -> Network {
    let distance = if one_way { round_trip } else { round_trip / 2 };
    let network = Network::default().distant(site).distance(distance).one_way(one_way);
    network.distant_loss(Share::percent(2))
}

/// Runs a cluster in which some nodes publish all the time, with the nodes from the second one on
/// at the distant site of the network, if it has one. Then a node on each side publishes, and
/// crashes. Returns the bytes that each node sent in `span`, and the longest times.
fn run(nodes: usize, network: Network, span: Duration, seed: u64) -> (Vec<u64>, Times) {
    let settings = Settings::default().nodes(nodes).network(network).seed(seed);
    let mut cluster = Cluster::new(settings.checking(Checking::Off));
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(60));
    let sent = |cluster: &Cluster| -> Vec<u64> {
        (0..nodes).map(|index| cluster.usage(index).sent_bytes).collect()
    };
    let (before, begun) = (sent(&cluster), cluster.now());
    let mut turn = 0;
    while cluster.now() < begun + span {
        cluster.publish(turn % nodes, "load", format!("{turn}").as_bytes());
        turn += 1;
        cluster.run_for(Duration::from_secs(2));
    }
    let bytes = sent(&cluster).iter().zip(before).map(|(now, before)| now - before).collect();
    // Who is farther away than a probe waits is suspected time and again, and at times Dead.
    let round_trip = network.distance * if network.one_way { 1 } else { 2 };
    let settles = round_trip <= Duration::from_millis(400);
    let wrong = |event: &Event<u32>| matches!(event, Event::Dead { .. });
    for observer in (0..nodes).filter(|_| settles) {
        assert!(!cluster.events(observer).any(|(_, event)| wrong(&event)), "nobody is Dead");
    }
    let mut times = Times::default();
    for victim in [1, nodes - 1] {
        cluster.publish(victim, "last", b"word");
        let all = |cluster: &Cluster| {
            cluster.taking_part().all(|it| cluster.value(it, victim, "last") == Some(b"word"))
        };
        let took = cluster.run_until(all, Duration::from_secs(60)).expect("it reaches all");
        times.telemetry = times.telemetry.max(took);
        cluster.crash(victim);
        let known = |cluster: &Cluster| cluster.everyone_holds(victim, Status::Dead);
        let took = cluster.run_until(known, Duration::from_secs(60)).expect("the crash is known");
        times.crash = times.crash.max(took);
    }
    (bytes, times)
}

/// A satellite link, or a VPN around the world: a round trip above the probe timeout.
fn check_distant_site(nodes: usize, site: u32, one_way: bool, span: Duration, seeds: u64) {
    // Where a probe waits for too short a time, small clusters alone are looked at.
    let round_trips: &[_] = if nodes < 100 { &[310, 400, 800] } else { &[310, 400] };
    for &round_trip in round_trips {
        let round_trip = Duration::from_millis(round_trip);
        for_each_seed(seeds, |seed| {
            let (even, _) = run(nodes, Network::default(), span, seed);
            let (bytes, times) = run(nodes, with_site(site, round_trip, one_way), span, seed);
            let Times { telemetry, crash } = times;
            let even = even.iter().sum::<u64>() / even.len() as u64;
            let most = |of: &[u64]| of.iter().max().map_or(0, |most| most * 100 / even);
            let (far, near) = bytes[1..].split_at(site as usize);
            let (far, near) = (most(far), most(near));
            println!(
                "{nodes} nodes, {site} at {round_trip:?}: at most {far} % of the bytes of a node \
                 in an even cluster there, {near} % elsewhere; telemetry within {telemetry:?}, \
                 crashes within {crash:?}"
            );
            if round_trip <= Duration::from_millis(400) {
                assert!(far <= 130 && near <= 130, "{far} % and {near} %");
                assert!(telemetry <= Duration::from_secs(5), "{telemetry:?}");
                assert!(crash <= Duration::from_secs(8), "{crash:?}");
            }
        });
    }
}

#[test]
fn a_distant_site_costs_no_more_and_learns_all() {
    check_distant_site(40, 4, false, Duration::from_secs(300), 3);
}

/// Datagrams to the site take a detour, and those from it do not.
#[test]
fn a_site_that_is_distant_one_way_costs_no_more_and_learns_all() {
    check_distant_site(40, 4, true, Duration::from_secs(300), 3);
}

/// `cargo test --release -p telemetry-gossip-tests --test protocol uneven -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn a_distant_site_of_ten_of_two_hundred_fifty_costs_no_more_for_an_hour() {
    check_distant_site(250, 10, false, Duration::from_secs(3_600), 1);
}

/// A probe waits for 450 ms at most. A member that was paused answers late too, and is not distant.
#[test]
fn a_member_farther_away_than_a_probe_waits_is_told_once_an_hour() {
    const NODES: usize = 8;
    for (round_trip, pauses, is_told) in [(400, false, false), (800, false, true), (0, true, false)]
    {
        for_each_seed(3, |seed| {
            let network = Network::default().distant(2);
            let network = network.distance(Duration::from_millis(round_trip / 2));
            let settings = Settings::default().nodes(NODES).network(network).seed(seed);
            let mut cluster = Cluster::new(settings.checking(Checking::Off));
            cluster.start_joined();
            for second in 0..7_300 {
                if pauses && second % 5 == 0 {
                    cluster.pause(1 + second / 5 % 2);
                }
                cluster.run_for(Duration::from_millis(800));
                cluster.resume(1 + second / 5 % 2);
                cluster.run_for(Duration::from_millis(200));
            }
            for observer in 0..NODES {
                let told = cluster.events(observer).filter_map(|(_, event)| match event {
                    Event::Distant { id, round_trip, .. } => Some((id, round_trip)),
                    _ => None,
                });
                let told: Vec<_> = told.collect();
                let is_site = |node: usize| (1..=2).contains(&node);
                for (id, took) in &told {
                    let of = (0..NODES).find(|&node| node_id(node) == *id).expect("a member");
                    assert_ne!(is_site(of), is_site(observer), "seed {seed}");
                    assert!(took.as_millis() >= 800, "{took:?}");
                }
                let expected = if is_told { 2..=3 } else { 0..=0 };
                assert!(expected.contains(&told.len()), "{round_trip} ms, {pauses}: {told:?}");
            }
        });
    }
}

/// How long a crash takes until all hold it Dead, where the timers of all nodes fire this late.
fn crashes_with_late_ticks(nodes: usize, late: Duration, seeds: u64) -> Quantiles {
    let mut times = Vec::new();
    for_each_seed(seeds, |seed| {
        let mut cluster = Cluster::new(Settings::default().nodes(nodes).seed(seed));
        cluster.start_joined();
        (0..nodes).for_each(|node| cluster.simulation_mut().delay_ticks(node, late));
        cluster.run_for(Duration::from_millis(60_000 + seed * 37 % 1_000));
        cluster.crash(nodes / 2);
        let known = |cluster: &Cluster| cluster.everyone_holds(nodes / 2, Status::Dead);
        let took = cluster.run_until(known, Duration::from_secs(120));
        times.push(took.unwrap_or(Duration::from_secs(120)));
        let victim = node_id(nodes / 2);
        let wrong = |event: &Event<u32>| matches!(event, Event::Dead { id, .. } if *id != victim);
        for observer in 0..nodes {
            assert!(!cluster.events(observer).any(|(_, event)| wrong(&event)), "nobody else is");
        }
    });
    Quantiles::of(times).expect("there were seeds")
}

/// One overloaded machine with all nodes: no deadline is met, and that is no pause.
#[test]
fn a_crash_is_found_where_all_timers_fire_late() {
    for late in [100, 290, 330, 450, 600].map(Duration::from_millis) {
        let times = crashes_with_late_ticks(20, late, 30);
        println!("timers {late:?} late: {times}");
        assert!(times.max <= Duration::from_secs(12), "{late:?}: {times}");
        assert!(late.as_millis() > 330 || times.p99 <= Duration::from_secs(8), "{late:?}: {times}");
    }
}

/// Nodes whose host names each exchange answer pings, and pass no telemetry on.
#[test]
fn nodes_of_which_some_exchange_on_demand_send_nothing_again_for_ever() {
    const NODES: usize = 20;
    for_each_seed(3, |seed| {
        let on_demand = Config::default().mode(Mode::OnDemand);
        let settings = Settings::default().nodes(NODES).seed(seed).checking(Checking::Off);
        let mut cluster = Cluster::new(settings.other_configs(vec![on_demand]));
        cluster.start_known();
        let run = |cluster: &mut Cluster, seconds: u64| {
            for second in 0..seconds {
                for node in (1..NODES).step_by(2) {
                    cluster.command(node, Input::Exchange);
                }
                if second % 5 == 0 {
                    cluster.publish(second as usize / 5 % NODES, "load", &second.to_be_bytes());
                }
                cluster.run_for(Duration::from_secs(1));
            }
        };
        run(&mut cluster, 300);
        let sent = |cluster: &Cluster| -> Vec<u64> {
            (0..NODES).step_by(2).map(|index| cluster.usage(index).sent_bytes).collect()
        };
        let before = sent(&cluster);
        run(&mut cluster, 300);
        let rates: Vec<u64> =
            sent(&cluster).iter().zip(before).map(|(now, before)| (now - before) / 300).collect();
        let mean = rates.iter().sum::<u64>() / rates.len() as u64;
        println!("beside nodes on demand: {mean} B/s, {} at most", rates.iter().max().unwrap());
        assert!(mean <= 200, "{mean} B/s");
        // All nodes have all telemetry in the end.
        run(&mut cluster, 10);
        let versions = |observer: usize| -> Vec<u64> {
            let held = |of| cluster.held(observer, of).map_or(0, |held| held.telemetry_version());
            (0..NODES).map(held).collect()
        };
        let owners: Vec<u64> = (0..NODES)
            .map(|of| cluster.held(of, of).map_or(0, |held| held.telemetry_version()))
            .collect();
        let behind = (0..NODES).filter(|&observer| versions(observer) != owners).count();
        assert_eq!(behind, 0, "nodes that lack telemetry");
    });
}
