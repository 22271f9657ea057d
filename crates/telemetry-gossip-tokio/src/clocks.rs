//! The clocks of the system: how long the machine was suspended, and whether this process may be a
//! copy of another, or set back to an earlier state.
//!
//! A snapshot of a virtual machine that is started twice continues twice, with the same random
//! numbers to come and the same nonces. Nothing inside tells the copies apart. But the clocks show
//! that time has passed which the process has not seen, and then it takes new randomness.

use std::time::{Duration, SystemTime};

/// New randomness is taken at least this often.
const MAX_AGE: Duration = Duration::from_secs(3_600);

/// A pause, or a difference between two clocks, from which on the process may be a copy.
const GAP: Duration = Duration::from_secs(1);

/// The most time between the readings of two clocks that count as one moment.
const MOMENT: Duration = Duration::from_millis(1);

/// What the clocks of the system show at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// The time that the machine has run. `std::time::Instant` shows it.
    pub(crate) monotonic: Duration,
    /// The time since the machine was started, in which it may have been suspended.
    pub(crate) boot: Duration,
    /// The time of day, since 1970.
    pub(crate) wall: Duration,
}

impl Clocks {
    /// Reads the clocks.
    pub(crate) fn read() -> Self {
        let (monotonic, boot) = running_and_boot();
        let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        #[cfg(test)]
        let wall = wall.saturating_sub(tests::SET_BACK.get());
        Self { monotonic, boot, wall }
    }

    /// The time for which the machine was suspended.
    pub(crate) fn suspended(&self) -> Duration {
        self.boot.saturating_sub(self.monotonic)
    }
}

/// Reads the clock that stands still while the machine is suspended, and the one that does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn running_and_boot() -> (Duration, Duration) {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| {
        let time = clock_gettime(clock);
        let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or_default());
        seconds + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
    };
    let mut monotonic = read(ClockId::Monotonic);
    // The thread may lose its processor between two readings, which is no suspension.
    for _ in 0..4 {
        let boot = read(ClockId::Boottime);
        let again = read(ClockId::Monotonic);
        if again.saturating_sub(monotonic) < MOMENT {
            return (monotonic, boot);
        }
        monotonic = again;
    }
    (monotonic, read(ClockId::Boottime))
}

/// This system has no such pair of clocks.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn running_and_boot() -> (Duration, Duration) {
    use std::sync::LazyLock;
    use std::time::Instant;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = START.elapsed();
    (since, since)
}

/// Tells when new randomness must be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyWatch {
    /// The clocks when that was done last.
    last: Clocks,
}

impl CopyWatch {
    pub(crate) const fn new(now: Clocks) -> Self {
        Self { last: now }
    }

    /// Whether new randomness must be taken now. `late` is by how much the process woke later than
    /// it had meant to. The answer is given once.
    pub(crate) fn is_due(&mut self, now: Clocks, late: Duration) -> bool {
        let due = may_be_copy(&self.last, &now, late);
        if due {
            self.last = now;
        }
        due
    }
}

