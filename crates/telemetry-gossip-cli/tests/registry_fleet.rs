//! The commands of an operator that ask a fleet: agents follow a registry in a file while it is
//! changed, rolled back and recovered.
//!
//! An agent reads its file every 2 s, and at once when `--via` names it.
#![cfg(unix)]

mod common;

use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Agent, text};
use serde_json::Value;
use tempfile::TempDir;

/// A registry in a file, and the agents that follow it.
struct Fleet {
    folder: TempDir,
    url: String,
    agents: Vec<Agent>,
}

impl Fleet {
    /// A registry with the members a, b and c, and their agents, which have it in force.
    fn start() -> Self {
        let mut fleet = Self::empty();
        let members = fleet.path("members.toml");
        std::fs::write(&members, "[members]\na = {}\nb = {}\nc = {}\n").unwrap();
        fleet.done(&["init", "--members", &members]);
        for id in ["a", "b", "c"] {
            fleet.join(id, &[]);
        }
        let said = fleet.done(&["check", "--via", &fleet.via(), "--wait", "60s"]);
        assert!(said.contains("3 of 3 live members have it in force"), "{said}");
        fleet
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file:{}", folder.path().join("cluster.toml").display());
        Self { folder, url, agents: Vec::new() }
    }

    /// Starts an agent that follows the registry and joins through the first one.
    fn join(&mut self, id: &str, more: &[&str]) {
        let (state, url) = (self.path(id), self.url.clone());
        let seed = self.agents.first().map(|agent| agent.udp.to_string());
        let join = seed.iter().flat_map(|seed| ["--join", seed]).collect::<Vec<_>>();
        let args = [&["--registry", &url, "--state", &state][..], &join, more].concat();
        self.agents.push(Agent::start(id, &args));
    }

    /// The control address of the first agent.
    fn via(&self) -> String {
        self.agents[0].control.clone()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path("cluster.toml")).unwrap()
    }

    /// Puts a list in the place of the registry, as a restore from a backup does.
    fn restore(&self, list: &str) {
        let new = self.path("new");
        std::fs::write(&new, list).unwrap();
        std::fs::rename(new, self.path("cluster.toml")).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        tgossip(&[&["registry", &self.url], args].concat())
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = text(&output.stdout);
        assert!(output.status.success(), "{args:?}: {said}{}", text(&output.stderr));
        said
    }

    fn refused(&self, args: &[&str], code: i32) -> String {
        let before = self.text();
        let output = self.run(args);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert_eq!(self.text(), before, "{args:?}");
        said
    }

    /// Waits until all live members have the newest version.
    fn wait(&self) -> Value {
        let args = ["check", "--via", &self.via(), "--wait", "60s", "--json"];
        serde_json::from_str(&self.done(&args)).expect("JSON")
    }

    /// Waits until an agent says that the registry is not confirmed, for this reason.
    fn wait_for_reason(&self, agent: usize, reason: &str) {
        self.agents[agent].wait_for(|line| line["event"] == "registry" && line["reason"] == reason);
    }
}

fn tgossip(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tgossip"));
    command.env_remove("TGOSSIP_REGISTRY").env("USER", "ana").stdin(Stdio::null());
    command.args(args).output().expect("the program runs")
}

#[test]
fn check_names_the_live_members_that_do_not_have_the_newest_version() {
    let fleet = Fleet::start();
    let via = fleet.via();
    assert_eq!(fleet.done(&["add", "d", "--via", &via]), "version 2: added d\n");
    assert_eq!(fleet.wait()["in_force"], 3);
    let said = fleet.done(&["status", "--via", &via]);
    assert!(said.contains("a has version 2 in force; current; it reads file:"), "{said}");

    let said = fleet.done(&["check", "--via", &via]);
    assert!(said.contains("1 member not live and not checked: d"), "{said}");

    // It belongs, and follows no registry.
    let seed = fleet.agents[0].udp.to_string();
    let d = Agent::start("d", &["--join", &seed]);
    fleet.agents[0].wait_for_event("joined", "d");
    let said = fleet.refused(&["check", "--via", &via], 1);
    assert!(said.contains("3 of 4 live members have it"), "{said}");
    assert!(said.contains("problem: d has no version in force: it follows no registry"), "{said}");

    // The change is made even if the agent cannot look at it.
    let output = fleet.run(&["remove", "d", "--why", "retired", "--via", &d.control]);
    assert_eq!(text(&output.stdout), "version 3: removed d\n");
    let error = text(&output.stderr);
    assert!(error.contains("no agent was told to look") && error.contains("--registry"), "{error}");
    assert_eq!(fleet.wait()["version"], 3);

    // A file that is changed without a new version is no version.
    let edited = fleet.text().replace("[members.c]", "[members.e]");
    fleet.restore(&edited);
    let said = fleet.refused(&["check", "--via", &via], 1);
    assert!(said.contains("problem: a has another list for version 3"), "{said}");
    assert!(said.contains("problem: c is live, and no member by version 3"), "{said}");
}

