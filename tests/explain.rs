//! Every verdict explains itself: what `Node::explain` says after each kind of trouble.

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
    let mut cluster = Cluster::new(Settings { nodes: NODES, config, seed, ..Settings::default() });
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

/// Who accused the target first, as an explanation has it.
fn accuser(told: &Explanation) -> Option<&str> {
    let by = told.history.iter().find_map(|incident| match incident.evidence {
        Evidence::Suspected { by, .. } => by,
        _ => None,
    });
    by.map(|tag| told.name(tag).expect("the accuser has a name"))
}

/// The observers among the others whose evidence meets a condition.
fn holding(cluster: &Cluster, condition: impl Fn(&Evidence) -> bool) -> Vec<usize> {
    others().filter(|&observer| evidence(cluster, observer).iter().any(&condition)).collect()
}

fn run_until(cluster: &mut Cluster, condition: impl Fn(&Cluster) -> bool) {
    assert!(cluster.run_until(condition, Duration::from_secs(60)).is_some(), "it never happens");
}

#[test]
fn a_crash() {
    for_each_seed(50, |seed| {
        let mut cluster = cluster(seed);
        cluster.crash(TARGET);
        run_until(&mut cluster, |cluster| cluster.everyone_holds(TARGET, Status::Dead));

        // One of them found it out: its probe failed by every path, and the helpers were there and
        // said so.
        let judges = holding(&cluster, |found| matches!(found, Evidence::Dead { here: true, .. }));
        assert!(!judges.is_empty(), "somebody declared it dead");
        let probers = holding(
            &cluster,
            |found| matches!(found, Evidence::ProbeFailed { helpers } if helpers.iter().flatten().filter(|helper| helper.nacked).count() >= 3),
        );
        assert!(judges.iter().all(|judge| probers.contains(judge)), "a judge has probed");

        // Everybody knows that it is dead, and whoever heard of the suspicion before knows who
        // accused it first: one of those whose probe failed.
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

/// A suspicion of ten seconds is long enough for others to probe the target, too.
#[test]
fn a_crash_that_others_confirm() {
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
fn a_refuted_suspicion() {
    for_each_seed(50, |seed| {
        let mut cluster = cluster(seed);
        cluster.partition([TARGET], others());
        run_until(&mut cluster, |cluster| cluster.status(0, TARGET) == Some(Status::Suspected));
        let running = explain(&cluster, 0);
        let pending = running.suspicion.as_ref().expect("it runs");
        assert!(pending.until > running.now && !pending.accusers.is_empty());
        assert!(running.to_string().contains("unless it refutes; accused by n"), "{running}");

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
fn a_broken_path() {
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
            "{helper} cannot help"
        );
        assert!(
            told.to_string().contains(&format!("did not answer directly but through {helper}")),
            "{told}"
        );
    });
}

#[test]
fn a_stopped_process() {
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
        // It slept and holds that against nobody.
        let id = node_id(0);
        assert_eq!(cluster.node(TARGET).explain(id.as_str()).expect("known").status, Status::Alive);
        assert_eq!(cluster.node(TARGET).stats().pauses, 1);
    });
}

/// It hears nobody: the others agree that it is dead, and it knows that it is itself cut off.
#[test]
fn a_deaf_node() {
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
                "those who are well agree: {told}"
            );
        }
        assert!(explain(&cluster, TARGET).isolated, "it says so of itself");
        let told: Vec<Explanation> = others()
            .map(|of| cluster.node(TARGET).explain(node_id(of).as_str()).expect("known"))
            .collect();
        assert!(told.iter().all(|told| told.isolated && told.status == Status::Alive));
        let spared = |told: &&Explanation| {
            told.history.iter().any(|one| one.evidence == Evidence::NotAccused)
        };
        let spared =
            told.iter().find(spared).expect("somebody did not answer it, and was not accused");
        assert!(spared.to_string().contains("this node was itself out of touch"), "{spared}");
        assert!(spared.to_string().contains("declares no member dead"), "{spared}");
    });
}

#[test]
fn a_lossy_link() {
    for_each_seed(10, |seed| {
        let mut cluster = cluster(seed);
        for other in others() {
            cluster.lose(other, TARGET, Share::percent(90));
        }
        // After a second refutation somebody puts it on trial, once its next probe has failed.
        let tried = |cluster: &Cluster, at| {
            let on_trial = |found: &Evidence| matches!(found, Evidence::Recheck { .. });
            explain(cluster, at).flaps > 1 && evidence(cluster, at).last().is_some_and(on_trial)
        };
        run_until(&mut cluster, |cluster| others().any(|at| tried(cluster, at)));
        let at = others().find(|&at| tried(&cluster, at)).expect("it was just there");
        let told = explain(&cluster, at);
        let back = |found: &&Evidence| matches!(found, Evidence::Alive { .. });
        assert!(evidence(&cluster, at).iter().filter(back).count() > 1, "{told}");
        assert_eq!((told.status, told.suspicion.as_ref()), (Status::Alive, None), "{told}");
        assert!(told.to_string().ends_with("more pings"), "{told}");
    });
}

#[test]
fn a_leave_and_a_restart() {
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

/// Its new life is there before anybody has missed the old one.
#[test]
fn a_restart() {
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
fn a_quiet_member() {
    let mut cluster = cluster(1);
    cluster.run_for(Duration::from_secs(30));
    let told = explain(&cluster, 0);
    assert!(told.history.is_empty() && told.round_trip.is_some() && told.flaps == 0);
    assert!(told.to_string().contains("no incident is on record here"), "{told}");
    assert!(cluster.node(0).explain("nobody").is_none());
}
