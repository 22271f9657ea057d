//! The cost of a datagram: whatever it asks for, it is answered once, and the rows that are visited
//! for it are bounded by its bytes, those of the answer, and a constant.

use super::*;
use crate::membership::{PARTS, Place};
use crate::outbox::Body;
use crate::wire::{
    DigestHead, PARTS_LEN, PagePlace, PageRequest, PingReq, RangeHead, SumsHead, SyncOpen, Tree,
    VersionsHead, WantsHead, WireParts, WireSum, WireVersion, WireWant, kind,
};
use crate::work::max_rows;

/// A node that knows `members` others by these ids, all of this status.
fn knowing(ids: impl Iterator<Item = String>, status: Status) -> Node<u32> {
    let config = Config { max_members: 1 << 20, ..Config::default() };
    let mut node = node(1, &config);
    for (id, address) in ids.zip(100..) {
        let claim = Claim { id: &id, status, ..alive(address, 1) };
        let (_, slot) = node.cx.table.merge_at(node.cx.now, &claim);
        let slot = slot.unwrap();
        node.cx.table.heard(slot, node.cx.now, true);
        node.detector.schedule.add_member(slot, &mut node.cx);
        node.detector.set_status(slot, &claim, None, &mut node.cx);
        while node.poll_event().is_some() {}
    }
    node.cx.rumors = Default::default();
    node.quiet = node.is_quiet();
    drain(&mut node);
    node
}

fn names(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| alloc::format!("member-{n}"))
}

/// Ids that have one and the same hash. Of an id of 24 bytes, the last 8 are chosen so that they
/// cancel what the hash makes of the first 16.
pub(super) fn namesakes(count: usize) -> Vec<String> {
    const SECRET: [u64; 2] = [0x8bb8_4b93_962e_acc9, 0x4b33_a62e_d433_d4a3];
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        let low = u64::try_from(product & u128::from(u64::MAX)).unwrap();
        low ^ u64::try_from(product >> 64).unwrap()
    };
    let word = |text: &str| u64::from_le_bytes(text.as_bytes().try_into().unwrap());
    let mut ids = Vec::new();
    for n in 0_u64.. {
        let head = alloc::format!("{n:016}");
        let seed = fold(SECRET[1], SECRET[0]);
        let seed = fold(word(&head[..8]) ^ SECRET[1], word(&head[8..]) ^ seed);
        let tail = seed.to_le_bytes();
        if tail.iter().all(u8::is_ascii_graphic) {
            ids.push(head + core::str::from_utf8(&tail).unwrap());
        }
        if ids.len() == count {
            break;
        }
    }
    let hash = crate::id::full_id_hash(ids[0].as_bytes());
    assert!(ids.iter().all(|id| crate::id::full_id_hash(id.as_bytes()) == hash));
    ids
}

fn list(w: &mut Writer<'_>, kind: u8, items: impl FnOnce(&mut Writer<'_>)) {
    let open = w.open(kind).unwrap();
    items(w);
    w.close(open);
}

/// As many ranges without rows as fit, which together are the whole circle.
fn empty_ranges(w: &mut Writer<'_>) {
    list(w, kind::SYNC_VERSIONS, |w| {
        assert!(w.item(&VersionsHead { number: 1, more: false }));
        let count = u32::try_from(w.room() / 10).unwrap();
        let width = u32::MAX / count;
        for n in 0..count {
            let to = if n + 1 == count { u32::MAX } else { n * width + (width - 1) };
            assert!(w.item(&RangeHead { from: n * width, to, rows: 0 }));
        }
    });
}

fn whole_range(w: &mut Writer<'_>) {
    list(w, kind::SYNC_VERSIONS, |w| {
        assert!(w.item(&VersionsHead { number: 1, more: false }));
        assert!(w.item(&RangeHead { from: 0, to: u32::MAX, rows: 0 }));
    });
}

fn wants(w: &mut Writer<'_>, id_hash: impl Fn(u32) -> u32) {
    list(w, kind::SYNC_WANTS, |w| {
        assert!(w.item(&WantsHead { number: 1, more: false }));
        let mut n = 0;
        while w.room() > 8 {
            assert!(w.item(&WireWant { id_hash: id_hash(n), claim: n % 2 == 0, since: 0 }));
            n += 1;
        }
    });
}

