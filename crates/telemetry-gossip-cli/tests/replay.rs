//! Records of real processes under faults replay exactly, and hostile files do no harm.
//!
//! The long test has 20 processes and takes ten minutes; `RECORD_SECONDS` sets another time:
//!
//! ```sh
//! cargo test --release -p telemetry-gossip-cli --test replay -- --ignored --nocapture
//! ```
//!
//! Other agents reach each agent through a proxy of the test, which loses one of twenty datagrams.
//! Agents are stopped and continued, or killed and started again.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{Agent, member, text, tgossip};
use serde_json::Value;
use telemetry_gossip_core::{Config, Generation, Identity, Input};
use telemetry_gossip_recorder::{Boot, Limits, Recorder};
use telemetry_gossip_tokio::PeerAddr;

/// The proxies lose one of this number of datagrams.
const LOSE_ONE_OF: u32 = 20;

/// The least speed of a replay, as a multiple of real time.
const MIN_SPEED: f64 = 100.0;

#[test]
fn records_of_five_processes_replay_exactly() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut fleet = Fleet::start(5, folder.path());
    let sent = fleet.trouble(Duration::from_secs(10));
    fleet.replay(sent);

    // A time after the end of the record is not found; what there is is printed.
    let (whole, late) = (folder.path().display().to_string(), ["--node", "n0", "--at", "+1h"]);
    let output = tgossip(&[&["replay", &whole], &late[..]].concat());
    let said = text(&output.stdout);
    assert!(said.contains("ends before the time of --at"), "{said}");
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(text(&output.stderr).contains("before the time of --at"), "{said}");
    let output = tgossip(&[&["replay", &whole, "--json"], &late[..]].concat());
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["ends_before_at"], true, "{found:#}");

    // A part of the record becomes a file for a test, which is itself a record.
    let cut = folder.path().join("cut").display().to_string();
    let of = ["--node", "n0", "--from", "+3s", "--at", "+8s"];
    let made = tgossip(&[&["replay", &whole, "--as-test", &cut], &of[..]].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
    let members = |args: &[&str]| {
        let output = tgossip(&[args, &["--verify", "--members", "--json"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines: Vec<Value> = text(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let status = |member: &Value| {
            (member["id"].clone(), member["status"].clone(), member["generation"].clone())
        };
        lines[1].as_array().expect("members").iter().map(status).collect::<Vec<_>>()
    };
    assert_eq!(members(&["replay", &cut]), members(&[&["replay", &whole], &of[..]].concat()));
    assert!(!members(&["replay", &cut]).is_empty());
}

#[test]
#[ignore = "ten minutes of 20 processes"]
fn records_of_ten_minutes_of_twenty_processes_replay_exactly() {
    let seconds =
        std::env::var("RECORD_SECONDS").map_or(600, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut fleet = Fleet::start(20, folder.path());
    let sent = fleet.trouble(Duration::from_secs(seconds));
    fleet.replay(sent);
}

/// A record of one node in two files: the first from its start, the second from its state.
fn files(folder: &Path) -> Vec<PathBuf> {
    let address = |port: u16| PeerAddr::Socket(SocketAddr::from(([127, 0, 0, 1], port)));
    let identity = Identity::new("edge-17".parse().expect("an id"), address(1));
    let at = telemetry_gossip_core::Instant::from_millis(5);
    let boot = Boot::new(Config::default(), identity, [7; 32], at);
    let mut node = boot.node().expect("a node");
    let limits = Limits::default().block_bytes(40).file_bytes(2_000);
    let mut recorder = Recorder::new(boot, limits, 1_764_000_000_000_000).expect("a recorder");
    let mut inputs: Vec<Input<'static, PeerAddr>> = (2..8)
        .map(|port| Input::Introduce {
            id: format!("edge-{port}").parse().expect("an id"),
            address: Some(address(port)),
            instance: None,
            generation: Generation(0),
        })
        .collect();
    inputs.push(Input::publish("load", &b"0.5"[..]));
    inputs.resize_with(400, || Input::Tick);
    let (mut buf, mut files) = ([0; 1_400], Vec::new());
    for input in inputs {
        let due = node.poll_timeout().unwrap_or(at);
        let now = if input == Input::Tick { due } else { at };
        recorder.input(now, &input).expect("it is recorded");
        let accepted = node.handle(now, input).is_ok();
        while let Some(sent) = node.poll_transmit(&mut buf) {
            recorder.transmit(&sent.to, &buf[..sent.len]);
        }
        while let Some(event) = node.poll_event() {
            recorder.event(&event);
        }
        recorder.handled(&node, accepted).expect("it is recorded");
    }
    recorder.end();
    while let Some(chunk) = recorder.poll_chunk() {
        if let Some(serial) = chunk.new_file() {
            files.push((folder.join(format!("edge-17.7.{serial:06}.tgrec")), Vec::new()));
        }
        files.last_mut().expect("a file begins").1.extend_from_slice(chunk.bytes());
    }
    assert!(files.len() > 1, "the record rotates");
    files.truncate(2);
    for (path, bytes) in &files {
        fs::write(path, bytes).expect("the folder is writable");
    }
    files.into_iter().map(|(path, _)| path).collect()
}

#[test]
fn files_of_a_record_that_cannot_be_read_are_skipped_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    files(folder.path());
    let whole = folder.path().display().to_string();
    let replay =
        |more: &[&str]| tgossip(&[&["replay", whole.as_str(), "--members"], more].concat());
    let members = |output: &std::process::Output| {
        let said = text(&output.stdout);
        said.split_once("\n\n").expect("members").1.to_owned()
    };
    let before = replay(&["--verify"]);
    assert!(before.status.success(), "{}", text(&before.stderr));
    // Before, between and after the others.
    let unreadable =
        [("6.000000", &b""[..]), ("6.000001", b"TGR"), ("8.000000", b"something else")];
    for (name, bytes) in unreadable {
        let path = folder.path().join(format!("edge-17.{name}.tgrec"));
        fs::write(path, bytes).expect("the folder is writable");
    }
    let output = replay(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for (name, _) in unreadable {
        assert!(said.contains(&format!("edge-17.{name}.tgrec is skipped: ")), "{said}");
    }
    assert_eq!(members(&output), members(&before), "the rest is replayed");
    let verified = replay(&["--verify"]);
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified.stderr));
    let found: Value =
        serde_json::from_slice(&tgossip(&["replay", whole.as_str(), "--json"]).stdout)
            .expect("JSON");
    assert_eq!(found["skipped"].as_array().map(Vec::len), Some(3), "{found:#}");
}

/// Replays a file with all output. Returns the exit code and what was said on standard error; the
/// program neither panics nor hangs, nor dies of a signal.
fn survives(file: &Path) -> (i32, String) {
    let path = file.display().to_string();
    let all = ["--events", "--members", "--explain", "edge-3"];
    let output = tgossip(&[&["replay", &path], &all[..]].concat());
    let said = text(&output.stderr);
    let code = output.status.code();
    let documented = code.is_some_and(|code| [0, 1, 2, 3, 5].contains(&code));
    assert!(documented && !said.contains("panicked"), "{code:?}: {said}");
    (code.expect("it has one"), said)
}

/// A file of these blocks, with lengths and checksums that fit.
fn file_of(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"TGREC\0\x01\0".to_vec();
    for block in blocks {
        file.extend(u32::try_from(block.len()).expect("a short block").to_le_bytes());
        file.extend(crc32(block).to_le_bytes());
        file.extend(block);
    }
    file
}

fn blocks_of(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut blocks) = (&file[8..], Vec::new());
    while let Some((&[a, b, c, d, ..], after)) = rest.split_first_chunk::<8>() {
        let (block, after) = after.split_at(u32::from_le_bytes([a, b, c, d]) as usize);
        blocks.push(block.to_vec());
        rest = after;
    }
    blocks
}

/// The checksum of a block, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[test]
fn a_file_of_garbage_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("garbage");
    let preamble = b"TGREC\0\x01\0";
    let huge = [&preamble[..], &[0xff; 8], &[0; 64]].concat();
    let longest = [&preamble[..], &(1_u32 << 28).to_le_bytes(), &[0; 4], &[7; 64]].concat();
    let unknown = file_of(&[vec![9; 40]]);
    let version = [&b"TGREC\0\x09\0"[..], &[0; 64]].concat();
    for bytes in [&[][..], b"x", preamble, &[0xff; 5_000], &huge, &longest, &unknown, &version] {
        fs::write(&file, bytes).expect("the folder is writable");
        let (code, said) = survives(&file);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains("garbage: "), "the file is named: {said}");
    }
}

