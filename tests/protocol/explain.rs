//! `Node::explain` after each kind of incident: it names the reasons of every verdict.

use std::time::Duration;

use telemetry_gossip_core::{Config, Evidence, Explanation, Status, SuspicionTimeout};
use telemetry_gossip_sim::{Cluster, Memory, Settings, Share, node_id};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 12;
const TARGET: usize = 7;

fn cluster(seed: u64) -> Cluster {
    configured(Config::default(), seed)
}

fn configured(config: Config, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Settings::default().nodes(NODES).config(config).seed(seed));
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(3));
    cluster
}

fn others() -> impl Iterator<Item = usize> + Clone {
    (0..NODES).filter(|&node| node != TARGET)
}

fn explain(cluster: &Cluster, observer: usize) -> Explanation {
    let id = node_id(TARGET);
    cluster.node(observer).explain(id.as_str()).expect("it is known")
}

fn evidence(cluster: &Cluster, observer: usize) -> Vec<Evidence> {
    explain(cluster, observer).history.iter().map(|incident| incident.evidence).collect()
}

/// The first accuser of the target according to an explanation.
fn accuser(told: &Explanation) -> Option<&str> {
    let by = told.history.iter().find_map(|incident| match incident.evidence {
        Evidence::Suspected { by, .. } => by,
        _ => None,
    });
    by.map(|hash| told.name(hash).expect("the accuser has a name"))
}

/// The observers that have evidence which meets a condition.
fn holding(cluster: &Cluster, condition: impl Fn(&Evidence) -> bool) -> Vec<usize> {
    others().filter(|&observer| evidence(cluster, observer).iter().any(&condition)).collect()
}

fn run_until(cluster: &mut Cluster, condition: impl Fn(&Cluster) -> bool) {
    assert!(
        cluster.run_until(condition, Duration::from_secs(60)).is_some(),
        "the condition never holds"
    );
}

#[test]
fn a_crash_is_explained_by_failed_probes_and_the_first_accuser() {
    for_each_seed(50, |seed| {
        let mut cluster = cluster(seed);
        cluster.crash(TARGET);
        run_until(&mut cluster, |cluster| cluster.everyone_holds(TARGET, Status::Dead));

        // At least one node declared the death: its direct and indirect probes failed, and the
        // helpers reported it.
        let judges = holding(&cluster, |found| matches!(found, Evidence::Dead { here: true, .. }));
        assert!(!judges.is_empty(), "no node declared it dead");
        let probers = holding(&cluster, |found| {
            let Evidence::ProbeFailed { helpers } = found else { return false };
            helpers.iter().flatten().filter(|helper| helper.nacked).count() >= 3
        });
        assert!(judges.iter().all(|judge| probers.contains(judge)), "a judge has not probed");

        // All nodes know the death. Those that heard of the suspicion before also know the first
        // accuser, which is one of the nodes whose probe failed.
        let mut warned = 0;
        for observer in others() {
            let told = explain(&cluster, observer);
            assert_eq!(told.status, Status::Dead);
            let Some(accuser) = accuser(&told) else { continue };
            warned += 1;
            assert!(
                probers.iter().any(|&prober| node_id(prober).as_str() == accuser),
                "{accuser} accused it"
            );
            assert!(told.suspicion.is_none() && !told.isolated);
            let text = told.to_string();
            assert!(
                text.contains(&format!("suspected by {accuser}"))
                    && text.contains("declared dead by"),
                "{text}"
            );
        }
        assert!(warned >= NODES - 3, "{warned} heard of the suspicion before the death");
    });
}

