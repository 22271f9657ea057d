//! Two nodes whose large tables differ in one row find it in one session, wherever it stands. So do
//! nodes left to themselves; between two versions of nodes it takes some sessions more.

use super::*;
use crate::anti_entropy::session::MAX_CHAINED_SESSIONS;
use crate::membership::Fingerprints;

/// The most bytes of all datagrams of one exchange.
const MAX_EXCHANGE_BYTES: usize = 4_096;

/// The nodes `n1` and `n2`, which hold the same records of `rows` members; of these, the first
/// `live` are Alive, and the others have left.
fn twins(rows: u32, live: u32, mode: Mode) -> Net {
    let config = Config { mode, max_members: 1 << 17, ..Config::default() };
    let mut net = Net::joined(2, &config);
    net.log.clear();
    for address in 1..=2 {
        let node = net.node(address);
        for n in 3..=rows {
            let status = if n <= live { Status::Alive } else { Status::Left };
            let id = name(n);
            // Members without an address are not probed, so nothing else tells of them.
            let claim = Claim { id: &id, status, address: None, ..alive(n, 1) };
            let (_, slot) = node.cx.table.merge_at(node.cx.now, &claim);
            let slot = slot.unwrap();
            if n <= live {
                node.cx.table.heard(slot, node.cx.now, true);
                node.detector.schedule.add_member(slot, &mut node.cx);
            } else {
                node.cx.tombstones.set(slot, node.cx.now + node.cx.config.tombstone_ttl);
            }
        }
        node.cx.rumors = Default::default();
        node.quiet = node.is_quiet();
    }
    assert!(are_equal(&net));
    net
}

fn are_equal(net: &Net) -> bool {
    net.nodes[0].cx.table.fingerprints() == net.nodes[1].cx.table.fingerprints()
}

/// Lets `asker` open a session with the other node, and returns how many sessions that makes, and
/// their bytes.
fn exchange(net: &mut Net, asker: u32) -> (u64, usize) {
    let partner = name(3 - asker);
    let before = net.node(asker).stats().syncs;
    net.log.clear();
    let node = net.node(asker);
    let slot = node.cx.table.find(&partner).unwrap();
    let (theirs, chain) = (Fingerprints::default(), MAX_CHAINED_SESSIONS);
    node.anti_entropy.open_session(slot, theirs, true, chain, &mut node.cx);
    node.quiet = node.is_quiet();
    // With its ticks: each session after the first begins in one.
    net.run_for(Duration::ZERO);
    let bytes = net.log.iter().map(|(_, _, bytes)| bytes.len()).sum();
    (net.node(asker).stats().syncs - before, bytes)
}

#[test]
fn any_row_that_differs_is_found_in_one_exchange() {
    const TRIED: u32 = 24;
    for (rows, live) in [
        (250, 250),
        (8_000, 8_000),
        (16_384, 16_384),
        (8_000, 1_000),
        (16_384, 1_000),
        (100_000, 1_000),
    ] {
        let mut net = twins(rows, live, Mode::OnDemand);
        for n in 0..TRIED {
            let of = 3 + (live - 3) * n / (TRIED - 1);
            let (id, changed) = (name(of), 1 + n % 2);
            let node = net.node(changed);
            let claim = Claim { id: &id, address: None, ..alive(of, 2) };
            node.cx.table.merge_at(node.cx.now, &claim);
            let (sessions, bytes) = exchange(&mut net, 1 + n / 2 % 2);
            assert!(are_equal(&net), "{rows} rows: {id} differs after {sessions} sessions");
            assert!(sessions == 1 && bytes <= MAX_EXCHANGE_BYTES, "{sessions}, {bytes} bytes");
        }
    }
}

/// The datagram that ends a session may have a reply and a ping as its answers already.
#[test]
fn a_session_that_follows_another_at_once_begins_in_a_tick() {
    let mut net = twins(1_000, 1_000, Mode::OnDemand);
    for n in 3..=1_000 {
        let (id, node) = (name(n), net.node(1));
        let claim = Claim { id: &id, address: None, ..alive(n, 2) };
        node.cx.table.merge_at(node.cx.now, &claim);
    }
    let (before, node) = (net.node(2).stats().syncs, net.node(2));
    let slot = node.cx.table.find(&name(1)).unwrap();
    let (theirs, chain) = (Fingerprints::default(), MAX_CHAINED_SESSIONS);
    node.anti_entropy.open_session(slot, theirs, true, chain, &mut node.cx);
    node.quiet = node.is_quiet();
    net.deliver();
    assert_eq!(net.node(2).stats().syncs - before, 1);
    net.run_for(Duration::ZERO);
    assert!(net.node(2).stats().syncs - before > 1 && are_equal(&net));
}

#[test]
fn nodes_left_to_themselves_settle_within_half_a_minute() {
    let mut net = twins(16_384, 20, Mode::Autonomous);
    for of in 3..13 {
        let (id, changed) = (name(of), 1 + of % 2);
        let node = net.node(changed);
        let claim = Claim { id: &id, address: None, ..alive(of, 2) };
        node.cx.table.merge_at(node.cx.now, &claim);
        net.run_for(Duration::from_secs(30));
        assert!(are_equal(&net), "{id} differs");
    }
}

/// A node of a version that knows no sums of parts gets the rows that fit, from another one on in
/// each session, so that it finds the difference, too, if later.
#[test]
fn a_node_that_knows_no_sums_of_parts_is_served_as_well() {
    let mut net = twins(16_384, 16_384, Mode::OnDemand);
    for n in 0..4 {
        let of = 100 + 4_000 * n;
        let (id, node) = (name(of), net.node(1 + n % 2));
        let claim = Claim { id: &id, address: None, ..alive(of, 2) };
        node.cx.table.merge_at(node.cx.now, &claim);
        // The old version skips the frame before its digest, and does not write it.
        net.older = Some(1);
        let found = (0..40).any(|_| {
            let (_, bytes) = exchange(&mut net, 1);
            assert!(bytes <= MAX_EXCHANGE_BYTES);
            // Rows that were left out do not make it wait for an answer that never comes.
            assert!(net.node(1).anti_entropy.session.is_none(), "the session is over");
            are_equal(&net)
        });
        assert!(found, "{id} differs");
        // A new version that asks an old one gets what the old one has always said.
        net.older = Some(2);
        let before = net.node(1).stats().syncs_failed;
        exchange(&mut net, 1);
        assert_eq!(net.node(1).stats().syncs_failed, before);
        assert!(net.node(1).anti_entropy.session.is_none(), "the session is over");
    }
}
