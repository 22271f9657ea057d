use super::fixed::*;
use super::model::*;
use super::*;
use proptest::prelude::*;

const MILLI: Duration = Duration::from_millis(1);

#[test]
fn the_exponential_and_the_logarithm_are_what_they_are_called() {
    let exact = |thousandths: u64| thousandths as f64 / 1_000.0;
    for x in [0, 1, 100, 693, 1_000, 2_500, 12_000, 40_000] {
        let ours = exp_minus(u128::from(ONE) * u128::from(x) / 1_000) as f64 / ONE as f64;
        assert!((ours - f64::exp(-exact(x))).abs() < 1e-14, "{x}: {ours}");
    }
    for x in [0, 10, 500, 900] {
        let ours = minus_log(ONE / 1_000 * x) as f64 / ONE as f64;
        assert!((ours + f64::ln(1.0 - exact(x))).abs() < 1e-3, "{x}: {ours}");
    }
    assert_eq!((power(ONE, 5), power(ONE / 2, 3), exp_minus(u128::MAX)), (ONE, ONE / 8, 0));
}

#[test]
fn few_answers_are_as_likely_as_coins() {
    assert_eq!(fewer(0, 0, ONE), 0);
    assert_eq!(fewer(1, 1, ONE / 4), ONE / 4);
    assert_eq!(fewer(2, 3, ONE / 2), ONE / 2);
    assert!(fewer(16, 31, ONE / 2).abs_diff(ONE / 2) < 1 << 34);
}

#[test]
fn strikes_that_are_rare_are_few_and_those_that_are_frequent_are_three() {
    assert_eq!(shares_of_strikes(0), [ONE, 0, 0, 0]);
    let [none, .., most] = shares_of_strikes(1_000_000_000_000);
    assert!(none == 0 && most > ONE - 10);
    let shares = shares_of_strikes(5_000_000_000);
    assert!(shares.iter().sum::<u64>().abs_diff(ONE) < 1_000, "{shares:?}");
}

#[test]
fn the_defaults_detect_a_crash_in_some_three_seconds_and_a_lossless_network_wrongs_nobody() {
    let predicted = Config::lan().predict(250, MILLI, 0);
    assert!((3_000..3_400).contains(&predicted.detection_median.as_millis()), "{predicted:?}");
    assert!((3_500..4_500).contains(&predicted.detection_p99.as_millis()), "{predicted:?}");
    assert_eq!(
        (predicted.false_suspicions, predicted.false_deaths, predicted.idle_bytes),
        (0, 0, 60)
    );
}

#[test]
fn plain_swim_is_slower_for_its_random_targets() {
    let swim = Config { detector: crate::DetectorFeatures::SWIM, ..Config::default() };
    let (swim, ours) = (swim.predict(250, MILLI, 5), Config::default().predict(250, MILLI, 5));
    assert!(swim.detection_p99 > ours.detection_p99 + Duration::from_secs(3), "{swim:?} {ours:?}");
    assert!(swim.false_suspicions > ours.false_suspicions * 10);
}

#[test]
fn what_cannot_be_planned_is_named() {
    let second = Duration::from_secs(1);
    assert_eq!(Config::plan(1, MILLI, 0, second), Err(PlanError::Members { members: 1 }));
    assert_eq!(Config::plan(9, MILLI, 51, second), Err(PlanError::Loss { loss_percent: 51 }));
    let round_trip = second * 6;
    assert_eq!(Config::plan(9, round_trip, 0, second), Err(PlanError::RoundTrip { round_trip }));
    for (round_trip, expected) in
        [(MILLI, PlanRule::LateTimers), (MILLI * 80, PlanRule::FiveRoundTrips)]
    {
        let error = Config::plan(250, round_trip, 2, MILLI).unwrap_err();
        let PlanError::Target { least, rule, .. } = error else { panic!("{error}") };
        assert_eq!(rule, expected);
        assert!(Config::plan(250, round_trip, 2, least).is_ok(), "the least target can be met");
        assert!(Config::plan(250, round_trip, 2, least - MILLI).is_err(), "and no less");
    }
}

proptest! {
    #[test]
    fn a_plan_is_valid_and_meets_its_target(
        members in 2_u32..20_000, round_trip in 0_u64..300, loss in 0_u8..=50, target in 100_u64..60_000,
    ) {
        let (round_trip, target) = (Duration::from_millis(round_trip), Duration::from_millis(target));
        match Config::plan(members, round_trip, loss, target) {
            Ok(plan) => {
                prop_assert_eq!(plan.config.validate(), Ok(()));
                prop_assert!(plan.predicted.detection_p99 <= target);
                prop_assert!(plan.predicted.detection_median <= plan.predicted.detection_p99);
                prop_assert!(plan.predicted.false_deaths <= plan.predicted.false_suspicions);
            }
            Err(PlanError::Target { least, .. }) => prop_assert!(least > target),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    /// Nothing overflows or panics, whatever the settings.
    #[test]
    fn anything_can_be_predicted(
        members: u32, round_trip: u64, loss: u8, spans: [u64; 4], counts: [u8; 3], percent: u16, stretch: u8,
    ) {
        let [interval, timeout, gossip, fixed] = spans.map(Duration::from_micros);
        let [indirect_probes, gossip_fanout, retransmit_multiplier] = counts;
        let scaled = SuspicionTimeout::Scaled { multiplier_percent: percent, max_multiplier: stretch };
        for suspicion in [scaled, SuspicionTimeout::Fixed(fixed), SuspicionTimeout::Fixed(Duration::MAX)] {
            for detector in [crate::DetectorFeatures::default(), crate::DetectorFeatures::SWIM] {
                let config = Config {
                    probe_interval: interval,
                    probe_timeout: timeout,
                    gossip_interval: gossip,
                    indirect_probes,
                    gossip_fanout,
                    retransmit_multiplier,
                    suspicion,
                    detector,
                    ..Config::default()
                };
                let predicted = config.predict(members, Duration::from_micros(round_trip), loss);
                prop_assert!(predicted.detection_median <= predicted.detection_p99);
            }
        }
    }
}