fn digest(w: &mut Writer<'_>) {
    list(w, kind::SYNC_DIGEST, |w| {
        assert!(w.item(&DigestHead { number: 1 }));
        (0..64).for_each(|sum| assert!(w.item(&WireSum { sum })));
    });
}

/// The sums of the parts of as many ranges as fit, of 2^`bits` id hashes each.
fn parts(w: &mut Writer<'_>, bits: u8) {
    list(w, kind::SYNC_SUMS, |w| {
        assert!(w.item(&SumsHead { number: 1, more: false }));
        let count = 1_u32.checked_shl(32 - u32::from(bits)).unwrap_or(u32::MAX);
        for at in 0..count.min(u32::try_from(w.room() / PARTS_LEN).unwrap()) {
            let from = at.checked_shl(bits.into()).unwrap_or(0);
            assert!(w.item(&WireParts { from, bits, sums: [WireSum { sum: 1 }; PARTS] }));
        }
    });
}

/// A digest of a node that reads sums of parts.
fn digest_for_parts(w: &mut Writer<'_>) {
    assert!(w.frame(kind::SYNC_SUMS, &SumsHead { number: 1, more: false }));
    digest(w);
}

fn page_request(w: &mut Writer<'_>, from: u32, nth: u32) {
    assert!(w.frame(kind::PAGE_PLACE, &PagePlace { nth }));
    assert!(w.frame(kind::PAGE_REQUEST, &PageRequest { number: 1, from }));
}

/// Sends the node a datagram and returns the rows that it visits for it, beyond those that it may
/// visit.
fn beyond(node: &mut Node<u32>, bytes: &[u8]) -> u64 {
    let before = node.stats().rows_visited;
    hear(node, 9, bytes);
    let sent: usize = drain(node).iter().map(|(_, bytes)| bytes.len()).sum();
    let visited = node.stats().rows_visited - before;
    visited.saturating_sub(max_rows(bytes.len() as u64, sent as u64))
}

fn worst_datagrams() -> Vec<(&'static str, Vec<u8>)> {
    let id_hash = |n: u32| id(n).id_hash().0;
    let member = |n: u32| names(n + 1).last().unwrap();
    let known = move |n| NodeId::new(&member(n)).unwrap().id_hash().0;
    let mut rows: Vec<u32> = (0..100).map(known).collect();
    rows.sort_unstable();
    alloc::vec![
        ("empty ranges", datagram(9, empty_ranges)),
        ("one range without rows", datagram(9, whole_range)),
        ("the whole range again and again", datagram(9, |w| (0..40).for_each(|_| whole_range(w)))),
        ("wants of one member", datagram(9, |w| wants(w, |_| known(0)))),
        ("wants of all", datagram(9, |w| wants(w, known))),
        ("wants of unknown members", datagram(9, |w| wants(w, id_hash))),
        ("a digest in which all ranges differ", datagram(9, digest)),
        ("a digest for parts in which all ranges differ", datagram(9, digest_for_parts)),
        ("digests for parts", datagram(9, |w| (0..4).for_each(|_| digest_for_parts(w)))),
        ("the parts of the whole circle", datagram(9, |w| parts(w, 32))),
        ("the parts of sixteenths", datagram(9, |w| parts(w, 28))),
        ("the parts of hash ranges", datagram(9, |w| parts(w, 26))),
        ("the parts of short ranges", datagram(9, |w| parts(w, 4))),
        ("digests", datagram(9, |w| (0..4).for_each(|_| digest(w)))),
        ("the first page", datagram(9, |w| page_request(w, 0, 0))),
        ("a page behind all", datagram(9, |w| page_request(w, 1, u32::MAX))),
        ("pages", datagram(9, |w| (0..60).for_each(|n| page_request(w, n, n)))),
        (
            "rows that are outdated",
            datagram(9, |w| {
                list(w, kind::SYNC_VERSIONS, |w| {
                    assert!(w.item(&VersionsHead { number: 1, more: true }));
                    let len = u16::try_from(rows.len()).unwrap();
                    assert!(w.item(&RangeHead { from: 0, to: u32::MAX, rows: len }));
                    for &id_hash in &rows {
                        assert!(w.item(&WireVersion {
                            id_hash,
                            content: 0,
                            status: 0,
                            generation: 0,
                            telemetry: 0,
                        }));
                    }
                });
            }),
        ),
    ]
}

