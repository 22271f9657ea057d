//! What a node tells its host about a member and about itself: when it was last heard from, and
//! why it has its status.

use super::*;

/// The others tell node 1 of the death of a member that it has not heard from for a while: that is
/// no word of the member itself.
#[test]
fn what_others_say_of_a_member_is_no_word_of_the_member() {
    let mut net = Net::joined(5, &Config::default());
    let silent_from = net.now;
    for other in 1..5 {
        net.cut.extend([(5, other), (other, 5)]);
    }
    net.run_for(Duration::from_secs(60));
    let member = net.node(1).member("n5").unwrap();
    assert_eq!(member.status(), Status::Dead);
    assert!(member.last_observed() > silent_from, "its record has changed");
    let heard = member.last_heard().unwrap();
    assert!(heard <= silent_from && heard > Instant::ORIGIN, "{heard} of {silent_from}");
    let told = net.node(1).explain("n5").unwrap();
    assert_eq!(told.last_heard, Some(heard));
    let ago = alloc::format!("last heard from it {:.1} s ago", told.now.since(heard).as_secs_f64());
    assert!(alloc::format!("{told}").contains(&ago), "{told}");

    // It is kept over a snapshot, and the member answers again.
    net.events(1);
    let state = net.node(1).snapshot().unwrap();
    let restored = Node::<u32>::restore(&state).unwrap();
    assert_eq!(restored.member("n5").unwrap().last_heard(), Some(heard));
    let healed = net.now;
    net.cut.clear();
    net.run_for(Duration::from_secs(120));
    let member = net.node(1).member("n5").unwrap();
    assert_eq!(member.status(), Status::Alive);
    assert!(member.last_heard().unwrap() > healed, "{:?}", member.last_heard());
}

#[test]
fn a_member_that_only_others_speak_of_has_never_been_heard() {
    let mut node = node(1, &Config::default());
    introduce(&mut node, [alive(2, 3)]);
    assert_eq!(node.member("n2").unwrap().last_heard(), None);
    let told = node.explain("n2").unwrap();
    assert!(alloc::format!("{told}").contains("has never heard from it"), "{told}");
    hear(&mut node, 2, &claims(2, &[alive(2, 3)]));
    assert_eq!(node.member("n2").unwrap().last_heard(), Some(node.now()));
}

/// A member that is cut off, declared dead and back tells who accused it and when it refuted.
#[test]
fn a_node_tells_who_accused_it_and_when_it_refuted() {
    let mut net = Net::joined(5, &Config::default());
    assert_eq!(net.node(5).explain("n5").unwrap().history, []);
    for other in 1..5 {
        net.cut.push((5, other));
    }
    net.run_for(Duration::from_secs(60));
    net.cut.clear();
    net.run_for(Duration::from_secs(60));
    let told = net.node(5).explain("n5").unwrap();
    assert!(told.itself && told.status == Status::Alive, "{told}");
    let accused = told.history.iter().find_map(|incident| match incident.evidence {
        Evidence::Accused { by: Some(by), status, .. } => Some((told.name(by)?, status)),
        _ => None,
    });
    let (by, status) = accused.expect("an accusation with its accuser");
    assert!(by != "n5" && status != Status::Alive, "{told}");
    let generation = told.generation;
    let last = told.history.last().unwrap();
    assert_eq!(last.evidence, Evidence::Refuted { generation }, "{told}");
    let text = alloc::format!("{told}");
    for words in ["it is this node itself", "was called ", " by n", "alive at generation"] {
        assert!(text.contains(words), "{words} is missing in:\n{text}");
    }
    assert!(net.node(1).explain("n5").is_some_and(|told| !told.itself));
}

#[test]
fn a_node_tells_how_long_it_was_paused() {
    let mut net = Net::joined(3, &Config::default());
    let later = net.now + Duration::from_secs(40);
    net.node(1).handle(later, Input::Tick).unwrap();
    let told = net.node(1).explain("n1").unwrap();
    let Some(&Incident { at, evidence: Evidence::Paused { late }, .. }) = told.history.last()
    else {
        panic!("no pause in {told}");
    };
    assert_eq!(at, later);
    assert!((38..=40).contains(&late.as_secs()), "{late:?}");
    assert!(alloc::format!("{told}").contains("was paused for 3"), "{told}");
}

/// Whatever others say, the history of a node itself is bounded, and one accusation is kept once.
#[test]
fn the_incidents_of_a_node_itself_are_bounded() {
    let mut node = node(1, &Config::default());
    let instance = node.me().instance();
    for generation in 0..200 {
        let claim = Claim { status: Status::Suspected, instance, ..alive(1, 2 * generation + 1) };
        for _ in 0..3 {
            hear(&mut node, 2, &claims(2, &[alive(2, 0), claim.clone()]));
        }
    }
    let told = node.explain("n1").unwrap();
    assert_eq!(told.history.len(), 32);
    let generations: Vec<_> = told
        .history
        .iter()
        .filter_map(|incident| match incident.evidence {
            Evidence::Accused { generation, .. } => Some(generation),
            _ => None,
        })
        .collect();
    assert_eq!(generations.len(), 16, "each accusation once, with its refutation: {told}");
}

/// A node that no ping reaches refutes nothing yet, and hears the accusation again and again.
#[test]
fn an_accusation_that_is_repeated_before_it_is_refuted_is_kept_once() {
    let mut node = node(1, &Config::default());
    introduce(&mut node, [alive(2, 0)]);
    node.handle(Instant::from_millis(60_000), Input::Tick).unwrap();
    let instance = node.me().instance();
    let claim = Claim { status: Status::Suspected, instance, ..alive(1, 1) };
    for _ in 0..3 {
        hear(&mut node, 2, &claims(2, core::slice::from_ref(&claim)));
    }
    assert_eq!(node.me().generation(), Generation(0), "it waits for a ping");
    let told = node.explain("n1").unwrap();
    let accused =
        Evidence::Accused { by: None, status: Status::Suspected, generation: Generation(1) };
    assert_eq!(told.history.iter().filter(|it| it.evidence == accused).count(), 1, "{told}");
}
