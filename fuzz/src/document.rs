//! Target `document`: what a store may contain, as bytes.
//!
//! The first byte says what the others are: a document, a head, the location of a store, or a head
//! and a document that a follower is given as what the store has. The parsers accept no bytes that
//! break a rule: whatever they accept is written and read the same, can be edited, and is applied
//! by a follower only if the head names it.

use telemetry_gossip_core::{Instant, Label, NodeId};
use telemetry_gossip_registry::document::{MAX_BYTES, MAX_MEMBERS, MAX_VERSION};
use telemetry_gossip_registry::follow::{Action, Fleet, Follower, Kept, Settings};
use telemetry_gossip_registry::head::MAX_HEAD;
use telemetry_gossip_registry::{
    ClusterId, Document, Edition, Head, Location, Member, Stamp, StoreError, guard,
};

use crate::seeds::Seed;

/// What the bytes after the first one are.
const KINDS: u8 = 4;

/// The version in force at the follower.
const IN_FORCE: &str = "cluster = \"01010101-0101-4101-8101-010101010101\"\nversion = 3\n\
    [members.a]\n[members.b]\n[members.c]\n[members.d]\n[members.e]\n[members.f]\n[members.g]\n";

/// Carries out an input.
///
/// # Panics
/// If a rule is broken.
pub fn run(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % KINDS {
        0 => document(bytes),
        1 => head(bytes),
        2 => location(bytes),
        _ => store(bytes),
    }
}

fn document(bytes: &[u8]) {
    let Ok(edition) = Edition::parse(bytes) else { return };
    let document = edition.document();
    assert!((1..=MAX_VERSION).contains(&document.version()) && bytes.len() <= MAX_BYTES);
    assert!(document.members().len() <= MAX_MEMBERS);
    let both = document.members().find(|(id, _)| document.removed_node(id.as_str()).is_some());
    assert_eq!(both, None, "a member and removed");

    // What is written says the same.
    if let Ok(again) = edition.recover(document.version()) {
        same_members(document, again.document());
        assert_eq!(again.document().forced(), again.version());
    }
    // A list has the table of its members; a document without any may leave it out.
    if document.members().len() > 0 {
        let listed = Document::parse_members(bytes).expect("a document is a list of members");
        assert_eq!(listed.len(), document.members().len());
    }

    // Each edit gives a document, or names its rule.
    let stamp = Stamp::new("fuzz", "a \"reason\"\n");
    let first = document.members().next().map(|(id, _)| id);
    if let Some(first) = first {
        if let Ok(removed) = edition.remove(&[first], None, &stamp) {
            assert!(removed.document().member(first.as_str()).is_none());
            // The last version that there is may have been reached.
            if let Ok(back) = removed.readmit(first) {
                assert!(back.document().member(first.as_str()).is_some());
            }
        }
        let _ = edition.replace(first, Vec::new());
    }
    let newcomer: NodeId = "fuzz-newcomer".parse().expect("an id");
    if let Ok(added) = edition.add([(newcomer, Member::at(["h:1"]).label("k", "v\\\""))]) {
        assert_eq!(added.document().members().len(), document.members().len() + 1);
        assert!(!guard::takes_too_many(document, added.document()));
    }
}

fn same_members(one: &Document, other: &Document) {
    assert!(one.members().eq(other.members()), "the members are written and read the same");
    assert!(one.removed().eq(other.removed()), "the removed are written and read the same");
}

fn head(bytes: &[u8]) {
    let Ok(head) = Head::parse(bytes) else { return };
    assert!(bytes.len() <= MAX_HEAD);
    assert_eq!(Head::parse(head.to_json().as_bytes()).as_ref(), Ok(&head));
}

fn location(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(location) = text.parse::<Location>() else { return };
    let shown = location.to_string();
    let again = shown.parse::<Location>();
    assert_eq!(again.ok(), Some(location), "{shown}");
}

