//! The parts of a flood: a member that remembers the datagrams it sent, hostile datagrams made from
//! these, and a thread that sends them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use telemetry_gossip::transport::read_key;
use telemetry_gossip_core::{Config, Identity, Input, Instant as CoreInstant, Label, Node};
use telemetry_gossip_seal::{Key, Keyring, NoncePrefix, OVERHEAD, Seal};
use telemetry_gossip_tokio::PeerAddr;

use crate::common::TIMEOUT;

/// A member of the cluster, made of a core node, a seal and a socket. It remembers the sealed
/// datagrams that it sent to the target: each of them was authentic when it was sent.
pub(crate) struct Tap {
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

/// The largest number of datagrams that a tap remembers.
const RECORDS: usize = 1_000;

impl Tap {
    /// Starts a member at a free port of the address `place`.
    pub(crate) fn start(key: &Path, place: IpAddr, target: SocketAddr) -> Self {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = channel();
        let ring = Keyring::new(Label::of(""), read_key(key).expect("a key"));
        let thread = {
            let sent = Arc::clone(&sent);
            std::thread::spawn(move || take_part(ring, place, target, &sent, &stopped))
        };
        Self { sent, stop, thread: Some(thread) }
    }

    pub(crate) fn wait_for_records(&self, count: usize) {
        let start = Instant::now();
        while self.sent.lock().expect("the tap lives").len() < count {
            assert!(start.elapsed() < TIMEOUT, "the tap sent too few datagrams");
            std::thread::yield_now();
        }
    }

