//! Sealed messages that are not datagrams, such as an operator's order to an agent.
//!
//! A message does not show its age. To prevent a replay, the context that both sides know must
//! contain something that changes, such as a counter.

use alloc::vec::Vec;

use thiserror::Error;

use crate::key::{KeyId, TAG};
use crate::keyring::Keyring;
use crate::nonce::NONCE;

/// The first byte of a sealed message; no datagram begins with it.
const FORMAT: u8 = 0x82;

/// Bytes before the text.
const HEADER: usize = 1 + 4 + NONCE;

/// Bytes that sealing adds to a message.
pub const MESSAGE_OVERHEAD: usize = HEADER + TAG;

/// The error of a message that was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It is too short, or begins with another byte.
    #[error("the message is not sealed in the format of this version")]
    NotSealed,
    /// It is sealed under a key that the ring does not have.
    #[error("the message is sealed under the key {0}, which is not in the keyring")]
    UnknownKey(KeyId),
    /// It was changed, made without the key, or sealed for another cluster or context.
    #[error("the message is not authentic, or was sealed for another cluster or context")]
    NotAuthentic,
    /// It is longer than the 256 GiB that the cipher allows.
    #[error("the message is too long to be sealed")]
    TooLong,
}

impl Keyring {
    /// Seals `text` under the primary key.
    ///
    /// `nonce` must be random and used once. `context` is authenticated but not sent: the receiver
    /// must know it.
    ///
    /// ```
    /// use telemetry_gossip_core::Label;
    /// use telemetry_gossip_seal::{Key, Keyring, MessageError};
    ///
    /// let ring = Keyring::new(Label::of("production"), Key::new([7; 32]));
    /// let message = ring.seal_message([3; 24], b"order 12", b"stop")?;
    /// assert_eq!(ring.open_message(b"order 12", &message)?, b"stop");
    /// assert_eq!(ring.open_message(b"order 13", &message), Err(MessageError::NotAuthentic));
    /// # Ok::<(), MessageError>(())
    /// ```
    pub fn seal_message(
        &self,
        nonce: [u8; NONCE],
        context: &[u8],
        text: &[u8],
    ) -> Result<Vec<u8>, MessageError> {
        let key = self.primary();
        let mut message = Vec::with_capacity(text.len() + MESSAGE_OVERHEAD);
        message.push(FORMAT);
        message.extend_from_slice(&key.id().to_bytes());
        message.extend_from_slice(&nonce);
        message.extend_from_slice(text);
        let associated = self.associated_data(key.id(), context);
        let tag = key
            .encrypt(&nonce, &associated, &mut message[HEADER..])
            .map_err(|_| MessageError::TooLong)?;
        message.extend_from_slice(&tag);
        Ok(message)
    }

    /// Opens a message that was sealed under a key of this ring for the same context, and returns
    /// its text.
    pub fn open_message(&self, context: &[u8], message: &[u8]) -> Result<Vec<u8>, MessageError> {
        let (head, rest) = message.split_first_chunk::<HEADER>().ok_or(MessageError::NotSealed)?;
        let (text, tag) = rest.split_last_chunk::<TAG>().ok_or(MessageError::NotSealed)?;
        let [format, k0, k1, k2, k3, nonce @ ..] = head;
        if *format != FORMAT {
            return Err(MessageError::NotSealed);
        }
        let id = KeyId::from_bytes([*k0, *k1, *k2, *k3]);
        let key = self.get(id).ok_or(MessageError::UnknownKey(id))?;
        let mut text = text.to_vec();
        key.decrypt(nonce, &self.associated_data(id, context), &mut text, tag)
            .map_err(|_| MessageError::NotAuthentic)?;
        Ok(text)
    }

    /// The associated data: what the tag covers besides the text.
    fn associated_data(&self, id: KeyId, context: &[u8]) -> Vec<u8> {
        let mut data = Vec::from([FORMAT]);
        data.extend_from_slice(&id.to_bytes());
        data.extend_from_slice(&self.label().0.to_be_bytes());
        data.extend_from_slice(context);
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use telemetry_gossip_core::Label;

    #[test]
    fn a_damaged_or_foreign_message_is_refused() {
        let ring = Keyring::new(Label::of("a"), Key::new([1; 32]));
        let message = ring.seal_message([9; 24], b"c", b"text").unwrap();
        assert_eq!(message.len(), b"text".len() + MESSAGE_OVERHEAD);
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1;
            assert!(ring.open_message(b"c", &changed).is_err(), "byte {at}");
            assert!(ring.open_message(b"c", &message[..at]).is_err(), "cut at {at}");
        }
        let other_cluster = Keyring::new(Label::of("b"), Key::new([1; 32]));
        assert_eq!(other_cluster.open_message(b"c", &message), Err(MessageError::NotAuthentic));
        let other_key = Keyring::new(Label::of("a"), Key::new([2; 32]));
        assert_eq!(
            other_key.open_message(b"c", &message),
            Err(MessageError::UnknownKey(ring.primary_id()))
        );
        assert_eq!(ring.open_message(b"c", &message).unwrap(), b"text");
    }
}
