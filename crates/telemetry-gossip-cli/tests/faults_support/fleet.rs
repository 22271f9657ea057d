//! The agents: started at their places, stopped, killed and started again; all that each has said,
//! with its time; and the view that follows from it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use super::net::{Net, processes_in};
use super::relay::Relay;
use crate::common::{self, Agent, PATIENCE, text, tgossip};

const PORT: u16 = 7_946;

/// Through whom the others join; these join through each other.
const SEEDS: usize = 2;

/// What carries datagrams between the agents.
pub(crate) enum Ground {
    Net(Net),
    Relay(Relay),
}

impl Ground {
    /// Does something where a node is.
    fn at<T: Send>(&self, node: usize, work: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Net(net) => net.node(node).run(work),
            Self::Relay(_) => work(),
        }
    }
}

/// A line of an agent.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) at: SystemTime,
    pub(crate) event: String,
    /// About whom; empty if about nobody.
    pub(crate) id: String,
    pub(crate) line: Value,
}

impl Said {
    fn of(line: &Value) -> Self {
        let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let at = humantime::parse_rfc3339(&word("at")).expect("a time");
        Self { at, event: word("event"), id: word("id"), line: line.clone() }
    }
}

/// What an agent holds of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) status: String,
    pub(crate) address: String,
    /// Of its telemetry.
    pub(crate) version: u64,
}

/// What follows from what an agent has said since it was started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mind {
    pub(crate) others: BTreeMap<String, Held>,
    pub(crate) isolated: bool,
}

impl Mind {
    fn learn(&mut self, said: &Said) {
        let text = |key: &str| said.line[key].as_str().unwrap_or_default().to_owned();
        match said.event.as_str() {
            "isolated" => self.isolated = true,
            "reconnected" => self.isolated = false,
            "removed" => drop(self.others.remove(&said.id)),
            // Another life of a member begins without telemetry.
            "evidence" if said.line["kind"] == "restarted" => {
                self.others.entry(said.id.clone()).or_default().version = 0;
            }
            "joined" | "moved" | "telemetry" | "alive" | "suspected" | "dead" | "left" => {
                let of = self.others.entry(said.id.clone()).or_default();
                match said.event.as_str() {
                    "joined" => (of.status, of.address) = ("alive".to_owned(), text("address")),
                    "moved" => of.address = text("address"),
                    "telemetry" => of.version = said.line["version"].as_u64().expect("a version"),
                    status => status.clone_into(&mut of.status),
                }
            }
            _ => {}
        }
    }

    pub(crate) fn of(&self, node: usize) -> Option<&Held> {
        self.others.get(&name(node))
    }

    pub(crate) fn holds(&self, node: usize, status: &str) -> bool {
        self.of(node).is_some_and(|held| held.status == status)
    }
}

struct Node {
    agent: Option<Agent>,
    bind: SocketAddr,
    said: Vec<Said>,
    mind: Mind,
}

impl Node {
    fn hear(&mut self, line: &Value) {
        let said = Said::of(line);
        self.mind.learn(&said);
        self.said.push(said);
    }

    /// What has come so far.
    fn pull(&mut self, span: Duration) {
        let Some(agent) = &self.agent else { return };
        for line in agent.lines_within(span) {
            self.hear(&serde_json::from_str(&line).expect("JSON"));
        }
    }
}

/// Where in the logs of all nodes something begins.
pub(crate) struct Mark(Vec<usize>);

/// A cluster of agents.
pub(crate) struct Fleet {
    // The agents end before the ground goes.
    nodes: Vec<Node>,
    ground: Ground,
    folder: TempDir,
    settings: Vec<String>,
}

