//! What an agent tells systemd, or a service manager like it: ready, its status, pings of the
//! watchdog, and that it stops. The tests are the service manager.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![cfg(unix)]

mod common;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Instant;

use common::{AGENT_PROGRAM, Agent, TIMEOUT};

/// A service manager: its socket, and what it was told and has not looked at.
struct Manager {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
    unread: RefCell<VecDeque<String>>,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self { folder, socket, unread: RefCell::default() }
    }

    /// `tgossip agent`, to be started by this service manager.
    fn tgossip(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tgossip"));
        command.arg("agent");
        self.starts(command)
    }

    fn starts(&self, mut command: Command) -> Command {
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        for variable in ["WATCHDOG_USEC", "WATCHDOG_PID", "TGOSSIP_REGISTRY"] {
            command.env_remove(variable);
        }
        command
    }

    /// The next line that it is told.
    fn next(&self) -> String {
        loop {
            if let Some(line) = self.unread.borrow_mut().pop_front() {
                return line;
            }
            let mut bytes = [0; 4_096];
            let length = self.socket.recv(&mut bytes).expect("a message");
            let message = std::str::from_utf8(&bytes[..length]).expect("text");
            self.unread.borrow_mut().extend(message.lines().map(ToOwned::to_owned));
        }
    }

    /// Reads lines up to the first one that matches; returns all of them.
    fn wait_for(&self, matches: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.next());
            if matches(lines.last().expect("a line")) {
                return lines;
            }
        }
    }

    fn wait_for_status(&self, status: &str) -> Vec<String> {
        self.wait_for(|line| line == format!("STATUS={status}"))
    }
}

#[test]
fn both_programs_are_ready_once_the_node_runs_and_say_that_they_stop() {
    let manager = Manager::new();
    for program in [manager.tgossip(), manager.starts(Command::new(AGENT_PROGRAM))] {
        let mut program = program;
        let agent = Agent::run(&mut program, "a", &[]);
        let lines = manager.wait_for_status("1 member alive");
        assert_eq!(lines, ["READY=1", "STATUS=1 member alive"]);
        agent.signal("TERM");
        let lines = manager.wait_for_status("leaving the cluster");
        assert_eq!(lines, ["STOPPING=1", "STATUS=leaving the cluster"]);
        assert_eq!(agent.wait().code(), Some(0));
    }
}

/// Else a fleet that comes back while its registry is down would be killed after 90 s.
#[test]
fn an_agent_is_ready_without_its_registry_and_before_a_seed_answers() {
    let manager = Manager::new();
    let nowhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let seed = nowhere.local_addr().unwrap().to_string();
    let url = format!("file:{}", manager.folder.path().join("missing.toml").display());
    let own = ["--join", &seed, "--registry", &url];
    let agent = Agent::run(&mut manager.tgossip(), "a", &own);
    assert_eq!(manager.next(), "READY=1");
    let lines = manager.wait_for(|line| line.contains("; registry waiting: "));
    let last = lines.last().unwrap();
    assert!(last.starts_with("STATUS=joining: no other member has answered so far"), "{last}");
    assert!(!lines.contains(&"READY=1".to_owned()), "{lines:?}");
    drop(agent);
}

#[test]
fn the_status_follows_the_cluster_and_the_registry() {
    let manager = Manager::new();
    let list = manager.folder.path().join("cluster.toml");
    let named = "cluster = \"7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10\"\nversion = 1\n\
                 [members.a]\n[members.b]\n[members.c]\n";
    std::fs::write(&list, named).unwrap();
    let url = format!("file:{}", list.display());
    let a = Agent::run(&mut manager.tgossip(), "a", &["--registry", &url, "--profile", "local"]);
    // The list may have addresses to join through.
    manager.wait_for_status("joining: no other member has answered so far");
    let join = ["--join", &a.udp.to_string(), "--profile", "local"];
    let b = Agent::start("b", &join);
    manager.wait_for_status("2 members alive");
    let c = Agent::start("c", &join);
    manager.wait_for_status("3 members alive");
    std::fs::write(&list, "version = 2\n").unwrap();
    manager.wait_for(|line| line.starts_with("STATUS=3 members alive; registry held: "));
    std::fs::write(&list, named).unwrap();
    manager.wait_for_status("3 members alive");
    // Killed, so that they do not leave.
    drop((b, c));
    manager.wait_for_status("isolated: 2 of 3 members do not answer");
}

