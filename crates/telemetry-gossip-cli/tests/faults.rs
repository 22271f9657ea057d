//! Real faults on real sockets: agents in network namespaces of their own, on a network that loses,
//! cuts, delays and floods.
//!
//! ```sh
//! cargo test --release -p telemetry-gossip-cli --test faults -- \
//!     --ignored --nocapture --test-threads=1
//! ```
//!
//! The tests take several minutes and print a line per scenario. The network needs root (or
//! `unshare --map-root-user`), `ip` and `nft`. If one of them is missing, the tests print which one
//! and do nothing. The test of delays uses a proxy instead, which needs none of them.
//!
//! The bounds are those that the library states for its settings: `Config::predict` for a crash,
//! those of the README for everything else. The simulator runs the same faults with many seeds;
//! these tests add real sockets, a real kernel and a real clock.
#![cfg(target_os = "linux")]

mod common;
mod faults_support;
mod flood_support;

use std::time::{Duration, SystemTime};

use common::{resident_kib, text, tgossip};
use faults_support::delay_proxy::DelayProxy;
use faults_support::fleet::{Fleet, Ground, name};
use faults_support::net::{Fault, Net, apart, processes_in};
use flood_support::{Flood, Hostile, Tap};
use serde_json::Value;
use telemetry_gossip_core::Config;

const NODES: usize = 10;

/// The longest time from the end of a partition until all views are complete.
const RECOVERY: Duration = Duration::from_secs(30);

/// The longest time until a continued process is alive in every view.
const BACK: Duration = Duration::from_secs(2);

/// The longest time until nodes that join at once know each other.
const JOINED: Duration = Duration::from_secs(3);

/// The longest time until all know of a crash: the 99th percentile of the prediction plus one probe
/// interval. The interval covers the remaining hundredth, and processes that run late on a busy
/// machine.
fn known_within(config: &Config, members: usize, round_trip: Duration, loss: u8) -> Duration {
    let members = u32::try_from(members).expect("few");
    config.predict(members, round_trip, loss).detection_p99 + config.probe_interval
}

/// The longest time until all `side` nodes of a minority report that they are isolated. The next
/// probe of a node begins within two intervals, and one interval later for each node of its own
/// side that it probes first and that answers. The probe fails after two timeouts. The roll call
/// has five rounds of two timeouts each, since the failure lowers the local health. The bound holds
/// for nodes in perfect local health, since others probe less often.
fn noticed_within(config: &Config, side: u32) -> Duration {
    config.probe_interval * (1 + side) + config.probe_timeout * (2 + 5 * 2)
}

/// The round-trip time without delays.
const ROUND_TRIP: Duration = Duration::from_millis(1);

fn all(nodes: usize) -> Vec<usize> {
    (0..nodes).collect()
}

fn since(then: SystemTime, last: Option<SystemTime>) -> Duration {
    last.and_then(|last| last.duration_since(then).ok()).unwrap_or_default()
}

/// Prints a measurement, and checks it against its bound.
fn judge(what: &str, measured: Duration, bound: Duration) {
    println!("  {what}: {:.3} s (at most {:.1} s)", measured.as_secs_f64(), bound.as_secs_f64());
    assert!(measured <= bound, "{what}: {measured:?} is more than {bound:?}");
}

/// Ends all faults. Returns the time until all views are complete.
fn heal(fleet: &mut Fleet) -> Duration {
    fleet.net().set(&[]);
    let healed = SystemTime::now();
    let whole = fleet.until_whole();
    since(healed, whole)
}

/// A short test with a quick profile, which shows in seconds that the tools of the long tests work.
#[test]
fn an_isolated_node_reports_it_and_returns() {
    let Some(net) = Net::or_skip(4) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), 4, &["--profile", "local"]);
    let mark = fleet.mark();
    fleet.net().set(&apart(&[3], &[0, 1, 2]));
    fleet.until([3], |_, view| view.isolated);
    fleet.until(0..3, |_, view| view.holds(3, "dead"));
    assert!(fleet.net().lost() > 0);
    assert!(fleet.false_deaths_since(&mark, &[3]).is_empty());
    heal(&mut fleet);
    fleet.end();
}

