//! The views of all nodes of the demo, computed from their events.
//!
//! The demo does not ask nodes for their members while it waits: with n nodes, each question would
//! produce n tables of n rows. Instead it applies each event to one cell of a matrix, and maintains
//! the sums that its steps wait for. This module uses neither sockets nor time.

use telemetry_gossip_core::{Event, NodeId, Status};

use super::lists::{ListView, Lists};

/// The index of a node in the demo.
pub(crate) type Index = usize;

/// The id of the node with this index.
pub(crate) fn name(index: Index) -> String {
    format!("n{index}")
}

fn index_of(id: &NodeId) -> Option<Index> {
    id.as_str().strip_prefix('n')?.parse().ok()
}

/// One change in one node's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A member has this status; `None` if it was removed.
    Status(Index, Option<Status>),
    /// There is a new version of a member's telemetry.
    Telemetry(Index),
    /// The node makes this of the registry.
    List(ListView),
}

impl Change {
    /// A new status of a member.
    pub(crate) fn status(id: &NodeId, status: Option<Status>) -> Option<Self> {
        index_of(id).map(|subject| Self::Status(subject, status))
    }

    /// A new version of a member's telemetry.
    pub(crate) fn telemetry(id: &NodeId) -> Option<Self> {
        index_of(id).map(Self::Telemetry)
    }

    /// The change that an event reports; `None` for events that the demo does not need.
    pub(crate) fn of<A>(event: &Event<A>) -> Option<Self> {
        match event {
            Event::Joined { id, .. } | Event::Alive { id, .. } => {
                Self::status(id, Some(Status::Alive))
            }
            Event::Suspected { id, .. } => Self::status(id, Some(Status::Suspected)),
            Event::Dead { id, .. } => Self::status(id, Some(Status::Dead)),
            Event::Left { id, .. } => Self::status(id, Some(Status::Left)),
            Event::Removed { id, .. } => Self::status(id, None),
            Event::Telemetry { id, .. } => Self::telemetry(id),
            _ => None,
        }
    }
}

/// The number of other nodes per status that they give to one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusCounts {
    by_status: [usize; 4],
}

impl StatusCounts {
    /// The number of others that give the node this status.
    pub(crate) fn of(&self, status: Status) -> usize {
        self.by_status[status as usize]
    }

    /// The number of others that know the node.
    pub(crate) fn known(&self) -> usize {
        self.by_status.iter().sum()
    }
}

/// The views of all nodes.
#[derive(Debug)]
pub(crate) struct Views {
    nodes: usize,
    /// The status of `subject` in the view of `observer`, at `observer * nodes + subject`.
    statuses: Vec<Option<Status>>,
    running: Vec<bool>,
    /// For each observer, the number of cells of its view that are correct.
    correct: Vec<usize>,
    /// The number of running nodes whose view is correct in every cell.
    complete: usize,
    /// For each node, its status in the views of the other running nodes.
    counts: Vec<StatusCounts>,
    /// The node whose telemetry is watched, and the nodes that have it.
    watched: Option<Index>,
    heard: Vec<bool>,
    lists: Lists,
    /// The node that no other node may admit, and how often one did.
    banned: Option<Index>,
    admissions: usize,
}

impl Views {
    /// The views of nodes that are all running and know no member yet.
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            statuses: vec![None; nodes * nodes],
            running: vec![true; nodes],
            correct: vec![0; nodes],
            complete: 0,
            counts: vec![StatusCounts::default(); nodes],
            watched: None,
            heard: vec![false; nodes],
            lists: Lists::new(nodes),
            banned: None,
            admissions: 0,
        }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    /// The number of running nodes.
    pub(crate) fn running(&self) -> usize {
        self.running.iter().filter(|running| **running).count()
    }

    pub(crate) fn is_running(&self, index: Index) -> bool {
        self.running.get(index).copied().unwrap_or(false)
    }

    /// The number of running nodes that consider exactly the running nodes Alive.
    pub(crate) fn complete(&self) -> usize {
        self.complete
    }

    /// The status of this node in the views of the other running nodes.
    pub(crate) fn counts(&self, subject: Index) -> StatusCounts {
        self.counts.get(subject).copied().unwrap_or_default()
    }

    /// The number of running nodes without this one.
    pub(crate) fn others(&self, subject: Index) -> usize {
        self.running() - usize::from(self.is_running(subject))
    }

    /// Starts to count the nodes that get the telemetry of this node.
    pub(crate) fn watch_telemetry(&mut self, subject: Index) {
        self.watched = Some(subject);
        self.heard.fill(false);
    }

    /// Stops counting.
    pub(crate) fn unwatch_telemetry(&mut self) {
        self.watched = None;
    }

    /// The number of other nodes that have the watched telemetry.
    pub(crate) fn heard(&self) -> usize {
        self.heard.iter().filter(|heard| **heard).count()
    }

    /// Whether this node has, or has published, the watched telemetry.
    pub(crate) fn has_heard(&self, index: Index) -> bool {
        self.watched.is_some_and(|subject| subject == index || self.heard.get(index) == Some(&true))
    }

    /// What this node makes of the registry.
    pub(crate) fn list(&self, index: Index) -> ListView {
        self.lists.of(index)
    }

    /// The number of running nodes whose view of the registry is such.
    pub(crate) fn lists(&self, is_such: impl Fn(ListView) -> bool) -> usize {
        let running = (0..self.nodes).filter(|&index| self.is_running(index));
        running.filter(|&index| is_such(self.lists.of(index))).count()
    }

    /// Starts to count how often a running node admits this one.
    pub(crate) fn ban(&mut self, subject: Index) {
        (self.banned, self.admissions) = (Some(subject), 0);
    }

    /// How often a running node has admitted the banned one.
    pub(crate) fn admissions(&self) -> usize {
        self.admissions
    }

    /// Applies a change to the view of a node.
    pub(crate) fn apply(&mut self, observer: Index, change: Change) {
        match change {
            Change::Status(subject, status) => self.set(observer, subject, status),
            Change::Telemetry(subject) => {
                if self.watched == Some(subject)
                    && subject != observer
                    && let Some(heard) = self.heard.get_mut(observer)
                {
                    *heard = true;
                }
            }
            Change::List(view) => self.lists.set(observer, view),
        }
    }

    fn set(&mut self, observer: Index, subject: Index, status: Option<Status>) {
        if !self.is_running(observer) || subject >= self.nodes {
            return;
        }
        let admits = matches!(status, Some(Status::Alive | Status::Suspected));
        self.admissions += usize::from(admits && self.banned == Some(subject));
        let cell = observer * self.nodes + subject;
        let was = std::mem::replace(&mut self.statuses[cell], status);
        if subject != observer {
            let counts = &mut self.counts[subject].by_status;
            if let Some(was) = was {
                counts[was as usize] -= 1;
            }
            if let Some(status) = status {
                counts[status as usize] += 1;
            }
        }
        let running = self.running[subject];
        self.complete -= usize::from(self.correct[observer] == self.nodes);
        self.correct[observer] -= usize::from(is_correct(was, running));
        self.correct[observer] += usize::from(is_correct(status, running));
        self.complete += usize::from(self.correct[observer] == self.nodes);
    }

    /// Removes a node that was killed or has left. Its view no longer counts, and the views of the
    /// others are correct if they consider it dead, gone or unknown.
    pub(crate) fn take_down(&mut self, index: Index) {
        for subject in 0..self.nodes {
            self.set(index, subject, None);
        }
        self.lists.set(index, ListView::default());
        self.set_running(index, false);
    }

    /// Adds a node that starts again with an empty view.
    pub(crate) fn bring_up(&mut self, index: Index) {
        self.set_running(index, true);
    }

    fn set_running(&mut self, index: Index, running: bool) {
        self.running[index] = running;
        for observer in 0..self.nodes {
            let row = &self.statuses[observer * self.nodes..(observer + 1) * self.nodes];
            self.correct[observer] = row
                .iter()
                .zip(&self.running)
                .filter(|(status, running)| is_correct(**status, **running))
                .count();
        }
        self.complete = (0..self.nodes)
            .filter(|&observer| self.running[observer] && self.correct[observer] == self.nodes)
            .count();
    }
}

