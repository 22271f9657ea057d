//! How an address proves itself, and how much one that has not is sent at most.
//!
//! A reply to a sender that has not proved its address carries a ping whose number is a keyed hash
//! of the address and the time. The ack repeats the number, which proves that the sender receives
//! what is sent to its address. Nothing is stored for a challenge, so a flood of forged sources
//! leaves nothing behind.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::id::{RequestId, keyed_hash};
use crate::time::Instant;

/// A reply to a sender that has not proved its address is at most this many times as long as what
/// it sent.
pub(crate) const AMPLIFICATION: usize = 3;

/// A challenge is good for at least this long, and for at most twice as long.
const CHALLENGE_SPAN: Duration = Duration::from_secs(10);

/// Makes and recognises challenges.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    /// The key of the challenges. No peer learns it.
    secret: u64,
}

impl Proof {
    pub(crate) const fn new(secret: u64) -> Self {
        Self { secret }
    }

    /// The number of the ping that challenges `address` at `now`.
    pub(crate) fn challenge<A: Address>(&self, address: A, now: Instant) -> Option<RequestId> {
        self.made_in_span(address, now, 0)
    }

    /// Whether `number` is that of a challenge to `address` that is still good.
    pub(crate) fn is_answer<A: Address>(
        &self,
        address: A,
        number: RequestId,
        now: Instant,
    ) -> bool {
        [0, 1].into_iter().any(|ago| self.made_in_span(address, now, ago) == Some(number))
    }

    fn made_in_span<A: Address>(&self, address: A, now: Instant, ago: u64) -> Option<RequestId> {
        let micros = u64::try_from(CHALLENGE_SPAN.as_micros()).unwrap_or(u64::MAX);
        let span = (now.as_micros() / micros).checked_sub(ago)?;
        let mut bytes = [0; MAX_ADDRESS_LEN];
        let len = address.encode(&mut bytes).min(MAX_ADDRESS_LEN);
        Some(RequestId(keyed_hash([self.secret, span], &bytes[..len])))
    }
}
