//! Compares `Config::predict` with the simulator: the time until all nodes know of a crash, false
//! suspicions, and idle traffic, for the three profiles and for plans of several sizes, round
//! trips, losses and targets.
//!
//! The network is as the prediction assumes: an answer takes one round trip on average, a fifth of
//! which is jitter, and datagrams are lost independently.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Prediction, Status};
use telemetry_gossip_sim::{
    Checking, Cluster, Latency, Network, Quantiles, Settings, Shape, Share,
};
use telemetry_gossip_tests::for_each_seed;

/// A configuration and its network.
struct Case {
    config: Config,
    members: u32,
    round_trip: Duration,
    loss: u8,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, members, round_trip, loss } = self;
        let interval = config.probe_interval;
        write!(f, "{members} members, {round_trip:?}, {loss} % loss, interval {interval:?}")
    }
}

impl Case {
    /// The configuration that is planned for a target in milliseconds.
    fn planned(members: u32, round_trip_ms: u64, loss: u8, target_ms: u64) -> Self {
        let (round_trip, target) =
            (Duration::from_millis(round_trip_ms), Duration::from_millis(target_ms));
        let plan = Config::plan(members, round_trip, loss, target).expect("the target can be met");
        let case = Self { config: plan.config, members, round_trip, loss };
        assert_eq!(case.predicted(), plan.predicted);
        assert!(plan.predicted.detection_p99 <= target, "{:?}", plan.predicted);
        case
    }

    fn predicted(&self) -> Prediction {
        self.config.predict(self.members, self.round_trip, self.loss)
    }

    /// A cluster whose nodes know each other, and whose round clocks agree.
    fn cluster(&self, seed: u64) -> Cluster {
        let latency =
            Latency::new(self.round_trip * 2 / 5, self.round_trip / 10, Shape::Exponential);
        let loss = Share::percent(self.loss.into());
        let mut cluster = Cluster::new(
            Settings::default()
                .nodes(self.members as usize)
                .config(self.config.clone())
                .network(Network::default().latency(latency).loss(loss))
                .seed(seed)
                .checking(Checking::Off),
        );
        cluster.start_known();
        cluster.run_for(self.config.probe_interval * 10);
        cluster
    }

    /// The times until all nodes knew of each of `count` crashes, one after the other.
    fn crashes(&self, seed: u64, count: usize) -> Vec<Duration> {
        let mut cluster = self.cluster(seed);
        let mut times = Vec::new();
        for crash in 0..count {
            // The moments of the crashes are spread evenly over the interval.
            let part = u32::try_from((seed * 7 + crash as u64) * 618 % 1_000).expect("below 1,000");
            cluster.run_for(self.config.probe_interval * (2_000 + part) / 1_000);
            let dead = |cluster: &Cluster| cluster.everyone_holds(crash, Status::Dead);
            cluster.crash(crash);
            times.push(
                cluster
                    .run_until(dead, Duration::from_secs(300))
                    .expect("all nodes learn of the crash"),
            );
        }
        times
    }

