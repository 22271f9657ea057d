//! Real faults on real sockets: agents in network namespaces of their own, on a network that loses,
//! cuts, delays and floods.
//!
//! ```sh
//! cargo test --release -p telemetry-gossip-cli --test faults -- --ignored --nocapture --test-threads=1
//! ```
//!
//! It takes some minutes, and prints a line a scenario. The network needs root (or
//! `unshare --map-root-user`), `ip` and `nft`; where one is missing, the tests say which and do
//! nothing. Datagrams that come late go through a relay of the test, which needs nothing.
//!
//! Bounds are those that the library states for its settings: `Config::predict` for a crash, those
//! of the README for the rest. The simulator has the same faults over many seeds; here are the
//! sockets, the kernel and the clock that it has not.
#![cfg(target_os = "linux")]

mod common;
mod faults_support;
mod flood_support;

use std::time::{Duration, SystemTime};

use common::{resident_kib, text, tgossip};
use faults_support::fleet::{Fleet, Ground, name};
use faults_support::net::{Fault, Net, apart, processes_in};
use faults_support::relay::Relay;
use flood_support::{Flood, Hostile, Tap};
use serde_json::Value;
use telemetry_gossip_core::Config;

const NODES: usize = 10;

/// A partition that has healed is forgotten by then.
const RECOVERY: Duration = Duration::from_secs(30);

/// A process that goes on is back in every view by then.
const BACK: Duration = Duration::from_secs(2);

/// Many that join at once know each other by then.
const JOINED: Duration = Duration::from_secs(3);

/// When a crash is known to all: what is predicted of 99 of 100, and a probe interval more, as
/// tests are not to fail in the hundredth, and processes of a busy machine come late.
fn known_within(config: &Config, members: usize, round_trip: Duration, loss: u8) -> Duration {
    let members = u32::try_from(members).expect("few");
    config.predict(members, round_trip, loss).detection_p99 + config.probe_interval
}

/// When those of a side of so many, that hears nobody else, say so: their next probes begin within
/// two intervals, one more for each of the side that is probed first and answers; one fails after
/// two timeouts, and a roll call has five rounds of two timeouts each, as the failure makes the
/// node doubt itself. For nodes that have not doubted themselves before: they would probe less
/// often.
fn noticed_within(config: &Config, side: u32) -> Duration {
    config.probe_interval * (1 + side) + config.probe_timeout * (2 + 5 * 2)
}

/// A wire away.
const ROUND_TRIP: Duration = Duration::from_millis(1);

fn all(nodes: usize) -> Vec<usize> {
    (0..nodes).collect()
}

fn since(then: SystemTime, last: Option<SystemTime>) -> Duration {
    last.and_then(|last| last.duration_since(then).ok()).unwrap_or_default()
}

/// Prints what was measured, and holds it against its bound.
fn judge(what: &str, measured: Duration, bound: Duration) {
    println!("  {what}: {:.3} s (at most {:.1} s)", measured.as_secs_f64(), bound.as_secs_f64());
    assert!(measured <= bound, "{what}: {measured:?} is more than {bound:?}");
}

/// Heals the network; the time until all are whole.
fn heal(fleet: &mut Fleet) -> Duration {
    fleet.net().set(&[]);
    let healed = SystemTime::now();
    let whole = fleet.until_whole();
    since(healed, whole)
}

/// The short one, with a quick profile: whether the tools of the long ones do what they say is seen
/// in seconds.
#[test]
fn a_node_cut_off_says_so_and_comes_back() {
    let Some(net) = Net::or_skip(4) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), 4, &["--profile", "local"]);
    let mark = fleet.mark();
    fleet.net().set(&apart(&[3], &[0, 1, 2]));
    fleet.until([3], |_, mind| mind.isolated);
    fleet.until(0..3, |_, mind| mind.holds(3, "dead"));
    assert!(fleet.net().lost() > 0);
    assert!(fleet.wronged_since(&mark, &[3]).is_empty());
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
    // No process and no open file: the kernel takes the namespaces down, and their links with them.
    assert!(inodes.into_iter().all(|inode| processes_in(inode).is_empty()));
}

#[test]
#[ignore = "a minute and a half"]
fn loss_kills_nobody_and_hides_no_crash() {
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
            "{loss} % loss: {lost} datagrams lost, {suspected} suspicions in all views, 0 dead of {NODES}"
        );
        assert!(lost > 10, "{lost} are no test");
        assert_eq!(fleet.wronged_since(&mark, &[victim]), []);
        judge(
            "a crash is known to all after",
            took,
            known_within(&Config::lan(), NODES, ROUND_TRIP, loss),
        );
    }
    fleet.end();
}

