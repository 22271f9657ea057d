//! Whatever edits an operator makes in whatever order: each either is refused by a rule and changes
//! nothing, or gives the next version, which says what the edit says and nothing else.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use telemetry_gossip_core::NodeId;
use telemetry_gossip_registry::edit::{Difference, EditError};
use telemetry_gossip_registry::{ClusterId, Document, Edition, Member, Stamp, guard};

/// An edit of the nodes with these numbers.
#[derive(Clone, Debug)]
enum Edit {
    Add(u8, u8),
    Remove(Vec<u8>, Option<usize>),
    Replace(u8),
    Readmit(u8),
    Import(Vec<u8>, Option<usize>, bool),
    Recover(u8),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let confirmed = prop_oneof![3 => Just(None), 1 => (0_usize..9).prop_map(Some)];
    let node = 0_u8..12;
    let edit = prop_oneof![
        4 => (node.clone(), any::<u8>()).prop_map(|(node, port)| Edit::Add(node, port)),
        4 => (vec(node.clone(), 1..9), confirmed.clone()).prop_map(|(ids, n)| Edit::Remove(ids, n)),
        2 => node.clone().prop_map(Edit::Replace),
        2 => node.clone().prop_map(Edit::Readmit),
        2 => (vec(node, 1..12), confirmed, any::<bool>())
            .prop_map(|(ids, n, stale)| Edit::Import(ids, n, stale)),
        1 => any::<u8>().prop_map(Edit::Recover),
    ];
    vec(edit, 1..60)
}

fn id(node: u8) -> NodeId {
    // Some ids have characters that TOML has to quote.
    let text =
        if node.is_multiple_of(3) { format!("n{node}.\"site\\") } else { format!("n{node}") };
    text.parse().unwrap()
}

