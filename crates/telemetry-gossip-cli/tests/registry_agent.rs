//! `agent --registry`: agents follow a list of the nodes that belong, in a file.
//!
//! An agent reads its file every 2 s, and a node that is removed believes it after 10 s: the tests
//! run side by side.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![cfg(unix)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{AGENT_PROGRAM, Agent, TIMEOUT, member, text, tgossip};
use serde_json::Value;

/// The first lines of a list.
const CLUSTER: &str = "cluster = \"7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10\"\n";

/// A list in a file, and folders for its agents.
struct Registry {
    folder: tempfile::TempDir,
}

impl Registry {
    fn new(version: u64, members: &[&str]) -> Self {
        let registry = Self { folder: tempfile::tempdir().unwrap() };
        registry.write(version, members, "");
        registry
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("cluster.toml")
    }

    fn url(&self) -> String {
        format!("file:{}", self.path().display())
    }

    fn state(&self, id: &str) -> String {
        self.folder.path().join(id).display().to_string()
    }

    /// Writes a version as another tool would: into a new file that takes the place of the old one.
    fn write(&self, version: u64, members: &[&str], more: &str) {
        let members: String = members.iter().map(|id| format!("[members.{id}]\n")).collect();
        self.write_text(&format!("{CLUSTER}version = {version}\n{members}{more}"));
    }

    fn write_text(&self, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    /// Starts an agent that follows the list and keeps it.
    fn start(&self, id: &str, more: &[&str]) -> Agent {
        let (url, state) = (self.url(), self.state(id));
        let own = ["--registry", &url, "--state", &state];
        Agent::start_to_its_end(id, &[&own, more].concat())
    }
}

/// Whether a line says this of the registry.
fn says(line: &Value, state: &str, version: Option<u64>) -> bool {
    line["event"] == "registry" && line["state"] == state && line["version"] == Value::from(version)
}

/// Waits until the agent says this of its registry.
fn registry(agent: &Agent, state: &str, version: Option<u64>) -> Value {
    agent.wait_for(|line| says(line, state, version))
}

/// Waits until the agent says that a version is in force, and something else: in any order.
fn current_and(agent: &Agent, version: u64, other: impl Fn(&Value) -> bool) {
    let (mut is_current, mut has_other) = (false, false);
    agent.wait_for(|line| {
        is_current |= says(line, "current", Some(version));
        has_other |= other(line);
        is_current && has_other
    });
}

/// Whether a line says that this node has joined.
fn joined(id: &str) -> impl Fn(&Value) -> bool {
    move |line| line["event"] == "joined" && line["id"] == id
}

/// Asks an agent, as a script does.
fn ask(agent: &Agent, request: &str) -> Value {
    common::ask(&agent.control, request)
}

/// Asks what the agent makes of its registry.
fn asked(agent: &Agent) -> Value {
    ask(agent, "registry")["registry"]["registry"].take()
}

#[test]
fn a_new_version_is_in_force_within_seconds_and_a_broken_file_changes_nothing() {
    let list = Registry::new(1, &["a", "b"]);
    let a = list.start("a", &[]);
    let url = list.url();
    // The small program follows a file, too.
    let join = a.udp.to_string();
    let b = Agent::start_agent_program("b", &["--registry", &url, "--join", &join]);
    let warning = b.wait_for(|line| line["event"] == "warning");
    assert!(warning["text"].as_str().unwrap().contains("add --state DIR"), "{warning}");
    let line = registry(&b, "current", Some(1));
    assert_eq!((&line["members"], &line["ready"]), (&2.into(), &true.into()), "{line}");
    current_and(&a, 1, joined("b"));

    list.write(2, &["a", "b", "c"], "");
    let line = registry(&a, "current", Some(2));
    registry(&b, "current", Some(2));
    let view = a.view();
    assert_eq!(view["registry"]["hash"], line["hash"]);
    assert_eq!(
        (&view["registry"]["ready"], &view["registry"]["store_version"]),
        (&true.into(), &2.into())
    );

    let document = ask(&a, "registry-document");
    let file = std::fs::read_to_string(list.path()).unwrap();
    assert_eq!(document["registry-document"], file);

    list.write_text("version = 3\n");
    for agent in [&a, &b] {
        let held = registry(agent, "held", Some(2));
        assert_eq!((&held["reason"], &held["ready"]), (&"damaged".into(), &true.into()), "{held}");
    }
    let view = a.view();
    assert_eq!(member(&view, "b")["status"], "alive");
    assert_eq!(ask(&a, "registry-document"), document);

    // What each member publishes is there for operators who look for laggards.
    list.write(4, &["a", "b"], "");
    registry(&b, "current", Some(4));
    registry(&a, "current", Some(4));
    let short = asked(&b)["hash"].as_str().unwrap()[..16].to_owned();
    let expected: Value = ["a", "b"]
        .map(|id| serde_json::json!({ "id": id, "version": 4, "hash": short }))
        .to_vec()
        .into();
    let published = || ask(&a, "registry")["registry"]["published"].take();
    until(|| published() == expected);
}

/// Waits until something is so, which has no event of its own.
fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < end, "it does not come true");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// How long a node goes on once the list no longer names it, before it believes that.
const CONFIRM_S: u64 = 10;

