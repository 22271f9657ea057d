//! What each node of the demo makes of the registry, as it tells itself: which version of the list
//! it goes by, and why not a newer one. This module uses neither sockets nor time.

use telemetry_gossip_registry::follow::{State, Status};

use super::views::Index;

/// What a node is doing with its list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stance {
    /// It has not read the registry since it started.
    #[default]
    Waiting,
    /// The list does not name it yet.
    NotYetMember,
    /// It goes by the newest version.
    Current,
    /// It goes by the version that it has, since the registry does not answer.
    Held,
    /// The list no longer names it.
    Gone,
    /// It has left, since the list no longer names it.
    HasLeft,
}

/// What one node makes of the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListView {
    /// The version in force; `None` if there is none yet.
    pub(crate) version: Option<u64>,
    pub(crate) stance: Stance,
    /// Whether members say that the node does not belong.
    pub(crate) doubted: bool,
}

impl ListView {
    pub(crate) fn of(status: &Status) -> Self {
        let stance = match &status.state {
            State::NotYetMember { .. } => Stance::NotYetMember,
            State::Current => Stance::Current,
            State::Held(_) => Stance::Held,
            State::Gone(_) if status.left => Stance::HasLeft,
            State::Gone(_) => Stance::Gone,
            _ => Stance::Waiting,
        };
        let version = status.in_force.as_ref().map(|in_force| in_force.version);
        Self { version, stance, doubted: status.doubted }
    }
}

/// What all nodes make of the registry.
#[derive(Debug)]
pub(crate) struct Lists {
    views: Vec<ListView>,
}

impl Lists {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { views: vec![ListView::default(); nodes] }
    }

    pub(crate) fn set(&mut self, index: Index, view: ListView) {
        if let Some(known) = self.views.get_mut(index) {
            *known = view;
        }
    }

    pub(crate) fn of(&self, index: Index) -> ListView {
        self.views.get(index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use telemetry_gossip_registry::follow::Gone;

    use super::*;

    #[test]
    fn a_removed_node_has_left_once_it_says_so() {
        let gone = Gone::Removed { version: 3, by: String::new(), why: String::new() };
        let mut status = Status::default();
        assert_eq!(ListView::of(&status).stance, Stance::Waiting);
        status.state = State::Gone(gone);
        assert_eq!(ListView::of(&status).stance, Stance::Gone);
        status.left = true;
        assert_eq!(ListView::of(&status).stance, Stance::HasLeft);
    }
}
