//! Keys: 32 bytes, their text form, and the short id by which a datagram names a key.

use core::fmt::{self, Debug, Display};
use core::str::FromStr;

use alloc::string::String;
use chacha20poly1305::aead::{AeadInOut, Error};
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::nonce::NONCE;

/// Bytes of a tag.
pub(crate) const TAG: usize = 16;

/// Hexadecimal digits of a key's text form.
const DIGITS: usize = 64;

/// The longest contents of a key file in bytes, white space included.
pub const MAX_KEY_FILE: usize = 1_024;

/// A secret of 32 bytes that the nodes of a cluster share.
///
/// Make it from a cryptographic source of randomness: a password, a date or a counter can be
/// guessed. Its memory is wiped when it is dropped, and its `Debug` output shows its id only.
///
/// ```
/// use telemetry_gossip_seal::{Key, KeyError};
///
/// let key = Key::new([7; 32]); // 32 random bytes
/// let text = key.to_text();
/// assert_eq!(text.as_str().parse::<Key>()?.id(), key.id());
/// assert!(matches!("0123".parse::<Key>(), Err(KeyError::Length { len: 4, .. })));
/// # Ok::<(), KeyError>(())
/// ```
#[derive(Clone)]
pub struct Key {
    bytes: Zeroizing<[u8; 32]>,
    id: KeyId,
}

impl Key {
    /// Makes a key of 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        // The id is a tag under a nonce that no sender uses. Like any tag it reveals nothing about
        // the key.
        let mut key = Self { bytes, id: KeyId([0; 4]) };
        if let Ok(tag) = key.encrypt(&[0; NONCE], b"telemetry-gossip key id", &mut []) {
            key.id.0.copy_from_slice(&tag[..4]);
        }
        key
    }

    /// Returns the id by which datagrams name the key.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Returns the key as 64 hexadecimal digits, the form for files.
    #[must_use]
    pub fn to_text(&self) -> KeyText {
        KeyText(Zeroizing::new(base16ct::lower::encode_string(&*self.bytes)))
    }

    /// Reads the key from the contents of a file: its text form, with optional white space around
    /// it, of at most [`MAX_KEY_FILE`] bytes.
    ///
    /// ```
    /// use telemetry_gossip_seal::{Key, KeyError};
    ///
    /// let key = Key::new([7; 32]);
    /// let contents = format!("{}\n", key.to_text().as_str());
    /// assert_eq!(Key::from_file(contents.as_bytes())?.id(), key.id());
    /// assert_eq!(Key::from_file(b"\xff\n").unwrap_err(), KeyError::Digit);
    /// # Ok::<(), KeyError>(())
    /// ```
    pub fn from_file(contents: &[u8]) -> Result<Self, KeyError> {
        if contents.len() > MAX_KEY_FILE {
            return Err(KeyError::Length { len: contents.len() });
        }
        core::str::from_utf8(contents).map_err(|_| KeyError::Digit)?.trim().parse()
    }

    /// Encrypts `bytes` in place and returns the tag, which covers `associated` as well.
    pub(crate) fn encrypt(
        &self,
        nonce: &[u8; NONCE],
        associated: &[u8],
        bytes: &mut [u8],
    ) -> Result<Tag, Error> {
        self.cipher().encrypt_inout_detached(nonce.into(), associated, bytes.into())
    }

    /// Decrypts `bytes` in place if the tag is right, and leaves them unchanged otherwise.
    pub(crate) fn decrypt(
        &self,
        nonce: &[u8; NONCE],
        associated: &[u8],
        bytes: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), Error> {
        self.cipher().decrypt_inout_detached(nonce.into(), associated, bytes.into(), tag.into())
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

/// The text form of a key, 64 hexadecimal digits: a secret.
///
/// Its memory is wiped when it is dropped, and its `Debug` output does not show it.
#[derive(Clone)]
pub struct KeyText(Zeroizing<String>);

impl KeyText {
    /// Returns the digits. Take care where they go.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(..)")
    }
}

/// Takes over a text that was received, so that it is wiped when it is dropped. Parse it as a
/// [`Key`] to check it.
impl From<String> for KeyText {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// The error of a text that is not a key.
///
/// It does not contain the text, which may be a secret with one wrong digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is too short or too long.
    #[error("the text has {len} bytes, a key has {DIGITS} hexadecimal digits")]
    #[non_exhaustive]
    Length {
        /// The length of the text in bytes.
        len: usize,
    },
    /// The text contains something other than hexadecimal digits.
    #[error("the text contains a character that is not a hexadecimal digit, a key has none")]
    Digit,
}

/// The name of a key in datagrams: four bytes derived from the key, which reveal nothing about it.
///
/// Its text form is 8 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// Makes an id of the bytes in a datagram.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes that a datagram carries.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0
    }
}

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
            _ => Err(KeyIdError(())),
        }
    }
}

/// The error of a text that is not a key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the text is not a key id, which has 8 hexadecimal digits")]
pub struct KeyIdError(());

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
    fn debug_output_shows_the_id_of_a_key_and_no_secret() {
        let key = Key::new([0xab; 32]);
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("Key({})", key.id()));
        assert!(!shown.contains("abab"));
        assert_eq!(format!("{:?}", key.to_text()), "KeyText(..)");
        assert_ne!(key.id(), Key::new([0xac; 32]).id());
    }

    #[test]
    fn a_key_file_of_up_to_1_024_bytes_is_read_and_a_longer_one_is_not() {
        let key = Key::new([0xab; 32]);
        for len in [64, MAX_KEY_FILE - 1, MAX_KEY_FILE] {
            let contents = format!("{:<len$}", key.to_text().as_str());
            assert_eq!(Key::from_file(contents.as_bytes()).unwrap().id(), key.id(), "{len} bytes");
        }
        for len in [MAX_KEY_FILE + 1, 2 * MAX_KEY_FILE] {
            let contents = format!("{:<len$}", key.to_text().as_str());
            let refused = Key::from_file(contents.as_bytes()).unwrap_err();
            assert_eq!(refused, KeyError::Length { len });
        }
    }

    #[test]
    fn a_key_id_is_the_text_that_it_shows() {
        let id = Key::new([0xab; 32]).id();
        assert_eq!(String::from(id), format!("{id}"));
        assert_eq!(KeyId::try_from(String::from(id)).ok(), Some(id));
    }

    #[test]
    fn invalid_key_texts_are_refused_with_the_rule_they_break() {
        let text = Key::new([0xab; 32]).to_text();
        let text = text.as_str();
        for (wrong, rule) in [
            ("", KeyError::Length { len: 0 }),
            (&text[1..], KeyError::Length { len: 63 }),
            (&*format!("{text}0"), KeyError::Length { len: 65 }),
            (&*format!("{}g", &text[1..]), KeyError::Digit),
            (&*format!(" {}", &text[1..]), KeyError::Digit),
        ] {
            assert_eq!(wrong.parse::<Key>().unwrap_err(), rule, "{wrong:?}");
        }
        assert_eq!(text.to_uppercase().parse::<Key>().unwrap().to_text().as_str(), text);
    }

    #[test]
    fn an_id_survives_its_text_form() {
        let id = KeyId([0, 1, 0xab, 0xff]);
        assert_eq!(format!("{id}"), "0001abff");
        assert_eq!("0001abff".parse(), Ok(id));
        for wrong in ["", "0001abf", "0001abff0", "0001abfg", "0001abff00"] {
            assert_eq!(wrong.parse::<KeyId>(), Err(KeyIdError(())), "{wrong:?}");
        }
    }
}