#[test]
fn a_test_that_panics_leaves_nothing_behind() {
    let Some(net) = Net::or_skip(2) else { return };
    let inodes = net.inodes();
    let inside = inodes.clone();
    let panicked = std::thread::spawn(move || {
        let _fleet = Fleet::start(Ground::Net(net), 2, &["--profile", "local"]);
        assert_eq!(processes_in(inside[0]).len(), 1, "an agent is where it should be");
        std::panic::resume_unwind(Box::new("as a test that fails"));
    });
    assert!(panicked.join().is_err());
    // Without a process and an open file, the kernel removes the namespaces and their links.
    assert!(inodes.into_iter().all(|inode| processes_in(inode).is_empty()));
}

#[test]
#[ignore = "a minute and a half"]
fn under_loss_crashes_are_detected_and_no_running_node_is_declared_dead() {
    let Some(net) = Net::or_skip(NODES) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &[]);
    for (victim, loss) in [(3, 5), (5, 10), (7, 20)] {
        let mark = fleet.mark();
        fleet.net().set(&[Fault::Loss(loss)]);
        fleet.watch(Duration::from_secs(20));
        let took = fleet.crash(victim);
        fleet.begin(victim, &[]);
        fleet.until_whole();
        let lost = fleet.net().lost();
        let suspected = fleet.suspicions_since(&mark, &[victim]);
        println!(
            "{loss} % loss: {lost} datagrams lost, {suspected} suspicions in all views, 0 dead of \
             {NODES}"
        );
        assert!(lost > 10, "only {lost} datagrams were lost");
        assert_eq!(fleet.false_deaths_since(&mark, &[victim]), []);
        judge(
            "all know of a crash after",
            took,
            known_within(&Config::lan(), NODES, ROUND_TRIP, loss),
        );
    }
    fleet.end();
}

#[test]
#[ignore = "a minute"]
fn a_node_with_a_one_way_cut_is_isolated_and_declared_dead_by_the_others() {
    let Some(net) = Net::or_skip(NODES) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &[]);
    for (odd, what) in [(9, "receives nothing"), (8, "reaches no other node")] {
        let others: Vec<usize> = all(NODES).into_iter().filter(|&node| node != odd).collect();
        let fault = match odd {
            9 => Fault::Cut(others.clone(), vec![odd]),
            _ => Fault::Cut(vec![odd], others.clone()),
        };
        let mark = fleet.mark();
        fleet.net().set(&[fault]);
        let cut = SystemTime::now();
        let isolated = since(cut, fleet.until([odd], |_, view| view.isolated));
        let dead = since(cut, fleet.until(others.clone(), |_, view| view.holds(odd, "dead")));
        fleet.watch(Duration::from_secs(10));
        assert!(fleet.observed(odd).isolated, "it was isolated for a moment only");
        assert!(fleet.net().lost() > 20);
        // It accuses no member, and no other member is suspected because of it.
        let accused = fleet
            .lines_since(&mark)
            .filter(|(_, line)| line.event == "suspected" && line.line["by"] == name(odd));
        assert_eq!(accused.count(), 0);
        assert_eq!(fleet.false_deaths_since(&mark, &[odd]), []);
        assert!(fleet.lines_since(&mark).all(|(by, line)| by != odd || line.event != "dead"));
        println!("one-way cut, {} {what}: 0 dead of the other {}", name(odd), NODES - 1);
        judge("it reports that it is isolated after", isolated, noticed_within(&Config::lan(), 1));
        judge(
            "all others declare it dead after",
            dead,
            known_within(&Config::lan(), NODES, ROUND_TRIP, 0),
        );
        judge("all views complete again after", heal(&mut fleet), RECOVERY);
    }
    fleet.end();
}