#[test]
fn a_file_that_ends_anywhere_is_replayed_up_to_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = fs::read(&files(folder.path())[1]).expect("a file");
    let cut = folder.path().join("cut");
    let header = 16 + blocks_of(&whole)[0].len();
    for len in (0..whole.len()).step_by(41) {
        fs::write(&cut, &whole[..len]).expect("the folder is writable");
        let (code, said) = survives(&cut);
        assert_eq!(code, if len < header { 3 } else { 0 }, "{len} of {}: {said}", whole.len());
    }
    // Without a whole block after the header there is no time, and none is made up.
    for len in [header, header + 5] {
        fs::write(&cut, &whole[..len]).expect("the folder is writable");
        let path = cut.display().to_string();
        let said = text(&tgossip(&["replay", &path]).stdout);
        assert!(said.contains("no inputs") && !said.contains("1970"), "{said}");
        let found = tgossip(&["replay", &path, "--json"]).stdout;
        let found: Value = serde_json::from_slice(&found).expect("JSON");
        assert_eq!((&found["from"], &found["to"]), (&Value::Null, &Value::Null), "{found:#}");
    }
}

#[test]
fn a_forged_block_with_a_valid_checksum_is_an_error_that_names_it_or_is_replayed() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = files(folder.path());
    let forged = folder.path().join("forged");
    let mut refused = 0;
    for path in &paths {
        let honest = blocks_of(&fs::read(path).expect("a file"));
        for (block, bytes) in honest.iter().take(2).enumerate() {
            for at in 0..bytes.len() {
                // Every byte in turn is a large number, or a small one.
                let mut blocks = honest.clone();
                let large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
                match at % 3 {
                    0 => drop(blocks[block].splice(at..=at, large)),
                    1 => blocks[block][at] = blocks[block][at].wrapping_add(1),
                    _ => blocks[block][at] ^= 0x80,
                }
                fs::write(&forged, file_of(&blocks)).expect("the folder is writable");
                let (code, said) = survives(&forged);
                if code == 3 {
                    refused += 1;
                    // A time that is changed is found at the next block.
                    let named = [block, block + 1]
                        .iter()
                        .any(|block| said.contains(&format!("block {block} of the record")));
                    assert!(named, "block {block}, byte {at}: {said}");
                }
            }
        }
    }
    assert!(refused > 200, "{refused} were refused");
}

