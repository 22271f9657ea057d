//! Reconciliation: two nodes hold different claims about a third. After a single push-pull
//! exchange, both hold the claim with the higher generation.

use std::time::Duration;

use telemetry_gossip_core::{Config, Generation, Status, SuspicionTimeout};
use telemetry_gossip_sim::{RoundSettings, Rounds};
use telemetry_gossip_tests::for_each_seed;

const STATUSES: [Status; 4] = [Status::Alive, Status::Suspected, Status::Dead, Status::Left];

/// Three nodes: n0 and n1 hold different claims about n2, which is silent.
fn differing(seed: u64, held: [(u64, Status); 2]) -> Rounds {
    // An exchange may try the silent node first. This takes time, in which no suspicion may run
    // out.
    let suspicion = SuspicionTimeout::Fixed(Duration::from_secs(24 * 3_600));
    let config = Config::default().suspicion(suspicion);
    let settings = RoundSettings::default().nodes(3).seed(seed).config(config);
    let mut rounds = Rounds::new(&settings, |index| index as u32).expect("the config is valid");
    rounds.silence(2);
    for (observer, (generation, status)) in held.into_iter().enumerate() {
        rounds.apply_claim(observer, 2, Generation(generation), status);
    }
    rounds
}

fn held(rounds: &Rounds, observer: usize) -> (u64, Status) {
    let row = rounds.table(observer).get("n2").expect("n2 is known");
    (row.generation().0, row.status())
}

#[test]
fn of_an_alive_and_a_dead_claim_the_higher_generation_wins_at_both_nodes() {
    for_each_seed(200, |seed| {
        for (asker, alive_at, dead_at, winner) in [
            (0, 5, 4, (5, Status::Alive)),
            (1, 5, 4, (5, Status::Alive)),
            (0, 4, 5, (5, Status::Dead)),
            (1, 4, 5, (5, Status::Dead)),
        ] {
            let mut rounds = differing(seed, [(alive_at, Status::Alive), (dead_at, Status::Dead)]);
            rounds.exchange(asker);
            assert_eq!(
                [held(&rounds, 0), held(&rounds, 1)],
                [winner, winner],
                "n{asker} started the exchange"
            );
        }
    });
}

/// The generation decides first, then the status: Left > Dead > Suspected > Alive.
#[test]
fn every_pair_of_values_reconciles_to_the_higher_in_one_exchange() {
    for_each_seed(200, |seed| {
        for (left, right) in pairs() {
            let mut rounds = differing(seed, [left, right]);
            let asker = usize::try_from(seed % 2).expect("0 or 1");
            rounds.exchange(asker);
            let higher = left.max(right);
            assert_eq!(
                [held(&rounds, 0), held(&rounds, 1)],
                [higher, higher],
                "{left:?} and {right:?}"
            );
        }
    });
}

/// All pairs of claims at three generations. At the start, both nodes hold n2 Alive at generation
/// 0.
fn pairs() -> impl Iterator<Item = ((u64, Status), (u64, Status))> {
    let values = || (1..=3).flat_map(|generation| STATUSES.map(|status| (generation, status)));
    values().flat_map(move |left| values().map(move |right| (left, right)))
}