/// Gives a follower a head, up to the first line end, and the bytes after it as the document.
fn store(bytes: &[u8]) {
    let (head, document) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (&[][..], bytes),
    };
    let found = match (Head::parse(head), Edition::parse(document)) {
        (Ok(head), _) => Ok(Some(head)),
        // A store on a file makes the head from the document.
        (Err(_), Ok(edition)) => Ok(Some(Head::of(&edition, &Stamp::default()))),
        (Err(error), Err(_)) => Err(StoreError::from(error)),
    };
    let me: NodeId = "a".parse().expect("an id");
    let before = Edition::parse(IN_FORCE.as_bytes()).expect("a document");
    let kept = Kept::new(before.bytes(), Some(0));
    let settings = Settings::new(me, Label::default(), [7; 32]);
    let mut follower = Follower::new(settings, Some(kept), Instant::ORIGIN);
    let mut kept = None;
    let mut now = Instant::ORIGIN;
    for _ in 0..3 {
        follower.set_fleet(now, Fleet::new([], true));
        while let Some(action) = follower.poll(now) {
            match action {
                Action::ReadHead => follower.on_head(now, found.clone()),
                Action::ReadDocument { .. } => {
                    follower.on_document(now, Ok(Some(document.to_vec())))
                }
                Action::Keep(version) => {
                    kept = Some(version);
                    follower.on_kept(now, Ok(()));
                }
                Action::Apply { version, members } => {
                    let kept = kept.as_ref().expect("it is kept before it is applied");
                    let edition = Edition::parse(kept.bytes()).expect("only documents are kept");
                    assert!(version > 3 && version == edition.version());
                    assert!(members == edition.document().ids() && members.contains(&me));
                    let forced = edition.document().forced() > 3;
                    let many = guard::takes_too_many(before.document(), edition.document());
                    assert!(forced || !many, "past the guard");
                    assert_eq!(edition.document().cluster(), before.document().cluster());
                    follower.on_applied(now, Ok(()));
                }
                Action::Publish(_) | Action::Seeds(_) | Action::Leave(_) | Action::Warn(_) => {}
            }
        }
        let next = follower.poll_timeout().expect("it reads again");
        assert!(next > now, "it reads without a pause");
        now = next;
    }
}

/// Makes the seeds: documents, heads and locations that are right, and some that break a rule each.
///
/// # Panics
/// If an edit of the seeds is refused.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let stamp = Stamp::new("ana", "stolen");
    let members =
        ["a", "b", "c"].map(|id| (id.parse().expect("an id"), Member::at(["10.0.0.1:7"])));
    let cluster = ClusterId::from_random([1; 16]);
    let first = Edition::first(cluster, "prod", members).expect("a document");
    let b: NodeId = "b".parse().expect("an id");
    let labelled = Member::at(["[::1]:9", "h.example:80"]).label("zone", "eu \"1\"").seed(true);
    let second = first.add([("n.\"x\\".parse().expect("an id"), labelled)]).expect("an edit");
    let third = second.remove(&[b], None, &stamp).expect("an edit");
    let fourth = third.replace("c".parse().expect("an id"), vec!["h:1".to_owned()]);
    let fourth = fourth.expect("an edit").recover(9).expect("an edit");
    let mut seeds = Vec::new();
    let mut add = |name: &str, kind: u8, bytes: &[u8]| {
        seeds.push((name.to_owned(), [&[kind][..], bytes].concat()));
    };
    for (name, edition) in
        [("first", &first), ("added", &second), ("removed", &third), ("recovered", &fourth)]
    {
        add(&format!("document-{name}"), 0, edition.bytes());
        let head = Head::of(edition, &stamp.clone().op([7; 16]).at(1_700_000_000)).to_json();
        add(&format!("head-{name}"), 1, head.as_bytes());
        let both = [head.as_bytes(), b"\n", edition.bytes()].concat();
        add(&format!("store-{name}"), 3, &both);
    }
    let next = IN_FORCE.replace("version = 3", "version = 4");
    add("store-next", 3, format!("\n{next}[members.h]\n").as_bytes());
    add("store-gone", 3, format!("\n{}", next.replace("[members.a]\n", "")).as_bytes());
    add(
        "store-guarded",
        3,
        b"\ncluster = '01010101-0101-4101-8101-010101010101'\nversion = 5\n[members.a]",
    );
    add(
        "store-forced",
        3,
        b"\ncluster = '01010101-0101-4101-8101-010101010101'\nversion = 5\nforced = 5\n[members.a]",
    );
    let refused = "version = 0|version = 1\nforced = 2|version = 1\n[members.\"a b\"]|\
        version = 1\n[members.a]\n[removed.a]\nremoved = 1|version = 1\n[removed.a]\nremoved = 2|\
        version = 1\n[members.a]\naddresses = ['h']|version = 1\nlabel = \"\\u0007\"|nonsense = 1|\
        version = 1\n[members.a]\naddresses = [\
        'h:1','h:1','h:1','h:1','h:1','h:1','h:1','h:1','h:1']";
    for (number, lines) in refused.split('|').enumerate() {
        let text = format!("cluster = \"{cluster}\"\n{lines}");
        add(&format!("refused-{number}"), 0, text.as_bytes());
    }
    let labels: Vec<String> = (0..17).map(|at| format!("l{at} = 'x'")).collect();
    let text = format!(
        "cluster = \"{cluster}\"\nversion = 1\n[members.a]\nlabels = {{ {} }}",
        labels.join(", ")
    );
    add("refused-labels", 0, text.as_bytes());
    add("refused-bytes", 0, b"cluster = \xff");
    add("head-newer", 1, b"{\"format\":2}");
    for (name, text) in [
        ("file", "file:/etc/tgossip/cluster.toml"),
        ("etcd", "etcd://h1:2379,[::1]:2379/prod?user=node&password-file=/etc/p%20w&ca=/c.pem"),
        ("refused", "etcd://h1:2379/prod?password=secret"),
    ] {
        add(&format!("location-{name}"), 2, text.as_bytes());
    }
    seeds
}
