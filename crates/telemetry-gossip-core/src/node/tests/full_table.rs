//! A table at its limit: whatever is claimed, asked and answered, no live, proved member loses its
//! row. A newcomer that has proved itself takes the place of a dead member, or of one that has
//! never answered, or gets none.
//!
//! ```text
//! # 10^6 claims
//! cargo test --release -p telemetry-gossip-core --lib a_million_claims -- --ignored
//! ```

use super::*;
use crate::event::RemovalReason;
use crate::membership::Slot;
use crate::rng::Random;
use crate::wire::{Page, SyncDone, kind};

const LIMIT: u32 = 24;

/// The seed that n1 joins through. It lies.
const SEED: u32 = 9;

/// n1 with a full table, among liars, strangers, and members that come, answer, fall silent and
/// come back. At each fourth address no node answers.
struct Storm {
    node: Node<u32>,
    rng: Random,
    /// A claim about each member, whose id is then made once.
    members: Vec<Claim<'static, u32>>,
    /// The pings that are not answered yet, as (address, number).
    pings: Vec<(u32, u32)>,
    /// The number of the page that n1 waits for.
    page: Option<u32>,
    /// The partner and the number of the session that n1 has opened.
    session: Option<(u32, u32)>,
    claims: u32,
    counts: Counts,
}

/// What has happened. A storm without all of it proves little.
#[derive(Debug, Default)]
struct Counts {
    full: u32,
    newcomers: u32,
    dead_made_room: u32,
    unproved_made_room: u32,
    died: u32,
    revived: u32,
    pages: u32,
    sessions: u32,
}

impl Storm {
    fn new(seed: u8) -> Self {
        let config = Config {
            max_members: LIMIT,
            tombstone_ttl: Duration::from_secs(300),
            ..Config::default()
        };
        let (rng, node) = (Random::new([seed; 32]), node(1, &config));
        let counts = Counts::default();
        let (pings, page, session) = (Vec::new(), None, None);
        let members = (0..100).map(|address| alive(address, 0)).collect();
        Self { node, rng, members, pings, page, session, claims: 0, counts }
    }

    /// Hands the node an input. No live, proved member may be gone afterwards.
    fn input(&mut self, at: Instant, input: Input<'_, u32>) {
        let cx = &self.node.cx;
        let safe = |slot: &Slot| cx.table.is_live(*slot) && cx.is_proved(*slot);
        let kept: Vec<NodeId> =
            cx.table.slots().filter(safe).map(|slot| cx.table.id(slot)).collect();
        let was_full = cx.table.len() == LIMIT as usize;
        self.node.handle(at, input).unwrap();
        for id in kept {
            assert!(self.node.member(id.as_str()).is_some(), "{id} is lost: {:?}", self.counts);
        }
        assert!(self.node.cx.table.len() <= LIMIT as usize);
        self.counts.full += u32::from(was_full);
        while let Some(event) = self.node.poll_event() {
            let counts = &mut self.counts;
            match event {
                Event::Joined { .. } => counts.newcomers += 1,
                Event::Dead { .. } | Event::Left { .. } => counts.died += 1,
                Event::Alive { .. } => counts.revived += 1,
                Event::Removed { reason: RemovalReason::Expired, .. } if was_full => {
                    counts.dead_made_room += 1;
                }
                Event::Removed { reason: RemovalReason::NeverAnswered, .. } if was_full => {
                    counts.unproved_made_room += 1;
                }
                _ => {}
            }
        }
        self.listen();
    }

    /// Reads what the node sends: pings, requests for pages, sessions.
    fn listen(&mut self) {
        for (to, bytes) in drain(&mut self.node) {
            for frame in frames(&bytes) {
                match frame {
                    Frame::Ping(ping) => self.pings.push((to, ping.number)),
                    Frame::PageRequest(request) => self.page = Some(request.number),
                    Frame::SyncVersions(head, _) => self.session = Some((to, head.number)),
                    _ => {}
                }
            }
        }
        let beyond = self.pings.len().saturating_sub(64);
        self.pings.drain(..beyond);
    }

