//! How a node follows the registry: a state machine without IO, a clock or threads.
//!
//! The host carries out what [`Follower::poll`] asks for, and reports how it went. One thing is
//! under way at a time:
//!
//! ```text
//!          due              differs             verified, names this node
//!   idle ------> read head --------> read document -------> keep --> apply --> publish
//!    ^             | same, held,       | held, failed        |         |
//!    |             | failed            |                     | failed  | failed
//!    +-------------+-------------------+---------------------+---------+
//! ```
//!
//! - A version is never applied unless it is above the one in force, is the one that the head
//!   names, and is kept on disk first.
//! - Whatever the store says or does, the version in force stays in force; gossip never waits.
//! - A hint makes the store be read sooner, and is believed in nothing else.

mod catch_up;
mod doubts;
mod fleet;
mod io;
mod judge;
mod schedule;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::{Instant, Label, NodeId};

use self::catch_up::Refused;
use self::doubts::Doubts;
use self::judge::{HeadVerdict, Verdict};
use self::schedule::{Schedule, Source};
use crate::document::{Document, Edition};
use crate::head::{Head, HeadError};
use crate::store::StoreError;

pub use fleet::{Fleet, Published};
pub(crate) use io::Held;
pub use io::{Action, Hint, Kept, Settings, WhenRemoved};
pub use status::{Gone, InForce, Reason, State, Status};

/// The telemetry key under which each node publishes the version that it goes by.
pub const TELEMETRY_KEY: &str = "tg.config";

/// How long after a version that no longer names this node the store is read again, before the node
/// believes it.
const CONFIRM_AFTER: Duration = Duration::from_secs(10);

/// How long a node without a list waits for what the others publish before it takes its first one.
const SETTLE: Duration = Duration::from_secs(5);

/// How many addresses of a list a node tries.
const MAX_SEEDS: usize = 8;

/// What is under way.
#[derive(Debug)]
enum Step {
    Idle,
    ReadingHead,
    /// Reads the document after the version in force, to see whether `head` follows from it.
    ReadingLink(Head),
    ReadingDocument(Head),
    /// Reads the document after the version in force to take it by itself, as the newest one takes
    /// away too many at once: several removals that were right one by one.
    ReadingNext {
        head: Head,
        newest: Refused,
    },
    /// Reads the document after that one, which says its hash.
    ReadingAfterNext {
        next: Edition,
        newest: Refused,
    },
    /// A first version waits until it is plain what the others publish.
    Settling {
        head: Head,
        edition: Edition,
        until: Instant,
    },
    Keeping(Held),
    Applying(Held),
}

/// Follows the registry for one node. See the [module](self).
///
/// ```
/// use telemetry_gossip_core::{Instant, Label};
/// use telemetry_gossip_registry::follow::{Action, Fleet, Follower, Settings, State};
/// use telemetry_gossip_registry::{ClusterId, Edition, Head, Member, Stamp};
///
/// let members = [("a".parse()?, Member::default()), ("b".parse()?, Member::default())];
/// let edition = Edition::first(ClusterId::from_random([1; 16]), "", members)?;
/// let now = Instant::ORIGIN;
///
/// let settings = Settings::new("a".parse()?, Label::default(), [7; 32]);
/// let mut follower = Follower::new(settings, None, now);
/// follower.set_fleet(now, Fleet::new([], true)); // there are no others yet
/// assert_eq!(follower.poll(now), Some(Action::ReadHead));
/// follower.on_head(now, Ok(Some(Head::of(&edition, &Stamp::default()))));
/// assert!(matches!(follower.poll(now), Some(Action::ReadDocument { version: 1, .. })));
/// follower.on_document(now, Ok(Some(edition.bytes().to_vec())));
/// assert!(matches!(follower.poll(now), Some(Action::Keep(_))));
/// follower.on_kept(now, Ok(()));
/// assert!(matches!(follower.poll(now), Some(Action::Apply { version: 1, .. })));
/// follower.on_applied(now, Ok(()));
/// assert_eq!(follower.status().state, State::Current);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Follower {
    settings: Settings,
    held: Option<Held>,
    fleet: Fleet,
    step: Step,
    schedule: Schedule,
    /// What the host is asked for next: one action that is reported, behind some that are not.
    actions: std::collections::VecDeque<Action>,
    status: Status,
    /// When a first version was read that waits for what the others publish.
    settles_since: Option<Instant>,
    /// Whether the version that is kept and applied is one before the newest.
    has_more: bool,
    /// Since when the store says that this node is gone.
    gone_since: Option<Instant>,
    /// Whether the host was told that it is.
    told_gone: bool,
    doubts: Doubts,
}

