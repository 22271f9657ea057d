//! How a follower takes versions one by one.
//!
//! A node that was away finds that the newest version takes away more members than any one should.
//! If these were several removals, each of them passes the guard where the store still has the
//! versions between. Each is taken as the newest one is, once its hash is known:
//!
//! ```text
//!   in force --previous--> next --previous--> the one after it     the newest: held by the guard
//!                            `- taken, if the one after it says its hash
//! ```

use telemetry_gossip_core::Instant;

use super::judge::{self, Verdict};
use super::{Action, Follower, Gone, Held, Reason, Step};
use crate::document::{DocumentHash, Edition};
use crate::head::{Head, Stamp};

/// The newest version, which takes away too many at once.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: Reason,
    /// Why it does not name this node; `None` if it does.
    pub(super) gone: Option<Gone>,
}

impl Follower {
    /// The version after the one in force was read. It is taken if it follows from that one, and if
    /// the version after it says its hash: the head names only the newest.
    pub(super) fn on_next(
        &mut self,
        now: Instant,
        found: Option<Vec<u8>>,
        head: &Head,
        newest: Refused,
    ) {
        let next = found.and_then(|bytes| Edition::parse(&bytes).ok());
        let follows = |(next, held): &(Edition, &Held)| {
            let document = next.document();
            document.version() == held.version + 1 && document.previous() == Some(held.hash)
        };
        let Some((next, _)) = next.zip(self.held.as_ref()).filter(follows) else {
            return self.hold(now, newest.reason);
        };
        let after = next.version() + 1;
        if after == head.version {
            return self.take_next(now, &next, head.previous, newest);
        }
        self.actions.push_back(Action::ReadDocument { version: after, chunks: head.chunks });
        self.step = Step::ReadingAfterNext { next, newest };
    }

    /// Takes the version after the one in force if it names this node; the rest is taken by the
    /// next reads. If neither it nor the newest one does, this node is gone.
    pub(super) fn take_next(
        &mut self,
        now: Instant,
        next: &Edition,
        hash: Option<DocumentHash>,
        newest: Refused,
    ) {
        let head = Head::of(next, &Stamp::default());
        let held = self.held.as_ref();
        let verdict = judge::judge(self.settings.me, &head, next, held, &self.fleet);
        match (verdict, newest.gone) {
            _ if hash != Some(next.hash()) => self.hold(now, newest.reason),
            (Verdict::Take { since }, _) => {
                self.keep(Held::new(next, next.bytes().into(), Some(since)));
                self.has_more = true;
            }
            (Verdict::Gone(_), Some(gone)) => self.on_gone(now, gone),
            _ => self.hold(now, newest.reason),
        }
    }
}
