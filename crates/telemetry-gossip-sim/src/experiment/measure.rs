//! Measures a run by the events of its nodes.
//!
//! A *failure event* is a `Dead` at one member about another, whether the member declared it or
//! heard of it. Every member raises its own failure event, since the hosts of all members act on
//! them. Failure events about members whose failure is part of the set-up (the *anomalous* members)
//! are detections. All others are *false positives*.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Event, NodeId};

use crate::cluster::Cluster;

/// Numbers of false positives: failure events about healthy members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alarms {
    /// False positives at all members (FP).
    pub everywhere: u64,
    /// False positives at healthy members (FP-).
    pub at_healthy: u64,
    /// False positives that the member itself declared after its own suspicion ran out, rather than
    /// heard of.
    pub found: u64,
    /// False positives that a healthy member itself declared.
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

/// The times in which the failure of one member became known, since the failure began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Detection {
    /// Time until the first healthy member raised the failure event.
    pub first: Option<Duration>,
    /// Time until all healthy members had raised it; `None` if one of them never did.
    pub everyone: Option<Duration>,
}

/// A failure event.
struct Failure {
    at: Duration,
    observer: usize,
    subject: usize,
    /// Whether the observer declared the failure itself.
    found: bool,
}

/// All failure events of a run.
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

/// Counts the false positives of a run in which only the `anomalous` members were disturbed.
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

/// The detections of the failures that began at `since`, one per anomalous member.
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
    fn failure_events_about_anomalous_members_are_detections_and_all_others_false_positives() {
        let config = Config::default().detector(DetectorFeatures::SWIM);
        let mut cluster = Cluster::new(Settings::default().nodes(4).config(config).seed(3));
        cluster.start_known();
        cluster.run_for(Duration::from_secs(10));
        let since = cluster.now();
        cluster.block(0);
        cluster.run_for(Duration::from_secs(20));
        // The three healthy members hold n0 Dead, and n0 holds the three Dead.
        assert_eq!(
            alarms(&cluster, &[0]),
            Alarms { everywhere: 3, at_healthy: 0, found: 3, found_at_healthy: 0 }
        );
        let Alarms { everywhere, at_healthy, found, .. } = alarms(&cluster, &[1]);
        assert_eq!((everywhere, at_healthy), (5, 4));
        assert!(
            (3..=5).contains(&found),
            "n0 declares all three itself, of the others at least one declares n0"
        );
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
        let mut cluster = Cluster::new(Settings::default().nodes(5).config(config).seed(3));
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
        // Events before `since` do not count.
        assert_eq!(detections(&cluster, &[0], cluster.now()), [Detection::default()]);
    }
}
