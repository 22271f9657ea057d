//! Orders that change an agent's keys. Whoever reaches the control address can read, but only who
//! has a key of the agent's ring may change the ring: an order is a letter sealed under one.
//!
//! ```text
//! client                                   agent
//!   {"ask":"keys"}                   --->
//!                                    <---  {"keys":{"ids":[..],"session":"..","changes":4}}
//!   {"ask":"change-keys",            --->    the letter's context is session and changes: it fits this life of the
//!    "letter":"<hex>"}                       agent and this state of its ring, so no order is obeyed twice
//!                                    <---  {"keys":{..,"changes":5}} or {"refused":".."}
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use telemetry_gossip::transport::{Key, KeyId, Keyring, SharedSeal};

/// The keys of an agent, by their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keys {
    /// The primary's first.
    pub(crate) ids: Vec<KeyId>,
    /// Which life of the agent this is.
    session: String,
    /// How often the keys were changed in it.
    changes: u64,
}

/// What is ordered.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    /// A key in its text form.
    #[serde(with = "secret")]
    Add(Secret),
    Use(KeyId),
    Remove(KeyId),
}

/// A text that is wiped when dropped.
type Secret = telemetry_gossip::transport::KeyText;

impl Keys {
    fn context(&self) -> Vec<u8> {
        format!("tgossip keys {} {}", self.session, self.changes).into_bytes()
    }

    /// The order for an agent whose keys are these, in hexadecimal digits; `nonce` is random.
    pub(crate) fn order(
        &self,
        ring: &Keyring,
        nonce: [u8; 24],
        change: &Change,
    ) -> Result<String, String> {
        let text = serde_json::to_vec(change).map_err(|error| error.to_string())?;
        let letter =
            ring.seal_message(nonce, &self.context(), &text).map_err(|error| error.to_string())?;
        Ok(base16ct::lower::encode_string(&letter))
    }
}

/// The agent's side.
#[derive(Debug)]
pub(crate) struct KeyKeeper {
    seal: Arc<SharedSeal>,
    changes: Mutex<u64>,
}

impl KeyKeeper {
    pub(crate) fn new(seal: Arc<SharedSeal>) -> Self {
        Self { seal, changes: Mutex::new(0) }
    }

    pub(crate) fn keys(&self) -> Keys {
        self.keys_at(*self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keys_at(&self, changes: u64) -> Keys {
        let session = format!("{:032x}", u128::from_be_bytes(self.seal.nonce_prefix().to_bytes()));
        Keys { ids: self.seal.keys(), session, changes }
    }

    /// Obeys an order, or says why not; then nothing is changed.
    pub(crate) fn obey(&self, order: &str) -> Result<Keys, String> {
        let letter = base16ct::lower::decode_vec(order)
            .map_err(|_| "an order is a text of hexadecimal digits")?;
        // Held until the change is done: of two orders for one state, one is obeyed.
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let text = self.seal.open_message(&self.keys_at(*changes).context(), &letter);
        let text = text.map_err(|error| error.to_string())?;
        let change =
            serde_json::from_slice(&text).map_err(|error| format!("no change of keys: {error}"))?;
        match change {
            Change::Add(text) => {
                let key: Key = text.as_str().parse().map_err(|error| format!("{error}"))?;
                self.seal.add_key(key)
            }
            Change::Use(id) => self.seal.use_key(id),
            Change::Remove(id) => self.seal.remove_key(id),
        }
        .map_err(|error| error.to_string())?;
        *changes += 1;
        Ok(self.keys_at(*changes))
    }
}

/// A secret as a text, on its way between two processes that both know a key.
mod secret {
    use super::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry_gossip_core::Label;

    fn key(byte: u8) -> Key {
        Key::new([byte; 32])
    }

    fn ring(byte: u8) -> Keyring {
        Keyring::new(Label::of("production"), key(byte))
    }

    #[test]
    fn who_has_a_key_may_change_the_ring_once_for_each_state() {
        let keeper = KeyKeeper::new(SharedSeal::new(ring(1)).unwrap());
        let order = |change: &Change| keeper.keys().order(&ring(1), [9; 24], change).unwrap();
        let add = order(&Change::Add(key(2).to_text()));
        let keys = keeper.obey(&add).unwrap();
        assert_eq!(keys.ids, [key(1).id(), key(2).id()]);
        assert!(
            keeper.obey(&add).unwrap_err().contains("sealed for another cluster or context"),
            "it is for the ring before"
        );

        let used = order(&Change::Use(key(2).id()));
        keeper.obey(&used).unwrap();
        let by_the_new =
            keeper.keys().order(&ring(2), [9; 24], &Change::Remove(key(1).id())).unwrap();
        assert_eq!(keeper.obey(&by_the_new).unwrap().ids, [key(2).id()]);
    }

    #[test]
    fn who_has_none_and_who_errs_is_refused_and_nothing_changes() {
        let keeper = KeyKeeper::new(SharedSeal::new(ring(1)).unwrap());
        let of_another_life = KeyKeeper::new(SharedSeal::new(ring(1)).unwrap()).keys();
        let before = keeper.keys();
        let add = Change::Add(key(2).to_text());
        let staging = Keyring::new(Label::of("staging"), key(1));
        let order = |ring: &Keyring, change: &Change| before.order(ring, [9; 24], change).unwrap();
        for (letter, rule) in [
            (order(&ring(3), &add), "which is not in the keyring"),
            (order(&staging, &add), "not authentic"),
            (of_another_life.order(&ring(1), [9; 24], &add).unwrap(), "not authentic"),
            (order(&ring(1), &Change::Remove(key(1).id())), "is the primary"),
            (order(&ring(1), &Change::Use(key(5).id())), "is not in the keyring"),
            (order(&ring(1), &Change::Add(key(1).to_text())), "already in the keyring"),
            ("no".to_owned(), "hexadecimal digits"),
            ("00".to_owned(), "not sealed in the format"),
        ] {
            let refused = keeper.obey(&letter).unwrap_err();
            assert!(refused.contains(rule), "{refused} should say {rule}");
        }
        assert_eq!(keeper.keys(), before);
    }
}
