//! The keys of a cluster: all of them open, and one of them seals.

use arrayvec::ArrayVec;
use telemetry_gossip_core::Label;
use thiserror::Error;

use crate::key::{Key, KeyId};

/// The most keys in a ring. A change of keys needs two.
pub const MAX_KEYS: usize = 8;

/// The keys of one cluster. The primary key seals, and any key of the ring opens.
///
/// ```
/// use telemetry_gossip_core::Label;
/// use telemetry_gossip_seal::{Key, Keyring, KeyringError};
///
/// let (old, new) = (Key::new([1; 32]), Key::new([2; 32]));
/// let (old_id, new_id) = (old.id(), new.id());
/// let mut ring = Keyring::new(Label::of("production"), old);
/// ring.add(new)?;
/// ring.use_key(new_id)?;
/// assert_eq!(ring.remove(new_id), Err(KeyringError::Primary(new_id)));
/// ring.remove(old_id)?;
/// assert_eq!(ring.ids().collect::<Vec<_>>(), [new_id]);
/// # Ok::<(), KeyringError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Keyring {
    label: Label,
    /// The primary first, then the others in the order in which they were added.
    keys: ArrayVec<Key, MAX_KEYS>,
}

/// The error of a change that a [`Keyring`] refused. The ring is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The ring has [`MAX_KEYS`] keys.
    #[error("the keyring already has {MAX_KEYS} keys: remove one that is no longer used")]
    Full,
    /// The ring has a key of this id: the same key, or by a chance of one in 4 billion another.
    #[error("the key {0} is already in the keyring")]
    Held(KeyId),
    /// The ring has no key of this id.
    #[error("the key {0} is not in the keyring: add it first")]
    Unknown(KeyId),
    /// The primary key cannot be removed.
    #[error("the key {0} is the primary, which seals: use another key first")]
    Primary(KeyId),
}

impl Keyring {
    /// Makes a ring of one key for the cluster with this label.
    ///
    /// Use the label of the nodes' [`Config`](telemetry_gossip_core::Config). Nodes with different
    /// labels refuse each other's datagrams.
    #[must_use]
    pub fn new(label: Label, primary: Key) -> Self {
        Self { label, keys: ArrayVec::from_iter([primary]) }
    }

    /// Adds a key that opens.
    pub fn add(&mut self, key: Key) -> Result<(), KeyringError> {
        if self.contains(key.id()) {
            return Err(KeyringError::Held(key.id()));
        }
        self.keys.try_push(key).map_err(|_| KeyringError::Full)
    }

    /// Makes a key of the ring the primary, which seals. Has no effect if it already is.
    pub fn use_key(&mut self, id: KeyId) -> Result<(), KeyringError> {
        let at = self.find(id)?;
        self.keys[..=at].rotate_right(1);
        Ok(())
    }

    /// Removes a key. Whatever is sealed under it is refused from now on.
    pub fn remove(&mut self, id: KeyId) -> Result<(), KeyringError> {
        match self.find(id)? {
            0 => Err(KeyringError::Primary(id)),
            at => {
                self.keys.remove(at);
                Ok(())
            }
        }
    }

    /// Returns the label of the cluster.
    #[must_use]
    pub const fn label(&self) -> Label {
        self.label
    }

    /// Returns the ids of all keys, the primary first. There is at least one.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = KeyId> {
        self.keys.iter().map(Key::id)
    }

    /// Returns the id of the key that seals.
    #[must_use]
    pub fn primary_id(&self) -> KeyId {
        self.primary().id()
    }

    /// Returns whether a key of this id is in the ring.
    #[must_use]
    pub fn contains(&self, id: KeyId) -> bool {
        self.get(id).is_some()
    }

    pub(crate) fn primary(&self) -> &Key {
        // The primary is never removed.
        &self.keys[0]
    }

    pub(crate) fn get(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id() == id)
    }

    fn find(&self, id: KeyId) -> Result<usize, KeyringError> {
        self.keys.iter().position(|key| key.id() == id).ok_or(KeyringError::Unknown(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn key(byte: u8) -> Key {
        Key::new([byte; 32])
    }

    #[test]
    fn a_refused_change_leaves_the_ring_as_it_was() {
        let mut ring = Keyring::new(Label::of(""), key(0));
        let unknown = key(99).id();
        for byte in 1..8 {
            ring.add(key(byte)).unwrap();
        }
        let before: Vec<_> = ring.ids().collect();
        for (refused, rule) in [
            (ring.add(key(8)), KeyringError::Full),
            (ring.add(key(3)), KeyringError::Held(key(3).id())),
            (ring.use_key(unknown), KeyringError::Unknown(unknown)),
            (ring.remove(unknown), KeyringError::Unknown(unknown)),
            (ring.remove(key(0).id()), KeyringError::Primary(key(0).id())),
        ] {
            assert_eq!(refused, Err(rule));
        }
        assert_eq!(ring.ids().collect::<Vec<_>>(), before);
    }

    #[test]
    fn the_primary_comes_first_and_the_others_keep_their_order() {
        let mut ring = Keyring::new(Label::of(""), key(0));
        ring.add(key(1)).unwrap();
        ring.add(key(2)).unwrap();
        ring.use_key(key(2).id()).unwrap();
        ring.use_key(key(2).id()).unwrap();
        let ids = [2, 0, 1].map(|byte| key(byte).id());
        assert_eq!(ring.ids().collect::<Vec<_>>(), ids);
        assert_eq!(ring.primary_id(), ids[0]);
    }
}