impl Follower {
    /// Begins to follow, from what the node has kept. A kept document that cannot be read counts as
    /// none. The version kept is in force from the beginning: the host gives
    /// [`first_config`](Self::first_config) to the node as it starts it.
    #[must_use]
    pub fn new(settings: Settings, kept: Option<Kept>, now: Instant) -> Self {
        let schedule = Schedule::new(settings.poll, settings.seed, now);
        let held = kept.and_then(|kept| {
            let edition = Edition::parse(&kept.bytes).ok()?;
            let document = edition.document();
            let is_own = Self::is_own_label(&settings, document.label());
            // A node keeps only versions that name it.
            let names_me = document.member(settings.me.as_str()).is_some();
            (is_own && names_me).then(|| Held::new(&edition, kept.bytes, kept.since))
        });
        let mut follower = Self {
            settings,
            held,
            fleet: Fleet::default(),
            step: Step::Idle,
            schedule,
            actions: std::collections::VecDeque::new(),
            status: Status::default(),
            settles_since: None,
            has_more: false,
            gone_since: None,
            told_gone: false,
            doubts: Doubts::default(),
        };
        if follower.held.is_some() {
            follower.tell_in_force();
            let seeds = follower.seeds();
            follower.actions.push_back(Action::Seeds(seeds));
        }
        follower
    }

    fn is_own_label(settings: &Settings, label: &str) -> bool {
        label.is_empty() || Label::of(label) == settings.label
    }

    /// The version that was kept, and the nodes that belong by it, of which this node is one.
    #[must_use]
    pub fn first_config(&self) -> Option<(u64, Vec<NodeId>)> {
        let document = Document::parse(&self.held.as_ref()?.bytes).ok()?;
        Some((document.version(), document.ids()))
    }

    /// Addresses of members of the version in force, for a node that knows no other way to them.
    fn seeds(&mut self) -> Vec<String> {
        let bytes = self.held.as_ref().map(|held| held.bytes.clone());
        let document = bytes.and_then(|bytes| Document::parse(&bytes).ok());
        document.map_or_else(Vec::new, |document| self.addresses(&document))
    }

    /// Some addresses of a list: those of members that are marked as seeds first, and otherwise by
    /// lot, so that newcomers do not all ask one member.
    fn addresses(&mut self, document: &Document) -> Vec<String> {
        let mut members: Vec<(bool, Duration, &str)> = Vec::new();
        for (id, member) in document.members() {
            if let Some(first) = member.addresses.first().filter(|_| id != self.settings.me) {
                members.push((!member.seed, self.schedule.below(Duration::from_secs(1)), first));
            }
        }
        members.sort_unstable();
        members.into_iter().take(MAX_SEEDS).map(|(_, _, address)| address.to_owned()).collect()
    }

    /// The document of the version in force.
    #[must_use]
    pub fn document(&self) -> Option<Arc<[u8]>> {
        self.held.as_ref().map(|held| held.bytes.clone())
    }

    /// What the follower is doing.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Says what the live members publish. The host calls it before it reports what it has read,
    /// and when the node has joined.
    pub fn set_fleet(&mut self, now: Instant, fleet: Fleet) {
        self.fleet = fleet;
        if self.fleet.settled && matches!(self.step, Step::Settling { .. }) {
            self.settle(now);
        }
    }

