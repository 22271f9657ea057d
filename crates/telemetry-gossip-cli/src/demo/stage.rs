//! The place where a step waits: applies messages from the nodes to the views until the views are
//! as expected, or until the time limit.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::picture::Awaited;
use super::screen::{FRAME, Screen};
use super::views::{Change, Index, Views};
use crate::error::Error;

/// A message to the demo.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Message {
    /// The view of a node changed.
    Change {
        /// The node.
        observer: Index,
        /// The instance of the node; messages of earlier instances are dropped.
        instance: u32,
        /// When the node emitted the event.
        at: Instant,
        /// What changed.
        change: Change,
    },
    /// The user has interrupted the demo.
    Interrupted,
}

/// The views of all nodes, and the screen that shows them.
pub(crate) struct Stage {
    pub(crate) views: Views,
    pub(crate) screen: Screen,
    messages: UnboundedReceiver<Message>,
    instances: Vec<u32>,
    started: Instant,
    /// The time limit of the whole demo.
    whole_limit: Duration,
    /// The time of the latest change.
    latest: Instant,
}

impl Stage {
    pub(crate) fn new(
        nodes: usize,
        screen: Screen,
        messages: UnboundedReceiver<Message>,
        started: Instant,
        whole_limit: Duration,
    ) -> Self {
        Self {
            views: Views::new(nodes),
            screen,
            messages,
            instances: vec![0; nodes],
            started,
            whole_limit,
            latest: started,
        }
    }

    /// Counts only this instance of the node from now on.
    pub(crate) fn restarted(&mut self, index: Index, instance: u32) {
        self.listen_to(index, instance);
        self.views.bring_up(index);
    }

    /// Takes the messages of this instance of the node from now on. Its view counts only if it is
    /// brought up.
    pub(crate) fn listen_to(&mut self, index: Index, instance: u32) {
        if let Some(known) = self.instances.get_mut(index) {
            *known = instance;
        }
    }

    /// Waits until `awaited` is done, and returns the time of the change that completed it.
    pub(crate) async fn until(
        &mut self,
        step: &str,
        limit: Duration,
        awaited: impl Fn(&Views) -> Awaited,
    ) -> Result<Instant, Error> {
        let begun = Instant::now();
        let deadline = (begun + limit).min(self.started + self.whole_limit);
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = awaited(&self.views);
            if now.done >= now.enough {
                self.screen.outcome(&self.views, step, &now)?;
                return Ok(self.latest.max(begun));
            }
            tokio::select! {
                message = self.messages.recv() => self.take(message)?,
                _ = frames.tick() => self.screen.progress(&self.views, step, &now)?,
                () = sleep_until(deadline.into()) => {
                    return Err(self.not_seen(step, deadline - begun, &now));
                }
            }
        }
    }

    /// Shows the views for a while, so that people can look at them.
    pub(crate) async fn dwell(&mut self, step: &str, span: Duration) -> Result<(), Error> {
        let awaited = self.completeness();
        let end = Instant::now() + span;
        let mut frames = interval(FRAME);
        loop {
            tokio::select! {
                message = self.messages.recv() => self.take(message)?,
                _ = frames.tick() => self.screen.progress(&self.views, step, &awaited)?,
                () = sleep_until(end.into()) => return Ok(()),
            }
        }
    }

    /// Counts the complete views.
    pub(crate) fn completeness(&self) -> Awaited {
        views_complete(&self.views)
    }

    fn take(&mut self, message: Option<Message>) -> Result<(), Error> {
        match message {
            Some(Message::Change { observer, instance, at, change }) => {
                if self.instances.get(observer) == Some(&instance) {
                    self.latest = self.latest.max(at);
                    self.views.apply(observer, change);
                }
                Ok(())
            }
            Some(Message::Interrupted) | None => Err(Error::Interrupted),
        }
    }

    fn not_seen(&self, step: &str, waited: Duration, now: &Awaited) -> Error {
        let whole = if self.started.elapsed() >= self.whole_limit {
            format!(", at the {:?} limit of the whole demo,", self.whole_limit)
        } else {
            String::new()
        };
        Error::Step(format!(
            "the demo did not see this step within its limit: {step}. After {:.1}s{whole} {} of \
             {} {}, and {} are needed. Try fewer nodes, or end other programs that use the \
             processor",
            waited.as_secs_f64(),
            now.done,
            now.of,
            now.what,
            now.enough
        ))
    }
}

/// Waits for complete views: every running node considers exactly the running nodes Alive.
pub(crate) fn views_complete(views: &Views) -> Awaited {
    let of = views.running();
    Awaited { what: "views are complete".into(), done: views.complete(), of, enough: of }
}