fn ids(nodes: &[u8]) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = nodes.iter().map(|node| id(*node)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn member(port: u8) -> Member {
    Member::at([format!("10.0.0.1:{}", 1 + u16::from(port))])
        .label("zone", "eu \"1\\")
        .seed(port.is_multiple_of(2))
}

fn first() -> Edition {
    let members = (0..6).map(|node| (id(node), member(node)));
    Edition::first(ClusterId::from_random([1; 16]), "prod", members).unwrap()
}

fn apply(edition: &Edition, edit: &Edit) -> Result<Edition, EditError> {
    let stamp = Stamp::new("ana", "a \"test\"\n");
    match edit {
        Edit::Add(node, port) => edition.add([(id(*node), member(*port))]),
        Edit::Remove(nodes, confirmed) => edition.remove(&ids(nodes), *confirmed, &stamp),
        Edit::Replace(node) => edition.replace(id(*node), vec!["10.0.0.9:9".to_owned()]),
        Edit::Readmit(node) => edition.readmit(id(*node)),
        Edit::Import(nodes, confirmed, stale) => {
            let version = edition.version() - u64::from(*stale && edition.version() > 1);
            let list = list(edition.document(), &ids(nodes), version);
            edition.import(&list, *confirmed, &stamp)
        }
        Edit::Recover(ahead) => edition.recover(edition.version() + u64::from(*ahead)),
    }
}

/// A list of these members, as an operator has edited it.
fn list(document: &Document, ids: &[NodeId], version: u64) -> Document {
    let mut text = format!("cluster = \"{}\"\nversion = {version}\n", document.cluster());
    for id in ids {
        text += &format!("[members.{:?}]\naddresses = [\"10.0.0.2:2\"]\n", id.as_str());
    }
    Document::parse(text.as_bytes()).unwrap()
}

/// The members as the edits say, told apart by their machines.
type Model = BTreeMap<NodeId, u64>;

fn model_of(document: &Document) -> Model {
    document.members().map(|(id, member)| (id, member.since)).collect()
}

fn check(before: &Edition, edit: &Edit, after: &Edition) {
    let (old, new) = (before.document(), after.document());
    let reread = Edition::parse(after.bytes()).unwrap();
    assert_eq!(&reread, after, "what is written is read the same");
    assert_eq!(new.previous(), Some(before.hash()));
    assert_eq!(new.cluster(), old.cluster());
    let recovers = matches!(edit, Edit::Recover(_));
    assert!(
        after.version() == before.version() + 1 || recovers && after.version() > before.version()
    );

    let mut expected = model_of(old);
    match edit {
        Edit::Add(node, _) | Edit::Replace(node) => {
            expected.insert(id(*node), after.version());
        }
        Edit::Remove(nodes, _) => expected.retain(|id, _| !ids(nodes).contains(id)),
        Edit::Readmit(node) => {
            let removed = old.removed_node(id(*node).as_str()).map(|removed| removed.was.since);
            let replaced = old.member(id(*node).as_str()).and_then(|member| member.replaced);
            expected.insert(id(*node), removed.or(replaced).unwrap());
            if let Some(was) = old.removed_node(id(*node).as_str()).map(|removed| &removed.was) {
                assert_eq!(
                    new.member(id(*node).as_str()),
                    Some(was),
                    "with all that was said of it"
                );
            }
        }
        Edit::Import(nodes, ..) => {
            let ids = ids(nodes);
            expected.retain(|id, _| ids.contains(id));
            for id in ids {
                expected.entry(id).or_insert(after.version());
            }
        }
        Edit::Recover(_) => {}
    }
    assert_eq!(model_of(new), expected);

    // Whatever left is remembered, and whatever came back is not.
    for (id, _) in old.members().filter(|(id, _)| new.member(id.as_str()).is_none()) {
        let removed = new.removed_node(id.as_str()).unwrap();
        assert_eq!((removed.removed, removed.why.as_str()), (after.version(), "a \"test\""));
    }
    // A large removal was confirmed, and says so to the nodes.
    if guard::takes_too_many(old, new) {
        assert_eq!(new.forced(), after.version());
    }
    let difference = Difference::between(old, new);
    assert_eq!(difference.removed.len(), guard::gone(old, new));
    let lines = difference.to_string().lines().count();
    let Difference { added, removed, replaced, changed, .. } = &difference;
    assert_eq!(lines, added.len() + removed.len() + replaced.len() + changed.len());
    assert_eq!(difference.is_empty(), lines == 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn an_edit_does_what_it_says_or_nothing(edits in edits()) {
        let mut edition = first();
        for edit in &edits {
            if let Ok(after) = apply(&edition, edit) {
                check(&edition, edit, &after);
                edition = after;
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Document::parse(&bytes);
    }
}

#[test]
fn each_refusal_names_its_rule() {
    let one = first();
    let stamp = Stamp::new("ana", "test");
    let said = |refused: Result<Edition, EditError>| refused.unwrap_err().to_string();
    let five = ids(&[0, 1, 2, 3, 4]);
    let table = [
        (said(one.add([(id(1), member(1))])), "`n1` is a member since version 1: `replace` is for"),
        (said(one.remove(&ids(&[7]), None, &stamp)), "`n7` is no member: `list` shows all"),
        (said(one.remove(&five, None, &stamp)), "this removes 5 of 6 members: if that is meant"),
        (said(one.remove(&five, Some(4), &stamp)), "this removes 5 members, and 4 were confirmed"),
        (said(one.remove(&ids(&[0, 1, 2, 3, 4, 5]), Some(6), &stamp)), "no member would be left"),
        (said(one.readmit(id(1))), "`n1` was neither removed nor replaced"),
        (said(one.add([])), "this changes nothing"),
        (said(Edition::first(ClusterId::from_random([1; 16]), "", [])), "no member would be left"),
    ];
    for (said, expected) in table {
        assert!(said.starts_with(expected), "{said}");
    }
    let two = one.remove(&ids(&[1]), None, &stamp).unwrap();
    assert!(said(two.add([(id(1), member(1))])).contains("was removed in version 2: `readmit`"));
    let list_one = list(one.document(), &ids(&[0, 2]), 1);
    let refused = two.import(&list_one, None, &stamp).unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    let removed_again = list(two.document(), &ids(&[0, 1, 2, 3]), 2);
    assert!(said(two.import(&removed_again, None, &stamp)).contains("`n1` was removed"));
    let forced = one.remove(&five, Some(5), &stamp).unwrap();
    assert_eq!(forced.document().forced(), 2);
    let small = one.remove(&ids(&[0]), Some(1), &stamp).unwrap();
    assert_eq!(small.document().forced(), 0, "nothing had to be forced");
}
