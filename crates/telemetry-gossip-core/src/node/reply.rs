//! The reply to one datagram: what its frames ask to be sent back, and within which limits it is.

use arrayvec::ArrayVec;

use super::Node;
use super::apply::{Heard, HeldUnderId};
use crate::address::Address;
use crate::id::{IdHash, RequestId};
use crate::membership::Slot;
use crate::outbox::{Body, Diff, Intent, Signal, Want};
use crate::status::Status;
use crate::wire::decode::{Datagram, Frame};
use crate::wire::{MIN_ACCUSATION_BYTES, PING_LEN, PING_REQ_LEN, Tree};

/// For one datagram, request missing telemetry from at most this many owners. Anti-entropy finds
/// the rest.
const MAX_TELEMETRY_REQUESTS: usize = 8;

/// The largest number of frames of claims that are read from one datagram. Other nodes send at most
/// three: the claim that the receiver must hear of itself, a body, and rumors.
const MAX_CLAIMS_FRAMES: u8 = 4;

/// The reply to one datagram, as its frames ask for it.
pub(super) struct Reply<A> {
    /// The table slot of the sender, if its id and source address match a known member.
    pub(super) sender: Option<Slot>,
    pub(super) signal: Signal<A>,
    pub(super) body: Body,
    pub(super) diff: Diff,
    /// Whether the sender sent an outdated claim about itself and is held suspected, dead or left,
    /// or has answered as another process than the one asked.
    pub(super) correct_sender: bool,
    /// The request id, the id hash and the address of a member to ping on the sender's behalf. At
    /// most one per datagram, so that one datagram cannot cause many.
    pub(super) ping_req: Option<(RequestId, IdHash, A)>,
    /// Whether a claim about this node itself was among the claims.
    pub(super) about_self: bool,
    /// Whether the sender, which is held Dead or Left, says that it is alive above what is held.
    pub(super) refutes_death: bool,
    /// Whether the sender has proved its address by the answer to a ping of its own.
    pub(super) verified: bool,
    /// Whether the datagram has an ack.
    pub(super) has_ack: bool,
    /// How the claims of the datagram were heard.
    pub(super) heard: Heard<A>,
    /// How many claims of its first id hash come before the page that a frame after this one is
    /// about.
    pub(super) page_place: u32,
    /// Whether the sender reads the sums of parts of a range.
    pub(super) reads_parts: bool,
    /// The sum over the sender's records of members that are gone, if it says it.
    pub(super) gone: Option<u32>,
    /// Whether the datagram has asked its one question.
    pub(super) asked: bool,
    /// The number of frames of claims read so far.
    pub(super) claims_frames: u8,
    /// Whether the sender does not count this node as a member, and so tells it nothing.
    pub(super) tells_nothing: bool,
    /// Whether its ping lets this node refute an accusation.
    pub(super) refutes: bool,
    /// Whether the sender says that this node is not Alive.
    pub(super) accuses_self: bool,
    /// Whether an accusation in the datagram was looked into. At most one is, so that one datagram
    /// cannot cause many.
    pub(super) looked_into: bool,
    /// The member that the sender says it accuses, and about which this node has asked it.
    pub(super) testimony: Option<Slot>,
    /// Whether the datagram answers a request of this node.
    pub(super) answers: bool,
    /// What the sender holds under this node's id, if it says so and it is not this node.
    pub(super) held_under_id: Option<HeldUnderId<A>>,
    /// The tree frame, if the datagram is part of a flight.
    pub(super) tree: Option<Tree>,
    /// Whether the datagram of the flight is not acknowledged, so that it comes again.
    pub(super) refuses_flight: bool,
    /// Requests for the telemetry that is missing before the updates of the flight, and for the
    /// claims of their owners.
    pub(super) missing: ArrayVec<Want, MAX_TELEMETRY_REQUESTS>,
    /// What the telemetry of the datagram has cost so far.
    pub(super) steps: usize,
}

impl<A> Reply<A> {
    pub(super) fn new(sender: Option<Slot>, heard: Heard<A>) -> Self {
        Self {
            sender,
            signal: Signal::None,
            body: Body::None,
            diff: Diff::default(),
            correct_sender: false,
            ping_req: None,
            about_self: false,
            refutes_death: false,
            has_ack: false,
            heard,
            page_place: 0,
            reads_parts: false,
            gone: None,
            asked: false,
            claims_frames: 0,
            tells_nothing: false,
            refutes: false,
            accuses_self: false,
            looked_into: false,
            testimony: None,
            answers: false,
            held_under_id: None,
            verified: false,
            tree: None,
            refuses_flight: false,
            missing: ArrayVec::new(),
            steps: 0,
        }
    }

