//! Documents and edits: each rule of a document is named, and whatever an operator does in whatever
//! order, the list is what the edits say, and written and read the same.

mod edits;

use telemetry_gossip_registry::document::{
    MAX_ADDRESSES, MAX_BYTES, MAX_LABELS, MAX_TEXT, MAX_VERSION,
};
use telemetry_gossip_registry::{Document, DocumentError, Edition};

const CLUSTER: &str = "cluster = \"7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10\"";

/// A document with these lines after its cluster.
fn read(lines: &str) -> Result<Document, DocumentError> {
    Document::parse(format!("{CLUSTER}\n{lines}").as_bytes())
}

#[test]
fn each_broken_rule_is_named_with_the_node_that_breaks_it() {
    let many = |count: usize, item: &str| vec![item; count].join(", ");
    let labels: Vec<String> = (0..=MAX_LABELS).map(|at| format!("l{at} = \"x\"")).collect();
    let table: [(String, &str); 17] = [
        (
            "version = 0".into(),
            "the document has version 0: versions go from 1 to 9007199254740992",
        ),
        (format!("version = {}", MAX_VERSION + 1), "versions go from 1"),
        ("version = -1".into(), "line 2 of the document cannot be read"),
        ("version = 1\nversoin = 1".into(), "line 3 of the document cannot be read: unknown field"),
        ("version = 1\nforced = 2".into(), "`forced` is 2, above the version of the document, 1"),
        ("version = 1\nrecovered = 2".into(), "`recovered` is 2, above"),
        ("version = 1\n[members.\"a b\"]".into(), "`a b` is no node id: "),
        ("version = 1\n[members.a]\nsince = 2".into(), "`members.a.since` is 2, above"),
        (
            "version = 1\n[members.a]\n[removed.a]\nremoved = 1".into(),
            "`a` is a member and removed at once: delete one",
        ),
        (
            format!("version = 1\n[members.a]\naddresses = [{}]", many(MAX_ADDRESSES + 1, "'h:1'")),
            "`a` has 9 addresses: at most 8 are allowed",
        ),
        (
            "version = 1\n[members.a]\naddresses = ['h']".into(),
            "`h` of `a` is no address: write HOST:PORT",
        ),
        ("version = 1\n[members.a]\naddresses = ['h:0']".into(), "`h:0` of `a` is no address"),
        ("version = 1\n[members.a]\naddresses = ['[::1]:7', '::1:7']".into(), "`::1:7` of `a`"),
        (
            format!("version = 1\n[members.a]\nlabels = {{ {} }}", labels.join(", ")),
            "`a` has 17 labels: at most 16 are allowed",
        ),
        (
            format!("version = 1\nlabel = \"{}\"", "x".repeat(MAX_TEXT + 1)),
            "`label` is no plain text: 1 to 255 bytes are allowed",
        ),
        (
            "version = 1\n[removed.a]\nremoved = 1\nwhy = \"\\u001b[31m\"".into(),
            "`removed.a.why` is no plain text",
        ),
        ("version = 1\n[removed.a]\nremoved = 2".into(), "`removed.a.removed` is 2, above"),
    ];
    for (lines, expected) in table {
        let error = read(&lines).expect_err(&lines).to_string();
        assert!(error.contains(expected), "{lines}\n{error}");
    }
}

#[test]
fn a_document_that_is_too_long_or_no_text_is_refused_before_it_is_read() {
    let error = Document::parse(&vec![b' '; MAX_BYTES + 1]).unwrap_err();
    assert!(error.to_string().starts_with("the document has 8388609 bytes"), "{error}");
    let error = Document::parse(b"version = 1\n\xff").unwrap_err();
    assert_eq!(error.to_string(), "the document is not UTF-8 from byte 12 on");
    assert!(Document::parse(b"").unwrap_err().to_string().contains("missing field `cluster`"));
    assert!(read("").unwrap_err().to_string().contains("missing field `version`"));
    assert!(Document::parse(b"cluster = 'prod'\nversion = 1").is_err(), "no UUID");
}

#[test]
fn a_list_that_a_template_writes_needs_a_cluster_a_version_and_names() {
    let document =
        read("version = 7\n[members]\nedge-1 = {}\n\"edge.2\" = { seed = true }").unwrap();
    let members: Vec<(String, bool)> =
        document.members().map(|(id, member)| (id.to_string(), member.seed)).collect();
    assert_eq!(members, [("edge-1".to_owned(), false), ("edge.2".to_owned(), true)]);
    assert_eq!((document.label(), document.forced(), document.previous()), ("", 0, None));
}

#[test]
fn a_list_of_members_is_read_from_any_document_and_from_less() {
    let of = |text: &str| Document::parse_members(text.as_bytes());
    let members = of("[members.a]\naddresses = ['10.0.0.1:7946']\nsince = 40").unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(of(&format!("{CLUSTER}\nversion = 3\n[members.a]")).unwrap().len(), 1);
    assert!(of("[members.a]\nadresses = []").unwrap_err().to_string().contains("unknown field"));
}

#[test]
fn ten_thousand_members_are_read() {
    let mut text = format!("{CLUSTER}\nversion = 1\n");
    for at in 0..10_000 {
        text += &format!("[members.edge-{at}]\naddresses = [\"10.0.0.1:7946\"]\nsince = 1\n");
    }
    let edition = Edition::parse(text.as_bytes()).unwrap();
    assert_eq!(edition.document().members().len(), 10_000);
}