/// `systemctl status` still shows that after the end.
#[test]
fn an_agent_that_the_registry_ends_says_why() {
    let manager = Manager::new();
    let list = manager.folder.path().join("cluster.toml");
    let labelled = "cluster = \"7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10\"\nversion = 1\n\
                    label = \"prod\"\n[members.a]\n";
    std::fs::write(&list, labelled).unwrap();
    let url = format!("file:{}", list.display());
    let agent = Agent::run(&mut manager.tgossip(), "a", &["--registry", &url, "--label", "test"]);
    manager.wait_for(|line| line == "STOPPING=1");
    manager.wait_for(|line| line.starts_with("STATUS=") && line.contains("`prod`"));
    assert_eq!(agent.wait().code(), Some(6));
}

#[test]
fn the_watchdog_is_pinged_while_the_agent_runs_and_leaves() {
    let manager = Manager::new();
    // A leave takes some gossip intervals.
    let slow = ["--probe-interval", "4s", "--gossip-interval", "1s", "--suspicion", "9s"];
    let other = Agent::start("b", &slow);
    let mut program = manager.tgossip();
    program.env("WATCHDOG_USEC", "200000");
    let join = other.udp.to_string();
    let agent = Agent::run(&mut program, "a", &[&slow[..], &["--join", &join]].concat());
    manager.wait_for_status("2 members alive");
    for _ in 0..5 {
        manager.wait_for(|line| line == "WATCHDOG=1");
    }
    agent.signal("TERM");
    manager.wait_for(|line| line == "STOPPING=1");
    manager.wait_for(|line| line == "WATCHDOG=1");
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn a_watchdog_of_another_process_or_of_no_time_is_not_pinged() {
    let manager = Manager::new();
    for (span, pid) in [("0", None), ("1000", Some("1")), ("much", None)] {
        let mut program = manager.tgossip();
        program.env("WATCHDOG_USEC", span);
        pid.map(|pid| program.env("WATCHDOG_PID", pid));
        let agent = Agent::run(&mut program, "a", &[]);
        manager.wait_for(|line| line == "READY=1");
        agent.signal("TERM");
        let lines = manager.wait_for_status("leaving the cluster");
        assert!(!lines.contains(&"WATCHDOG=1".to_owned()), "{lines:?}");
        assert_eq!(agent.wait().code(), Some(0));
    }
}

#[test]
fn an_agent_whose_service_manager_is_gone_warns_once_and_goes_on() {
    let mut program = Command::new(AGENT_PROGRAM);
    program.env("NOTIFY_SOCKET", "/nonexistent/notify").env("WATCHDOG_USEC", "100000");
    let agent = Agent::run(&mut program, "a", &[]);
    let warned = |line: &serde_json::Value| {
        line["event"] == "warning"
            && line["text"].as_str().is_some_and(|text| text.contains("$NOTIFY_SOCKET"))
    };
    agent.wait_for(warned);
    let _other = Agent::start("b", &["--join", &agent.udp.to_string()]);
    agent.wait_for(|line| {
        assert!(!warned(line), "it warns again");
        line["event"] == "joined" && line["id"] == "b"
    });
}

/// The socket of this service manager is full, so that a thread that sends to it waits.
#[test]
fn a_service_manager_that_does_not_read_holds_nothing_up() {
    let manager = Manager::new();
    let filler = UnixDatagram::unbound().unwrap();
    filler.connect(manager.folder.path().join("notify")).unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send(b"STATUS=full").is_ok() {}
    let agent = Agent::run(&mut manager.tgossip(), "a", &["--profile", "local"]);
    let other = Agent::start("b", &["--profile", "local", "--join", &agent.udp.to_string()]);
    agent.wait_for_event("joined", "b");
    drop(other);
    agent.wait_for_event("suspected", "b");
    agent.signal("TERM");
    assert_eq!(agent.wait().code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn an_agent_without_a_service_manager_has_no_thread_for_it() {
    let threads =
        |agent: &Agent| std::fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap().count();
    let manager = Manager::new();
    let told = Agent::run(&mut manager.tgossip(), "a", &[]);
    manager.wait_for(|line| line == "READY=1");
    let mut program = Command::new(env!("CARGO_BIN_EXE_tgossip"));
    program.arg("agent").env_remove("NOTIFY_SOCKET").env("WATCHDOG_USEC", "100000");
    let untold = Agent::run(&mut program, "b", &[]);
    // Threads for blocking work come and go. To be asked takes the agents as far as their end.
    let end = Instant::now() + TIMEOUT;
    while threads(&untold) + 1 != threads(&told) {
        told.view();
        untold.view();
        assert!(Instant::now() < end, "{} and {} threads", threads(&untold), threads(&told));
    }
}