    fn hear(&mut self, from: u32, bytes: &[u8]) {
        self.input(self.node.now(), Input::Datagram { from, bytes: bytes.into() });
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.rng.below(end as usize)).unwrap()
    }

    /// A claim about one of 90 ids, mostly near what is held of it.
    fn claim(&mut self) -> Claim<'static, u32> {
        self.claims += 1;
        let address = 2 + self.below(90);
        let held = self.node.member(&name(address)).map_or(0, |held| held.generation().0);
        let generation = match self.below(16) {
            0 => Generation::MAX_START.0 - 1 + u64::from(self.below(3)),
            1 => held + Generation::MAX_LEAP + u64::from(self.below(2)),
            2 => Generation::MAX.0 + u64::from(self.below(2)),
            _ => held + u64::from(self.below(3)),
        };
        let status = match self.below(16) {
            0 => Status::Left,
            1 | 2 => Status::Dead,
            3..=5 => Status::Suspected,
            _ => Status::Alive,
        };
        let instance = Instance(if self.below(16) == 0 { 78 } else { 77 });
        let at = if self.below(16) == 0 { 2 + self.below(90) } else { address };
        let age_secs = if status.is_live() { 0 } else { self.below(600) };
        let alive = self.members[address as usize].clone();
        let generation = Generation(generation);
        Claim { status, instance, generation, address: Some(at), age_secs, ..alive }
    }

    fn some_claims(&mut self) -> Vec<Claim<'static, u32>> {
        (0..=self.below(4)).map(|_| self.claim()).collect()
    }

    /// Answers one of the pings, if there is a process at its address.
    fn answer(&mut self) {
        let Some(last) = self.pings.len().checked_sub(1) else { return };
        let at = self.rng.below(last + 1);
        let (address, number) = self.pings.swap_remove(at);
        if address.is_multiple_of(4) {
            return;
        }
        self.hear(address, &datagram(address, |w| assert!(w.lead(kind::ACK, number, 77))));
    }

    fn step(&mut self) {
        match self.below(64) {
            0..=3 => {
                let end = self.node.now() + Duration::from_millis(u64::from(self.below(200)));
                while let Some(at) = self.node.poll_timeout().filter(|&at| at <= end) {
                    self.input(at.max(self.node.now()), Input::Tick);
                    // The members answer, most of them at once.
                    for _ in 0..self.below(8) {
                        self.answer();
                    }
                }
                self.input(end, Input::Tick);
            }
            4..=6 => self.input(self.node.now(), Input::Join { seeds: alloc::vec![SEED].into() }),
            7..=10 => {
                let Some(number) = self.page.take() else { return };
                self.counts.pages += 1;
                let lie = self.some_claims();
                let page = datagram(SEED, |w| {
                    assert!(w.frame(kind::PAGE, &Page { number, next: None }));
                });
                let lie = claims(SEED, &lie);
                self.hear(SEED, &[&lie[..], &page[crate::wire::HEADER_LEN..]].concat());
            }
            11..=14 => {
                let Some((partner, number)) = self.session.take() else { return };
                self.counts.sessions += 1;
                let lie = self.some_claims();
                let done = datagram(partner, |w| {
                    assert!(w.frame(kind::SYNC_DONE, &SyncDone { number, more: false }));
                });
                let lie = claims(partner, &lie);
                self.hear(partner, &[&lie[..], &done[crate::wire::HEADER_LEN..]].concat());
            }
            15..=26 => self.answer(),
            _ => {
                let claim = self.claim();
                let from = 2 + self.below(90);
                self.hear(from, &claims(from, &[claim]));
            }
        }
    }
}

/// Runs storms of this many claims with these seeds.
fn no_live_proved_row_is_lost(claims: u32, seeds: core::ops::RangeInclusive<u8>) {
    let mut happened = [0; 8];
    for seed in seeds {
        let mut storm = Storm::new(seed);
        while storm.claims < claims {
            storm.step();
        }
        storm.node.check_invariants().unwrap();
        let Counts { full, newcomers, dead_made_room, unproved_made_room, .. } = storm.counts;
        let Counts { died, revived, pages, sessions, .. } = storm.counts;
        assert!(full > claims / 4, "{:?}", storm.counts);
        let counts =
            [full, newcomers, dead_made_room, unproved_made_room, died, revived, pages, sessions];
        (0..8).for_each(|at| happened[at] += counts[at]);
    }
    assert!(happened.iter().all(|&often| often > claims / 5_000), "{happened:?}");
}