impl Fleet {
    /// Starts so many agents with these settings, sealed under a key of their own unless the
    /// settings say `--plaintext`, and waits until each knows all.
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
            Ground::Relay(relay) => relay.bound(node),
        };
        let node =
            |at| Node { agent: None, bind: place(at), said: Vec::new(), mind: Mind::default() };
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
            panic!("these agents are on no network of namespaces")
        };
        net
    }

    pub(crate) fn relay(&self) -> &Relay {
        let Ground::Relay(relay) = &self.ground else { panic!("no relay is between these agents") };
        relay
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("cluster.key")
    }

    /// Where the others reach a node.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        match &self.ground {
            Ground::Net(_) => self.nodes[node].bind,
            Ground::Relay(relay) => relay.advertised(node),
        }
    }

    /// Starts a node that does not run, with more settings of its own; the time before that.
    pub(crate) fn begin(&mut self, node: usize, more: &[&str]) -> SystemTime {
        let before = SystemTime::now();
        let mut args = vec!["--bind".to_owned(), self.nodes[node].bind.to_string()];
        if let Ground::Relay(relay) = &self.ground {
            args.extend(["--advertise".to_owned(), relay.advertised(node).to_string()]);
        }
        for seed in (0..SEEDS.min(self.len())).filter(|&seed| seed != node) {
            args.extend(["--join".to_owned(), self.address(seed).to_string()]);
        }
        args.extend(self.settings.iter().cloned().chain(more.iter().map(|&word| word.to_owned())));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let agent = self.ground.at(node, || Agent::start(&name(node), &args));
        let begun = &mut self.nodes[node];
        (begun.agent, begun.mind) = (Some(agent), Mind::default());
        before
    }

    /// Kills a node in the middle of whatever it does; the time.
    pub(crate) fn kill(&mut self, node: usize) -> SystemTime {
        self.nodes[node].pull(Duration::ZERO);
        self.nodes[node].agent = None;
        SystemTime::now()
    }

    /// From now on a node that does not run has another address.
    pub(crate) fn readdress(&mut self, node: usize) {
        assert!(self.nodes[node].agent.is_none(), "it listens at its address");
        self.nodes[node].bind = (IpAddr::V4(self.net().readdress(node)), PORT).into();
    }

    pub(crate) fn agent(&self, node: usize) -> &Agent {
        self.nodes[node].agent.as_ref().expect("it runs")
    }

    pub(crate) fn mind(&self, node: usize) -> &Mind {
        &self.nodes[node].mind
    }

    /// What an agent answers over its control socket.
    pub(crate) fn view(&self, node: usize) -> Value {
        let control = self.agent(node).control;
        self.ground.at(node, || common::view(control))
    }

    pub(crate) fn counter(&self, node: usize, part: &str, name: &str) -> u64 {
        self.view(node)[part][name].as_u64().unwrap_or_else(|| panic!("{part} has no {name}"))
    }

    pub(crate) fn mark(&mut self) -> Mark {
        self.watch(Duration::ZERO);
        Mark(self.nodes.iter().map(|node| node.said.len()).collect())
    }

    /// What the agents have said since then, each line with the node that said it.
    pub(crate) fn said_since<'a>(
        &'a self,
        mark: &'a Mark,
    ) -> impl Iterator<Item = (usize, &'a Said)> {
        let nodes = self.nodes.iter().zip(&mark.0).enumerate();
        nodes.flat_map(|(node, (of, &from))| of.said[from..].iter().map(move |said| (node, said)))
    }

    /// Lets the agents go on for so long, and takes in what they say.
    pub(crate) fn watch(&mut self, span: Duration) {
        let mut left = span;
        for node in self.nodes.iter_mut().filter(|node| node.agent.is_some()) {
            node.pull(std::mem::take(&mut left));
        }
    }

    /// Waits until these agents are of such a mind, all at a time; when the last of them came to
    /// it, if not all were at once.
    pub(crate) fn until(
        &mut self,
        observers: impl IntoIterator<Item = usize> + Clone,
        meant: impl Fn(usize, &Mind) -> bool,
    ) -> Option<SystemTime> {
        let mut last = None;
        loop {
            let before = last;
            for observer in observers.clone() {
                last = last.max(self.until_one(observer, &meant));
            }
            if last == before {
                return last;
            }
        }
    }

    fn until_one(
        &mut self,
        observer: usize,
        meant: impl Fn(usize, &Mind) -> bool,
    ) -> Option<SystemTime> {
        let node = &mut self.nodes[observer];
        let agent = node.agent.take().expect("it runs");
        let (mut is_meant, mut last) = (meant(observer, &node.mind), None);
        let mut take = |node: &mut Node, line: &Value| {
            node.hear(line);
            let was = std::mem::replace(&mut is_meant, meant(observer, &node.mind));
            if is_meant && !was {
                last = node.said.last().map(|said| said.at);
            }
            is_meant
        };
        for line in agent.lines_within(Duration::ZERO) {
            take(node, &serde_json::from_str(&line).expect("JSON"));
        }
        if !meant(observer, &node.mind) {
            agent.wait_for(|line| take(node, line));
        }
        node.agent = Some(agent);
        last
    }

    /// Waits until what an agent has said comes to what it answers: folding its events gives its
    /// view.
    fn until_told(&mut self, observer: usize) {
        let end = Instant::now() + PATIENCE;
        loop {
            let view = self.view(observer);
            let answered = view["members"].as_array().expect("members").iter().map(held);
            let answered: BTreeMap<String, Held> =
                answered.filter(|(id, _)| *id != name(observer)).collect();
            // Something may have happened between the two.
            let node = &mut self.nodes[observer];
            node.pull(Duration::ZERO);
            if answered == node.mind.others {
                return;
            }
            assert!(
                Instant::now() < end,
                "{} answers {answered:#?} and said {:#?}",
                name(observer),
                node.mind
            );
            node.pull(Duration::from_millis(10));
        }
    }

    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.len()).filter(|&node| self.nodes[node].agent.is_some()).collect()
    }

    /// Waits until all agents that run hold each other alive, and none is isolated; when the last
    /// one came to it.
    pub(crate) fn until_whole(&mut self) -> Option<SystemTime> {
        let running = self.running();
        let whole = self.until(running.clone(), |observer, mind| {
            let others = running.iter().filter(|&&node| node != observer);
            !mind.isolated && others.clone().all(|&node| mind.holds(node, "alive"))
        });
        for &observer in &running {
            self.until_told(observer);
        }
        whole
    }

    /// Kills a node, and waits until all that run hold it dead; how long the last of them took.
    pub(crate) fn crash(&mut self, victim: usize) -> Duration {
        let crashed = self.kill(victim);
        let last = self.until(self.running(), |_, mind| mind.holds(victim, "dead"));
        last.and_then(|last| last.duration_since(crashed).ok()).expect("it was alive before")
    }

    /// Who was declared dead since then, and by whom, but for those meant.
    pub(crate) fn wronged_since(&self, mark: &Mark, meant: &[usize]) -> Vec<(usize, String)> {
        self.said_of_others(mark, "dead", meant).map(|(by, said)| (by, said.id.clone())).collect()
    }

    /// How many suspicions of others than those meant were seen since then, in all views.
    pub(crate) fn suspicions_since(&self, mark: &Mark, meant: &[usize]) -> usize {
        self.said_of_others(mark, "suspected", meant).count()
    }

    fn said_of_others<'a>(
        &'a self,
        mark: &'a Mark,
        event: &'static str,
        meant: &'a [usize],
    ) -> impl Iterator<Item = (usize, &'a Said)> {
        let others = |said: &Said| !meant.iter().any(|&node| name(node) == said.id);
        self.said_since(mark).filter(move |(_, said)| said.event == event && others(said))
    }

    /// Tells all to leave, and sees them end well; nothing is left of them.
    pub(crate) fn end(mut self) {
        let agents: Vec<(usize, Agent)> = self
            .nodes
            .iter_mut()
            .enumerate()
            .filter_map(|(at, node)| Some((at, node.agent.take()?)))
            .collect();
        agents.iter().for_each(|(_, agent)| agent.signal("TERM"));
        for (at, agent) in agents {
            assert_eq!(agent.wait().code(), Some(0), "{} was told to stop", name(at));
        }
        if let Ground::Net(net) = &self.ground {
            assert!(net.inodes().into_iter().all(|inode| processes_in(inode).is_empty()));
        }
    }
}

/// A member as an agent answers it.
fn held(member: &Value) -> (String, Held) {
    let text = |key: &str| member[key].as_str().unwrap_or_default().to_owned();
    let version = member["telemetry_version"].as_u64().expect("a version");
    (text("id"), Held { status: text("status"), address: text("address"), version })
}

pub(crate) fn name(node: usize) -> String {
    format!("n{node}")
}
