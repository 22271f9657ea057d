//! Hands the datagrams of a scene to a node, and counts.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Input, Node};

use crate::costly;
use crate::counting;
use crate::scenes::Scene;

/// The first argument of this program under valgrind.
pub(crate) const CHILD: &str = "under-callgrind";

/// The functions after which callgrind writes its counts and begins anew: what is counted is
/// between the two.
const DUMP_AFTER: [&str; 2] = ["restored_node", "measured_datagram"];

/// The longest datagram that a node of the default settings accepts.
const LONGEST: usize = 1_500;

/// The cost of one datagram.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) datagram: String,
    pub(crate) scene: &'static str,
    pub(crate) instructions: u64,
    pub(crate) counted: Counted,
}

/// What needs no valgrind to be counted, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// By how much the heap has grown.
    pub(crate) held: u64,
    /// The rows of the table that were visited.
    pub(crate) rows: u64,
}

/// A node in a scene, and the datagrams that are sent to it: as a file, since the scene is made
/// once and valgrind is slow.
#[derive(Debug, Serialize, Deserialize)]
struct Prepared {
    snapshot: Vec<u8>,
    from: SocketAddr,
    datagrams: Vec<(String, Vec<u8>)>,
}

impl Prepared {
    fn of(scene: &Scene, size: u32) -> Self {
        let (node, liar) = scene.make(size);
        let datagrams = costly::datagrams(&liar.target(LONGEST));
        Self {
            snapshot: node.snapshot().expect("the node of a scene is drained"),
            from: liar.from,
            datagrams: datagrams.into_iter().map(|(name, bytes)| (name.into(), bytes)).collect(),
        }
    }

    /// Hands each datagram to a node of its own.
    fn count(&self) -> Vec<Counted> {
        let mut buffer = vec![0; 2_000];
        let mut counted = Vec::new();
        for (_, bytes) in &self.datagrams {
            let mut node = restored_node(&self.snapshot);
            let (held, rows) = (counting::held(), node.stats().rows_visited);
            let sent = measured_datagram(&mut node, self.from, bytes, &mut buffer);
            counted.push(Counted {
                received: bytes.len() as u64,
                sent,
                held: counting::held().saturating_sub(held),
                rows: node.stats().rows_visited - rows,
            });
        }
        counted
    }
}

#[inline(never)]
fn restored_node(snapshot: &[u8]) -> Node<SocketAddr> {
    Node::restore(snapshot).expect("it was just saved")
}

/// Handles a datagram, and all that is due at once. Returns the bytes sent.
#[inline(never)]
fn measured_datagram(
    node: &mut Node<SocketAddr>,
    from: SocketAddr,
    bytes: &[u8],
    buffer: &mut [u8],
) -> u64 {
    let now = node.now();
    node.handle(now, Input::Datagram { from, bytes: bytes.into() }).expect("it is well formed");
    let mut sent = drain(node, buffer);
    if node.poll_timeout().is_some_and(|due| due <= now) {
        let _ = node.handle(now, Input::Tick);
        sent += drain(node, buffer);
    }
    sent
}

fn drain(node: &mut Node<SocketAddr>, buffer: &mut [u8]) -> u64 {
    let mut sent = 0;
    while let Some(transmit) = node.poll_transmit(buffer) {
        sent += transmit.len as u64;
    }
    while node.poll_event().is_some() {}
    sent
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Measures all datagrams of a scene; `here` without valgrind.
pub(crate) fn measure(scene: &'static Scene, size: u32, here: bool) -> Result<Vec<Cost>, String> {
    let prepared = Prepared::of(scene, size);
    let counted = prepared.count();
    let instructions =
        if here { vec![0; counted.len()] } else { count_instructions(&prepared, scene, size)? };
    if instructions.len() != counted.len() {
        return Err(format!(
            "callgrind counted {} calls and not {}",
            instructions.len(),
            counted.len()
        ));
    }
    let names = prepared.datagrams.into_iter().map(|(name, _)| name);
    let costs = names.zip(instructions).zip(counted);
    Ok(costs
        .map(|((datagram, instructions), counted)| Cost {
            datagram,
            scene: scene.name,
            instructions,
            counted,
        })
        .collect())
}

/// Runs this program under callgrind. Returns the instructions of each datagram.
fn count_instructions(prepared: &Prepared, scene: &Scene, size: u32) -> Result<Vec<u64>, String> {
    let name = format!("worst-{}-{size}", scene.name.replace([' ', ','], "-"));
    let (input, out) = (scratch(&format!("{name}.node")), scratch(&format!("{name}.callgrind")));
    let bytes = postcard::to_stdvec(prepared).map_err(|error| error.to_string())?;
    fs::write(&input, bytes).map_err(|error| format!("a scene cannot be written: {error}"))?;
    let program = std::env::current_exe()
        .map_err(|error| format!("the path of this program is unknown: {error}"))?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--combine-dumps=yes"])
        .args(DUMP_AFTER.map(|function| format!("--dump-after=*{function}*")))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .arg(CHILD)
        .arg(&input)
        .stdout(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind cannot be started: {error}"))?;
    if !run.status.success() {
        return Err(format!("valgrind failed: {}", String::from_utf8_lossy(&run.stderr)));
    }
    let profile = fs::read_to_string(&out)
        .map_err(|error| format!("the output of callgrind cannot be read: {error}"))?;
    // Each second part begins where a node was restored.
    let sums = profile.lines().filter_map(|line| line.strip_prefix("summary: ")?.parse().ok());
    Ok(sums.skip(1).step_by(2).take(prepared.datagrams.len()).collect())
}

/// Runs the program under valgrind.
pub(crate) fn child(args: &[String]) {
    let bytes = fs::read(&args[0]).expect("the scene was just written");
    let prepared: Prepared = postcard::from_bytes(&bytes).expect("it was just written");
    println!("{:?}", prepared.count());
}
