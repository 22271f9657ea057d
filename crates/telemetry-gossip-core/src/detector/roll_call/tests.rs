//! Roll calls round by round, without a node.

use super::*;

#[test]
fn an_even_split_is_in_touch_and_a_minority_is_not() {
    // (members asked besides this node, answers, in touch)
    for (others, answers, expected) in [
        (0, 0, true),  // alone
        (1, 0, true),  // 1 of 2: half
        (2, 0, false), // 1 of 3
        (9, 4, true),  // 5 of 10: an even split
        (9, 3, false), // 4 of 10
        (9, 2, false), // the 3 of 7 + 3
        (9, 6, true),  // the 7
        (249, 29, false),
        (249, 124, true),
        (249, 123, false),
    ] {
        assert_eq!(in_touch(others, answers), expected, "{answers} of {others}");
    }
}

fn call(others: usize, answers: impl Fn(usize) -> bool) -> (RollCalls, usize) {
    let mut rolls = RollCalls::default();
    let now = Instant::ORIGIN;
    rolls.begin(now, others, 0);
    let mut rounds = 0;
    while rolls.has_rounds() && !rolls.is_clear() {
        for _ in 0..rolls.next_round(now, Duration::ZERO) {
            let n = rolls.asked.len();
            let request_id = RequestId(u32::MAX.wrapping_add(u32::try_from(n).unwrap()));
            rolls.ask(Slot(0), request_id);
            if answers(n) {
                rolls.answered(request_id);
            }
        }
        rounds += 1;
    }
    (rolls, rounds)
}

#[test]
fn a_healthy_large_cluster_is_clear_after_one_small_round() {
    let (rolls, rounds) = call(9_999, |_| true);
    assert!(rolls.is_clear());
    assert_eq!((rounds, rolls.asked.len()), (1, 32));
}

#[test]
fn sides_of_nearly_half_ask_all_members_and_are_told_apart() {
    for (answers, expected) in [(900, false), (998, false), (999, true), (1_100, true)] {
        // Evenly spread, so that every sample is as undecided as the whole.
        let (mut rolls, rounds) = call(1_999, |n| (n + 1) * answers / 1_999 > n * answers / 1_999);
        let finding = rolls.conclude(Instant::ORIGIN, Duration::ZERO);
        assert_eq!(
            matches!(finding, Some(Finding::InTouch { .. })),
            expected,
            "{answers} in {rounds} rounds"
        );
    }
}

#[test]
fn a_minority_is_never_clear_and_finds_itself_cut_off_in_the_end() {
    let (mut rolls, _) = call(249, |n| n < 29);
    assert!(!rolls.is_clear());
    let finding = rolls.conclude(Instant::ORIGIN, Duration::ZERO);
    assert_eq!(finding, Some(Finding::CutOff { lost: 220, of: 250 }));
}

const PACE: Duration = Duration::from_millis(300);
const AGAIN: Duration = Duration::from_secs(2);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// Begins a round and asks as many members as it adds, slot n with request id n + 1. Returns
/// how many.
fn ask(rolls: &mut RollCalls, now: Instant) -> usize {
    let wanted = rolls.next_round(now, PACE);
    for n in rolls.asked.len()..rolls.asked.len() + wanted {
        rolls.ask(Slot(u32::try_from(n).unwrap()), RequestId(u32::try_from(n).unwrap() + 1));
    }
    wanted
}

fn answer(rolls: &mut RollCalls, numbers: core::ops::RangeInclusive<u32>) {
    for request_id in numbers {
        assert_eq!(rolls.answered(RequestId(request_id)), Some(Slot(request_id - 1)));
    }
}

/// The roll calls of a node that has found itself cut off from nine others.
fn cut_off(now: Instant) -> RollCalls {
    let mut rolls = RollCalls::default();
    rolls.begin(now, 9, 0);
    while rolls.has_rounds() {
        ask(&mut rolls, now);
    }
    assert_eq!(rolls.conclude(now, AGAIN), Some(Finding::CutOff { lost: 9, of: 10 }));
    assert!(rolls.isolate(now) && !rolls.isolate(now + AGAIN), "once");
    rolls
}

