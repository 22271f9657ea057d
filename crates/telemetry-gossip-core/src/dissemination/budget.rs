//! The cap on the bytes that a node sends, as a token bucket: it fills at the allowed rate, and
//! holds the bytes of one second.
//!
//! Only the telemetry that the node itself publishes waits for the budget. Pings, acks, claims,
//! sessions, urgent telemetry and the telemetry of others are sent at any level of the bucket and
//! make only its own wait longer. So the cap is kept on average as long as they alone stay below
//! it. A node that held back what others publish would delay it for all members behind it.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Instant, TimeRules};

const MICROS_PER_SECOND: u64 = 1_000_000;

/// The bucket of one node.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Budget {
    /// Bytes per second; `None` for no cap.
    rate: Option<u32>,
    /// Bytes in the bucket; negative if more was sent than the bucket held.
    tokens: i64,
    /// When the bucket was last filled.
    at: Instant,
}

impl Budget {
    pub(crate) fn new(rate: Option<u32>, now: Instant) -> Self {
        Self { rate, tokens: rate.map_or(0, i64::from), at: now }
    }

    /// Takes the `bytes` of a datagram that was sent out of the bucket.
    pub(crate) fn spend(&mut self, now: Instant, bytes: usize) {
        if self.rate.is_some() {
            self.fill(now);
            self.tokens = self.tokens.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// The earliest time at which telemetry may be sent; [`Instant::ORIGIN`] for at once.
    pub(crate) fn ready_at(&self) -> Instant {
        match self.rate {
            Some(rate) if self.tokens <= 0 => {
                let micros = (self.tokens.unsigned_abs() + 1)
                    .saturating_mul(MICROS_PER_SECOND)
                    .div_ceil(rate.max(1).into());
                self.at + Duration::from_micros(micros)
            }
            _ => Instant::ORIGIN,
        }
    }

    /// Whether a restored bucket is filled at this rate, holds no more than one second of it, and
    /// was filled in the past.
    pub(super) fn is_sound(&self, expected: Option<u32>, times: TimeRules) -> bool {
        let Self { rate, tokens, at } = self;
        *rate == expected && *tokens <= rate.map_or(0, i64::from) && times.is_past(*at)
    }

    fn fill(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        let micros = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        let bytes = micros.saturating_mul(rate.into()) / MICROS_PER_SECOND;
        if bytes > 0 {
            // The fraction of a byte is lost, which errs on the side of sending less.
            (self.tokens, self.at) =
                (self.tokens.saturating_add_unsigned(bytes).min(rate.into()), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn over_time_no_more_is_sent_than_the_rate_and_one_second_in_advance() {
        let mut budget = Budget::new(Some(1_000), at(0));
        let (mut spent, mut now) = (0, at(0));
        while now < at(10_000) {
            budget.spend(now, 400);
            spent += 400;
            now = now.max(budget.ready_at());
        }
        assert!((10_000..=11_400).contains(&spent), "{spent} bytes");
    }

    #[test]
    fn without_a_cap_telemetry_never_waits() {
        let mut budget = Budget::new(None, at(0));
        budget.spend(at(0), usize::MAX);
        assert_eq!(budget.ready_at(), Instant::ORIGIN);
    }
}
