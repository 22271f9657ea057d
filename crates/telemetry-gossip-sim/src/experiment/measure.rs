//! What is measured in a run, from the events of its nodes.
//!
//! A *failure event* is `Dead` at one member about another, whether the member found out or heard
//! of it: each member of a cluster raises its own, as the hosts of all members act on them. Events
//! about members whose failure is part of the set-up (the *anomalous*) are detections, all others
//! are *false positives*.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Event, NodeId};

use crate::cluster::Cluster;

/// Failure events about members that were well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarms {
    /// At any member (FP).
    pub everywhere: u64,
    /// Those at members that were well themselves (FP-).
    pub at_healthy: u64,
    /// Of all, those of members that found out by themselves: their own suspicion ran out, they did
    /// not hear of it.
    pub found: u64,
    /// Of those, at members that were well.
    pub found_at_healthy: u64,
}

impl AddAssign for Alarms {
    fn add_assign(&mut self, other: Self) {
        self.everywhere += other.everywhere;
        self.at_healthy += other.at_healthy;
        self.found += other.found;
        self.found_at_healthy += other.found_at_healthy;
    }
}

/// How the failure of one member became known, counted from the time it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    /// Until the first healthy member raised the failure event.
    pub first: Option<Duration>,
    /// Until the last did; `None` if one never did.
    pub everyone: Option<Duration>,
}

/// A failure event: when, at whom, about whom, and whether that member found out by itself.
struct Failure {
    at: Duration,
    observer: usize,
    subject: usize,
    found: bool,
}

/// Every failure event of the run.
fn failures(cluster: &Cluster) -> impl Iterator<Item = Failure> {
    let simulation = cluster.simulation();
    let indices: BTreeMap<NodeId, usize> =
        (0..cluster.len()).filter_map(|index| Some((simulation.id(index)?, index))).collect();
    cluster.log().iter().filter_map(move |logged| match logged.event {
        Event::Dead { id, .. } => Some(Failure {
            at: logged.at,
            observer: logged.node,
            subject: *indices.get(&id)?,
            found: logged.timed,
        }),
        _ => None,
    })
}

/// The false positives of a run in which only the `anomalous` ever were unwell.
pub(super) fn alarms(cluster: &Cluster, anomalous: &[usize]) -> Alarms {
    let mut alarms = Alarms::default();
    for failure in failures(cluster).filter(|failure| !anomalous.contains(&failure.subject)) {
        let (healthy, found) = (!anomalous.contains(&failure.observer), failure.found);
        alarms += Alarms {
            everywhere: 1,
            at_healthy: healthy.into(),
            found: found.into(),
            found_at_healthy: (healthy && found).into(),
        };
    }
    alarms
}

/// How the failures that began at `since` became known to the healthy, one an anomalous member.
pub(super) fn detections(
    cluster: &Cluster,
    anomalous: &[usize],
    since: Duration,
) -> Vec<Detection> {
    let healthy = cluster.len() - anomalous.len();
    let mut raised: BTreeMap<usize, BTreeMap<usize, Duration>> = BTreeMap::new();
    for Failure { at, observer, subject, .. } in failures(cluster) {
        if at >= since && anomalous.contains(&subject) && !anomalous.contains(&observer) {
            raised.entry(subject).or_default().entry(observer).or_insert(at - since);
        }
    }
    let detection = |subject| {
        let times = raised.get(subject).into_iter().flat_map(BTreeMap::values).copied();
        let (first, last) = (times.clone().min(), times.clone().max());
        Detection { first, everyone: last.filter(|_| times.count() == healthy) }
    };
    anomalous.iter().map(detection).collect()
}

#[cfg(test)]
mod tests {
    use telemetry_gossip_core::{Config, DetectorFeatures};

    use super::*;
    use crate::Settings;

    #[test]
    fn deaths_of_the_anomalous_are_detections_and_all_others_false_positives() {
        let config = Config::default().detector(DetectorFeatures::SWIM);
        let mut cluster =
            Cluster::new(Settings { nodes: 4, config, seed: 3, ..Settings::default() });
        cluster.start_known();
        cluster.run_for(Duration::from_secs(10));
        let since = cluster.now();
        cluster.block(0);
        cluster.run_for(Duration::from_secs(20));
        // The three healthy members hold n0 dead, and n0 holds the three dead.
        assert_eq!(
            alarms(&cluster, &[0]),
            Alarms { everywhere: 3, at_healthy: 0, found: 3, found_at_healthy: 0 }
        );
        let Alarms { everywhere, at_healthy, found, .. } = alarms(&cluster, &[1]);
        assert_eq!((everywhere, at_healthy), (5, 4));
        assert!((3..=5).contains(&found), "n0 hears of nothing, of the others one finds out");
        let [detection] = detections(&cluster, &[0], since)[..] else {
            panic!("one member is anomalous")
        };
        let (first, everyone) = (detection.first.unwrap(), detection.everyone.unwrap());
        assert!(first <= everyone && everyone < Duration::from_secs(10), "{detection:?}");
        let times = (1..4).map(|node| {
            cluster.events(node).find_map(|(at, event)| match event {
                Event::Dead { .. } => Some(at - since),
                _ => None,
            })
        });
        assert!(times.clone().min() == Some(Some(first)) && times.max() == Some(Some(everyone)));
    }

    #[test]
    fn a_failure_that_one_healthy_member_missed_is_not_known_to_everyone() {
        let config = Config::default().detector(DetectorFeatures::SWIM);
        let mut cluster =
            Cluster::new(Settings { nodes: 5, config, seed: 3, ..Settings::default() });
        cluster.start_known();
        cluster.run_for(Duration::from_secs(5));
        let since = cluster.now();
        cluster.crash(0);
        cluster.pause(4);
        cluster.run_for(Duration::from_secs(20));
        let [detection] = detections(&cluster, &[0], since)[..] else {
            panic!("one member is anomalous")
        };
        assert!(detection.first.is_some() && detection.everyone.is_none());
        // Before it began, nothing counts.
        assert_eq!(detections(&cluster, &[0], cluster.now()), [Detection::default()]);
    }
}
