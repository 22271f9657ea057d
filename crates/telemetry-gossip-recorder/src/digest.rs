//! The hash of what a node said and told, in order.

use serde::Serialize;
use telemetry_gossip_core::Event;

/// Room for an event: ids of 127 bytes, the witnesses of a probe, numbers.
const EVENT_ROOM: usize = 1_024;

/// A running hash of outputs: equal ones mean, but for a chance of one in 2^64, the same outputs.
/// No protection against whoever makes up outputs of one hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    hash: u64,
    transmits: u64,
    events: u64,
}

/// What comes next, so that a datagram is no event of the same bytes.
#[derive(Clone, Copy)]
enum Kind {
    Transmit = 1,
    Event = 2,
    Handled = 3,
}

impl Digest {
    /// One that goes on from a hash and counts taken before.
    #[must_use]
    pub const fn resume(hash: u64, transmits: u64, events: u64) -> Self {
        Self { hash, transmits, events }
    }

    /// A datagram was sent.
    pub fn transmit<A: Serialize>(&mut self, to: &A, bytes: &[u8]) {
        self.transmits += 1;
        let to = value_hash(to);
        self.chain(Kind::Transmit, to, rapidhash::v3::rapidhash_v3(bytes));
    }

    /// An event was told.
    pub fn event<A: Serialize>(&mut self, event: &Event<A>) {
        self.events += 1;
        let event = value_hash(event);
        self.chain(Kind::Event, event, 0);
    }

    /// All outputs of an input were polled; `accepted` unless the node refused it.
    pub fn handled(&mut self, accepted: bool) {
        self.chain(Kind::Handled, u64::from(accepted), 0);
    }

    /// The hash so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Datagrams so far.
    #[must_use]
    pub const fn transmits(&self) -> u64 {
        self.transmits
    }

    /// Events so far.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    fn chain(&mut self, kind: Kind, one: u64, other: u64) {
        let mut words = [0; 32];
        for (place, word) in words.chunks_exact_mut(8).zip([self.hash, kind as u64, one, other]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.hash = rapidhash::v3::rapidhash_v3(&words);
    }
}

fn value_hash(value: &impl Serialize) -> u64 {
    let mut room = [0; EVENT_ROOM];
    match postcard::to_slice(value, &mut room) {
        Ok(bytes) => rapidhash::v3::rapidhash_v3(bytes),
        // Longer than any event of this library; an address type may be.
        Err(_) => postcard::to_stdvec(value).map_or(0, |bytes| rapidhash::v3::rapidhash_v3(&bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry_gossip_core::Generation;

    #[test]
    fn every_part_and_the_order_of_outputs_count() {
        let event = |generation| Event::<u32>::refuted(Generation(generation));
        let digest = |outputs: &[&dyn Fn(&mut Digest)]| {
            let mut digest = Digest::default();
            for output in outputs {
                output(&mut digest);
            }
            digest.hash()
        };
        let all = [
            digest(&[]),
            digest(&[&|digest| digest.transmit(&1_u32, b"x")]),
            digest(&[&|digest| digest.transmit(&2_u32, b"x")]),
            digest(&[&|digest| digest.transmit(&1_u32, b"y")]),
            digest(&[&|digest| digest.event(&event(1))]),
            digest(&[&|digest| digest.event(&event(2))]),
            digest(&[&|digest| digest.handled(true)]),
            digest(&[&|digest| digest.handled(false)]),
            digest(&[&|digest| digest.transmit(&1_u32, b"x"), &|digest| digest.event(&event(1))]),
            digest(&[&|digest| digest.event(&event(1)), &|digest| digest.transmit(&1_u32, b"x")]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one), "{at}");
        }
    }
}
