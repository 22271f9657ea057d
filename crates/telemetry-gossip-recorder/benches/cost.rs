//! Measures the cost of recording: time per input, bytes per hour, and the speed of a replay.
//!
//! ```sh
//! cargo bench -p telemetry-gossip-recorder --bench cost
//! ```
//!
//! The inputs are those of one node of a simulated cluster of 20 or 250 nodes that know each other.
//! In a `busy` cluster each node publishes 16 bytes of telemetry per second. The difference between
//! `recorded` and `alone` is the cost for the node's task. Another thread writes to disk.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use telemetry_gossip_core::{Config, Identity, Input, Instant, Node};
use telemetry_gossip_recorder::{Boot, Entry, Limits, Player, Reader, Recorder};

/// The time until all nodes know each other and the rumors about it have died down.
const WARM_UP: Duration = Duration::from_secs(60);

/// The recorded time.
const RECORDED: Duration = Duration::from_secs(300);

const NAMES: [&str; 4] = ["20 quiet", "20 busy", "250 quiet", "250 busy"];

static LOGS: LazyLock<[Log; 4]> = LazyLock::new(|| {
    [(20, false), (20, true), (250, false), (250, true)].map(|(n, busy)| Log::new(n, busy))
});

fn main() {
    println!("size of a record, by cluster:");
    for (name, log) in NAMES.iter().zip(LOGS.iter()) {
        let (file, hours) = (log.file(), RECORDED.as_secs_f64() / 3_600.0);
        println!(
            "  {name:<10} {:>7.2} MB per hour, {:>6.1} inputs per second of {:>3.0} bytes; \
             state {:>6.1} KB",
            file.len() as f64 / 1e6 / hours,
            log.entries.len() as f64 / RECORDED.as_secs_f64(),
            file.len() as f64 / log.entries.len() as f64,
            log.state.len() as f64 / 1e3,
        );
    }
    divan::main();
}

fn log(name: &str) -> &'static Log {
    let at = NAMES.iter().position(|other| *other == name);
    &LOGS[at.expect("a name of a cluster")]
}

/// The state of a node, and its inputs from then on.
struct Log {
    state: Vec<u8>,
    entries: Vec<Entry<SocketAddr>>,
}

impl Log {
    fn new(nodes: u16, busy: bool) -> Self {
        let address = |at: u16| SocketAddr::from(([10, 0, 0, 1], 1_000 + at));
        let boot = |at: u16| {
            let identity = Identity::new(format!("edge-{at}").parse().expect("an id"), address(at));
            let mut seed = [0; 32];
            seed[..2].copy_from_slice(&at.to_le_bytes());
            Boot::new(Config::default(), identity, seed, Instant::ORIGIN)
        };
        let mut all: Vec<Node<SocketAddr>> =
            (0..nodes).map(|at| boot(at).node().expect("sound settings")).collect();
        let (mut wire, mut inputs) = (VecDeque::new(), VecDeque::new());
        inputs.extend((1..nodes).map(|at| (at, Input::Join { seeds: vec![address(0)].into() })));
        let (mut now, mut log) = (Instant::ORIGIN, Self { state: Vec::new(), entries: Vec::new() });
        let (begin, end) = (now + WARM_UP, now + WARM_UP + RECORDED);
        let mut publish_at = now + Duration::from_secs(10);
        while now < end {
            while let Some((to, input)) = inputs.pop_front() {
                if to == 0 && now >= begin {
                    if log.state.is_empty() {
                        log.state = all[0].snapshot().expect("it is drained");
                    }
                    log.entries.push(Entry::new(now, Input::clone(&input)));
                }
                let node = &mut all[usize::from(to)];
                node.handle(now, input).expect("sound inputs");
                drain(node, |sent, bytes| wire.push_back((to, sent, bytes.to_vec())));
            }
            if let Some((from, to, bytes)) = wire.pop_front() {
                let input = Input::Datagram { from: address(from), bytes: bytes.into() };
                inputs.push_back((to.port() - 1_000, input));
                continue;
            }
            let next =
                all.iter().filter_map(Node::poll_timeout).min().expect("a node has a deadline");
            now = now.max(next.min(publish_at));
            for at in 0..nodes {
                if all[usize::from(at)].poll_timeout().is_some_and(|due| due <= now) {
                    inputs.push_back((at, Input::Tick));
                }
                if busy && publish_at <= now {
                    let value = now.as_micros().to_le_bytes().repeat(2);
                    inputs.push_back((
                        at,
                        Input::Publish { key: "load".into(), value: value.into(), urgent: false },
                    ));
                }
            }
            if publish_at <= now {
                publish_at = publish_at + Duration::from_secs(1);
            }
        }
        log
    }