/// Whether a view has the right status of a node that is running, or is not.
fn is_correct(status: Option<Status>, running: bool) -> bool {
    match status {
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
                views.apply(observer, Change::Status(subject, Some(Status::Alive)));
            }
        }
        views
    }

    #[test]
    fn views_are_complete_once_each_node_considers_all_nodes_alive() {
        let mut views = all_alive(3);
        assert_eq!(views.complete(), 3);
        views.apply(1, Change::Status(2, Some(Status::Suspected)));
        assert_eq!((views.complete(), views.counts(2).of(Status::Suspected)), (2, 1));
        views.apply(1, Change::Status(2, Some(Status::Alive)));
        assert_eq!(views.complete(), 3);
    }

    #[test]
    fn views_are_complete_again_after_a_crash_and_after_the_return() {
        let mut views = all_alive(3);
        views.take_down(2);
        assert_eq!((views.running(), views.complete(), views.others(2)), (2, 0, 2));
        views.apply(0, Change::Status(2, Some(Status::Dead)));
        views.apply(1, Change::Status(2, Some(Status::Dead)));
        assert_eq!((views.complete(), views.counts(2).of(Status::Dead)), (2, 2));

        views.bring_up(2);
        assert_eq!(views.complete(), 0);
        for other in 0..3 {
            views.apply(other, Change::Status(2, Some(Status::Alive)));
            views.apply(2, Change::Status(other, Some(Status::Alive)));
        }
        assert_eq!(views.complete(), 3);
    }

    #[test]
    fn the_view_of_a_killed_node_does_not_count() {
        let mut views = all_alive(3);
        views.take_down(2);
        views.apply(2, Change::Status(0, Some(Status::Dead)));
        assert_eq!(views.counts(0).of(Status::Dead), 0);
        assert_eq!(views.counts(0).known(), 1);
    }

    #[test]
    fn only_the_telemetry_of_the_watched_node_counts() {
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
    fn each_admission_of_a_banned_node_counts_and_its_own_view_does_not() {
        let mut views = all_alive(3);
        views.take_down(2);
        views.ban(2);
        views.apply(0, Change::Status(2, Some(Status::Dead)));
        views.apply(2, Change::Status(2, Some(Status::Alive)));
        assert_eq!(views.admissions(), 0);
        views.apply(0, Change::Status(2, Some(Status::Suspected)));
        views.apply(0, Change::Status(2, None));
        assert_eq!((views.admissions(), views.complete()), (1, 1));
    }

    #[test]
    fn the_list_of_a_node_that_is_down_does_not_count() {
        let mut views = all_alive(3);
        let view = ListView { version: Some(2), ..ListView::default() };
        for observer in 0..3 {
            views.apply(observer, Change::List(view));
        }
        assert_eq!(views.lists(|view| view.version == Some(2)), 3);
        views.take_down(1);
        assert_eq!(views.lists(|view| view.version == Some(2)), 2);
        views.apply(1, Change::List(view));
        assert_eq!((views.lists(|_| true), views.list(1)), (2, view));
    }

    #[test]
    fn members_outside_the_demo_are_ignored() {
        let mut views = all_alive(2);
        views.apply(0, Change::Status(7, Some(Status::Alive)));
        assert_eq!(views.complete(), 2);
    }
}
