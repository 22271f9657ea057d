//! Telemetry in the host's own types, and the changes of it.
//!
//! Values are bytes to the protocol. The typed form is
//! [postcard](https://postcard.jamesmunns.com/wire-format): integers take as many bytes as they
//! need, and [`Fixed`] makes a number with a fraction an integer: 0.75 takes 2 bytes, where an
//! `f64` takes 8. Who reads must know the type; a field that is added at the end of a struct is a
//! new type.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Event, NodeId};
use thiserror::Error;

use crate::agent::{Events, Notice};
use crate::view::{MemberView, TelemetryValue, View};

/// A number with so many decimal digits after the point, as an integer: small values are short on
/// the wire.
///
/// ```
/// use telemetry_gossip_tokio::Fixed;
///
/// let load = Fixed::<2>::from(0.754);
/// assert_eq!((load, f64::from(load), load.to_string()), (Fixed(75), 0.75, "0.75".to_owned()));
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Fixed<const DIGITS: u8>(pub i64);

impl<const DIGITS: u8> Fixed<DIGITS> {
    fn scale() -> f64 {
        10_f64.powi(DIGITS.into())
    }
}

impl<const DIGITS: u8> From<f64> for Fixed<DIGITS> {
    /// The nearest; the ends of the range for what is beyond them, and 0 for what is no number.
    #[expect(clippy::cast_possible_truncation, reason = "saturates, which is meant")]
    fn from(value: f64) -> Self {
        Self((value * Self::scale()).round() as i64)
    }
}

impl<const DIGITS: u8> From<Fixed<DIGITS>> for f64 {
    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the nearest")]
    fn from(value: Fixed<DIGITS>) -> Self {
        value.0 as Self / Fixed::<DIGITS>::scale()
    }
}

impl<const DIGITS: u8> std::fmt::Display for Fixed<DIGITS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.*}", usize::from(DIGITS), f64::from(*self))
    }
}

/// A value is not what its type should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// It cannot be written: see [`postcard::Error`].
    #[error("the value cannot be encoded: {0}")]
    Encode(postcard::Error),
    /// It was written as another type, or is no encoded value at all.
    #[error("the value is not of this type: {0}")]
    Decode(postcard::Error),
    /// It was read, and there are bytes left: it was written as another type.
    #[error("the value is not of this type: {0} bytes are left")]
    Longer(usize),
}

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, ValueError> {
    postcard::to_stdvec(value).map_err(ValueError::Encode)
}

impl TelemetryValue {
    /// The value in the form that [`Agent::publish_as`](crate::Agent::publish_as) wrote it in.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ValueError> {
        match postcard::take_from_bytes(&self.value) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(ValueError::Longer(rest.len())),
            Err(error) => Err(ValueError::Decode(error)),
        }
    }
}

/// A change of somebody's telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryChange {
    /// Whose.
    pub id: NodeId,
    /// Of which key.
    pub key: String,
    /// The value that it has now; `None` if it was removed, or its owner forgotten.
    pub value: Option<TelemetryValue>,
}

/// The changes of all keys with a prefix, at all members, this one included; from
/// [`Agent::subscribe`](crate::Agent::subscribe).
///
/// It begins with all that is known. Every change of a value is told once, unless it changes again
/// before the reader comes to it: then the last is. A slow reader misses what was in between and
/// nothing else.
#[derive(Debug)]
pub struct TelemetryChanges {
    prefix: String,
    view: Arc<ArcSwap<View>>,
    events: Events,
    /// The versions that were told, by key.
    told: BTreeMap<NodeId, BTreeMap<String, u64>>,
    ready: VecDeque<TelemetryChange>,
}

impl TelemetryChanges {
    pub(crate) fn new(prefix: String, view: Arc<ArcSwap<View>>, events: Events) -> Self {
        let mut changes =
            Self { prefix, view, events, told: BTreeMap::new(), ready: VecDeque::new() };
        changes.compare_all();
        changes
    }

    /// The next one; `None` once the agent has ended and all is told. Cancel-safe: nothing is lost
    /// if the future is dropped.
    pub async fn recv(&mut self) -> Option<TelemetryChange> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(change);
            }
            match self.events.recv().await? {
                Notice::Event(Event::Telemetry { id, .. } | Event::Removed { id, .. }) => {
                    self.compare(id)
                }
                // Another life of a member begins without telemetry.
                Notice::Event(Event::Alive { id, .. } | Event::Joined { id, .. }) => {
                    self.compare(id)
                }
                Notice::Event(_) => {}
                Notice::Lagged(_) => self.compare_all(),
            }
        }
    }

    fn compare_all(&mut self) {
        let view = self.view.load_full();
        let mut ids: Vec<NodeId> = view.iter().map(|member| member.id).collect();
        ids.extend(self.told.keys());
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            self.compare_with(id, view.get(id.as_str()).map(|member| &**member));
        }
    }

    fn compare(&mut self, id: NodeId) {
        let view = self.view.load_full();
        self.compare_with(id, view.get(id.as_str()).map(|member| &**member));
    }

    /// What differs from what was told of a member.
    fn compare_with(&mut self, id: NodeId, member: Option<&MemberView>) {
        let now = member.map_or(&[][..], |member| &member.telemetry);
        let told = self.told.entry(id).or_default();
        told.retain(|key, _| {
            let held = now.iter().any(|entry| entry.key == *key);
            if !held {
                self.ready.push_back(TelemetryChange { id, key: key.clone(), value: None });
            }
            held
        });
        for entry in now.iter().filter(|entry| entry.key.starts_with(&self.prefix)) {
            if told.get(&entry.key) != Some(&entry.version) {
                told.insert(entry.key.clone(), entry.version);
                let (key, value) = (entry.key.clone(), Some(entry.clone()));
                self.ready.push_back(TelemetryChange { id, key, value });
            }
        }
        if told.is_empty() {
            self.told.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: Vec<u8>) -> TelemetryValue {
        let published = std::time::Instant::now();
        TelemetryValue { key: "k".into(), value: bytes, version: 1, published, urgent: false }
    }

    #[test]
    fn a_typed_value_is_read_as_it_was_written_and_as_nothing_else() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Load {
            cpu: Fixed<2>,
            tasks: u32,
        }
        let load = Load { cpu: 0.75.into(), tasks: 12 };
        let bytes = encode(&load).unwrap();
        assert_eq!(bytes.len(), 3, "two bytes and one");
        assert_eq!(value(bytes.clone()).decode(), Ok(load));
        assert_eq!(value(bytes.clone()).decode::<u8>(), Err(ValueError::Longer(2)));
        assert!(matches!(value(bytes).decode::<(u64, String)>(), Err(ValueError::Decode(_))));
    }

    #[test]
    fn fixed_numbers_saturate() {
        assert_eq!(Fixed::<3>::from(f64::INFINITY), Fixed(i64::MAX));
        assert_eq!(Fixed::<3>::from(f64::NAN), Fixed(0));
        assert_eq!(f64::from(Fixed::<1>(-5)), -0.5);
    }
}
