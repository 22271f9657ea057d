//! Nonces: a random prefix per start of a sender, and a counter.

use core::fmt::{self, Debug};

/// Bytes of a nonce.
pub(crate) const NONCE: usize = 24;

/// Bytes of its prefix.
const PREFIX: usize = 16;

/// The first 16 bytes of all nonces of one sender: random, and drawn anew at each start.
///
/// Never store a prefix and use it again: a nonce that is used twice under one key reveals what it
/// encrypts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NoncePrefix([u8; PREFIX]);

impl NoncePrefix {
    /// Makes a prefix of 16 random bytes.
    #[must_use]
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Returns its bytes. They are visible in each datagram, and so no secret.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The nonce of the datagram with this counter.
    pub(crate) fn nonce(self, counter: u64) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        nonce[..PREFIX].copy_from_slice(&self.0);
        nonce[PREFIX..].copy_from_slice(&counter.to_be_bytes());
        nonce
    }

    /// The prefix and the counter of a nonce.
    pub(crate) fn split(nonce: &[u8; NONCE]) -> (Self, u64) {
        let (mut prefix, mut counter) = ([0; PREFIX], [0; NONCE - PREFIX]);
        prefix.copy_from_slice(&nonce[..PREFIX]);
        counter.copy_from_slice(&nonce[PREFIX..]);
        (Self(prefix), u64::from_be_bytes(counter))
    }
}

impl Debug for NoncePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoncePrefix({:032x})", u128::from_be_bytes(self.0))
    }
}