#[test]
#[ignore = "half a minute"]
fn helpers_prevent_suspicions_across_a_link_with_a_one_way_cut() {
    let Some(net) = Net::or_skip(NODES) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &[]);
    let mark = fleet.mark();
    fleet.net().set(&[Fault::Cut(vec![2], vec![5])]);
    fleet.watch(Duration::from_secs(25));
    let indirect: u64 =
        [2, 5].map(|node| fleet.counter(node, "stats", "probes_indirect")).iter().sum();
    println!("one link cut one way: {indirect} probes through helpers, no member suspected");
    // Each of the two nodes probes the other once in nine intervals.
    assert!(indirect > 0 && fleet.net().lost() > 0);
    assert_eq!(fleet.suspicions_since(&mark, &[]), 0);
    fleet.end();
}

#[test]
#[ignore = "half a minute"]
fn a_partition_of_seven_and_three_heals_and_its_records_replay_exactly() {
    let Some(net) = Net::or_skip(NODES) else { return };
    let record = tempfile::tempdir().expect("a folder");
    let record = record.path().display().to_string();
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &["--plaintext", "--record", &record]);
    let mark = fleet.mark();
    let (large, small) = (all(7), vec![7, 8, 9]);
    fleet.net().set(&apart(&large, &small));
    let cut = SystemTime::now();
    let isolated = fleet.until(small.clone(), |_, view| view.isolated);
    let dead = fleet.until(large, |_, view| small.iter().all(|&lost| view.holds(lost, "dead")));
    fleet.watch(Duration::from_secs(10));
    assert!(small.iter().all(|&node| fleet.observed(node).isolated));
    assert_eq!(fleet.false_deaths_since(&mark, &small), []);
    assert!(
        fleet.lines_since(&mark).all(|(by, line)| by < 7 || line.event != "dead"),
        "the minority declares a member dead"
    );
    println!("partition 7+3: the minority declares no member dead, the majority the three");
    judge(
        "the three report that they are isolated after",
        since(cut, isolated),
        noticed_within(&Config::lan(), 3),
    );
    // Each of the three may probe the other two of its side first.
    let known =
        known_within(&Config::lan(), NODES, ROUND_TRIP, 0) + Config::lan().probe_interval * 2;
    judge("the seven declare them dead after", since(cut, dead), known);
    judge("all views complete again after", heal(&mut fleet), RECOVERY);
    fleet.end();

    let mut inputs = 0;
    for node in 0..NODES {
        let output = tgossip(&["replay", &record, "--node", &name(node), "--verify", "--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((&found["differs"], &found["missing"]), (&Value::Array(Vec::new()), &0.into()));
        inputs += found["inputs"].as_u64().expect("a number");
    }
    println!("  {inputs} inputs of {NODES} nodes replay exactly");
}

/// The number of entries in a telemetry of three datagrams. They are short, so that the datagrams
/// are full.
const ENTRIES: u64 = 96;

fn long_telemetry() -> Vec<String> {
    let entries = (0..ENTRIES).map(|at| format!("entry-{at}={}", "x".repeat(18)));
    std::iter::once("--set".to_owned()).chain(entries).collect()
}

/// On a path that drops long datagrams without notice. The host is responsible for an MTU that fits
/// the path. With a fitting MTU everything arrives. With a longer one membership works as usual,
/// and long telemetry arrives once the path lets it pass.
#[test]
#[ignore = "a minute"]
fn membership_works_where_long_datagrams_are_lost() {
    let passes = 1_000;
    let long = long_telemetry();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let Some(net) = Net::or_skip(NODES) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &["--set", "load=1"]);
    let has_version = |others: Vec<usize>, version| {
        move |observer, view: &faults_support::fleet::ObservedView| {
            let mut others = others.iter().filter(|&&node| node != observer);
            others.all(|&node| view.of(node).is_some_and(|member| member.version == version))
        }
    };
    fleet.until(0..NODES, has_version(all(NODES), 1));
    let (owner, victim) = (NODES - 1, NODES - 2);
    fleet.crash(owner);
    let mark = fleet.mark();
    fleet.net().set(&[Fault::Longer(passes)]);
    let begun = fleet.begin(owner, &long);
    let joined = since(begun, fleet.until_whole());
    fleet.watch(Duration::from_secs(15));
    assert!(fleet.net().lost() > 10, "no long datagram was lost");
    let have = (0..owner)
        .filter(|&node| {
            let member = fleet.observed(node).of(owner);
            member.is_some_and(|member| member.version == 1 + ENTRIES)
        })
        .count();
    let took = fleet.crash(victim);
    println!(
        "datagrams above {passes} B lost, MTU 1232: {have} of {owner} have long telemetry, 0 dead"
    );
    assert_eq!(fleet.false_deaths_since(&mark, &[victim]), []);
    judge("all know a node that returns after", joined, JOINED);
    judge(
        "a crash is known to all after",
        took,
        known_within(&Config::lan(), NODES, ROUND_TRIP, 0),
    );
    fleet.net().set(&[]);
    let healed = SystemTime::now();
    let had = fleet.until(0..victim, has_version(vec![owner], 1 + ENTRIES));
    judge("on a good path again, all have the telemetry after", since(healed, had), RECOVERY);
    fleet.end();

    let Some(net) = Net::or_skip(NODES) else { return };
    net.set(&[Fault::Longer(passes)]);
    let begun = SystemTime::now();
    let settings = [&["--mtu", "1000"], &long[..]].concat();
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &settings);
    let had = fleet.until(0..NODES, has_version(all(NODES), ENTRIES));
    println!("the same with --mtu {passes}: {} datagrams lost", fleet.net().lost());
    assert_eq!(fleet.net().lost(), 0);
    judge("all have the long telemetry of each after", since(begun, had), JOINED);
    fleet.end();
}

