//! What readers see of a node after each wake-up of its task: the view, and the times in it.

use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::Node;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Command, Task};
use crate::peer_addr::PeerAddr;
use crate::shared::SharedTable;
use crate::view::{MemberView, View};

/// The interval at which the times of last observation in the view are updated.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);

impl Task {
    /// Publishes a new view with all changes of one wake-up at once.
    pub(super) fn publish(&mut self) {
        let changed = std::mem::take(&mut self.carry.changed);
        let isolation = self.carry.isolation.take();
        if !changed.is_empty() || isolation.is_some() {
            let mut view = View::clone(&self.view.load());
            let clock = self.clock;
            if let Some(event) = isolation {
                let since = self.node.health().isolated_since;
                let since = since.map(|since| clock.to_host(since));
                view.set_isolation(&event, self.node.me().id(), since);
            }
            let read = |node: &mut Node<PeerAddr>| {
                for id in &changed {
                    let member = node.member(id.as_str());
                    let accusers = node.accusers(id.as_str()).collect();
                    let before = view.get(id.as_str());
                    let new = member.map(|it| MemberView::new(&it, clock, *id, before, accusers));
                    view.set(id, new);
                }
            };
            on_table(self.table.as_deref(), &self.inbox, &mut self.node, read);
            self.view.store(Arc::new(view));
        }
        if self.observed_at.elapsed() >= OBSERVE_EVERY {
            let before = std::mem::replace(&mut self.observed_at, Instant::now());
            let since = self.clock.to_core(before.into_std()) - OBSERVE_EVERY;
            // A host may enter any time in a shared table.
            let whole = self.table.is_some();
            let view = self.view.load();
            let read = |node: &mut Node<PeerAddr>| {
                // A node hears from few members in that time, and skipping a member costs less
                // than finding it.
                for member in
                    node.members().filter(|member| whole || member.last_observed() >= since)
                {
                    if let Some(seen) = view.get(member.id()) {
                        seen.observe(&member);
                    }
                }
            };
            on_table(self.table.as_deref(), &self.inbox, &mut self.node, read);
        }
        if let Some(keeper) = &mut self.keeper
            && (std::mem::take(&mut self.carry.keeps_now) || keeper.is_due())
        {
            keeper.keep(&self.view.load());
        }
    }
}

/// Works on the node, with the table of the host if there is one. Once the last handle is dropped,
/// that table belongs to the host alone: a task that has not noticed yet must not enter its node
/// again. `work` runs with the lock of that table held: it calls the core, and no code of the host.
pub(super) fn on_table<T>(
    table: Option<&SharedTable>,
    inbox: &mpsc::Receiver<Command>,
    node: &mut Node<PeerAddr>,
    work: impl FnOnce(&mut Node<PeerAddr>) -> T,
) -> Option<T> {
    match table {
        Some(table) => {
            table.with(|table| (!inbox.is_closed()).then(|| node.with_table(table, work)))
        }
        None => Some(work(node)),
    }
}
