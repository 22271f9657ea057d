//! Names and numbers that identify: node ids, generations, instances, id hashes, request ids, the
//! cluster label.
//!
//! A value of one of these types is valid by construction. Hashes have fixed keys, so that every
//! platform and every node computes the same ones: the order of the roster, the sync ranges and the
//! fingerprints depend on it.

use core::fmt;
use core::hash::Hasher;

use arrayvec::ArrayString;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use siphasher::sip::SipHasher13;
use thiserror::Error;

/// The longest node id, in bytes of UTF-8.
pub const MAX_ID_LEN: usize = 127;

/// The name of a node, unique in its cluster: 1 to [`MAX_ID_LEN`] bytes of UTF-8, of characters
/// that can be seen and told apart.
///
/// These are the visible characters of ASCII, and letters of one more script: accented Latin,
/// Greek, Cyrillic, Han, Hiragana, Katakana or Hangul. Letters of Greek and Cyrillic stand beside
/// no letter of ASCII, and one of them at least has no double in ASCII. Refused are therefore
/// controls, spaces, marks, characters that turn the direction of writing or cannot be seen, and an
/// id that looks like another one by mixing scripts.
///
/// The text is stored inline, so that an id is copied without an allocation. Its serialised form is
/// the text.
///
/// ```
/// use telemetry_gossip_core::{IdError, NodeId};
///
/// let id: NodeId = "edge-17".parse()?;
/// assert_eq!(id, "edge-17");
/// assert_eq!(id.as_str().len(), 7);
/// assert_eq!("".parse::<NodeId>(), Err(IdError::Empty));
/// assert!("zürich-3".parse::<NodeId>().is_ok() && "東京-3".parse::<NodeId>().is_ok());
/// // The first letter is Cyrillic.
/// assert!("\u{430}gent-1".parse::<NodeId>().is_err());
/// # Ok::<(), IdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(ArrayString<MAX_ID_LEN>);

impl NodeId {
    /// Checks `text` and copies it.
    pub fn new(text: &str) -> Result<Self, IdError> {
        check_id(text)?;
        ArrayString::from(text).map(Self).map_err(|_| IdError::TooLong { len: text.len() })
    }

    /// An id whose text was checked when it entered the table.
    pub(crate) fn known(text: &str) -> Self {
        Self(ArrayString::from(text).unwrap_or_default())
    }

    /// The text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The short form of the id, by which evidence names it.
    #[must_use]
    pub fn id_hash(&self) -> IdHash {
        id_hash_of(full_id_hash(self.as_str().as_bytes()))
    }
}

/// Checks the rule for ids. Ids on the wire are checked before they are copied.
pub(crate) fn check_id(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        Err(IdError::Empty)
    } else if text.len() > MAX_ID_LEN {
        Err(IdError::TooLong { len: text.len() })
    } else if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        check_characters(text)
    }
}

/// Checks the characters of an id that is not plain ASCII.
fn check_characters(text: &str) -> Result<(), IdError> {
    let mut other: Option<Script> = None;
    let mut has_own_form = false;
    for character in text.chars().filter(|character| !character.is_ascii_graphic()) {
        if character.is_control() {
            return Err(IdError::ControlCharacter { character });
        }
        let script = Script::of(character).ok_or(IdError::ForbiddenCharacter { character })?;
        let is_mixed = other.is_some_and(|other| other != script)
            || script.resembles_ascii() && text.bytes().any(|byte| byte.is_ascii_alphabetic());
        if is_mixed {
            return Err(IdError::MixedScripts { character });
        }
        other = Some(script);
        has_own_form |= !script.resembles_ascii() || !ASCII_DOUBLES.contains(character);
    }
    let first = text.chars().find(|character| !character.is_ascii());
    match first {
        Some(character) if !has_own_form => Err(IdError::MixedScripts { character }),
        _ => Ok(()),
    }
}

/// A script whose letters an id may have beside ASCII. The ranges are fixed, so that all versions
/// of this crate agree, and have no character that is blank, combines, or joins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Greek,
    Cyrillic,
    Han,
    Hiragana,
    Katakana,
    Hangul,
}

/// The letters of Greek and Cyrillic that look like one of ASCII, or like an accented one.
const ASCII_DOUBLES: &str = "\
    \u{391}\u{392}\u{395}\u{396}\u{397}\u{399}\u{39a}\
    \u{39c}\u{39d}\u{39f}\u{3a1}\u{3a4}\u{3a5}\u{3a7}\
    \u{3b1}\u{3b3}\u{3b9}\u{3ba}\u{3bd}\u{3bf}\u{3c1}\u{3c3}\u{3c5}\u{3c7}\
    \u{405}\u{406}\u{407}\u{408}\u{410}\u{412}\u{415}\
    \u{401}\u{41a}\u{41c}\u{41d}\u{41e}\u{420}\u{421}\u{422}\
    \u{423}\u{425}\u{430}\u{435}\u{451}\u{43a}\u{43e}\u{440}\u{441}\
    \u{443}\u{445}\u{455}\u{456}\u{457}\u{458}";

