//! Which datagrams answer a question of this node, and where that was asked.
//!
//! Each question has a random number of its own, which is sent to one address. Who repeats it has
//! received it there; the source of the answer proves nothing. It may be forged, and a host with
//! several addresses may send from another one than it is reached at.

use super::Node;
use crate::address::Address;
use crate::id::{IdHash, RequestId};
use crate::membership::newcomers::PlaceAsked;
use crate::wire::decode::{Datagram, Frame, Lead};

/// The most members of one id hash whose challenges are looked at: hardly ever are there two.
const MAX_CHALLENGED: usize = 4;

impl<A: Address> Node<A> {
    /// Whether the datagram repeats a number that this node drew and sent, and still awaits.
    pub(super) fn answers(&self, source: A, datagram: &Datagram<'_, A>) -> bool {
        let challenged = datagram.frames().any(|frame| match frame {
            Frame::Ack(ack) => self.cx.proof.is_answer(source, RequestId(ack.number), self.cx.now),
            _ => false,
        });
        challenged || self.address_asked(datagram).is_some()
    }

    /// The address to which the number was sent that the datagram repeats, if it answers a question
    /// of this node. A challenge of its source is no such question.
    #[cold]
    pub(super) fn address_asked(&self, datagram: &Datagram<'_, A>) -> Option<A> {
        if matches!(datagram.lead, Lead::Ping(_)) && !datagram.goes_on() {
            return None;
        }
        let Self { detector, anti_entropy, id_conflict, .. } = self;
        datagram.frames().find_map(|frame| match frame {
            Frame::Ack(ack) => self.address_pinged(datagram, RequestId(ack.number)),
            Frame::Nack(nack) => detector.helper_asked(RequestId(nack.number)),
            Frame::Page(page) => anti_entropy.seed_asked(RequestId(page.number)),
            Frame::SyncSums(head, _) => anti_entropy.address_asked(RequestId(head.number)),
            Frame::SyncVersions(head, _) => anti_entropy.address_asked(RequestId(head.number)),
            Frame::SyncWants(head, _) => anti_entropy.address_asked(RequestId(head.number)),
            Frame::SyncDone(done) => {
                let request_id = RequestId(done.number);
                anti_entropy
                    .address_asked(request_id)
                    .or_else(|| detector.hearsay.address_asked(request_id))
                    .or_else(|| id_conflict.voter_asked(request_id))
            }
            Frame::TreeAck(ack) => {
                let partner = self.dissemination.trees.partner_asked(RequestId(ack.number));
                partner.and_then(|slot| self.cx.table.address(slot))
            }
            _ => None,
        })
    }

    /// The address that was pinged under this number, by this node or a helper of it.
    fn address_pinged(&self, datagram: &Datagram<'_, A>, number: RequestId) -> Option<A> {
        let Self { cx, detector, newcomers, id_conflict, .. } = self;
        if let Some(address) = detector.address_asked(number, cx) {
            return Some(address);
        }
        match newcomers.place_asked(number) {
            Some(PlaceAsked::Address(address)) => return Some(address),
            Some(PlaceAsked::Holder(id)) => {
                return cx.table.find(id.as_str()).and_then(|slot| cx.table.address(slot));
            }
            Some(PlaceAsked::Helper(id_hash)) => return cx.proved_address(id_hash),
            None => {}
        }
        id_conflict.address_pinged(number).or_else(|| {
            // A member that this node has challenged at its own address.
            let members = cx.table.with_id_hash(IdHash(datagram.sender)).take(MAX_CHALLENGED);
            let mut addresses = members.filter_map(|slot| cx.table.address(slot));
            addresses.find(|&address| cx.proof.is_answer(address, number, cx.now))
        })
    }
}