#[test]
fn rounds_follow_at_the_pace_add_to_the_sample_and_ask_silent_members_again() {
    let mut rolls = RollCalls::default();
    rolls.begin(at(0), 500, 7);
    assert!(rolls.is_due(at(0)) && rolls.is_calling());
    let added = [0, 300, 600, 900, 1_200, 1_500].map(|millis| {
        assert_eq!(rolls.deadline(None), Some(at(millis)));
        assert!(!rolls.is_due(at(millis.saturating_sub(1))) || millis == 0);
        ask(&mut rolls, at(millis))
    });
    assert_eq!(added, [32, 64, 128, 192, 84, 0]);
    let silent = rolls.silent();
    assert_eq!(
        (silent.len(), silent[0].slot, silent[383].slot),
        (384, Slot(499), Slot(116)),
        "the latest asked first"
    );
    answer(&mut rolls, 101..=500);
    assert_eq!(rolls.silent().len(), 100);
}

#[test]
fn a_roll_call_goes_through_the_roster_once_from_its_first_rank() {
    let mut rolls = RollCalls::default();
    rolls.begin(at(0), 5, 7);
    rolls.next_round(at(0), PACE);
    rolls.ask(Slot(0), RequestId(1));
    let ranks: Vec<_> = core::iter::from_fn(|| rolls.next_rank(3)).collect();
    assert_eq!(ranks, [7, 8, 9]);
    // Fewer members could be asked than were counted: the one asked is all there is.
    answer(&mut rolls, 1..=1);
    assert!(rolls.is_clear());
}

#[test]
fn an_answer_counts_once_and_only_from_the_member_asked() {
    let mut rolls = RollCalls::default();
    rolls.begin(at(0), 3, 0);
    ask(&mut rolls, at(0));
    assert_eq!(rolls.answered(RequestId(9)), None, "another request id");
    assert!(!rolls.is_clear());
    answer(&mut rolls, 1..=1);
    assert!(rolls.is_clear() && rolls.counts_answers(), "two of four");
    rolls.begin(at(0), 5, 0);
    ask(&mut rolls, at(0));
    for _ in 0..3 {
        answer(&mut rolls, 1..=1);
    }
    assert!(!rolls.is_clear() && rolls.counts_answers(), "two of six, however often one answers");
    rolls.conclude(at(0), AGAIN);
    assert_eq!(rolls.answered(RequestId(2)), None, "it is over");
}

#[test]
fn a_lead_of_five_deviations_leaves_no_doubt() {
    for (these, those, expected) in [
        (25, 0, true),
        (24, 0, false),
        (0, 0, false),
        (45, 5, true),
        (33, 5, false),
        (0, 25, false),
        (5, 45, false),
    ] {
        assert_eq!(leads(these, those), expected, "{these} against {those}");
    }
}

#[test]
fn a_roll_call_that_takes_more_than_one_round_is_doubtful() {
    for (silent_rounds, doubtful) in [(0, false), (1, true), (4, true)] {
        let mut rolls = RollCalls::default();
        rolls.begin(at(0), 9, 0);
        for _ in 0..=silent_rounds {
            assert!(rolls.has_rounds());
            ask(&mut rolls, at(0));
        }
        answer(&mut rolls, 1..=4);
        ask(&mut rolls, at(0));
        assert_eq!(
            rolls.conclude(at(0), AGAIN),
            Some(Finding::InTouch { doubtful }),
            "{silent_rounds} rounds"
        );
    }
}

#[test]
fn a_roll_call_verifies_suspicions_that_began_before_it() {
    let mut rolls = RollCalls::default();
    assert!(!rolls.is_verified_since(at(0)), "nothing was asked yet");
    rolls.begin(at(1_000), 0, 0);
    rolls.conclude(at(1_300), AGAIN);
    assert!(rolls.is_verified_since(at(999)) && rolls.is_verified_since(at(1_000)));
    assert!(!rolls.is_verified_since(at(1_001)));
    assert!(rolls.is_quiet(), "nothing is asked again");
}