#[test]
fn a_folder_whose_last_file_is_forged_is_replayed_up_to_there_and_the_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = files(folder.path());
    assert_eq!(survives(folder.path()).0, 0);
    let mut blocks = blocks_of(&fs::read(&paths[1]).expect("a file"));
    let state = blocks[0].len() / 2;
    blocks[0].truncate(state);
    fs::write(&paths[1], file_of(&blocks)).expect("the folder is writable");
    assert_eq!(survives(folder.path()).0, 0);
    let whole = folder.path().display().to_string();
    let said = text(&tgossip(&["replay", &whole]).stdout);
    assert!(said.contains("000001.tgrec is skipped: block 0"), "{said}");
    let (code, said) = survives(&paths[1]);
    assert!(code == 3 && said.contains("000001.tgrec: block 0"), "alone: {code}: {said}");
    assert_eq!(survives(&paths[0]).0, 0, "the file before it is intact");
}

/// Agents, each behind a proxy.
struct Fleet<'a> {
    agents: Vec<Option<Agent>>,
    proxies: Proxies,
    folder: &'a Path,
}

impl<'a> Fleet<'a> {
    fn start(count: usize, folder: &'a Path) -> Self {
        let agents = std::iter::repeat_with(|| None).take(count).collect();
        let mut fleet = Self { agents, proxies: Proxies::open(count), folder };
        for at in 0..count {
            fleet.begin(at);
        }
        for agent in fleet.agents.iter().flatten().skip(1) {
            agent.wait_for(|line| line["event"] == "join-completed");
        }
        fleet
    }

    fn begin(&mut self, at: usize) {
        let (bound, advertised) =
            (self.proxies.agents[at], self.proxies.sockets[at].local_addr().expect("bound"));
        let seed = self.proxies.sockets[usize::from(at == 0)].local_addr().expect("bound");
        let load = format!("load={at}");
        let agent = Agent::start(
            &name(at),
            &[
                "--bind",
                &bound.to_string(),
                "--advertise",
                &advertised.to_string(),
                "--join",
                &seed.to_string(),
                "--set",
                &load,
                "--record",
                &self.folder.display().to_string(),
                "--record-limit",
                "1MiB",
                "--profile",
                "local",
            ],
        );
        self.agents[at] = Some(agent);
    }

