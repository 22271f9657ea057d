//! When a difference between two tables is worth a session.
//!
//! Two tables differ for a moment after each change, until rumors or trees have carried it to both.
//! A session then would send it twice. These triggers only compare times; they see neither tables
//! nor members.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Instant, TimeRules};

/// Decides when a difference of claims is worth a session: not while rumors are still spreading.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SyncTrigger {
    /// When the first partner since the last session, or since the last equal table, differed.
    differs_since: Option<Instant>,
    /// The earliest time of the next session.
    not_before: Instant,
}

impl SyncTrigger {
    /// Takes the comparison of a partner's fingerprint with ours; true if a session should begin.
    ///
    /// That is so if our table has not changed for `spread`, the time in which a change spreads, or
    /// if it has differed from every partner's for three times as long.
    pub(crate) fn should_sync(
        &mut self,
        now: Instant,
        equal: bool,
        changed_at: Instant,
        spread: Duration,
    ) -> bool {
        if equal {
            self.differs_since = None;
            return false;
        }
        let since = *self.differs_since.get_or_insert(now);
        now >= self.not_before
            && (now.since(changed_at) >= spread || now.since(since) >= spread * 3)
    }

    /// Holds back the next session for `span`: a session has ended.
    pub(crate) fn session_ended(&mut self, now: Instant, span: Duration) {
        self.not_before = now + span;
        self.differs_since = None;
    }
}

impl SyncTrigger {
    /// Whether the restored times are such as this node could have set.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { differs_since, not_before } = self;
        times.are_past(&[*differs_since]) && times.are_deadlines(&[Some(*not_before)])
    }
}

/// Decides when a difference of telemetry is worth a session.
///
/// Where members publish all the time, two tables are hardly ever equal, and the trees deliver the
/// differences anyway. So the pause between sessions doubles as long as they bring nothing that the
/// trees should have brought.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct TelemetrySyncTrigger {
    trigger: SyncTrigger,
    /// When a partner differed first since the table has changed last.
    seen_at: Option<Instant>,
    /// The pause between sessions while the table keeps changing.
    pause: Duration,
}

/// The longest pause between sessions while the table keeps changing.
const MAX_SESSION_PAUSE: Duration = Duration::from_secs(60);

/// The longest pause per member in the table. A session lists all members, so a small table is
/// compared often at the same cost. A member behind a relay that drops telemetry, or a reader of a
/// lie, is found within about this time.
const MAX_PAUSE_PER_MEMBER: Duration = Duration::from_millis(40);

impl TelemetrySyncTrigger {
    /// Whether the restored times are such as this node could have set, and the pause is shorter
    /// than any that settings lead to.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { trigger, seen_at, pause } = self;
        trigger.is_sound(times) && times.are_past(&[*seen_at]) && times.is_span(*pause)
    }

    /// As [`SyncTrigger::should_sync`], except that a table which keeps changing must have differed
    /// for the pause between sessions, and one that does not change must have differed from a
    /// partner's half of `spread` ago already: news that have just come to the partner are on their
    /// way here, which takes long where a distant member passes them on.
    pub(crate) fn should_sync(
        &mut self,
        now: Instant,
        equal: bool,
        changed_at: Instant,
        spread: Duration,
    ) -> bool {
        let pause = self.pause.max(spread);
        let quiet = now.since(changed_at) >= spread;
        if equal {
            self.trigger.differs_since = None;
            return false;
        }
        let since = *self.trigger.differs_since.get_or_insert(now);
        let seen_at = self.seen_at.filter(|&at| at >= changed_at).unwrap_or(now);
        self.seen_at = Some(seen_at);
        let is_missing = quiet && now.since(seen_at) >= spread / 2;
        now >= self.trigger.not_before && (is_missing || now.since(since) >= pause)
    }

    /// Sets the pause after a session that has ended; `late` if it brought telemetry that the trees
    /// should have brought long before.
    pub(crate) fn session_ended(
        &mut self,
        now: Instant,
        spread: Duration,
        late: bool,
        members: u32,
    ) {
        self.trigger.session_ended(now, spread);
        // While the table keeps changing it differs from now on, until it is found equal.
        self.trigger.differs_since = Some(now);
        let most = MAX_PAUSE_PER_MEMBER.saturating_mul(members).min(MAX_SESSION_PAUSE);
        self.pause = if late { spread } else { (self.pause.max(spread) * 2).min(most) };
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const SPREAD: Duration = Duration::from_secs(1);

    #[test]
    fn a_table_that_keeps_changing_is_compared_once_it_has_differed_for_three_spread_times() {
        let mut trigger = SyncTrigger::default();
        let mut look = |millis, equal| {
            let now = Instant::from_millis(millis);
            // The table has changed just now.
            trigger.should_sync(now, equal, now, SPREAD)
        };
        assert!(!look(10_000, false) && !look(12_999, false));
        assert!(look(13_000, false));
        // A partner with an equal table begins the time anew.
        assert!(!look(13_100, true) && !look(13_200, false) && !look(16_199, false));
        assert!(look(16_200, false));
    }

    #[test]
    fn a_table_that_stands_still_is_compared_after_one_spread_time() {
        let mut trigger = SyncTrigger::default();
        let (at, changed) = (Instant::from_millis, Instant::from_millis(9_500));
        assert!(!trigger.should_sync(at(10_499), false, changed, SPREAD));
        assert!(trigger.should_sync(at(10_500), false, changed, SPREAD));
        trigger.session_ended(at(10_600), SPREAD);
        assert!(!trigger.should_sync(at(11_599), false, changed, SPREAD));
        assert!(trigger.should_sync(at(11_600), false, changed, SPREAD));
    }

    #[test]
    fn telemetry_that_others_have_just_got_is_waited_for() {
        let mut trigger = TelemetrySyncTrigger::default();
        let (at, changed) = (Instant::from_millis, Instant::from_millis(9_000));
        assert!(!trigger.should_sync(at(20_000), false, changed, SPREAD));
        assert!(!trigger.should_sync(at(20_499), false, changed, SPREAD));
        // Another partner misses it as well.
        assert!(!trigger.should_sync(at(20_450), true, changed, SPREAD));
        assert!(trigger.should_sync(at(20_500), false, changed, SPREAD));
        // It came.
        assert!(!trigger.should_sync(at(20_600), true, at(20_550), SPREAD));
        assert!(!trigger.should_sync(at(23_000), false, at(20_550), SPREAD));
    }

    /// The seconds between the sessions of a node that looks each 100 ms, in a table of so many
    /// members that publish all the time.
    fn pauses(members: u32, late: impl Fn(usize) -> bool) -> Vec<u64> {
        let (mut trigger, mut pauses) = (TelemetrySyncTrigger::default(), Vec::new());
        let (mut now, mut last) = (Instant::ORIGIN, Instant::ORIGIN);
        while pauses.len() < 9 {
            now = now + Duration::from_millis(100);
            if trigger.should_sync(now, false, now, SPREAD) {
                trigger.session_ended(now, SPREAD, late(pauses.len()), members);
                pauses.push(now.since(last).as_secs());
                last = now;
            }
        }
        pauses
    }

    #[test]
    fn sessions_that_bring_nothing_late_are_ever_further_apart_up_to_40_ms_per_member() {
        assert_eq!(pauses(10_000, |_| false), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pauses(250, |_| false), [1, 2, 4, 8, 10, 10, 10, 10, 10]);
        // One that brings what the trees should have brought long before is followed by another.
        assert_eq!(pauses(250, |at| at == 3), [1, 2, 4, 8, 1, 2, 4, 8, 10]);
    }
}
