//! How an isolation ends: by answers, by a cluster config, by the host's word, or after a limit.
//!
//! What makes a node isolated is decided in `roll_call`.

use super::Detector;
use crate::address::Address;
use crate::cx::Cx;
use crate::event::{Event, IsolationEnd};

impl<A: Address> Detector<A> {
    /// Ends the isolation, if there is one. All suspicions begin anew, so that each suspect has its
    /// full time to refute.
    pub(super) fn end_isolation(&mut self, end: IsolationEnd, cx: &mut Cx<A>) {
        self.config_may_reconnect = false;
        if self.roll_calls.reconnect() {
            cx.table.clear_side();
            self.reconnected = true;
            self.suspicions.restart(cx.now, &self.timing(cx));
            self.drop_probe();
            cx.emit(Event::Reconnected { end });
        }
    }

    /// Ends the isolation because the losses are real, by the host's word or after the limit.
    /// Suspicions run out again, and no roll call holds them up until one succeeds by itself.
    ///
    /// All members that were silent in the last roll call are accused at once: the other nodes of
    /// this side are isolated as well, and accuse no member.
    pub(crate) fn accept_loss(&mut self, end: IsolationEnd, cx: &mut Cx<A>) {
        if self.roll_calls.is_isolated() {
            self.roll_calls.accept_loss();
            // The lost did not answer since they are gone, and not since this node is slow.
            self.local_health.clear();
            self.end_isolation(end, cx);
            self.accuse_lost(cx);
        }
    }

    /// Accuses the members that were silent in a roll call, once the host has accepted their loss
    /// and the roll call is over.
    pub(super) fn accuse_lost(&mut self, cx: &mut Cx<A>) {
        for slot in self.roll_calls.take_lost() {
            self.accuse(slot, cx);
        }
    }

    /// Calls the roll if this node is isolated: it hears that a member is dead, so another node of
    /// its side has accepted the loss. Once enough are dead, the rest is a majority again.
    pub(super) fn on_death_heard(&mut self, cx: &mut Cx<A>) {
        if self.roll_calls.is_isolated() {
            self.roll_calls.call_again_at(cx.now + cx.config.gossip_interval);
        }
    }

    /// Calls the roll if the node is isolated: the cluster config removed members, and this node
    /// may be in touch with more than half of the remaining ones.
    pub(crate) fn on_config_change(&mut self, cx: &mut Cx<A>) {
        if self.roll_calls.is_isolated() {
            self.config_may_reconnect = true;
            self.begin_roll_call(cx);
        }
    }

    /// Calls the roll again if that is due, and accepts the loss once the isolation limit has
    /// passed.
    pub(super) fn review_isolation(&mut self, cx: &mut Cx<A>) {
        if let (Some(since), Some(limit)) =
            (self.roll_calls.isolated_since(), cx.config.isolation_limit)
            && cx.now >= since + limit
        {
            self.accept_loss(IsolationEnd::Limit, cx);
        }
        if self.roll_calls.is_again_due(cx.now) && !self.roll_calls.is_calling() {
            self.begin_roll_call(cx);
        }
    }
}