#[test]
fn a_node_that_knocks_is_pending_until_it_is_approved() {
    let mut fleet = Fleet::start();
    let via = fleet.via();
    assert_eq!(fleet.done(&["pending", "--via", &via]), "");
    assert!(fleet.refused(&["approve", "x", "--via", &via], 5).contains("no node called `x`"));
    fleet.join("x", &[]);
    fleet.agents[0].wait_for_event("knocked", "x");
    let address = fleet.agents[3].udp.to_string();
    let said = fleet.done(&["pending", "--via", &via]);
    assert!(said.starts_with(&format!("x at {address}, ")), "{said}");
    let made = fleet.done(&["approve", "x", "--via", &via, "--why", "a new host"]);
    assert_eq!(made, "version 2: added x\n");
    let list: Value = serde_json::from_str(&fleet.done(&["list", "--json"])).unwrap();
    assert_eq!(list["members"][3]["addresses"], serde_json::json!([address]));
    fleet.agents[0].wait_for_event("joined", "x");
    assert_eq!(fleet.wait()["in_force"], 4);
    assert_eq!(fleet.done(&["pending", "--via", &via, "--json"]), "[]\n");
}

/// The arguments of a recovery.
fn recover<'a>(via: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["recover", "--via", via], more].concat()
}

#[test]
fn a_registry_that_was_rolled_back_is_not_written_until_it_is_recovered() {
    let fleet = Fleet::start();
    let via = fleet.via();
    let said = fleet.refused(&recover(&via, &["--keep", "fleet", "--yes"]), 6);
    assert!(said.contains("there is nothing to recover from"), "{said}");
    let backup = fleet.text();
    fleet.done(&["add", "d", "--via", &via]);
    fleet.wait();

    fleet.restore(&backup);
    fleet.wait_for_reason(0, "rolled-back");
    let said = fleet.refused(&["add", "e", "--via", &via], 6);
    assert!(said.contains("has version 1, and") && said.contains("rolled back"), "{said}");
    let said = fleet.refused(&["check", "--via", &via], 1);
    assert!(said.contains("a has version 2 in force, which is newer"), "{said}");

    let said = fleet.refused(&recover(&via, &["--keep", "fleet"]), 0);
    for line in ["version 3 would be the list of a", "  added d", "  the same members", "--yes"] {
        assert!(said.contains(line), "{line} is missing in:\n{said}");
    }
    let made = fleet.done(&recover(&via, &["--keep", "fleet", "--yes", "--why", "restored"]));
    assert_eq!(made, "version 3: recovered the list of a\n");
    assert_eq!(fleet.wait()["members"], 4);

    fleet.restore(&backup);
    fleet.wait_for_reason(0, "rolled-back");
    let made = fleet.done(&recover(&via, &["--keep", "store", "--yes"]));
    assert_eq!(made, "version 4: recovered the list of the registry\n");
    let report = fleet.wait();
    assert_eq!((&report["version"], &report["members"]), (&4.into(), &3.into()));

    // A registry that is lost is written anew from the fleet.
    std::fs::remove_file(fleet.path("cluster.toml")).unwrap();
    let lost = fleet.run(&["init", "--via", &via]);
    assert_eq!(lost.status.code(), Some(6), "{}", text(&lost.stderr));
    assert!(text(&lost.stderr).contains("recover --keep fleet"), "{}", text(&lost.stderr));
    fleet.done(&recover(&via, &["--keep", "fleet", "--yes"]));
    assert_eq!(fleet.wait()["version"], 5);

    // What is no list at all is not overwritten.
    fleet.restore("version = 6\n");
    let said = fleet.refused(&recover(&via, &["--keep", "fleet", "--yes"]), 3);
    assert!(
        said.contains("missing field `cluster`") && said.contains("move what is there"),
        "{said}"
    );
    std::fs::remove_file(fleet.path("cluster.toml")).unwrap();
    fleet.done(&recover(&via, &["--keep", "fleet", "--yes"]));
    assert_eq!(fleet.wait()["version"], 6);
}

