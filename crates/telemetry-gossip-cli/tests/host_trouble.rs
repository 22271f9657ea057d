//! What a host does to its agent: restarts, a signal at a bad moment, a full disk, a folder that is
//! removed. Afterwards the cluster is whole, and each agent has told each thing once.
//!
//! ```sh
//! cargo test -p telemetry-gossip-cli --test host_trouble -- --nocapture
//! ```
//!
//! It takes half a minute, and prints a line for each step. The full disk is a small file system in
//! a mount namespace, and the silent name server an address in a network namespace. They need
//! `unshare` and `nsenter` (util-linux), `ip` (iproute2), and a kernel that lets this user make
//! namespaces. If one of them is missing, the test prints which, leaves out that step, and takes
//! the others.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![cfg(target_os = "linux")]

mod common;

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{AGENT_PROGRAM, Agent, TIMEOUT, member, start, text, tgossip};
use serde_json::Value;

const QUICK: [&str; 6] =
    ["--probe-interval", "500ms", "--probe-timeout", "250ms", "--gossip-interval", "50ms"];

/// A disk of its own for an agent: a file system in memory of this size in KiB, which only the
/// processes see that enter the namespace of its holder.
const DISK_KIB: u32 = 3_072;

/// An agent and all lines that it has printed so far.
struct Watched {
    agent: Agent,
    lines: RefCell<Vec<Value>>,
}

impl Watched {
    fn new(agent: Agent) -> Self {
        Self { agent, lines: RefCell::default() }
    }

    /// Reads lines up to the first one that matches.
    fn wait_for(&self, mut matches: impl FnMut(&Value) -> bool) -> Value {
        self.agent.wait_for(|line| {
            self.lines.borrow_mut().push(line.clone());
            matches(line)
        })
    }

    fn wait_for_event(&self, event: &str, id: &str) {
        self.wait_for(|line| line["event"] == event && line["id"] == id);
    }

    fn wait_for_warning(&self, part: &str) {
        self.wait_for(|line| is_warning(line, part));
    }

    /// Waits until it holds exactly these members Alive, by its own answer.
    fn wait_until_whole(&self, ids: &[&str]) {
        let end = Instant::now() + TIMEOUT;
        loop {
            let view = self.agent.view();
            let members = view["members"].as_array().map_or(0, Vec::len);
            if members == ids.len() && ids.iter().all(|id| member(&view, id)["status"] == "alive") {
                return;
            }
            assert!(Instant::now() < end, "{ids:?} are not whole in {view:#}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// How many of its lines match, of all that it has printed so far.
    fn count(&self, matches: impl Fn(&Value) -> bool) -> usize {
        let rest = self.agent.lines_within(Duration::ZERO).into_iter();
        let rest = rest.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
        self.lines.borrow_mut().extend(rest);
        self.lines.borrow().iter().filter(|line| matches(line)).count()
    }

    fn count_event(&self, event: &str, id: &str) -> usize {
        self.count(|line| line["event"] == event && line["id"] == id)
    }

    /// Sends SIGTERM, and reads to the end: it leaves, and ends without an error. Returns all of
    /// its lines.
    fn stop(self) -> Vec<Value> {
        self.agent.signal("TERM");
        let mut lines = self.lines.into_inner();
        while let Some(line) = self.agent.next_line() {
            lines.push(line);
        }
        assert_eq!(self.agent.wait().code(), Some(0), "it leaves in peace: {lines:#?}");
        lines
    }
}

fn is_warning(line: &Value, part: &str) -> bool {
    line["event"] == "warning" && line["text"].as_str().is_some_and(|text| text.contains(part))
}

fn warnings(lines: &[Value], part: &str) -> usize {
    lines.iter().filter(|line| is_warning(line, part)).count()
}

/// Holds a small disk for as long as it exists.
struct Disk {
    holder: Child,
    folder: PathBuf,
}

impl Disk {
    /// Mounts the disk at `folder`, for those inside the namespace only.
    ///
    /// # Errors
    /// What this host refuses.
    fn at(folder: &Path) -> Result<Self, String> {
        let script = format!(
            "mount -t tmpfs -o size={DISK_KIB}k disk \"$0\" && echo mounted && read wait; exit 0"
        );
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &script])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`unshare` does not run: {error}"))?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let disk = Self { holder, folder: folder.to_owned() };
        let enters = disk.program("true").status();
        if line == "mounted\n" && enters.is_ok_and(|status| status.success()) {
            return Ok(disk);
        }
        Err("no file system can be mounted in a namespace of this user".to_owned())
    }

    /// A command that runs a program inside.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.holder.id().to_string();
        command.args(["--target", &holder, "--user", "--mount", "--preserve-credentials", name]);
        command
    }

