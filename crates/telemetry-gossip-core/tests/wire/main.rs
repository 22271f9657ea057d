//! The wire as `docs/wire.md` describes it, seen from outside: a reader made from that page reads
//! the golden datagrams, and all that nodes say to each other in a small cluster's life; a writer
//! made from it writes the same bytes; what the reader must refuse a node refuses by a typed error.
//! The fuzz targets use both.

extern crate alloc;

mod life;
mod meaning;
mod reader;
mod writer;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use meaning::{Golden, Hex, Status};
use telemetry_gossip_core::{
    Config, Identity, Input, InputError, Instant, Label, Node, NodeId, WIRE_VERSION, WireError,
};

fn config(label: u32) -> Config {
    Config::default().label(Label(label))
}

fn node(label: u32) -> Node<SocketAddr> {
    let address = SocketAddr::from(([10, 0, 0, 1], 7946));
    let identity = Identity::new(NodeId::new("n1").expect("an id"), address);
    Node::new(config(label), identity, [1; 32], Instant::ORIGIN).expect("a valid config")
}

fn hear(node: &mut Node<SocketAddr>, bytes: &[u8]) -> Result<(), InputError> {
    let from = SocketAddr::from(([10, 0, 0, 9], 7946));
    node.handle(Instant::ORIGIN, Input::Datagram { from, bytes: bytes.into() })
}

#[test]
fn a_reader_made_from_the_page_reads_the_golden_datagrams() {
    let golden = Golden::load();
    for case in golden.datagrams.iter().chain(&golden.also_read) {
        let (header, frames) = reader::datagram(&case.hex.0, golden.header.label)
            .unwrap_or_else(|bad| panic!("{}: {bad:?}", case.name));
        assert_eq!(header, golden.header, "{}", case.name);
        assert_eq!(frames, case.frames, "{}", case.name);
        assert_eq!(hear(&mut node(golden.header.label), &case.hex.0), Ok(()), "{}", case.name);
    }
    for case in &golden.refused {
        assert!(reader::datagram(&case.bytes(), golden.header.label).is_err(), "{}", case.name);
    }
}

#[test]
fn a_writer_made_from_the_page_writes_the_golden_datagrams() {
    let golden = Golden::load();
    for case in &golden.datagrams {
        assert_eq!(Hex(writer::datagram(&golden.header, &case.frames)), case.hex, "{}", case.name);
    }
}

#[test]
fn hashes_and_fingerprints_are_computed_as_the_page_says() {
    let golden = Golden::load();
    for case in &golden.hashes {
        let hash = reader::hash(&case.hex.0);
        assert_eq!(format!("{hash:016x}"), case.hash, "{:?}", case.hex);
        if let Ok(id) = String::from_utf8(case.hex.0.clone())
            .map_err(drop)
            .and_then(|id| NodeId::new(&id).map_err(drop))
        {
            assert_eq!(u64::from(id.id_hash().0), hash >> 32, "{id}");
        }
    }
    for case in &golden.labels {
        assert_eq!(Label::of(&case.name).0, case.label, "{}", case.name);
    }
    let table = &golden.table;
    let rank = |status| match status {
        Status::Alive => 0,
        Status::Suspected => 1,
        Status::Dead => 2,
        Status::Left => 3,
    };
    let rows: Vec<reader::Row> = table
        .rows
        .iter()
        .map(|row| reader::Row {
            id: row.id.as_bytes().to_vec(),
            address: row.address.0.clone(),
            instance: row.instance,
            generation: row.generation,
            status: rank(row.status),
            telemetry: row.telemetry,
        })
        .collect();
    assert_eq!(reader::fingerprints(&rows), [table.claims, table.telemetry]);
    assert_eq!(
        (reader::digest(&rows, 16), reader::digest(&rows, 64)),
        (table.digest16.clone(), table.digest64.clone())
    );
    assert_eq!(rows.iter().map(reader::Row::content).collect::<Vec<_>>(), table.contents);
}

