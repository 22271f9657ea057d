//! What a fleet of 250 costs, in real processes on loopback: processor time, bytes, memory, and how
//! soon all know.
//!
//! ```sh
//! cargo test --release -p telemetry-gossip-cli --test fleet -- --ignored --nocapture
//! ```
//!
//! It takes some two minutes and wants the machine for itself. Bytes are what the agents count as
//! sent, with 28 bytes of IP and UDP header a datagram; processor time is what the scheduler has
//! given to all threads of a process; memory is its resident set, the pages of the program that it
//! shares with the other 249 included.
#![cfg(target_os = "linux")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use common::{Agent, PATIENCE};
use telemetry_gossip_core::{Event, NodeId};
use telemetry_gossip_tokio::{Agent as Node, Options, RecvError, Sealing, UdpTransport};

const NODES: usize = 250;

/// How long the idle fleet is watched.
const WINDOW: Duration = Duration::from_secs(60);

/// Nobody has had anything to say for so long: what was told again and again is told.
const QUIET: Duration = Duration::from_secs(10);

/// Updates of one entry, each some time after everybody has the one before, as in the simulated
/// measurement.
const UPDATES: u64 = 10;
const UPDATE_AFTER: Duration = Duration::from_secs(2);

/// IPv4 and UDP.
const HEADER: u64 = 20 + 8;

/// A name that no agent bears.
const PUBLISHER: &str = "publisher";

#[test]
#[ignore = "two minutes, and 250 processes that want the machine for themselves"]
fn a_fleet_of_processes_stays_within_its_bounds() {
    let mut figures = Figures::default();
    figures.add("all views complete, one process", 3.0, one_process().as_secs_f64(), "s");

    let started = Instant::now();
    let mut fleet = Fleet::start();
    fleet.wait_until_complete();
    println!("{NODES} processes started and complete: {:.1} s", started.elapsed().as_secs_f64());
    fleet.wait_until_quiet();
    let idle = fleet.watch();
    figures.add(
        "processor time an agent",
        0.03,
        idle.cores() * 100.0 / NODES as f64,
        "% of a core",
    );
    figures.add(
        "sent by an agent, with headers",
        140.0,
        idle.bytes_each_second() / NODES as f64,
        "B/s",
    );
    let resident = fleet.resident_kib();
    let most = resident.iter().max().copied().unwrap_or_default();
    let mean = resident.iter().sum::<u64>() / NODES as u64;
    figures.add("resident, the largest agent", 4.5, most as f64 / 1_024.0, "MiB");
    println!("resident, the mean agent: {:.2} MiB", mean as f64 / 1_024.0);
    println!(
        "an agent sends {:.1} datagrams a second and wakes {:.1} times",
        idle.datagrams_each_second() / NODES as f64,
        idle.wakes_each_second() / NODES as f64,
    );

    let delays = fleet.updates();
    let slowest = delays.iter().max().copied().unwrap_or_default();
    let mean = delays.iter().sum::<Duration>() / UPDATES as u32;
    println!("an update known to all, mean of {UPDATES}: {:.2} s", mean.as_secs_f64());
    figures.add("an update known to all, the slowest", 0.6, slowest.as_secs_f64(), "s");
    figures.judge();
}

/// Until each of 250 nodes in one process knows all, from before the first is made.
fn one_process() -> Duration {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let started = Instant::now();
        let mut nodes = Vec::new();
        let mut seeds = Vec::new();
        for index in 0..NODES {
            let transport =
                UdpTransport::bind("127.0.0.1:0".parse().expect("an address"), Sealing::Plaintext)
                    .await;
            let transport = transport.expect("a free port");
            let address = transport.local_addr().to_string();
            let options = Options::new(id(&format!("n{index}"))).seeds(seeds.clone());
            let node = Node::spawn(options, transport).expect("the settings are sound");
            if index == 0 {
                seeds.push(address);
            }
            nodes.push((node.events(), node));
        }
        for (events, node) in &mut nodes {
            while node.view().alive() < NODES {
                let event = tokio::time::timeout(PATIENCE, events.recv()).await;
                assert!(
                    matches!(event, Ok(Ok(_) | Err(RecvError::Lagged(_)))),
                    "it ends, or waits in vain"
                );
            }
        }
        started.elapsed()
    })
}

