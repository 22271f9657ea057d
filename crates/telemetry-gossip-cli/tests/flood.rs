//! 50,000 hostile datagrams per second at a sealed agent do not change its view or its memory, and
//! it detects a crash as soon as without them.
//!
//! The short test always runs; crashes have to be detected during the flood, at whatever time. The
//! long one floods for a minute and compares the times of twenty crashes with those of twenty
//! without a flood: how soon a crash is detected depends on whose turn it was to be probed, so the
//! means of a few crashes differ by more than a flood may cause.
//!
//! ```sh
//! cargo test --release -p telemetry-gossip-cli --test flood -- --ignored --nocapture
//! ```
#![cfg(target_os = "linux")]

mod common;
mod flood_support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Agent, resident_kib, text, tgossip};
use flood_support::{Flood, Hostile, Tap};

const RATE: u64 = 50_000;

/// The largest delay of a detection that the flood may cause: a probe interval of the agents.
const PERIOD: Duration = Duration::from_millis(500);

/// The settings of the agents; the tap has the same.
const SETTINGS: [&str; 6] =
    ["--probe-interval", "500ms", "--probe-timeout", "200ms", "--gossip-interval", "100ms"];

/// The largest growth of resident memory. The agent remembers nothing about refused datagrams.
const GROWTH_KIB: u64 = 512;

/// The events that report a change of the view.
const CHANGES: [&str; 8] =
    ["joined", "alive", "suspected", "dead", "left", "moved", "removed", "isolated"];

struct Cluster {
    key: PathBuf,
    target: Agent,
    _others: [Agent; 3],
    tap: Tap,
    /// The number of agents that were started to be killed.
    victims: usize,
}

impl Cluster {
    /// Starts the target, three more agents, and a member inside this process that remembers what
    /// it sends to the target.
    fn start(test: &str) -> Self {
        let key =
            std::env::temp_dir().join(format!("tgossip-flood-{test}-{}.key", std::process::id()));
        let made = tgossip(&["key", "new", key.to_str().unwrap()]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let target = start("target", &key, None);
        let others = ["b", "c", "d"].map(|id| start(id, &key, Some(&target)));
        let tap = Tap::start(&key, target.udp.ip(), target.udp);
        let mut awaited = vec!["b", "c", "d", "tap"];
        while !awaited.is_empty() {
            let line = target.wait_for(|line| line["event"] == "joined");
            awaited.retain(|id| line["id"] != *id);
        }
        let cluster = Self { key, target, _others: others, tap, victims: 0 };
        cluster.tap.wait_for_records(12);
        cluster
    }

    /// Starts one more agent, and kills it. Returns the time until the target declares it dead.
    /// Each crash has a new agent, since flap damping gives an agent that returns more time.
    fn crash(&mut self) -> Duration {
        self.victims += 1;
        let id = format!("victim-{}", self.victims);
        let victim = start(&id, &self.key, Some(&self.target));
        self.target.wait_for_event("joined", &id);
        victim.wait_for_event("joined", "d");
        drop(victim);
        let crashed = Instant::now();
        self.target.wait_for_event("dead", &id);
        crashed.elapsed()
    }

    fn crashes(&mut self, count: usize) -> Vec<Duration> {
        (0..count).map(|_| self.crash()).collect()
    }

    fn flood(&self, rate: u64) -> Flood {
        Flood::start(self.target.udp, rate, Hostile::new(7, &self.key, &self.tap.records()))
    }

    fn seal(&self, counter: &str) -> u64 {
        self.target.view()["seal"][counter].as_u64().expect("a counter")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.key);
    }
}

fn start(id: &str, key: &Path, seed: Option<&Agent>) -> Agent {
    let seed = seed.map(|seed| seed.udp.to_string());
    let joining = seed.iter().flat_map(|seed| ["--join", seed]);
    let sealed = ["--key-file", key.to_str().unwrap()];
    Agent::start(id, &SETTINGS.into_iter().chain(sealed).chain(joining).collect::<Vec<_>>())
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap()
}

/// What a flood did.
struct Withstood {
    /// The datagrams per second of the flood.
    rate: f64,
    /// The times until crashes without the flood were detected.
    calm: Vec<Duration>,
    /// The times until crashes during the flood were detected.
    flooded: Vec<Duration>,
}

/// Floods the target for `span` and then during crashes, and checks that its view and its memory
/// withstand this.
fn withstands(test: &str, span: Duration, crashes: usize) -> Withstood {
    let mut cluster = Cluster::start(test);
    let calm = cluster.crashes(crashes);

    let (sessions, before) = (cluster.seal("windows"), resident_kib(cluster.target.pid()));
    let flood = cluster.flood(RATE);
    let lines = cluster.target.lines_within(span);
    let changed: Vec<&String> = lines
        .iter()
        .filter(|line| CHANGES.iter().any(|event| line.contains(&format!("\"event\":\"{event}\""))))
        .collect();
    assert!(changed.is_empty(), "the view has changed: {changed:#?}");
    let (sessions_then, then) = (cluster.seal("windows"), resident_kib(cluster.target.pid()));
    let flooded = cluster.crashes(crashes);
    let rate = flood.stop();

    let after = cluster.seal("windows");
    let view = cluster.target.view();
    println!("{rate:.0} datagrams per second; seal of the target: {}", view["seal"]);
    println!("resident: {before} KiB before, {then} KiB after {span:?} of flood");
    println!("a crash is detected after {calm:?} without the flood, {flooded:?} with it");
    for counter in ["too_short", "not_sealed", "unknown_key", "replayed", "not_authentic"] {
        assert!(view["seal"][counter].as_u64() > Some(100), "{counter}: {}", view["seal"]);
    }
    assert_eq!(sessions_then, sessions, "a hostile datagram added a replay window");
    assert_eq!(after, sessions + crashes as u64, "only the victims add one");
    assert!(then <= before + GROWTH_KIB, "resident memory grew from {before} to {then} KiB");
    let decoded = ["datagrams_malformed", "datagrams_other_version", "datagrams_other_label"];
    assert!(decoded.iter().all(|counter| view["stats"][counter] == 0), "{}", view["stats"]);
    assert_eq!(view["members"].as_array().map(Vec::len), Some(5 + 2 * crashes));
    Withstood { rate, calm, flooded }
}

#[test]
fn a_flood_of_hostile_datagrams_changes_nothing() {
    withstands("short", Duration::from_secs(4), 3);
}

#[test]
#[ignore = "three minutes"]
fn a_flood_of_a_minute_changes_nothing() {
    let Withstood { rate, calm, flooded } = withstands("long", Duration::from_secs(60), 20);
    assert!(mean(&flooded) <= mean(&calm) + PERIOD, "{flooded:?} with, {calm:?} without");
    assert!(rate > RATE as f64 * 0.9, "{rate:.0} datagrams per second are too few to test {RATE}");
}
