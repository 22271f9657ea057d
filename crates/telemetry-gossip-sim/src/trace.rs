//! The trace hash: a hash over all inputs and outputs of all nodes, in order.
//!
//! Two runs with equal hashes are the same. If the hash of one seed differs between two machines or
//! build profiles, something in the run is not a function of the seed.

use std::fmt;
use std::hash::Hasher as _;
use std::time::Duration;

use serde::Serialize;
use siphasher::sip::SipHasher13;
use telemetry_gossip_core::{Event, Input};

use crate::rng::micros;

/// Hashes a run while it proceeds.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    hasher: SipHasher13,
    scratch: Vec<u8>,
    kept: Option<Vec<Moment>>,
}

/// One entry of a trace, to compare two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: Duration,
    pub(crate) node: usize,
    pub(crate) what: What,
    /// The hash of the trace up to and including this entry. Two runs are the same as long as these
    /// hashes are equal.
    pub(crate) hash: u64,
}

/// The content of an entry, abbreviated.
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
            What::Datagram { from, len } => write!(f, "receives {len} bytes from address {from}"),
            What::Command(command) => write!(f, "gets the command {command}"),
            What::Transmit { to, len } => write!(f, "sends {len} bytes to address {to}"),
            What::Event(event) => write!(f, "emits {event:?}"),
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

    /// Keeps each entry from now on, in about 60 bytes per entry.
    pub(crate) fn keep(&mut self) {
        self.kept.get_or_insert_default();
    }

    /// Takes the entries kept so far.
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
            Input::Sealed { from, bytes, .. } => {
                self.hasher.write(&[3]);
                self.hasher.write(&from.to_le_bytes());
                self.hasher.write(bytes);
            }
            command => {
                self.hasher.write(&[2]);
                self.value(command);
            }
        }
        self.keep_entry(at, node, || match input {
            Input::Tick => What::Tick,
            Input::Datagram { from, bytes } | Input::Sealed { from, bytes, .. } => {
                What::Datagram { from: *from, len: bytes.len() }
            }
            command => What::Command(format!("{command:?}")),
        });
    }

    pub(crate) fn transmit(&mut self, at: Duration, node: usize, to: u32, bytes: &[u8]) {
        self.head(Kind::Transmit, at, node);
        self.hasher.write(&to.to_le_bytes());
        self.hasher.write(bytes);
        self.keep_entry(at, node, || What::Transmit { to, len: bytes.len() });
    }

    pub(crate) fn event(&mut self, at: Duration, node: usize, event: &Event<u32>) {
        self.head(Kind::Event, at, node);
        self.value(event);
        self.keep_entry(at, node, || What::Event(Box::new(*event)));
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    fn keep_entry(&mut self, at: Duration, node: usize, what: impl FnOnce() -> What) {
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
                // Postcard refuses only maps and sequences of unknown length; inputs and events
                // have none.
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
    fn the_hash_depends_on_every_part_of_an_entry() {
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
    fn a_command_longer_than_the_scratch_buffer_is_hashed_in_full() {
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