/// Whether a process that took new randomness at `last` may be a copy by now, or has had it for
/// long.
fn may_be_copy(last: &Clocks, now: &Clocks, late: Duration) -> bool {
    // A clock that was set back has advanced by a negative time.
    let advance = |now: Duration, last: Duration| {
        let micros = |time: Duration| i128::try_from(time.as_micros()).unwrap_or(i128::MAX);
        micros(now) - micros(last)
    };
    let limit = |span: Duration| i128::try_from(span.as_micros()).unwrap_or(i128::MAX);
    let ran = advance(now.monotonic, last.monotonic);
    let parted = |other: i128| (other - ran).abs() >= limit(GAP);
    late > GAP
        || !(0..limit(MAX_AGE)).contains(&ran)
        || parted(advance(now.boot, last.boot))
        || parted(advance(now.wall, last.wall))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use telemetry_gossip_core::{Config, Label};
    use telemetry_gossip_seal::{Key, Keyring};

    use super::*;
    use crate::{Agent, Event, MemoryNetwork, Options, Recording, SharedSeal};

    thread_local! {
        /// By how much the time of day is set back, for what runs on this thread.
        pub(super) static SET_BACK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    const HOURS: Duration = Duration::from_secs(2 * 3_600);

    /// Waits for the next events until the condition holds.
    async fn until(agent: &Agent, holds: impl Fn(&Agent) -> bool) {
        let mut events = agent.events();
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while !holds(agent) {
                events.recv().await.unwrap();
            }
        });
        waited.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_by_two_hours_accuses_nobody_and_makes_no_value_older() {
        let network = MemoryNetwork::new(1);
        let agents = ["a", "b", "c"].map(|id| {
            let keys = Keyring::new(Label::of(""), Key::new([1; 32]));
            let seal = SharedSeal::new(keys).unwrap();
            let config = Config::default().gossip_interval(Duration::from_millis(50));
            let options = Options::new(id.parse().unwrap()).config(config).seeds(["a"]);
            Agent::spawn(options, network.sealed_transport(id, seal).unwrap()).unwrap()
        });
        for agent in &agents {
            until(agent, |agent| agent.view().alive() == 3).await;
        }
        let value = |reader: &Agent| reader.member("b").and_then(|b| b.value("load").cloned());
        agents[1].publish("load", b"before").await.unwrap();
        until(&agents[0], |a| value(a).is_some()).await;
        let proofs = |agent: &Agent| agent.seal_stats().unwrap().windows;
        let before = agents.each_ref().map(proofs);
        let mut events = agents.each_ref().map(Agent::events);

        SET_BACK.set(HOURS);
        tokio::time::sleep(Duration::from_secs(120)).await;
        let age = value(&agents[0]).unwrap().age();
        assert!((119..=121).contains(&age.as_secs()), "{age:?} after two minutes");
        agents[1].publish("load", b"after").await.unwrap();
        until(&agents[0], |a| value(a).is_some_and(|load| load.value == b"after")).await;
        for (agent, before) in agents.iter().zip(before) {
            assert!(proofs(agent) > before, "the others may be copies, and seal anew");
            assert_eq!(agent.view().alive(), 3);
        }
        for events in &mut events {
            while let Ok(event) = tokio::time::timeout(Duration::ZERO, events.recv()).await {
                let event = event.unwrap();
                assert!(
                    !matches!(event, Event::Suspected { .. } | Event::Dead { .. }),
                    "{event:?}"
                );
            }
        }
    }

    /// The files of a record are in the order of the starts, by the number of the instance.
    #[tokio::test]
    async fn a_record_of_a_start_before_the_last_one_by_the_clock_comes_after_it() {
        let folder = tempfile::tempdir().unwrap();
        for set_back in [Duration::ZERO, HOURS, HOURS * 2] {
            SET_BACK.set(set_back);
            let record = Recording::new(folder.path());
            let options = Options::new("a".parse().unwrap()).record(Some(record));
            let transport = MemoryNetwork::new(1).transport("a").unwrap();
            Agent::spawn(options, transport).unwrap().shutdown().await;
        }
        let files = telemetry_gossip_recorder::list(folder.path()).unwrap();
        let instances: Vec<u64> = files.iter().map(|file| file.instance).collect();
        assert_eq!(instances.len(), 3);
        assert_eq!(instances[1..], [instances[0] + 1, instances[0] + 2]);
    }

    #[test]
    fn randomness_is_due_after_an_hour_a_pause_and_when_clocks_part() {
        let clocks = |monotonic: u64, boot: u64, wall: u64| Clocks {
            monotonic: Duration::from_millis(monotonic),
            boot: Duration::from_millis(boot),
            wall: Duration::from_millis(wall),
        };
        let last = clocks(10_000, 20_000, 1_000_000);
        for (case, now, late, due) in [
            ("nothing has happened", clocks(10_000, 20_000, 1_000_000), 0, false),
            ("all clocks agree", clocks(70_000, 80_000, 1_060_000), 0, false),
            ("woken in time, nearly", clocks(70_000, 80_000, 1_060_000), 1_000, false),
            ("paused", clocks(70_000, 80_000, 1_060_000), 1_001, true),
            ("just below an hour", clocks(3_609_999, 3_619_999, 4_599_999), 0, false),
            ("an hour", clocks(3_610_000, 3_620_000, 4_600_000), 0, true),
            ("slewed by less than a second", clocks(70_000, 80_000, 1_060_999), 0, false),
            ("time of day set ahead", clocks(70_000, 80_000, 1_061_000), 0, true),
            ("time of day set back", clocks(70_000, 80_000, 1_059_000), 0, true),
            ("suspended", clocks(70_000, 81_000, 1_061_000), 0, true),
            (
                "suspended, and the time of day not set yet",
                clocks(70_000, 81_000, 1_060_000),
                0,
                true,
            ),
            ("another machine", clocks(5_000, 15_000, 995_000), 0, true),
        ] {
            let mut watch = CopyWatch::new(last);
            let late = Duration::from_millis(late);
            assert_eq!(watch.is_due(now, late), due, "{case}");
            assert!(!watch.is_due(if due { now } else { last }, Duration::ZERO), "{case}: once");
        }
    }

    #[test]
    fn the_clocks_of_this_machine_advance_together() {
        let first = Clocks::read();
        let mut watch = CopyWatch::new(first);
        let second = Clocks::read();
        assert!(second.monotonic >= first.monotonic && second.boot >= second.monotonic);
        assert!(!watch.is_due(second, Duration::ZERO));
        assert!(second.suspended().abs_diff(first.suspended()) < GAP);
    }
}
