//! The costs of a fleet of 250 real processes on loopback: processor time, bytes, memory, and the
//! time until all know of an update.
//!
//! ```sh
//! cargo test --release -p telemetry-gossip-cli --test fleet -- --ignored --nocapture
//! ```
//!
//! The test takes about two minutes and needs the whole machine. The agents run the program
//! `tgossip-agent`. Bytes are what the agents count as sent, plus 28 bytes of IP and UDP headers
//! per datagram. Processor time is what the scheduler has given to all threads of a process. Memory
//! is the resident set of a process, including the pages of the program that it shares with the
//! other 249.
#![cfg(target_os = "linux")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use common::{Agent, TIMEOUT};
use telemetry_gossip_core::{Event, NodeId};
use telemetry_gossip_tokio::{Agent as Node, Options, RecvError, Sealing, UdpTransport};

const NODES: usize = 250;

/// How long the test watches the idle fleet.
const WINDOW: Duration = Duration::from_secs(60);

/// After this time without an event, the fleet has gossiped everything that there was.
const QUIET: Duration = Duration::from_secs(10);

/// The number of updates of one entry, and the time between the arrival of one at all agents and
/// the next, as in the simulated measurement.
const UPDATES: u64 = 10;
const UPDATE_AFTER: Duration = Duration::from_secs(2);

/// The size of the IPv4 and UDP headers of a datagram in bytes.
const HEADER: u64 = 20 + 8;

/// An id that no agent has.
const PUBLISHER: &str = "publisher";

#[test]
#[ignore = "two minutes, and 250 processes that need the whole machine"]
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
        "processor time per agent",
        0.03,
        idle.cores() * 100.0 / NODES as f64,
        "% of a core",
    );
    figures.add(
        "sent per agent, with headers",
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
        "an agent sends {:.1} datagrams per second and wakes {:.1} times",
        idle.datagrams_each_second() / NODES as f64,
        idle.wakes_each_second() / NODES as f64,
    );

    let delays = fleet.updates();
    let slowest = delays.iter().max().copied().unwrap_or_default();
    let mean = delays.iter().sum::<Duration>() / UPDATES as u32;
    println!("all agents know of an update, mean of {UPDATES}: {:.2} s", mean.as_secs_f64());
    figures.add("all agents know of an update, slowest", 0.6, slowest.as_secs_f64(), "s");
    figures.judge();
}

/// Measures the time from the construction of the first of 250 nodes in one process until each
/// knows all others.
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
                let event = tokio::time::timeout(TIMEOUT, events.recv()).await;
                assert!(
                    matches!(event, Ok(Ok(_) | Err(RecvError::Lagged(_)))),
                    "the node ended, or its view stays incomplete"
                );
            }
        }
        started.elapsed()
    })
}

fn id(name: &str) -> NodeId {
    name.parse().expect("a valid id")
}

/// 250 agents, each a process of its own.
struct Fleet {
    agents: Vec<Agent>,
}

/// What an agent has used since its start.
#[derive(Clone, Copy, Default)]
struct Usage {
    cpu: Duration,
    wakes: u64,
    datagrams: u64,
    bytes: u64,
}

/// What all agents used during a time.
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
        let first = Agent::start_agent_program("n0", &[]);
        let seed = first.udp.to_string();
        let rest = (1..NODES)
            .map(|index| Agent::start_agent_program(&format!("n{index}"), &["--join", &seed]));
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

    /// Waits until no agent has printed an event for a while.
    fn wait_until_quiet(&self) {
        while self.agents.iter().any(|agent| !agent.lines_within(Duration::ZERO).is_empty())
            || !self.agents[0].lines_within(QUIET).is_empty()
        {}
    }

    /// Measures the idle fleet.
    fn watch(&self) -> Idle {
        // Questions cost the agents processor time. They are asked before and after the time in
        // which it is measured.
        let (before_at, before) = (Instant::now(), self.sent());
        let (from, cpu) = (Instant::now(), self.cpu());
        let said = self.agents[0].lines_within(WINDOW);
        let (watched, cpu_after) = (from.elapsed(), self.cpu());
        let (counted, after) = (before_at.elapsed(), self.sent());
        let said: Vec<String> = said
            .into_iter()
            .chain(self.agents.iter().flat_map(|agent| agent.lines_within(Duration::ZERO)))
            .collect();
        assert!(said.is_empty(), "an idle fleet must not print events:\n{}", said.join("\n"));
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

    /// Publishes updates at a node of this process. Returns the time that each takes until the last
    /// agent has printed it.
    fn updates(&mut self) -> Vec<Duration> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        // The node runs on a thread of its own until this sender is dropped.
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
                let event = tokio::time::timeout(TIMEOUT, events.recv()).await;
                let joining = matches!(event, Ok(Ok(_) | Err(RecvError::Lagged(_))));
                assert!(joining, "the node ended, or its view stays incomplete: {event:?}");
                assert!(!matches!(event, Ok(Ok(Event::JoinFailed))), "the seed does not answer");
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
            let delays = self.agents.iter().map(|agent| {
                let event = agent.wait_for(|line| {
                    line["event"] == "telemetry"
                        && line["id"] == PUBLISHER
                        && line["version"] == version
                });
                let time = event["at"].as_str().and_then(|at| humantime::parse_rfc3339(at).ok());
                time.expect("a time").duration_since(at).unwrap_or_default()
            });
            delays.max().unwrap_or_default()
        };
        (1..=UPDATES).map(update).collect()
    }
}

/// Reads the processor time of all threads of a process, and how often they were scheduled.
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

/// Measured figures and their upper bounds.
#[derive(Default)]
struct Figures {
    rows: Vec<(&'static str, f64, f64, &'static str)>,
}

impl Figures {
    fn add(&mut self, what: &'static str, bound: f64, measured: f64, unit: &'static str) {
        self.rows.push((what, bound, measured, unit));
    }

    /// Prints all figures, and fails if one is above its bound.
    fn judge(&self) {
        println!("{:<40} {:>10} {:>10}", "", "at most", "measured");
        for (what, bound, measured, unit) in &self.rows {
            let verdict = if measured <= bound { "" } else { "  MISSED" };
            println!("{what:<40} {bound:>10.3} {measured:>10.3} {unit}{verdict}");
        }
        assert!(
            self.rows.iter().all(|(_, bound, measured, _)| measured <= bound),
            "a figure is above its bound"
        );
    }
}