#[test]
fn a_table_at_its_limit_loses_no_live_proved_member() {
    no_live_proved_row_is_lost(10_000, 1..=4);
}

#[test]
#[ignore = "takes some seconds: --release --lib a_million_claims -- --ignored"]
fn a_million_claims_cost_no_live_proved_member_its_row() {
    no_live_proved_row_is_lost(1_000_000, 9..=9);
}

impl Storm {
    /// Fills the table by a page of the seed, and answers as these members until all is quiet.
    fn filled_by_a_page(answering: impl Fn(u32) -> bool) -> Self {
        let mut storm = Self::new(1);
        storm.input(storm.node.now(), Input::Join { seeds: alloc::vec![SEED].into() });
        let number = storm.page.take().unwrap();
        let members: Vec<_> = (10..10 + LIMIT - 1).map(|address| alive(address, 0)).collect();
        let page = datagram(SEED, |w| {
            assert!(w.frame(kind::PAGE, &Page { number, next: None }));
        });
        let all = claims(SEED, &members);
        storm.hear(SEED, &[&all[..], &page[crate::wire::HEADER_LEN..]].concat());
        assert_eq!(storm.node.membership().len(), LIMIT as usize);
        storm.wait(Duration::from_secs(1), answering);
        storm
    }

    /// Lets time pass, in which these members answer all pings.
    fn wait(&mut self, span: Duration, answering: impl Fn(u32) -> bool) {
        let end = self.node.now() + span;
        while let Some(at) = self.node.poll_timeout().filter(|&at| at <= end) {
            self.input(at, Input::Tick);
            self.answer_all(&answering);
        }
        self.input(end, Input::Tick);
    }

    fn answer_all(&mut self, answering: impl Fn(u32) -> bool) {
        for (address, number) in core::mem::take(&mut self.pings) {
            if answering(address) {
                let ack = datagram(address, |w| assert!(w.lead(kind::ACK, number, 77)));
                self.hear(address, &ack);
            }
        }
    }

    /// A newcomer introduces itself and answers. True if it got a row.
    fn takes_in(&mut self, newcomer: u32) -> bool {
        self.hear(newcomer, &claims(newcomer, &[alive(newcomer, 0)]));
        self.answer_all(|address| address == newcomer);
        self.node.member(&name(newcomer)).is_some()
    }
}

/// A member that a page has brought, and that has answered since, is a member like any other.
#[test]
fn only_a_member_that_has_not_answered_makes_room_for_a_newcomer() {
    let mut storm = Storm::filled_by_a_page(|_| true);
    assert!(!storm.takes_in(50));
    assert_eq!(storm.node.stats().claims_table_full, 1);

    let mut storm = Storm::filled_by_a_page(|address| address != 20);
    assert!(storm.takes_in(50));
    assert!(storm.node.member("n20").is_none());
}

/// A death may be a lie, told to get a row.
#[test]
fn a_member_that_is_said_to_be_dead_makes_room_only_after_it_could_refute_that() {
    for status in [Status::Dead, Status::Left] {
        let mut storm = Storm::filled_by_a_page(|_| true);
        let lie = Claim { status, age_secs: 299, ..alive(20, 1) };
        storm.hear(50, &claims(50, core::slice::from_ref(&lie)));
        assert_eq!(storm.node.member("n20").map(|held| held.status()), Some(status));
        assert!(!storm.takes_in(50), "{status}");
        storm.hear(20, &claims(20, &[alive(20, 2)]));
        assert_eq!(storm.node.member("n20").map(|held| held.status()), Some(Status::Alive));

        // One that does not refute it makes room.
        let lie = Claim { generation: Generation(3), age_secs: 0, ..lie };
        storm.hear(50, &claims(50, &[lie]));
        storm.wait(Duration::from_secs(10), |address| address != 20);
        assert!(storm.takes_in(50), "{status}");
        assert!(storm.node.member("n20").is_none());
    }
}
