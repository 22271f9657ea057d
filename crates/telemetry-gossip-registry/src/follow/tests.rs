//! Scenarios of a follower, one rule each, and a storm of all faults at once.

mod storm;

use super::*;
use crate::document::{ClusterId, DocumentHash, Member};
use crate::head::Stamp;

fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn seconds(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1_000)
}

/// The first version of a cluster with these members.
fn first(ids: &[&str]) -> Edition {
    let members = ids.iter().map(|name| (id(name), Member::default()));
    Edition::first(ClusterId::from_random([1; 16]), "", members).unwrap()
}

fn ten() -> Edition {
    first(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"])
}

fn remove(edition: &Edition, ids: &[&str]) -> Edition {
    let ids: Vec<NodeId> = ids.iter().map(|name| id(name)).collect();
    edition.remove(&ids, Some(ids.len()), &Stamp::new("ana", "stolen")).unwrap()
}

fn head(edition: &Edition) -> Head {
    Head::of(edition, &Stamp::default())
}

/// A follower with a host that carries out everything at once.
struct Host {
    follower: Follower,
    now: Instant,
    applied: Vec<u64>,
    kept: Option<Kept>,
    published: Option<String>,
    left: Option<Gone>,
    seeds: Vec<String>,
}

impl Host {
    fn new(kept: Option<Kept>) -> Self {
        let settings = Settings::new(id("a"), Label::default(), [3; 32]);
        let mut follower = Follower::new(settings, kept.clone(), Instant::ORIGIN);
        follower.set_fleet(Instant::ORIGIN, Fleet::new([], true));
        let (applied, published, left, seeds) = (Vec::new(), None, None, Vec::new());
        Self { follower, now: Instant::ORIGIN, applied, kept, published, left, seeds }
    }

    fn at(edition: &Edition) -> Self {
        Self::new(Some(Kept::new(edition.bytes(), Some(1))))
    }

    fn fleet(&mut self, others: impl IntoIterator<Item = Option<Published>>) {
        self.follower.set_fleet(self.now, Fleet::new(others, true));
    }

    /// Runs until `until`, with a store that has these editions, the last of which is the head.
    fn run(&mut self, until: Instant, store: &[&Edition]) {
        self.run_with(until, Ok(store.last().map(|last| head(last))), store);
    }

    fn run_with(
        &mut self,
        until: Instant,
        found: Result<Option<Head>, StoreError>,
        store: &[&Edition],
    ) {
        loop {
            while let Some(action) = self.follower.poll(self.now) {
                self.carry_out(action, &found, store);
            }
            match self.follower.poll_timeout() {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => break,
            }
        }
        self.now = until;
    }

    fn carry_out(
        &mut self,
        action: Action,
        found: &Result<Option<Head>, StoreError>,
        store: &[&Edition],
    ) {
        match action {
            Action::ReadHead => self.follower.on_head(self.now, found.clone()),
            Action::ReadDocument { version, .. } => {
                let found = store.iter().rev().find(|edition| edition.version() == version);
                let bytes = found.map(|edition| edition.bytes().to_vec());
                self.follower.on_document(self.now, Ok(bytes));
            }
            Action::Keep(kept) => {
                self.kept = Some(kept);
                self.follower.on_kept(self.now, Ok(()));
            }
            Action::Apply { version, .. } => {
                self.applied.push(version);
                self.follower.on_applied(self.now, Ok(()));
            }
            Action::Publish(value) => self.published = Some(value),
            Action::Seeds(seeds) => self.seeds = seeds,
            Action::Leave(gone) | Action::Warn(gone) => self.left = Some(gone),
        }
    }

    fn state(&self) -> &State {
        &self.follower.status().state
    }

    fn held(&self) -> &'static str {
        match self.state() {
            State::Held(reason) | State::Waiting(Some(reason)) => reason.word(),
            _ => "not held",
        }
    }
}

#[test]
fn a_new_version_is_kept_applied_and_published_in_this_order() {
    let (one, mut host) = (ten(), Host::new(None));
    let two = remove(&one, &["j"]);
    host.run(seconds(1), &[&one]);
    assert_eq!((host.applied.as_slice(), host.state()), (&[1][..], &State::Current));
    host.run(seconds(60), &[&one, &two]);
    assert_eq!(host.applied, [1, 2]);
    assert_eq!(host.kept.unwrap().bytes(), two.bytes());
    assert_eq!(host.published.unwrap(), format!("2.{}", two.hash().short()));
    assert!(host.follower.status().is_ready());
}

