//! What every node of the demo holds every other to be, folded from their events.
//!
//! The demo never asks nodes for their members while it waits: with n nodes that would be n tables
//! of n rows each time. It folds events instead, one cell of the matrix an event, and keeps the
//! sums that its steps wait for. Nothing here knows of sockets or time.

use telemetry_gossip_core::{Event, NodeId, Status};

/// The place of a node in the demo.
pub(crate) type Index = usize;

/// The name of the node at a place.
pub(crate) fn name(index: Index) -> String {
    format!("n{index}")
}

fn index_of(id: &NodeId) -> Option<Index> {
    id.as_str().strip_prefix('n')?.parse().ok()
}

/// One change in one node's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A member is held to be this, or is no longer known.
    Held(Index, Option<Status>),
    /// A member's telemetry is known up to a new version.
    Telemetry(Index),
}

impl Change {
    /// What one node holds another to be.
    pub(crate) fn held(id: &NodeId, status: Option<Status>) -> Option<Self> {
        index_of(id).map(|subject| Self::Held(subject, status))
    }

    /// Some of a member's telemetry is known.
    pub(crate) fn telemetry(id: &NodeId) -> Option<Self> {
        index_of(id).map(Self::Telemetry)
    }

    /// What an event changes; `None` for events that the demo does not need.
    pub(crate) fn of<A>(event: &Event<A>) -> Option<Self> {
        match event {
            Event::Joined { id, .. } | Event::Alive { id, .. } => {
                Self::held(id, Some(Status::Alive))
            }
            Event::Suspected { id, .. } => Self::held(id, Some(Status::Suspected)),
            Event::Dead { id, .. } => Self::held(id, Some(Status::Dead)),
            Event::Left { id, .. } => Self::held(id, Some(Status::Left)),
            Event::Removed { id, .. } => Self::held(id, None),
            Event::Telemetry { id, .. } => Self::telemetry(id),
            _ => None,
        }
    }
}

/// How the others hold one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    by_status: [usize; 4],
}

impl Standing {
    /// How many others hold it to be this.
    pub(crate) fn held(&self, status: Status) -> usize {
        self.by_status[status as usize]
    }

    /// How many others know of it.
    pub(crate) fn known(&self) -> usize {
        self.by_status.iter().sum()
    }
}

/// All views.
#[derive(Debug)]
pub(crate) struct Views {
    nodes: usize,
    /// What `observer` holds `subject` to be, at `observer * nodes + subject`.
    held: Vec<Option<Status>>,
    running: Vec<bool>,
    /// How many cells of each observer's view are as things are.
    right: Vec<usize>,
    /// Running nodes whose view is right in every cell.
    complete: usize,
    /// How running nodes hold each other node; no node counts for itself.
    standing: Vec<Standing>,
    /// Whose telemetry is watched, and who has heard of it.
    watched: Option<Index>,
    heard: Vec<bool>,
}

