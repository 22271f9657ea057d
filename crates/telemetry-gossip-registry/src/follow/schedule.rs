//! When the store is read: regularly, sooner after a hint, later after a failure.
//!
//! ```text
//!   regularly    every 30 s +-20 % (etcd), every 2 s +-20 % (a file)
//!   hint         after 0 to 2 s; unless one from the same source led to nothing within 30 s
//!   failure      after 1 to 10 s, longer with each one, all of it by lot
//!   never        sooner than 1 s after the last read
//! ```

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use telemetry_gossip_core::{IdHash, Instant};

/// The shortest time between two reads.
pub(super) const MIN_GAP: Duration = Duration::from_secs(1);

/// The longest time from a hint to the read. So a change does not bring all nodes at once.
const MAX_HINT_DELAY: Duration = Duration::from_secs(2);

/// How long the hints of a source are passed over after one that led to nothing: anyone who speaks
/// as a member can give one.
const HINT_PAUSE: Duration = Duration::from_secs(30);

/// How many sources are passed over at most; then all others are, too. So there are no more reads
/// that lead to nothing within that time, whatever many liars do.
const MAX_PAUSED: usize = 16;

/// The longest time from a failure to the next try.
const MAX_RETRY: Duration = Duration::from_secs(10);

/// How often a node that is not named yet looks, at least: an operator is about to add it.
const WANTED_EVERY: Duration = Duration::from_secs(5);

/// Where a hint comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A member.
    Member(IdHash),
    /// Nodes that do not belong, all of them together: their ids cost nothing.
    Outsiders,
}

/// What asks for another read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Hinted(Source),
    Asked,
}

/// When to read next.
#[derive(Debug)]
pub(super) struct Schedule {
    rng: ChaCha8Rng,
    poll: Duration,
    next_at: Instant,
    last_at: Option<Instant>,
    /// The failures in a row.
    failed: u32,
    /// The source of the hint that brought about the read that is due, or under way.
    hinted: Option<Source>,
    /// What came while a read was under way, which may have begun before the change.
    meanwhile: Option<Meanwhile>,
    is_reading: bool,
    /// The sources whose hints are passed over, and since when.
    paused: Vec<(Source, Instant)>,
}

impl Schedule {
    /// The first read is due at once.
    pub(super) fn new(poll: Duration, seed: [u8; 32], now: Instant) -> Self {
        let rng = ChaCha8Rng::from_seed(seed);
        Self {
            rng,
            poll,
            next_at: now,
            last_at: None,
            failed: 0,
            hinted: None,
            meanwhile: None,
            is_reading: false,
            paused: Vec::new(),
        }
    }

    /// When the next read is due.
    pub(super) fn next_at(&self) -> Instant {
        self.next_at
    }

    /// A read begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.last_at = Some(now);
        self.is_reading = true;
    }

    /// A read has ended well. `is_new` is whether it found anything new.
    pub(super) fn succeeded(&mut self, now: Instant, is_new: bool) {
        self.failed = 0;
        let hinted = self.hinted.take();
        if !is_new {
            self.pause(hinted, now);
        }
        // From 80 to 120 %.
        let poll = self.poll.mul_f64(0.8) + self.below(self.poll.mul_f64(0.4));
        self.end(now, poll);
    }

    /// A read has failed.
    pub(super) fn failed(&mut self, now: Instant) {
        let hinted = self.hinted.take();
        self.pause(hinted, now);
        self.failed = self.failed.saturating_add(1);
        let most = MAX_RETRY.min(Duration::from_secs(2) * 2_u32.pow(self.failed.min(4) - 1));
        let delay = MIN_GAP + self.below(most.saturating_sub(MIN_GAP));
        self.end(now, delay);
    }

    /// A read has ended: the next one comes after `delay`, or sooner if something asked for it.
    fn end(&mut self, now: Instant, delay: Duration) {
        self.is_reading = false;
        self.set(now + delay);
        match self.meanwhile.take() {
            Some(Meanwhile::Asked) => self.asked(now),
            Some(Meanwhile::Hinted(source)) => self.hint(now, source),
            None => {}
        }
    }

    /// The list does not name this node yet.
    pub(super) fn wanted(&mut self, now: Instant) {
        let soon = WANTED_EVERY.mul_f64(0.8) + self.below(WANTED_EVERY.mul_f64(0.4));
        self.set(self.next_at.min(now + soon));
    }

    /// Reads again before so much time has passed.
    pub(super) fn read_within(&mut self, now: Instant, delay: Duration) {
        self.set(self.next_at.min(now + delay));
    }

    /// Passes over the source of a hint that led to nothing.
    fn pause(&mut self, source: Option<Source>, now: Instant) {
        self.paused.extend(source.map(|source| (source, now)));
    }

    /// Something hints at a change.
    pub(super) fn hint(&mut self, now: Instant, source: Source) {
        self.paused.retain(|&(_, since)| now.since(since) < HINT_PAUSE);
        let is_paused = self.paused.iter().any(|&(paused, _)| paused == source);
        if is_paused || self.paused.len() >= MAX_PAUSED || self.hinted == Some(source) {
            return;
        }
        if self.is_reading {
            self.meanwhile.get_or_insert(Meanwhile::Hinted(source));
            return;
        }
        if self.hinted.is_some() {
            return;
        }
        self.hinted = Some(source);
        let at = now + self.below(MAX_HINT_DELAY);
        self.set(self.next_at.min(at));
    }

    /// An operator of this host asks for a read: at once, as far as the gap allows.
    pub(super) fn asked(&mut self, now: Instant) {
        if self.is_reading {
            self.meanwhile = Some(Meanwhile::Asked);
            return;
        }
        self.set(now);
    }

    fn set(&mut self, at: Instant) {
        let earliest = self.last_at.map_or(at, |last| last + MIN_GAP);
        self.next_at = at.max(earliest);
    }

    /// A random time below this one.
    pub(super) fn below(&mut self, span: Duration) -> Duration {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let wide = u128::from(self.rng.next_u64()) * u128::from(micros);
        Duration::from_micros(u64::try_from(wide >> 64).unwrap_or(0))
    }
}