#[test]
fn a_version_that_cannot_be_kept_is_not_applied() {
    let one = ten();
    let mut follower =
        Follower::new(Settings::new(id("a"), Label::default(), [3; 32]), None, seconds(0));
    follower.set_fleet(seconds(0), Fleet::new([], true));
    assert_eq!(follower.poll(seconds(0)), Some(Action::ReadHead));
    follower.on_head(seconds(0), Ok(Some(head(&one))));
    follower.poll(seconds(0));
    follower.on_document(seconds(0), Ok(Some(one.bytes().to_vec())));
    assert!(matches!(follower.poll(seconds(0)), Some(Action::Keep(_))));
    follower.on_kept(seconds(0), Err("disk full".to_owned()));
    assert_eq!(follower.poll(seconds(0)), None);
    assert!(follower.poll_timeout().unwrap() <= seconds(10), "it tries again");
    assert!(!follower.status().is_ready());
}

#[test]
fn a_version_that_the_node_cannot_apply_is_applied_again() {
    let one = ten();
    let mut follower =
        Follower::new(Settings::new(id("a"), Label::default(), [3; 32]), None, seconds(0));
    follower.set_fleet(seconds(0), Fleet::new([], true));
    follower.poll(seconds(0));
    follower.on_head(seconds(0), Ok(Some(head(&one))));
    follower.poll(seconds(0));
    follower.on_document(seconds(0), Ok(Some(one.bytes().to_vec())));
    follower.poll(seconds(0));
    follower.on_kept(seconds(0), Ok(()));
    assert!(matches!(follower.poll(seconds(0)), Some(Action::Apply { .. })));
    follower.on_applied(seconds(0), Err("another process has the id".to_owned()));
    let again = follower.poll_timeout().unwrap();
    assert!(seconds(1) <= again && again <= seconds(10));
    assert_eq!(follower.poll(again), Some(Action::ReadHead));
    follower.on_head(again, Ok(Some(head(&one))));
    follower.poll(again);
    follower.on_document(again, Ok(Some(one.bytes().to_vec())));
    follower.poll(again);
    follower.on_kept(again, Ok(()));
    assert!(matches!(follower.poll(again), Some(Action::Apply { version: 1, .. })));
    follower.on_applied(again, Ok(()));
    assert_eq!(follower.status().state, State::Current);
}

#[test]
fn a_store_that_is_down_changes_nothing() {
    let one = ten();
    let mut host = Host::at(&one);
    let down = || Err(StoreError::Unreachable("refused".to_owned()));
    host.run_with(seconds(60), down(), &[]);
    assert_eq!((host.applied.len(), host.held()), (0, "unreachable"));
    assert!(host.follower.status().is_ready(), "it goes by what it has kept");
    let status = host.follower.status();
    assert!((6..=60).contains(&status.failures), "{}", status.failures);
    host.run(seconds(72), &[&one]);
    assert_eq!(host.state(), &State::Current);
}

#[test]
fn a_store_that_fell_back_or_has_another_history_is_held() {
    let one = ten();
    let two = remove(&one, &["j"]);
    let three = remove(&two, &["i"]);
    let mut host = Host::at(&two);
    host.run(seconds(60), &[&one]);
    assert_eq!(host.held(), "rolled_back");
    // Written on after the restore: other contents for version 2, and a version above it.
    let other_two = remove(&one, &["b"]);
    let other_three = remove(&other_two, &["c"]);
    let other_four = remove(&other_three, &["d"]);
    host.run(seconds(120), &[&one, &other_two]);
    assert_eq!(host.held(), "forked");
    host.run(seconds(180), &[&one, &other_two, &other_three]);
    assert_eq!(host.held(), "forked");
    host.run(seconds(240), &[&one, &other_two, &other_three, &other_four]);
    assert_eq!(host.held(), "forked", "found by the document after the version in force");
    assert_eq!(host.applied.len(), 0);
    // An operator decides for the store.
    let decided = other_four.recover(two.version()).unwrap();
    host.run(seconds(300), &[&one, &other_two, &other_three, &other_four, &decided]);
    assert_eq!((host.applied.as_slice(), host.state()), (&[5][..], &State::Current));
    // A history without a break is followed over several versions.
    let mut host = Host::at(&one);
    host.run(seconds(60), &[&one, &two, &three]);
    assert_eq!(host.applied, [3]);
}

