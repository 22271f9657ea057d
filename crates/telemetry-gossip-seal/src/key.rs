//! One key: 32 bytes, their text form, and the short id by which a datagram names it.

use core::fmt::{self, Debug, Display};
use core::str::FromStr;

use alloc::string::String;
use chacha20poly1305::aead::{AeadInOut, Error};
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

/// The text form of a key: a secret, wiped when it is dropped.
pub type KeyText = Zeroizing<String>;

/// Bytes of a tag.
pub(crate) const TAG: usize = 16;

/// Bytes of a nonce.
pub(crate) const NONCE: usize = 24;

/// Digits of a key's text form.
const DIGITS: usize = 64;

/// A secret of 32 bytes that the nodes of a cluster share. They come from a source of randomness: a
/// word, a date or a counter is guessed. Its memory is wiped when it is dropped, and its `Debug`
/// shows the id alone.
///
/// ```
/// use telemetry_gossip_seal::{Key, KeyError};
///
/// let key = Key::new([7; 32]); // 32 random bytes
/// let text = key.to_text();
/// assert_eq!(text.parse::<Key>()?.id(), key.id());
/// assert_eq!("0123".parse::<Key>().unwrap_err(), KeyError::Length { len: 4 });
/// # Ok::<(), KeyError>(())
/// ```
#[derive(Clone)]
pub struct Key {
    bytes: Zeroizing<[u8; 32]>,
    id: KeyId,
}

impl Key {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        // A tag under a nonce that no session has: like any tag it tells nothing of the key.
        let mut key = Self { bytes, id: KeyId([0; 4]) };
        if let Ok(tag) = key.encrypt(&[0; NONCE], b"telemetry-gossip key id", &mut []) {
            key.id.0.copy_from_slice(&tag[..4]);
        }
        key
    }

    /// How datagrams name it.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// 64 hexadecimal digits: the form for files.
    #[must_use]
    pub fn to_text(&self) -> KeyText {
        Zeroizing::new(base16ct::lower::encode_string(&*self.bytes))
    }

    /// The key in the contents of a file: its text form, perhaps with blanks and line breaks around
    /// it.
    ///
    /// ```
    /// use telemetry_gossip_seal::{Key, KeyError};
    ///
    /// let key = Key::new([7; 32]);
    /// let contents = format!("{}\n", *key.to_text());
    /// assert_eq!(Key::from_file(contents.as_bytes())?.id(), key.id());
    /// assert_eq!(Key::from_file(b"\xff\n").unwrap_err(), KeyError::Digit);
    /// # Ok::<(), KeyError>(())
    /// ```
    pub fn from_file(contents: &[u8]) -> Result<Self, KeyError> {
        core::str::from_utf8(contents).map_err(|_| KeyError::Digit)?.trim().parse()
    }

    /// Encrypts in place; the tag.
    pub(crate) fn encrypt(
        &self,
        nonce: &[u8; NONCE],
        beside: &[u8],
        bytes: &mut [u8],
    ) -> Result<Tag, Error> {
        self.cipher().encrypt_inout_detached(nonce.into(), beside, bytes.into())
    }

    /// Decrypts in place what has this tag, and touches nothing else.
    pub(crate) fn decrypt(
        &self,
        nonce: &[u8; NONCE],
        beside: &[u8],
        bytes: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), Error> {
        self.cipher().decrypt_inout_detached(nonce.into(), beside, bytes.into(), tag.into())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        if text.len() != DIGITS {
            return Err(KeyError::Length { len: text.len() });
        }
        base16ct::mixed::decode(text, &mut *bytes).map_err(|_| KeyError::Digit)?;
        Ok(Self::new(*bytes))
    }
}

impl Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// Why a text is no key. The text is not in it: it may be a secret with one letter wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It is too short or too long.
    #[error("a key has {DIGITS} hexadecimal digits, this text has {len} bytes")]
    Length {
        /// Its length in bytes.
        len: usize,
    },
    /// Something in it is no hexadecimal digit.
    #[error("a key has {DIGITS} hexadecimal digits and nothing else")]
    Digit,
}

/// The name of a key in datagrams: four bytes derived from it that tell nothing else of it. Its
/// text form is 8 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyId(pub [u8; 4]);

impl Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let mut id = [0; 4];
        match base16ct::mixed::decode(text, &mut id) {
            Ok(_) if text.len() == 8 => Ok(Self(id)),
            _ => Err(KeyIdError),
        }
    }
}

/// A text that is no key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a key id has 8 hexadecimal digits")]
pub struct KeyIdError;

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        alloc::format!("{id}")
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyIdError;

    fn try_from(text: String) -> Result<Self, KeyIdError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn what_is_printed_of_a_key_is_its_id() {
        let key = Key::new([0xab; 32]);
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("Key({})", key.id()));
        assert!(!shown.contains("abab"));
        assert_ne!(key.id(), Key::new([0xac; 32]).id());
    }

    #[test]
    fn texts_that_are_no_keys_are_refused_by_their_rule() {
        let text = Key::new([0xab; 32]).to_text();
        for (wrong, rule) in [
            ("", KeyError::Length { len: 0 }),
            (&text[1..], KeyError::Length { len: 63 }),
            (&*format!("{}0", *text), KeyError::Length { len: 65 }),
            (&*format!("{}g", &text[1..]), KeyError::Digit),
            (&*format!(" {}", &text[1..]), KeyError::Digit),
        ] {
            assert_eq!(wrong.parse::<Key>().unwrap_err(), rule, "{wrong:?}");
        }
        assert_eq!(text.to_uppercase().parse::<Key>().unwrap().to_text(), text);
    }

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let id = KeyId([0, 1, 0xab, 0xff]);
        assert_eq!(format!("{id}"), "0001abff");
        assert_eq!("0001abff".parse(), Ok(id));
        for wrong in ["", "0001abf", "0001abff0", "0001abfg", "0001abff00"] {
            assert_eq!(wrong.parse::<KeyId>(), Err(KeyIdError), "{wrong:?}");
        }
    }
}
