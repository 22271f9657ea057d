//! Paths on which long datagrams are lost, while short ones arrive: a tunnel or a firewall, and a
//! larger MTU than it carries.
//!
//! Telemetry tells, as it is acknowledged datagram by datagram: nothing is sent to find out. A
//! partner comes under suspicion when all datagrams of a flight that were lost are longer than any
//! that it has acknowledged. The host is told if the same happens in turn, twice:
//!
//! ```text
//!   six flights given up in a row --> a ping is answered --> six more --> a ping is answered: told
//!         ^                                                                      |
//!         +--- any datagram of that length is acknowledged: nothing is wrong ----+
//! ```
//!
//! Chance does not do that: where datagrams are lost at random, long ones have been acknowledged
//! before, and are soon again. A partner that is gone, or stands still for a while, does not answer
//! the pings in between. A node that passes no telemetry on acknowledges no datagram, short ones
//! neither, and so is never suspected.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::membership::Slot;
use crate::time::{Instant, TimeRules};

/// How many flights are given up in a row before a ping counts. With 5 % loss each way, that
/// happens once in a million flights.
const MIN_LOST_FLIGHTS: u8 = 6;

/// The stage at which the host is told: two rounds of lost flights, each followed by a ping.
const TOLD_STAGE: u8 = 4;

/// How long a suspicion stands without another lost flight, before it makes room for another.
const LAPSES_AFTER: Duration = Duration::from_secs(60);

/// How long the host is not told again.
const TOLD_FOR: Duration = Duration::from_secs(3_600);

/// A flight that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    /// How many of its datagrams were lost.
    pub(super) lost: usize,
    pub(super) partner: Option<Slot>,
    /// The bytes of updates in the shortest lost datagram.
    pub(super) shortest_lost: u16,
    /// The bytes of updates in the longest datagram that the partner has acknowledged.
    pub(super) longest_acked: u16,
}

/// A partner that long datagrams seem not to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Suspect {
    partner: Slot,
    /// The longest acknowledged, and the shortest lost.
    acked: u16,
    lost: u16,
    /// How many flights were given up since the last stage.
    flights: u8,
    /// How many rounds of lost flights and answered pings there were, in turn.
    stage: u8,
    /// When a flight was given up last.
    at: Instant,
}

/// What is known of long datagrams that are lost. There is one suspect at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LongLost {
    suspect: Option<Suspect>,
    told_at: Option<Instant>,
}