#[test]
fn a_list_that_takes_away_too_many_is_held_until_it_is_forced_or_others_have_taken_it() {
    let one = ten();
    let text = format!(
        "cluster = \"{}\"\nversion = 2\n[members.a]\n[members.b]\n",
        one.document().cluster()
    );
    let wiped = Edition::parse(text.as_bytes()).unwrap();
    let mut host = Host::at(&one);
    host.run(seconds(60), &[&one, &wiped]);
    assert_eq!((host.applied.len(), host.held()), (0, "guarded"));
    let value = format!("2.{}", wiped.hash().short());
    let said = || Published::parse(value.as_bytes());
    host.fleet([said(), said(), None]);
    host.run(seconds(120), &[&one, &wiped]);
    assert_eq!(host.applied.len(), 0, "two are not enough");
    host.fleet([said(), said(), said()]);
    host.run(seconds(180), &[&one, &wiped]);
    assert_eq!(host.applied, [2]);

    let forced = remove(&one, &["c", "d", "e", "f", "g", "h"]);
    let mut host = Host::at(&one);
    host.run(seconds(60), &[&one, &forced]);
    assert_eq!(host.applied, [2]);
}

#[test]
fn removals_that_were_right_one_by_one_are_taken_one_by_one() {
    let mut history = vec![ten()];
    for name in ["c", "d", "e", "f", "g", "h"] {
        history.push(remove(history.last().unwrap(), &[name]));
    }
    let all: Vec<&Edition> = history.iter().collect();
    let mut host = Host::at(&history[0]);
    host.run(seconds(20), &all);
    assert_eq!((host.applied.as_slice(), host.state()), (&[2, 3, 7][..], &State::Current));
    // Where the store no longer has them, the newest is held.
    let mut host = Host::at(&history[0]);
    host.run(seconds(60), &[&history[0], &history[6]]);
    assert_eq!((host.applied.len(), host.held()), (0, "guarded"));
}

#[test]
fn an_empty_list_is_never_taken() {
    let one = ten();
    let cluster = one.document().cluster();
    let text = format!("cluster = \"{cluster}\"\nversion = 2\nforced = 2\n");
    let empty = Edition::parse(text.as_bytes()).unwrap();
    for kept in [None, Some(Kept::new(one.bytes(), Some(1)))] {
        let mut host = Host::new(kept);
        host.run(seconds(60), &[&one, &empty]);
        assert_eq!((host.applied.len(), host.held()), (0, "guarded"));
    }
}

#[test]
fn a_removed_node_leaves_after_a_second_read_says_so_too() {
    let one = first(&["a", "b", "c", "d", "e"]);
    let two = remove(&one, &["a"]);
    let mut host = Host::at(&one);
    host.run(seconds(1), &[&one]);
    host.follower.on_hint(host.now, Hint::Asked);
    host.run(seconds(5), &[&one, &two]);
    assert!(matches!(host.state(), State::Gone(_)) && host.left.is_none());
    assert!(!host.follower.status().is_ready());
    host.run(seconds(20), &[&one, &two]);
    let left = host.left.clone().expect("it was told to leave");
    assert_eq!(
        left.to_string(),
        "this node was removed in version 2 of the registry by ana: stolen"
    );
    assert_eq!(host.applied.len(), 0);
}

#[test]
fn a_removal_that_is_taken_back_in_time_changes_nothing() {
    let one = first(&["a", "b", "c", "d", "e"]);
    let two = remove(&one, &["a"]);
    let three = two.readmit(id("a")).unwrap();
    let mut host = Host::at(&one);
    host.run(seconds(1), &[&one, &two]);
    assert!(matches!(host.state(), State::Gone(_)));
    host.run(seconds(60), &[&one, &two, &three]);
    assert_eq!((host.left, host.applied), (None, vec![3]));
}

