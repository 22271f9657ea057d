//! Concurrent updates: claims about one node with the same generation and different statuses
//! reconcile deterministically. At one generation Left > Dead > Suspected > Alive, then the greater
//! content wins.

use std::time::Duration;

use telemetry_gossip_core::{Config, Generation, Status, SuspicionTimeout};
use telemetry_gossip_sim::{RoundSettings, Rounds};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 12;
const STATUSES: [Status; 4] = [Status::Alive, Status::Suspected, Status::Dead, Status::Left];

fn cluster(seed: u64) -> Rounds {
    // Exchanges with the silent node take time, in which no suspicion may run out.
    let suspicion = SuspicionTimeout::Fixed(Duration::from_secs(24 * 3_600));
    let config = Config::default().suspicion(suspicion);
    let settings = RoundSettings::default().nodes(NODES).seed(seed).config(config);
    let mut rounds = Rounds::new(&settings, |index| index as u32).expect("the config is valid");
    // The node that the claims are about must not refute them.
    rounds.silence(NODES - 1);
    rounds
}

fn held(rounds: &Rounds, observer: usize) -> (Generation, Status) {
    let row = rounds.table(observer).get(&format!("n{}", NODES - 1)).expect("all nodes are known");
    (row.generation(), row.status())
}

#[test]
fn at_one_generation_the_graver_status_wins_at_every_node() {
    for_each_seed(200, |seed| {
        for (graver, status) in STATUSES.into_iter().enumerate().skip(1) {
            let mut rounds = cluster(seed);
            for observer in 0..NODES - 1 {
                // Some node holds each status up to the gravest; the seed decides which node.
                let place = (observer + usize::try_from(seed).expect("small")) % (graver + 1);
                rounds.apply_claim(observer, NODES - 1, Generation(7), STATUSES[place]);
            }
            for _ in 0..8 {
                rounds.round();
            }
            for observer in 0..NODES - 1 {
                assert_eq!(held(&rounds, observer), (Generation(7), status), "at n{observer}");
            }
        }
    });
}

#[test]
fn the_order_of_exchanges_does_not_influence_the_result() {
    // The seed decides the order of exchanges. The result is the same for all seeds.
    for_each_seed(200, |seed| {
        let mut rounds = cluster(seed);
        rounds.apply_claim(0, NODES - 1, Generation(3), Status::Left);
        rounds.apply_claim(1, NODES - 1, Generation(4), Status::Alive);
        rounds.apply_claim(2, NODES - 1, Generation(4), Status::Suspected);
        rounds.apply_claim(3, NODES - 1, Generation(4), Status::Dead);
        for _ in 0..8 {
            rounds.round();
        }
        assert!(
            (0..NODES - 1).all(|observer| held(&rounds, observer) == (Generation(4), Status::Dead))
        );
    });
}

#[test]
fn all_nodes_agree_after_simultaneous_updates_of_all_nodes() {
    for_each_seed(200, |seed| {
        let settings = RoundSettings::default().nodes(NODES).seed(seed);
        let mut rounds =
            Rounds::new(&settings, |index| index as u32).expect("the default config is valid");
        for node in 0..NODES {
            rounds.update(node);
            rounds.publish(node, "load", &[1]).expect("a short value");
        }
        for _ in 0..5 {
            rounds.round();
        }
        assert!(rounds.in_sync());
        assert!((0..NODES).all(|node| rounds.aware_of(node) == NODES));
    });
}