/// The only scenario without namespaces: a proxy of the test delays and reorders datagrams.
#[test]
#[ignore = "a minute and a half"]
fn under_delay_and_reordering_no_running_node_is_declared_dead() {
    let ms = Duration::from_millis;
    let mut fleet = Fleet::start(Ground::Proxy(DelayProxy::open(NODES)), NODES, &[]);
    // The profile lan is for round trips of up to 50 ms.
    for (victim, range) in [(3, ms(5)..ms(25)), (5, ms(50)..ms(150)), (7, ms(300)..ms(600))] {
        let mark = fleet.mark();
        let before = fleet.proxy().counts();
        fleet.proxy().delay(range.clone());
        fleet.watch(Duration::from_secs(15));
        let within = range.end <= Config::lan().probe_timeout / 2;
        if !within {
            // Answers come after the timeout: the local health of all nodes is at its worst, and
            // none accuses another. Once answers come in time again, the nodes detect a crash, but
            // may still probe in every ninth interval only.
            assert_eq!(fleet.false_deaths_since(&mark, &[]), []);
            fleet.proxy().delay(ms(0)..ms(1));
        }
        let took = fleet.crash(victim);
        let (carried, overtaken) = fleet.proxy().counts();
        let (carried, overtaken) = (carried - before.0, overtaken - before.1);
        println!(
            "{range:?} each way: {overtaken} of {carried} datagrams overtaken, {} suspicions in \
             all views, 0 dead of {NODES}",
            fleet.suspicions_since(&mark, &[victim])
        );
        assert!(overtaken > 10, "only {overtaken} datagrams were overtaken");
        assert_eq!(fleet.false_deaths_since(&mark, &[victim]), []);
        let slower = if within { Duration::ZERO } else { Config::lan().probe_interval * 9 };
        let round_trip = if within { range.end * 2 } else { ROUND_TRIP };
        judge(
            "all know of a crash after",
            took,
            known_within(&Config::lan(), NODES, round_trip, 0) + slower,
        );
        fleet.begin(victim, &[]);
        fleet.until_whole();
    }
    fleet.end();
}

