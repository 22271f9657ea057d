//! A store that drops, delays, repeats, goes back, forks and lies, and an operator who edits
//! meanwhile. Whatever it does, the rules of the follower hold; once it is well again, the follower
//! comes to the right version.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::*;
use crate::guard;

const IDS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// How long the store misbehaves, and how long it is well afterwards.
const STORM: Duration = Duration::from_secs(900);
const CALM: Duration = Duration::from_secs(100);

struct Storm {
    seed: u64,
    rng: ChaCha8Rng,
    now: Instant,
    /// Every version that an operator has written, the newest last.
    history: Vec<Edition>,
    /// Versions of another history, as after a restore.
    fork: Vec<Edition>,
    follower: Follower,
    in_force: Option<Edition>,
    kept: Option<Kept>,
    keeping: Option<Kept>,
    last_read: Option<Instant>,
    /// Since when a hint has to be followed.
    hinted_at: Option<Instant>,
    fleet: Fleet,
    left: Option<Gone>,
    /// What the follower was led to, so that a storm that reaches nothing shows.
    seen: BTreeSet<&'static str>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let one = first(&IDS[..8]);
        let settings =
            Settings::new(id("a"), Label::default(), [u8::try_from(seed % 251).unwrap(); 32]);
        let has_kept = rng.next_u32().is_multiple_of(2);
        let kept = has_kept.then(|| Kept::new(one.bytes(), Some(1)));
        Self {
            seed,
            now: Instant::ORIGIN,
            follower: Follower::new(settings, kept.clone(), Instant::ORIGIN),
            in_force: kept.is_some().then(|| one.clone()),
            history: vec![one],
            fork: Vec::new(),
            rng,
            kept,
            keeping: None,
            last_read: None,
            hinted_at: None,
            fleet: Fleet::default(),
            left: None,
            seen: BTreeSet::new(),
        }
    }

    fn below(&mut self, most: usize) -> usize {
        (self.rng.next_u32() as usize) % most
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn newest(&self) -> &Edition {
        self.history.last().unwrap()
    }

    /// An operator edits, or another history is written.
    fn edit(&mut self) {
        let forks = self.one_in(4);
        let base = match forks {
            true if self.one_in(3) || self.fork.is_empty() => {
                let at = self.below(self.history.len());
                self.history[at].clone()
            }
            true => self.fork.last().unwrap().clone(),
            false => self.newest().clone(),
        };
        let name = IDS[self.below(IDS.len())];
        let stamp = Stamp::new("ana", "storm");
        let edited = match self.below(6) {
            0 | 1 => base.add([(id(name), Member::default())]),
            2 => base.remove(&[id(name)], None, &stamp),
            3 => base.replace(id(name), Vec::new()).or_else(|_| base.readmit(id(name))),
            4 => base.readmit(id(name)),
            _ => {
                let most: Vec<NodeId> = base
                    .document()
                    .ids()
                    .into_iter()
                    .filter(|other| *other != "a")
                    .take(6)
                    .collect();
                base.remove(&most, Some(most.len()), &stamp)
            }
        };
        let Ok(edited) = edited else { return };
        if forks {
            self.fork.push(edited);
        } else {
            self.history.push(edited);
        }
    }

    /// What the store says when it is asked for the head.
    fn head(&mut self, calm: bool) -> Result<Option<Head>, StoreError> {
        if calm {
            return Ok(Some(head(self.newest())));
        }
        let at = self.below(self.history.len());
        let mut found = match self.below(14) {
            0 | 1 => return Err(StoreError::Unreachable("storm".to_owned())),
            2 => return Err(StoreError::Refused("storm".to_owned())),
            3 => return Ok(None),
            4 => head(&self.history[at]),
            5 => self.fork.last().map_or_else(|| head(self.newest()), head),
            _ => head(self.newest()),
        };
        match self.below(20) {
            0 => found.members += 1,
            1 => found.hash = DocumentHash::of(b"storm"),
            2 => found.cluster = ClusterId::from_random([9; 16]),
            3 => found.format = 2,
            4 => found.version += 1,
            5 => found.forced = found.version,
            6 => found.recovered = found.version,
            _ => {}
        }
        Ok(Some(found))
    }

    fn document(&mut self, version: u64, calm: bool) -> Result<Option<Vec<u8>>, StoreError> {
        let of = |editions: &[Edition]| {
            editions.iter().rev().find(|e| e.version() == version).map(|e| e.bytes().to_vec())
        };
        let right = of(&self.history);
        if calm {
            return Ok(right);
        }
        let forked = of(&self.fork);
        match self.below(10) {
            0 => Err(StoreError::Unreachable("storm".to_owned())),
            1 => Ok(None),
            2 => Ok(forked.or(right)),
            3 => Ok(right.map(|mut bytes| {
                let at = self.below(bytes.len());
                bytes[at] ^= 1;
                bytes
            })),
            4 => Ok(right.map(|bytes| bytes[..bytes.len() / 2].to_vec())),
            _ => Ok(right.or(forked)),
        }
    }

    fn random_fleet(&mut self) -> Fleet {
        let count = self.below(7);
        let others: Vec<Option<Published>> = (0..count)
            .map(|_| {
                let at = self.below(self.history.len());
                let edition = &self.history[at];
                let value = format!("{}.{}", edition.version(), edition.hash().short());
                Published::parse(value.as_bytes()).filter(|_| !self.one_in(3))
            })
            .collect();
        Fleet::new(others, !self.one_in(3))
    }

    fn hint(&mut self) {
        let by = id(IDS[1 + self.below(11)]);
        let version = (self.rng.next_u64() >> (11 + self.below(50))).max(1);
        let hint = match self.below(4) {
            0 => Hint::Knocked,
            1 => Hint::NotAMember { version, by: Some(by) },
            2 => Hint::Asked,
            _ => {
                let text = format!("{version}.0011223344556677");
                Hint::Published { by, published: Published::parse(text.as_bytes()).unwrap() }
            }
        };
        if hint == Hint::Asked && self.hinted_at.is_none() {
            self.hinted_at = Some(self.now);
        }
        self.follower.on_hint(self.now, hint);
    }

    fn carry_out(&mut self, action: Action, calm: bool) {
        let context = format!("seed {} at {:?}", self.seed, self.now);
        match action {
            Action::ReadHead => {
                if let Some(last) = self.last_read.replace(self.now) {
                    let gap = self.now.since(last);
                    assert!(gap >= Duration::from_secs(1), "{context}: read again after {gap:?}");
                }
                self.hinted_at = None;
                self.delay(calm);
                let found = self.head(calm);
                self.set_fleet(calm);
                self.follower.on_head(self.now, found.clone());
                if self.one_in(4) {
                    // The same answer twice: there is nothing more to do than before.
                    let before = format!("{:?}", self.follower.step);
                    self.follower.on_head(self.now, found);
                    assert_eq!(format!("{:?}", self.follower.step), before, "{context}");
                }
            }
            Action::ReadDocument { version, .. } => {
                self.delay(calm);
                let found = self.document(version, calm);
                self.set_fleet(calm);
                self.follower.on_document(self.now, found);
            }
            Action::Keep(kept) => {
                self.keeping = Some(kept.clone());
                let works = calm || !self.one_in(5);
                if works {
                    self.kept = Some(kept);
                }
                self.follower.on_kept(self.now, works.then_some(()).ok_or("full".to_owned()));
            }
            Action::Apply { version, members } => self.apply(version, &members, calm, &context),
            Action::Publish(value) => {
                let published = Published::parse(value.as_bytes()).unwrap();
                let own = self.in_force.as_ref().map(Edition::version);
                assert_eq!(Some(published.version()), own, "{context}");
            }
            Action::Leave(gone) => {
                assert!(!matches!(self.follower.status().state, State::Current), "{context}");
                self.left = Some(gone);
            }
            Action::Seeds(_) => {}
            Action::Warn(_) => unreachable!("{context}: it leaves"),
        }
    }

    fn apply(&mut self, version: u64, members: &[NodeId], calm: bool, context: &str) {
        let kept = self.kept.as_ref().expect("kept before it is applied");
        let edition = Edition::parse(kept.bytes()).unwrap();
        assert_eq!(edition.version(), version, "{context}: another version was kept");
        assert_eq!(edition.document().ids(), members, "{context}: another list was kept");
        let is_real = [&self.history, &self.fork].iter().any(|all| all.contains(&edition));
        assert!(is_real, "{context}: no one has written this");
        assert!(members.contains(&id("a")), "{context}: a list without this node");
        if let Some(before) = &self.in_force {
            assert!(version > before.version(), "{context}: {version} after {}", before.version());
            let document = edition.document();
            let forced = document.forced() > before.version();
            let supported = self.fleet.publishing(version, &edition.hash()) >= guard::SUPPORTERS;
            let many = guard::takes_too_many(before.document(), document);
            assert!(!many || forced || supported, "{context}: past the guard");
            if version == before.version() + 1 && document.recovered() <= before.version() {
                assert_eq!(document.previous(), Some(before.hash()), "{context}: another history");
            }
            let mine = self.keeping.as_ref().and_then(Kept::since);
            assert_eq!(mine, document.member("a").map(|member| member.since), "{context}");
        } else if let Some(known) = self.fleet.half_is_above(version) {
            panic!("{context}: {version} is below {known}, which half of the members publish");
        }
        if calm || !self.one_in(6) {
            self.in_force = Some(edition);
            self.seen.insert("applied");
            self.follower.on_applied(self.now, Ok(()));
        } else {
            self.follower.on_applied(self.now, Err("busy".to_owned()));
        }
    }

    fn set_fleet(&mut self, calm: bool) {
        self.fleet = if calm { Fleet::new([], true) } else { self.random_fleet() };
        self.follower.set_fleet(self.now, self.fleet.clone());
    }

    fn delay(&mut self, calm: bool) {
        if !calm && self.one_in(3) {
            self.now = self.now + Duration::from_millis(self.rng.next_u64() % 6_000);
        }
    }

    fn run(mut self) -> BTreeSet<&'static str> {
        self.run_until(seconds(STORM.as_secs()), false);
        let before = (self.in_force.clone(), self.left.clone());
        self.run_until(self.now + CALM, true);
        self.check_calm(before);
        self.seen
    }

    fn run_until(&mut self, until: Instant, calm: bool) {
        while self.now < until && self.left.is_none() {
            while let Some(action) = self.follower.poll(self.now) {
                self.carry_out(action, calm);
                if self.left.is_some() {
                    return;
                }
            }
            if let State::Held(reason) | State::Waiting(Some(reason)) =
                &self.follower.status().state
            {
                self.seen.insert(reason.word());
            }
            let next = self.follower.poll_timeout().expect("nothing is under way");
            assert!(next <= self.now + Duration::from_secs(37), "seed {}: {next:?}", self.seed);
            if let Some(since) = self.hinted_at {
                let most = since.max(self.last_read.unwrap_or(since)) + Duration::from_secs(10);
                assert!(next <= most, "seed {}: a hint waits", self.seed);
            }
            self.now = self.now.max(next);
            if !calm {
                let other = self.now - Duration::from_micros(self.rng.next_u64() % 900_000);
                if self.one_in(3) {
                    self.edit();
                }
                if self.one_in(3) {
                    let (real, early) = (self.now, other);
                    self.now = early.max(self.last_read.unwrap_or(early));
                    self.hint();
                    self.now = real.max(self.now);
                }
            }
        }
    }

    /// After the storm the follower has the newest version, or a reason not to.
    fn check_calm(&mut self, before: (Option<Edition>, Option<Gone>)) {
        let context = format!("seed {}: {}", self.seed, self.follower.status().state);
        let newest = self.newest().clone();
        let names_me = newest.document().member("a").is_some();
        match self.follower.status().state.clone() {
            State::Current => {
                self.seen.insert("current");
                let in_force = self.in_force.as_ref().map(|edition| edition.document().clone());
                assert_eq!(in_force.as_ref(), Some(newest.document()), "{context}");
            }
            State::Gone(Gone::Removed { .. }) if self.left.is_some() && before.1.is_none() => {
                self.seen.insert("removed");
                assert!(!names_me, "{context}");
            }
            // It was led to leave by a version of the storm, which is right as far as it could see.
            State::Gone(_) => {
                self.seen.insert("gone");
            }
            State::NotYetMember { .. } => {
                assert!(!names_me && self.in_force.is_none(), "{context}")
            }
            // Another history was taken in the storm, or versions with a large removal were missed.
            State::Held(Reason::Forked { .. } | Reason::RolledBack { .. }) => {
                assert!(self.fork.iter().any(|edition| Some(edition) == self.in_force.as_ref()));
            }
            State::Held(Reason::Guarded { .. }) => {
                let before = self.in_force.as_ref().unwrap().document();
                assert!(guard::takes_too_many(before, newest.document()), "{context}");
            }
            other => panic!("{context}: {other}"),
        }
    }
}

fn storms(seeds: std::ops::Range<u64>) {
    let mut seen = BTreeSet::new();
    for seed in seeds {
        seen.extend(Storm::new(seed).run());
    }
    // A storm that leads to nothing tests nothing.
    for word in [
        "applied",
        "current",
        "removed",
        "gone",
        "unreachable",
        "refused",
        "missing",
        "rolled_back",
        "forked",
        "damaged",
        "other_cluster",
        "newer_format",
        "guarded",
        "not_kept",
        "not_applied",
    ] {
        assert!(seen.contains(word), "no storm led to `{word}`");
    }
}

#[test]
fn the_rules_hold_over_ten_thousand_storms() {
    storms(0..10_000);
}