#[test]
fn a_machine_that_was_replaced_leaves_and_one_that_replaces_it_belongs() {
    let one = first(&["a", "b", "c", "d", "e"]);
    let two = one.replace(id("a"), Vec::new()).unwrap();
    let mut old = Host::at(&one);
    old.run(seconds(60), &[&one, &two]);
    assert_eq!(old.left, Some(Gone::Replaced { version: 2 }));
    let mut new = Host::new(None);
    new.run(seconds(1), &[&one, &two]);
    assert_eq!((new.applied.as_slice(), new.kept.unwrap().since()), (&[2][..], Some(2)));
    // It still is the node after a restart, and the old machine is not, whatever comes.
    let three = two.add([(id("x"), Member::default())]).unwrap();
    let mut old = Host::at(&one);
    old.run(seconds(60), &[&one, &two, &three]);
    assert_eq!(old.left, Some(Gone::Replaced { version: 2 }));
    // Taken back.
    let four = three.readmit(id("a")).unwrap();
    let mut old = Host::at(&one);
    old.run(seconds(60), &[&one, &two, &three, &four]);
    assert_eq!((old.left, old.applied), (None, vec![4]));
    // Then the machine that took its place is the one that leaves.
    let mut new = Host::new(Some(Kept::new(two.bytes(), Some(2))));
    new.run(seconds(60), &[&one, &two, &three, &four]);
    assert_eq!((new.left, new.applied), (Some(Gone::Replaced { version: 4 }), vec![]));
}

#[test]
fn a_node_that_is_gone_stays_so_while_the_store_is_down_and_once_it_has_left() {
    let one = first(&["a", "b", "c", "d", "e"]);
    let two = remove(&one, &["a"]);
    let mut host = Host::at(&one);
    host.run(seconds(1), &[&one, &two]);
    let down = || Err(StoreError::Unreachable("refused".to_owned()));
    host.run_with(seconds(30), down(), &[]);
    assert!(host.follower.status().failures > 0 && host.left.is_none());
    assert!(matches!(host.state(), State::Gone(_)) && !host.follower.status().is_ready());
    host.run(seconds(45), &[&one, &two]);
    assert!(host.left.is_some(), "a second read said so, too");
    host.follower.on_left();
    let three = two.readmit(id("a")).unwrap();
    host.run(seconds(600), &[&one, &two, &three]);
    assert!(matches!(host.state(), State::Gone(_)) && host.applied.is_empty());
    assert_eq!(host.follower.poll_timeout(), None);
}

#[test]
fn a_node_that_was_started_before_it_was_added_waits_for_it() {
    let one = first(&["b", "c"]);
    let two = one.add([(id("a"), Member::default())]).unwrap();
    let mut host = Host::new(None);
    host.run(seconds(60), &[&one]);
    assert_eq!(host.state(), &State::NotYetMember { version: 1 });
    assert!(host.left.is_none() && !host.follower.status().is_ready());
    host.run(seconds(67), &[&one, &two]);
    assert_eq!((host.applied.as_slice(), host.state()), (&[2][..], &State::Current));
}

#[test]
fn a_first_version_below_that_of_half_the_fleet_is_rolled_back() {
    let one = ten();
    let two = remove(&one, &["j"]);
    let value = format!("2.{}", two.hash().short());
    let ahead = || Published::parse(value.as_bytes());
    let mut host = Host::new(None);
    host.fleet([ahead(), ahead(), None, None, None]);
    host.run(seconds(1), &[&one]);
    assert_eq!(host.applied, [1], "two of six are not half");
    let mut host = Host::new(None);
    host.fleet([ahead(), ahead(), ahead(), None, None]);
    host.run(seconds(60), &[&one]);
    assert_eq!((host.applied.len(), host.held()), (0, "rolled_back"));
    host.run(seconds(120), &[&one, &two]);
    assert_eq!(host.applied, [2]);
}

#[test]
fn a_first_version_waits_until_it_is_plain_what_the_others_publish_but_not_for_long() {
    let one = ten();
    for (settles_at, expected) in [(2, 2), (100, 5)] {
        let mut host = Host::new(None);
        host.follower.set_fleet(host.now, Fleet::new([None], false));
        for second in 0..10 {
            if second == settles_at {
                host.follower.set_fleet(seconds(second), Fleet::new([None], true));
            }
            host.run(seconds(second), &[&one]);
            assert_eq!(host.applied.len(), usize::from(second >= expected), "second {second}");
        }
    }
}