#[test]
#[ignore = "a minute"]
fn processes_that_stop_crash_or_move_return_and_no_other_is_declared_dead() {
    let Some(net) = Net::or_skip(NODES) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &[]);
    let mark = fleet.mark();

    fleet.agent(4).signal("STOP");
    let others: Vec<usize> = all(NODES).into_iter().filter(|&node| node != 4).collect();
    fleet.until(others, |_, view| view.holds(4, "dead"));
    fleet.watch(Duration::from_secs(10));
    fleet.agent(4).signal("CONT");
    let continued = SystemTime::now();
    let back = since(continued, fleet.until_whole());
    fleet.watch(Duration::from_secs(5));
    assert_eq!(fleet.false_deaths_since(&mark, &[4]), []);
    judge("stopped for 10 s and more, back in every view after", back, BACK);

    fleet.crash(5);
    let begun = fleet.begin(5, &[]);
    let back = since(begun, fleet.until_whole());
    judge("killed and started again, back in every view after", back, JOINED);

    // At once, before other nodes notice that it is down.
    fleet.kill(6);
    let begun = fleet.begin(6, &["--set", "instance=2"]);
    let others: Vec<usize> = all(NODES).into_iter().filter(|&node| node != 6).collect();
    let back =
        fleet.until(others.clone(), |_, view| view.of(6).is_some_and(|member| member.version == 1));
    judge("killed and started at once, all have its telemetry after", since(begun, back), JOINED);

    fleet.kill(6);
    fleet.readdress(6);
    let begun = fleet.begin(6, &[]);
    let address = fleet.address(6).to_string();
    let moved =
        fleet.until(others, |_, view| view.of(6).is_some_and(|member| member.address == address));
    judge("started at another address, all have it after", since(begun, moved), JOINED);
    fleet.until_whole();
    assert_eq!(fleet.false_deaths_since(&mark, &[4, 5, 6]), []);

    for node in 0..NODES {
        fleet.kill(node);
    }
    let begun: Vec<SystemTime> = (0..NODES).map(|node| fleet.begin(node, &[])).collect();
    let whole = fleet.until_whole();
    judge("all killed and started again, all views complete after", since(begun[0], whole), JOINED);
    fleet.end();
}

/// The rate of the flood in datagrams per second, at one agent. On two cores, a higher rate would
/// take processor time from the agents, which is a fault of another kind.
const FLOOD: u64 = 20_000;

/// The largest growth of resident memory. The agent remembers nothing about refused datagrams.
const GROWTH_KIB: u64 = 512;

#[test]
#[ignore = "half a minute"]
fn a_flood_from_another_host_changes_no_view_and_hides_no_crash() {
    let nodes = 6;
    // The tap has the same settings.
    let settings =
        ["--probe-interval", "500ms", "--probe-timeout", "200ms", "--gossip-interval", "100ms"];
    let config = Config::lan()
        .probe_interval(Duration::from_millis(500))
        .probe_timeout(Duration::from_millis(200))
        .gossip_interval(Duration::from_millis(100));
    let Some(net) = Net::or_skip(nodes + 1) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), nodes, &settings);
    let (target, elsewhere) = (fleet.address(0), fleet.net().node(nodes));
    let key = fleet.key();
    let tap = elsewhere.run(|| Tap::start(&key, Net::address(nodes).into(), target));
    tap.wait_for_records(12);
    let hostile = Hostile::new(7, &key, &tap.records());
    fleet
        .until(0..nodes, |_, view| view.others.get("tap").is_some_and(|tap| tap.status == "alive"));

    let (sessions, before) =
        (fleet.counter(0, "seal", "windows"), resident_kib(fleet.agent(0).pid()));
    let mark = fleet.mark();
    let flood = fleet.net().node(nodes).run(|| Flood::start(target, FLOOD, hostile));
    fleet.watch(Duration::from_secs(10));
    // Evidence does not change a view: on a busy machine, an answer may come late.
    let changed = fleet.lines_since(&mark).filter(|(_, line)| line.event != "evidence").count();
    let after = resident_kib(fleet.agent(0).pid());
    let refused = fleet.counter(0, "seal", "not_authentic");
    assert_eq!(
        fleet.counter(0, "seal", "windows"),
        sessions,
        "a hostile datagram added a replay window"
    );
    let took = fleet.crash(3);
    let rate = flood.stop();
    println!(
        "flood of {rate:.0} datagrams per second: {changed} changes of a view, {refused} refused \
         as not authentic, resident {before} KiB before and {after} KiB after"
    );
    assert_eq!((changed, fleet.false_deaths_since(&mark, &[3])), (0, Vec::new()));
    assert!(refused > 1_000 && after <= before + GROWTH_KIB);
    judge("all know of a crash after", took, known_within(&config, nodes + 1, ROUND_TRIP, 0));
    drop(tap);
    fleet.end();
}
