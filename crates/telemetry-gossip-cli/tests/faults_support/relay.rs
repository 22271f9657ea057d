//! Datagrams that come late and out of order, where the kernel may have no such thing: each agent
//! is reached at a socket of the test, which carries to it what the others send, after a time of
//! its own for each datagram.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// No timer of a thread is finer.
const SOON: Duration = Duration::from_micros(100);

/// How long without a datagram until it is looked whether the test is over.
const IDLE: Duration = Duration::from_millis(50);

/// The sockets, and how they delay.
pub(crate) struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    sockets: Vec<UdpSocket>,
    /// Where the agents themselves listen.
    agents: Vec<SocketAddr>,
    /// How long a datagram takes: anything between, alike.
    delay: Mutex<Range<Duration>>,
    carried: AtomicU64,
    overtaken: AtomicU64,
}

impl Relay {
    pub(crate) fn open(count: usize) -> Self {
        // An address of its own for each agent of each process of tests, so that the port need not
        // be a free one.
        let test = std::process::id() % 30_000 + 64;
        let place = |at: usize| {
            let host = 0x7f00_0000 | test << 8 & 0xff_ff00 | u32::try_from(at + 1).expect("few");
            SocketAddr::from((Ipv4Addr::from_bits(host), 7_946))
        };
        let shared = Arc::new(Shared {
            sockets: (0..count)
                .map(|_| UdpSocket::bind("127.0.0.1:0").expect("a free port"))
                .collect(),
            agents: (0..count).map(place).collect(),
            delay: Mutex::new(Duration::ZERO..Duration::ZERO),
            carried: AtomicU64::new(0),
            overtaken: AtomicU64::new(0),
        });
        for to in 0..count {
            let shared = Arc::downgrade(&shared);
            std::thread::spawn(move || {
                let mut way = Way::to(to);
                // It ends with the relay.
                while let Some(shared) = shared.upgrade() {
                    way.carry(&shared);
                }
            });
        }
        Self { shared }
    }

    pub(crate) fn bound(&self, at: usize) -> SocketAddr {
        self.shared.agents[at]
    }

    pub(crate) fn advertised(&self, at: usize) -> SocketAddr {
        self.shared.sockets[at].local_addr().expect("bound")
    }

    /// From now on each datagram takes some time of these, whatever the one before it takes.
    pub(crate) fn delay(&self, range: Range<Duration>) {
        *self.shared.delay.lock().expect("nobody panics") = range;
    }

    /// How many datagrams were carried, and how many of them came before one that was sent earlier.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.shared.carried.load(Ordering::Relaxed), self.shared.overtaken.load(Ordering::Relaxed))
    }
}

/// A datagram: when it is due, its number in the order of sending, who sent it, its bytes.
type Datagram = (Instant, u64, usize, Vec<u8>);

/// What is under way to one agent.
struct Way {
    to: usize,
    rng: ChaCha8Rng,
    /// The one that is due first is on top.
    under_way: BinaryHeap<Reverse<Datagram>>,
    sent: u64,
    latest: u64,
}

impl Way {
    fn to(to: usize) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(to as u64);
        Self { to, rng, under_way: BinaryHeap::new(), sent: 0, latest: 0 }
    }

    fn carry(&mut self, shared: &Shared) {
        let due = self
            .under_way
            .peek()
            .map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        let socket = &shared.sockets[self.to];
        socket.set_read_timeout(Some(due.unwrap_or(IDLE).clamp(SOON, IDLE))).expect("a timeout");
        let mut buf = [0; 2_000];
        if let Ok((len, from)) = socket.recv_from(&mut buf)
            && let Some(sender) = shared.agents.iter().position(|agent| *agent == from)
        {
            self.sent += 1;
            let range = shared.delay.lock().expect("nobody panics").clone();
            let jitter = u64::try_from((range.end - range.start).as_micros()).expect("short") + 1;
            let due =
                Instant::now() + range.start + Duration::from_micros(self.rng.next_u64() % jitter);
            self.under_way.push(Reverse((due, self.sent, sender, buf[..len].to_vec())));
        }
        while self.under_way.peek().is_some_and(|Reverse((due, ..))| *due <= Instant::now()) {
            let Some(Reverse((_, number, sender, bytes))) = self.under_way.pop() else { break };
            // Nobody may listen there at the moment.
            let _ = shared.sockets[sender].send_to(&bytes, shared.agents[self.to]);
            shared.carried.fetch_add(1, Ordering::Relaxed);
            shared.overtaken.fetch_add(u64::from(number < self.latest), Ordering::Relaxed);
            self.latest = self.latest.max(number);
        }
    }
}
