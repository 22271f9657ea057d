//! Telemetry in types of the host, and its changes.
//!
//! To the protocol a value is bytes. The typed form is
//! [postcard](https://postcard.jamesmunns.com/wire-format): an integer takes as many bytes as it
//! needs, and [`Fixed`] turns a number with a fraction into an integer, so that 0.75 takes 2 bytes
//! where an `f64` takes 8. The reader must know the type, and a struct with another field is
//! another type: publish it under another key.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Instance, NodeId};
use thiserror::Error;

use crate::events::{Event, Events, RecvError};
use crate::view::{MemberView, TelemetryValue, View};

/// A number with a fixed number of decimal digits after the point, stored as an integer. Small
/// values are short on the wire.
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
    /// The nearest value. Saturates at the ends of the range; NaN becomes 0.
    #[expect(clippy::cast_possible_truncation, reason = "saturates, as intended")]
    fn from(value: f64) -> Self {
        Self((value * Self::scale()).round() as i64)
    }
}

impl<const DIGITS: u8> From<Fixed<DIGITS>> for f64 {
    #[expect(clippy::cast_precision_loss, reason = "the nearest value beyond 2^53")]
    fn from(value: Fixed<DIGITS>) -> Self {
        value.0 as Self / Fixed::<DIGITS>::scale()
    }
}

impl<const DIGITS: u8> std::fmt::Display for Fixed<DIGITS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.*}", usize::from(DIGITS), f64::from(*self))
    }
}

/// Why a typed value was not encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Its type has no encoded form. The text is the reason.
    #[error("the value cannot be encoded: {0}")]
    Encode(String),
    /// It was encoded as another type, or is not an encoded value. The text is the reason.
    #[error("the value is not of this type: {0}")]
    Decode(String),
    /// It was decoded, and this many bytes are left over: it was encoded as another type.
    #[error("the value is not of this type: {0} bytes are left over")]
    Longer(usize),
}

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, ValueError> {
    postcard::to_stdvec(value).map_err(|error| ValueError::Encode(error.to_string()))
}

impl TelemetryValue {
    /// Decodes a value that [`Agent::publish_as`](crate::Agent::publish_as) has published.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ValueError> {
        match postcard::take_from_bytes(&self.value) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(ValueError::Longer(rest.len())),
            Err(error) => Err(ValueError::Decode(error.to_string())),
        }
    }
}

/// A change of one telemetry entry of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TelemetryChange {
    /// The id of the member.
    pub id: NodeId,
    /// The key of the entry.
    pub key: String,
    /// The current value; `None` if it was removed, or the member was forgotten.
    pub value: Option<TelemetryValue>,
}

/// What was reported of one life of a member.
#[derive(Debug)]
struct Reported {
    /// The versions of a later life begin anew.
    instance: Instance,
    /// The version of each value, by key.
    versions: BTreeMap<String, u64>,
}

/// The changes of all telemetry under keys with a prefix, at all members including this node; from
/// [`Agent::subscribe`](crate::Agent::subscribe).
///
/// The first items are all current values. After those, each change is reported once. If a value
/// changes again before the reader receives the change, only the last value is reported: a slow
/// reader misses intermediate values and nothing else.
#[derive(Debug)]
pub struct TelemetryChanges {
    prefix: String,
    view: Arc<ArcSwap<View>>,
    events: Events,
    /// What was reported of each member.
    reported: BTreeMap<NodeId, Reported>,
    ready: VecDeque<TelemetryChange>,
}

impl TelemetryChanges {
    pub(crate) fn new(prefix: String, view: Arc<ArcSwap<View>>, events: Events) -> Self {
        let mut changes =
            Self { prefix, view, events, reported: BTreeMap::new(), ready: VecDeque::new() };
        changes.compare_all();
        changes
    }

    /// The changes of a node that never runs.
    #[doc(hidden)]
    #[must_use]
    pub fn closed() -> Self {
        Self::new(String::new(), Arc::default(), Events::closed())
    }

    /// Waits for the next change; `None` once the node has ended and all changes were received.
    ///
    /// # Cancel safety
    /// No change is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<TelemetryChange> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(change);
            }
            match self.events.recv().await {
                Ok(Event::Telemetry { id, .. } | Event::Removed { id, .. }) => self.compare(id),
                // A new instance of a member begins without telemetry. The first that is heard of
                // it may be its end.
                Ok(
                    Event::Alive { id, .. }
                    | Event::Joined { id, .. }
                    | Event::Suspected { id, .. }
                    | Event::Dead { id, .. }
                    | Event::Left { id, .. }
                    | Event::Moved { id, .. },
                ) => self.compare(id),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.compare_all(),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn compare_all(&mut self) {
        let view = self.view.load_full();
        let mut ids: Vec<NodeId> = view.iter().map(|member| member.id).collect();
        ids.extend(self.reported.keys());
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

    /// Queues what differs from what was reported of a member.
    fn compare_with(&mut self, id: NodeId, member: Option<&MemberView>) {
        let now = member.map_or(&[][..], |member| &member.telemetry);
        let instance = member.map_or(Instance(0), |member| member.instance);
        let reported = self.reported.entry(id);
        let Reported { instance: before, versions } =
            reported.or_insert_with(|| Reported { instance, versions: BTreeMap::new() });
        let is_other_life = std::mem::replace(before, instance) != instance;
        versions.retain(|key, _| {
            let held = now.iter().any(|entry| entry.key == *key);
            if !held {
                self.ready.push_back(TelemetryChange { id, key: key.clone(), value: None });
            }
            held
        });
        for entry in now.iter().filter(|entry| entry.key.starts_with(&self.prefix)) {
            if is_other_life || versions.get(&entry.key) != Some(&entry.version) {
                versions.insert(entry.key.clone(), entry.version);
                let (key, value) = (entry.key.clone(), Some(entry.clone()));
                self.ready.push_back(TelemetryChange { id, key, value });
            }
        }
        if versions.is_empty() {
            self.reported.remove(&id);
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
    fn a_typed_value_decodes_as_the_type_that_encoded_it_and_as_no_other() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Load {
            cpu: Fixed<2>,
            tasks: u32,
        }
        let load = Load { cpu: 0.75.into(), tasks: 12 };
        let bytes = encode(&load).unwrap();
        assert_eq!(bytes.len(), 3, "two bytes for cpu, one for tasks");
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
