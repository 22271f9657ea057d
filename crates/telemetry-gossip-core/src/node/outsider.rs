//! Nodes that do not belong to the cluster, as the cluster config in force says.
//!
//! Such a node learns nothing: no claim, no telemetry, no fingerprint. A removed member would go
//! on reading what the members publish, and a stranger that holds the key would learn who they are.
//! Their pings are answered, though. A newcomer of which half of the members have not heard yet, as
//! their config is older, must take no member for dead.
//!
//! The host is told who asks, since a newer config may name that node. Nothing else follows from
//! it: anyone who holds the key can make ids up.

use super::Node;
use super::reply::Reply;
use crate::address::Address;
use crate::event::Event;
use crate::id::{IdHash, NodeId, RequestId, full_id_hash, id_hash_of};
use crate::outbox::{Body, Diff, Intent, Signal};
use crate::status::Status;
use crate::wire::decode::{Datagram, Frame};
use crate::wire::{NotAMember, PING_LEN};

/// The most bytes of the answer: an ack, and the version of the config.
const ANSWER_LEN: usize = PING_LEN + 12;

impl<A: Address> Node<A> {
    /// Answers a datagram of a node that does not belong. Only pings and page requests get an
    /// answer, which says that it is no member and nothing else.
    #[cold]
    pub(super) fn receive_outsider(&mut self, from: A, datagram: &Datagram<'_, A>) {
        self.cx.stats.datagrams_not_in_config += 1;
        if !self.cx.believes(&from) {
            return;
        }
        let (me, instance) = (self.cx.this.id_hash.0, self.cx.this.instance);
        let (mut signal, mut asks) = (Signal::None, false);
        for frame in datagram.frames() {
            match frame {
                Frame::Ping(ping) if ping.target == me => {
                    signal = Signal::Ack(RequestId(ping.number), instance);
                    asks = true;
                }
                Frame::PageRequest(_) => asks = true,
                _ => {}
            }
        }
        if asks {
            let limit = ANSWER_LEN.min(self.cx.limit_to(None, datagram.len));
            let intent = Intent::new(from, None, limit).with_signal(signal);
            self.cx.reply(intent.with_body(Body::NotAMember), Diff::default());
            self.tell_of_knock(from, datagram);
        }
    }

    /// Tells the host which node that does not belong asks for something, if the datagram names it
    /// and the host was told of few others lately.
    fn tell_of_knock(&mut self, address: A, datagram: &Datagram<'_, A>) {
        let now = self.cx.now;
        // A flood is not searched for ids.
        if !self.cx.admission.knocks.may_tell(now) {
            return;
        }
        let Some(id) = stated_id(datagram) else { return };
        if self.cx.admission.knocks.tells(full_id_hash(id.as_str().as_bytes()), now) {
            self.cx.emit(Event::Knocked { id, address });
        }
    }

    /// Hears that this node is no member for the sender, which tells it nothing of the others. That
    /// is a hint for the host at most: anyone may say so.
    pub(super) fn on_not_a_member(&mut self, said: NotAMember, reply: &mut Reply<A>) {
        reply.tells_nothing = true;
        let by = reply.sender.map(|slot| self.cx.table.id(slot));
        if self.cx.admission.tells_host(by.map(|by| by.id_hash()), self.cx.now) {
            self.cx.emit(Event::NotAMember { version: said.version, by });
        }
    }
}

/// Returns the id of the sender, if the datagram states it in whole: the header has its hash alone.
/// A request for pages comes with the claim of its sender about itself, and a ping may. A node that
/// says that it has left asks for nothing.
fn stated_id<A: Address>(datagram: &Datagram<'_, A>) -> Option<NodeId> {
    let sender = IdHash(datagram.sender);
    let claims = datagram.following().filter_map(|frame| match frame {
        Frame::Claims(claims) => Some(claims),
        _ => None,
    });
    let own =
        claims.flatten().find(|claim| id_hash_of(full_id_hash(claim.id.as_bytes())) == sender);
    own.filter(|claim| claim.status == Status::Alive).and_then(|claim| NodeId::new(claim.id).ok())
}
