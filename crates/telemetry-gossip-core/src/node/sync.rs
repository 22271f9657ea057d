//! The frames of sync sessions, both of the session that this node opened and of those that
//! partners opened; and which frames answer this node's own questions.

use super::Node;
use super::apply::Asked;
use super::reply::Reply;
use crate::address::Address;
use crate::anti_entropy::diff::{Told, differing, some_buckets};
use crate::id::RequestId;
use crate::outbox::{Body, Diff};
use crate::wire::decode::{Datagram, Frame};

/// The body of a reply in a session: with requests, or done.
///
/// An asker that sends rows asks for a confirmation even if it requests no row: only when its
/// datagram is encoded is it known whether all rows fit, and the confirmation repeats that flag.
const fn closing(request_id: RequestId, diff: Diff, asker: bool) -> Body {
    if diff.wants > 0 || (asker && diff.items > 0) {
        Body::SyncWants(request_id, diff)
    } else {
        Body::SyncDone(request_id, diff)
    }
}

impl<A: Address> Node<A> {
    /// Looks for answers to this node's own questions, which say how the claims beside them were
    /// heard.
    pub(super) fn find_answers(&self, from: A, datagram: &Datagram<'_, A>, reply: &mut Reply<A>) {
        let heard = &mut reply.heard;
        heard.rumor = self.anti_entropy.hears_rumors_from(from);
        let session = self.anti_entropy.session_with(from);
        if session.is_none() && !self.anti_entropy.joins_through(from) {
            return;
        }
        for frame in datagram.following() {
            let number = match frame {
                Frame::SyncVersions(head, _) => head.number,
                Frame::SyncWants(head, _) => head.number,
                Frame::SyncDone(done) => done.number,
                Frame::Page(page) if self.anti_entropy.is_page(from, RequestId(page.number)) => {
                    (heard.asked, heard.word_from) = (Asked::ToJoin, Some(from));
                    return;
                }
                _ => continue,
            };
            if session == Some(RequestId(number)) {
                (heard.asked, heard.word_from) = (Asked::InSession, Some(from));
            }
        }
    }

    /// Handles the frames of sync sessions, both of the session that this node opened and of those
    /// that partners opened.
    pub(super) fn on_sync(
        &mut self,
        from: A,
        datagram: &Datagram<'_, A>,
        frame: Frame<'_, A>,
        reply: &mut Reply<A>,
    ) {
        if datagram.sender == self.cx.this.id_hash.0 {
            // A session with a partner whose address leads back here compares nothing.
            self.cx.stats.datagrams_echoed += 1;
            return;
        }
        if let Frame::SyncVersions(_, ranges) = &frame {
            self.hear_versions(*ranges);
        }
        let session = self.anti_entropy.session_with(from);
        if let Frame::SyncDone(done) = frame {
            let (request_id, testimony) = (RequestId(done.number), reply.testimony);
            self.detector.on_testimony(from, request_id, testimony, &mut self.cx);
            reply.answers |= session == Some(request_id);
            self.id_conflict.on_vote(from, request_id, reply.held_under_id.as_ref());
        }
        let theirs = datagram.fingerprints;
        let (cx, anti_entropy) = (&mut self.cx, &mut self.anti_entropy);
        let told = if cx.asks_for_proof() { Told::Proved } else { Told::All };
        match frame {
            Frame::SyncOpen(open) => {
                let more = theirs != cx.table.fingerprints();
                let diff = Diff { more, ..Diff::default() };
                reply.body = Body::SyncDone(RequestId(open.number), diff);
            }
            Frame::SyncDigest(head, sums) => {
                let mask = differing(&cx.table, sums);
                let (mask, more) = some_buckets(&cx.table, mask, cx.mtu(), &mut cx.rng);
                reply.body = Body::SyncVersions(RequestId(head.number), mask, more);
            }
            Frame::SyncVersions(head, ranges) => {
                let request_id = RequestId(head.number);
                // Compare even if the fingerprints are equal: they do not cover dead members.
                let visited;
                (reply.diff, visited) = cx.outbox.diffs.compare(&cx.table, ranges, told);
                cx.stats.rows_visited += visited;
                reply.diff.more |= head.more;
                let (diff, asker) = (reply.diff, session == Some(request_id));
                reply.body = closing(request_id, diff, asker);
                if asker {
                    let none = diff == Diff::default();
                    anti_entropy.on_session_reply(theirs, diff.more, !none, none, cx);
                }
            }
            Frame::SyncWants(head, wants) => {
                let request_id = RequestId(head.number);
                let asker = session == Some(request_id);
                let visited;
                (reply.diff, visited) = cx.outbox.diffs.grant(&cx.table, wants, told);
                cx.stats.rows_visited += visited;
                if !asker {
                    // Repeat the asker's own flag in the reply: the asker keeps the session, and
                    // did not know that its rows would not fit when it sent them.
                    reply.diff.more |= head.more;
                }
                reply.body = closing(request_id, reply.diff, asker);
                if asker {
                    let ends = reply.diff.items == 0;
                    anti_entropy.on_session_reply(theirs, head.more, true, ends, cx);
                }
            }
            Frame::SyncDone(done) if session == Some(RequestId(done.number)) => {
                anti_entropy.on_session_reply(theirs, done.more, done.more, true, cx);
            }
            _ => {}
        }
    }
}