#[test]
fn a_hint_is_followed_within_two_seconds_unless_its_source_led_to_nothing_lately() {
    let one = ten();
    let two = remove(&one, &["j"]);
    let published = |by: &str, version| Hint::Published {
        by: id(by),
        published: Published::parse(format!("{version}.0011223344556677").as_bytes()).unwrap(),
    };
    let mut host = Host::at(&one);
    host.run(seconds(2), &[&one]);
    host.follower.on_hint(host.now, published("b", 2));
    host.run(seconds(4), &[&one, &two]);
    assert_eq!(host.applied, [2]);
    // A liar makes ever higher versions up: one read in 30 s beside the regular ones.
    let before = host.follower.status().reads;
    for second in 4..304 {
        host.follower.on_hint(host.now, published("b", second * 100));
        host.follower.on_hint(host.now, Hint::Knocked);
        host.run(seconds(second), &[&one, &two]);
    }
    let reads = host.follower.status().reads - before;
    assert!(reads <= 34, "{reads}: 20 by hints, and one in 24 s");
    // What another member says is heard all the same.
    let three = remove(&two, &["i"]);
    host.follower.on_hint(host.now, published("c", 3));
    host.run(seconds(307), &[&one, &two, &three]);
    assert_eq!(host.applied, [2, 3]);
    // Many liars make no more than 16 reads in 30 s.
    let before = host.follower.status().reads;
    for second in 307..337 {
        for liar in 0..40 {
            host.follower.on_hint(host.now, published(&format!("x{liar}"), 1_000));
        }
        host.run(seconds(second), &[&one, &two, &three]);
    }
    let reads = host.follower.status().reads - before;
    assert!(reads <= 19, "{reads}");
    // An operator of the host is always heard.
    host.follower.on_hint(host.now, Hint::Asked);
    assert!(host.follower.poll_timeout().unwrap() <= host.now + Duration::from_secs(1));
}

#[test]
fn a_node_that_cannot_read_is_not_ready_while_members_say_that_it_is_none() {
    let one = ten();
    let mut host = Host::at(&one);
    host.fleet(vec![None; 9]);
    let down = || Err(StoreError::Unreachable("refused".to_owned()));
    host.run_with(seconds(5), down(), &[]);
    let said = |by| Hint::NotAMember { version: 2, by: Some(id(by)) };
    for (by, ready) in [("b", true), ("b", true), ("c", true), ("d", false)] {
        host.follower.on_hint(host.now, said(by));
        assert_eq!(host.follower.status().is_ready(), ready, "{by}");
    }
    // They stop, or the store says that the node belongs.
    let mut later = Host::at(&one);
    later.fleet(vec![None; 9]);
    for by in ["b", "c", "d"] {
        later.follower.on_hint(later.now, said(by));
    }
    later.run_with(seconds(180), down(), &[]);
    assert!(later.follower.status().is_ready());
    host.run(seconds(20), &[&one]);
    assert!(host.follower.status().is_ready());
}

#[test]
fn another_cluster_another_label_and_a_newer_format_are_held() {
    let one = ten();
    let members = [(id("a"), Member::default())];
    let other = Edition::first(ClusterId::from_random([2; 16]), "", members.clone()).unwrap();
    let labelled = Edition::first(ClusterId::from_random([1; 16]), "other", members).unwrap();
    for (store, word) in [(&other, "other_cluster"), (&labelled, "other_label")] {
        let mut host = Host::at(&one);
        host.run(seconds(60), &[store]);
        assert_eq!((host.applied.len(), host.held()), (0, word));
    }
    let mut host = Host::at(&one);
    let newer = HeadError::NewerFormat { format: 2 };
    host.run_with(seconds(60), Err(newer.into()), &[]);
    assert_eq!(host.held(), "newer_format");
}

#[test]
fn a_document_that_is_not_the_one_of_the_head_is_held() {
    let one = ten();
    let two = remove(&one, &["j"]);
    let mut wrong_count = head(&two);
    wrong_count.members = 3;
    let mut wrong_hash = head(&two);
    wrong_hash.hash = one.hash();
    for wrong in [wrong_count, wrong_hash] {
        let mut host = Host::at(&one);
        host.run_with(seconds(60), Ok(Some(wrong)), &[&one, &two]);
        assert_eq!((host.applied.len(), host.held()), (0, "damaged"));
    }
}

