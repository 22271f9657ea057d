//! The frames of sync sessions, both of the session that this node opened and of those that
//! partners opened; and which frames answer this node's own questions.

use super::Node;
use super::apply::Asked;
use super::reply::Reply;
use crate::address::Address;
use crate::anti_entropy::diff::{Told, differing};
use crate::anti_entropy::narrow::buckets_of;
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
    /// Asks a seed again, if that is due.
    pub(super) fn ask_seeds(&mut self) {
        let Self { cx, detector, anti_entropy, .. } = self;
        if anti_entropy.seeds_due_at(cx).is_some_and(|at| at <= cx.now) {
            let live = cx.table.live() as usize;
            let cut_off = detector.roll_calls.isolated_since().is_some() || !cx.has_others();
            let most_are_gone = cx.table.len().saturating_sub(live) >= live;
            anti_entropy.seeds.ask(cut_off || most_are_gone, cx);
        }
    }

    /// Looks for answers to this node's own questions, which say how the claims beside them were
    /// heard.
    pub(super) fn find_answers(&self, from: A, datagram: &Datagram<'_, A>, reply: &mut Reply<A>) {
        let heard = &mut reply.heard;
        heard.rumor = self.anti_entropy.hears_rumors_from(from);
        let session = self.anti_entropy.session_number();
        if session.is_none() && self.anti_entropy.join.is_none() {
            return;
        }
        for frame in datagram.following() {
            let number = match frame {
                Frame::SyncSums(head, _) => head.number,
                Frame::SyncVersions(head, _) => head.number,
                Frame::SyncWants(head, _) => head.number,
                Frame::SyncDone(done) => done.number,
                Frame::Page(page)
                    if self.anti_entropy.seed_asked(RequestId(page.number)).is_some() =>
                {
                    let again = self.anti_entropy.join.as_ref().is_some_and(|join| join.again);
                    // A node that has joined before believes in no member that has not answered.
                    heard.asked = if again { Asked::InSession } else { Asked::ToJoin };
                    heard.word_from = Some(from);
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
        let session = self.anti_entropy.session_number();
        if let Frame::SyncDone(done) = frame {
            let (request_id, testimony) = (RequestId(done.number), reply.testimony);
            self.detector.on_testimony(request_id, testimony, &mut self.cx);
            reply.answers |= session == Some(request_id);
            let theirs = datagram.fingerprints;
            reply.answers |= self.anti_entropy.on_seed_answer(request_id, theirs, &mut self.cx);
            self.id_conflict.on_vote(request_id, reply.held_under_id.as_ref());
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
                let request_id = RequestId(head.number);
                let mask = differing(&cx.table, sums);
                reply.body = if reply.reads_parts {
                    for range in buckets_of(mask) {
                        cx.outbox.diffs.range(&mut reply.diff, range);
                    }
                    Body::SyncRanges(request_id, reply.diff)
                } else {
                    Body::SyncVersions(request_id, mask)
                };
            }
            Frame::SyncSums(_, split) if split.is_empty() => reply.reads_parts = true,
            Frame::SyncSums(head, split) => {
                let request_id = RequestId(head.number);
                let asker = session == Some(request_id);
                let visited;
                (reply.diff, visited) = cx.outbox.diffs.compare_parts(&cx.table, split, request_id);
                cx.stats.rows_visited += visited;
                reply.diff.more |= head.more;
                let (diff, equal) = (reply.diff, reply.diff.ranges == 0);
                // Parts that are equal by now leave nothing to say.
                if !equal {
                    reply.body = Body::SyncRanges(request_id, diff);
                } else if !asker {
                    reply.body = Body::SyncDone(request_id, diff);
                }
                if asker {
                    anti_entropy.on_session_reply(
                        theirs,
                        diff.more,
                        !equal || diff.more,
                        equal,
                        cx,
                    );
                }
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
                    // The partner does not answer a done, whether rows were left out or not.
                    let none = diff.items == 0 && diff.wants == 0;
                    anti_entropy.on_session_reply(theirs, diff.more, !none || diff.more, none, cx);
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
