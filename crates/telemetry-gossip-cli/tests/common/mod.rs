//! Runs the programs as a user does: starts agents, reads their output, asks them questions.
#![allow(dead_code, reason = "each test file uses a part of this module")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The time limit of every wait. The awaited things take much less, so a wait that reaches the
/// limit would never end.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// The program `tgossip-agent`, which needs less memory than `tgossip agent`.
pub(crate) const AGENT_PROGRAM: &str = env!("CARGO_BIN_EXE_tgossip-agent");

/// Runs `tgossip` with these arguments to its end.
pub(crate) fn tgossip(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tgossip"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

/// Starts `tgossip` with these arguments; the caller reads its output.
pub(crate) fn start(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tgossip"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs")
}

/// Converts standard output or standard error to text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running agent that prints JSON. It is killed when dropped.
pub(crate) struct Agent {
    child: Child,
    lines: Receiver<String>,
    pub(crate) udp: SocketAddr,
    pub(crate) control: String,
}

impl Agent {
    /// Starts `tgossip agent` with this id on free ports, and waits until it prints its addresses.
    pub(crate) fn start(id: &str, more: &[&str]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_tgossip")).arg("agent"), id, more)
    }

    /// Does the same with `tgossip-agent`.
    pub(crate) fn start_agent_program(id: &str, more: &[&str]) -> Self {
        Self::run(&mut Command::new(AGENT_PROGRAM), id, more)
    }

    /// Does the same, and keeps what it prints on standard error for [`ended`](Self::ended).
    pub(crate) fn start_to_its_end(id: &str, more: &[&str]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_tgossip"));
        Self::run(program.arg("agent").stderr(Stdio::piped()), id, more)
    }

    /// Does the same with a command that ends in a program and its subcommand.
    pub(crate) fn run(program: &mut Command, id: &str, more: &[&str]) -> Self {
        let mut child = program
            .args(["--json", "--id", id])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut agent = Self { child, lines, udp: unknown, control: String::new() };
        agent.udp = address(&agent.wait_for(|line| line["event"] == "udp"));
        let control = agent.wait_for(|line| line["event"] == "control");
        agent.control = control["address"].as_str().expect("an address").to_owned();
        agent
    }

    /// Reads lines up to the first one that matches.
    pub(crate) fn wait_for(&self, mut matches: impl FnMut(&Value) -> bool) -> Value {
        let end = Instant::now() + TIMEOUT;
        let mut seen = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("the awaited line did not come; these did:\n{}", seen.join("\n"));
            };
            let value: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if matches(&value) {
                return value;
            }
            seen.push(line);
        }
    }

    /// Reads the next line; `None` at the end of the output.
    pub(crate) fn next_line(&self) -> Option<Value> {
        match self.lines.recv_timeout(TIMEOUT) {
            Ok(line) => Some(serde_json::from_str(&line).expect("JSON")),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("neither a line nor the end of the output"),
        }
    }

    /// Waits for an event about a member.
    pub(crate) fn wait_for_event(&self, event: &str, id: &str) -> Value {
        self.wait_for(|line| line["event"] == event && line["id"] == id)
    }

    /// Reads the lines that come within this time, and those that have come before.
    pub(crate) fn lines_within(&self, span: Duration) -> Vec<String> {
        let end = Instant::now() + span;
        let left = || end.saturating_duration_since(Instant::now());
        std::iter::from_fn(|| self.lines.recv_timeout(left()).ok()).collect()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Asks for the view of the agent over its control socket.
    pub(crate) fn view(&self) -> Value {
        view(&self.control)
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits until the agent has ended; its exit code and what it said on standard error.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        while self.next_line().is_some() {}
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).expect("standard error");
        }
        (self.wait().code(), said)
    }

    /// Waits until the agent has ended.
    pub(crate) fn wait(mut self) -> ExitStatus {
        // The output ends with the process; the remaining lines do not matter.
        while self.lines.recv().is_ok() {}
        self.child.wait().expect("a child")
    }
}

/// Asks the agent with this control socket for its view, as a script does.
#[cfg(unix)]
pub(crate) fn view(control: &str) -> Value {
    ask(control, "view")["view"].take()
}

/// Asks the agent with this control socket, as a script does.
#[cfg(unix)]
pub(crate) fn ask(control: &str, request: &str) -> Value {
    let mut stream = std::os::unix::net::UnixStream::connect(control).expect("the control socket");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    writeln!(stream, "{{\"ask\":\"{request}\"}}").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    serde_json::from_str(&answer).expect("JSON")
}

/// Asks the agent with this control address for its view.
#[cfg(not(unix))]
pub(crate) fn view(control: &str) -> Value {
    let output = tgossip(&["members", "--json", "--via", control]);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Reads the size of the resident set of a process.
#[cfg(target_os = "linux")]
pub(crate) fn resident_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

/// Reads a size from the status of a process.
#[cfg(target_os = "linux")]
pub(crate) fn status_kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a line of this name");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Sends a signal by its name, as `kill` does.
#[cfg(unix)]
pub(crate) fn signal(pid: u32, name: &str) {
    let status =
        Command::new("kill").args(["-s", name, &pid.to_string()]).status().expect("kill runs");
    assert!(status.success());
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The process may have ended already; then this fails and does no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(line: &Value) -> SocketAddr {
    line["address"].as_str().expect("an address").parse().expect("an address")
}

/// Finds the member with this id in a view.
pub(crate) fn member<'a>(view: &'a Value, id: &str) -> &'a Value {
    view["members"]
        .as_array()
        .and_then(|members| members.iter().find(|member| member["id"] == id))
        .unwrap_or_else(|| panic!("{id} is not in {view:#}"))
}
