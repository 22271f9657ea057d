//! Letters: sealed texts that are no datagrams, such as an operator's order to an agent. A letter
//! says nothing of its age: the context that both sides know has to name something that does not
//! come again.

use alloc::vec::Vec;

use thiserror::Error;

use crate::key::{KeyId, NONCE, TAG};
use crate::keyring::Keyring;

/// What a letter begins with; never what a datagram does.
const FORMAT: u8 = 0x82;

/// Bytes before the text.
const HEADER: usize = 1 + 4 + NONCE;

/// Bytes that sealing adds to a letter.
pub const LETTER_OVERHEAD: usize = HEADER + TAG;

/// Why a letter was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LetterError {
    /// It is shorter than any, or of another format.
    #[error("this is no sealed letter")]
    NoLetter,
    /// The ring has no such key.
    #[error("it is sealed under the key {0}, which is not in the keyring")]
    UnknownKey(KeyId),
    /// It was changed, made without the key, or meant for another cluster or context.
    #[error("it is not authentic, or was meant for another time or cluster")]
    NotAuthentic,
    /// It is longer than the cipher takes: 256 GiB.
    #[error("it is too long to be sealed")]
    TooLong,
}

impl Keyring {
    /// Seals a text under the primary. `nonce` is random; `context` is not sent, and whoever opens
    /// has to know it.
    ///
    /// ```
    /// use telemetry_gossip_core::Label;
    /// use telemetry_gossip_seal::{Key, Keyring, LetterError};
    ///
    /// let ring = Keyring::new(Label::of("production"), Key::new([7; 32]));
    /// let letter = ring.seal_letter([3; 24], b"order 12", b"stop")?;
    /// assert_eq!(ring.open_letter(b"order 12", &letter)?, b"stop");
    /// assert_eq!(ring.open_letter(b"order 13", &letter), Err(LetterError::NotAuthentic));
    /// # Ok::<(), LetterError>(())
    /// ```
    pub fn seal_letter(
        &self,
        nonce: [u8; NONCE],
        context: &[u8],
        text: &[u8],
    ) -> Result<Vec<u8>, LetterError> {
        let key = self.primary();
        let mut letter = Vec::with_capacity(text.len() + LETTER_OVERHEAD);
        letter.push(FORMAT);
        letter.extend_from_slice(&key.id().0);
        letter.extend_from_slice(&nonce);
        letter.extend_from_slice(text);
        let beside = self.beside(key.id(), context);
        let tag = key
            .encrypt(&nonce, &beside, &mut letter[HEADER..])
            .map_err(|_| LetterError::TooLong)?;
        letter.extend_from_slice(&tag);
        Ok(letter)
    }

    /// The text of a letter that was sealed under a key of this ring, for this context.
    pub fn open_letter(&self, context: &[u8], letter: &[u8]) -> Result<Vec<u8>, LetterError> {
        let (head, rest) = letter.split_first_chunk::<HEADER>().ok_or(LetterError::NoLetter)?;
        let (text, tag) = rest.split_last_chunk::<TAG>().ok_or(LetterError::NoLetter)?;
        let [format, k0, k1, k2, k3, nonce @ ..] = head;
        if *format != FORMAT {
            return Err(LetterError::NoLetter);
        }
        let id = KeyId([*k0, *k1, *k2, *k3]);
        let key = self.get(id).ok_or(LetterError::UnknownKey(id))?;
        let mut text = text.to_vec();
        key.decrypt(nonce, &self.beside(id, context), &mut text, tag)
            .map_err(|_| LetterError::NotAuthentic)?;
        Ok(text)
    }

    /// What a letter's tag covers beside its text.
    fn beside(&self, id: KeyId, context: &[u8]) -> Vec<u8> {
        let mut beside = Vec::from([FORMAT]);
        beside.extend_from_slice(&id.0);
        beside.extend_from_slice(&self.label().0.to_be_bytes());
        beside.extend_from_slice(context);
        beside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use telemetry_gossip_core::Label;

    #[test]
    fn a_letter_that_is_not_whole_or_not_for_here_is_refused() {
        let ring = Keyring::new(Label::of("a"), Key::new([1; 32]));
        let letter = ring.seal_letter([9; 24], b"c", b"text").unwrap();
        for at in 0..letter.len() {
            let mut changed = letter.clone();
            changed[at] ^= 1;
            assert!(ring.open_letter(b"c", &changed).is_err(), "byte {at}");
            assert!(ring.open_letter(b"c", &letter[..at]).is_err(), "cut at {at}");
        }
        let other_cluster = Keyring::new(Label::of("b"), Key::new([1; 32]));
        assert_eq!(other_cluster.open_letter(b"c", &letter), Err(LetterError::NotAuthentic));
        let other_key = Keyring::new(Label::of("a"), Key::new([2; 32]));
        assert_eq!(
            other_key.open_letter(b"c", &letter),
            Err(LetterError::UnknownKey(ring.primary().id()))
        );
        assert_eq!(ring.open_letter(b"c", &letter).unwrap(), b"text");
    }
}