    /// Takes a hint.
    pub fn on_hint(&mut self, now: Instant, hint: Hint) {
        let version = self.held.as_ref().map_or(0, |held| held.version);
        let source = match &hint {
            Hint::Published { by, .. } | Hint::NotAMember { by: Some(by), .. } => {
                Source::Member(by.id_hash())
            }
            _ => Source::Outsiders,
        };
        if let Hint::Published { by, .. } = &hint {
            // What it published before no longer counts.
            self.status.differs.take_if(|differing| differing == by);
        }
        match hint {
            Hint::Asked => return self.schedule.asked(now),
            Hint::Published { published, .. } if published.version() < version => return,
            Hint::Published { by, published } if published.version() == version => {
                let own = self.held.as_ref().map(|held| held.hash.short());
                if own.as_deref() == Some(published.hash()) {
                    return;
                }
                self.status.differs = Some(by);
            }
            Hint::NotAMember { version: theirs, .. } if theirs <= version => return,
            Hint::NotAMember { by, .. } => {
                self.doubts.add(now, by);
                self.count_doubts(now);
            }
            _ => {}
        }
        self.schedule.hint(now, source);
    }

    fn count_doubts(&mut self, now: Instant) {
        // While the store answers, it says who belongs.
        let reads = self.status.state == State::Current;
        self.status.doubted = !reads && self.doubts.are_enough(now, self.fleet.live);
    }

