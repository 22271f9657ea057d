//! `GossipNode::explain` and the evidence among the events, on whole nodes in memory: after each
//! kind of trouble they say what happened.
use std::time::Duration;

use crate::support::{
    Net, PATIENCE, agree, all_hold, cluster, kind, patient, quick, status, until, within,
};
use telemetry_gossip::event::Status;
use telemetry_gossip::membership::MemberStatus::{Alive, Dead, Suspected};
use telemetry_gossip::node::{GossipNode, NodeErrorKind};
use telemetry_gossip::transport::MemoryNetwork;
use telemetry_gossip::{Event, Events, Evidence, Explanation, Incident};

async fn explain(node: &GossipNode, id: &str) -> Explanation {
    node.explain(id).await.expect("it runs").expect("it is known")
}

/// The first incident of a kind.
fn incident(told: &Explanation, kind: &str) -> Option<Incident> {
    told.history.iter().find(|incident| incident.evidence.kind() == kind).copied()
}

/// The first accuser.
fn accuser(told: &Explanation) -> Option<&str> {
    told.history.iter().find_map(|incident| match incident.evidence {
        Evidence::Suspected { by, .. } => told.name(by?),
        _ => None,
    })
}

/// The next evidence about `id` that is `meant`.
async fn evidence(events: &mut Events, id: &str, meant: impl Fn(&Evidence) -> bool) -> Evidence {
    within("the evidence is told", async {
        loop {
            match events.recv().await.expect("it runs") {
                Event::Evidence { id: about, evidence, .. }
                    if about.as_str() == id && meant(&evidence) =>
                {
                    return evidence;
                }
                _ => {}
            }
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn each_node_explains_a_crash_by_its_probes_and_the_accuser() {
    let network = MemoryNetwork::new(1);
    let (nodes, _) = cluster(&Net::Memory(network.clone()), 5, &patient()).await;
    agree(&nodes).await;
    let mut events = nodes[0].events();
    network.isolate("n4");
    let by = within("it is suspected", async {
        loop {
            let event = events.recv().await.expect("it runs");
            if let Event::Suspected { id, by, .. } = event {
                assert_eq!(id.as_str(), "n4");
                return by.expect("the accuser is known");
            }
        }
    });
    let by = by.await;
    all_hold(&nodes[..4], "n4", Dead).await;

    let mut all = Vec::new();
    for node in &nodes[..4] {
        all.push(explain(node, "n4").await);
    }
    assert_eq!(accuser(&all[0]), Some(by.as_str()), "as the event said");
    let failed: Vec<String> = (0..4)
        .filter(|&index| incident(&all[index], "probe-failed").is_some())
        .map(|index| format!("n{index}"))
        .collect();
    let mut judges = 0;
    for told in &all {
        assert_eq!(
            (told.status, told.isolated, told.suspicion.as_ref()),
            (Status::Dead, false, None)
        );
        let accuser = accuser(told).expect("in 5 s every node hears of the suspicion");
        assert!(failed.iter().any(|prober| prober == accuser), "{accuser} has probed it: {told}");
        // Other nodes hear of the suspicion later than the one that declares it dead.
        let (suspected, dead) =
            (incident(told, "suspected").unwrap(), incident(told, "dead").unwrap());
        if matches!(dead.evidence, Evidence::Dead { here: true, .. }) {
            judges += 1;
            assert!(
                dead.at.since(suspected.at) >= Duration::from_secs(5),
                "the suspicion of 5 s: {told}"
            );
        }
    }
    // In 5 s of suspicion others have probed it, too.
    let index: usize = by.as_str()[1..].parse().unwrap();
    let told = &all[index];
    assert!(incident(told, "confirmed").is_some(), "{told}");
    let found = incident(told, "probe-failed").expect("an accuser has probed").evidence;
    let Evidence::ProbeFailed { helpers } = found else { unreachable!("it was asked for") };
    let helpers = helpers.iter().flatten();
    assert!(helpers.clone().any(|asked| asked.nacked), "{told}");
    let mut asked: Vec<_> = helpers.map(|asked| told.name(asked.helper).unwrap()).collect();
    asked.sort_unstable();
    let rest: Vec<String> =
        (0..4).filter(|&other| other != index).map(|other| format!("n{other}")).collect();
    assert_eq!(asked, rest, "all three others were asked to help");
    assert!(judges > 0, "a node declared it dead");
}

#[tokio::test(start_paused = true)]
async fn a_refuted_suspicion_is_explained_while_it_runs_and_after() {
    let network = MemoryNetwork::new(1);
    let (nodes, _) = cluster(&Net::Memory(network.clone()), 5, &patient()).await;
    agree(&nodes).await;
    network.isolate("n4");
    until("it is suspected", &nodes[0], |node| status(node, "n4") == Some(Suspected)).await;
    let told = explain(&nodes[0], "n4").await;
    let pending = told.suspicion.as_ref().expect("it runs");
    assert!(pending.until.since(told.now) > Duration::from_secs(4), "{told}");
    assert_eq!(pending.accusers.first().and_then(|&tag| told.name(tag)), accuser(&told));

    let mut events = nodes[0].events();
    network.heal();
    within("it is alive again", async {
        while !matches!(events.recv().await.expect("it runs"), Event::Alive { .. }) {}
    })
    .await;
    let told = explain(&nodes[0], "n4").await;
    assert_eq!(
        (told.status, told.suspicion.as_ref(), told.flaps),
        (Status::Alive, None, 1),
        "{told}"
    );
    let refuted = Evidence::Alive { generation: told.generation, was: Status::Suspected };
    assert_eq!(told.history.last().map(|incident| incident.evidence), Some(refuted), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_broken_path_is_explained_by_the_helper_that_got_the_answer() {
    let network = MemoryNetwork::new(1);
    let (nodes, _) = cluster(&Net::Memory(network.clone()), 4, &patient()).await;
    agree(&nodes).await;
    let mut events = nodes[0].events();
    network.cut("n0", "n1");
    let found = evidence(&mut events, "n1", |found| found.kind() == "answered-through").await;
    let told = explain(&nodes[0], "n1").await;
    assert_eq!(told.history.last().map(|incident| incident.evidence), Some(found));
    assert_eq!((told.status, told.suspicion.as_ref()), (Status::Alive, None));
    let Evidence::AnsweredThrough { helper } = found else { unreachable!("it was asked for") };
    let helper = told.name(helper).expect("the helper has a name");
    assert!(["n2", "n3"].contains(&helper), "{helper}");
    assert!(
        told.to_string().ends_with(&format!("did not answer directly but through {helper}")),
        "{told}"
    );
}

/// The node receives nothing: the others agree that it is dead, and it knows that it is isolated.
#[tokio::test(start_paused = true)]
async fn a_deaf_node_explains_that_it_is_cut_off() {
    let network = MemoryNetwork::new(1);
    let (nodes, _) = cluster(&Net::Memory(network.clone()), 5, &quick()).await;
    agree(&nodes).await;
    let mut events = nodes[4].events();
    for other in 0..4 {
        network.cut(&format!("n{other}"), "n4");
    }
    within("it is isolated", async {
        while !matches!(events.recv().await.expect("it runs"), Event::Isolated { .. }) {}
    })
    .await;
    all_hold(&nodes[..4], "n4", Dead).await;
    let mut accusers = Vec::new();
    for node in &nodes[..4] {
        let told = explain(node, "n4").await;
        assert_eq!((told.isolated, told.generation.0), (false, 1), "{told}");
        // A node that the rumor of the suspicion missed knows of the death alone.
        accusers.extend(accuser(&told).map(ToOwned::to_owned));
    }
    assert!(!accusers.is_empty() && accusers.iter().all(|accuser| accuser != "n4"), "{accusers:?}");
    for id in ["n0", "n1", "n2", "n3", "n4"] {
        let told = explain(&nodes[4], id).await;
        assert!(told.isolated && told.status == Status::Alive, "{told}");
        assert!(told.to_string().contains("declares no member dead"), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leave_and_a_return_are_explained() {
    let network = MemoryNetwork::new(1);
    let (nodes, _) = cluster(&Net::Memory(network), 3, &quick()).await;
    agree(&nodes).await;
    nodes[2].leave(PATIENCE).await.unwrap();
    all_hold(&nodes[..2], "n2", Dead).await;
    for node in &nodes[..2] {
        let told = explain(node, "n2").await;
        assert_eq!(
            (told.status, told.history.len()),
            (Status::Left, 1),
            "it left, and no node accused it: {told}"
        );
        assert_eq!(told.history[0].evidence, Evidence::Left { generation: told.generation });
    }
    nodes[2].shutdown().await;
    nodes[2].start().await;
    agree(&nodes).await;
    for node in &nodes[..2] {
        let told = explain(node, "n2").await;
        let kinds: Vec<&str> =
            told.history.iter().map(|incident| incident.evidence.kind()).collect();
        assert_eq!(kinds, ["left", "restarted", "alive"], "{told}");
        assert_eq!(
            told.history[2].evidence,
            Evidence::Alive { generation: told.generation, was: Status::Left },
            "{told}"
        );
    }
}

/// A new instance replaces one whose end no node has noticed yet.
#[tokio::test(start_paused = true)]
async fn a_new_instance_is_explained() {
    let network = MemoryNetwork::new(1);
    let (mut nodes, seed) = cluster(&Net::Memory(network.clone()), 3, &patient()).await;
    agree(&nodes).await;
    let mut events = nodes[0].events();
    drop(nodes.pop());
    let again = GossipNode::new("n2".into(), vec![seed], network.transport("n2").unwrap());
    let again = again.with_config(patient()).unwrap();
    again.start().await;
    assert_eq!(evidence(&mut events, "n2", |_| true).await, Evidence::Restarted);
    let told = explain(&nodes[0], "n2").await;
    assert_eq!((told.status, told.history.len()), (Status::Alive, 1), "{told}");
    assert_eq!(status(&again, "n0"), Some(Alive));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_run_cannot_explain() {
    let network = MemoryNetwork::new(1);
    let node = GossipNode::new("a".into(), vec![], network.transport("a").unwrap());
    assert_eq!(kind(node.explain("a").await), NodeErrorKind::NotStarted);
    node.start().await;
    assert_eq!(node.explain("unknown").await.unwrap(), None);
    assert_eq!(node.explain("").await.unwrap(), None, "not an id, so not that of a member");
    assert!(explain(&node, "a").await.history.is_empty());
    node.shutdown().await;
    assert_eq!(kind(node.explain("a").await), NodeErrorKind::Closed);
}
