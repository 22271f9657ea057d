//! A network for a test: a network namespace for each node, a bridge that connects them, and faults
//! made by nft.
//!
//! ```text
//!   node 0: eth0 10.77.0.1 ----- n0 [                         ]
//!   node 1: eth0 10.77.0.2 ----- n1 [ hub: a bridge, whose nft ] n7 ----- eth0 10.77.0.8 :node 7
//!   ...                             [ drops the lost packets   ]
//! ```
//!
//! The namespaces have no names. Each exists as long as this process has it open or a process is
//! inside it, its links exist as long as the namespace, and none of them is ever in the namespace
//! of the machine. Nothing is therefore left behind, however the test ends. Faults happen at the
//! bridge, where a sender does not notice them, as on a real network.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use nix::sched::{CloneFlags, setns, unshare};

use crate::common::text;

/// The folders of `ip` and `nft`, which may be missing in the path of a user.
const SYSTEM: &str = "/usr/sbin:/sbin";

/// What these tests need and this machine lacks; `None` if it lacks nothing. Checked once.
pub(crate) fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    MISSING.get_or_init(|| trial().err()).as_deref()
}

fn trial() -> Result<(), String> {
    for (tool, package) in [("ip", "iproute2"), ("nft", "nftables")] {
        let ran = command(tool, &["-V"], "");
        ran.map_err(|error| {
            format!("`{tool}` does not run ({error}): install it (package {package})")
        })?;
    }
    let hub = Namespace::new().map_err(|error| {
        format!(
            "no network namespace can be made ({error}): run as root, or under `unshare \
             --map-root-user`"
        )
    })?;
    let links = "link add hub type bridge\nlink add one type veth peer name other\n";
    let rules = script(&[Fault::Loss(5), Fault::Cut(vec![0], vec![1]), Fault::Longer(1_000)]);
    for (tool, args, script, needs) in [
        ("ip", ["-batch", "-"], links, "bridge and veth"),
        ("nft", ["-f", "-"], rules.as_str(), "nftables for bridges (NF_TABLES_BRIDGE, NFT_NUMGEN)"),
    ] {
        let tried = hub.run(|| command(tool, &args, script)).map_err(|error| error.to_string())?;
        if !tried.status.success() {
            return Err(format!("the kernel needs {needs}: {}", text(&tried.stderr).trim()));
        }
    }
    Ok(())
}

fn command(tool: &str, args: &[&str], script: &str) -> std::io::Result<Output> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = Command::new(tool)
        .args(args)
        .env("PATH", format!("{path}:{SYSTEM}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // The script fits the pipe, so that writing it cannot block.
    child.stdin.take().expect("a pipe").write_all(script.as_bytes())?;
    child.wait_with_output()
}

/// A network namespace, kept alive by an open file.
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    fn new() -> std::io::Result<Self> {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        Ok(Self { file: made.join().expect("the thread does not panic")? })
    }

    /// Calls `work` inside the namespace. The sockets, threads and processes that it starts are
    /// inside, too.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).expect("it is a network namespace");
            work()
        };
        let done = std::thread::scope(|scope| scope.spawn(inside).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn must(&self, tool: &str, args: &[&str], script: &str) -> String {
        let done = self.run(|| command(tool, args, script)).expect("the tool has run before");
        assert!(done.status.success(), "{tool} {args:?}: {}\n{script}", text(&done.stderr));
        text(&done.stdout)
    }

    /// The path by which other processes can open the namespace while this process has it open.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// The inode, which identifies the namespace.
    pub(crate) fn inode(&self) -> u64 {
        self.file.metadata().expect("an open file").ino()
    }
}

/// Lists the processes in the namespace with this inode, except this process, some of whose threads
/// can be inside for a moment.
pub(crate) fn processes_in(inode: u64) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("the process table");
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let inside = |pid: &u32| {
        // The process may have ended in the meantime, and then this fails.
        std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|found| found.ino() == inode)
    };
    pids.filter(inside).filter(|&pid| pid != std::process::id()).collect()
}

/// The packets that the bridge drops.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This percentage of UDP datagrams, each independently.
    Loss(u8),
    /// All IP packets from the first nodes to the second ones; the other direction works.
    Cut(Vec<usize>, Vec<usize>),
    /// UDP datagrams with more bytes than this, without their headers.
    Longer(usize),
}