#[test]
fn a_node_is_cut_off_after_five_silent_rounds_and_still_is_after_two_more() {
    let rounds = |rolls: &mut RollCalls| {
        rolls.begin(at(0), 9, 0);
        let mut rounds = 0;
        while rolls.has_rounds() {
            ask(rolls, at(0));
            rounds += 1;
        }
        rounds
    };
    assert_eq!(rounds(&mut RollCalls::default()), 5);
    assert_eq!(rounds(&mut cut_off(at(0))), 2);
    // In a large cluster, rounds go on until the silent members leave no doubt, or the last
    // members were asked twice.
    for (others, answering, rounds) in
        [(10_000, 0, 5), (10_000, 242, 5), (10_000, 243, 6), (608, 290, 6), (609, 290, 7)]
    {
        let mut rolls = RollCalls::default();
        rolls.begin(at(0), others, 0);
        let mut count = 0;
        while rolls.has_rounds() {
            ask(&mut rolls, at(0));
            if count == 3 {
                answer(&mut rolls, 1..=answering);
            }
            count += 1;
        }
        assert_eq!(count, rounds, "{answering} of {others}");
    }
}

#[test]
fn an_isolated_node_calls_the_roll_again_until_it_is_in_touch() {
    let mut rolls = cut_off(at(1_000));
    assert_eq!(rolls.isolated_since(), Some(at(1_000)));
    assert!(rolls.is_isolated() && !rolls.is_calling() && !rolls.is_quiet());
    assert!(!rolls.is_verified_since(at(0)));
    assert!(rolls.is_again_due(at(3_000)) && !rolls.is_again_due(at(2_999)));
    assert_eq!(rolls.deadline(None), Some(at(3_000)));
    assert_eq!(rolls.deadline(Some(PACE)), Some(at(1_300)), "the isolation limit is earlier");

    rolls.begin(at(3_000), 9, 0);
    assert!(!rolls.is_again_due(at(9_000)), "the roll call is under way");
    ask(&mut rolls, at(3_000));
    answer(&mut rolls, 1..=4);
    assert!(!rolls.is_verified_since(at(0)), "not before the roll call is over");
    assert_eq!(rolls.conclude(at(3_100), AGAIN), Some(Finding::InTouch { doubtful: false }));
    assert!(!rolls.is_verified_since(at(0)), "nor before the isolation is over");
    assert!(rolls.reconnect() && !rolls.reconnect(), "once");
    assert!(rolls.is_verified_since(at(3_000)) && rolls.is_quiet());
}

#[test]
fn an_accepted_loss_counts_as_in_touch_until_a_roll_call_succeeds() {
    let mut rolls = cut_off(at(0));
    rolls.accept_loss();
    assert!(rolls.is_verified_since(at(9_000)), "even while the node is isolated");
    rolls.reconnect();
    // No roll call can fail now, and the loss stays accepted.
    rolls.begin(at(4_000), 9, 0);
    assert_eq!(rolls.conclude(at(5_000), AGAIN), Some(Finding::InTouch { doubtful: false }));
    assert!(rolls.is_verified_since(at(9_000)) && rolls.is_quiet());
    // A roll call that succeeds by itself ends that.
    rolls.begin(at(6_000), 0, 0);
    rolls.conclude(at(6_000), AGAIN);
    assert!(rolls.is_verified_since(at(6_000)) && !rolls.is_verified_since(at(6_001)));
}

#[test]
fn a_pause_gives_up_a_roll_call_and_stops_the_clock_of_an_isolation() {
    let mut rolls = cut_off(at(0));
    rolls.begin(at(2_000), 9, 0);
    rolls.abort(at(2_500));
    assert!(!rolls.is_calling() && rolls.is_again_due(at(2_500)), "it begins anew at once");
    rolls.postpone(AGAIN);
    assert_eq!(rolls.isolated_since(), Some(at(2_000)));

    let mut rolls = RollCalls::default();
    rolls.abort(at(0));
    rolls.begin(at(0), 9, 0);
    rolls.abort(at(2_500));
    assert!(rolls.is_quiet(), "a node that is not isolated does not call the roll again");
}

#[test]
fn a_roll_call_whose_count_differs_from_its_answers_is_not_sound() {
    let mut rolls = RollCalls::default();
    assert!(rolls.counts_answers());
    rolls.begin(at(0), 9, 0);
    ask(&mut rolls, at(0));
    answer(&mut rolls, 1..=2);
    assert!(rolls.counts_answers());
    rolls.asked.get_mut(RequestId(1)).unwrap().answered = false;
    assert!(!rolls.counts_answers());
}
