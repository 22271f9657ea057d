//! Agents that follow a registry, each with an address of its own on loopback, and the operator who
//! changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use super::node::{Machine, Node, Said};
use crate::common::{TIMEOUT, text};

/// How many agents start at a time.
const STARTERS: usize = 8;

/// How long a view that is not whole waits until it is asked for again.
const ASK_EVERY: Duration = Duration::from_millis(50);

pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Node>,
    /// Where the registry is for agents, and for the operator.
    pub(crate) url: String,
    pub(crate) operator: String,
    folder: TempDir,
    /// The second number of all addresses, so that two fleets on one host do not meet.
    network: u32,
    machines: u32,
    /// The nodes that were removed, and when.
    removed: BTreeMap<String, SystemTime>,
    found: Found,
}

/// What agents have said that must not be.
#[derive(Default)]
pub(crate) struct Found {
    /// A member is dead, or a removed node is there.
    pub(crate) wrong: Vec<String>,
    /// The members that were suspected.
    pub(crate) suspected: BTreeSet<String>,
}

impl Fleet {
    pub(crate) fn new(url: String, operator: String) -> Self {
        static FLEETS: AtomicU32 = AtomicU32::new(0);
        let place = std::process::id().wrapping_add(FLEETS.fetch_add(1, Ordering::Relaxed));
        Self {
            nodes: Vec::new(),
            url,
            operator,
            folder: folder(),
            network: 2 + place % 250,
            machines: 0,
            removed: BTreeMap::new(),
            found: Found::default(),
        }
    }

    /// A machine that no agent had before.
    pub(crate) fn machine(&mut self, id: &str) -> Machine {
        let place = self.machines;
        self.machines += 1;
        let (high, low) = (place / 250, 1 + place % 250);
        let address = format!("127.{}.{high}.{low}:7946", self.network);
        Machine { id: id.to_owned(), address, name: format!("{id}.{place}") }
    }

    /// So many machines with ids of their own.
    pub(crate) fn machines(&mut self, count: usize) -> Vec<Machine> {
        let first = self.machines;
        (0..).zip(0..count).map(|(at, _)| self.machine(&format!("edge-{}", first + at))).collect()
    }

    /// Writes a file with the table of these members.
    pub(crate) fn list(&self, machines: &[Machine]) -> String {
        let mut list = "[members]\n".to_owned();
        for Machine { id, address, .. } in machines {
            writeln!(list, "{id} = {{ addresses = [\"{address}\"] }}").unwrap();
        }
        let path = self.folder.path().join("members.toml");
        std::fs::write(&path, list).unwrap();
        path.display().to_string()
    }

    /// Starts the agents of these machines. Returns when the last one was started.
    pub(crate) fn start(&mut self, machines: &[Machine]) -> SystemTime {
        let (root, url) = (self.folder.path(), self.url.as_str());
        let started: Vec<Node> = std::thread::scope(|scope| {
            let share = machines.len().div_ceil(STARTERS).max(1);
            let start = |share: &[Machine]| {
                share.iter().map(|machine| Node::start(machine, root, url)).collect::<Vec<_>>()
            };
            let starting: Vec<_> =
                machines.chunks(share).map(|share| scope.spawn(move || start(share))).collect();
            starting.into_iter().flat_map(|nodes| nodes.join().unwrap()).collect()
        });
        let last = started.iter().map(|node| node.started).max();
        self.nodes.extend(started);
        last.expect("a machine")
    }

    /// Starts an agent that is not to be a member.
    pub(crate) fn start_removed(&self, machine: &Machine) -> Node {
        Node::start(machine, self.folder.path(), &self.url)
    }

    /// Takes a node out of the fleet, which was removed or is about to leave.
    pub(crate) fn take(&mut self, id: &str) -> Node {
        let at = self.nodes.iter().position(|node| node.id() == id).expect("a node");
        self.nodes.remove(at)
    }

    /// Stops these agents, and starts each again on its machine. Returns when the last was started.
    ///
    /// If all agents stop at once, no member may be left to hear that the last ones leave. These
    /// agents end with exit code 1, which is passed over.
    pub(crate) fn restart(&mut self, ids: &[String]) -> SystemTime {
        let is_all = ids.len() == self.nodes.len();
        let nodes: Vec<_> = ids.iter().map(|id| self.take(id)).collect();
        nodes.iter().for_each(Node::stop);
        let machines: Vec<_> = nodes.iter().map(|node| node.machine.clone()).collect();
        for node in nodes {
            let codes: &[i32] = if is_all { &[0, 1] } else { &[0] };
            self.end_with(node, codes);
        }
        self.start(&machines)
    }

