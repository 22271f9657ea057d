//! The owners of updates that came along a tree, and that this node does not know.
//!
//! ```text
//!   update of a stranger ---> not acknowledged, its claim requested ---> it answers: known
//!                                           |
//!                                           +--- unknown after some time ---> acknowledged
//! ```
//!
//! A member may publish before all others know it. A node that acknowledged its update without
//! taking it in would lose it for all members behind itself. So it leaves the flight to be sent
//! again, until its sender has told it of the owner and the owner has answered. An owner may never
//! become known: it may be of an earlier instance, or outside of the cluster config. So that is
//! done once per owner, for a short time, and for few owners.

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounded::list;
use crate::id::{IdHash, Instance};
use crate::time::{Instant, TimeRules};

/// The largest number of strangers that are remembered. Updates of others are acknowledged.
const MAX_STRANGERS: usize = 32;

/// How long a stranger is remembered after its latest update.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// The strangers, each at most once.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Strangers(
    #[serde(deserialize_with = "list::<_, _, _, MAX_STRANGERS>")] Vec<Stranger>,
);

/// The owner of an update that is not a member here.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Stranger {
    id_hash: IdHash,
    instance: Instance,
    /// When its first update came, and the latest.
    met: Instant,
    seen: Instant,
}

impl Strangers {
    /// Records that an update of a stranger came. Returns whether to wait until it is known, for up
    /// to `patience`.
    pub(crate) fn meet(
        &mut self,
        id_hash: IdHash,
        instance: Instance,
        now: Instant,
        patience: Duration,
    ) -> bool {
        let same = |it: &&mut Stranger| it.id_hash == id_hash && it.instance == instance;
        if let Some(stranger) = self.0.iter_mut().find(same) {
            stranger.seen = now;
            return now.since(stranger.met) < patience;
        }
        let new = Stranger { id_hash, instance, met: now, seen: now };
        let over = |it: &&mut Stranger| now.since(it.seen) >= REMEMBERED_FOR;
        if let Some(place) = self.0.iter_mut().find(over) {
            *place = new;
            return true;
        }
        let has_room = self.0.len() < MAX_STRANGERS;
        if has_room {
            self.0.push(new);
        }
        has_room
    }

    /// Forgets a stranger, which is known by now.
    pub(crate) fn known(&mut self, id_hash: IdHash) {
        if !self.0.is_empty() {
            self.0.retain(|stranger| stranger.id_hash != id_hash);
            if self.0.is_empty() {
                self.0 = Vec::new();
            }
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Stranger>()
    }

    /// Whether all strangers were met in the past, and each once.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self(strangers) = self;
        strangers.iter().enumerate().all(|(at, stranger)| {
            let Stranger { id_hash, instance, met, seen } = *stranger;
            times.are_past(&[Some(met), Some(seen)])
                && (strangers.iter().skip(at + 1))
                    .all(|other| (other.id_hash, other.instance) != (id_hash, instance))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(150);

    fn meet(strangers: &mut Strangers, who: u32, millis: u64) -> bool {
        let now = Instant::from_micros(millis * 1_000);
        strangers.meet(IdHash(who), Instance(who), now, PATIENCE)
    }

    #[test]
    fn each_stranger_is_waited_for_once_and_for_a_short_time() {
        let mut strangers = Strangers::default();
        let waits: Vec<bool> = [0, 20, 149, 150, 1_000, 50_000, 100_000]
            .into_iter()
            .map(|at| meet(&mut strangers, 1, at))
            .collect();
        assert_eq!(waits, [true, true, true, false, false, false, false]);
        // Another process of that id is another stranger.
        let now = Instant::from_micros(100_000_000);
        assert!(strangers.meet(IdHash(1), Instance(2), now, PATIENCE));
    }

    #[test]
    fn beyond_the_first_few_strangers_flights_are_acknowledged() {
        let mut strangers = Strangers::default();
        let waited = (0..40).filter(|&who| meet(&mut strangers, who, 0)).count();
        assert_eq!(waited, MAX_STRANGERS);
        assert!(!meet(&mut strangers, 99, 59_000));
        assert!(meet(&mut strangers, 99, 61_000), "the first ones are forgotten");
        strangers.known(IdHash(3));
        assert!(meet(&mut strangers, 98, 61_000), "and so are those that are known");
    }
}
