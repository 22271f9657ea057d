//! Two nodes whose large tables differ in one row find it in one session, wherever it stands.

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
            let claim = Claim { id: &id, status, ..alive(n, 1) };
            let (_, slot) = node.cx.table.merge_at(node.cx.now, &claim);
            if n > live {
                node.cx.tombstones.set(slot.unwrap(), node.cx.now + node.cx.config.tombstone_ttl);
            }
        }
        node.cx.rumors = Default::default();
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
    net.deliver();
    let bytes = net.log.iter().map(|(_, _, bytes)| bytes.len()).sum();
    (net.node(asker).stats().syncs - before, bytes)
}

#[test]
fn any_row_that_differs_is_found_in_one_exchange() {
    const TRIED: u32 = 40;
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
            let claim = Claim { id: &id, ..alive(of, 2) };
            node.cx.table.merge_at(node.cx.now, &claim);
            let (sessions, bytes) = exchange(&mut net, 1 + n / 2 % 2);
            assert!(are_equal(&net), "{rows} rows: {id} differs after {sessions} sessions");
            assert!(sessions == 1 && bytes <= MAX_EXCHANGE_BYTES, "{sessions}, {bytes} bytes");
        }
    }
}
