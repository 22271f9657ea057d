//! The members that a roll call has asked, found by the request id of the ping.
//!
//! In a cluster of thousands a roll call may ask all members, and every ack looks here: a scan
//! would cost the square of the members.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::RequestId;
use crate::membership::{Slot, serialize_maybe_free};

/// A member that the roll call has asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    #[serde(serialize_with = "serialize_maybe_free")]
    pub(crate) slot: Slot,
    pub(crate) request_id: RequestId,
    pub(crate) answered: bool,
}

/// The members asked, in the order in which they were asked.
#[derive(Debug, Default)]
pub(crate) struct AskedMembers {
    members: Vec<Asked>,
    /// The place of the first member that was asked under each request id.
    places: BTreeMap<RequestId, usize>,
}

impl AskedMembers {
    pub(crate) fn push(&mut self, slot: Slot, request_id: RequestId) {
        self.add(Asked { slot, request_id, answered: false });
    }

    fn add(&mut self, asked: Asked) {
        self.places.entry(asked.request_id).or_insert(self.members.len());
        self.members.push(asked);
    }

    pub(crate) fn clear(&mut self) {
        self.members.clear();
        self.places.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Asked> {
        self.members.iter()
    }

    /// The member that was asked under this request id.
    pub(crate) fn get(&self, request_id: RequestId) -> Option<&Asked> {
        self.members.get(*self.places.get(&request_id)?)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, request_id: RequestId) -> Option<&mut Asked> {
        self.members.get_mut(*self.places.get(&request_id)?)
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.members.iter().any(|asked| asked.slot == slot)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.members.capacity() * size_of::<Asked>()
            + self.places.len() * size_of::<(RequestId, usize)>()
    }
}

/// The list alone: the places follow from it.
impl Serialize for AskedMembers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.members.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AskedMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut asked = Self::default();
        Vec::deserialize(deserializer)?.into_iter().for_each(|member| asked.add(member));
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_that_is_drawn_twice_stands_for_the_member_asked_first() {
        let mut asked = AskedMembers::default();
        for (slot, request_id) in [(1, 7), (2, 8), (3, 7)] {
            asked.push(Slot(slot), RequestId(request_id));
        }
        asked.get_mut(RequestId(7)).unwrap().answered = true;
        let answered: Vec<_> = asked.iter().map(|asked| asked.answered).collect();
        assert_eq!(answered, [true, false, false]);
        assert!(asked.get_mut(RequestId(9)).is_none());
        let mut buf = [0; 64];
        let saved = postcard::to_slice(&asked, &mut buf).unwrap();
        let mut restored: AskedMembers = postcard::from_bytes(saved).unwrap();
        assert_eq!(restored.get_mut(RequestId(8)).unwrap().slot, Slot(2));
        asked.clear();
        assert!(asked.get_mut(RequestId(7)).is_none() && asked.len() == 0);
    }
}
