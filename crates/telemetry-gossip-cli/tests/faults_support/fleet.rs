//! A cluster of agents: starts, stops and kills them, collects the events that they print, and
//! computes the view of each agent from its events.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use super::delay_proxy::DelayProxy;
use super::net::{Net, processes_in};
use crate::common::{self, Agent, TIMEOUT, text, tgossip};

const PORT: u16 = 7_946;

/// The number of seeds. The other nodes join through them, and they join through each other.
const SEEDS: usize = 2;

/// What carries datagrams between the agents.
pub(crate) enum Ground {
    Net(Net),
    Proxy(DelayProxy),
}

impl Ground {
    /// Calls `work` inside the network namespace of a node.
    fn at<T: Send>(&self, node: usize, work: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Net(net) => net.node(node).run(work),
            Self::Proxy(_) => work(),
        }
    }
}

/// A line that an agent has printed.
#[derive(Clone, Debug)]
pub(crate) struct LogLine {
    pub(crate) at: SystemTime,
    pub(crate) event: String,
    /// The member that it is about; empty if there is none.
    pub(crate) id: String,
    pub(crate) line: Value,
}

impl LogLine {
    fn of(line: &Value) -> Self {
        let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let at = humantime::parse_rfc3339(&word("at")).expect("a time");
        Self { at, event: word("event"), id: word("id"), line: line.clone() }
    }
}

/// A member in the view of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberState {
    pub(crate) status: String,
    pub(crate) address: String,
    /// The version of its telemetry.
    pub(crate) version: u64,
}

/// The view of an agent according to the events that it has printed since it was started.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedView {
    pub(crate) others: BTreeMap<String, MemberState>,
    pub(crate) isolated: bool,
}

impl ObservedView {
    fn apply(&mut self, line: &LogLine) {
        let text = |key: &str| line.line[key].as_str().unwrap_or_default().to_owned();
        match line.event.as_str() {
            "isolated" => self.isolated = true,
            "reconnected" => self.isolated = false,
            "removed" => drop(self.others.remove(&line.id)),
            // A new instance of a member begins without telemetry.
            "evidence" if line.line["kind"] == "restarted" => {
                self.others.entry(line.id.clone()).or_default().version = 0;
            }
            "joined" | "moved" | "telemetry" | "alive" | "suspected" | "dead" | "left" => {
                let of = self.others.entry(line.id.clone()).or_default();
                match line.event.as_str() {
                    "joined" => (of.status, of.address) = ("alive".to_owned(), text("address")),
                    "moved" => of.address = text("address"),
                    "telemetry" => of.version = line.line["version"].as_u64().expect("a version"),
                    status => status.clone_into(&mut of.status),
                }
            }
            _ => {}
        }
    }

    pub(crate) fn of(&self, node: usize) -> Option<&MemberState> {
        self.others.get(&name(node))
    }

    pub(crate) fn holds(&self, node: usize, status: &str) -> bool {
        self.of(node).is_some_and(|held| held.status == status)
    }
}

struct Node {
    agent: Option<Agent>,
    bind: SocketAddr,
    lines: Vec<LogLine>,
    observed: ObservedView,
}

impl Node {
    fn add_line(&mut self, line: &Value) {
        let line = LogLine::of(line);
        self.observed.apply(&line);
        self.lines.push(line);
    }

    /// Reads the lines that come within this time, and those that have come before.
    fn read_lines(&mut self, span: Duration) {
        let Some(agent) = &self.agent else { return };
        for line in agent.lines_within(span) {
            self.add_line(&serde_json::from_str(&line).expect("JSON"));
        }
    }
}

/// A position in the output of every node.
pub(crate) struct Mark(Vec<usize>);

/// A cluster of agents.
pub(crate) struct Fleet {
    // Fields are dropped in this order: the agents end before their network.
    nodes: Vec<Node>,
    ground: Ground,
    folder: TempDir,
    settings: Vec<String>,
}