/// A suspicion of ten seconds leaves time for other nodes to probe the target, too.
#[test]
fn a_long_suspicion_is_explained_by_all_accusers() {
    for_each_seed(20, |seed| {
        let config = Config::default().suspicion(SuspicionTimeout::Fixed(Duration::from_secs(10)));
        let mut cluster = configured(config, seed);
        cluster.crash(TARGET);
        run_until(&mut cluster, |cluster| cluster.everyone_holds(TARGET, Status::Dead));
        let probers = holding(&cluster, |found| matches!(found, Evidence::ProbeFailed { .. }));
        for observer in others() {
            let told = explain(&cluster, observer);
            let confirmed: Vec<&str> = told
                .history
                .iter()
                .filter_map(|incident| match incident.evidence {
                    Evidence::Confirmed { by } => told.name(by),
                    _ => None,
                })
                .collect();
            assert!(
                !confirmed.is_empty()
                    && !accuser(&told).is_none_or(|accuser| confirmed.contains(&accuser)),
                "{told}"
            );
            for name in confirmed {
                assert!(
                    probers.iter().any(|&prober| node_id(prober).as_str() == name),
                    "{name}: {told}"
                );
            }
        }
    });
}

#[test]
fn a_suspicion_and_its_refutation_are_explained() {
    for_each_seed(50, |seed| {
        let mut cluster = cluster(seed);
        cluster.partition([TARGET], others());
        run_until(&mut cluster, |cluster| cluster.status(0, TARGET) == Some(Status::Suspected));
        let suspected = explain(&cluster, 0);
        let open = suspected.suspicion.as_ref().expect("the suspicion is open");
        assert!(open.until > suspected.now && !open.accusers.is_empty());
        assert!(suspected.to_string().contains("unless it refutes; accused by n"), "{suspected}");

        cluster.heal();
        run_until(&mut cluster, Cluster::views_complete_and_alive);
        let told = explain(&cluster, 0);
        assert!(told.suspicion.is_none());
        assert_eq!(told.flaps, 1);
        let refuted = Evidence::Alive { generation: told.generation, was: Status::Suspected };
        assert_eq!(told.history.last().map(|incident| incident.evidence), Some(refuted), "{told}");
    });
}

#[test]
fn an_answer_through_a_helper_is_explained() {
    for_each_seed(50, |seed| {
        let mut cluster = cluster(seed);
        cluster.partition([TARGET], [0]);
        let helped = |found: &Evidence| matches!(found, Evidence::AnsweredThrough { .. });
        run_until(&mut cluster, |cluster| evidence(cluster, 0).iter().any(helped));
        let told = explain(&cluster, 0);
        assert_eq!((told.status, told.suspicion.clone()), (Status::Alive, None));
        let helper = told.history.iter().find_map(|incident| match incident.evidence {
            Evidence::AnsweredThrough { helper } => told.name(helper),
            _ => None,
        });
        let helper = helper.expect("the helper has a name");
        assert!(
            others().skip(1).any(|other| node_id(other).as_str() == helper),
            "{helper} cannot be a helper"
        );
        assert!(
            told.to_string().contains(&format!("did not answer directly but through {helper}")),
            "{told}"
        );
    });
}

#[test]
fn the_death_and_return_of_a_suspended_process_are_explained() {
    for_each_seed(20, |seed| {
        let mut cluster = cluster(seed);
        cluster.pause(TARGET);
        cluster.run_for(Duration::from_secs(10));
        cluster.resume(TARGET);
        run_until(&mut cluster, Cluster::views_complete_and_alive);
        for observer in others() {
            let found = evidence(&cluster, observer);
            let dead = found.iter().position(|found| matches!(found, Evidence::Dead { .. }));
            let back = found
                .iter()
                .position(|found| matches!(found, Evidence::Alive { was: Status::Dead, .. }));
            assert!(dead.is_some() && dead < back, "{found:?}");
        }
        // The target noticed its own pause and suspects no other node.
        let id = node_id(0);
        assert_eq!(cluster.node(TARGET).explain(id.as_str()).expect("known").status, Status::Alive);
        assert_eq!(cluster.node(TARGET).stats().pauses, 1);
    });
}

