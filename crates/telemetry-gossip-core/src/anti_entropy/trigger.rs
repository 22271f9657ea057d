//! When a difference between two tables is worth a session.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Instant;

/// When a difference of claims is worth a session: not while news is still on its way by itself.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SyncTrigger {
    differs_since: Option<Instant>,
    not_before: Instant,
}

impl SyncTrigger {
    /// A partner's fingerprint was compared with ours. True if a session should begin: the table
    /// has been quiet for `spread`, or has differed from everybody's for three times as long.
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

    /// A session ended.
    pub(crate) fn rest(&mut self, now: Instant, span: Duration) {
        self.not_before = now + span;
        self.differs_since = None;
    }
}

/// When a difference of telemetry is. Where it flows all the time two tables are hardly ever equal,
/// and the trees deliver what differs: the longer sessions find nothing else, the rarer they are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct TelemetrySyncTrigger {
    trigger: SyncTrigger,
    /// The span between sessions while telemetry flows.
    pause: Duration,
}

/// The longest span between sessions.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl TelemetrySyncTrigger {
    /// Whether the span is one that it comes to.
    pub(crate) fn is_sound(&self) -> bool {
        self.pause <= LONGEST_PAUSE
    }

    /// As [`SyncTrigger::should_sync`], but while the table is never quiet sessions begin only after some time.
    pub(crate) fn should_sync(
        &mut self,
        now: Instant,
        equal: bool,
        changed_at: Instant,
        spread: Duration,
    ) -> bool {
        let pause = self.pause.max(spread * 3);
        let quiet = now.since(changed_at) >= spread;
        if equal {
            self.trigger.differs_since = None;
            return false;
        }
        let since = *self.trigger.differs_since.get_or_insert(now);
        now >= self.trigger.not_before && (quiet || now.since(since) >= pause)
    }

    /// A session ended; `late` says whether it brought what the trees should have brought long
    /// before.
    pub(crate) fn rest(&mut self, now: Instant, spread: Duration, late: bool) {
        self.trigger.rest(now, spread);
        self.pause =
            if late { spread * 3 } else { (self.pause.max(spread) * 2).min(LONGEST_PAUSE) };
    }
}