    /// The number of suspicions of live members within `span`, and the bytes per node per second.
    fn quiet(&self, seed: u64, span: Duration) -> (usize, f64) {
        let mut cluster = self.cluster(seed);
        let sent = |cluster: &Cluster| {
            (0..cluster.len()).map(|node| cluster.usage(node).sent_bytes).sum::<u64>()
        };
        let (start, before) = (cluster.now(), sent(&cluster));
        cluster.run_for(span);
        let suspected: BTreeSet<_> = cluster
            .log()
            .iter()
            .filter(|logged| logged.at > start)
            .filter_map(|logged| match logged.event {
                Event::Suspected { id, generation, .. } => Some((id, generation)),
                _ => None,
            })
            .collect();
        let bytes = (sent(&cluster) - before) as f64 / f64::from(self.members) / span.as_secs_f64();
        (suspected.len(), bytes)
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn cases() -> Vec<Case> {
    let profile = |config, round_trip, loss| Case { config, members: 250, round_trip, loss };
    vec![
        profile(Config::local(), ms(1), 0),
        profile(Config::lan(), ms(2), 1),
        profile(Config::lan(), ms(2), 5),
        profile(Config::wan(), ms(150), 2),
        Case::planned(250, 2, 1, 5_000),
        Case::planned(250, 150, 1, 9_000),
        Case::planned(100, 2, 0, 2_000),
        Case::planned(100, 100, 20, 20_000),
        Case::planned(50, 50, 10, 10_000),
        Case::planned(10, 20, 5, 3_000),
        Case::planned(3, 10, 2, 4_000),
    ]
}

/// The median is within a fifth of the prediction. The 99th percentile is at most a tenth longer
/// than predicted, and not below half of it. The latest of a few crashes is no 99th percentile: of
/// those, one may be later.
fn detection_times_are_as_predicted(crashes: u64) {
    /// The number of crashes from which on the median is reliable.
    const ENOUGH: usize = 20;
    /// The number of crashes from which on the 99th percentile is one.
    const MANY: usize = 300;
    for case in cases() {
        // Crashes hardly change a large cluster, so one run of it can have several.
        let each = if case.members < 50 { 1 } else { 5 };
        let mut times = Vec::new();
        for_each_seed(crashes / each, |seed| {
            times.extend(case.crashes(seed, usize::try_from(each).expect("small")))
        });
        let predicted = case.predicted();
        let (median, p99) = (predicted.detection_median, predicted.detection_p99);
        let late = times.iter().filter(|&&time| time > p99 * 11 / 10).count();
        let (count, times) = (times.len(), Quantiles::of(times).expect("there were seeds"));
        println!("{case}: predicted median {median:.2?}, p99 {p99:.2?}; {count} crashes: {times}");
        assert!(late <= 1 + count / 100, "{case}: {late} late: {times}, predicted {p99:?}");
        if count >= MANY {
            assert!(times.p99 <= p99 * 11 / 10, "{case}: {times}, predicted {p99:?}");
        }
        if count >= ENOUGH {
            assert!(times.p99 >= p99 / 2, "{case}: {times}, predicted {p99:?}");
            assert!(times.median <= median * 6 / 5, "{case}: {times}, predicted {median:?}");
            assert!(times.median >= median * 4 / 5, "{case}: {times}, predicted {median:?}");
        }
    }
}

#[test]
fn detection_times_are_as_predicted_in_30_crashes() {
    detection_times_are_as_predicted(30);
}

#[test]
#[ignore = "takes a minute: 300 crashes of each case"]
fn detection_times_are_as_predicted_in_300_crashes() {
    detection_times_are_as_predicted(300);
}

/// The traffic is within 15 % of the prediction.
#[test]
fn idle_traffic_is_as_predicted() {
    for case in cases() {
        for_each_seed(1, |seed| {
            let (_, bytes) = case.quiet(seed, case.config.probe_interval * 40);
            let predicted = case.predicted().idle_bytes as f64;
            println!("{case}: predicted {predicted} B per node per second; {bytes:.1}");
            assert!(
                (predicted * 0.85..predicted * 1.15).contains(&bytes),
                "{case}: {bytes}, predicted {predicted}"
            );
        });
    }
}

/// The rate is within a factor of 3 of the prediction, at losses that cause enough suspicions to
/// count.
#[test]
fn false_suspicions_are_as_frequent_as_predicted() {
    const SPAN: Duration = Duration::from_secs(900);
    for (members, loss) in [(100, 20), (100, 30), (30, 30)] {
        let case = Case { config: Config::lan(), members, round_trip: ms(2), loss };
        for_each_seed(2, |seed| {
            let (suspected, _) = case.quiet(seed, SPAN);
            let hours = f64::from(members) * SPAN.as_secs_f64() / 3_600.0;
            let predicted = case.predicted().false_suspicions as f64 / 1e9;
            let measured = suspected as f64 / hours;
            println!(
                "{case}: predicted {predicted:.2} suspicions per member per hour; {measured:.2} \
                 ({suspected})"
            );
            assert!(
                (predicted / 3.0..predicted * 3.0).contains(&measured),
                "{case}: {measured}, predicted {predicted}"
            );
        });
    }
}
