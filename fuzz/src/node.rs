//! The input of the target `node`: a history of one node. Its steps are all actions of a host and
//! of peers.
//!
//! Peers send well-formed frames about eight members, with values close to those in the node's
//! table, and answer its requests under their numbers, so that the fuzzer does not have to guess
//! them. After each step the rules of [`watched`](crate::watched) hold, and a refused input has
//! changed nothing but a counter. A twin that was restored from a snapshot behaves exactly like the
//! node.

use std::net::SocketAddr;
use std::time::Duration;

use arbitrary::Arbitrary;
use telemetry_gossip_core::{
    CommandError, Config, DetectorFeatures, Generation, Input, InputError, Instance, Instant,
    Label, Mode, Node, NodeId, Stats, Status,
};

use crate::cluster::{Cluster, id};
use crate::say::{Say, address, datagram, member, near};
use crate::watched::{Watched, only_drops, refusals, state};
use crate::wire::{self, Requests};

/// The most steps of an input; the rest is ignored.
pub(crate) const MAX_STEPS: usize = 48;
/// The number of deadlines met after the last step.
const LAST_TICKS: usize = 8;
/// More commands of one kind than a node queues.
const MANY: usize = 1_100;

/// The history of one node.
#[derive(Arbitrary, Clone, Debug)]
pub struct History {
    /// The settings.
    pub setting: Setting,
    /// The steps.
    pub steps: Vec<Step>,
}

/// The settings that differ between histories.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Setting {
    /// The mode: autonomous, on demand, or probing only.
    pub mode: u8,
    /// The features of the detector: all, those of SWIM, or those of Lifeguard.
    pub detector: u8,
    /// Limits the table to four members.
    pub small: bool,
    /// Ends an isolation after 20 s.
    pub isolation_limit: bool,
    /// Limits the bytes per second, so that telemetry waits.
    pub thrifty: bool,
    /// Remembers dead members for one minute only.
    pub forgetful: bool,
}

/// One step. Members, keys and addresses are taken modulo their number.
#[derive(Arbitrary, Clone, Debug)]
pub enum Step {
    /// Ticks at the next deadline.
    Tick,
    /// Ticks at the next few deadlines.
    Ticks(u8),
    /// Lets hundredths of a second pass, then ticks.
    Wait(u16),
    /// Lets minutes pass before the next input.
    Sleep(u8),
    /// Sets the clock back by milliseconds for the next input.
    Back(u8),
    /// Delivers a datagram of a member.
    Hear {
        /// The sender.
        from: u8,
        /// Gives the sender the same fingerprints as the node.
        equal: bool,
        /// Uses the numbers of the node's requests.
        answers: bool,
        /// The round clock of the sender, in seconds.
        clock: u8,
        /// The frames.
        says: Vec<Say>,
    },
    /// Delivers arbitrary bytes.
    Noise {
        /// The sender.
        from: u8,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Joins with seeds.
    Join(Vec<u8>),
    /// States the seeds.
    Seeds(Vec<u8>),
    /// States the members of an earlier run.
    Peers(Vec<u8>),
    /// Goes on as a restored node.
    Restored(u8),
    /// Leaves.
    Leave,
    /// Publishes telemetry.
    Publish {
        /// The key.
        key: u8,
        /// The length of the value.
        len: u8,
        /// Whether it is urgent.
        urgent: bool,
    },
    /// Removes telemetry.
    Unpublish(u8),
    /// Introduces a member.
    Introduce {
        /// The member.
        of: u8,
        /// The address, if known.
        at: Option<u8>,
        /// The instance, if known.
        instance: Option<u8>,
        /// The generation, relative to the known one.
        generation: u8,
    },
    /// Probes a member.
    Probe(u8),
    /// Exchanges with a member. The first time that the value is 255, queues too many exchanges.
    Exchange(u8),
    /// Applies a cluster config.
    Config {
        /// The version.
        version: u8,
        /// One bit per member; the node itself is the lowest.
        members: u8,
    },
    /// Accepts the loss of the unreachable members.
    AcceptLoss,
    /// Restores a twin from a snapshot. It replaces an earlier twin.
    Save,
}

/// The outcome of a history, by which a test sees that inputs pass the first checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The accepted inputs by kind, and the kinds of their frames.
    pub accepted: Vec<(&'static str, u8)>,
    /// The errors of the refused inputs.
    pub refused: Vec<InputError>,
    /// The number of inputs that a twin has received.
    pub doubled: usize,
    /// The counters of the node in the end.
    pub stats: Stats,
    /// The number of its members in the end that are Alive, Suspected, Dead, and Left.
    pub members: [usize; 4],
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

/// A node and the state of its checks.
struct Run {
    watched: Watched<SocketAddr>,
    twin: Option<Node<SocketAddr>>,
    requests: Requests,
    /// The difference between the time of the next input and the time of the node.
    sleep: Duration,
    back: Duration,
    /// More commands than a node queues were given.
    flooded: bool,
    outcome: Outcome,
}

impl History {
    /// Carries out the steps.
    ///
    /// # Panics
    /// If the node breaks a rule.
    pub fn run(&self) -> Outcome {
        let mut watched = Cluster::first_node(self.setting.config(), 0, address(0));
        watched.events.clear();
        let mut run = Run {
            watched,
            twin: None,
            requests: Requests::default(),
            sleep: Duration::ZERO,
            back: Duration::ZERO,
            flooded: false,
            outcome: Outcome::default(),
        };
        for step in self.steps.iter().take(MAX_STEPS) {
            run.step(step);
        }
        run.ticks(LAST_TICKS);
        run.outcome.stats = *run.watched.node.stats();
        for member in run.watched.node.members() {
            run.outcome.members[member.status() as usize] += 1;
        }
        if let Some(twin) = run.twin {
            assert_eq!(twin.snapshot(), run.watched.node.snapshot(), "the twin has another state");
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
                    self.requests.answer(&mut bytes);
                }
                self.hear(from, bytes);
            }
            Step::Noise { from, ref bytes } => self.hear(from, bytes.clone()),
            Step::Join(ref seeds) => {
                self.input("join", Input::Join { seeds: addresses(seeds).into() });
            }
            Step::Seeds(ref seeds) => {
                self.input("seeds", Input::Seeds { seeds: addresses(seeds).into() });
            }
            Step::Peers(ref peers) => {
                self.input("peers", Input::Peers { peers: addresses(peers).into() });
            }
            Step::Restored(entropy) => {
                self.input("restored", Input::Restored { entropy: [entropy; 32] });
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
                    (at.map(address), instance.map(|instance| Instance(instance.into())));
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
                let twin = Node::restore(&saved).expect("a snapshot can be restored");
                assert_eq!(
                    twin.snapshot().as_ref(),
                    Ok(&saved),
                    "the restored node has another state"
                );
                self.twin = Some(twin);
            }
        }
    }

