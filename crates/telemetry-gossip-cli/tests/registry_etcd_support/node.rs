//! One agent of the fleet, with what it has printed.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::common::{self, Agent};

/// The machine on which an agent runs: an address and a folder of its own.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) id: String,
    /// `HOST:PORT`.
    pub(crate) address: String,
    /// The name of its folder.
    pub(crate) name: String,
}

pub(crate) struct Node {
    pub(crate) machine: Machine,
    agent: Agent,
    /// When it was started.
    pub(crate) started: SystemTime,
    log: RefCell<Log>,
}

/// What an agent has printed, as far as it matters.
#[derive(Default)]
pub(crate) struct Log {
    /// What it said of its registry last.
    registry: Option<Value>,
    /// What it said of members.
    members: Vec<Said>,
}

/// An agent said that a member has joined, is suspected or is dead.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) event: String,
    pub(crate) id: String,
    pub(crate) at: SystemTime,
    pub(crate) line: String,
}

impl Node {
    /// Starts the agent of a machine, whose folder may have the state of an earlier run.
    pub(crate) fn start(machine: &Machine, root: &Path, url: &str) -> Self {
        let folder = root.join(&machine.name);
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        let errors = OpenOptions::new().create(true).append(true).open(path("stderr")).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_tgossip"));
        program.arg("agent").env_remove("TGOSSIP_REGISTRY").stderr(errors);
        let (state, control) = (path("state"), path("control"));
        let args = ["--bind", &machine.address, "--control", &control, "--state", &state];
        let started = SystemTime::now();
        let agent =
            Agent::run(&mut program, &machine.id, &[&args[..], &["--registry", url]].concat());
        Self { machine: machine.clone(), agent, started, log: RefCell::default() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.machine.id
    }

    pub(crate) fn control(&self) -> &str {
        &self.agent.control
    }

    pub(crate) fn resident_kib(&self) -> u64 {
        common::resident_kib(self.agent.pid())
    }

    /// The memory that is of no file.
    pub(crate) fn private_kib(&self) -> u64 {
        common::status_kib(self.agent.pid(), "RssAnon:")
    }

    /// The processor time that the scheduler has given to its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.agent.pid())).unwrap();
        // One that has ended meanwhile has no file.
        let used = threads.filter_map(|thread| {
            let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(used.sum())
    }

    /// The version in force, as it said last.
    pub(crate) fn version(&self) -> Option<u64> {
        self.log.borrow().registry.as_ref()?["version"].as_u64()
    }

    /// Waits until it says of its registry what is awaited, unless it has said so last. Returns
    /// when it said that.
    pub(crate) fn until(&self, is_awaited: impl Fn(&Value) -> bool) -> SystemTime {
        self.read_printed();
        let mut log = self.log.borrow_mut();
        if let Some(line) = log.registry.as_ref().filter(|line| is_awaited(line)) {
            return time(line);
        }
        let line = self.agent.wait_for(|line| {
            log.add(line);
            line["event"] == "registry" && is_awaited(line)
        });
        time(&line)
    }

    /// Reads what it has printed so far.
    pub(crate) fn read_printed(&self) {
        let lines = self.agent.lines_within(Duration::ZERO);
        let mut log = self.log.borrow_mut();
        for line in lines {
            log.add(&serde_json::from_str(&line).expect("JSON"));
        }
    }

    /// Has it read the registry now.
    pub(crate) fn look(&self) {
        common::ask(self.control(), "read-registry");
    }

    /// The ids of the members that are alive for it.
    pub(crate) fn alive(&self) -> Vec<String> {
        let view = self.agent.view();
        let members = view["members"].as_array().expect("a list").iter();
        let alive = members.filter(|member| member["status"] == "alive");
        alive.map(|member| member["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Tells it to leave.
    pub(crate) fn stop(&self) {
        self.agent.signal("TERM");
    }

    /// Waits until it has ended. Returns its exit code and what it has said.
    pub(crate) fn end(self) -> (Option<i32>, Vec<Said>) {
        let mut log = self.log.into_inner();
        while let Some(line) = self.agent.next_line() {
            log.add(&line);
        }
        (self.agent.wait().code(), log.members)
    }

    /// Takes what it has said of members so far.
    pub(crate) fn said(&self) -> Vec<Said> {
        self.read_printed();
        std::mem::take(&mut self.log.borrow_mut().members)
    }
}

impl Log {
    fn add(&mut self, line: &Value) {
        match line["event"].as_str() {
            Some("registry") => self.registry = Some(line.clone()),
            Some(event @ ("suspected" | "dead" | "joined" | "alive")) => self.members.push(Said {
                event: event.to_owned(),
                id: line["id"].as_str().expect("an id").to_owned(),
                at: time(line),
                line: line.to_string(),
            }),
            _ => {}
        }
    }
}

fn time(line: &Value) -> SystemTime {
    let at = line["at"].as_str().and_then(|at| humantime::parse_rfc3339(at).ok());
    at.expect("a time")
}