    /// The next thing to do, if there is one now. Until its outcome is reported there is no other,
    /// except for those that need no report. Once the node has left, there is nothing to do.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        match &self.step {
            Step::Idle if self.status.left => None,
            Step::Idle if now >= self.schedule.next_at() => {
                self.schedule.begin(now);
                self.status.reads += 1;
                self.step = Step::ReadingHead;
                Some(Action::ReadHead)
            }
            Step::Settling { until, .. } if now >= *until => {
                self.settle(now);
                self.actions.pop_front()
            }
            _ => None,
        }
    }

    /// When [`poll`](Self::poll) has something to do, unless a report comes before; `None` while
    /// only a report can bring anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.actions.is_empty() {
            return Some(Instant::ORIGIN);
        }
        match &self.step {
            Step::Idle if self.status.left => None,
            Step::Idle => Some(self.schedule.next_at()),
            Step::Settling { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Reports what [`Action::ReadHead`] has found.
    pub fn on_head(&mut self, now: Instant, found: Result<Option<Head>, StoreError>) {
        if !matches!(self.step, Step::ReadingHead) {
            return;
        }
        self.step = Step::Idle;
        let head = match found {
            Err(error) => return self.on_failure(now, error),
            Ok(None) => {
                self.answered(now, None);
                return self.hold(now, Reason::Missing);
            }
            Ok(Some(head)) => head,
        };
        self.answered(now, Some(head.version));
        match judge::judge_head(&head, self.held.as_ref(), self.settings.label) {
            HeadVerdict::Current => self.is_current(now, false),
            HeadVerdict::Hold(reason) => self.hold(now, reason),
            HeadVerdict::Link(version) => {
                // Chunks of an earlier version are counted by the store, which says none if they
                // are not all there.
                self.actions.push_back(Action::ReadDocument { version, chunks: head.chunks });
                self.step = Step::ReadingLink(head);
            }
            HeadVerdict::Compare | HeadVerdict::Read => self.read_document(head),
        }
    }

    fn read_document(&mut self, head: Head) {
        let (version, chunks) = (head.version, head.chunks);
        self.actions.push_back(Action::ReadDocument { version, chunks });
        self.step = Step::ReadingDocument(head);
    }

    /// Reports what [`Action::ReadDocument`] has found.
    pub fn on_document(&mut self, now: Instant, found: Result<Option<Vec<u8>>, StoreError>) {
        let step = std::mem::replace(&mut self.step, Step::Idle);
        let (head, found) = match (step, found) {
            (
                Step::ReadingLink(_)
                | Step::ReadingDocument(_)
                | Step::ReadingNext { .. }
                | Step::ReadingAfterNext { .. },
                Err(error),
            ) => return self.on_failure(now, error),
            (Step::ReadingNext { head, newest }, Ok(found)) => {
                return self.on_next(now, found, &head, newest);
            }
            (Step::ReadingAfterNext { next, newest }, Ok(found)) => {
                let after = found.and_then(|bytes| Document::parse(&bytes).ok());
                let hash = after.and_then(|after| after.previous());
                return self.take_next(now, &next, hash, newest);
            }
            (Step::ReadingLink(head), Ok(link)) => {
                let held = self.held.as_ref().map(|held| (held.version, held.hash));
                return match held {
                    Some((version, hash)) if !judge::follows(link.as_deref(), hash) => {
                        self.hold(now, Reason::Forked { version });
                    }
                    _ => self.read_document(head),
                };
            }
            (Step::ReadingDocument(head), Ok(found)) => (head, found),
            (other, _) => {
                self.step = other;
                return;
            }
        };
        let Some(bytes) = found else {
            // A head without its document: another writer may just have replaced both.
            let version = head.version;
            let what = format!("the store has no document of version {version}");
            return self.on_failure(now, StoreError::Damaged(what));
        };
        let edition = match Edition::parse(&bytes) {
            Ok(edition) => edition,
            Err(error) => return self.on_failure(now, error.into()),
        };
        if self.held.is_some() || self.fleet.settled {
            return self.judge(now, &head, &edition);
        }
        let is_first = self.settles_since.is_none();
        let until = *self.settles_since.get_or_insert(now) + SETTLE;
        if now >= until {
            return self.judge(now, &head, &edition);
        }
        if is_first {
            // The others are asked, if the node knows no other way to them.
            let seeds = self.addresses(edition.document());
            self.actions.push_back(Action::Seeds(seeds));
        }
        self.step = Step::Settling { head, edition, until };
    }

    /// Judges the first version once it is plain what the others publish.
    fn settle(&mut self, now: Instant) {
        if let Step::Settling { head, edition, .. } = std::mem::replace(&mut self.step, Step::Idle)
        {
            self.judge(now, &head, &edition);
        }
    }

    fn judge(&mut self, now: Instant, head: &Head, edition: &Edition) {
        let (me, held) = (self.settings.me, self.held.as_ref());
        match judge::judge(me, head, edition, held, &self.fleet) {
            Verdict::Hold(reason @ Reason::Guarded { version, .. })
                if held.is_some_and(|held| version > held.version + 1) =>
            {
                let next = held.map_or(0, |held| held.version + 1);
                self.actions.push_back(Action::ReadDocument { version: next, chunks: head.chunks });
                let gone = judge::gone(me, edition.document(), held);
                let newest = Refused { reason, gone };
                self.step = Step::ReadingNext { head: head.clone(), newest };
            }
            Verdict::Hold(reason) => self.hold(now, reason),
            Verdict::Same => {
                // The same list, written in another way: others will have it like this, too, and
                // the next version names the hash of these bytes.
                let since = held.and_then(|held| held.since);
                self.keep(Held::new(edition, edition.bytes().into(), since));
            }
            Verdict::Gone(gone) => self.on_gone(now, gone),
            Verdict::NotYetMember => {
                if !matches!(self.status.state, State::NotYetMember { .. }) {
                    // It knocks there, so that operators see it.
                    let seeds = self.addresses(edition.document());
                    self.actions.push_back(Action::Seeds(seeds));
                }
                self.gone_since = None;
                self.status.state = State::NotYetMember { version: edition.version() };
                self.schedule.succeeded(now, true);
                self.schedule.wanted(now);
            }
            Verdict::Take { since } => {
                self.keep(Held::new(edition, edition.bytes().into(), Some(since)));
            }
        }
    }

    /// Has a version kept, which is applied next.
    fn keep(&mut self, next: Held) {
        self.has_more = false;
        self.actions.push_back(Action::Keep(Kept::new(next.bytes.clone(), next.since)));
        self.step = Step::Keeping(next);
    }

    /// Reports whether [`Action::Keep`] is done.
    pub fn on_kept(&mut self, now: Instant, kept: Result<(), String>) {
        match (std::mem::replace(&mut self.step, Step::Idle), kept) {
            (Step::Keeping(next), Ok(())) => {
                let in_force = self.held.as_ref().map(|held| held.version);
                if in_force == Some(next.version) {
                    self.held = Some(next);
                    self.tell_in_force();
                    self.is_current(now, true);
                } else {
                    self.apply(next);
                }
            }
            (Step::Keeping(_), Err(error)) => {
                self.stay(Reason::NotKept(error));
                self.schedule.failed(now);
            }
            (other, _) => self.step = other,
        }
    }

    fn apply(&mut self, next: Held) {
        let members = Document::parse(&next.bytes).map_or_else(|_| Vec::new(), |read| read.ids());
        self.actions.push_back(Action::Apply { version: next.version, members });
        self.step = Step::Applying(next);
    }

    /// Reports whether [`Action::Apply`] is done. If the node cannot apply it, as it waits for its
    /// id, say, the store is read again, and the version that it has then is tried.
    pub fn on_applied(&mut self, now: Instant, applied: Result<(), String>) {
        match (std::mem::replace(&mut self.step, Step::Idle), applied) {
            (Step::Applying(next), Ok(())) => {
                let is_first = self.held.replace(next).is_none();
                // While it waited for what the others publish, they were asked already.
                if is_first && self.settles_since.is_none() {
                    let seeds = self.seeds();
                    self.actions.push_back(Action::Seeds(seeds));
                }
                self.tell_in_force();
                self.is_current(now, true);
                if self.has_more {
                    self.schedule.asked(now);
                }
            }
            (Step::Applying(_), Err(error)) => {
                self.stay(Reason::NotApplied(error));
                self.schedule.failed(now);
            }
            (other, _) => self.step = other,
        }
    }

    /// The version in force is the newest, and was confirmed.
    fn is_current(&mut self, now: Instant, is_new: bool) {
        self.status.state = State::Current;
        (self.gone_since, self.told_gone) = (None, false);
        self.doubts = Doubts::default();
        self.status.doubted = false;
        self.schedule.succeeded(now, is_new);
    }

    /// The list no longer names this node. It is believed when a second read says so, too.
    fn on_gone(&mut self, now: Instant, gone: Gone) {
        let since = *self.gone_since.get_or_insert(now);
        self.status.state = State::Gone(gone.clone());
        self.schedule.succeeded(now, true);
        let waited = now.since(since);
        if waited < CONFIRM_AFTER {
            return self.schedule.read_within(now, CONFIRM_AFTER - waited);
        }
        if !std::mem::replace(&mut self.told_gone, true) {
            self.actions.push_back(match self.settings.when_removed {
                WhenRemoved::Leave => Action::Leave(gone),
                WhenRemoved::Stay => Action::Warn(gone),
            });
        }
    }

    /// The version of the store is not taken.
    fn hold(&mut self, now: Instant, reason: Reason) {
        self.count_doubts(now);
        // A removal that was confirmed is taken back by a list that names this node, and not by a
        // store that is damaged or was restored.
        if !self.told_gone {
            self.gone_since = None;
            self.stay(reason);
        }
        self.schedule.succeeded(now, false);
    }

    /// The store did not answer as asked.
    fn on_failure(&mut self, now: Instant, error: StoreError) {
        self.count_doubts(now);
        self.status.failures += 1;
        let reason = match error {
            StoreError::Refused(_) => Reason::Refused(error.to_string()),
            StoreError::Head(HeadError::NewerFormat { format }) => Reason::NewerFormat { format },
            StoreError::Head(_) | StoreError::Document(_) | StoreError::Damaged(_) => {
                Reason::Damaged(error.to_string())
            }
            StoreError::Unreachable(_) | StoreError::Unwritable(_) => {
                Reason::Unreachable(error.to_string())
            }
        };
        // A store that is down takes back nothing of what it said of this node.
        if self.gone_since.is_none() {
            self.stay(reason);
        }
        self.schedule.failed(now);
    }

    /// Reports that the node has left, as [`Action::Leave`] asked. It stays gone, whatever the
    /// store says from then on.
    pub fn on_left(&mut self) {
        self.status.left = true;
    }

    /// Stays with what is in force.
    fn stay(&mut self, reason: Reason) {
        self.status.state = match self.held {
            Some(_) => State::Held(reason),
            None => State::Waiting(Some(reason)),
        };
    }

    fn answered(&mut self, now: Instant, version: Option<u64>) {
        self.status.answered_at = Some(now);
        self.status.store = version;
    }

    /// Says which version is in force, to the host and to the others.
    fn tell_in_force(&mut self) {
        let Some(held) = &self.held else { return };
        let (version, hash, members) = (held.version, held.hash, held.members);
        self.status.in_force = Some(InForce { version, hash, members });
        self.status.differs = None;
        self.actions.push_back(Action::Publish(format!("{version}.{}", hash.short())));
    }
}