/// Cuts both directions between two groups of nodes.
pub(crate) fn apart(these: &[usize], those: &[usize]) -> Vec<Fault> {
    vec![Fault::Cut(these.to_vec(), those.to_vec()), Fault::Cut(those.to_vec(), these.to_vec())]
}

impl Fault {
    fn rule(&self) -> String {
        let ports = |nodes: &[usize]| {
            let names: Vec<String> = nodes.iter().map(|node| format!("\"n{node}\"")).collect();
            format!("{{ {} }}", names.join(", "))
        };
        match self {
            Self::Loss(percent) => {
                format!("ether type ip ip protocol udp numgen random mod 100 < {percent}")
            }
            Self::Cut(from, to) => {
                format!("ether type ip iifname {} oifname {}", ports(from), ports(to))
            }
            Self::Longer(bytes) => format!("ether type ip udp length > {}", bytes + 8),
        }
    }
}

/// Makes the script for nft: these faults, and a new counter of the packets that they drop.
fn script(faults: &[Fault]) -> String {
    let rules: String = faults
        .iter()
        .map(|fault| format!("    {} counter name lost drop\n", fault.rule()))
        .collect();
    format!(
        "table bridge faults\ndelete table bridge faults\ntable bridge faults {{\n  counter lost \
         {{ }}\n  chain passing {{\n    type filter hook forward priority 0\n{rules}  }}\n}}\n"
    )
}

/// The namespaces and the bridge that connects them.
pub(crate) struct Net {
    hub: Namespace,
    nodes: Vec<Namespace>,
}

impl Net {
    /// Makes a network for this number of nodes. Where that is impossible, prints the reason and
    /// returns `None`.
    pub(crate) fn or_skip(count: usize) -> Option<Self> {
        if let Some(missing) = missing() {
            println!("SKIPPED: {missing}");
            return None;
        }
        let new = || Namespace::new().expect("one has been made before");
        let net = Self { hub: new(), nodes: std::iter::repeat_with(new).take(count).collect() };
        let mut hub = "link add hub type bridge\nlink set hub up\n".to_owned();
        for (node, namespace) in net.nodes.iter().enumerate() {
            let path = namespace.path();
            hub += &format!("link add n{node} type veth peer name eth0 netns {path}\n");
            hub += &format!("link set n{node} master hub up\n");
        }
        net.hub.must("ip", &["-batch", "-"], &hub);
        for (node, namespace) in net.nodes.iter().enumerate() {
            let address = Self::address(node);
            let up =
                format!("link set lo up\naddress add {address}/16 dev eth0\nlink set eth0 up\n");
            namespace.must("ip", &["-batch", "-"], &up);
        }
        net.set(&[]);
        Some(net)
    }

    pub(crate) fn node(&self, node: usize) -> &Namespace {
        &self.nodes[node]
    }

    /// The address of a node, until it moves.
    pub(crate) fn address(node: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, u8::try_from(node + 1).expect("few"))
    }

    /// Replaces the address of a node.
    pub(crate) fn readdress(&self, node: usize) -> Ipv4Addr {
        let [.., last] = Self::address(node).octets();
        let to = Ipv4Addr::new(10, 77, 1, last);
        let change = format!("address flush dev eth0\naddress add {to}/16 dev eth0\n");
        self.nodes[node].must("ip", &["-batch", "-"], &change);
        to
    }

    /// Replaces all faults by these, in one step.
    pub(crate) fn set(&self, faults: &[Fault]) {
        self.hub.must("nft", &["-f", "-"], &script(faults));
    }

    /// Counts the packets that the present faults have dropped.
    pub(crate) fn lost(&self) -> u64 {
        let counter = self.hub.must("nft", &["list", "counter", "bridge", "faults", "lost"], "");
        let after = counter.split_once("packets ").expect("a counter").1;
        after.split_whitespace().next().and_then(|count| count.parse().ok()).expect("a number")
    }

    pub(crate) fn inodes(&self) -> Vec<u64> {
        self.nodes.iter().chain([&self.hub]).map(Namespace::inode).collect()
    }
}