/// What of an error a peer can see to: its variant, and what it names.
fn named(error: WireError) -> String {
    match error {
        WireError::TooLong { .. } => "too long".into(),
        WireError::Truncated => "truncated".into(),
        WireError::Version(version) => format!("version {version}"),
        WireError::Label => "label".into(),
        WireError::Malformed(what) => format!("malformed {what}"),
        WireError::Rule { field, rule, .. } => format!("{field}: {rule}"),
        other => panic!("{other:?} has no name in the golden file"),
    }
}

/// What can be malformed, and the fields that have rules. (That a value has less than 65,535 bytes
/// is a rule that no datagram is long enough to break.)
const ERRORS: [&str; 40] = [
    "too long",
    "truncated",
    "version 2",
    "label",
    "malformed ping",
    "malformed ack",
    "malformed nack",
    "malformed ping-req",
    "malformed address",
    "malformed claim",
    "malformed telemetry",
    "malformed telemetry entry",
    "malformed sync open",
    "malformed sync digest",
    "malformed sync sums",
    "malformed sync parts",
    "malformed sync versions",
    "malformed sync range",
    "malformed sync wants",
    "malformed sync want",
    "malformed sync done",
    "malformed page request",
    "malformed page",
    "malformed page place",
    "malformed sum of the gone",
    "malformed tree",
    "malformed tree ack",
    "id: 1 to 127 bytes without control characters",
    "status: 0 to 3",
    "generation: leaves room for a refutation",
    "accusers: only of a suspicion",
    "age: only of the dead and the left",
    "telemetry version: below 2^48",
    "telemetry version: entries ascend from the version before them",
    "telemetry key: 1 to 255 bytes of text",
    "sync digest: 16 or 64 ranges",
    "sync parts: 2^4 to 2^32 id hashes from a multiple on",
    "sync parts: ranges ascend and do not overlap",
    "sync range: ranges ascend and do not overlap",
    "sync version: rows ascend within their range",
];

#[test]
fn a_node_refuses_each_bad_datagram_by_its_error_and_only_counts_it() {
    let golden = Golden::load();
    let (mut node, mut seen) = (node(golden.header.label), BTreeSet::new());
    let before = (node.membership().fingerprint(), node.membership().len(), node.poll_timeout());
    for case in &golden.refused {
        let counted = |node: &Node<SocketAddr>| {
            let stats = node.stats();
            [
                stats.datagrams_malformed,
                stats.datagrams_other_version,
                stats.datagrams_other_label,
                stats.datagrams_received,
            ]
        };
        let was = counted(&node);
        let error = match hear(&mut node, &case.bytes()) {
            Err(InputError::Datagram(error)) => error,
            other => panic!("{}: {other:?}", case.name),
        };
        assert_eq!(named(error), case.error, "{}", case.name);
        let counter = match error {
            WireError::Version(_) => 1,
            WireError::Label => 2,
            _ => 0,
        };
        let mut now = was;
        now[counter] += 1;
        assert_eq!(counted(&node), now, "{}", case.name);
        seen.insert(case.error.clone());
    }
    assert_eq!(
        (node.membership().fingerprint(), node.membership().len(), node.poll_timeout()),
        before
    );
    assert!(node.poll_transmit(&mut [0; 1_400]).is_none(), "a bad datagram is answered");
    let all: BTreeSet<String> = ERRORS.into_iter().map(Into::into).collect();
    assert_eq!(seen, all, "an error is not in the corpus, or not in the list");
}

#[test]
fn unknown_frames_are_skipped_and_what_stands_beside_them_counts() {
    let golden = Golden::load();
    let case = golden
        .datagrams
        .iter()
        .find(|case| case.name.contains("later version"))
        .expect("it is there");
    let mut node = node(golden.header.label);
    while node.poll_transmit(&mut [0; 1_400]).is_some() {}
    hear(&mut node, &case.hex.0).expect("a later version's datagram");
    assert_eq!(node.stats().frames_unknown, 3);
    assert_eq!(node.stats().datagrams_received, 1);
    // What is said of a member that is not known is looked into first: it is pinged.
    assert_eq!(node.stats().claims_waited, 1, "the claims between unknown frames are read");
    assert!(node.poll_transmit(&mut [0; 1_400]).is_some());
    assert_eq!(case.hex.0[0], WIRE_VERSION);
}
