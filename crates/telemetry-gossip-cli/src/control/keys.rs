//! Requests that change the keys of an agent.
//!
//! A change needs, beside what the control socket asks of each client, a key of the agent's
//! keyring: the order is a sealed message under one of these keys.
//!
//! ```text
//! client                             agent
//!   {"ask":"keys"}             --->
//!                              <---  {"keys":{"node":"edge-1","instance":7,"ids":[..],
//!                                             "nonce_prefix":"..","changes":4}}
//!   {"ask":"change-keys",      --->
//!    "sealed_message":"<hex>"}
//!                              <---  {"keys":{..,"changes":5}} or {"refused":".."}
//! ```
//!
//! The associated data of the sealed message are the agent's id and instance, its nonce prefix and
//! its count of changes. An order is therefore valid for this instance of this agent and this state
//! of its keyring only, and no order is obeyed twice.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use telemetry_gossip::transport::{Key, KeyId, Keyring, SharedSeal};

/// The ids of an agent's keys, and the state that an order must name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keys {
    /// Id of the agent.
    pub(crate) node: String,
    /// Instance of the agent, which differs for each run.
    pub(crate) instance: u32,
    /// The primary key is first.
    pub(crate) ids: Vec<KeyId>,
    /// Nonce prefix of the agent's seal, which differs for each instance of the agent.
    nonce_prefix: String,
    /// Number of changes to the keys of this instance.
    changes: u64,
}

/// A change of the keys.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    /// Adds a key, given in its text form.
    #[serde(with = "secret")]
    Add(Secret),
    /// Makes a key the primary.
    Use(KeyId),
    /// Removes a key.
    Remove(KeyId),
}

/// A text that is wiped from memory when it is dropped.
type Secret = telemetry_gossip::transport::KeyText;

impl Keys {
    fn associated_data(&self) -> Vec<u8> {
        let Self { node, instance, nonce_prefix, changes, ids: _ } = self;
        // Only the id may have spaces, so that no two agents make the same text.
        format!("tgossip keys {nonce_prefix} {changes} {instance} {node}").into_bytes()
    }

    /// Seals an order for an agent in this state, in hexadecimal digits; `nonce` is random.
    pub(crate) fn order(
        &self,
        ring: &Keyring,
        nonce: [u8; 24],
        change: &Change,
    ) -> Result<String, String> {
        let text = serde_json::to_vec(change).map_err(|error| error.to_string())?;
        let sealed = ring.seal_message(nonce, &self.associated_data(), &text);
        Ok(base16ct::lower::encode_string(&sealed.map_err(|error| error.to_string())?))
    }
}

/// Checks and obeys orders, on the side of the agent.
#[derive(Debug)]
pub(crate) struct KeyKeeper {
    node: String,
    instance: u32,
    seal: Arc<SharedSeal>,
    changes: Mutex<u64>,
}

impl KeyKeeper {
    /// Keeps the keys of this instance of the agent called `node`.
    pub(crate) fn new(node: String, instance: u32, seal: Arc<SharedSeal>) -> Self {
        Self { node, instance, seal, changes: Mutex::new(0) }
    }

    pub(crate) fn keys(&self) -> Keys {
        self.keys_at(*self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keys_at(&self, changes: u64) -> Keys {
        let nonce_prefix =
            format!("{:032x}", u128::from_be_bytes(self.seal.nonce_prefix().to_bytes()));
        let (node, instance) = (self.node.clone(), self.instance);
        Keys { node, instance, ids: self.seal.keys(), nonce_prefix, changes }
    }

    /// Obeys an order and returns the keys after it. An order that is refused changes nothing.
    pub(crate) fn obey(&self, order: &str) -> Result<Keys, String> {
        let sealed = base16ct::lower::decode_vec(order)
            .map_err(|_| "the order is not a text of hexadecimal digits")?;
        // The lock is held until the change is done: of two orders for the same state, only one is
        // obeyed.
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let text = self.seal.open_message(&self.keys_at(*changes).associated_data(), &sealed);
        let text = text.map_err(|error| {
            format!(
                "the order cannot be opened ({error}): give --key-file with a key of this agent, \
                 and the --label with which it was started"
            )
        })?;
        let change = serde_json::from_slice(&text)
            .map_err(|error| format!("the order is not a change of keys: {error}"))?;
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

/// A secret as a text inside a sealed message between two processes that have a common key.
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

    fn keeper(node: &str, instance: u32) -> KeyKeeper {
        KeyKeeper::new(node.to_owned(), instance, SharedSeal::new(ring(1)).unwrap())
    }

    #[test]
    fn an_order_names_the_agent_that_it_is_for_and_no_other_obeys_it() {
        // Two agents that agree in all else, as far as the one who seals the order can tell.
        let seal = SharedSeal::new(ring(1)).unwrap();
        let of = |node: &str, instance| KeyKeeper::new(node.to_owned(), instance, seal.clone());
        let add = Change::Add(key(2).to_text());
        let order = of("n1", 1).keys().order(&ring(1), [9; 24], &add).unwrap();
        for (node, instance) in [("n2", 1), ("n1", 2)] {
            let refused = of(node, instance).obey(&order).unwrap_err();
            assert!(refused.contains("sealed for another cluster or context"), "{refused}");
        }
        assert!(of("n1", 1).obey(&order).is_ok());
    }

    #[test]
    fn an_order_under_a_key_of_the_ring_is_obeyed_once() {
        let keeper = keeper("n1", 1);
        let order = |change: &Change| keeper.keys().order(&ring(1), [9; 24], change).unwrap();
        let add = order(&Change::Add(key(2).to_text()));
        let keys = keeper.obey(&add).unwrap();
        assert_eq!(keys.ids, [key(1).id(), key(2).id()]);
        assert!(
            keeper.obey(&add).unwrap_err().contains("sealed for another cluster or context"),
            "the order is for the keyring before the change"
        );

        let used = order(&Change::Use(key(2).id()));
        keeper.obey(&used).unwrap();
        let by_the_new =
            keeper.keys().order(&ring(2), [9; 24], &Change::Remove(key(1).id())).unwrap();
        assert_eq!(keeper.obey(&by_the_new).unwrap().ids, [key(2).id()]);
    }

    #[test]
    fn a_refused_order_changes_nothing() {
        let keeper = keeper("n1", 1);
        let another_instance = super::tests::keeper("n1", 2).keys();
        let before = keeper.keys();
        let add = Change::Add(key(2).to_text());
        let staging = Keyring::new(Label::of("staging"), key(1));
        let order = |ring: &Keyring, change: &Change| before.order(ring, [9; 24], change).unwrap();
        for (sealed, rule) in [
            (order(&ring(3), &add), "which is not in the keyring"),
            (order(&staging, &add), "not authentic"),
            (another_instance.order(&ring(1), [9; 24], &add).unwrap(), "not authentic"),
            (order(&ring(1), &Change::Remove(key(1).id())), "is the primary"),
            (order(&ring(1), &Change::Use(key(5).id())), "is not in the keyring"),
            (order(&ring(1), &Change::Add(key(1).to_text())), "already in the keyring"),
            ("no".to_owned(), "hexadecimal digits"),
            ("00".to_owned(), "not sealed in the format"),
        ] {
            let refused = keeper.obey(&sealed).unwrap_err();
            assert!(refused.contains(rule), "{refused} should say {rule}");
        }
        assert_eq!(keeper.keys(), before);
    }
}
