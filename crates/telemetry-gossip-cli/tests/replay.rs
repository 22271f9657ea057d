//! Records of real processes under faults replay exactly.
//!
//! The long test has 20 processes and takes ten minutes; `RECORD_SECONDS` sets another time:
//!
//! ```sh
//! cargo test --release -p telemetry-gossip-cli --test replay -- --ignored --nocapture
//! ```
//!
//! Other agents reach each agent through a proxy of the test, which loses one of twenty datagrams.
//! Agents are stopped and continued, or killed and started again.
#![cfg(target_os = "linux")]

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{Agent, member, text, tgossip};
use serde_json::Value;

/// The proxies lose one of this number of datagrams.
const LOSE_ONE_OF: u32 = 20;

/// The least speed of a replay, as a multiple of real time.
const MIN_SPEED: f64 = 100.0;

#[test]
fn records_of_five_processes_replay_exactly() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut fleet = Fleet::start(5, folder.path());
    let sent = fleet.trouble(Duration::from_secs(10));
    fleet.replay(sent);

    // A time after the end of the record is no error, but the output says so.
    let (whole, late) = (folder.path().display().to_string(), ["--node", "n0", "--at", "+1h"]);
    let output = tgossip(&[&["replay", &whole], &late[..]].concat());
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("ends before the time of --at"), "{said}");
    let output = tgossip(&[&["replay", &whole, "--json"], &late[..]].concat());
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["ends_before_at"], true, "{found:#}");

    // A part of the record becomes a file for a test, which is itself a record.
    let cut = folder.path().join("cut").display().to_string();
    let of = ["--node", "n0", "--from", "+3s", "--at", "+8s"];
    let made = tgossip(&[&["replay", &whole, "--as-test", &cut], &of[..]].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
    let members = |args: &[&str]| {
        let output = tgossip(&[args, &["--verify", "--members", "--json"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines: Vec<Value> = text(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let status = |member: &Value| {
            (member["id"].clone(), member["status"].clone(), member["generation"].clone())
        };
        lines[1].as_array().expect("members").iter().map(status).collect::<Vec<_>>()
    };
    assert_eq!(members(&["replay", &cut]), members(&[&["replay", &whole], &of[..]].concat()));
    assert!(!members(&["replay", &cut]).is_empty());
}

#[test]
#[ignore = "ten minutes of 20 processes"]
fn records_of_ten_minutes_of_twenty_processes_replay_exactly() {
    let seconds =
        std::env::var("RECORD_SECONDS").map_or(600, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut fleet = Fleet::start(20, folder.path());
    let sent = fleet.trouble(Duration::from_secs(seconds));
    fleet.replay(sent);
}

/// Agents, each behind a proxy.
struct Fleet<'a> {
    agents: Vec<Option<Agent>>,
    proxies: Proxies,
    folder: &'a Path,
}

impl<'a> Fleet<'a> {
    fn start(count: usize, folder: &'a Path) -> Self {
        let agents = std::iter::repeat_with(|| None).take(count).collect();
        let mut fleet = Self { agents, proxies: Proxies::open(count), folder };
        for at in 0..count {
            fleet.begin(at);
        }
        for agent in fleet.agents.iter().flatten().skip(1) {
            agent.wait_for(|line| line["event"] == "join-completed");
        }
        fleet
    }

    fn begin(&mut self, at: usize) {
        let (bound, advertised) =
            (self.proxies.agents[at], self.proxies.sockets[at].local_addr().expect("bound"));
        let seed = self.proxies.sockets[usize::from(at == 0)].local_addr().expect("bound");
        let load = format!("load={at}");
        let agent = Agent::start(
            &name(at),
            &[
                "--bind",
                &bound.to_string(),
                "--advertise",
                &advertised.to_string(),
                "--join",
                &seed.to_string(),
                "--set",
                &load,
                "--record",
                &self.folder.display().to_string(),
                "--record-limit",
                "1MiB",
                "--profile",
                "local",
            ],
        );
        self.agents[at] = Some(agent);
    }

    /// Causes one fault after the other for this time. Each fault lasts until another agent has
    /// noticed it and its end. Returns the number of datagrams that each agent sent.
    fn trouble(&mut self, span: Duration) -> Vec<(usize, u64)> {
        let (end, count) = (Instant::now() + span, self.agents.len());
        let mut round = 0;
        while Instant::now() < end {
            round += 1;
            // Spare the first agent, whose record is cut into a test in the end.
            let victim = 1 + round % (count - 1);
            let watcher = (victim + 1) % count;
            let id = name(victim);
            if round % 2 == 1 {
                // Stop it until it is declared dead, and continue it.
                self.agent(victim).signal("STOP");
                self.agent(watcher).wait_for_event("dead", &id);
                self.agent(victim).signal("CONT");
            } else {
                // Kill it, by dropping it, and start it again.
                self.agents[victim] = None;
                self.agent(watcher).wait_for_event("dead", &id);
                self.begin(victim);
            }
            self.agent(watcher).wait_for_event("alive", &id);
        }
        let sent = (0..count).map(|at| {
            let view = self.agent(at).view();
            assert_eq!(view["record"]["record_gaps"], 0, "{view:#}");
            assert_eq!(member(&view, &name(at))["status"], "alive");
            (at, view["stats"]["datagrams_sent"].as_u64().expect("a number"))
        });
        let sent = sent.collect();
        for agent in &mut self.agents {
            let agent = agent.take().expect("it is running");
            agent.signal("TERM");
            assert!(agent.wait().success());
        }
        sent
    }

    fn replay(&self, sent: Vec<(usize, u64)>) {
        let (mut inputs, mut bytes, mut hours) = (0, 0, 0.0);
        let mut slowest = f64::MAX;
        for (at, sent) in sent {
            let folder = self.folder.display().to_string();
            let output = tgossip(&["replay", &folder, "--node", &name(at), "--json"]);
            assert!(output.status.success(), "{}", text(&output.stderr));
            let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(
                (&found["differs"], &found["missing"]),
                (&Value::Array(Vec::new()), &0.into())
            );
            assert!(
                found["datagrams"].as_u64().expect("a number") >= sent,
                "{sent} were sent: {found:#}"
            );
            inputs += found["inputs"].as_u64().expect("a number");
            hours += found["span_s"].as_f64().expect("a number") / 3_600.0;
            slowest = slowest.min(found["speed"].as_f64().expect("a number"));
        }
        for file in std::fs::read_dir(self.folder).expect("the folder") {
            bytes += file.and_then(|file| file.metadata()).expect("a file").len();
        }
        println!(
            "{inputs} inputs of {} nodes, {:.0} KB per node and hour on disk; the slowest replay \
             ran {slowest:.0} times as fast as the node",
            self.agents.len(),
            bytes as f64 / 1e3 / hours
        );
        assert!(slowest > MIN_SPEED, "{slowest}");
    }

    fn agent(&self, at: usize) -> &Agent {
        self.agents[at].as_ref().expect("it is running")
    }
}

fn name(at: usize) -> String {
    format!("n{at}")
}

/// The proxies at which other agents reach each agent; they lose datagrams.
struct Proxies {
    sockets: Arc<Vec<UdpSocket>>,
    /// The addresses of the agents themselves.
    agents: Vec<SocketAddr>,
}

impl Proxies {
    fn open(count: usize) -> Self {
        // Each agent of each test has a loopback address of its own, so that the port is free
        // there.
        static TESTS: AtomicU32 = AtomicU32::new(0);
        let test = std::process::id() % 4_000 * 8 + TESTS.fetch_add(1, Ordering::Relaxed) % 8;
        let place = |at: usize| {
            let host =
                0x7f00_0000 | (test + 8) << 8 & 0xff_ff00 | u32::try_from(at + 1).expect("few");
            SocketAddr::from((Ipv4Addr::from_bits(host), 7_946))
        };
        let agents: Vec<SocketAddr> = (0..count).map(place).collect();
        let open = |_| UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let sockets: Arc<Vec<UdpSocket>> = Arc::new((0..count).map(open).collect());
        for to in 0..count {
            let (sockets, agents) = (sockets.clone(), agents.clone());
            // The thread ends with the process of the test.
            std::thread::spawn(move || carry(&sockets, &agents, to));
        }
        Self { sockets, agents }
    }
}

/// Carries the datagrams at the proxy of one agent to this agent, from the proxy of the sender.
fn carry(sockets: &[UdpSocket], agents: &[SocketAddr], to: usize) {
    let mut buf = [0; 2_000];
    let mut random = u32::try_from(to).expect("few") + 1;
    while let Ok((len, from)) = sockets[to].recv_from(&mut buf) {
        // Marsaglia's xorshift; any generator would do.
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let sender = agents.iter().position(|agent| *agent == from);
        if let Some(sender) = sender.filter(|_| !random.is_multiple_of(LOSE_ONE_OF)) {
            // The agent may be down, and then this fails.
            let _ = sockets[sender].send_to(&buf[..len], agents[to]);
        }
    }
}
