//! What comes before a node handles an input: datagrams on their way in, and new randomness.

use std::time::Duration;

use telemetry_gossip_core::Input;
use tokio::time::Instant;

use super::Task;
use crate::clocks::Clocks;
use crate::transport::Delivery;

/// The most datagrams handled before the view is published and the timer is checked again.
const BATCH: usize = 64;

impl Task {
    /// Handles the datagrams that have arrived, at most a batch.
    pub(super) fn receive(&mut self, first: &Delivery) {
        self.datagram(first);
        for _ in 1..BATCH {
            let Some(delivery) = self.datagrams.try_recv() else { break };
            self.datagram(&delivery);
        }
        // A flood of datagrams must not hold up the timer.
        let now = self.now();
        if self.node.poll_timeout().is_some_and(|at| at <= now) {
            self.step(Input::Tick);
        }
    }

    fn datagram(&mut self, delivery: &Delivery) {
        let (from, bytes) = (delivery.from, &*delivery.bytes);
        let seal = delivery.sealed.and_then(|_| self.carry.sends.transport.seal().cloned());
        let input = match delivery.sealed {
            None => Input::datagram(from, bytes),
            Some(sealed) => {
                let seal = seal.as_ref();
                let age = seal.map_or(sealed.proof_age, |seal| seal.look_again(sealed));
                Input::sealed(from, sealed.stamp, age, bytes)
            }
        };
        if let Err(error) = self.handle(input) {
            let node = self.view_id();
            tracing::debug!(%node, %from, %error, "datagram refused");
        }
        if let Some(seal) = seal
            && let Some(stamp) = self.node.poll_proof()
        {
            seal.prove(stamp);
        }
    }

    /// Takes new randomness if that is due, or if this process may be a copy of another. `deadline`
    /// is the time at which it meant to wake.
    pub(super) fn differ_from_copies(&mut self, deadline: Option<Instant>) {
        let late = deadline.map_or(Duration::ZERO, |at| Instant::now().duration_since(at));
        if !self.watch.is_due(Clocks::read(), late) {
            return;
        }
        let mut entropy = [0; 32];
        if let Err(error) = getrandom::fill(&mut entropy) {
            tracing::warn!(%error, "no randomness: a copy of this process would be alike");
            return;
        }
        self.step(Input::Reseed { entropy });
        if let Some(Err(error)) = self.carry.sends.transport.seal().map(|seal| seal.renew()) {
            tracing::warn!(%error, "no randomness for another nonce prefix");
        }
    }
}