#[test]
#[ignore = "a minute"]
fn who_hears_nobody_or_is_heard_by_nobody_is_cut_off() {
    let Some(net) = Net::or_skip(NODES) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &[]);
    for (odd, what) in [(9, "hears nobody"), (8, "is heard by nobody")] {
        let others: Vec<usize> = all(NODES).into_iter().filter(|&node| node != odd).collect();
        let fault = match odd {
            9 => Fault::Cut(others.clone(), vec![odd]),
            _ => Fault::Cut(vec![odd], others.clone()),
        };
        let mark = fleet.mark();
        fleet.net().set(&[fault]);
        let cut = SystemTime::now();
        let isolated = since(cut, fleet.until([odd], |_, mind| mind.isolated));
        let dead = since(cut, fleet.until(others.clone(), |_, mind| mind.holds(odd, "dead")));
        fleet.watch(Duration::from_secs(10));
        assert!(fleet.mind(odd).isolated, "it was for a moment only");
        assert!(fleet.net().lost() > 20);
        // It accuses nobody, and nobody else is doubted for it.
        let accused = fleet
            .said_since(&mark)
            .filter(|(_, said)| said.event == "suspected" && said.line["by"] == name(odd));
        assert_eq!(accused.count(), 0);
        assert_eq!(fleet.wronged_since(&mark, &[odd]), []);
        assert!(fleet.said_since(&mark).all(|(by, said)| by != odd || said.event != "dead"));
        println!("one-way cut, {} {what}: 0 dead of the other {}", name(odd), NODES - 1);
        judge("it says that it is isolated after", isolated, noticed_within(&Config::lan(), 1));
        judge(
            "all others hold it dead after",
            dead,
            known_within(&Config::lan(), NODES, ROUND_TRIP, 0),
        );
        judge("whole again after", heal(&mut fleet), RECOVERY);
    }
    fleet.end();
}

#[test]
#[ignore = "half a minute"]
fn a_single_link_cut_one_way_is_made_good_by_helpers() {
    let Some(net) = Net::or_skip(NODES) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &[]);
    let mark = fleet.mark();
    fleet.net().set(&[Fault::Cut(vec![2], vec![5])]);
    fleet.watch(Duration::from_secs(25));
    let indirect: u64 =
        [2, 5].map(|node| fleet.counter(node, "stats", "probes_indirect")).iter().sum();
    println!("one link cut one way: {indirect} probes through helpers, nobody suspected");
    // Each of the two probes the other once in nine intervals.
    assert!(indirect > 0 && fleet.net().lost() > 0);
    assert_eq!(fleet.suspicions_since(&mark, &[]), 0);
    fleet.end();
}

