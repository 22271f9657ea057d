//! The keys of a cluster: which open, and which one seals. Changing them asks for no pause.

use arrayvec::ArrayVec;
use telemetry_gossip_core::Label;
use thiserror::Error;

use crate::key::{Key, KeyId};

/// The most keys in a ring: a change of keys needs two.
pub const MAX_KEYS: usize = 8;

/// The keys of one cluster. Any of them opens; the primary, one of them, seals.
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
    /// The primary first, the others in the order in which they came.
    keys: ArrayVec<Key, MAX_KEYS>,
}

/// Why a ring was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyringError {
    /// As many keys as fit are in it.
    #[error("a keyring has at most {MAX_KEYS} keys: remove one that is no longer used")]
    Full,
    /// A key of this id is in it: the same one, or by a chance of one in 4 billion another.
    #[error("a key {0} is in the keyring already")]
    Held(KeyId),
    /// It has no such key.
    #[error("no key {0} is in the keyring")]
    Unknown(KeyId),
    /// The key that seals cannot be removed.
    #[error("the key {0} is the primary, which seals: use another one first")]
    Primary(KeyId),
}

impl Keyring {
    /// A ring of one key, for the cluster of this label: usually that of its nodes'
    /// [`Config::label`](telemetry_gossip_core::Config::label). Nodes with different labels refuse
    /// each other's datagrams.
    #[must_use]
    pub fn new(label: Label, primary: Key) -> Self {
        Self { label, keys: ArrayVec::from_iter([primary]) }
    }

    /// One more key that opens.
    pub fn add(&mut self, key: Key) -> Result<(), KeyringError> {
        if self.get(key.id()).is_some() {
            return Err(KeyringError::Held(key.id()));
        }
        self.keys.try_push(key).map_err(|_| KeyringError::Full)
    }

    /// Makes a key of the ring the primary. Nothing changes if it is.
    pub fn use_key(&mut self, id: KeyId) -> Result<(), KeyringError> {
        let at = self.find(id)?;
        self.keys[..=at].rotate_right(1);
        Ok(())
    }

    /// What is sealed under this key is no longer opened.
    pub fn remove(&mut self, id: KeyId) -> Result<(), KeyringError> {
        match self.find(id)? {
            0 => Err(KeyringError::Primary(id)),
            at => {
                self.keys.remove(at);
                Ok(())
            }
        }
    }

    /// The cluster's label.
    #[must_use]
    pub const fn label(&self) -> Label {
        self.label
    }

    /// The ids of all keys, the primary's first. There is always one.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = KeyId> {
        self.keys.iter().map(Key::id)
    }

    /// The key that seals.
    #[must_use]
    pub fn primary(&self) -> &Key {
        // It is never removed.
        &self.keys[0]
    }

    /// The key of this id.
    #[must_use]
    pub fn get(&self, id: KeyId) -> Option<&Key> {
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
    fn a_change_that_breaks_a_rule_is_refused_and_changes_nothing() {
        let mut ring = Keyring::new(Label::of(""), key(0));
        let stranger = key(99).id();
        for byte in 1..8 {
            ring.add(key(byte)).unwrap();
        }
        let before: Vec<_> = ring.ids().collect();
        for (refused, rule) in [
            (ring.add(key(8)), KeyringError::Full),
            (ring.add(key(3)), KeyringError::Held(key(3).id())),
            (ring.use_key(stranger), KeyringError::Unknown(stranger)),
            (ring.remove(stranger), KeyringError::Unknown(stranger)),
            (ring.remove(key(0).id()), KeyringError::Primary(key(0).id())),
        ] {
            assert_eq!(refused, Err(rule));
        }
        assert_eq!(ring.ids().collect::<Vec<_>>(), before);
    }

    #[test]
    fn the_key_in_use_comes_first_and_the_others_keep_their_order() {
        let mut ring = Keyring::new(Label::of(""), key(0));
        ring.add(key(1)).unwrap();
        ring.add(key(2)).unwrap();
        ring.use_key(key(2).id()).unwrap();
        ring.use_key(key(2).id()).unwrap();
        let ids = [2, 0, 1].map(|byte| key(byte).id());
        assert_eq!(ring.ids().collect::<Vec<_>>(), ids);
        assert_eq!(ring.primary().id(), ids[0]);
    }
}