#[test]
fn no_datagram_visits_more_rows_than_its_bytes_and_those_of_the_answer_and_a_constant() {
    for (members, status) in
        [(250, Status::Alive), (250, Status::Left), (10_000, Status::Alive), (10_000, Status::Left)]
    {
        let mut node = knowing(names(members), status);
        for (what, bytes) in worst_datagrams() {
            let rows = beyond(&mut node, &bytes);
            assert!(rows == 0, "{what}: {rows} rows too many of {members} {status}");
        }
        // Pieces of the table are given out once the first pages of a second are spent.
        let first = datagram(9, |w| page_request(w, 0, 0));
        for _ in 0..20 {
            let rows = beyond(&mut node, &first);
            assert!(rows == 0, "a piece: {rows} rows too many of {members} {status}");
        }
        // The answers to a member that has proved its address are longer.
        let (_, slot) = node.cx.table.merge_at(node.cx.now, &alive(9, 1));
        node.detector.schedule.add_member(slot.unwrap(), &mut node.cx);
        node.cx.table.heard(slot.unwrap(), node.cx.now, true);
        for (what, bytes) in worst_datagrams() {
            let rows = beyond(&mut node, &bytes);
            assert!(rows == 0, "{what}, verified: {rows} rows too many of {members} {status}");
        }
    }
}

#[test]
fn ids_made_for_one_hash_cost_no_more_than_others() {
    let ids = namesakes(10_000);
    let id_hash = NodeId::new(&ids[0]).unwrap().id_hash().0;
    let mut node = knowing(ids.iter().cloned(), Status::Alive);
    for bytes in [
        datagram(9, |w| wants(w, |_| id_hash)),
        datagram(9, |w| page_request(w, id_hash, 5_000)),
        datagram(9, whole_range),
        datagram(9, digest),
    ] {
        let rows = beyond(&mut node, &bytes);
        assert!(rows == 0, "{rows} rows too many");
    }
    for id in [&ids[0], &ids[4_999], &ids[9_999]] {
        let slot = node.cx.table.find(id).unwrap();
        let rank = node.cx.table.rank(slot).unwrap();
        assert_eq!(node.cx.table.at_rank(rank), Some(slot), "{id} is found where it stands");
    }
}