    /// Waits until a node has ended, with exit code 5.
    pub(crate) fn end_gone(&mut self, node: Node) {
        self.end_with(node, &[5]);
    }

    fn end_with(&mut self, node: Node, codes: &[i32]) {
        let id = node.id().to_owned();
        let (code, said) = node.end();
        assert!(code.is_some_and(|code| codes.contains(&code)), "{id} ended with {code:?}");
        self.judge(&id, said);
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.id().to_owned()).collect()
    }

    /// The control address of the agent through which the operator works.
    pub(crate) fn via(&self) -> &str {
        self.nodes[0].control()
    }

    /// Runs a command of the operator.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tgossip"));
        command.env_remove("TGOSSIP_REGISTRY").env("USER", "ana").stdin(Stdio::null());
        command.args(["registry", &self.operator]).args(args).output().unwrap()
    }

    /// Does the same, and the command has to do its work.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = text(&output.stdout);
        assert!(output.status.success(), "{args:?}: {said}{}", text(&output.stderr));
        said
    }

    /// Runs a command that has to change the list, again and again until the registry answers. Then
    /// waits until all agents have the version in force. Returns how long that took from the start
    /// of the command that did it.
    pub(crate) fn change(&self, version: u64, args: &[&str]) -> Duration {
        let end = Instant::now() + TIMEOUT;
        loop {
            let start = SystemTime::now();
            let output = self.run(args);
            if output.status.code() == Some(4) && Instant::now() < end {
                continue;
            }
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(said.starts_with(&format!("version {version}: ")), "{args:?}: {said}");
            let took = start.elapsed().unwrap_or_default();
            println!("the command that makes version {version} took {:.2} s", took.as_secs_f64());
            return self.until_current(version, start);
        }
    }

    /// Waits until all agents say that this version is in force and confirmed. Returns how long
    /// after a time the last one said so.
    pub(crate) fn until_current(&self, version: u64, since: SystemTime) -> Duration {
        self.until(since, |line| line["state"] == "current" && line["version"] == version)
    }

    /// Waits until all agents hold on to this version for a reason.
    pub(crate) fn until_held(&self, version: u64, reason: &str, since: SystemTime) -> Duration {
        self.until(since, |line| {
            line["state"] == "held" && line["version"] == version && line["reason"] == reason
        })
    }

    fn until(&self, since: SystemTime, is_awaited: impl Fn(&Value) -> bool) -> Duration {
        let said = self.nodes.iter().map(|node| node.until(&is_awaited));
        let last = said.max().expect("a node");
        last.duration_since(since).unwrap_or_default()
    }

    /// Has all agents read the registry now.
    pub(crate) fn look(&self) {
        self.nodes.iter().for_each(Node::look);
    }

    /// Waits until each of these agents sees all agents of the fleet alive, and no other.
    pub(crate) fn until_whole(&self, ids: &[String]) {
        let expected: BTreeSet<String> = self.ids().into_iter().collect();
        let end = Instant::now() + TIMEOUT;
        for node in self.nodes.iter().filter(|node| ids.iter().any(|id| id == node.id())) {
            loop {
                let alive: BTreeSet<_> = node.alive().into_iter().collect();
                if alive == expected {
                    break;
                }
                let differ: Vec<_> = alive.symmetric_difference(&expected).collect();
                assert!(Instant::now() < end, "{} is wrong about {differ:?}", node.id());
                std::thread::park_timeout(ASK_EVERY);
            }
        }
    }

    /// From now on, an agent that admits this node is counted as a failure.
    pub(crate) fn removed(&mut self, id: &str) {
        self.nodes.iter().for_each(Node::read_printed);
        self.removed.insert(id.to_owned(), SystemTime::now());
    }

    /// Judges what an agent has said of members.
    fn judge(&mut self, by: &str, said: Vec<Said>) {
        for Said { event, id, at, line } in said {
            let is_admitted = self.removed.get(&id).is_some_and(|removed| at > *removed);
            if is_admitted || event == "dead" {
                self.found.wrong.push(format!("{by} said {line}"));
            } else if event == "suspected" {
                self.found.suspected.insert(id);
            }
        }
    }

    /// What agents have said since the last time that must not be.
    pub(crate) fn found(&mut self) -> Found {
        for at in 0..self.nodes.len() {
            let (by, said) = (self.nodes[at].id().to_owned(), self.nodes[at].said());
            self.judge(&by, said);
        }
        std::mem::take(&mut self.found)
    }
}

/// A folder for the folders of all machines. It is in memory where there is room: each machine has
/// a disk of its own, and 240 agents that keep a version at the same time would wait for this one.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