    pub(crate) fn records(&self) -> Vec<Vec<u8>> {
        self.sent.lock().expect("the tap lives").clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn take_part(
    ring: Keyring,
    place: IpAddr,
    target: SocketAddr,
    sent: &Mutex<Vec<Vec<u8>>>,
    stopped: &Receiver<()>,
) {
    let socket = UdpSocket::bind((place, 0)).expect("a socket");
    let me = PeerAddr::from(socket.local_addr().expect("it is bound"));
    let config = Config::default()
        .probe_interval(Duration::from_millis(500))
        .probe_timeout(Duration::from_millis(200))
        .gossip_interval(Duration::from_millis(100))
        .mtu(Config::default().mtu - OVERHEAD as u16);
    let mut nonce_prefix = [0; 16];
    nonce_prefix[..2]
        .copy_from_slice(&socket.local_addr().expect("it is bound").port().to_be_bytes());
    let mut seal = Seal::new(ring, NoncePrefix::new(nonce_prefix));
    let started = Instant::now();
    let now = || CoreInstant::from_micros(started.elapsed().as_micros() as u64);
    let identity = Identity::new("tap".parse().expect("an id"), me);
    let mut node = Node::new(config, identity, [9; 32], now()).expect("the settings are valid");
    node.handle(now(), Input::Join { seeds: vec![target.into()].into() }).expect("a seed");
    let (mut plain, mut sealed, mut come) = ([0; 1_400], [0; 1_400], vec![0; 65_536]);
    while stopped.try_recv().is_err() {
        while let Some(transmit) = node.poll_transmit(&mut plain) {
            let PeerAddr::Socket(to) = transmit.to else { continue };
            let len = seal.seal(&plain[..transmit.len], &mut sealed).expect("it fits");
            socket.send_to(&sealed[..len], to).expect("the network takes it");
            let mut sent = sent.lock().expect("the test lives");
            if to == target && sent.len() < RECORDS {
                sent.push(sealed[..len].to_vec());
            }
        }
        while node.poll_event().is_some() {}
        let until = node.poll_timeout().map_or(Duration::from_millis(50), |at| at.since(now()));
        let wait = until.clamp(Duration::from_millis(1), Duration::from_millis(50));
        socket.set_read_timeout(Some(wait)).expect("a timeout");
        if let Ok((len, from)) = socket.recv_from(&mut come)
            && let Ok(contents) = seal.open(&mut come[..len])
        {
            let input = Input::Datagram { from: from.into(), bytes: contents.into() };
            node.handle(now(), input).expect("a member's datagram is valid");
        }
        if node.poll_timeout().is_some_and(|at| at <= now()) {
            node.handle(now(), Input::Tick).expect("a tick is no error");
        }
    }
}

/// Random datagrams, from a seed, that a sealed agent must refuse. All kinds are equally frequent,
/// except the longest datagrams.
pub(crate) struct Hostile {
    rng: ChaCha8Rng,
    all: Vec<Vec<u8>>,
}

impl Hostile {
    /// Makes hostile datagrams from those that a member has sent.
    pub(crate) fn new(seed: u64, key: &Path, records: &[Vec<u8>]) -> Self {
        let mut hostile = Self { rng: ChaCha8Rng::seed_from_u64(seed), all: Vec::new() };
        let key = read_key(key).expect("a key");
        let mut foreign = [
            Seal::new(Keyring::new(Label::of("another"), key), NoncePrefix::new([1; 16])),
            Seal::new(Keyring::new(Label::of(""), Key::new([3; 32])), NoncePrefix::new([2; 16])),
        ];
        for number in 0..7_000 {
            let like = records[hostile.below(records.len())].clone();
            let made = hostile.one(number % 7, number, like, &mut foreign);
            hostile.all.push(made);
        }
        hostile
    }

    fn one(
        &mut self,
        kind: usize,
        number: usize,
        mut like: Vec<u8>,
        foreign: &mut [Seal; 2],
    ) -> Vec<u8> {
        let len = like.len();
        match kind {
            // Forged: a header that passes every check but the last, and random bytes after it.
            0 => {
                self.rng.fill_bytes(&mut like[5..]);
                like
            }
            // Replayed.
            1 => like,
            // Truncated.
            2 => {
                let at = self.below(len);
                like.truncate(at);
                like
            }
            // A bit flipped, anywhere.
            3 => {
                let at = self.below(len);
                like[at] ^= 1 << self.below(8);
                like
            }
            // From another cluster: with the same key, and with another one.
            4 => {
                let mut out = vec![0; 200 + OVERHEAD];
                let plain = vec![1; self.below(200)];
                let len = foreign[number % 2].seal(&plain, &mut out).expect("it fits");
                out.truncate(len);
                out
            }
            // Longer than any valid datagram: mostly by a little, sometimes of nearly maximal size.
            5 => {
                like.resize(if number % 700 == 5 { 65_000 } else { 1_401 + self.below(4_000) }, 7);
                self.rng.fill_bytes(&mut like[5..29]);
                like
            }
            // Plaintext, as a node without keys sends it.
            _ => {
                let mut plain = vec![0; 60];
                self.rng.fill_bytes(&mut plain);
                plain[0] = telemetry_gossip_core::WIRE_VERSION;
                plain
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound.max(1) as u64) as usize
    }

    fn next(&mut self) -> &[u8] {
        let at = self.below(self.all.len());
        &self.all[at]
    }
}

/// A thread that sends hostile datagrams at a given rate until it is stopped.
pub(crate) struct Flood {
    stop: Sender<()>,
    thread: JoinHandle<f64>,
}

impl Flood {
    pub(crate) fn start(target: SocketAddr, rate: u64, mut hostile: Hostile) -> Self {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
            socket.connect(target).expect("an address");
            let (start, mut sent) = (Instant::now(), 0_u64);
            while stopped.recv_timeout(Duration::from_millis(1)).is_err() {
                let due = start.elapsed().as_micros() as u64 * rate / 1_000_000;
                while sent < due {
                    // A full buffer at the target does not matter here, and the test itself may
                    // have closed the port.
                    let _ = socket.send(hostile.next());
                    sent += 1;
                }
            }
            sent as f64 / start.elapsed().as_secs_f64()
        });
        Self { stop, thread }
    }

    /// Stops the flood. Returns its actual rate in datagrams per second.
    pub(crate) fn stop(self) -> f64 {
        let _ = self.stop.send(());
        self.thread.join().expect("the flood ran")
    }
}