    /// Queues more exchanges than a node holds, with fewer checks as it would take too long.
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
        // If time passes, the node changes even if it refuses the input.
        let before = (!tick && now <= node.now()).then(|| (state(node), refusals(node)));
        let result = self.both(now, input);
        let node = &self.watched.node;
        match &result {
            Ok(()) => self.outcome.accepted.push((name, 0)),
            Err(error) => {
                if let Some((state_before, refused)) = before {
                    let silent = self.watched.sent.is_empty() && only_drops(&self.watched.events);
                    assert!(silent, "refused ({error}), but there is output");
                    assert_eq!(
                        state(node),
                        state_before,
                        "refused ({error}), but the state changed"
                    );
                    let counted = u64::from(matches!(error, InputError::Datagram(_)));
                    assert_eq!(
                        refusals(node),
                        refused + counted,
                        "refused ({error}), but the count is wrong"
                    );
                }
                let kind_matches = matches!(error, InputError::Datagram(_)) == (name == "datagram");
                assert!(kind_matches, "{name} is refused with {error:?}");
                let inactive = *error == InputError::Command(CommandError::Inactive);
                let gone = !node.health().active || node.me().status() == Status::Left;
                assert!(gone || !inactive, "{name} is refused with {error}");
                self.outcome.refused.push(error.clone());
            }
        }
        self.note();
    }

    /// Gives an input to the node and to its twin.
    fn both(&mut self, now: Instant, input: Input<'static, SocketAddr>) -> Result<(), InputError> {
        let Some(twin) = &mut self.twin else { return self.watched.handle(now, input) };
        let result = self.watched.handle(now, input.clone());
        assert_eq!(twin.handle(now, input), result, "the twin has another result");
        self.watched.compare(twin);
        self.outcome.doubled += 1;
        result
    }

    /// Notes the requests, and drops the output.
    fn note(&mut self) {
        for (_, bytes) in &self.watched.sent {
            self.requests.note(bytes);
        }
        self.watched.sent.clear();
        self.watched.events.clear();
    }
}

fn addresses(of: &[u8]) -> Vec<SocketAddr> {
    of.iter().take(8).map(|&of| address(of)).collect()
}

/// Returns a key. Two of them are invalid: an empty one, and one that is too long.
fn key(name: u8) -> String {
    match name % 8 {
        0 => String::new(),
        1 => "k".repeat(65),
        name => format!("key-{name}"),
    }
}