    /// Whether the frame is within what one datagram may ask for: one question, and a few frames of
    /// claims. Otherwise a few bytes could ask for the work of many datagrams.
    pub(super) fn accepts(&mut self, frame: &Frame<'_, A>) -> bool {
        if frame.is_question() {
            return !core::mem::replace(&mut self.asked, true);
        }
        if !matches!(frame, Frame::Claims(_)) {
            return true;
        }
        self.claims_frames = self.claims_frames.saturating_add(1);
        self.claims_frames <= MAX_CLAIMS_FRAMES
    }
}

impl<A: Address> Node<A> {
    /// Queues the reply, if there is anything to send back, within the limit on bytes to a sender
    /// that has not proved its address. Returns whether the reply tells the sender, as it would
    /// tell any accuser, that this node is Alive.
    pub(super) fn send_reply(
        &mut self,
        to: A,
        datagram: &Datagram<'_, A>,
        reply: &Reply<A>,
    ) -> bool {
        let Reply {
            sender,
            signal,
            mut body,
            diff,
            correct_sender,
            accuses_self,
            ping_req,
            has_ack,
            about_self,
            refutes_death,
            claims_frames,
            answers,
            ..
        } = *reply;
        let cx = &mut self.cx;
        let knows_sender = sender.is_some() || signal != Signal::None;
        if accuses_self && knows_sender && matches!(body, Body::None) {
            // The refutation goes to those who accuse, whether it is a rumor or not.
            body = Body::Introduction;
        }
        let acks = matches!(signal, Signal::Ack(..));
        if acks && answers && matches!(body, Body::None) {
            // A process that answers and asks in return does not know this node well enough. What
            // this node says of itself beside the answer is its own word.
            body = Body::Introduction;
        }
        if matches!((signal, body), (Signal::None, Body::None)) {
            // A member that sends rumors or telemetry does not know that it is held dead, or that
            // it is said to have left; one that leaves says so itself. The suspected are told by
            // their accusers. A datagram that may be such a reply itself gets none, since two
            // nodes could otherwise go on for ever.
            let is_wronged = |slot| match cx.table.status(slot) {
                Status::Alive | Status::Suspected => false,
                Status::Dead => true,
                Status::Left => claims_frames == 0,
            };
            let knows = about_self || refutes_death;
            let wrongs_sender = !has_ack && !knows && sender.is_some_and(is_wronged);
            if !(correct_sender || wrongs_sender) {
                return false;
            }
            // A process whose ack shows that it is not the one held may not know this node either.
            body = if has_ack { Body::Rival } else { Body::Rumors };
        }
        let verified =
            reply.verified || sender.is_some_and(|slot| cx.table.row(slot).answered.directly());
        let limit = if verified {
            cx.mtu()
        } else {
            // A ping on the sender's behalf costs bytes, too, and so do the questions about its
            // claims, which may go to the same address.
            let spent = if ping_req.is_some() { PING_REQ_LEN.min(datagram.len) } else { 0 };
            let questions = datagram.len / PING_LEN - reply.heard.questions_left;
            cx.limit_to(sender, datagram.len - spent).saturating_sub(questions * PING_LEN)
        };
        // A challenge is never answered by another challenge, or two nodes could go on for ever.
        // A stranger that pings may be a newcomer, which learns by this that it is one.
        let known = (sender.is_some() || acks) && !has_ack && cx.asks_for_proof();
        let asks = !matches!(body, Body::None | Body::Rumors | Body::Introduction | Body::Rival);
        let unproved = !verified && (known || asks);
        let challenge = if unproved { cx.proof.challenge(to, cx.now) } else { None };
        let challenge = challenge.map(|request_id| (request_id, IdHash(datagram.sender)));
        // A member with the sender's id, known at another address: two processes have one id, or
        // the member has moved. Either must learn of the claim that is held.
        let namesake = || {
            let id_hash = IdHash(datagram.sender);
            cx.table.with_id_hash(id_hash).find(|&slot| slot != cx.this.slot)
        };
        let member = sender.or_else(namesake);
        cx.reply(Intent { to, member, signal, challenge, body, limit }, diff);
        matches!(body, Body::Introduction) && limit >= cx.limit_to(sender, MIN_ACCUSATION_BYTES)
    }
}
