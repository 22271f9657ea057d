//! The input of the target `node`: the life of one node, of which everything that a host and its
//! peers can do is a step.
//!
//! Peers say well-formed things about eight members whom the node may know, near what it holds of
//! them, and answer its questions under their numbers, so that the fuzzer need not guess either.
//! After each step everything in [`watched`](crate::watched) holds; what is refused changes nothing
//! but a counter; and a twin that was restored from a snapshot on the way goes on like the node
//! itself, bit for bit.

use std::net::SocketAddr;
use std::time::Duration;

use arbitrary::Arbitrary;
use telemetry_gossip_core::{
    CommandError, Config, DetectorFeatures, Generation, Input, InputError, Instance, Instant,
    Label, Mode, Node, NodeId, Status,
};

use crate::cluster::{Cluster, id};
use crate::say::{Say, address, datagram, member, near};
use crate::watched::{Watched, refusals, state};
use crate::wire::{self, Asked};

/// The most steps that are carried out.
const MAX_STEPS: usize = 48;
/// Deadlines that are met after the last step.
const LAST_TICKS: usize = 8;
/// More commands of one kind than may wait.
const MANY: usize = 1_100;

/// The life of a node.
#[derive(Arbitrary, Clone, Debug)]
pub struct Life {
    /// Its settings.
    pub setting: Setting,
    /// What happens.
    pub steps: Vec<Step>,
}

/// Settings that differ between lives.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Setting {
    /// Whether it acts by itself, on demand, or probes only.
    pub mode: u8,
    /// Which of the published detectors it has, or all parts.
    pub detector: u8,
    /// Whether the table has four rows only.
    pub small: bool,
    /// Whether an isolation ends after 20 s by itself.
    pub isolation_limit: bool,
    /// Whether telemetry has to wait.
    pub thrifty: bool,
    /// Whether the dead are remembered for a minute.
    pub forgetful: bool,
}

/// One thing that happens. Members, keys and addresses are taken modulo their number.
#[derive(Arbitrary, Clone, Debug)]
pub enum Step {
    /// The next deadline comes.
    Tick,
    /// The next few deadlines come.
    Ticks(u8),
    /// So many hundredths of a second pass, and then a tick comes.
    Wait(u16),
    /// So many minutes pass, and then whatever comes next.
    Sleep(u8),
    /// The host's clock goes back by so many milliseconds for the next input.
    Back(u8),
    /// A member says something.
    Hear {
        /// Who.
        from: u8,
        /// Whether its table is like the node's.
        equal: bool,
        /// Whether numbers are those of the node's questions.
        answers: bool,
        /// Its round clock, in seconds.
        clock: u8,
        /// What it says.
        says: Vec<Say>,
    },
    /// Any bytes come.
    Noise {
        /// From whom.
        from: u8,
        /// What.
        bytes: Vec<u8>,
    },
    /// The host names seeds.
    Join(Vec<u8>),
    /// The host wants to leave.
    Leave,
    /// The host publishes telemetry.
    Publish {
        /// Under which key.
        key: u8,
        /// How long a value.
        len: u8,
        /// Whether it is urgent.
        urgent: bool,
    },
    /// The host removes telemetry.
    Unpublish(u8),
    /// The host knows a member.
    Introduce {
        /// Whom.
        of: u8,
        /// Where, if it knows.
        at: Option<u8>,
        /// Which life of it, if it knows.
        instance: Option<u8>,
        /// Near which generation.
        generation: u8,
    },
    /// The host wants a probe.
    Probe(u8),
    /// The host wants an exchange; at 255, for the first time, more than can wait.
    Exchange(u8),
    /// The registry names members.
    Config {
        /// The version.
        version: u8,
        /// One bit a member; the node itself is the lowest.
        members: u8,
    },
    /// The host takes the loss for real.
    AcceptLoss,
    /// A twin is restored from a snapshot, in place of an earlier one.
    Save,
}

/// How a life went; lets a test see that inputs get past the first checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was accepted: kinds of input, and frames of which kind.
    pub accepted: Vec<(&'static str, u8)>,
    /// What was refused, and why.
    pub refused: Vec<InputError>,
    /// Inputs that a twin got.
    pub doubled: usize,
}