impl Views {
    /// Of nodes that all run and know nobody yet.
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            held: vec![None; nodes * nodes],
            running: vec![true; nodes],
            right: vec![0; nodes],
            complete: 0,
            standing: vec![Standing::default(); nodes],
            watched: None,
            heard: vec![false; nodes],
        }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    /// How many nodes run.
    pub(crate) fn running(&self) -> usize {
        self.running.iter().filter(|running| **running).count()
    }

    pub(crate) fn is_running(&self, index: Index) -> bool {
        self.running.get(index).copied().unwrap_or(false)
    }

    /// How many running nodes hold exactly the running ones Alive.
    pub(crate) fn complete(&self) -> usize {
        self.complete
    }

    /// How the other running nodes hold this one.
    pub(crate) fn standing(&self, subject: Index) -> Standing {
        self.standing.get(subject).copied().unwrap_or_default()
    }

    /// How many running nodes there are beside this one.
    pub(crate) fn others(&self, subject: Index) -> usize {
        self.running() - usize::from(self.is_running(subject))
    }

    /// From now on, count who hears of this node's telemetry.
    pub(crate) fn watch_telemetry(&mut self, subject: Index) {
        self.watched = Some(subject);
        self.heard.fill(false);
    }

    /// Stop counting.
    pub(crate) fn unwatch_telemetry(&mut self) {
        self.watched = None;
    }

    /// How many others have heard of the watched node's telemetry.
    pub(crate) fn heard(&self) -> usize {
        self.heard.iter().filter(|heard| **heard).count()
    }

    /// Whether this node has heard, or published, what is watched.
    pub(crate) fn has_heard(&self, index: Index) -> bool {
        self.watched.is_some_and(|subject| subject == index || self.heard.get(index) == Some(&true))
    }

    /// An event changed a view.
    pub(crate) fn apply(&mut self, observer: Index, change: Change) {
        match change {
            Change::Held(subject, status) => self.set(observer, subject, status),
            Change::Telemetry(subject) => {
                if self.watched == Some(subject)
                    && subject != observer
                    && let Some(heard) = self.heard.get_mut(observer)
                {
                    *heard = true;
                }
            }
        }
    }

    fn set(&mut self, observer: Index, subject: Index, status: Option<Status>) {
        if !self.is_running(observer) || subject >= self.nodes {
            return;
        }
        let cell = observer * self.nodes + subject;
        let was = std::mem::replace(&mut self.held[cell], status);
        if subject != observer {
            let counts = &mut self.standing[subject].by_status;
            if let Some(was) = was {
                counts[was as usize] -= 1;
            }
            if let Some(status) = status {
                counts[status as usize] += 1;
            }
        }
        let running = self.running[subject];
        self.complete -= usize::from(self.right[observer] == self.nodes);
        self.right[observer] -= usize::from(fits(was, running));
        self.right[observer] += usize::from(fits(status, running));
        self.complete += usize::from(self.right[observer] == self.nodes);
    }

    /// A node is killed, or has left: its view is gone, and the others' are right if they do not
    /// count it.
    pub(crate) fn take_down(&mut self, index: Index) {
        for subject in 0..self.nodes {
            self.set(index, subject, None);
        }
        self.set_running(index, false);
    }

    /// A node starts anew, knowing nobody.
    pub(crate) fn bring_up(&mut self, index: Index) {
        self.set_running(index, true);
    }

    fn set_running(&mut self, index: Index, running: bool) {
        self.running[index] = running;
        for observer in 0..self.nodes {
            let row = &self.held[observer * self.nodes..(observer + 1) * self.nodes];
            self.right[observer] = row
                .iter()
                .zip(&self.running)
                .filter(|(held, running)| fits(**held, **running))
                .count();
        }
        self.complete = (0..self.nodes)
            .filter(|&observer| self.running[observer] && self.right[observer] == self.nodes)
            .count();
    }
}

/// Whether what is held of a node is as things are.
fn fits(held: Option<Status>, running: bool) -> bool {
    match held {
        Some(Status::Alive) => running,
        Some(Status::Suspected) => false,
        Some(Status::Dead | Status::Left) | None => !running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_alive(nodes: usize) -> Views {
        let mut views = Views::new(nodes);
        for observer in 0..nodes {
            for subject in 0..nodes {
                views.apply(observer, Change::Held(subject, Some(Status::Alive)));
            }
        }
        views
    }

    #[test]
    fn views_are_complete_once_all_hold_all_alive() {
        let mut views = all_alive(3);
        assert_eq!(views.complete(), 3);
        views.apply(1, Change::Held(2, Some(Status::Suspected)));
        assert_eq!((views.complete(), views.standing(2).held(Status::Suspected)), (2, 1));
        views.apply(1, Change::Held(2, Some(Status::Alive)));
        assert_eq!(views.complete(), 3);
    }

    #[test]
    fn a_killed_node_is_held_dead_by_the_others_and_back_by_all() {
        let mut views = all_alive(3);
        views.take_down(2);
        assert_eq!((views.running(), views.complete(), views.others(2)), (2, 0, 2));
        views.apply(0, Change::Held(2, Some(Status::Dead)));
        views.apply(1, Change::Held(2, Some(Status::Dead)));
        assert_eq!((views.complete(), views.standing(2).held(Status::Dead)), (2, 2));

        views.bring_up(2);
        assert_eq!(views.complete(), 0);
        for other in 0..3 {
            views.apply(other, Change::Held(2, Some(Status::Alive)));
            views.apply(2, Change::Held(other, Some(Status::Alive)));
        }
        assert_eq!(views.complete(), 3);
    }

    #[test]
    fn a_node_that_is_down_has_no_say() {
        let mut views = all_alive(3);
        views.take_down(2);
        views.apply(2, Change::Held(0, Some(Status::Dead)));
        assert_eq!(views.standing(0).held(Status::Dead), 0);
        assert_eq!(views.standing(0).known(), 1);
    }

    #[test]
    fn only_the_watched_nodes_telemetry_counts() {
        let mut views = all_alive(3);
        views.watch_telemetry(1);
        views.apply(0, Change::Telemetry(1));
        views.apply(0, Change::Telemetry(1));
        views.apply(2, Change::Telemetry(0));
        views.apply(1, Change::Telemetry(1));
        assert_eq!(views.heard(), 1);
        assert_eq!([0, 1, 2].map(|index| views.has_heard(index)), [true, true, false]);
    }

    #[test]
    fn strangers_are_ignored() {
        let mut views = all_alive(2);
        views.apply(0, Change::Held(7, Some(Status::Alive)));
        assert_eq!(views.complete(), 2);
    }
}
