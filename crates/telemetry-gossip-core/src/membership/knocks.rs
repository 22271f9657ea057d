//! The knocks of which the host was told lately: nodes that do not belong have asked this node for
//! something.
//!
//! Anyone who holds the key can make ids up and knock with them. So this is a short list, and the
//! host hears of few knocks, whatever comes:
//!
//! ```text
//!   four were told in the last 10 s -----> not told
//!   this id was told in the last 30 s ---> not told
//!   any other ---------------------------> told, and remembered in place of the oldest
//! ```

use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::time::{Instant, TimeRules};

/// How long the host is not told again of the same id.
const TELL_ID_EVERY: Duration = Duration::from_secs(30);

/// The most knocks of which the host is told within [`SHARED_SPAN`].
const MAX_TOLD_PER_SPAN: usize = 4;

/// The span in which all ids together share [`MAX_TOLD_PER_SPAN`].
const SHARED_SPAN: Duration = Duration::from_secs(10);

/// The most ids that are remembered.
const MAX_REMEMBERED: usize = 16;

/// No id is forgotten while the host is not to be told of it again.
const _: () = assert!(
    MAX_REMEMBERED as u64 * SHARED_SPAN.as_secs()
        >= MAX_TOLD_PER_SPAN as u64 * TELL_ID_EVERY.as_secs()
);

/// The latest knocks of which the host was told.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Knocks {
    /// The 64-bit hashes of different ids, and when the host was told of each, the oldest first.
    /// Another id with the same hash is easy to make up, and silences an id for no longer than a
    /// few other ids do.
    told: ArrayVec<(u64, Instant), MAX_REMEMBERED>,
}

impl Knocks {
    /// Whether the host may be told of one more knock now.
    pub(crate) fn may_tell(&self, now: Instant) -> bool {
        let earlier = self.told.iter().rev().nth(MAX_TOLD_PER_SPAN - 1);
        earlier.is_none_or(|&(_, at)| now.since(at) >= SHARED_SPAN)
    }

    /// Whether to tell the host now that the id with this hash has knocked. If so, it counts as
    /// told.
    pub(crate) fn tells(&mut self, id: u64, now: Instant) -> bool {
        if !self.may_tell(now) {
            return false;
        }
        if let Some(place) = self.told.iter().position(|&(told, _)| told == id) {
            if self.told.get(place).is_some_and(|&(_, at)| now.since(at) < TELL_ID_EVERY) {
                return false;
            }
            self.told.remove(place);
        } else if self.told.is_full() {
            self.told.remove(0);
        }
        self.told.try_push((id, now)).is_ok()
    }

    /// Whether no knock is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Whether the restored knocks are those of different ids, in the order of their times.
    pub(crate) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { told } = self;
        let differ = |(place, &(id, _)): (usize, &(u64, Instant))| {
            told.iter().take(place).all(|&(earlier, _)| earlier != id)
        };
        told.is_sorted_by_key(|&(_, at)| at)
            && told.last().is_none_or(|&(_, at)| times.is_past(at))
            && told.iter().enumerate().all(differ)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_millis(secs * 1_000)
    }

    #[test]
    fn an_id_is_told_once_in_30_seconds() {
        let mut knocks = Knocks::default();
        let told: Vec<u64> = (0..=90).filter(|&second| knocks.tells(7, at(second))).collect();
        assert_eq!(told, [0, 30, 60, 90]);
    }

    #[test]
    fn four_ids_are_told_in_ten_seconds_and_each_once_in_30_however_many_knock() {
        let mut knocks = Knocks::default();
        let mut told = Vec::new();
        // 20 ids take turns, each five times per second.
        for step in 0..1_200 {
            let now = Instant::from_millis(step * 10);
            let id = step % 20;
            if knocks.tells(id, now) {
                told.push((id, now));
            }
        }
        for (place, &(id, now)) in told.iter().enumerate() {
            let before = told.iter().take(place);
            let within = |span: Duration| move |it: &&(u64, Instant)| now.since(it.1) < span;
            assert!(before.clone().filter(within(SHARED_SPAN)).count() < MAX_TOLD_PER_SPAN);
            assert!(before.filter(within(TELL_ID_EVERY)).all(|&(earlier, _)| earlier != id));
        }
        assert_eq!(told.len(), 8, "four at once, and four after ten seconds");
        assert!(knocks.is_sound(TimeRules { now: at(12) }));
    }

    #[test]
    fn the_oldest_of_16_makes_room() {
        let mut knocks = Knocks::default();
        for id in 0..20 {
            assert!(knocks.tells(id, at(3 * id)));
        }
        let held: Vec<u64> = knocks.told.iter().map(|&(id, _)| id).collect();
        assert_eq!(held, (4..20).collect::<Vec<u64>>());
        // Known or forgotten, each was told more than 30 s ago.
        assert!(knocks.tells(0, at(100)) && knocks.tells(5, at(100)));
    }

    #[test]
    fn knocks_out_of_order_twice_or_in_the_future_are_not_sound() {
        let times = TimeRules { now: at(10) };
        let sound = |told: &[(u64, Instant)]| {
            Knocks { told: told.iter().copied().collect() }.is_sound(times)
        };
        assert!(sound(&[(1, at(2)), (2, at(2)), (3, at(10))]));
        assert!(!sound(&[(1, at(3)), (2, at(2))]));
        assert!(!sound(&[(1, at(2)), (1, at(3))]));
        assert!(!sound(&[(1, at(2)), (2, at(11))]));
    }
}