impl Setting {
    fn config(self) -> Config {
        Config::default()
            .label(Label::of("fuzz"))
            .mode(
                [Mode::Autonomous, Mode::Autonomous, Mode::OnDemand, Mode::ProbeOnly]
                    [usize::from(self.mode % 4)],
            )
            .detector(
                [DetectorFeatures::default(), DetectorFeatures::SWIM, DetectorFeatures::LIFEGUARD]
                    [usize::from(self.detector % 3)],
            )
            .max_members(if self.small { 4 } else { 64 })
            .max_value(64)
            .max_telemetry(160)
            .isolation_limit(self.isolation_limit.then_some(Duration::from_secs(20)))
            .byte_budget(self.thrifty.then_some(1_000))
            .tombstone_ttl(Duration::from_secs(if self.forgetful { 60 } else { 86_400 }))
    }
}

/// A node and what is needed to judge it.
struct Run {
    watched: Watched<SocketAddr>,
    twin: Option<Node<SocketAddr>>,
    asked: Asked,
    /// How much later or earlier than the node's time the next input comes.
    sleep: Duration,
    back: Duration,
    /// It has had more commands than can wait.
    flooded: bool,
    outcome: Outcome,
}

impl Life {
    /// Lives it.
    ///
    /// # Panics
    /// If the node breaks a rule.
    pub fn run(&self) -> Outcome {
        let mut watched = Cluster::birthday(self.setting.config(), 0, address(0));
        watched.events.clear();
        let mut run = Run {
            watched,
            twin: None,
            asked: Asked::default(),
            sleep: Duration::ZERO,
            back: Duration::ZERO,
            flooded: false,
            outcome: Outcome::default(),
        };
        for step in self.steps.iter().take(MAX_STEPS) {
            run.step(step);
        }
        run.ticks(LAST_TICKS);
        if let Some(twin) = run.twin {
            assert_eq!(
                twin.snapshot(),
                run.watched.node.snapshot(),
                "the twin has come to another state"
            );
        }
        run.outcome
    }
}

