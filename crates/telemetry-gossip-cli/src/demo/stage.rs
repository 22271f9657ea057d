//! Where a step waits: folds what nodes tell into the views until the views are as awaited, or time
//! is up.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::picture::Awaited;
use super::screen::{FRAME, Screen};
use super::views::{Change, Index, Views};
use crate::error::Error;

/// The demo ends before this, whatever happens: a user was told 30 s.
const WHOLE_LIMIT: Duration = Duration::from_secs(29);

/// What the demo hears.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    /// A node's view changed.
    Change {
        /// Whose.
        observer: Index,
        /// In which life; news of an earlier life is no news.
        life: u32,
        /// When the node said so.
        at: Instant,
        /// How.
        change: Change,
    },
    /// The user wants it to end.
    Interrupted,
}

/// The views, and how they are shown.
pub(crate) struct Stage {
    pub(crate) views: Views,
    pub(crate) screen: Screen,
    told: UnboundedReceiver<Told>,
    lives: Vec<u32>,
    started: Instant,
    /// When the latest change was.
    latest: Instant,
}

impl Stage {
    pub(crate) fn new(
        nodes: usize,
        screen: Screen,
        told: UnboundedReceiver<Told>,
        started: Instant,
    ) -> Self {
        Self {
            views: Views::new(nodes),
            screen,
            told,
            lives: vec![0; nodes],
            started,
            latest: started,
        }
    }

    /// From now on only this life of the node counts.
    pub(crate) fn reborn(&mut self, index: Index, life: u32) {
        if let Some(known) = self.lives.get_mut(index) {
            *known = life;
        }
        self.views.bring_up(index);
    }

    /// Waits until `awaited` is done, and says when that was.
    pub(crate) async fn until(
        &mut self,
        step: &str,
        limit: Duration,
        awaited: impl Fn(&Views) -> Awaited,
    ) -> Result<Instant, Error> {
        let begun = Instant::now();
        let deadline = (begun + limit).min(self.started + WHOLE_LIMIT);
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = awaited(&self.views);
            if now.done >= now.enough {
                self.screen.outcome(&self.views, step, &now)?;
                return Ok(self.latest.max(begun));
            }
            tokio::select! {
                told = self.told.recv() => self.take(told)?,
                _ = frames.tick() => self.screen.progress(&self.views, step, &now)?,
                () = sleep_until(deadline.into()) => return Err(self.not_seen(step, deadline - begun, &now)),
            }
        }
    }

    /// Lets time pass, so that people can look.
    pub(crate) async fn dwell(&mut self, step: &str, span: Duration) -> Result<(), Error> {
        let awaited = self.completeness();
        let end = Instant::now() + span;
        let mut frames = interval(FRAME);
        loop {
            tokio::select! {
                told = self.told.recv() => self.take(told)?,
                _ = frames.tick() => self.screen.progress(&self.views, step, &awaited)?,
                () = sleep_until(end.into()) => return Ok(()),
            }
        }
    }

    /// How many views are complete.
    pub(crate) fn completeness(&self) -> Awaited {
        views_complete(&self.views)
    }

    fn take(&mut self, told: Option<Told>) -> Result<(), Error> {
        match told {
            Some(Told::Change { observer, life, at, change }) => {
                if self.lives.get(observer) == Some(&life) {
                    self.latest = self.latest.max(at);
                    self.views.apply(observer, change);
                }
                Ok(())
            }
            Some(Told::Interrupted) | None => Err(Error::Interrupted),
        }
    }

    fn not_seen(&self, step: &str, waited: Duration, now: &Awaited) -> Error {
        let whole = if self.started.elapsed() >= WHOLE_LIMIT {
            format!(", when the whole demo had taken {WHOLE_LIMIT:?}")
        } else {
            String::new()
        };
        Error::Step(format!(
            "a step was not seen: {step}. After {:.1}s{whole} there were {} of {} {}, {} were awaited",
            waited.as_secs_f64(),
            now.done,
            now.of,
            now.what,
            now.enough
        ))
    }
}

/// All running nodes hold exactly the running ones Alive.
pub(crate) fn views_complete(views: &Views) -> Awaited {
    let of = views.running();
    Awaited { what: "views complete".into(), done: views.complete(), of, enough: of }
}
