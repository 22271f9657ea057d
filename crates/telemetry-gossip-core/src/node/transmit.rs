//! Intents become datagrams: the frames of each, then rumors in what room is left.

use super::Node;
use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::config::Mode;
use crate::membership::Slot;
use crate::outbox::{Body, Intent, Signal};
use crate::status::Status;
use crate::wire::encode::Writer;
use crate::wire::{Nack, PingReq, kind};

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transmit<A> {
    /// Where to.
    pub to: A,
    /// How many bytes at the front of the buffer are its payload.
    pub len: usize,
}

impl<A: Address> Node<A> {
    /// Encodes the next datagram into the front of `buf`, which should hold
    /// [`Config::mtu`](crate::Config::mtu) bytes; a shorter one makes shorter datagrams, and what
    /// does not fit one at all is shed and counted.
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Option<Transmit<A>> {
        if self.cx.outbox.is_empty() { None } else { self.next_transmit(buf) }
    }

    #[inline(never)]
    fn next_transmit(&mut self, buf: &mut [u8]) -> Option<Transmit<A>> {
        loop {
            let intent = self.cx.outbox.pop()?;
            if let Some(len) = self.encode(&intent, buf) {
                self.cx.stats.datagrams_sent += 1;
                self.cx.stats.bytes_sent += len as u64;
                self.dissemination.budget.spend(self.cx.now, len);
                return Some(Transmit { to: intent.to, len });
            }
        }
    }

    /// `None` if there is nothing to say after all, or not even the signal fits.
    fn encode(&mut self, intent: &Intent<A>, buf: &mut [u8]) -> Option<usize> {
        let (fingerprints, clock) =
            (self.cx.table.fingerprints(), self.detector.schedule.clock.on_wire(self.cx.now));
        let Some(mut w) = Writer::new(
            buf,
            intent.limit,
            self.cx.config.label,
            self.cx.this.id_hash,
            fingerprints,
            clock,
        ) else {
            self.cx.stats.outbox_shed += 1;
            return None;
        };
        if !self.put_signal(&mut w, &intent.signal) {
            self.cx.stats.outbox_shed += 1;
            return None;
        }
        if let Some((number, target)) = intent.challenge {
            w.lead(kind::PING, number.0, target.0);
        }
        if self.cx.config.mode == Mode::ProbeOnly {
            return (!w.is_bare()).then_some(w.len());
        }
        if let Some(slot) = intent.member
            && self.must_hear_of_itself(slot, intent.to)
        {
            self.put_claims(&mut w, &[slot]);
        }
        if intent.body != Body::None {
            let before = w.len();
            self.put_body(&mut w, intent.body, intent.member);
            // The flight's earlier datagrams had room for all: beside it there is nothing that this
            // partner must hear again.
            if matches!(intent.body, Body::Tree(..)) && w.len() == before {
                return None;
            }
        }
        if self.cx.config.mode == Mode::Autonomous || !matches!(intent.body, Body::None) {
            // What the body says of this node itself is no telling: it is for one, and the news is
            // for all.
            let said = matches!(intent.body, Body::Introduction | Body::PageRequest(..))
                .then_some(self.cx.this.slot);
            self.put_rumors(&mut w, said);
        }
        (!w.is_bare()).then_some(w.len())
    }

    /// Whoever is in doubt hears so at first contact, and can refute. So does whoever speaks in the
    /// name of a member that is known at another address: of two processes of one id, one alone is
    /// heard of, and each must know.
    fn must_hear_of_itself(&self, slot: Slot, to: A) -> bool {
        let doubted = self.cx.table.status(slot) != Status::Alive
            && (self.cx.config.detector.buddy || !self.cx.table.is_live(slot));
        doubted || !self.cx.table.row(slot).is_at(&to)
    }

    fn put_signal(&self, w: &mut Writer<'_>, signal: &Signal<A>) -> bool {
        match *signal {
            Signal::None => true,
            Signal::Ping(number, target) => w.lead(kind::PING, number.0, target.0),
            Signal::Ack(number, instance) => w.lead(kind::ACK, number.0, instance.0),
            Signal::Nack(number) => w.frame(kind::NACK, &Nack { number: number.0 }),
            Signal::PingReq(number, target, address) => {
                let mut bytes = [0; MAX_ADDRESS_LEN];
                let len = address.encode(&mut bytes).min(MAX_ADDRESS_LEN);
                w.frame(
                    kind::PING_REQ,
                    &PingReq { number: number.0, target: target.0, address: &bytes[..len] },
                )
            }
        }
    }

    /// Fills the room with news, least told first; `said` is in the datagram already.
    fn put_rumors(&mut self, w: &mut Writer<'_>, said: Option<Slot>) {
        if self.cx.rumors.is_idle() {
            return;
        }
        let limit = self.cx.send_limit();
        if let Some(open) = w.open(kind::CLAIMS) {
            while let Some(slot) = self.cx.rumors.take() {
                let before = w.len();
                if Some(slot) != said && !self.put_claim(w, slot) {
                    w.truncate(before);
                    self.cx.rumors.put_back();
                    break;
                }
            }
            self.close_or_abandon(w, open);
            self.cx.rumors.commit(limit, said);
        }
    }
}