    /// The path from outside of a file on the disk.
    fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.strip_prefix("/").expect("an absolute path")).join(name)
    }

    /// Fills the disk to the last byte.
    fn fill(&self) {
        let mut file = File::create(self.path("filling")).unwrap();
        while file.write_all(&[b'x'; 1_024]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.path("filling")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Its input ends with it, and then so does the shell.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// An agent that looks up its seed at a name server that never answers: itself, in a network
/// namespace of its own.
fn agent_at_a_silent_name_server(folder: &Path) -> Result<Agent, String> {
    let (servers, order) = (folder.join("resolv.conf"), folder.join("nsswitch.conf"));
    fs::write(&servers, "nameserver 127.0.0.1\noptions timeout:30 attempts:3\n").unwrap();
    fs::write(&order, "hosts: dns\n").unwrap();
    let prepare = format!(
        "ip link set lo up && mount --bind {} /etc/resolv.conf && \
         {{ ! [ -e /etc/nsswitch.conf ] || mount --bind {} /etc/nsswitch.conf; }}",
        servers.display(),
        order.display()
    );
    let namespaces = ["--map-root-user", "--mount", "--net", "sh", "-c"];
    let tried = Command::new("unshare").args(namespaces).arg(&prepare).output();
    let tried = tried.map_err(|error| format!("`unshare` does not run: {error}"))?;
    if !tried.status.success() {
        return Err(format!("no network namespace with `ip`: {}", text(&tried.stderr).trim()));
    }
    let mut command = Command::new("unshare");
    command.args(namespaces).arg(format!("{prepare} && exec \"$0\" \"$@\"")).arg(AGENT_PROGRAM);
    let bind = ["--bind", "127.0.0.1:53", "--join", "seed.example.com:7946"];
    Ok(Agent::run(&mut command, "waiting", &bind))
}

/// Waits until a thread of this name runs in the process.
fn wait_for_thread(pid: u32, name: &str) {
    let end = Instant::now() + TIMEOUT;
    loop {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
        let names = threads.flatten().map(|it| fs::read_to_string(it.path().join("comm")));
        if names.flatten().any(|comm| comm.trim() == name) {
            return;
        }
        assert!(Instant::now() < end, "no thread {name} in {pid}");
        std::thread::yield_now();
    }
}

/// A free port of the loopback address, for an agent that is started twice at one place.
fn free_port() -> String {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn after_restarts_signals_a_full_disk_and_removed_folders_the_cluster_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let first_at = free_port();
    let first_state = folder("first").display().to_string();
    let first_args = [&QUICK[..], &["--bind", &first_at, "--state", &first_state]].concat();
    let start_first = || Watched::new(Agent::start("first", &first_args));
    let join = [&QUICK[..], &["--join", &first_at]].concat();

    let disk = Disk::at(&folder("disk"));
    if let Err(reason) = &disk {
        println!("SKIPPED: the full disk: {reason}");
    }
    let on_disk = root.path().join("disk");
    let on_disk = |name: &str| on_disk.join(name).display().to_string();
    let (state, record) = (on_disk("state"), on_disk("record"));
    let kept = ["--state", &state, "--record", &record, "--record-limit", "1MiB"];
    let third_at = free_port();
    let third_args = [&join[..], &kept, &["--bind", &third_at]].concat();
    let third_program = || match &disk {
        Ok(disk) => disk.program(AGENT_PROGRAM),
        Err(_) => Command::new(AGENT_PROGRAM),
    };
    let start_third = || Watched::new(Agent::run(&mut third_program(), "third", &third_args));
    let inside = |name: &str| match &disk {
        Ok(disk) => disk.path(name),
        Err(_) => root.path().join("disk").join(name),
    };

    let first = start_first();
    let second = Watched::new(Agent::start("second", &join));
    let third = start_third();
    let all = ["first", "second", "third"];
    for agent in [&first, &second, &third] {
        agent.wait_until_whole(&all);
    }

    println!("the node without seeds is stopped, and started with the same arguments");
    let said = first.stop();
    assert_eq!(said.iter().filter(|line| line["event"] == "leave-completed").count(), 1);
    second.wait_for_event("left", "first");
    third.wait_for_event("left", "first");
    let first = start_first();
    second.wait_for_event("alive", "first");
    third.wait_for_event("alive", "first");
    for agent in [&first, &second, &third] {
        agent.wait_until_whole(&all);
    }

    println!("a signal ends an agent whose seed does not answer");
    let mute = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mute = mute.local_addr().unwrap().to_string();
    let joining = Watched::new(Agent::start("joining", &["--join", &mute]));
    joining.wait_for(|line| line["event"] == "join-failed");
    joining.stop();

    println!("a signal ends an agent whose name server does not answer");
    match agent_at_a_silent_name_server(&folder("names")) {
        Err(reason) => println!("SKIPPED: the silent name server: {reason}"),
        Ok(waiting) => {
            wait_for_thread(waiting.pid(), "tgossip-lookup");
            let said = Watched::new(waiting).stop();
            // The look-up would have ended with this, some seconds later.
            assert_eq!(warnings(&said, "has no address so far"), 0, "{said:#?}");
        }
    }

    let third = match &disk {
        Err(_) => third,
        Ok(disk) => {
            println!("the disk of a node is full");
            disk.fill();
            third.wait_for_warning("the node is not recorded at present");
            let kept = fs::read_dir(inside("record")).unwrap().count();
            assert!(kept >= 1, "the record so far is kept");
            let is_empty = |path: PathBuf| fs::metadata(path).is_ok_and(|file| file.len() == 0);
            let files = || fs::read_dir(inside("record")).unwrap().flatten();
            disk.free();
            third.wait_for_warning("the node is recorded again");
            println!("it is stopped on a full disk, and cannot start there");
            disk.fill();
            let said = third.stop();
            for part in ["the node is recorded again", "the live members are not kept"] {
                assert_eq!(warnings(&said, part), 1, "{part}: {said:#?}");
            }
            second.wait_for_event("left", "third");
            let refused = {
                let mut command = third_program();
                command.args(["--id", "third"]).args(&third_args).output().unwrap()
            };
            let error = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(3), "{error}");
            assert!(error.contains(&on_disk("")), "it names the folder: {error}");
            assert!(!files().any(|file| is_empty(file.path())), "no attempt leaves an empty file");
            println!("there is room again, and it starts with the same arguments");
            disk.free();
            let third = start_third();
            second.wait_for_event("alive", "third");
            third
        }
    };
    for agent in [&first, &second, &third] {
        agent.wait_until_whole(&all);
    }

    println!("the folders of a node are removed while it runs");
    fs::remove_dir_all(inside("record")).unwrap();
    fs::remove_dir_all(inside("state")).unwrap();
    third.wait_for_warning("the node is not recorded at present");
    third.wait_for_warning("the node is recorded again");
    let said = third.stop();
    for part in ["the node is not recorded at present", "the node is recorded again"] {
        assert_eq!(warnings(&said, part), 1, "{part}: {said:#?}");
    }
    second.wait_for_event("left", "third");
    assert!(inside("state").join("peers").exists(), "what it knew is kept in a new folder");
    let replayed = tgossip(&["replay", &inside("record").display().to_string()]);
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));

    println!("it starts without seeds, from what it kept there");
    let alone = [&QUICK[..], &kept, &["--bind", &third_at]].concat();
    let third = Watched::new(Agent::run(&mut third_program(), "third", &alone));
    assert_eq!(third.wait_for(|line| line["event"] == "state")["peers"], 2);
    second.wait_for_event("alive", "third");
    for agent in [&first, &second, &third] {
        agent.wait_until_whole(&all);
    }

    println!("the cluster is whole, and each thing was told once");
    let third_left = if disk.is_ok() { 2 } else { 1 };
    for (event, id, times) in [
        ("joined", "first", 1),
        ("joined", "third", 1),
        ("left", "first", 1),
        ("alive", "first", 1),
        ("left", "third", third_left),
        ("alive", "third", third_left),
    ] {
        assert_eq!(second.count_event(event, id), times, "second tells {event} of {id}");
    }
    for agent in [&first, &second, &third] {
        let accusing = |line: &Value| line["event"] == "suspected" || line["event"] == "dead";
        assert_eq!(agent.count(accusing), 0, "no node was accused");
    }
    let unused = start(&["members", "--via", &second.agent.control, "--json"]);
    let view = unused.wait_with_output().unwrap();
    let view: Value = serde_json::from_slice(&view.stdout).unwrap();
    assert_eq!(view["members"].as_array().map(Vec::len), Some(3), "no trace of the others");
}
