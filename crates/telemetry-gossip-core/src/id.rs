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

/// The name of a node, unique in its cluster: 1 to [`MAX_ID_LEN`] bytes of UTF-8 without control
/// characters.
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
    } else if text.chars().any(char::is_control) {
        Err(IdError::ControlCharacter)
    } else {
        Ok(())
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
    #[error("a node id has no control characters")]
    ControlCharacter,
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