impl Fleet {
    /// Starts `count` agents with these settings, and waits until each knows all others. Unless the
    /// settings contain `--plaintext`, the agents seal under a new key.
    pub(crate) fn start(ground: Ground, count: usize, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings: Vec<String> = settings.iter().map(|&word| word.to_owned()).collect();
        if !settings.iter().any(|word| word == "--plaintext") {
            let key = folder.path().join("cluster.key").display().to_string();
            let made = tgossip(&["key", "new", &key]);
            assert!(made.status.success(), "{}", text(&made.stderr));
            settings.extend(["--key-file".to_owned(), key]);
        }
        let place = |node| match &ground {
            Ground::Net(_) => (IpAddr::V4(Net::address(node)), PORT).into(),
            Ground::Proxy(proxy) => proxy.bound(node),
        };
        let node = |at| Node {
            agent: None,
            bind: place(at),
            lines: Vec::new(),
            observed: ObservedView::default(),
        };
        let nodes = (0..count).map(node).collect();
        let mut fleet = Self { nodes, ground, folder, settings };
        for node in 0..count {
            fleet.begin(node, &[]);
        }
        fleet.until_whole();
        fleet
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn net(&self) -> &Net {
        let Ground::Net(net) = &self.ground else {
            panic!("these agents are not in network namespaces")
        };
        net
    }

    pub(crate) fn proxy(&self) -> &DelayProxy {
        let Ground::Proxy(proxy) = &self.ground else {
            panic!("there is no proxy between these agents")
        };
        proxy
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("cluster.key")
    }

    /// The address at which other nodes reach this one.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        match &self.ground {
            Ground::Net(_) => self.nodes[node].bind,
            Ground::Proxy(proxy) => proxy.advertised(node),
        }
    }

    /// Starts a node that is not running, with additional settings. Returns the time before that.
    pub(crate) fn begin(&mut self, node: usize, more: &[&str]) -> SystemTime {
        let before = SystemTime::now();
        let mut args = vec!["--bind".to_owned(), self.nodes[node].bind.to_string()];
        if let Ground::Proxy(proxy) = &self.ground {
            args.extend(["--advertise".to_owned(), proxy.advertised(node).to_string()]);
        }
        for seed in (0..SEEDS.min(self.len())).filter(|&seed| seed != node) {
            args.extend(["--join".to_owned(), self.address(seed).to_string()]);
        }
        args.extend(self.settings.iter().cloned().chain(more.iter().map(|&word| word.to_owned())));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let agent = self.ground.at(node, || Agent::start(&name(node), &args));
        let begun = &mut self.nodes[node];
        (begun.agent, begun.observed) = (Some(agent), ObservedView::default());
        before
    }

    /// Kills a node. Returns the time.
    pub(crate) fn kill(&mut self, node: usize) -> SystemTime {
        self.nodes[node].read_lines(Duration::ZERO);
        self.nodes[node].agent = None;
        SystemTime::now()
    }

    /// Gives another address to a node that is not running.
    pub(crate) fn readdress(&mut self, node: usize) {
        assert!(self.nodes[node].agent.is_none(), "the node uses its address");
        self.nodes[node].bind = (IpAddr::V4(self.net().readdress(node)), PORT).into();
    }

    pub(crate) fn agent(&self, node: usize) -> &Agent {
        self.nodes[node].agent.as_ref().expect("it is running")
    }

    pub(crate) fn observed(&self, node: usize) -> &ObservedView {
        &self.nodes[node].observed
    }

    /// Asks an agent for its view over its control socket.
    pub(crate) fn view(&self, node: usize) -> Value {
        let control = &self.agent(node).control;
        self.ground.at(node, || common::view(control))
    }

    pub(crate) fn counter(&self, node: usize, part: &str, name: &str) -> u64 {
        self.view(node)[part][name].as_u64().unwrap_or_else(|| panic!("{part} has no {name}"))
    }

    pub(crate) fn mark(&mut self) -> Mark {
        self.watch(Duration::ZERO);
        Mark(self.nodes.iter().map(|node| node.lines.len()).collect())
    }

    /// The lines that the agents have printed since the mark, each with the node that printed it.
    pub(crate) fn lines_since<'a>(
        &'a self,
        mark: &'a Mark,
    ) -> impl Iterator<Item = (usize, &'a LogLine)> {
        let nodes = self.nodes.iter().zip(&mark.0).enumerate();
        nodes.flat_map(|(node, (of, &from))| of.lines[from..].iter().map(move |line| (node, line)))
    }

    /// Lets the agents run for this time, and reads what they print.
    pub(crate) fn watch(&mut self, span: Duration) {
        let mut left = span;
        for node in self.nodes.iter_mut().filter(|node| node.agent.is_some()) {
            node.read_lines(std::mem::take(&mut left));
        }
    }

    /// Waits until the views of all these agents match at the same time. Returns the time of the
    /// last event that was needed; `None` if all views matched from the start.
    pub(crate) fn until(
        &mut self,
        observers: impl IntoIterator<Item = usize> + Clone,
        matches: impl Fn(usize, &ObservedView) -> bool,
    ) -> Option<SystemTime> {
        let mut last = None;
        loop {
            let before = last;
            for observer in observers.clone() {
                last = last.max(self.until_one(observer, &matches));
            }
            if last == before {
                return last;
            }
        }
    }

    fn until_one(
        &mut self,
        observer: usize,
        matches: impl Fn(usize, &ObservedView) -> bool,
    ) -> Option<SystemTime> {
        let node = &mut self.nodes[observer];
        let agent = node.agent.take().expect("it is running");
        let (mut is_match, mut last) = (matches(observer, &node.observed), None);
        let mut take = |node: &mut Node, line: &Value| {
            node.add_line(line);
            let was = std::mem::replace(&mut is_match, matches(observer, &node.observed));
            if is_match && !was {
                last = node.lines.last().map(|line| line.at);
            }
            is_match
        };
        for line in agent.lines_within(Duration::ZERO) {
            take(node, &serde_json::from_str(&line).expect("JSON"));
        }
        if !matches(observer, &node.observed) {
            agent.wait_for(|line| take(node, line));
        }
        node.agent = Some(agent);
        last
    }

    /// Waits until the events that an agent has printed give the same view as its answer over the
    /// control socket.
    fn until_consistent(&mut self, observer: usize) {
        let end = Instant::now() + TIMEOUT;
        loop {
            let view = self.view(observer);
            let answered = view["members"].as_array().expect("members").iter().map(member_state);
            let answered: BTreeMap<String, MemberState> =
                answered.filter(|(id, _)| *id != name(observer)).collect();
            // An event may come between the answer and this; then ask again.
            let node = &mut self.nodes[observer];
            node.read_lines(Duration::ZERO);
            if answered == node.observed.others {
                return;
            }
            assert!(
                Instant::now() < end,
                "{} answers {answered:#?}, but its events give {:#?}",
                name(observer),
                node.observed
            );
            node.read_lines(Duration::from_millis(10));
        }
    }

    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.len()).filter(|&node| self.nodes[node].agent.is_some()).collect()
    }

    /// Waits until all running agents consider each other alive, and none is isolated. Returns the
    /// time of the last event that was needed.
    pub(crate) fn until_whole(&mut self) -> Option<SystemTime> {
        let running = self.running();
        let whole = self.until(running.clone(), |observer, view| {
            let others = running.iter().filter(|&&node| node != observer);
            !view.isolated && others.clone().all(|&node| view.holds(node, "alive"))
        });
        for &observer in &running {
            self.until_consistent(observer);
        }
        whole
    }

    /// Kills a node, and waits until all running agents declare it dead. Returns the time that this
    /// took.
    pub(crate) fn crash(&mut self, victim: usize) -> Duration {
        let crashed = self.kill(victim);
        let last = self.until(self.running(), |_, view| view.holds(victim, "dead"));
        last.and_then(|last| last.duration_since(crashed).ok()).expect("it was alive before")
    }

    /// Lists the members declared dead since the mark, each with the node that printed it, except
    /// the victims of the test.
    pub(crate) fn false_deaths_since(
        &self,
        mark: &Mark,
        victims: &[usize],
    ) -> Vec<(usize, String)> {
        let dead = self.lines_about_others(mark, "dead", victims);
        dead.map(|(by, line)| (by, line.id.clone())).collect()
    }

    /// Counts the suspicions since the mark in all views, except those of the victims.
    pub(crate) fn suspicions_since(&self, mark: &Mark, victims: &[usize]) -> usize {
        self.lines_about_others(mark, "suspected", victims).count()
    }

    fn lines_about_others<'a>(
        &'a self,
        mark: &'a Mark,
        event: &'static str,
        victims: &'a [usize],
    ) -> impl Iterator<Item = (usize, &'a LogLine)> {
        let is_other = |line: &LogLine| !victims.iter().any(|&node| name(node) == line.id);
        self.lines_since(mark).filter(move |(_, line)| line.event == event && is_other(line))
    }

    /// Lets all agents leave, and checks that they end with success and that no process remains.
    pub(crate) fn end(mut self) {
        let agents: Vec<(usize, Agent)> = self
            .nodes
            .iter_mut()
            .enumerate()
            .filter_map(|(at, node)| Some((at, node.agent.take()?)))
            .collect();
        agents.iter().for_each(|(_, agent)| agent.signal("TERM"));
        for (at, agent) in agents {
            assert_eq!(agent.wait().code(), Some(0), "{} was asked to leave", name(at));
        }
        if let Ground::Net(net) = &self.ground {
            assert!(net.inodes().into_iter().all(|inode| processes_in(inode).is_empty()));
        }
    }
}

/// Reads a member from the answer of an agent.
fn member_state(member: &Value) -> (String, MemberState) {
    let text = |key: &str| member[key].as_str().unwrap_or_default().to_owned();
    let version = member["telemetry_version"].as_u64().expect("a version");
    (text("id"), MemberState { status: text("status"), address: text("address"), version })
}

pub(crate) fn name(node: usize) -> String {
    format!("n{node}")
}