    /// Causes one fault after the other for this time. Each fault lasts until another agent has
    /// noticed it and its end. Returns the number of datagrams that each agent sent.
    fn trouble(&mut self, span: Duration) -> Vec<(usize, u64)> {
        let (end, count) = (Instant::now() + span, self.agents.len());
        let mut round = 0;
        while Instant::now() < end {
            round += 1;
            // Spare the first agent, whose record is cut into a test in the end.
            let victim = 1 + round % (count - 1);
            let watcher = (victim + 1) % count;
            let id = name(victim);
            if round % 2 == 1 {
                // Stop it until it is declared dead, and continue it.
                self.agent(victim).signal("STOP");
                self.agent(watcher).wait_for_event("dead", &id);
                self.agent(victim).signal("CONT");
            } else {
                // Kill it, by dropping it, and start it again.
                self.agents[victim] = None;
                self.agent(watcher).wait_for_event("dead", &id);
                self.begin(victim);
            }
            self.agent(watcher).wait_for_event("alive", &id);
        }
        let sent = (0..count).map(|at| {
            let view = self.agent(at).view();
            assert_eq!(view["record"]["record_gaps"], 0, "{view:#}");
            assert_eq!(member(&view, &name(at))["status"], "alive");
            (at, view["stats"]["datagrams_sent"].as_u64().expect("a number"))
        });
        let sent = sent.collect();
        for agent in &mut self.agents {
            let agent = agent.take().expect("it is running");
            agent.signal("TERM");
            assert!(agent.wait().success());
        }
        sent
    }

    fn replay(&self, sent: Vec<(usize, u64)>) {
        let (mut inputs, mut bytes, mut hours) = (0, 0, 0.0);
        let mut slowest = f64::MAX;
        for (at, sent) in sent {
            let folder = self.folder.display().to_string();
            let output = tgossip(&["replay", &folder, "--node", &name(at), "--json"]);
            assert!(output.status.success(), "{}", text(&output.stderr));
            let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(
                (&found["differs"], &found["missing"]),
                (&Value::Array(Vec::new()), &0.into())
            );
            assert!(
                found["datagrams"].as_u64().expect("a number") >= sent,
                "{sent} were sent: {found:#}"
            );
            inputs += found["inputs"].as_u64().expect("a number");
            hours += found["span_s"].as_f64().expect("a number") / 3_600.0;
            slowest = slowest.min(found["speed"].as_f64().expect("a number"));
        }
        for file in std::fs::read_dir(self.folder).expect("the folder") {
            bytes += file.and_then(|file| file.metadata()).expect("a file").len();
        }
        println!(
            "{inputs} inputs of {} nodes, {:.0} KB per node and hour on disk; the slowest replay \
             ran {slowest:.0} times as fast as the node",
            self.agents.len(),
            bytes as f64 / 1e3 / hours
        );
        assert!(slowest > MIN_SPEED, "{slowest}");
    }

    fn agent(&self, at: usize) -> &Agent {
        self.agents[at].as_ref().expect("it is running")
    }
}

fn name(at: usize) -> String {
    format!("n{at}")
}

/// The proxies at which other agents reach each agent; they lose datagrams.
struct Proxies {
    sockets: Arc<Vec<UdpSocket>>,
    /// The addresses of the agents themselves.
    agents: Vec<SocketAddr>,
}

impl Proxies {
    fn open(count: usize) -> Self {
        // Each agent of each test has a loopback address of its own, so that the port is free
        // there.
        static TESTS: AtomicU32 = AtomicU32::new(0);
        let test = std::process::id() % 4_000 * 8 + TESTS.fetch_add(1, Ordering::Relaxed) % 8;
        let place = |at: usize| {
            let host =
                0x7f00_0000 | (test + 8) << 8 & 0xff_ff00 | u32::try_from(at + 1).expect("few");
            SocketAddr::from((Ipv4Addr::from_bits(host), 7_946))
        };
        let agents: Vec<SocketAddr> = (0..count).map(place).collect();
        let open = |_| UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let sockets: Arc<Vec<UdpSocket>> = Arc::new((0..count).map(open).collect());
        for to in 0..count {
            let (sockets, agents) = (sockets.clone(), agents.clone());
            // The thread ends with the process of the test.
            std::thread::spawn(move || carry(&sockets, &agents, to));
        }
        Self { sockets, agents }
    }
}

/// Carries the datagrams at the proxy of one agent to this agent, from the proxy of the sender.
fn carry(sockets: &[UdpSocket], agents: &[SocketAddr], to: usize) {
    let mut buf = [0; 2_000];
    let mut random = u32::try_from(to).expect("few") + 1;
    while let Ok((len, from)) = sockets[to].recv_from(&mut buf) {
        // Marsaglia's xorshift; any generator would do.
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let sender = agents.iter().position(|agent| *agent == from);
        if let Some(sender) = sender.filter(|_| !random.is_multiple_of(LOSE_ONE_OF)) {
            // The agent may be down, and then this fails.
            let _ = sockets[sender].send_to(&buf[..len], agents[to]);
        }
    }
}
