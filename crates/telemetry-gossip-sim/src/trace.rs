//! The trace hash: one number over everything that went into and came out of every node, in order.
//!
//! Two runs with equal hashes did the same; a run whose hash differs between two machines or build
//! profiles has met something that is no function of the seed.

use std::fmt;
use std::hash::Hasher as _;
use std::time::Duration;

use serde::Serialize;
use siphasher::sip::SipHasher13;
use telemetry_gossip_core::{Event, Input};

use crate::rng::micros;

/// Hashes a run as it goes.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    hasher: SipHasher13,
    scratch: Vec<u8>,
    kept: Option<Vec<Moment>>,
}

/// One entry of a trace, for the comparison of two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: Duration,
    pub(crate) node: usize,
    pub(crate) what: What,
    /// Of the trace up to here, this included: two runs are the same as long as these are.
    pub(crate) hash: u64,
}

/// What an entry is about, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Tick,
    Datagram { from: u32, len: usize },
    Command(String),
    Transmit { to: u32, len: usize },
    Event(Box<Event<u32>>),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[t={:.6}s] n{} ", self.at.as_secs_f64(), self.node)?;
        match &self.what {
            What::Tick => f.write_str("ticks"),
            What::Datagram { from, len } => write!(f, "takes in {len} bytes from address {from}"),
            What::Command(command) => write!(f, "is told {command}"),
            What::Transmit { to, len } => write!(f, "sends {len} bytes to address {to}"),
            What::Event(event) => write!(f, "says {event:?}"),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Input,
    Transmit,
    Event,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self {
            hasher: SipHasher13::new_with_keys(0x7472_6163_6500_0001, 0),
            scratch: vec![0; 4_096],
            kept: None,
        }
    }

    /// From now on each entry is kept: some 60 bytes.
    pub(crate) fn keep(&mut self) {
        self.kept.get_or_insert_default();
    }

    pub(crate) fn kept(&mut self) -> Vec<Moment> {
        self.kept.take().unwrap_or_default()
    }

    pub(crate) fn input(&mut self, at: Duration, node: usize, input: &Input<'_, u32>) {
        self.head(Kind::Input, at, node);
        match input {
            Input::Tick => self.hasher.write(&[0]),
            Input::Datagram { from, bytes } => {
                self.hasher.write(&[1]);
                self.hasher.write(&from.to_le_bytes());
                self.hasher.write(bytes);
            }
            command => {
                self.hasher.write(&[2]);
                self.value(command);
            }
        }
        self.note(at, node, || match input {
            Input::Tick => What::Tick,
            Input::Datagram { from, bytes } => What::Datagram { from: *from, len: bytes.len() },
            command => What::Command(format!("{command:?}")),
        });
    }

    pub(crate) fn transmit(&mut self, at: Duration, node: usize, to: u32, bytes: &[u8]) {
        self.head(Kind::Transmit, at, node);
        self.hasher.write(&to.to_le_bytes());
        self.hasher.write(bytes);
        self.note(at, node, || What::Transmit { to, len: bytes.len() });
    }

    pub(crate) fn event(&mut self, at: Duration, node: usize, event: &Event<u32>) {
        self.head(Kind::Event, at, node);
        self.value(event);
        self.note(at, node, || What::Event(Box::new(*event)));
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    fn note(&mut self, at: Duration, node: usize, what: impl FnOnce() -> What) {
        if let Some(kept) = &mut self.kept {
            kept.push(Moment { at, node, what: what(), hash: self.hasher.finish() });
        }
    }

    fn head(&mut self, kind: Kind, at: Duration, node: usize) {
        self.hasher.write(&[kind as u8]);
        self.hasher.write(&micros(at).to_le_bytes());
        self.hasher.write(&(node as u64).to_le_bytes());
    }

    fn value(&mut self, value: &impl Serialize) {
        loop {
            match postcard::to_slice(value, &mut self.scratch) {
                Ok(bytes) => {
                    self.hasher.write(bytes);
                    return;
                }
                Err(postcard::Error::SerializeBufferFull) => {
                    let len = self.scratch.len();
                    self.scratch.resize(len * 2, 0);
                }
                // Inputs and events have no parts that postcard refuses (maps and sequences of
                // unknown length).
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn every_part_of_an_entry_counts() {
        let hash = |at: u64, node, from, bytes: &[u8]| {
            let mut trace = Trace::new();
            let input = Input::Datagram { from, bytes: Cow::Borrowed(bytes) };
            trace.input(Duration::from_micros(at), node, &input);
            trace.hash()
        };
        let base = hash(1, 2, 3, b"x");
        assert_eq!(base, hash(1, 2, 3, b"x"));
        for other in
            [hash(2, 2, 3, b"x"), hash(1, 1, 3, b"x"), hash(1, 2, 4, b"x"), hash(1, 2, 3, b"y")]
        {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_command_longer_than_the_scratch_space_is_hashed_whole() {
        let hash = |last: u32| {
            let mut seeds = vec![1_000_000; 5_000];
            seeds.push(last);
            let mut trace = Trace::new();
            trace.input(Duration::ZERO, 0, &Input::Join { seeds: Cow::Owned(seeds) });
            trace.hash()
        };
        assert_ne!(hash(1), hash(2));
    }
}
