//! How soon a crash is known, and how seldom anybody is wronged: lossy networks, links that are bad
//! in one direction, and processes that stop for a while. 250 nodes, default settings, probe
//! interval 1 s.
//!
//! Each test prints what it measures (`-- --nocapture`); the ignored ones are the same at full
//! length.

use std::time::Duration;

use telemetry_gossip_core::{Event, Status};
use telemetry_gossip_sim::{Checking, Cluster, Network, Quantiles, Settings, Share};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 250;

fn cluster(nodes: usize, loss: Share, seed: u64) -> Cluster {
    let settings = Settings::default()
        .nodes(nodes)
        .network(Network::losing(loss))
        .seed(seed)
        .checking(Checking::Sampled);
    let mut cluster = Cluster::new(settings);
    cluster.start_known();
    // The round clocks agree after some seconds; the moment within a round is random.
    cluster.run_for(Duration::from_millis(8_000 + seed * 37 % 1_000));
    cluster
}

/// The member that an event changes the view of, and whether it is a death.
fn change(event: &Event<u32>) -> Option<(usize, bool)> {
    let (id, dead) = match event {
        Event::Suspected { id, .. } | Event::Alive { id, .. } => (id, false),
        Event::Dead { id, .. } => (id, true),
        _ => return None,
    };
    Some((id.as_str()[1..].parse().expect("ids are n0, n1, ..."), dead))
}

/// Dead everywhere within 5 s at the 99th percentile.
///
/// Where 5 s comes from: the next probe of the common schedule begins within 1 s, fails after 0.6
/// s, a roll call takes a round trip, the suspicion 1.7 s at 250 members, and news is everywhere
/// within 0.6 s.
fn a_crash_is_known_to_all_within_five_seconds(seeds: u64) {
    for loss in [0, 1, 5] {
        let mut times = Vec::new();
        for_each_seed(seeds, |seed| {
            let mut cluster = cluster(NODES, Share::percent(loss), seed);
            let target = usize::try_from(seed).expect("small") * 7 % NODES;
            cluster.crash(target);
            let dead = |cluster: &Cluster| cluster.everyone_holds(target, Status::Dead);
            times.push(
                cluster.run_until(dead, Duration::from_secs(60)).expect("it is known in the end"),
            );
            assert_eq!(cluster.simulation().false_deads(), 0);
        });
        let times = Quantiles::of(times).expect("there were seeds");
        println!("a crash is known to all {NODES} at {loss} % loss: {times}");
        assert!(times.p99 <= Duration::from_secs(5), "at {loss} % loss: {times}");
    }
}

#[test]
fn a_crash_is_known_to_all_250_within_five_seconds() {
    a_crash_is_known_to_all_within_five_seconds(20);
}

#[test]
#[ignore = "takes minutes: 200 seeds"]
fn a_crash_is_known_to_all_250_within_five_seconds_in_200_seeds() {
    a_crash_is_known_to_all_within_five_seconds(200);
}

/// Deaths declared of live members in so many seconds of 250 nodes.
fn false_deaths(loss: u32, seconds: u64, seed: u64) -> u64 {
    let mut cluster = cluster(NODES, Share::percent(loss), seed);
    cluster.run_for(Duration::from_secs(seconds));
    let (suspected, deaths) =
        (cluster.simulation().counts().suspected, cluster.simulation().false_deads());
    let each = suspected as f64 / NODES as f64;
    println!(
        "{loss} % loss, {seconds} s, seed {seed}: {each:.1} suspicions a view, {deaths} false deaths"
    );
    deaths
}

#[test]
fn on_lossy_networks_no_live_member_is_declared_dead() {
    for_each_seed(6, |seed| {
        let loss = [5, 10, 20][usize::try_from(seed).expect("small") % 3];
        assert_eq!(false_deaths(loss, 120, seed), 0, "at {loss} % loss");
    });
}

/// None in half an hour at 5 and 10 % loss; at 20 % one at most in a million member-seconds.
#[test]
#[ignore = "takes minutes: half an hour of virtual time, several seeds"]
fn on_lossy_networks_no_live_member_is_declared_dead_in_half_an_hour() {
    const HALF_AN_HOUR: u64 = 1_800;
    let (mut deaths, mut member_seconds) = (0, 0);
    for_each_seed(5, |seed| {
        assert_eq!(false_deaths(5, HALF_AN_HOUR, seed), 0);
        assert_eq!(false_deaths(10, HALF_AN_HOUR, seed), 0);
        deaths += false_deaths(20, HALF_AN_HOUR, seed);
        member_seconds += NODES as u64 * HALF_AN_HOUR;
    });
    println!("at 20 % loss: {deaths} false deaths in {member_seconds} member-seconds");
    assert!(deaths * 1_000_000 <= member_seconds, "{deaths} in {member_seconds} member-seconds");
}