impl Run {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Tick => self.ticks(1),
            Step::Ticks(times) => self.ticks((times % 16).into()),
            Step::Wait(hundredths) => {
                self.sleep += Duration::from_millis(10 * u64::from(hundredths));
                self.input("tick", Input::Tick);
            }
            Step::Sleep(minutes) => self.sleep += Duration::from_secs(60 * u64::from(minutes)),
            Step::Back(millis) => self.back = Duration::from_millis(millis.into()),
            Step::Hear { from, equal, answers, clock, ref says } => {
                let mut bytes =
                    datagram(&self.watched.node, from, equal, u32::from(clock) << 8, says);
                if answers {
                    self.asked.answer(&mut bytes);
                }
                self.hear(from, bytes);
            }
            Step::Noise { from, ref bytes } => self.hear(from, bytes.clone()),
            Step::Join(ref seeds) => {
                let seeds: Vec<SocketAddr> =
                    seeds.iter().take(8).map(|&seed| address(seed)).collect();
                self.input("join", Input::Join { seeds: seeds.into() });
            }
            Step::Leave => self.input("leave", Input::Leave),
            Step::Publish { key: name, len, urgent } => {
                let value = vec![b'v'; (len % 72).into()];
                self.input(
                    "publish",
                    Input::Publish { key: key(name).into(), value: value.into(), urgent },
                );
            }
            Step::Unpublish(name) => {
                self.input("unpublish", Input::Unpublish { key: key(name).into() })
            }
            Step::Introduce { of, at, instance, generation } => {
                let id = member(of);
                let held =
                    self.watched.node.member(id.as_str()).map_or(0, |member| member.generation().0);
                let (address, instance) =
                    (at.map(address), instance.map(|life| Instance(life.into())));
                let generation = Generation(near(held, generation));
                self.input("introduce", Input::Introduce { id, address, instance, generation });
            }
            Step::Probe(of) => self.input("probe", Input::Probe { id: member(of) }),
            Step::Exchange(many) => {
                if many == 255 && !core::mem::replace(&mut self.flooded, true) {
                    self.flood();
                }
                self.input("exchange", Input::Exchange);
            }
            Step::Config { version, members } => {
                let named = (0..8).filter(|&of| members >> of & 1 != 0);
                let members: Vec<NodeId> = named.map(id).collect();
                let version = version.into();
                self.input(
                    "cluster config",
                    Input::ApplyClusterConfig { version, members: members.into() },
                );
            }
            Step::AcceptLoss => self.input("accept loss", Input::AcceptLoss),
            Step::Save => {
                let saved = self.watched.node.snapshot().expect("a watched node is drained");
                let twin = Node::restore(&saved).expect("what was saved is restored");
                assert_eq!(twin.snapshot().as_ref(), Ok(&saved), "restored as another state");
                self.twin = Some(twin);
            }
        }
    }

    /// As many exchanges as may wait are wanted, too fast for a close look at each.
    fn flood(&mut self) {
        for _ in 0..MANY {
            let _ = self.both(self.watched.node.now(), Input::Exchange);
            self.note();
        }
    }

    fn ticks(&mut self, times: usize) {
        for _ in 0..times {
            let Some(due) = self.watched.node.poll_timeout() else { return };
            self.sleep = self.sleep.max(due.since(self.watched.node.now()));
            self.input("tick", Input::Tick);
        }
    }

    fn hear(&mut self, from: u8, bytes: Vec<u8>) {
        let kinds: Vec<u8> = wire::frames(&bytes).map(|(kind, _)| kind).collect();
        let refused = self.outcome.refused.len();
        self.input("datagram", Input::Datagram { from: address(from), bytes: bytes.into() });
        if self.outcome.refused.len() == refused {
            self.outcome.accepted.extend(kinds.into_iter().map(|kind| ("frame", kind)));
        }
    }

    fn input(&mut self, name: &'static str, input: Input<'static, SocketAddr>) {
        let node = &self.watched.node;
        let now = node.now() + core::mem::take(&mut self.sleep) - core::mem::take(&mut self.back);
        let tick = matches!(input, Input::Tick);
        // Time that passes changes a node whatever the input is.
        let before = (!tick && now <= node.now()).then(|| (state(node), refusals(node)));
        let result = self.both(now, input);
        let node = &self.watched.node;
        match &result {
            Ok(()) => self.outcome.accepted.push((name, 0)),
            Err(error) => {
                if let Some((state_before, refused)) = before {
                    let silent = self.watched.sent.is_empty() && self.watched.events.is_empty();
                    assert!(silent, "refused ({error}), and something was said");
                    assert_eq!(
                        state(node),
                        state_before,
                        "refused ({error}), and the state changed"
                    );
                    let counted = u64::from(matches!(error, InputError::Datagram(_)));
                    assert_eq!(
                        refusals(node),
                        refused + counted,
                        "refused ({error}), and counted otherwise"
                    );
                }
                let blamed = matches!(error, InputError::Datagram(_)) == (name == "datagram");
                assert!(blamed, "{name} is refused by {error:?}");
                let inactive = *error == InputError::Command(CommandError::Inactive);
                let gone = !node.health().active || node.me().status() == Status::Left;
                assert!(gone || !inactive, "{name} is refused by {error}");
                self.outcome.refused.push(error.clone());
            }
        }
        self.note();
    }

    /// An input for the node and its twin.
    fn both(&mut self, now: Instant, input: Input<'static, SocketAddr>) -> Result<(), InputError> {
        let Some(twin) = &mut self.twin else { return self.watched.handle(now, input) };
        let result = self.watched.handle(now, input.clone());
        assert_eq!(twin.handle(now, input), result, "the twin takes it otherwise");
        self.watched.compare(twin);
        self.outcome.doubled += 1;
        result
    }

    /// Remembers what was asked, and forgets what was said.
    fn note(&mut self) {
        for (_, bytes) in &self.watched.sent {
            self.asked.note(bytes);
        }
        self.watched.sent.clear();
        self.watched.events.clear();
    }
}

/// Two keys more than may be: one without a byte, and one with too many.
fn key(name: u8) -> String {
    match name % 8 {
        0 => String::new(),
        1 => "k".repeat(65),
        name => format!("key-{name}"),
    }
}