#[test]
fn a_fleet_without_a_registry_gets_one_of_its_live_members() {
    let mut fleet = Fleet::empty();
    fleet.agents.push(Agent::start("a", &[]));
    let seed = fleet.agents[0].udp.to_string();
    fleet.agents.push(Agent::start("b", &["--join", &seed]));
    fleet.agents[0].wait_for_event("joined", "b");
    let made = fleet.done(&["init", "--via", &fleet.via()]);
    assert_eq!(made, "version 1: added a, b\n");
    let list: Value = serde_json::from_str(&fleet.done(&["list", "--json"])).unwrap();
    assert_eq!(list["members"][0]["addresses"], serde_json::json!([seed]));

    // Agents get it one by one, and those without it go on.
    let b = fleet.agents.pop().unwrap();
    b.signal("TERM");
    assert!(b.wait().success());
    fleet.join("b", &[]);
    fleet.agents[1].wait_for(|line| line["event"] == "registry" && line["state"] == "current");
    let mut said = String::new();
    until(|| {
        said = fleet.refused(&["check", "--via", &fleet.via()], 1);
        said.contains("1 of 2 live members have it")
    });
    assert!(said.contains("problem: a has no version in force"), "{said}");
}

/// Processes of a shell, which end with the test.
struct Background(Vec<Child>);

impl Drop for Background {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The commands of the first block of shell of a page, with these ports in place of 7301 to 7304.
fn commands(page: &str, ports: &[String]) -> Vec<String> {
    let (_, block) = page.split_once("```sh\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let mut block = block.replace("\\\n", "");
    for (place, port) in ports.iter().enumerate() {
        block = block.replace(&format!(":{}", 7301 + place), &format!(":{port}"));
    }
    block.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn eight_commands_of_the_page_set_a_registry_up_add_a_node_and_remove_one() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/registry.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let sockets = [(); 4].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    let ports = sockets.map(|socket| socket.local_addr().unwrap().port().to_string());
    let commands = commands(&page, &ports);
    assert!(commands.len() <= 8, "{commands:#?}");

    let folder = tempfile::tempdir().unwrap();
    let shell = |line: &str| {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_tgossip")).parent().unwrap();
        let path = std::env::join_paths([program, "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).env("PATH", path).current_dir(folder.path());
        shell.env_remove("TGOSSIP_REGISTRY").stdin(Stdio::null()).stdout(Stdio::piped());
        shell
    };
    let (mut agents, mut said) = (Background(Vec::new()), Vec::new());
    for line in &commands {
        if let Some(agent) = line.strip_suffix(" &") {
            let agent = shell(&format!("exec {agent}")).spawn().expect("a shell");
            agents.0.push(agent);
            continue;
        }
        if line.contains("--via") {
            // A reader takes longer to type the next command.
            let ask = "tgossip members --via ./edge-1.sock";
            until(|| shell(ask).stderr(Stdio::null()).status().expect("a shell").success());
        }
        let output = shell(line).stderr(Stdio::piped()).output().expect("a shell");
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        said.push(text(&output.stdout));
    }
    let expected = ["version 1: added edge-1", "version 2: added edge-4", "version 3: removed"];
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said}");
    }
    // An agent that is not live yet is told of, and is no problem.
    let last = commands.last().expect("a command");
    until(|| {
        let output = shell(last).output().expect("a shell");
        text(&output.stdout).contains("3 of 3 live members have it in force")
    });
    assert_eq!(agents.0[2].wait().expect("edge-3").code(), Some(5));
}

/// Waits until something is so, which has no event of its own.
fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + common::TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < end, "it does not come true");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
