//! What `Config::predict` says, against the simulator: the time until a crash is known to all,
//! false suspicions, idle bytes, for the three profiles and for plans of several sizes, round
//! trips, losses and targets.
//!
//! The network is as the prediction assumes: every answer takes a round trip on average, a fifth of
//! it jitter, and datagrams are lost independently.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Prediction, Status};
use telemetry_gossip_sim::{
    Checking, Cluster, Latency, Network, Quantiles, Settings, Shape, Share,
};
use telemetry_gossip_tests::for_each_seed;

/// Settings on a network.
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
    /// Settings for a target in milliseconds.
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

    /// All know all, and the round clocks agree.
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

    /// How long it took until each of so many crashes, one after another, was known to all.
    fn crashes(&self, seed: u64, count: usize) -> Vec<Duration> {
        let mut cluster = self.cluster(seed);
        let mut times = Vec::new();
        for crash in 0..count {
            // The moments are spread evenly over the interval.
            let part = u32::try_from((seed * 7 + crash as u64) * 618 % 1_000).expect("below 1,000");
            cluster.run_for(self.config.probe_interval * (2_000 + part) / 1_000);
            let dead = |cluster: &Cluster| cluster.everyone_holds(crash, Status::Dead);
            cluster.crash(crash);
            times.push(
                cluster.run_until(dead, Duration::from_secs(300)).expect("it is known in the end"),
            );
        }
        times
    }

    /// Suspicions of live members, and what a node sends in a second, for so long.
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

/// The median within a fifth of the prediction; the 99th percentile at most a tenth later, and no
/// sooner than half.
fn crashes_are_known_when_predicted(crashes: u64) {
    /// With fewer, the median is a matter of luck.
    const ENOUGH: usize = 20;
    for case in cases() {
        // One crash more or less changes nothing in a large cluster.
        let each = if case.members < 50 { 1 } else { 5 };
        let mut times = Vec::new();
        for_each_seed(crashes / each, |seed| {
            times.extend(case.crashes(seed, usize::try_from(each).expect("small")))
        });
        let (count, times) = (times.len(), Quantiles::of(times).expect("there were seeds"));
        let predicted = case.predicted();
        let (median, p99) = (predicted.detection_median, predicted.detection_p99);
        println!("{case}: predicted median {median:.2?}, p99 {p99:.2?}; {count} crashes: {times}");
        assert!(times.p99 <= p99 * 11 / 10, "{case}: {times}, predicted {p99:?}");
        if count >= ENOUGH {
            assert!(times.p99 >= p99 / 2, "{case}: {times}, predicted {p99:?}");
            assert!(times.median <= median * 6 / 5, "{case}: {times}, predicted {median:?}");
            assert!(times.median >= median * 4 / 5, "{case}: {times}, predicted {median:?}");
        }
    }
}

#[test]
fn a_crash_is_known_to_all_when_predicted() {
    crashes_are_known_when_predicted(30);
}

#[test]
#[ignore = "takes a minute: 300 crashes of each case"]
fn a_crash_is_known_to_all_when_predicted_in_300_crashes() {
    crashes_are_known_when_predicted(300);
}

/// Within 15 %.
#[test]
fn a_quiet_node_sends_as_much_as_predicted() {
    for case in cases() {
        for_each_seed(1, |seed| {
            let (_, bytes) = case.quiet(seed, case.config.probe_interval * 40);
            let predicted = case.predicted().idle_bytes as f64;
            println!("{case}: predicted {predicted} B a node and second; {bytes:.1}");
            assert!(
                (predicted * 0.85..predicted * 1.15).contains(&bytes),
                "{case}: {bytes}, predicted {predicted}"
            );
        });
    }
}

/// Within a factor of 3, where so much is lost that there are enough to count.
#[test]
fn live_members_are_suspected_as_often_as_predicted() {
    const SPAN: Duration = Duration::from_secs(900);
    for (members, loss) in [(100, 20), (100, 30), (30, 30)] {
        let case = Case { config: Config::lan(), members, round_trip: ms(2), loss };
        for_each_seed(2, |seed| {
            let (suspected, _) = case.quiet(seed, SPAN);
            let hours = f64::from(members) * SPAN.as_secs_f64() / 3_600.0;
            let predicted = case.predicted().false_suspicions as f64 / 1e9;
            let measured = suspected as f64 / hours;
            println!(
                "{case}: predicted {predicted:.2} suspicions a member and hour; {measured:.2} ({suspected})"
            );
            assert!(
                (predicted / 3.0..predicted * 3.0).contains(&measured),
                "{case}: {measured}, predicted {predicted}"
            );
        });
    }
}