impl LongLost {
    /// Whether the restored times have passed.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { suspect, told_at } = *self;
        times.are_past(&[told_at, suspect.map(|suspect| suspect.at)])
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        self.suspect.take_if(|suspect| suspect.partner == slot);
    }

    /// Records that a flight was given up.
    pub(super) fn given_up(&mut self, flight: &GivenUp, now: Instant) {
        let Some(partner) = flight.partner else { return };
        let (acked, lost) = (flight.longest_acked, flight.shortest_lost);
        let fresh = Suspect { partner, acked, lost, flights: 0, stage: 0, at: now };
        let held =
            self.suspect.filter(|it| it.partner == partner || now.since(it.at) < LAPSES_AFTER);
        let mut suspect = match held {
            Some(held) if held.partner != partner => return,
            Some(held) => held,
            // Without any acknowledgement, the partner may not acknowledge at all.
            None if acked > 0 => fresh,
            None => return,
        };
        suspect.acked = suspect.acked.max(acked);
        suspect.lost = suspect.lost.min(lost);
        suspect.flights = suspect.flights.saturating_add(1);
        suspect.at = now;
        if suspect.stage % 2 == 0 && suspect.flights >= MIN_LOST_FLIGHTS {
            (suspect.stage, suspect.flights) = (suspect.stage + 1, 0);
        }
        // If shorter ones are lost as well, it is not their length.
        self.suspect = Some(suspect).filter(|suspect| suspect.lost > suspect.acked);
    }

    /// Records that a datagram with so many bytes of updates was acknowledged.
    #[inline]
    pub(super) fn acked(&mut self, partner: Slot, len: u16) {
        if let Some(suspect) = self.suspect.as_mut().filter(|it| it.partner == partner) {
            suspect.acked = suspect.acked.max(len);
            self.suspect.take_if(|suspect| suspect.lost <= suspect.acked);
        }
    }

    /// Records that a member has answered a ping. Returns the bytes of updates that arrive there,
    /// and those that do not, if the host is to be told.
    #[inline]
    pub(super) fn ping_answered(&mut self, member: Slot, now: Instant) -> Option<(u16, u16)> {
        let suspect = self.suspect.as_mut().filter(|it| it.partner == member)?;
        if suspect.stage % 2 == 1 {
            (suspect.stage, suspect.flights) = (suspect.stage + 1, 0);
        }
        let Suspect { acked, lost, .. } =
            *self.suspect.take_if(|it| it.stage >= TOLD_STAGE).as_ref()?;
        let lately = self.told_at.is_some_and(|at| now.since(at) < TOLD_FOR);
        self.told_at = if lately { self.told_at } else { Some(now) };
        (!lately).then_some((acked, lost))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const PARTNER: Slot = Slot(3);

    fn at(secs: u64) -> Instant {
        Instant::from_millis(secs * 1_000)
    }

    fn flight(shortest_lost: u16, longest_acked: u16) -> GivenUp {
        GivenUp { lost: 1, partner: Some(PARTNER), shortest_lost, longest_acked }
    }

    /// A round: six flights with this loss, and an answered ping.
    fn round(long: &mut LongLost, lost: &GivenUp, secs: u64) -> Option<(u16, u16)> {
        (0..6).for_each(|_| long.given_up(lost, at(secs)));
        long.ping_answered(PARTNER, at(secs))
    }

    #[test]
    fn long_datagrams_that_are_lost_again_and_again_between_pings_are_told_once_an_hour() {
        let mut long = LongLost::default();
        let mut told = Vec::new();
        for secs in (0..5_000).step_by(10) {
            // From the second flight on, the partner was passed over, and nothing was acknowledged.
            let acked = if told.is_empty() && secs == 0 { 400 } else { 300 };
            told.extend(round(&mut long, &flight(1_100, acked), secs).map(|it| (secs, it)));
        }
        assert_eq!(told, [(10, (400, 1_100)), (3_610, (300, 1_100))]);
    }

    #[test]
    fn an_acknowledged_long_datagram_a_lost_short_one_and_silence_say_that_it_is_not_the_length() {
        let lost = flight(1_100, 400);
        let mut long = LongLost::default();
        assert_eq!(round(&mut long, &lost, 0), None);
        long.acked(PARTNER, 1_100);
        assert_eq!(round(&mut long, &lost, 10), None);
        long.given_up(&flight(300, 400), at(15));
        assert_eq!(round(&mut long, &lost, 20), None);
        // Any number of flights, if no ping is answered between.
        (0..100).for_each(|_| long.given_up(&lost, at(25)));
        assert_eq!(long.ping_answered(PARTNER, at(30)), Some((400, 1_100)));

        let mut stalled = LongLost::default();
        (0..100).for_each(|_| stalled.given_up(&lost, at(0)));
        assert_eq!(stalled.ping_answered(PARTNER, at(1)), None);
        let mut silent = LongLost::default();
        assert_eq!(round(&mut silent, &flight(1_100, 0), 0), None);
        assert_eq!(silent, LongLost::default());
    }

    #[test]
    fn a_suspect_makes_room_for_another_after_a_minute_and_when_it_is_forgotten() {
        let mut long = LongLost::default();
        long.given_up(&GivenUp { partner: Some(Slot(9)), ..flight(1_000, 10) }, at(0));
        for secs in [1, 30, 59] {
            assert_eq!(round(&mut long, &flight(1_100, 400), secs), None);
        }
        assert_eq!(round(&mut long, &flight(1_100, 400), 60), None);
        long.forget(PARTNER);
        assert_eq!(round(&mut long, &flight(1_100, 400), 61), None);
        assert_eq!(round(&mut long, &flight(1_100, 400), 62), Some((400, 1_100)));
    }
}