#[test]
fn the_first_question_of_a_datagram_is_answered_and_the_others_are_counted() {
    type Put = fn(&mut Writer<'_>);
    let questions: [(&str, Put); 7] = [
        ("sync open", |w| assert!(w.frame(kind::SYNC_OPEN, &SyncOpen { number: 1 }))),
        ("digest", digest),
        ("versions", whole_range),
        ("wants", |w| {
            list(w, kind::SYNC_WANTS, |w| {
                assert!(w.item(&WantsHead { number: 1, more: false }));
            });
        }),
        ("page request", |w| {
            assert!(w.frame(kind::PAGE_REQUEST, &PageRequest { number: 1, from: 0 }));
        }),
        ("tree", |w| assert!(w.frame(kind::TREE, &Tree { number: 1, end: 0 }))),
        ("ping-req", |w| {
            let address = 5_u32.to_be_bytes();
            let ping_req = PingReq { number: 1, target: id(5).id_hash().0, address: &address };
            assert!(w.frame(kind::PING_REQ, &ping_req));
        }),
    ];
    let answers = |bytes: &[u8]| {
        let mut node = knowing(names(40), Status::Alive);
        hear(&mut node, 9, bytes);
        let receivers: Vec<(u32, usize)> =
            drain(&mut node).iter().map(|(to, bytes)| (*to, frames(bytes).len())).collect();
        (receivers, node.stats().frames_beyond_limit)
    };
    for (first, put_first) in questions {
        let (alone, none) = answers(&datagram(9, put_first));
        assert_eq!((alone.len(), none), (1, 0), "{first}");
        for (second, put_second) in questions {
            let (both, ignored) = answers(&datagram(9, |w| {
                put_first(w);
                (0..3).for_each(|_| put_second(w));
            }));
            assert_eq!((both.len(), ignored), (1, 3), "{first}, then {second}");
            assert_eq!(both[0].0, alone[0].0, "{first}, then {second}");
        }
    }
}

#[test]
fn further_frames_of_claims_are_ignored_and_counted() {
    let mut node = node(1, &Config::default());
    let one = |address| claims(9, &[alive(address, 0)]);
    let header = crate::wire::HEADER_LEN;
    let mut bytes = one(20);
    (21..30).for_each(|address| bytes.extend_from_slice(&one(address)[header..]));
    hear(&mut node, 9, &bytes);
    assert_eq!(node.stats().frames_beyond_limit, 6);
    assert!(node.member("n30").is_none());
}

#[test]
fn a_node_accepts_datagrams_up_to_1500_bytes_or_its_own_mtu_and_sends_none_above_it() {
    for (mtu, longest) in [(800, 1_500), (1_232, 1_500), (2_000, 2_000)] {
        let mut node = node(1, &Config { mtu, ..Config::default() });
        let padded = |len: usize| {
            let mut bytes = datagram(9, |_| {});
            // A frame of an unknown kind, with a length of three bytes.
            let body = len - bytes.len() - 4;
            let low = u8::try_from(body & 0x7f | 0x80).unwrap();
            let middle = u8::try_from(body >> 7 & 0x7f | 0x80).unwrap();
            bytes.extend([200, low, middle, u8::try_from(body >> 14).unwrap()]);
            bytes.resize(len, 0);
            bytes
        };
        hear(&mut node, 9, &padded(longest));
        let now = node.now();
        let bytes = padded(longest + 1).into();
        let refused = node.handle(now, Input::Datagram { from: 9, bytes });
        let error = WireError::TooLong { len: longest + 1, max: longest };
        assert_eq!(refused, Err(error.into()));
        let stats = node.stats();
        assert_eq!((stats.datagrams_received, stats.datagrams_malformed), (1, 1));
    }
    let mut node = knowing(names(250), Status::Alive);
    let intent = crate::outbox::Intent::new(9, None, 9_000);
    node.cx.ask(intent.with_body(Body::Page(Default::default(), Place::default())));
    let mut buf = [0; 4_000];
    let sent = node.poll_transmit(&mut buf).unwrap();
    assert!(sent.len <= 1_232, "{} bytes", sent.len);
}

#[test]
fn a_newcomer_joins_behind_any_number_of_ids_of_one_hash() {
    for count in [30, 300] {
        let ids = namesakes(count);
        let mut net = Net::new(2, &Config::default());
        for (id, address) in ids.iter().zip(100..) {
            let claim = Claim { id, ..alive(address, 1) };
            let cx = &mut net.node(1).cx;
            let (_, slot) = cx.table.merge_at(cx.now, &claim);
            cx.table.introduced(slot.unwrap());
            let node = net.node(1);
            node.detector.schedule.add_member(slot.unwrap(), &mut node.cx);
        }
        net.input(2, Input::Join { seeds: alloc::vec![1].into() });
        net.run_for(Duration::from_millis(100));
        let joined =
            net.events(2).into_iter().any(|event| event == Event::JoinCompleted { seed: 1 });
        assert!(joined, "the join ends with {count} of one hash");
        for id in &ids {
            assert!(net.node(2).member(id).is_some(), "{id} of {count}");
        }
    }
}

#[test]
fn an_id_with_the_hash_of_a_member_is_not_in_the_cluster_config() {
    let ids = namesakes(2);
    let mut node = node(1, &Config::default());
    let members = [id(1), id(9), NodeId::new(&ids[0]).unwrap()];
    let now = node.now();
    node.handle(now, Input::ApplyClusterConfig { version: 1, members: (&members[..]).into() })
        .unwrap();
    hear(&mut node, 9, &claims(9, &[Claim { id: &ids[1], ..alive(9, 1) }]));
    assert!(node.member(&ids[1]).is_none(), "another id was taken for the one in the config");
    assert_eq!(node.stats().claims_not_in_config, 1);
}

#[test]
fn members_of_one_hash_stand_in_the_order_of_their_ids_whatever_the_order_of_arrival() {
    let ids = namesakes(20);
    let order = |ids: &[&String]| {
        let mut table = Membership::<u32>::new(100);
        for id in ids {
            table.merge(Instant::ORIGIN, &Claim { id: id.as_str(), ..alive(1, 1) });
        }
        table.iter().map(|member| String::from(member.id())).collect::<Vec<_>>()
    };
    let (there, back): (Vec<_>, Vec<_>) = (ids.iter().collect(), ids.iter().rev().collect());
    assert_eq!(order(&there), order(&back));
    assert!(order(&there).is_sorted());
}