/// The target receives nothing: the others agree that it is dead, and it knows that it is isolated.
#[test]
fn an_isolated_node_explains_that_it_is_isolated() {
    for_each_seed(20, |seed| {
        let mut cluster = cluster(seed);
        cluster.cut(others(), [TARGET]);
        run_until(&mut cluster, |cluster| cluster.all_hold(others(), TARGET, Status::Dead));
        run_until(&mut cluster, |cluster| cluster.health(TARGET).isolated_since.is_some());
        for observer in others() {
            let told = explain(&cluster, observer);
            assert_eq!(
                (told.generation.0, told.isolated),
                (1, false),
                "the other nodes agree: {told}"
            );
        }
        assert!(explain(&cluster, TARGET).isolated, "the target reports itself isolated");
        let told: Vec<Explanation> = others()
            .map(|of| cluster.node(TARGET).explain(node_id(of).as_str()).expect("known"))
            .collect();
        assert!(told.iter().all(|told| told.isolated && told.status == Status::Alive));
        let spared = |told: &&Explanation| {
            told.history.iter().any(|one| one.evidence == Evidence::NotAccused)
        };
        let spared =
            told.iter().find(spared).expect("a member that did not answer was not accused");
        assert!(spared.to_string().contains("this node was itself out of touch"), "{spared}");
        assert!(spared.to_string().contains("declares no member dead"), "{spared}");
    });
}

#[test]
fn a_recheck_after_two_refutations_is_explained() {
    for_each_seed(10, |seed| {
        let mut cluster = cluster(seed);
        for other in others() {
            cluster.lose(other, TARGET, Share::percent(90));
        }
        // After a second refutation, a node whose next probe fails rechecks the target.
        let rechecked = |cluster: &Cluster, at| {
            let recheck = |found: &Evidence| matches!(found, Evidence::Recheck { .. });
            let told = explain(cluster, at);
            let calm = told.flaps > 1 && told.status == Status::Alive;
            calm && evidence(cluster, at).last().is_some_and(recheck)
        };
        run_until(&mut cluster, |cluster| others().any(|at| rechecked(cluster, at)));
        let at = others().find(|&at| rechecked(&cluster, at)).expect("it exists");
        let told = explain(&cluster, at);
        let back = |found: &&Evidence| matches!(found, Evidence::Alive { .. });
        assert!(evidence(&cluster, at).iter().filter(back).count() > 1, "{told}");
        assert_eq!((told.status, told.suspicion.as_ref()), (Status::Alive, None), "{told}");
        assert!(told.to_string().ends_with("more pings"), "{told}");
    });
}

#[test]
fn a_restart_after_a_leave_is_explained() {
    for_each_seed(20, |seed| {
        let mut cluster = cluster(seed);
        cluster.leave(TARGET);
        run_until(&mut cluster, |cluster| cluster.all_hold(others(), TARGET, Status::Left));
        assert!(
            others().all(|at| matches!(evidence(&cluster, at).last(), Some(Evidence::Left { .. })))
        );

        cluster.crash(TARGET);
        cluster.restart(TARGET, Memory::Lost);
        cluster.join(TARGET, &[0]);
        run_until(&mut cluster, Cluster::views_complete_and_alive);
        for observer in others() {
            let found = evidence(&cluster, observer);
            assert!(found.contains(&Evidence::Restarted), "{found:?}");
            assert!(
                matches!(found.last(), Some(Evidence::Alive { was: Status::Left, .. })),
                "{found:?}"
            );
        }
    });
}

/// The target is restarted before any node notices the crash.
#[test]
fn an_unnoticed_restart_is_explained() {
    for_each_seed(20, |seed| {
        let mut cluster = cluster(seed);
        cluster.crash(TARGET);
        cluster.restart(TARGET, Memory::Lost);
        let met = |cluster: &Cluster| {
            others().all(|observer| evidence(cluster, observer).contains(&Evidence::Restarted))
        };
        run_until(&mut cluster, met);
        for observer in others() {
            let told = explain(&cluster, observer);
            assert_eq!(
                (told.status, told.history.len(), told.flaps),
                (Status::Alive, 1, 0),
                "{told}"
            );
            assert!(told.to_string().contains("restarted: another instance of it"), "{told}");
        }
    });
}

#[test]
fn a_member_without_incidents_is_explained() {
    let mut cluster = cluster(1);
    cluster.run_for(Duration::from_secs(30));
    let told = explain(&cluster, 0);
    assert!(told.history.is_empty() && told.round_trip.is_some() && told.flaps == 0);
    assert!(told.to_string().contains("no incident is on record here"), "{told}");
    assert!(cluster.node(0).explain("stranger").is_none());
}
