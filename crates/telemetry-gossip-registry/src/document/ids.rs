//! What names a cluster and a version of its document: the cluster's id, and hashes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// The id of a cluster: a UUID, drawn once and never changed. It tells two clusters apart that have
/// one name, such as a cluster that was set up anew on the old store.
///
/// ```
/// use telemetry_gossip_registry::ClusterId;
///
/// let cluster = ClusterId::from_random([7; 16]);
/// assert_eq!(cluster.to_string(), "07070707-0707-4707-8707-070707070707");
/// assert_eq!("07070707-0707-4707-8707-070707070707".parse(), Ok(cluster));
/// assert!("prod".parse::<ClusterId>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(Uuid);

impl ClusterId {
    /// Makes an id of 16 random bytes, 6 bits of which become the marks of a random UUID
    /// (RFC 9562, version 4).
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

/// A text is not the id of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not the id of a cluster: it is a UUID, such as 7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10")]
pub struct ClusterIdError(());

impl FromStr for ClusterId {
    type Err = ClusterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self).map_err(|_| ClusterIdError(()))
    }
}

/// The SHA-256 of a document's bytes, written as 64 hexadecimal digits.
///
/// ```
/// use telemetry_gossip_registry::DocumentHash;
///
/// let hash = DocumentHash::of(b"");
/// assert!(hash.to_string().starts_with("e3b0c44298fc1c14"));
/// assert_eq!(hash.to_string().parse(), Ok(hash));
/// assert_eq!(hash.short(), "e3b0c44298fc1c14");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentHash([u8; 32]);

impl DocumentHash {
    /// Hashes the bytes of a document.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first 16 digits, which nodes publish.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(16);
        text
    }
}

impl fmt::Display for DocumentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base16ct::lower::encode_string(&self.0))
    }
}

impl fmt::Debug for DocumentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentHash({})", self.short())
    }
}

/// A text is not the hash of a document.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not the hash of a document: it is a SHA-256 of 64 hexadecimal digits")]
pub struct DocumentHashError(());

impl FromStr for DocumentHash {
    type Err = DocumentHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        match base16ct::lower::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == 32 => Ok(Self(bytes)),
            _ => Err(DocumentHashError(())),
        }
    }
}

/// The serialised form of both is their text.
macro_rules! serialise_as_text {
    ($($name:ident)*) => {
        $(
            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                    to.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    String::deserialize(from)?.parse().map_err(de::Error::custom)
                }
            }
        )*
    };
}
serialise_as_text! { ClusterId DocumentHash }
