//! Members of etcd on this host: started, frozen, killed, and killed when the test ends.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

/// How long members may take to start. They take 3 s on 2 cores that do nothing else.
const START: Duration = Duration::from_secs(30);

/// The binary of etcd; `None` if there is none, and the test is to pass without it.
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
    pub(crate) folder: TempDir,
}

struct Member {
    process: Child,
    command: Command,
    client: u16,
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
                ("--initial-cluster", &names.join(",")),
            ] {
                command.arg(option).arg(value);
            }
            command.args(arguments);
            let log = File::create(folder.path().join(format!("{name}.log"))).unwrap();
            command.stdout(Stdio::null()).stderr(log);
            let process = command.spawn().unwrap_or_else(|error| panic!("{binary}: {error}"));
            Member { process, command, client: clients[at], health: healths[at] }
        });
        let cluster = Self { members: members.collect(), folder };
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
        loop {
            let leads = |member: &Member| {
                let path = "/v3/maintenance/status";
                let answer = http(member.client, "POST", path, "{}").unwrap_or_default();
                let id = field(&answer, "member_id");
                id.is_some() && id == field(&answer, "leader")
            };
            if let Some(leader) = self.members.iter().position(leads) {
                return leader;
            }
            assert!(Instant::now() < until, "no member leads");
            pause();
        }
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

    /// Kills all members and starts them again on their data.
    pub(crate) fn restart(&mut self) {
        for at in 0..self.members.len() {
            self.kill(at);
        }
        for member in &mut self.members {
            member.process = member.command.spawn().unwrap();
        }
        self.wait_until_healthy();
    }
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

/// Ports that no process uses. All are held until all are known, so that they differ.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
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

/// The text of a field of JSON.
fn field<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(text, _)| text)
}
