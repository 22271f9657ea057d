//! Nodes that do not belong to the cluster, as the cluster config in force says.
//!
//! Such a node learns nothing: no claim, no telemetry, no fingerprint. A removed member would go
//! on reading what the members publish, and a stranger that holds the key would learn who they are.
//! Their pings are answered, though. A newcomer of which half of the members have not heard yet, as
//! their config is older, must take no member for dead.

use super::Node;
use super::reply::Reply;
use crate::address::Address;
use crate::event::Event;
use crate::id::RequestId;
use crate::outbox::{Body, Diff, Intent, Signal};
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
        }
    }

    /// Hears that this node is no member for the sender, which tells it nothing of the others. That
    /// is a hint for the host at most: anyone may say so.
    pub(super) fn on_not_a_member(&mut self, said: NotAMember, reply: &mut Reply<A>) {
        reply.tells_nothing = true;
        if self.cx.admission.tells_host(self.cx.now) {
            let by = reply.sender.map(|slot| self.cx.table.id(slot));
            self.cx.emit(Event::NotAMember { version: said.version, by });
        }
    }
}