impl Script {
    /// The script of a letter; `None` for what is no letter of these scripts, and for letters that
    /// look like others of their script.
    fn of(character: char) -> Option<Self> {
        match character {
            // No signs of multiplication and division, dotless i, kra, long s, ligatures.
            '\u{d7}'
            | '\u{f7}'
            | '\u{131}'..='\u{133}'
            | '\u{138}'
            | '\u{13f}'
            | '\u{140}'
            | '\u{149}' => None,
            '\u{c0}'..='\u{17e}' => Some(Self::Latin),
            '\u{391}'..='\u{3a1}' | '\u{3a3}'..='\u{3c9}' => Some(Self::Greek),
            '\u{401}'..='\u{45f}' => Some(Self::Cyrillic),
            '\u{3041}'..='\u{3096}' => Some(Self::Hiragana),
            '\u{30a1}'..='\u{30fa}' => Some(Self::Katakana),
            '\u{4e00}'..='\u{9fff}' => Some(Self::Han),
            '\u{ac00}'..='\u{d7a3}' => Some(Self::Hangul),
            _ => None,
        }
    }

    /// Whether many of its letters look like one of ASCII.
    fn resembles_ascii(self) -> bool {
        matches!(self, Self::Greek | Self::Cyrillic)
    }
}

impl From<core::net::SocketAddr> for NodeId {
    /// The address as text, which is always a valid id: at most 58 digits, letters, colons, dots
    /// and brackets.
    fn from(address: core::net::SocketAddr) -> Self {
        let mut text = ArrayString::new();
        let written = fmt::write(&mut text, format_args!("{address}"));
        written.map_or(Self::known("?"), |()| Self(text))
    }
}

impl core::str::FromStr for NodeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for NodeId {
    type Error = IdError;

