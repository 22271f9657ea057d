//! Times that follow from the settings and the size of the cluster.

use core::time::Duration;

use super::{Config, SuspicionTimeout};

impl Config {
    /// How long a suspicion lasts in a cluster of so many live members: with four accusers, and
    /// with one.
    pub(crate) fn suspicion_spans(&self, live: u32) -> (Duration, Duration) {
        match self.suspicion {
            SuspicionTimeout::Fixed(span) => (span, span),
            SuspicionTimeout::Scaled { multiplier_percent, max_multiplier } => {
                let span = scaled(multiplier_percent, self.probe_interval, live)
                    .max(self.gossip_interval * 2);
                (span, span.saturating_mul(max_multiplier.into()))
            }
        }
    }

    /// How long a change takes to be known everywhere in a cluster of so many live members. A
    /// difference that lasts longer is worth a session.
    #[inline]
    pub(crate) fn spread_time(&self, live: u32) -> Duration {
        self.gossip_interval * (2 + live.max(1).ilog10() + 1)
    }
}

/// How long a suspicion lasts in a cluster of `live` members:
/// `percent / 100 * interval * max(1, log10(live))`.
pub(crate) fn scaled(percent: u16, interval: Duration, live: u32) -> Duration {
    let micros = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
    let factor = u64::from(percent).saturating_mul(log10_milli(live).max(1_000));
    Duration::from_micros(micros.saturating_mul(factor) / 100_000)
}

/// Thousandths of the decimal logarithm, by integers alone: squaring the mantissa yields the binary
/// logarithm bit by bit.
fn log10_milli(n: u32) -> u64 {
    const BITS: u32 = 16;
    const LOG10_OF_2: u64 = 301_030;
    let n = n.max(1);
    let whole = n.ilog2();
    // The mantissa in 1..2 with 31 bits after the point.
    let mut mantissa = u64::from(n) << (31 - whole);
    let mut log2 = u64::from(whole) << BITS;
    for bit in (0..BITS).rev() {
        mantissa = (mantissa * mantissa) >> 31;
        if mantissa >= 1 << 32 {
            mantissa >>= 1;
            log2 |= 1 << bit;
        }
    }
    (log2 * LOG10_OF_2 / 1_000) >> BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_integer_logarithm_is_the_logarithm() {
        for n in (1..2_000).chain([10_000, 1_000_000, u32::MAX]) {
            let exact = f64::from(n).log10() * 1_000.0;
            let ours = log10_milli(n) as f64;
            assert!((exact - ours).abs() < 1.1, "{n}: {exact} {ours}");
        }
    }

    #[test]
    fn suspicions_last_longer_in_larger_clusters() {
        let second = Duration::from_secs(1);
        assert_eq!(scaled(80, second, 3), Duration::from_millis(800));
        assert_eq!(scaled(80, second, 10), Duration::from_millis(800));
        assert_eq!(scaled(80, second, 1_000).as_millis(), 2_399);
    }
}
