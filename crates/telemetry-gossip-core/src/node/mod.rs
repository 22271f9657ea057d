//! skeleton
#![allow(missing_docs, unused)]
use crate::membership::*;
use crate::*;
use alloc::vec::Vec;
use core::marker::PhantomData;

/// One node of the cluster: a pure state machine.
#[derive(Debug)]
pub struct Node<A> {
    table: Membership<A>,
    config: Config,
}

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<A> {
    /// Where to.
    pub to: A,
    /// How many bytes of the buffer are its payload.
    pub len: usize,
}

impl<A: Address> Node<A> {
    pub fn new(
        config: Config,
        identity: Identity<A>,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, ConfigError> {
        todo!()
    }
    pub fn handle(&mut self, now: Instant, input: Input<'_, A>) -> Result<(), InputError> {
        todo!()
    }
    /// `buf` should hold at least `config().mtu` bytes
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Option<Transmit<A>> {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<Event<A>> {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
    pub fn members(&self) -> impl Iterator<Item = Member<'_, A>> {
        self.table.iter()
    }
    pub fn member(&self, id: &str) -> Option<Member<'_, A>> {
        self.table.get(id)
    }
    pub fn me(&self) -> Member<'_, A> {
        todo!()
    }
    pub fn membership(&self) -> &Membership<A> {
        &self.table
    }
    pub fn health(&self) -> Health {
        todo!()
    }
    pub fn stats(&self) -> &Stats {
        todo!()
    }
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// the latest time seen
    pub fn now(&self) -> Instant {
        todo!()
    }
    /// Lends the node another table for the time of `f` (facade: a MembershipState shared with the user).
    pub fn with_table<T>(&mut self, table: &mut Membership<A>, f: impl FnOnce(&mut Self) -> T) -> T {
        todo!()
    }
    /// Heap bytes of everything the node holds
    pub fn heap_bytes(&self) -> usize {
        todo!()
    }
    pub fn check_invariants(&self) -> Result<(), Violation> {
        todo!()
    }
}

/// A broken invariant
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Violation {
    pub rule: &'static str,
    pub detail: alloc::string::String,
}