#[test]
fn removed_and_replaced_nodes_leave_with_exit_code_5_unless_they_are_told_to_stay() {
    let list = Registry::new(1, &["a", "b", "c", "d"]);
    let a = list.start("a", &[]);
    let seed = a.udp.to_string();
    let b = list.start("b", &["--join", &seed]);
    let c = list.start("c", &["--join", &seed]);
    let mut d = list.start("d", &["--join", &seed, "--when-removed", "stay"]);
    for agent in [&b, &c, &d] {
        registry(agent, "current", Some(1));
    }
    let live = asked_live(&a, 4);
    assert_eq!(live, ["a", "b", "c", "d"]);

    let members = "[members]\na = {}\nc = { since = 2 }\n";
    let removed = "[removed.b]\nsince = 0\nremoved = 2\nby = \"ana\"\nwhy = \"stolen\"\n";
    list.write_text(&format!("{CLUSTER}version = 2\n{members}{removed}"));
    for agent in [&b, &c, &d] {
        let gone = registry(agent, "gone", Some(1));
        assert_eq!((&gone["ready"], &gone["left"]), (&false.into(), &false.into()), "{gone}");
    }
    let reads_at_first = asked(&d)["reads"].as_u64().unwrap();
    a.wait_for(|line| line["event"] == "removed" && line["id"] == "b");
    for (agent, why) in [
        (b, "this node was removed in version 2 of the registry by ana: stolen"),
        (c, "this machine was replaced by another one with its id in version 2"),
    ] {
        agent.wait_for(|line| line["event"] == "registry" && line["left"] == true);
        let (code, said) = agent.ended();
        assert_eq!(code, Some(5), "{said}");
        assert!(said.contains(why), "{said}");
    }

    // Reads are at least 1 s apart.
    while asked(&d)["reads"].as_u64().unwrap() < reads_at_first + CONFIRM_S + 1 {
        ask(&d, "read-registry");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(d.is_running());
    list.write(3, &["a", "c", "d"], "");
    registry(&d, "current", Some(3));
}

/// The ids of the members that are live for this agent, once they are so many.
fn asked_live(agent: &Agent, count: usize) -> Vec<String> {
    let end = Instant::now() + TIMEOUT;
    loop {
        let answer = ask(agent, "registry");
        let published = answer["registry"]["published"].as_array().expect("a list");
        let ids = published.iter().map(|it| it["id"].as_str().expect("an id").to_owned());
        if published.len() >= count || Instant::now() > end {
            return ids.collect();
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn a_node_that_starts_before_it_is_added_knocks_and_joins_once_it_is() {
    let list = Registry::new(1, &["a"]);
    let a = list.start("a", &[]);
    registry(&a, "current", Some(1));
    let x = list.start("x", &["--join", &a.udp.to_string()]);
    assert_eq!(registry(&x, "not-yet-member", None)["ready"], false);
    a.wait_for_event("knocked", "x");
    let pending = ask(&a, "registry-pending")["registry-pending"].take();
    let knocked = &pending.as_array().expect("a list")[0];
    assert_eq!((&knocked["id"], &knocked["address"]), (&"x".into(), &x.udp.to_string().into()));
    assert!(ask(&x, "registry-document")["registry-document"].is_null());

    list.write(2, &["a", "x"], "");
    current_and(&a, 2, joined("x"));
    current_and(&x, 2, joined("a"));
    assert_eq!(asked(&x)["ready"], true);
    assert_eq!(ask(&a, "registry-pending")["registry-pending"], Value::Array(Vec::new()));
}

#[test]
fn a_registry_with_another_label_ends_the_agent_with_exit_code_6() {
    let list = Registry::new(1, &["a"]);
    list.write_text(&format!("{CLUSTER}label = \"prod\"\nversion = 1\n[members.a]\n"));
    let other = list.start("a", &["--label", "test"]);
    let (code, said) = other.ended();
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("start it with `--label prod`"), "{said}");
    registry(&list.start("a", &["--label", "prod"]), "current", Some(1));
}

#[test]
fn an_agent_that_restarts_while_its_registry_is_gone_keeps_the_list() {
    let list = Registry::new(7, &["a", "b"]);
    let a = list.start("a", &[]);
    registry(&a, "current", Some(7));
    a.signal("TERM");
    assert_eq!(a.ended().0, Some(0));
    std::fs::remove_file(list.path()).unwrap();
    let a = list.start("a", &[]);
    let held = registry(&a, "held", Some(7));
    assert_eq!((&held["reason"], &held["ready"]), (&"missing".into(), &true.into()), "{held}");
    assert!(held["store_version"].is_null());
    // One that never had it waits, and takes it once it is there.
    let b = list.start("b", &[]);
    assert_eq!(registry(&b, "waiting", None)["ready"], false);
    list.write(7, &["a", "b"], "");
    registry(&b, "current", Some(7));
    registry(&a, "current", Some(7));
}

#[test]
fn an_agent_without_a_registry_tells_what_others_publish_and_refuses_the_rest() {
    let agent = Agent::start("a", &[]);
    let answer = ask(&agent, "registry");
    assert!(answer["registry"]["registry"].is_null());
    assert_eq!(answer["registry"]["published"][0]["id"], "a");
    for request in ["registry-document", "registry-pending", "read-registry"] {
        let refused = ask(&agent, request);
        assert!(refused["refused"].as_str().unwrap().contains("without --registry"), "{refused}");
    }
}

#[test]
fn the_small_program_opens_no_etcd_and_names_the_one_that_does() {
    let mut small = Command::new(AGENT_PROGRAM)
        .args(["--id", "a", "--registry", "etcd://127.0.0.1:2379/prod"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // An agent that runs prints its address.
    if let Some(line) = BufReader::new(small.stdout.take().unwrap()).lines().next() {
        small.kill().unwrap();
        panic!("it runs: {line:?}");
    }
    let refused = small.wait_with_output().unwrap();
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("`tgossip agent`"), "{said}");
    let has = |program: &str| {
        let bytes = std::fs::read(program).unwrap();
        bytes.windows(11).any(|part| part == b"rustls::tls" || part == b"rustls-0.23")
    };
    assert!(!has(AGENT_PROGRAM), "the small program has parts of TLS");
    let finds = has(env!("CARGO_BIN_EXE_tgossip"));
    assert_eq!(finds, cfg!(feature = "etcd"), "the check finds TLS where it is");
}

#[test]
fn the_location_may_come_from_the_environment() {
    let list = Registry::new(1, &["a"]);
    let mut program = Command::new(env!("CARGO_BIN_EXE_tgossip"));
    let agent = Agent::run(program.arg("agent").env("TGOSSIP_REGISTRY", list.url()), "a", &[]);
    registry(&agent, "current", Some(1));
    assert_eq!(asked(&agent)["location"], list.url());
    let listed = tgossip(&["members", "--json", "--via", &agent.control]);
    let view: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(view["registry"]["state"], "current");
}
