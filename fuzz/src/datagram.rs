//! The input of the target `datagram`: a situation, then datagrams from members or a stranger.
//!
//! ```text
//! input  = situation (1) step*
//! step   = control (1) [milliseconds (2) if JUMP] length (1, or 2 if LONG) bytes
//! ```
//!
//! The control byte can put a valid header before the bytes, and the number of a pending request
//! into them, so that the fuzzer does not have to guess them. See [`situation`](crate::situation)
//! for the situations.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use telemetry_gossip_core::{Input, InputError, Instant, Label};

use crate::situation::{ADDRESSES, Situation, situations};
use crate::watched::{AMPLIFICATION, Watched, only_drops, refusals, state};
use crate::wire::{self, Requests};

/// The low bits of a control byte: the sender, which is one of three members or a stranger.
pub const FROM: u8 = 0b11;
/// Puts a valid header before the bytes.
pub const HEADER: u8 = 1 << 2;
/// That header has the fingerprints of the node's own table.
pub const EQUAL: u8 = 1 << 3;
/// Replaces the numbers in the datagram by those of the node's last requests to the sender.
pub const ANSWER: u8 = 1 << 4;
/// Ticks the node at its next deadline first.
pub const TICK: u8 = 1 << 5;
/// Lets time pass first: two bytes of milliseconds, or thirty days if all their bits are set.
pub const JUMP: u8 = 1 << 6;
/// The length has two bytes.
pub const LONG: u8 = 1 << 7;

/// The most steps of an input; the rest is ignored.
const MAX_STEPS: usize = 64;
/// The number of deadlines met after the last step.
const LAST_TICKS: usize = 24;

/// The outcome of an input, by which a test sees that inputs pass the first checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Datagrams accepted.
    pub accepted: usize,
    /// Datagrams refused.
    pub refused: usize,
}

/// Runs one input.
///
/// # Panics
/// If the node breaks a rule.
pub fn run(input: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let Some((&situation, mut rest)) = input.split_first() else { return outcome };
    let situation = &situations()[usize::from(situation) % situations().len()];
    let mut watched = situation.node();
    let mut requests = RequestsByAddress::new();
    note_requests(&mut watched, &mut requests);
    for _ in 0..MAX_STEPS {
        let Some(step) = Step::read(&mut rest) else { break };
        let now = step.when(&watched);
        if now > watched.node.now() || step.control & (TICK | JUMP) != 0 {
            watched.handle(now, Input::Tick).expect("a tick is never refused");
            note_requests(&mut watched, &mut requests);
        }
        // The effects of passing time are separate from those of the datagram.
        let from = ADDRESSES[1 + usize::from(step.control & FROM)];
        let bytes = step.datagram(situation, &watched, &requests);
        if deliver(&mut watched, from, &bytes) {
            outcome.accepted += 1;
        } else {
            outcome.refused += 1;
        }
        note_requests(&mut watched, &mut requests);
    }
    for _ in 0..LAST_TICKS {
        let Some(next) = watched.node.poll_timeout() else { break };
        watched.handle(next, Input::Tick).expect("a tick is never refused");
        watched.sent.clear();
        watched.events.clear();
    }
    outcome
}

/// The last requests of the node to each address.
type RequestsByAddress = BTreeMap<SocketAddr, Requests>;

/// Notes the last requests to each address, and drops the datagrams.
fn note_requests(watched: &mut Watched<SocketAddr>, requests: &mut RequestsByAddress) {
    for (to, bytes) in watched.sent.drain(..) {
        requests.entry(to).or_default().note(&bytes);
    }
    watched.events.clear();
}

/// Delivers one datagram and returns whether it was accepted.
fn deliver(watched: &mut Watched<SocketAddr>, from: SocketAddr, bytes: &[u8]) -> bool {
    let known = watched.node.members().any(|member| member.address() == Some(from));
    let (before, counted, now) =
        (state(&watched.node), refusals(&watched.node), watched.node.now());
    match watched.handle(now, Input::Datagram { from, bytes: bytes.into() }) {
        Err(InputError::Datagram(error)) => {
            assert_eq!(before, state(&watched.node), "refused ({error}), but the state changed");
            assert!(
                watched.sent.is_empty() && only_drops(&watched.events),
                "refused ({error}), but answered"
            );
            assert_eq!(
                refusals(&watched.node),
                counted + 1,
                "refused ({error}), but not counted once"
            );
            false
        }
        Err(error) => panic!("a datagram got the error of a command: {error}"),
        Ok(()) => {
            let replies: Vec<usize> = watched
                .sent
                .iter()
                .filter(|(to, _)| *to == from)
                .map(|(_, reply)| reply.len())
                .collect();
            if !known {
                let (most, all) = (AMPLIFICATION * bytes.len(), replies.iter().sum::<usize>());
                assert!(
                    all <= most,
                    "S17: a stranger sent {} bytes and received {replies:?}",
                    bytes.len()
                );
            }
            true
        }
    }
}

/// One step of an input.
#[derive(Clone, Copy, Debug)]
struct Step<'a> {
    control: u8,
    jump: [u8; 2],
    bytes: &'a [u8],
}

impl<'a> Step<'a> {
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let control = *take(rest, 1)?.first()?;
        let jump = if control & JUMP != 0 { take(rest, 2)?.try_into().ok()? } else { [0; 2] };
        let len = if control & LONG != 0 {
            u16::from_be_bytes(take(rest, 2)?.try_into().ok()?).into()
        } else {
            usize::from(*take(rest, 1)?.first()?)
        };
        let bytes = take(rest, len.min(rest.len()))?;
        Some(Self { control, jump, bytes })
    }

    /// The time at which the datagram arrives.
    fn when(&self, watched: &Watched<SocketAddr>) -> Instant {
        let mut now = watched.node.now();
        if self.control & TICK != 0 {
            now = now.max(watched.node.poll_timeout().unwrap_or(now));
        }
        if self.control & JUMP != 0 {
            now = now
                + match u16::from_be_bytes(self.jump) {
                    u16::MAX => Duration::from_secs(30 * 24 * 3_600),
                    millis => Duration::from_millis(millis.into()),
                };
        }
        now
    }

    fn datagram(
        &self,
        situation: &Situation,
        watched: &Watched<SocketAddr>,
        requests: &RequestsByAddress,
    ) -> Vec<u8> {
        let from = 1 + usize::from(self.control & FROM);
        let mut bytes = Vec::new();
        if self.control & HEADER != 0 {
            let sender = situation.id_hashes.get(from).copied().unwrap_or(0xdead_beef);
            let fingerprints =
                if self.control & EQUAL != 0 { wire::fingerprints(&watched.node) } else { [0; 2] };
            bytes = wire::header(Label::of("fuzz"), sender, fingerprints);
        }
        bytes.extend_from_slice(self.bytes);
        if self.control & ANSWER != 0 {
            let last = requests.get(&ADDRESSES[from]).or(requests.values().next_back());
            if let Some(last) = last {
                last.answer(&mut bytes);
            }
        }
        bytes
    }
}

/// Writes a step in the form that [`run`] reads.
pub fn write_step(out: &mut Vec<u8>, control: u8, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.push(control & !JUMP | LONG);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&bytes[..len.into()]);
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}
