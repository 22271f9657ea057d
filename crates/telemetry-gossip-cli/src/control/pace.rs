//! Limits on what clients may ask of the agent per time.
//!
//! Both count time by tokio's clock, and hold no client's data.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// Spreads turns over time: so many at once, and then one per interval.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    burst: u32,
    /// When all turns so far would have been taken at one per interval.
    due: Instant,
}

impl Pace {
    pub(crate) fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst, due: Instant::now() }
    }

    /// Waits until the next turn is allowed, and takes it.
    pub(crate) async fn turn(&mut self) {
        let wait = self.take(Instant::now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Takes the next turn, and returns how long to wait for it.
    fn take(&mut self, now: Instant) -> Duration {
        self.due = self.due.max(now) + self.interval;
        self.due.saturating_duration_since(now + self.interval * self.burst)
    }
}

/// A value that costs its owner some work, read anew only when it is older than `MAX_AGE`. Clients
/// that ask at the same time share one reading.
#[derive(Debug)]
pub(crate) struct Shared<T>(Mutex<Option<(Instant, T)>>);

impl<T: Clone> Shared<T> {
    /// The oldest value that is given out.
    pub(crate) const MAX_AGE: Duration = Duration::from_millis(50);

    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Returns the value, which `read` reads if need be.
    pub(crate) async fn get<E>(&self, read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.get_at(Instant::now(), read).await
    }

    async fn get_at<E>(
        &self,
        now: Instant,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut held = self.0.lock().await;
        if let Some((at, value)) = &*held
            && now.saturating_duration_since(*at) < Self::MAX_AGE
        {
            return Ok(value.clone());
        }
        let value = read.await?;
        *held = Some((now, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(5);

    /// The turns that are taken within a second by clients that never pause.
    fn turns_within_a_second(pace: &mut Pace, start: Instant) -> u32 {
        let (mut now, mut turns) = (start, 0);
        while now < start + Duration::from_secs(1) {
            now += pace.take(now);
            turns += 1;
        }
        turns
    }

    #[test]
    fn turns_come_in_a_burst_and_then_at_their_interval() {
        let mut start = Instant::now();
        let mut pace = Pace::new(INTERVAL, 64);
        for (second, expected) in [(1, 264), (2, 200), (12, 264)] {
            let turns = turns_within_a_second(&mut pace, start + Duration::from_secs(second));
            assert!(turns.abs_diff(expected) <= 2, "second {second}: {turns} turns");
        }
        start += Duration::from_secs(3_600);
        assert_eq!(pace.take(start), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_thousand_clients_cost_the_node_one_reading_until_it_is_old() {
        let (shared, start) = (Shared::new(), Instant::now());
        let mut readings = 0;
        for round in 1..=3 {
            let now = start + Shared::<u32>::MAX_AGE * round;
            for _ in 0..1_000 {
                let value = shared.get_at(now, async {
                    readings += 1;
                    Ok::<_, ()>(readings)
                });
                assert_eq!(value.await, Ok(round));
            }
        }
        assert_eq!(readings, 3);
    }
}