#[test]
#[ignore = "half a minute"]
fn seven_and_three_part_and_come_together_again_as_recorded() {
    let Some(net) = Net::or_skip(NODES) else { return };
    let record = tempfile::tempdir().expect("a folder");
    let record = record.path().display().to_string();
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &["--plaintext", "--record", &record]);
    let mark = fleet.mark();
    let (large, small) = (all(7), vec![7, 8, 9]);
    fleet.net().set(&apart(&large, &small));
    let cut = SystemTime::now();
    let isolated = fleet.until(small.clone(), |_, mind| mind.isolated);
    let dead = fleet.until(large, |_, mind| small.iter().all(|&lost| mind.holds(lost, "dead")));
    fleet.watch(Duration::from_secs(10));
    assert!(small.iter().all(|&node| fleet.mind(node).isolated));
    assert_eq!(fleet.wronged_since(&mark, &small), []);
    assert!(
        fleet.said_since(&mark).all(|(by, said)| by < 7 || said.event != "dead"),
        "the small side declares"
    );
    println!("partition 7+3: the small side declares nobody, the large side the three");
    judge(
        "the three say that they are isolated after",
        since(cut, isolated),
        noticed_within(&Config::lan(), 3),
    );
    // Each of the three may be probed by the other two first.
    let known =
        known_within(&Config::lan(), NODES, ROUND_TRIP, 0) + Config::lan().probe_interval * 2;
    judge("the seven hold them dead after", since(cut, dead), known);
    judge("whole again after", heal(&mut fleet), RECOVERY);
    fleet.end();

    let mut inputs = 0;
    for node in 0..NODES {
        let output = tgossip(&["replay", &record, "--node", &name(node), "--verify", "--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((&found["differs"], &found["missing"]), (&Value::Array(Vec::new()), &0.into()));
        inputs += found["inputs"].as_u64().expect("a number");
    }
    println!("  {inputs} inputs of {NODES} nodes replay to what was recorded");
}

/// The entries of a state of three datagrams: short ones, so that those datagrams are full.
const ENTRIES: u64 = 96;

fn long_state() -> Vec<String> {
    let entries = (0..ENTRIES).map(|at| format!("entry-{at}={}", "x".repeat(18)));
    std::iter::once("--set".to_owned()).chain(entries).collect()
}

/// Where long datagrams are lost and nobody is told. That the MTU fits the path is for the host to
/// see to: with the one that passes, all arrives; with a longer one, membership is as always, and
/// long telemetry waits for a better path.
#[test]
#[ignore = "a minute"]
fn where_long_datagrams_are_lost_membership_stays_whole() {
    let passes = 1_000;
    let long = long_state();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let Some(net) = Net::or_skip(NODES) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &["--set", "load=1"]);
    let all_of_it = |others: Vec<usize>, version| {
        move |observer, mind: &faults_support::fleet::Mind| {
            let mut others = others.iter().filter(|&&node| node != observer);
            others.all(|&node| mind.of(node).is_some_and(|held| held.version == version))
        }
    };
    fleet.until(0..NODES, all_of_it(all(NODES), 1));
    let (owner, victim) = (NODES - 1, NODES - 2);
    fleet.crash(owner);
    let mark = fleet.mark();
    fleet.net().set(&[Fault::Longer(passes)]);
    let begun = fleet.begin(owner, &long);
    let joined = since(begun, fleet.until_whole());
    fleet.watch(Duration::from_secs(15));
    assert!(fleet.net().lost() > 10, "no long datagram was lost");
    let have = (0..owner)
        .filter(|&node| fleet.mind(node).of(owner).is_some_and(|held| held.version == 1 + ENTRIES))
        .count();
    let took = fleet.crash(victim);
    println!(
        "datagrams above {passes} B lost, MTU 1400: {have} of {owner} have a long state, 0 dead"
    );
    assert_eq!(fleet.wronged_since(&mark, &[victim]), []);
    judge("a node that returns is known to all after", joined, JOINED);
    judge(
        "a crash is known to all after",
        took,
        known_within(&Config::lan(), NODES, ROUND_TRIP, 0),
    );
    fleet.net().set(&[]);
    let healed = SystemTime::now();
    let had = fleet.until(0..victim, all_of_it(vec![owner], 1 + ENTRIES));
    judge("on a good path again, the state is at all after", since(healed, had), RECOVERY);
    fleet.end();

    let Some(net) = Net::or_skip(NODES) else { return };
    net.set(&[Fault::Longer(passes)]);
    let begun = SystemTime::now();
    let settings = [&["--mtu", "1000"], &long[..]].concat();
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &settings);
    let had = fleet.until(0..NODES, all_of_it(all(NODES), ENTRIES));
    println!("the same with --mtu {passes}: {} datagrams lost", fleet.net().lost());
    assert_eq!(fleet.net().lost(), 0);
    judge("a long state of each is at all after", since(begun, had), JOINED);
    fleet.end();
}

/// The one scenario without namespaces: datagrams overtake each other on their way through the
/// test.
#[test]
#[ignore = "a minute and a half"]
fn delay_and_reordering_wrong_nobody() {
    let ms = Duration::from_millis;
    let mut fleet = Fleet::start(Ground::Relay(Relay::open(NODES)), NODES, &[]);
    // The profile is for round trips of up to 50 ms.
    for (victim, range) in [(3, ms(5)..ms(25)), (5, ms(50)..ms(150)), (7, ms(300)..ms(600))] {
        let mark = fleet.mark();
        let before = fleet.relay().counts();
        fleet.relay().delay(range.clone());
        fleet.watch(Duration::from_secs(15));
        let within = range.end <= Config::lan().probe_timeout / 2;
        if !within {
            // Answers come after the time that they have: everybody doubts itself, and accuses
            // nobody. Once they are in time again, a crash is found, by nodes that may still probe
            // in each ninth interval only.
            assert_eq!(fleet.wronged_since(&mark, &[]), []);
            fleet.relay().delay(ms(0)..ms(1));
        }
        let took = fleet.crash(victim);
        let (carried, overtaken) = fleet.relay().counts();
        let (carried, overtaken) = (carried - before.0, overtaken - before.1);
        println!(
            "{range:?} each way: {overtaken} of {carried} datagrams overtaken, {} suspicions in all views, 0 dead of {NODES}",
            fleet.suspicions_since(&mark, &[victim])
        );
        assert!(overtaken > 10, "{overtaken} are no test");
        assert_eq!(fleet.wronged_since(&mark, &[victim]), []);
        let doubt = if within { Duration::ZERO } else { Config::lan().probe_interval * 9 };
        let round_trip = if within { range.end * 2 } else { ROUND_TRIP };
        judge(
            "a crash is known to all after",
            took,
            known_within(&Config::lan(), NODES, round_trip, 0) + doubt,
        );
        fleet.begin(victim, &[]);
        fleet.until_whole();
    }
    fleet.end();
}