    fn node(&self) -> Node<SocketAddr> {
        Node::restore(&self.state).expect("a snapshot")
    }

    fn recorder(&self) -> Recorder {
        let limits = Limits::default().file_bytes(u64::MAX);
        Recorder::resumed(&self.node(), limits, 0).expect("a drained node")
    }

    /// The record as one file.
    fn file(&self) -> Vec<u8> {
        let (mut node, mut recorder, mut file) = (self.node(), self.recorder(), Vec::new());
        self.record(&mut node, &mut recorder);
        recorder.end();
        while let Some(chunk) = recorder.poll_chunk() {
            file.extend(chunk.bytes());
        }
        file
    }

    fn record(&self, node: &mut Node<SocketAddr>, recorder: &mut Recorder) {
        let mut buf = [0; 1_400];
        for Entry { at, input, .. } in &self.entries {
            recorder.input(*at, input).expect("it can be serialised");
            let result = node.handle(*at, borrow(input));
            while let Some(sent) = node.poll_transmit(&mut buf) {
                recorder.transmit(&sent.to, &buf[..sent.len]);
            }
            while let Some(event) = node.poll_event() {
                recorder.event(&event);
            }
            recorder.handled(node, result.is_ok()).expect("it can be saved");
        }
    }
}

fn drain(node: &mut Node<SocketAddr>, mut sent: impl FnMut(SocketAddr, &[u8])) {
    let mut buf = [0; 1_400];
    while let Some(transmit) = node.poll_transmit(&mut buf) {
        sent(transmit.to, &buf[..transmit.len]);
    }
    while let Some(event) = node.poll_event() {
        black_box(event);
    }
}

/// Borrows the bytes of an input, as those from a socket.
fn borrow<'a>(input: &'a Input<'static, SocketAddr>) -> Input<'a, SocketAddr> {
    match input {
        Input::Datagram { from, bytes } => Input::Datagram { from: *from, bytes: bytes[..].into() },
        other => other.clone(),
    }
}

/// The node without a recorder.
#[divan::bench(args = NAMES)]
fn alone(bencher: Bencher<'_, '_>, name: &str) {
    let log = log(name);
    bencher
        .counter(ItemsCount::new(log.entries.len()))
        .with_inputs(|| log.node())
        .bench_local_values(|mut node| {
            for Entry { at, input, .. } in &log.entries {
                let _ = black_box(node.handle(*at, borrow(input)));
                drain(&mut node, |to, bytes| {
                    black_box((to, bytes));
                });
            }
            node
        });
}

/// The node with a recorder.
#[divan::bench(args = NAMES)]
fn recorded(bencher: Bencher<'_, '_>, name: &str) {
    let log = log(name);
    bencher
        .counter(ItemsCount::new(log.entries.len()))
        .with_inputs(|| (log.node(), log.recorder()))
        .bench_local_values(|(mut node, mut recorder)| {
            log.record(&mut node, &mut recorder);
            (node, recorder)
        });
}

/// Reads and replays a file.
#[divan::bench(args = NAMES)]
fn replayed(bencher: Bencher<'_, '_>, name: &str) {
    let file = log(name).file();
    bencher.counter(ItemsCount::new(log(name).entries.len())).bench_local(|| {
        let mut reader = Reader::<_, SocketAddr>::new(file.as_slice()).expect("a record");
        let mut player = Player::start(reader.header()).expect("a state");
        while let Some(block) = reader.next_block().expect("a record") {
            for entry in &block.entries {
                player.play(&entry, |output| {
                    black_box(output);
                });
            }
            player.compare(&block.digest).expect("the same");
        }
        player
    });
}

/// Takes the snapshot at the start of a file, for which the node waits.
#[divan::bench(args = NAMES)]
fn snapshot(bencher: Bencher<'_, '_>, name: &str) {
    let node = log(name).node();
    bencher.bench_local(|| node.snapshot().expect("it is drained"));
}