#[test]
fn the_same_list_in_other_words_is_no_fork() {
    let one = ten();
    let mut words = b"# by a template\n".to_vec();
    words.extend_from_slice(one.bytes());
    let same = Edition::parse(&words).unwrap();
    let mut host = Host::at(&one);
    host.run(seconds(60), &[&same]);
    assert_eq!((host.applied.len(), host.state()), (0, &State::Current));
    assert_eq!(host.published.unwrap(), format!("1.{}", same.hash().short()));
    // The next version follows from these words, also after a restart.
    let two = remove(&same, &["j"]);
    let mut host = Host::new(host.kept);
    host.run(seconds(60), &[&same, &two]);
    assert_eq!((host.applied.as_slice(), host.state()), (&[2][..], &State::Current));
}

#[test]
fn a_member_with_another_list_is_named_until_it_publishes_another_version() {
    let one = ten();
    for later in [format!("1.{}", one.hash().short()), "2.0011223344556677".to_owned()] {
        let mut host = Host::at(&one);
        host.run(seconds(2), &[&one]);
        let published = |text: &str| Published::parse(text.as_bytes()).unwrap();
        let said = |text: &str| Hint::Published { by: id("b"), published: published(text) };
        host.follower.on_hint(host.now, said("1.0011223344556677"));
        assert_eq!(host.follower.status().differs, Some(id("b")));
        host.follower.on_hint(host.now, said(&later));
        assert_eq!(host.follower.status().differs, None, "{later}");
    }
}

#[test]
fn only_what_a_node_can_publish_is_a_version() {
    let hash = "0011223344556677";
    assert!(Published::parse(format!("9007199254740992.{hash}").as_bytes()).is_some());
    for (version, hash) in [
        ("0", hash),
        ("+5", hash),
        ("05", hash),
        ("9007199254740993", hash),
        ("5", "00112233445566AA"),
        ("5", "001122"),
    ] {
        let text = format!("{version}.{hash}");
        assert_eq!(Published::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn a_node_without_a_way_to_the_others_tries_eight_of_them_and_seeds_first() {
    let member = |at: usize| {
        let name = if at == 0 { "a".to_owned() } else { format!("n{at}") };
        (name.parse().unwrap(), Member::at([format!("10.0.0.{at}:7946")]).seed(at >= 38))
    };
    let members: Vec<(NodeId, Member)> = (0..40).map(member).collect();
    let one = Edition::first(ClusterId::from_random([1; 16]), "", members.clone()).unwrap();
    let mut host = Host::new(None);
    host.run(seconds(1), &[&one]);
    assert_eq!(host.seeds.len(), 8);
    let mut first = host.seeds[..2].to_vec();
    first.sort();
    assert_eq!(first, ["10.0.0.38:7946", "10.0.0.39:7946"]);
    assert!(!host.seeds.contains(&"10.0.0.0:7946".to_owned()), "not its own");
    // One that is not named yet knocks there.
    let without = Edition::first(ClusterId::from_random([1; 16]), "", members[1..].to_vec());
    let mut host = Host::new(None);
    host.run(seconds(1), &[&without.unwrap()]);
    assert_eq!(host.seeds.len(), 8);
}

/// Without any way to the others but the list itself, it asks them before it takes the list: the
/// store may be a restored backup, which names a node that was removed since.
#[test]
fn a_node_without_seeds_asks_the_members_of_a_list_before_it_takes_it() {
    let member = |name: &str| (id(name), Member::at([format!("{name}:7946")]));
    let one = Edition::first(ClusterId::from_random([1; 16]), "", ["a", "b", "c", "d"].map(member));
    let one = one.unwrap();
    let two = remove(&one, &["d"]);
    let mut host = Host::new(None);
    host.follower.set_fleet(host.now, Fleet::new([], false));
    host.run(seconds(1), &[&one]);
    assert_eq!((host.seeds.len(), host.applied.len()), (3, 0));
    let value = format!("2.{}", two.hash().short());
    host.fleet([Published::parse(value.as_bytes()), Published::parse(value.as_bytes())]);
    host.run(seconds(30), &[&one]);
    assert_eq!((host.applied.len(), host.held()), (0, "rolled_back"));
}