/// Which datagrams a bad link loses.
#[derive(Clone, Copy, Debug)]
enum Direction {
    In,
    Out,
}

fn set_links(cluster: &mut Cluster, bad: usize, direction: Direction, loss: Share) {
    for other in bad..cluster.len() {
        for one in 0..bad {
            match direction {
                Direction::In => cluster.lose(other, one, loss),
                Direction::Out => cluster.lose(one, other, loss),
            }
        }
    }
}

/// One of a hundred members loses most of its datagrams in one direction for five minutes, all the
/// time or on and off: the others agree about it, have changed their minds a few times at most, and
/// hold nothing against each other.
#[test]
fn members_with_a_link_bad_in_one_direction_are_judged_alike_and_no_other_is_touched() {
    const CASES: [(u32, bool); 5] =
        [(100, false), (90, false), (70, false), (100, true), (90, true)];
    // Dealt out over the seeds, so that a repetition of the tests meets them in turn.
    for_each_seed(20, |seed| {
        let place = usize::try_from(seed).expect("small");
        let direction = if place < CASES.len() * 2 { Direction::In } else { Direction::Out };
        let (percent, off_and_on) = CASES[place % CASES.len()];
        bad_links(direction, percent, off_and_on, seed);
    });
}

fn bad_links(direction: Direction, percent: u32, off_and_on: bool, seed: u64) {
    const BAD: usize = 2;
    const MEMBERS: usize = 200;
    let mut cluster = cluster(MEMBERS, Share::percent(0), seed);
    let start = cluster.now();
    for part in 0..10 {
        let on = !off_and_on || part % 2 == 0;
        set_links(&mut cluster, BAD, direction, Share::percent(if on { percent } else { 0 }));
        cluster.run_for(Duration::from_secs(30));
    }
    let case = format!("{direction:?} {percent} %, off and on: {off_and_on}, seed {seed}");
    let mut changes = 0;
    for logged in cluster.log().iter().filter(|logged| logged.at > start && logged.node >= BAD) {
        if let Some((of, _)) = change(&logged.event) {
            assert!(of < BAD, "{case}: n{} says {:?}", logged.node, logged.event);
            changes += 1;
        }
    }
    let each = f64::from(changes) / ((MEMBERS - BAD) * BAD) as f64;
    println!("{case}: {each:.1} changes of each healthy view of a bad member in 5 minutes");
    // The least is none where something gets through, and else two (suspected, dead) each of the
    // times that the link goes bad and one each time that it is good again. Three refutations are
    // needed to learn that a link is bad and its member not dead, and some more as these are
    // forgotten.
    let least = match (percent, off_and_on) {
        (100, false) => 2.0,
        (100, true) => 15.0,
        _ => 0.0,
    };
    assert!(each <= least + 10.0, "{case}: {each:.1} changes");
    // While news is on its way they differ for a moment.
    let agree = |cluster: &Cluster| {
        (0..BAD).all(|bad| {
            let first = cluster.status(BAD, bad);
            (BAD..MEMBERS).all(|observer| cluster.status(observer, bad) == first)
        })
    };
    assert!(cluster.run_until(agree, Duration::from_secs(5)).is_some(), "{case}: no agreement");
    set_links(&mut cluster, BAD, direction, Share::percent(0));
    let whole = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(30));
    assert!(whole.is_some(), "{case}: not whole again");
}

/// A process that is stopped for 10 s and continued wrongs nobody, and is back in every view within
/// 2 s.
#[test]
fn a_process_stopped_for_ten_seconds_wrongs_nobody_and_is_back_within_two() {
    for nodes in [3, 10, 50, NODES] {
        for loss in [0, 5] {
            let mut times = Vec::new();
            for_each_seed(10, |seed| {
                let mut cluster = cluster(nodes, Share::percent(loss), seed);
                let stopped = nodes / 2;
                cluster.pause(stopped);
                cluster.run_for(Duration::from_secs(10));
                assert!(cluster.all_hold([0], stopped, Status::Dead));
                let continued = cluster.now();
                cluster.resume(stopped);
                let back =
                    cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(60));
                times.push(back.expect("it is back in the end"));
                cluster.run_for(Duration::from_secs(20));
                for logged in cluster.log().iter().filter(|logged| logged.at > continued) {
                    let wronged =
                        change(&logged.event).is_some_and(|(of, dead)| dead && of != stopped);
                    assert!(!wronged, "n{} says {:?}", logged.node, logged.event);
                }
            });
            let times = Quantiles::of(times).expect("there were seeds");
            println!("{nodes} nodes, {loss} % loss: back in every view after {times}");
            assert!(times.max <= Duration::from_secs(2), "{times}");
        }
    }
}
