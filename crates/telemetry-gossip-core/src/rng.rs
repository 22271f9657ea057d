//! The only source of randomness of a node: one ChaCha8 stream from its seed.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The number of words after which a stream begins anew: 2^64 blocks of 16.
const WORDS_PER_SEED: u128 = 1 << 68;

/// Draws random integers. Every draw takes a fixed number of words from the stream, so a seed gives
/// the same sequence everywhere.
#[derive(Debug)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// Begins a new stream, from the old one and `entropy`. No one who does not know both can
    /// foresee it.
    pub(crate) fn mix(&mut self, entropy: &[u8; 32]) {
        let mut seed = *entropy;
        for bytes in seed.chunks_exact_mut(4) {
            for (byte, drawn) in bytes.iter_mut().zip(self.word().to_le_bytes()) {
                *byte ^= drawn;
            }
        }
        *self = Self::new(seed);
    }

    /// Draws the secret of a node's challenges.
    pub(crate) fn secret(&mut self) -> u64 {
        u64::from(self.word()) << 32 | u64::from(self.word())
    }

    /// Draws 32 random bits.
    pub(crate) fn word(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Draws an index below `len`; 0 if `len` is 0. The bias of the multiply-shift reduction is
    /// below `len / 2^64`.
    pub(crate) fn below(&mut self, len: usize) -> usize {
        let wide = u128::from(self.0.next_u64()) * (len as u128);
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// Draws a number of microseconds below `micros`; 0 if `micros` is 0.
    pub(crate) fn micros_below(&mut self, micros: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * u128::from(micros);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Shuffles the items, by the algorithm of Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

/// Saves the seed and the number of words drawn, so that a restored stream goes on where it was.
impl Serialize for Random {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0.get_seed(), self.0.get_word_pos()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Random {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (seed, drawn) = <([u8; 32], u128)>::deserialize(deserializer)?;
        if drawn >= WORDS_PER_SEED {
            return Err(D::Error::custom("more words are drawn than a seed yields"));
        }
        let mut random = Self::new(seed);
        random.0.set_word_pos(drawn);
        Ok(random)
    }
}
