//! Random numbers of the simulator: integers from numbered ChaCha8 streams of one 64-bit seed.
//!
//! Network, operations and protocol draw from separate streams, so that one more datagram does not
//! change which node crashes next. No floats are used, so that a seed gives the same run on every
//! platform.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A stream of random numbers of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// For latency, loss, duplication and replay.
    Network,
    /// For the nodes that a step picks, the origins of clocks, and the order of work on resuming.
    Operations,
    /// For the claims that the checker merges.
    Checker,
    /// For the actions of an experiment, and their times.
    Experiment,
    /// For what liars say, and when.
    Lies,
}

/// The generator of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    pub(crate) fn new(seed: u64, stream: Stream) -> Self {
        let mut rng = ChaCha8Rng::from_seed(widen(seed, 0, 0));
        rng.set_stream(stream as u64);
        Self(rng)
    }

    /// Draws an index below `len`; returns 0 if `len` is 0.
    pub(crate) fn below(&mut self, len: usize) -> usize {
        let wide = u128::from(self.0.next_u64()) * (len as u128);
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// Draws a number from 0 to `most`, both included.
    pub(crate) fn micros_up_to(&mut self, most: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * (u128::from(most) + 1);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Returns true with a probability of `ppm` in a million. The two certain cases draw nothing.
    pub(crate) fn chance(&mut self, ppm: u32) -> bool {
        match ppm {
            0 => false,
            1_000_000.. => true,
            _ => u128::from(self.0.next_u64()) * 1_000_000 < u128::from(ppm) << 64,
        }
    }

    /// Draws from the exponential distribution with this mean; at most 44 times the mean.
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        let micros = u128::from(micros(mean)) * u128::from(negative_log(self.0.next_u64()));
        Duration::from_micros(u64::try_from(micros >> 16).unwrap_or(u64::MAX))
    }

    /// Draws `count` different indices below `len`, ascending.
    pub(crate) fn choose(&mut self, len: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..len).collect();
        let count = count.min(len);
        for at in 0..count {
            let other = at + self.below(len - at);
            all.swap(at, other);
        }
        all.truncate(count);
        all.sort_unstable();
        all
    }
}

/// The seed of one instance of one node. The random numbers of its protocol depend on nothing else.
pub(crate) fn protocol_seed(seed: u64, node: usize, instance: u32) -> [u8; 32] {
    let mut rng = ChaCha8Rng::from_seed(widen(seed, node as u64 + 1, instance.into()));
    let mut out = [0; 32];
    rng.fill_bytes(&mut out);
    out
}

/// The nonce prefix of the seal of one instance of one node. Its nonces are only as unpredictable
/// as the seed, which is enough for a simulation.
pub(crate) fn nonce_prefix(seed: u64, node: usize, instance: u32) -> [u8; 16] {
    let mut rng = ChaCha8Rng::from_seed(widen(seed, node as u64 + 1, instance.into()));
    rng.set_stream(SEALING);
    let mut out = [0; 16];
    rng.fill_bytes(&mut out);
    out
}

/// The stream of an instance from which its seal draws.
const SEALING: u64 = 1;

fn widen(seed: u64, node: u64, instance: u64) -> [u8; 32] {
    let mut wide = [0; 32];
    for (place, word) in wide.chunks_exact_mut(8).zip([seed, node, instance, 0x7467_6f73_7369_7000])
    {
        place.copy_from_slice(&word.to_le_bytes());
    }
    wide
}

/// `-ln(draw / 2^64)` in 1/65,536: the leading zeros give whole halvings, a table with linear
/// interpolation the rest.
fn negative_log(draw: u64) -> u64 {
    const LN_2: u64 = 45_426;
    let draw = draw.max(1);
    let halvings = u64::from(draw.leading_zeros());
    let mantissa = draw << halvings;
    let index = ((mantissa >> 58) & 31) as usize;
    let fraction = (mantissa >> 42) & 0xffff;
    let (high, low) = (NEGATIVE_LN[index], NEGATIVE_LN[index + 1]);
    halvings * LN_2 + high - (((high - low) * fraction) >> 16)
}

/// `-ln((32 + i) / 64)` in 1/65,536, for i in 0..=32.
const NEGATIVE_LN: [u64; 33] = [
    45_426, 43_409, 41_453, 39_553, 37_707, 35_911, 34_164, 32_461, 30_802, 29_184, 27_605, 26_063,
    24_556, 23_083, 21_643, 20_233, 18_854, 17_502, 16_178, 14_880, 13_608, 12_360, 11_135, 9_932,
    8_751, 7_591, 6_451, 5_331, 4_230, 3_146, 2_081, 1_032, 0,
];

pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_draws_have_their_mean_and_their_tail() {
        let mut draws = Draws::new(1, Stream::Network);
        let mean = Duration::from_millis(1);
        let (mut sum, mut above_three) = (0, 0);
        for _ in 0..100_000 {
            let micros = micros(draws.exponential(mean));
            sum += micros;
            above_three += u32::from(micros > 3_000);
        }
        // Four standard deviations of the mean of 100,000 draws; e^-3 is 4.98 %.
        assert!((98_700_000..101_300_000).contains(&sum), "{sum}");
        assert!((4_700..5_260).contains(&above_three), "{above_three}");
    }

    #[test]
    fn chances_have_their_probability() {
        let mut draws = Draws::new(2, Stream::Network);
        let hits = (0..100_000).filter(|_| draws.chance(50_000)).count();
        assert!((4_720..5_280).contains(&hits), "{hits}");
        assert!(!draws.chance(0) && draws.chance(1_000_000));
    }

    #[test]
    fn the_streams_of_one_seed_are_independent() {
        let draw = |seed, stream| Draws::new(seed, stream).micros_up_to(u64::MAX - 1);
        assert_ne!(draw(1, Stream::Network), draw(1, Stream::Operations));
        assert_ne!(draw(1, Stream::Network), draw(2, Stream::Network));
        assert_ne!(protocol_seed(1, 0, 0), protocol_seed(1, 0, 1));
        assert_ne!(protocol_seed(1, 0, 0), protocol_seed(1, 1, 0));
    }

    #[test]
    fn chosen_indices_are_distinct() {
        let mut draws = Draws::new(3, Stream::Operations);
        for count in 0..12 {
            let chosen = draws.choose(10, count);
            assert_eq!(chosen.len(), count.min(10));
            assert!(chosen.is_sorted_by(|a, b| a < b) && chosen.iter().all(|&index| index < 10));
        }
    }
}
