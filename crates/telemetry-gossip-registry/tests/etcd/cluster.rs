//! Members of etcd on this host: started, frozen, killed, restored, and killed when the test ends.
//! The tests of the command line tool have this file, too.
#![allow(dead_code, reason = "each test program uses a part of this module")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

/// How long members may take to start. They take 3 s on 2 cores that do nothing else.
const START: Duration = Duration::from_secs(30);

/// The path of etcd; `None` if there is none, and the test is to pass without it.
fn binary() -> Option<String> {
    if let Some(path) = std::env::var("TGOSSIP_ETCD").ok().filter(|path| !path.is_empty()) {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "TGOSSIP_ETCD names no etcd: run .ci/etcd");
    println!("not tested: TGOSSIP_ETCD names no etcd, see .ci/etcd");
    None
}

/// Members of one etcd.
pub(crate) struct Cluster {
    members: Vec<Member>,
    /// `NAME=URL` of each member for the other members, with a comma between two.
    names: String,
    pub(crate) folder: TempDir,
}

struct Member {
    process: Child,
    command: Command,
    client: u16,
    /// The URL for other members.
    peer: String,
    health: u16,
}

impl Cluster {
    /// Starts three members without logins and TLS that no test disturbs, or takes those that
    /// another test has started.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = shared.upgrade() {
            return Some(cluster);
        }
        let cluster = Arc::new(Self::start(3, &[])?);
        *shared = Arc::downgrade(&cluster);
        Some(cluster)
    }

    /// Starts members, and waits until each of them answers.
    pub(crate) fn start(count: usize, arguments: &[String]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, "http", count, arguments)
    }

    /// Starts members whose clients speak `scheme`. Their data is beside what the folder has.
    pub(crate) fn start_in(
        folder: TempDir,
        scheme: &str,
        count: usize,
        arguments: &[String],
    ) -> Option<Self> {
        let binary = binary()?;
        let ports = free_ports(3 * count);
        let (clients, rest) = ports.split_at(count);
        let (peers, healths) = rest.split_at(count);
        let names: Vec<_> =
            (0..count).map(|at| format!("m{at}=http://127.0.0.1:{}", peers[at])).collect();
        let names = names.join(",");
        let members = (0..count).map(|at| {
            let name = format!("m{at}");
            let client = format!("{scheme}://127.0.0.1:{}", clients[at]);
            let peer = format!("http://127.0.0.1:{}", peers[at]);
            let health = format!("http://127.0.0.1:{}", healths[at]);
            let mut command = Command::new(&binary);
            // The package supports what it is built for.
            command.env("ETCD_UNSUPPORTED_ARCH", "arm64").stdin(Stdio::null());
            command.arg("--data-dir").arg(folder.path().join(&name));
            for (option, value) in [
                ("--name", &name),
                ("--listen-client-urls", &client),
                ("--advertise-client-urls", &client),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", &peer),
                ("--listen-metrics-urls", &health),
                ("--initial-cluster", &names),
            ] {
                command.arg(option).arg(value);
            }
            command.args(arguments);
            let log = File::create(folder.path().join(format!("{name}.log"))).unwrap();
            command.stdout(Stdio::null()).stderr(log);
            let process = command.spawn().unwrap_or_else(|error| panic!("{binary}: {error}"));
            Member { process, command, client: clients[at], peer, health: healths[at] }
        });
        let cluster = Self { members: members.collect(), names, folder };
        cluster.wait_until_healthy();
        Some(cluster)
    }

    fn wait_until_healthy(&self) {
        let until = Instant::now() + START;
        for (at, member) in self.members.iter().enumerate() {
            let is_healthy = || {
                let answer = http(member.health, "GET", "/health", "")?;
                answer.contains("\"health\":\"true\"").then_some(())
            };
            while is_healthy().is_none() {
                let log = self.folder.path().join(format!("m{at}.log"));
                let log = || std::fs::read_to_string(&log).unwrap_or_default();
                assert!(Instant::now() < until, "member {at} does not get healthy:\n{}", log());
                pause();
            }
        }
    }

    /// `HOST:PORT` of each member, with a comma between two.
    pub(crate) fn endpoints(&self) -> String {
        let endpoints: Vec<_> =
            self.members.iter().map(|member| format!("127.0.0.1:{}", member.client)).collect();
        endpoints.join(",")
    }

    /// Which member leads, as the members say that run.
    pub(crate) fn leader(&self) -> usize {
        let until = Instant::now() + START;
        let leads = |at: &usize| self.metric(*at, "etcd_server_is_leader") == Some(1);
        loop {
            if let Some(leader) = (0..self.members.len()).find(leads) {
                return leader;
            }
            assert!(Instant::now() < until, "no member leads");
            pause();
        }
    }

    /// The sum of a counter of a member, over all of its labels; `None` if it does not run.
    pub(crate) fn metric(&self, at: usize, name: &str) -> Option<u64> {
        let answer = http(self.members[at].health, "GET", "/metrics", "")?;
        let of_name =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        // Counters are printed as floating-point numbers.
        let values = answer.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next());
        Some(values.filter_map(|value| value.parse::<f64>().ok()).sum::<f64>() as u64)
    }

    /// Freezes a member: its connections stay, and it answers nothing.
    pub(crate) fn freeze(&self, at: usize) {
        let process = Pid::from_child(&self.members[at].process);
        kill_process(process, Signal::STOP).unwrap();
        // The signal takes effect some time after it was sent.
        let stopped = waitpid(Some(process), WaitOptions::UNTRACED).unwrap();
        assert!(stopped.is_some_and(|(_, status)| status.stopped()), "{stopped:?}");
    }

    /// Lets a frozen member go on, and waits until it answers.
    pub(crate) fn thaw(&self, at: usize) {
        kill_process(Pid::from_child(&self.members[at].process), Signal::CONT).unwrap();
        self.wait_until_healthy();
    }

    /// Kills a member.
    pub(crate) fn kill(&mut self, at: usize) {
        let process = &mut self.members[at].process;
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Kills all members.
    pub(crate) fn kill_all(&mut self) {
        (0..self.members.len()).for_each(|at| self.kill(at));
    }

    /// Starts a member again on its data.
    pub(crate) fn start_again(&mut self, at: usize) {
        let member = &mut self.members[at];
        member.process = member.command.spawn().unwrap();
        self.wait_until_healthy();
    }

    /// Starts all members again on their data.
    pub(crate) fn start_all(&mut self) {
        for member in &mut self.members {
            member.process = member.command.spawn().unwrap();
        }
        self.wait_until_healthy();
    }

    /// Has members start with these arguments, too, from their next start on.
    pub(crate) fn add_arguments(&mut self, arguments: &[&str]) {
        for member in &mut self.members {
            member.command.args(arguments);
        }
    }

    /// Kills all members and starts them again on their data.
    pub(crate) fn restart(&mut self) {
        self.kill_all();
        self.start_all();
    }

    /// Kills all members, gives each of them the data of a snapshot in the place of its own, as the
    /// documentation of etcd says, and starts them again. `etcdctl` makes the data.
    pub(crate) fn restore(&mut self, snapshot: &Path) {
        self.kill_all();
        for (at, member) in self.members.iter().enumerate() {
            let name = format!("m{at}");
            let data = self.folder.path().join(&name);
            std::fs::remove_dir_all(&data).unwrap();
            let mut command = etcdctl();
            command.args(["snapshot", "restore"]).arg(snapshot).arg("--data-dir").arg(&data);
            command.args(["--name", &name, "--initial-cluster", &self.names]);
            command.args(["--initial-advertise-peer-urls", &member.peer]);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        self.start_all();
    }
}

/// The program `etcdctl`, which `.ci/etcd` puts beside etcd.
pub(crate) fn etcdctl() -> Command {
    let etcd = std::env::var("TGOSSIP_ETCD").expect("a test that has an etcd");
    let program = Path::new(&etcd).with_file_name("etcdctl");
    assert!(program.exists(), "there is no {}: run .ci/etcd", program.display());
    let mut command = Command::new(program);
    command.env("ETCDCTL_API", "3").stdin(Stdio::null());
    command
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
    }
}

/// Waits until it is worth asking once more.
#[expect(clippy::disallowed_methods, reason = "a process does not tell when it is ready")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Ports that no process uses, below those that the kernel gives to clients: a port stays free
/// while its member is down, and no client that tries it is connected to itself.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    /// How many the tests of this process have tried.
    static TRIED: AtomicU32 = AtomicU32::new(0);

    // Other processes begin elsewhere.
    let first = std::process::id().wrapping_mul(97);
    let next = || FIRST + first.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % COUNT;
    let ports = (0..COUNT).filter_map(|_| u16::try_from(next()).ok());
    let free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let free: Vec<_> = free.take(count).collect();
    assert_eq!(free.len(), count, "too few ports are free");
    free
}

/// Sends a request and reads the answer; `None` if there is none within a second.
fn http(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let second = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), second).ok()?;
    stream.set_read_timeout(Some(second)).ok()?;
    let len = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n\
         {body}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
