//! A network that delays and reorders datagrams, for kernels that cannot. Each agent advertises a
//! socket of the test, which carries datagrams to the agent, each after a random delay.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// The shortest time to wait: timers of threads are not finer.
const MIN_WAIT: Duration = Duration::from_micros(100);

/// The longest time to wait before the thread checks whether the test has ended.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// A socket per agent, and the delay of datagrams.
pub(crate) struct DelayProxy {
    shared: Arc<Shared>,
}

struct Shared {
    sockets: Vec<UdpSocket>,
    /// The addresses of the agents themselves.
    agents: Vec<SocketAddr>,
    /// The range of delays, uniformly distributed.
    delay: Mutex<Range<Duration>>,
    carried: AtomicU64,
    overtaken: AtomicU64,
}

impl DelayProxy {
    pub(crate) fn open(count: usize) -> Self {
        // Each agent of each process of tests has a loopback address of its own, so that the port
        // is free there.
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
                let mut link = Link::to(to);
                // The thread ends with the proxy.
                while let Some(shared) = shared.upgrade() {
                    link.carry(&shared);
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

    /// Delays each datagram from now on by a random time in this range, independently of others.
    pub(crate) fn delay(&self, range: Range<Duration>) {
        *self.shared.delay.lock().expect("no thread panics") = range;
    }

    /// The number of datagrams carried, and of those that were overtaken by a later one.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.shared.carried.load(Ordering::Relaxed), self.shared.overtaken.load(Ordering::Relaxed))
    }
}

/// A datagram: when it is due, its number in the order of sending, its sender, and its bytes.
type Datagram = (Instant, u64, usize, Vec<u8>);

/// The link to one agent.
struct Link {
    to: usize,
    rng: ChaCha8Rng,
    /// The datagrams in flight; the one that is due first is on top.
    in_flight: BinaryHeap<Reverse<Datagram>>,
    sent: u64,
    latest: u64,
}

impl Link {
    fn to(to: usize) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(to as u64);
        Self { to, rng, in_flight: BinaryHeap::new(), sent: 0, latest: 0 }
    }

    fn carry(&mut self, shared: &Shared) {
        let due = self
            .in_flight
            .peek()
            .map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        let socket = &shared.sockets[self.to];
        let wait = due.unwrap_or(MAX_WAIT).clamp(MIN_WAIT, MAX_WAIT);
        socket.set_read_timeout(Some(wait)).expect("a timeout");
        let mut buf = [0; 2_000];
        if let Ok((len, from)) = socket.recv_from(&mut buf)
            && let Some(sender) = shared.agents.iter().position(|agent| *agent == from)
        {
            self.sent += 1;
            let range = shared.delay.lock().expect("no thread panics").clone();
            let jitter = u64::try_from((range.end - range.start).as_micros()).expect("short") + 1;
            let due =
                Instant::now() + range.start + Duration::from_micros(self.rng.next_u64() % jitter);
            self.in_flight.push(Reverse((due, self.sent, sender, buf[..len].to_vec())));
        }
        while self.in_flight.peek().is_some_and(|Reverse((due, ..))| *due <= Instant::now()) {
            let Some(Reverse((_, number, sender, bytes))) = self.in_flight.pop() else { break };
            // The agent may be down, and then this fails.
            let _ = shared.sockets[sender].send_to(&bytes, shared.agents[self.to]);
            shared.carried.fetch_add(1, Ordering::Relaxed);
            shared.overtaken.fetch_add(u64::from(number < self.latest), Ordering::Relaxed);
            self.latest = self.latest.max(number);
        }
    }
}
