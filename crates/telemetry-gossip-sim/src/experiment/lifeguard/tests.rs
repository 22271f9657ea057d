//! A small part of the experiment, with the same results as the whole.

use super::*;

fn small() -> LifeguardPlan {
    LifeguardPlan::default()
        .members(64)
        .anomalous(vec![4, 12])
        .blocked_ms(vec![8_192, 32_768])
        .free_ms(vec![64, 4_096])
        .once_ms(vec![32_768])
}

#[test]
fn lifeguard_has_fewer_false_positives_than_swim_and_the_default_has_even_fewer() {
    let result = lifeguard(&small(), |_| {});
    let [swim, .., guarded, ours] = &result.rows[..] else { panic!("{result}") };
    assert!(swim.alarms.everywhere > 1_000, "{result}");
    assert!(guarded.alarms.everywhere * 20 < swim.alarms.everywhere, "{result}");
    assert!(ours.alarms.everywhere * 200 < swim.alarms.everywhere, "{result}");
    for row in &result.rows {
        // 4 and 12 failures that last longer than any suspicion.
        assert_eq!(row.detections.len(), 16, "{result}");
        assert!(
            row.detections.iter().all(|detection| detection.everyone >= detection.first),
            "{result}"
        );
        let sum: u64 = row.by_anomalous.iter().map(|(_, alarms)| alarms.everywhere).sum();
        assert_eq!((sum, row.clean.of), (row.alarms.everywhere, 8));
    }
    let median = |row: &LifeguardRow| Latencies::of(&row.first_detections()).unwrap().median;
    assert!(
        median(ours) < Duration::from_millis(6_200) && median(ours) < median(swim) / 2,
        "{result}"
    );
}

#[test]
fn the_full_plan_is_the_published_one() {
    // 9 numbers of anomalous members, 6 blocks by 8 intervals and 6 single blocks, 10 repeats, 6
    // variants.
    assert_eq!(LifeguardPlan::full().runs().len(), 9 * (6 * 8 + 6) * 10 * 6);
}

#[test]
fn one_plan_gives_one_result() {
    let plan = LifeguardPlan::default()
        .members(8)
        .anomalous(vec![2])
        .blocked_ms(vec![2_048])
        .free_ms(vec![64])
        .span_s(10);
    assert_eq!(lifeguard(&plan, |_| {}), lifeguard(&plan, |_| {}));
}
