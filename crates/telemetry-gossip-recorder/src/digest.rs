//! The hash of the outputs of a node, in order.

use serde::Serialize;
use telemetry_gossip_core::Event;

/// Bytes for an event on the stack: ids of 127 bytes, the helpers of a probe, numbers.
const EVENT_ROOM: usize = 1_024;

/// A running hash of outputs. Equal hashes mean equal outputs, but for a chance of one in 2^64.
///
/// The hash is not cryptographic: an attacker can construct outputs with a given hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputHasher {
    hash: u64,
    transmits: u64,
    events: u64,
}

/// Separates the hash of a datagram from that of an event with the same bytes.
#[derive(Clone, Copy)]
enum Kind {
    Transmit = 1,
    Event = 2,
    Handled = 3,
}

impl OutputHasher {
    /// Continues from a hash and counts taken earlier.
    #[must_use]
    pub const fn resume(hash: u64, transmits: u64, events: u64) -> Self {
        Self { hash, transmits, events }
    }

    /// Adds a datagram that was sent.
    pub fn transmit<A: Serialize>(&mut self, to: &A, bytes: &[u8]) {
        self.transmits += 1;
        let to = value_hash(to);
        self.chain(Kind::Transmit, to, rapidhash::v3::rapidhash_v3(bytes));
    }

    /// Adds an event that was emitted.
    pub fn event<A: Serialize>(&mut self, event: &Event<A>) {
        self.events += 1;
        let event = value_hash(event);
        self.chain(Kind::Event, event, 0);
    }

    /// Marks the end of the outputs of an input. `accepted` is false if the node refused it.
    pub fn handled(&mut self, accepted: bool) {
        self.chain(Kind::Handled, u64::from(accepted), 0);
    }

    /// Returns the hash so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns the number of datagrams so far.
    #[must_use]
    pub const fn transmits(&self) -> u64 {
        self.transmits
    }

    /// Returns the number of events so far.
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
        // Only a foreign address type can make an event longer than the room.
        Err(_) => postcard::to_stdvec(value).map_or(0, |bytes| rapidhash::v3::rapidhash_v3(&bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry_gossip_core::Generation;

    #[test]
    fn the_hash_depends_on_each_part_and_on_the_order_of_outputs() {
        let event = |generation| Event::<u32>::refuted(Generation(generation));
        let hash_of = |outputs: &[&dyn Fn(&mut OutputHasher)]| {
            let mut hasher = OutputHasher::default();
            for output in outputs {
                output(&mut hasher);
            }
            hasher.hash()
        };
        let all = [
            hash_of(&[]),
            hash_of(&[&|hasher| hasher.transmit(&1_u32, b"x")]),
            hash_of(&[&|hasher| hasher.transmit(&2_u32, b"x")]),
            hash_of(&[&|hasher| hasher.transmit(&1_u32, b"y")]),
            hash_of(&[&|hasher| hasher.event(&event(1))]),
            hash_of(&[&|hasher| hasher.event(&event(2))]),
            hash_of(&[&|hasher| hasher.handled(true)]),
            hash_of(&[&|hasher| hasher.handled(false)]),
            hash_of(&[&|hasher| hasher.transmit(&1_u32, b"x"), &|hasher| hasher.event(&event(1))]),
            hash_of(&[&|hasher| hasher.event(&event(1)), &|hasher| hasher.transmit(&1_u32, b"x")]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one), "{at}");
        }
    }
}
