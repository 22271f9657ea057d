//! A small network in virtual time. Every datagram takes one millisecond, and the scene decides
//! which are lost. All datagrams and events become lines of a transcript.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

use telemetry_gossip_core::{Config, Generation, Identity, Input, Instant, Node, NodeId};

use crate::words::Words;

/// One way, from any node to any other.
const LATENCY: Duration = Duration::from_millis(1);

/// Nodes have numbers up to this one.
pub(crate) const MOST_NODES: usize = 99;

/// A line of the transcript, with what a scene chooses lines by.
pub(crate) struct Line {
    pub(crate) at: Instant,
    /// The node that sends or reports.
    pub(crate) from: usize,
    /// The receiver of a datagram.
    pub(crate) to: Option<usize>,
    pub(crate) text: String,
}

/// A datagram on its way, ordered by its arrival and then by its sending.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    at: Instant,
    sent: usize,
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

/// Whether a datagram is lost: the sender, the receiver, and what it says.
type Loss = Box<dyn FnMut(usize, usize, &str) -> bool>;

/// Nodes `n1`, `n2`, ... at addresses 10.0.0.1, 10.0.0.2, ...
pub(crate) struct Net {
    nodes: Vec<Node<SocketAddr>>,
    now: Instant,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    sent: usize,
    crashed: Vec<usize>,
    loss: Loss,
    words: Words,
    /// What was written down since [`Net::begin`].
    lines: Vec<Line>,
    begun: Instant,
}

pub(crate) fn id(node: usize) -> NodeId {
    NodeId::new(&format!("n{node}")).expect("a valid id")
}

pub(crate) fn address(node: usize) -> SocketAddr {
    ([10, 0, 0, u8::try_from(node).expect("few nodes")], 7946).into()
}

fn node_at(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(address) => address.ip().octets()[3].into(),
        SocketAddr::V6(_) => unreachable!("all addresses are of IPv4"),
    }
}

impl Net {
    /// So many nodes that know only themselves.
    pub(crate) fn new(count: usize) -> Self {
        let node = |node: usize| {
            let seed = [u8::try_from(node).expect("few nodes"); 32];
            Node::new(
                Config::default(),
                Identity::new(id(node), address(node)),
                seed,
                Instant::ORIGIN,
            )
            .expect("a valid config")
        };
        Self {
            nodes: (1..=count).map(node).collect(),
            now: Instant::ORIGIN,
            in_flight: BinaryHeap::new(),
            sent: 0,
            crashed: Vec::new(),
            loss: Box::new(|_, _, _| false),
            words: Words::new((1..=MOST_NODES).map(|node| id(node).to_string())),
            lines: Vec::new(),
            begun: Instant::ORIGIN,
        }
    }

    /// So many nodes that have joined each other and have been at rest for a while.
    pub(crate) fn cluster(count: usize) -> Self {
        let mut net = Self::new(count);
        for node in 2..=count {
            net.tell(node, Input::Join { seeds: vec![address(1)].into() });
        }
        net.run_for(Duration::from_secs(20));
        net
    }

    /// The transcript begins here.
    pub(crate) fn begin(&mut self) {
        self.begun = self.now;
        self.lines.clear();
        self.words.begin();
    }

    /// Lines say which table their sender has.
    pub(crate) fn name_tables(&mut self) {
        self.words.name_tables = true;
    }

    pub(crate) fn tell(&mut self, node: usize, input: Input<'_, SocketAddr>) {
        self.handle(node, input);
    }

    /// The node does nothing from now on.
    pub(crate) fn crash(&mut self, node: usize) {
        self.crashed.push(node);
    }

    /// From now on these datagrams are lost.
    pub(crate) fn lose(&mut self, loss: impl FnMut(usize, usize, &str) -> bool + 'static) {
        self.loss = Box::new(loss);
    }

    pub(crate) fn member_count(&self, node: usize) -> usize {
        self.nodes[node - 1].members().count()
    }

    /// The generation at which `node` holds the member called `id`.
    pub(crate) fn generation(&self, node: usize, id: &str) -> Option<Generation> {
        self.nodes[node - 1].member(id).map(|member| member.generation())
    }

    fn handle(&mut self, node: usize, input: Input<'_, SocketAddr>) {
        self.nodes[node - 1].handle(self.now, input).expect("inputs of a scene are valid");
        self.drain(node);
    }

    /// Takes what the node has to say.
    fn drain(&mut self, node: usize) {
        let mut buf = [0; 1_400];
        while let Some(event) = self.nodes[node - 1].poll_event() {
            if let Some(text) = self.words.event(&event) {
                self.write(node, None, format!("n{node} reports: {text}"));
            }
        }
        while let Some(sent) = self.nodes[node - 1].poll_transmit(&mut buf) {
            let (to, bytes) = (node_at(sent.to), buf[..sent.len].to_vec());
            let text = self.words.datagram(&bytes);
            let lost = self.crashed.contains(&to) || (self.loss)(node, to, &text);
            let fate = if lost { "   (lost)" } else { "" };
            self.write(node, Some(to), format!("n{node} -> n{to}: {text}{fate}"));
            if !lost {
                self.sent += 1;
                let at = self.now + LATENCY;
                self.in_flight.push(Reverse(InFlight {
                    at,
                    sent: self.sent,
                    from: node,
                    to,
                    bytes,
                }));
            }
        }
    }

    fn write(&mut self, from: usize, to: Option<usize>, text: String) {
        self.lines.push(Line { at: self.now, from, to, text });
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Runs until a line holds, for `span` at most.
    pub(crate) fn run_until(&mut self, span: Duration, mut stop: impl FnMut(&Line) -> bool) {
        let end = self.now + span;
        let mut seen = self.lines.len();
        loop {
            let timers = (1..=self.nodes.len()).filter(|node| !self.crashed.contains(node));
            let timer =
                timers.filter_map(|node| Some((self.nodes[node - 1].poll_timeout()?, node))).min();
            let arrival = self.in_flight.peek().map(|Reverse(datagram)| datagram.at);
            let next = timer.map(|(at, _)| at).into_iter().chain(arrival).min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let Some(Reverse(datagram)) = self.in_flight.pop() else { break };
                if !self.crashed.contains(&datagram.to) {
                    let (from, bytes) = (address(datagram.from), datagram.bytes.into());
                    self.handle(datagram.to, Input::Datagram { from, bytes });
                }
            } else if let Some((_, node)) = timer {
                self.handle(node, Input::Tick);
            }
            if self.lines[seen..].iter().any(&mut stop) {
                return;
            }
            seen = self.lines.len();
        }
        self.now = end;
    }

    /// The lines that a scene shows, with the time since it began; how many others there were.
    pub(crate) fn transcript(&self, show: impl Fn(&Line) -> bool) -> (Vec<String>, usize) {
        let (shown, others): (Vec<&Line>, Vec<&Line>) =
            self.lines.iter().partition(|line| show(line));
        let text = |line: &&Line| {
            format!("[{:.3}s] {}", line.at.since(self.begun).as_secs_f64(), line.text)
        };
        (shown.iter().map(text).collect(), others.len())
    }
}
