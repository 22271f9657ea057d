//! A status in JSON: the word that people read, not the name of a Rust variant.

use serde::{Deserialize, Deserializer, Serializer};
use telemetry_gossip_core::Status;

pub(super) fn serialize<S: Serializer>(status: &Status, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(status)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Status, D::Error> {
    let word = String::deserialize(from)?;
    [Status::Alive, Status::Suspected, Status::Dead, Status::Left]
        .into_iter()
        .find(|status| status.to_string() == word)
        .ok_or_else(|| serde::de::Error::custom(format_args!("`{word}` is not a status")))
}
