//! How an address is verified, and how much an unverified one may be sent.
//!
//! A reply to a sender whose address is not verified carries a ping whose request id is a keyed
//! hash of the address and the time: a challenge. The ack repeats the request id, which proves that
//! the sender receives what is sent to its address. Nothing is stored per challenge, so a flood of
//! forged source addresses leaves nothing behind.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::id::{RequestId, keyed_hash};
use crate::time::Instant;

/// The largest length of a reply to an unverified address, as a multiple of the bytes that it
/// sent. It keeps this node from amplifying a flood with forged source addresses.
pub(crate) const AMPLIFICATION: usize = 3;

/// The shortest time for which a challenge is valid. It is valid for at most twice as long.
const CHALLENGE_SPAN: Duration = Duration::from_secs(10);

/// Makes challenges and recognises their answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    /// The key of the challenges. No peer learns it.
    secret: u64,
}

impl Proof {
    pub(crate) const fn new(secret: u64) -> Self {
        Self { secret }
    }

    /// Returns the request id of the ping that challenges `address` at `now`.
    pub(crate) fn challenge<A: Address>(&self, address: A, now: Instant) -> Option<RequestId> {
        self.made_in_span(address, now, 0)
    }

    /// Whether `request_id` is that of a challenge to `address` that is still valid.
    pub(crate) fn is_answer<A: Address>(
        &self,
        address: A,
        request_id: RequestId,
        now: Instant,
    ) -> bool {
        [0, 1].into_iter().any(|ago| self.made_in_span(address, now, ago) == Some(request_id))
    }

    /// Returns the challenge of the span that began `ago` spans before the one of `now`.
    fn made_in_span<A: Address>(&self, address: A, now: Instant, ago: u64) -> Option<RequestId> {
        let micros = u64::try_from(CHALLENGE_SPAN.as_micros()).unwrap_or(u64::MAX);
        let span = (now.as_micros() / micros).checked_sub(ago)?;
        let mut bytes = [0; MAX_ADDRESS_LEN];
        let len = address.encode(&mut bytes).min(MAX_ADDRESS_LEN);
        Some(RequestId(keyed_hash([self.secret, span], &bytes[..len])))
    }
}