fn id(name: &str) -> NodeId {
    name.parse().expect("a valid id")
}

/// 250 agents, each a process.
struct Fleet {
    agents: Vec<Agent>,
}

/// What an agent has used since it started.
#[derive(Clone, Copy, Default)]
struct Usage {
    cpu: Duration,
    wakes: u64,
    datagrams: u64,
    bytes: u64,
}

/// What all agents used within a time.
struct Idle {
    watched: Duration,
    counted: Duration,
    used: Usage,
}

impl Idle {
    fn cores(&self) -> f64 {
        self.used.cpu.as_secs_f64() / self.watched.as_secs_f64()
    }

    fn wakes_each_second(&self) -> f64 {
        self.used.wakes as f64 / self.watched.as_secs_f64()
    }

    fn datagrams_each_second(&self) -> f64 {
        self.used.datagrams as f64 / self.counted.as_secs_f64()
    }

    fn bytes_each_second(&self) -> f64 {
        (self.used.bytes + HEADER * self.used.datagrams) as f64 / self.counted.as_secs_f64()
    }
}

impl Fleet {
    fn start() -> Self {
        let first = Agent::start("n0", &[]);
        let seed = first.udp.to_string();
        let rest = (1..NODES).map(|index| Agent::start(&format!("n{index}"), &["--join", &seed]));
        Self { agents: std::iter::once(first).chain(rest).collect() }
    }

    fn wait_until_complete(&self) {
        for agent in &self.agents {
            let mut joined = HashSet::new();
            agent.wait_for(|line| {
                if line["event"] == "joined" {
                    joined.insert(line["id"].as_str().unwrap_or_default().to_owned());
                }
                joined.len() == NODES - 1
            });
        }
    }

    /// Until no agent has had anything to say for a while.
    fn wait_until_quiet(&self) {
        while self.agents.iter().any(|agent| !agent.lines_within(Duration::ZERO).is_empty())
            || !self.agents[0].lines_within(QUIET).is_empty()
        {}
    }

    /// Watches the fleet do nothing.
    fn watch(&self) -> Idle {
        // Asking costs the agents time and bytes of another kind: it is not part of what is
        // watched.
        let (before_at, before) = (Instant::now(), self.sent());
        let (from, cpu) = (Instant::now(), self.cpu());
        let said = self.agents[0].lines_within(WINDOW);
        let (watched, cpu_after) = (from.elapsed(), self.cpu());
        let (counted, after) = (before_at.elapsed(), self.sent());
        let said: Vec<String> = said
            .into_iter()
            .chain(self.agents.iter().flat_map(|agent| agent.lines_within(Duration::ZERO)))
            .collect();
        assert!(said.is_empty(), "an idle fleet has nothing to say:\n{}", said.join("\n"));
        let used = Usage {
            cpu: cpu_after.cpu - cpu.cpu,
            wakes: cpu_after.wakes - cpu.wakes,
            datagrams: after.datagrams - before.datagrams,
            bytes: after.bytes - before.bytes,
        };
        Idle { watched, counted, used }
    }

    fn cpu(&self) -> Usage {
        self.agents.iter().map(|agent| scheduled(agent.pid())).fold(Usage::default(), |sum, one| {
            Usage { cpu: sum.cpu + one.cpu, wakes: sum.wakes + one.wakes, ..sum }
        })
    }

