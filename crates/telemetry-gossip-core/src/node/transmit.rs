//! Encodes intents as datagrams: the frames of each intent, then rumors in the room that is left.
//!
//! Nothing is decided here about when to send; the intents wait in the outbox until the host polls,
//! so a datagram holds the state at that time.

use super::Node;
use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::config::Mode;
use crate::cx::Activity;
use crate::membership::{Fingerprints, Slot};
use crate::outbox::{Body, Intent, Signal};
use crate::status::Status;
use crate::wire::encode::Writer;
use crate::wire::{Gone, Nack, PingReq, SeenAt, kind};

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transmit<A> {
    /// The address to send it to.
    pub to: A,
    /// The length of its payload, at the front of the buffer, in bytes.
    pub len: usize,
}

impl<A: Address> Node<A> {
    /// Encodes the next datagram into the front of `buf`; `None` if there is no other to send.
    ///
    /// `buf` should hold [`Config::mtu`](crate::Config::mtu) bytes. A shorter one makes shorter
    /// datagrams; an intent that does not fit at all is shed and counted.
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

    /// Encodes one intent, and returns the length of the datagram; `None` if the datagram would be
    /// empty, or not even the signal fits.
    fn encode(&mut self, intent: &Intent<A>, buf: &mut [u8]) -> Option<usize> {
        let clock = self.detector.schedule.clock.on_wire(self.cx.now);
        let tells_nothing = matches!(intent.body, Body::NotAMember);
        let fingerprints =
            if tells_nothing { Fingerprints::default() } else { self.cx.table.fingerprints() };
        let Some(mut w) = Writer::new(
            buf,
            intent.limit.min(self.cx.mtu()),
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
        if let Some((request_id, target)) = intent.challenge {
            w.lead(kind::PING, request_id.0, target.0);
        }
        if self.cx.config.mode == Mode::ProbeOnly {
            return (!w.is_bare()).then_some(w.len());
        }
        if let Some(slot) = intent.member
            && (matches!(intent.body, Body::Rival) || self.must_hear_of_itself(slot, intent.to))
        {
            self.put_claims(&mut w, &[slot]);
            // The member answers from elsewhere, and may not know it.
            if !self.cx.table.row(slot).is_at(&intent.to) && self.cx.asks_for_proof() {
                let mut bytes = [0; MAX_ADDRESS_LEN];
                let len = intent.to.encode(&mut bytes).min(MAX_ADDRESS_LEN);
                w.frame(kind::SEEN_AT, &SeenAt { address: &bytes[..len] });
            }
        }
        if matches!(intent.signal, Signal::Ack(..))
            && intent.member.is_some()
            && self.cx.config.mode == Mode::Autonomous
            && let Some(sum) = self.anti_entropy.gone_sum_to_tell(&self.cx)
        {
            w.frame(kind::GONE, &Gone { sum });
        }
        let has_body = !matches!(intent.body, Body::None);
        if has_body {
            let before = w.len();
            self.put_body(&mut w, intent.body, intent.member);
            // The earlier datagrams of the flight had room for all updates. The partner also got
            // the claim about itself with them, so there is nothing else to send.
            if matches!(intent.body, Body::Tree(..)) && w.len() == before {
                return None;
            }
        }
        let silent = matches!(intent.body, Body::Vote(_) | Body::NotAMember)
            || matches!(self.cx.activity, Activity::Waiting(_));
        let rumors = has_body || self.cx.config.mode == Mode::Autonomous;
        if rumors && !silent {
            // A body with this node's own claim is meant for one member. It does not count as one
            // of the times that the rumor of it is sent.
            let introduces = matches!(
                intent.body,
                Body::Introduction | Body::Rival | Body::Question(..) | Body::PageRequest(..)
            );
            let said = introduces.then_some(self.cx.this.slot);
            self.put_rumors(&mut w, said);
        }
        (!w.is_bare()).then_some(w.len())
    }

    /// Whether a datagram to `to`, known as the member `slot`, must carry the claim about it.
    ///
    /// A member that is suspected or dead must learn that at once, so that it can refute. And a
    /// sender that uses the id of a member known at another address must learn of that member: of
    /// two processes with one id the others hear of only one, and both must know.
    fn must_hear_of_itself(&self, slot: Slot, to: A) -> bool {
        let doubted = self.cx.table.status(slot) != Status::Alive
            && (self.cx.config.detector.buddy || !self.cx.table.is_live(slot));
        doubted || !self.cx.table.row(slot).is_at(&to)
    }

    /// Writes the signal of an intent; false if it does not fit.
    fn put_signal(&self, w: &mut Writer<'_>, signal: &Signal<A>) -> bool {
        match *signal {
            Signal::None => true,
            Signal::Ping(request_id, target) => w.lead(kind::PING, request_id.0, target.0),
            Signal::Ack(request_id, instance) => w.lead(kind::ACK, request_id.0, instance.0),
            Signal::Nack(request_id) => w.frame(kind::NACK, &Nack { number: request_id.0 }),
            Signal::PingReq(request_id, target, address) => {
                let mut bytes = [0; MAX_ADDRESS_LEN];
                let len = address.encode(&mut bytes).min(MAX_ADDRESS_LEN);
                w.frame(
                    kind::PING_REQ,
                    &PingReq { number: request_id.0, target: target.0, address: &bytes[..len] },
                )
            }
        }
    }

    /// Fills the room with rumors, those sent least often first. The claim about `said` is in the
    /// datagram already.
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