#[test]
#[ignore = "a minute"]
fn processes_that_stop_crash_and_move_come_back_and_nobody_else_is_wronged() {
    let Some(net) = Net::or_skip(NODES) else { return };
    let mut fleet = Fleet::start(Ground::Net(net), NODES, &[]);
    let mark = fleet.mark();

    fleet.agent(4).signal("STOP");
    let others: Vec<usize> = all(NODES).into_iter().filter(|&node| node != 4).collect();
    fleet.until(others, |_, mind| mind.holds(4, "dead"));
    fleet.watch(Duration::from_secs(10));
    fleet.agent(4).signal("CONT");
    let continued = SystemTime::now();
    let back = since(continued, fleet.until_whole());
    fleet.watch(Duration::from_secs(5));
    assert_eq!(fleet.wronged_since(&mark, &[4]), []);
    judge("stopped for 10 s and more, back in every view after", back, BACK);

    fleet.crash(5);
    let begun = fleet.begin(5, &[]);
    let back = since(begun, fleet.until_whole());
    judge("killed and started again, back in every view after", back, JOINED);

    // At once, so that nobody has noticed that it was away.
    fleet.kill(6);
    let begun = fleet.begin(6, &["--set", "life=2"]);
    let others: Vec<usize> = all(NODES).into_iter().filter(|&node| node != 6).collect();
    let back =
        fleet.until(others.clone(), |_, mind| mind.of(6).is_some_and(|held| held.version == 1));
    judge("killed and started at once, its telemetry is at all after", since(begun, back), JOINED);

    fleet.kill(6);
    fleet.readdress(6);
    let begun = fleet.begin(6, &[]);
    let address = fleet.address(6).to_string();
    let moved =
        fleet.until(others, |_, mind| mind.of(6).is_some_and(|held| held.address == address));
    judge("started at another address, all have it after", since(begun, moved), JOINED);
    fleet.until_whole();
    assert_eq!(fleet.wronged_since(&mark, &[4, 5, 6]), []);

    for node in 0..NODES {
        fleet.kill(node);
    }
    let begun: Vec<SystemTime> = (0..NODES).map(|node| fleet.begin(node, &[])).collect();
    let whole = fleet.until_whole();
    judge("all killed and started again, whole after", since(begun[0], whole), JOINED);
    fleet.end();
}

/// At one agent of few on two cores: more takes the processor from the agents, which is another
/// fault.
const FLOOD: u64 = 20_000;

/// The most that resident memory may grow: nothing is remembered of what is refused.
const GROWTH_KIB: u64 = 512;

#[test]
#[ignore = "half a minute"]
fn a_flood_from_elsewhere_changes_nothing_and_hides_no_crash() {
    let nodes = 6;
    // The tap has these settings.
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
        .until(0..nodes, |_, mind| mind.others.get("tap").is_some_and(|tap| tap.status == "alive"));

    let (sessions, before) =
        (fleet.counter(0, "seal", "windows"), resident_kib(fleet.agent(0).pid()));
    let mark = fleet.mark();
    let flood = fleet.net().node(nodes).run(|| Flood::start(target, FLOOD, hostile));
    fleet.watch(Duration::from_secs(10));
    // Evidence is no change: a busy machine may make an answer come late.
    let changed = fleet.said_since(&mark).filter(|(_, said)| said.event != "evidence").count();
    let after = resident_kib(fleet.agent(0).pid());
    let refused = fleet.counter(0, "seal", "not_authentic");
    assert_eq!(fleet.counter(0, "seal", "windows"), sessions, "no hostile datagram made a session");
    let took = fleet.crash(3);
    let rate = flood.stop();
    println!(
        "flood of {rate:.0} datagrams a second: {changed} changes of a view, {refused} refused as not authentic, resident {before} \
         KiB before and {after} KiB after"
    );
    assert_eq!((changed, fleet.wronged_since(&mark, &[3])), (0, Vec::new()));
    assert!(refused > 1_000 && after <= before + GROWTH_KIB);
    judge("a crash is known to all after", took, known_within(&config, nodes + 1, ROUND_TRIP, 0));
    drop(tap);
    fleet.end();
}