    fn sent(&self) -> Usage {
        self.agents.iter().fold(Usage::default(), |sum, agent| {
            let stats = &agent.view()["stats"];
            let counter = |name: &str| stats[name].as_u64().expect("a counter");
            Usage {
                datagrams: sum.datagrams + counter("datagrams_sent"),
                bytes: sum.bytes + counter("bytes_sent"),
                ..sum
            }
        })
    }

    fn resident_kib(&self) -> Vec<u64> {
        self.agents.iter().map(|agent| common::resident_kib(agent.pid())).collect()
    }

    /// A node of this process joins and publishes; how long each update takes to be told by the
    /// last agent.
    fn updates(&mut self) -> Vec<Duration> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        // The node runs on a thread of its own until this is dropped.
        let (_running, ended) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || runtime.block_on(ended));
        let publisher = handle.block_on(async {
            let transport =
                UdpTransport::bind("127.0.0.1:0".parse().expect("an address"), Sealing::Plaintext)
                    .await
                    .expect("a port");
            let seeds = vec![self.agents[0].udp.to_string()];
            let node =
                Node::spawn(Options::new(id(PUBLISHER)).seeds(seeds), Arc::clone(&transport) as _);
            let node = node.expect("the settings are sound");
            let mut events = node.events();
            while node.view().alive() <= NODES {
                let event = tokio::time::timeout(PATIENCE, events.recv()).await;
                let joining = matches!(event, Ok(Ok(_) | Err(RecvError::Lagged(_))));
                assert!(joining, "it ends, or waits in vain: {event:?}");
                assert!(!matches!(event, Ok(Ok(Event::JoinFailed))), "the seed answers");
            }
            node
        });
        for agent in &self.agents {
            agent.wait_for_event("joined", PUBLISHER);
        }
        let update = |version: u64| {
            self.agents[0].lines_within(UPDATE_AFTER);
            let (at, value) = (SystemTime::now(), vec![version as u8; 64]);
            handle.block_on(publisher.publish("load", &value)).expect("it is running");
            let told = self.agents.iter().map(|agent| {
                let told = agent.wait_for(|line| {
                    line["event"] == "telemetry"
                        && line["id"] == PUBLISHER
                        && line["version"] == version
                });
                let told = told["at"].as_str().and_then(|at| humantime::parse_rfc3339(at).ok());
                told.expect("a time").duration_since(at).unwrap_or_default()
            });
            told.max().unwrap_or_default()
        };
        (1..=UPDATES).map(update).collect()
    }
}

/// The processor time of all threads of a process, and how often they were put on a processor.
fn scheduled(pid: u32) -> Usage {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    threads.fold(Usage::default(), |sum, thread| {
        let path = thread.expect("a thread").path().join("schedstat");
        let text = std::fs::read_to_string(path).expect("the scheduler keeps statistics");
        let fields: Vec<u64> =
            text.split_whitespace().map(|field| field.parse().expect("a number")).collect();
        let [nanos, _waited, runs] = fields[..] else { panic!("three numbers: {text}") };
        Usage { cpu: sum.cpu + Duration::from_nanos(nanos), wakes: sum.wakes + runs, ..sum }
    })
}

/// Measured figures and their bounds.
#[derive(Default)]
struct Figures {
    rows: Vec<(&'static str, f64, f64, &'static str)>,
}

impl Figures {
    fn add(&mut self, what: &'static str, bound: f64, measured: f64, unit: &'static str) {
        self.rows.push((what, bound, measured, unit));
    }

    /// Prints all, and fails if one is beyond its bound.
    fn judge(&self) {
        println!("{:<40} {:>10} {:>10}", "", "at most", "measured");
        for (what, bound, measured, unit) in &self.rows {
            let verdict = if measured <= bound { "" } else { "  MISSED" };
            println!("{what:<40} {bound:>10.3} {measured:>10.3} {unit}{verdict}");
        }
        assert!(
            self.rows.iter().all(|(_, bound, measured, _)| measured <= bound),
            "a bound is missed"
        );
    }
}