    fn try_from(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = NodeId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a node id")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<NodeId, E> {
                NodeId::new(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl PartialEq<str> for NodeId {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for NodeId {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl AsRef<str> for NodeId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text is not a valid [`NodeId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdError {
    /// The text is empty.
    #[error("a node id has at least 1 byte")]
    Empty,
    /// The text is longer than [`MAX_ID_LEN`].
    #[error("a node id has at most {MAX_ID_LEN} bytes, this one has {len}")]
    #[non_exhaustive]
    TooLong {
        /// The length of the refused text, in bytes.
        len: usize,
    },
    /// The text has a control character, such as a line break or a NUL.
    #[error("a node id has no control characters, and this one has U+{:04X}", *character as u32)]
    #[non_exhaustive]
    ControlCharacter {
        /// The first one.
        character: char,
    },
    /// The text has a character that is no letter of a permitted script: a space, a mark, a symbol,
    /// or a character that cannot be seen or turns the direction of writing.
    #[error(
        "a node id has visible characters of ASCII and plain letters only, and this one has \
         U+{:04X}",
        *character as u32
    )]
    #[non_exhaustive]
    ForbiddenCharacter {
        /// The first one.
        character: char,
    },
    /// The text has letters of several scripts, or only such as look like letters of ASCII, so that
    /// it could be taken for another id.
    #[error(
        "a node id has letters of one script and does not look like one of another script, and \
         this one has U+{:04X}",
        *character as u32
    )]
    #[non_exhaustive]
    MixedScripts {
        /// The first letter that does not fit the others.
        character: char,
    },
}

/// The number that orders the claims about one member: the higher one wins. SWIM calls it the
/// incarnation number.
///
/// Only the member itself claims to be Alive, at a generation that it has never used before. An
/// accusation is one above the generation of the accused, and its refutation one above the highest
/// generation seen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The highest generation at which a process may start, and up to which the member itself
    /// answers any claim at once. It leaves room for hosts that start a generation from a clock in
    /// nanoseconds (2^61 in the year 2043).
    pub const MAX_START: Self = Self(1 << 62);

    /// The highest generation of all. What claims more is refused.
    pub const MAX: Self = Self(1 << 63);

    /// The largest lead over the generation that is held, of a claim that another node passes on.
    /// A claim further ahead is believed only of the member itself, when it is asked.
    ///
    /// Members that refute each lie at once are never so far ahead. A liar climbs by this much with
    /// each claim: with 50 claims in each of 10,000 datagrams per second it takes four years to
    /// [`MAX_START`](Self::MAX_START), and as long again to [`MAX`](Self::MAX).
    pub const MAX_LEAP: u64 = 1 << 16;

    /// The largest leap of a member beyond [`MAX_START`](Self::MAX_START), once per second.
    pub(crate) const MAX_HIGH_LEAP: u64 = 1 << 32;

    /// The next generation. Saturates, far above [`MAX`](Self::MAX).
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Whether this generation is at most [`MAX_LEAP`](Self::MAX_LEAP) above `held`.
    #[must_use]
    pub const fn is_near(self, held: Self) -> bool {
        self.0 <= held.0.saturating_add(Self::MAX_LEAP)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells apart two processes with the same id, and a process from its earlier runs: random at each
/// start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Instance(pub u32);

impl Instance {
    /// Whether both may be one process. 0 stands for a process that does not tell its instances
    /// apart.
    pub(crate) fn is_same_process(self, other: Self) -> bool {
        self == other || [self, other].contains(&Self(0))
    }
}

/// Matches an answer to its request: an ack, a nack or a sync reply carries the id of its request.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub(crate) struct RequestId(pub(crate) u32);

/// The upper half of the hash of an id. Names a known member in 4 bytes where a collision is
/// harmless.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct IdHash(pub u32);

/// The hash of the name of a cluster. Datagrams with another label are refused before they are
/// parsed further.
///
/// ```
/// use telemetry_gossip_core::Label;
///
/// assert_ne!(Label::of("production"), Label::of("staging"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(pub u32);

impl Label {
    /// The label of the cluster called `name`. The empty name is a name like any other.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(keyed_hash([0x6c61_6265_6c00_0001, 0], name.as_bytes()))
    }
}

/// The 64-bit hash of an id, which is its place in the roster.
pub(crate) fn full_id_hash(id: &[u8]) -> u64 {
    bytes_hash(id)
}

/// A hash that is the same on every platform, and is not secret.
pub(crate) fn bytes_hash(bytes: &[u8]) -> u64 {
    rapidhash::v3::rapidhash_v3(bytes)
}

pub(crate) fn id_hash_of(hash: u64) -> IdHash {
    IdHash(upper_half(hash))
}

/// Spreads a word over all bits (the finalizer of SplitMix64, Steele, Lea and Flood 2014).
pub(crate) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A hash that only the holder of the key can compute.
pub(crate) fn keyed_hash(key: [u64; 2], bytes: &[u8]) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    hasher.write(bytes);
    upper_half(hasher.finish())
}

const fn upper_half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_visible_letters_of_one_script() {
        for text in
            ["edge-17", "[::1]:7946", "zürich-3", "東京-3", "eu-東京", "сервер-1", "δελτα", "서울"]
        {
            assert_eq!(check_id(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn an_id_that_hides_something_is_refused_and_the_error_names_the_character() {
        for text in [
            "edge 1",
            "a\u{a0}",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{200b}",
            "a\u{200d}",
            "a\u{2060}",
            "a\u{feff}",
            "a\u{ad}",
            "a\u{2028}",
            "e\u{301}",
            "\u{3164}",
            "\u{2800}",
            "a\u{e0041}",
            "a\u{fe0f}",
            "\u{ff41}",
            "\u{1d41a}",
            "a\u{e000}",
            "\u{5d0}",
            "n\u{131}",
            "\u{1f680}",
        ] {
            let character = text.chars().find(|c| !c.is_ascii_graphic()).unwrap();
            assert_eq!(check_id(text), Err(IdError::ForbiddenCharacter { character }), "{text:?}");
        }
        for text in ["a\nb", "a\u{7f}", "\u{9b}2J", "\u{1b}]0;x\u{7}"] {
            let character = text.chars().find(|c| c.is_control()).unwrap();
            let error = check_id(text).unwrap_err();
            assert_eq!(error, IdError::ControlCharacter { character }, "{text:?}");
            assert!(alloc::string::ToString::to_string(&error).contains("U+00"), "{error}");
        }
    }

    #[test]
    fn an_id_that_looks_like_one_of_another_script_is_refused() {
        for text in [
            "\u{430}gent-1",
            "edge-\u{3bf}",
            "\u{430}\u{441}\u{435}",
            "\u{410}\u{395}-1",
            "\u{43e}",
            "ü\u{448}",
            "力カ",
        ] {
            assert!(matches!(check_id(text), Err(IdError::MixedScripts { .. })), "{text}");
        }
    }
}
