//! Who plays which part in the demo: drawn from the seed, different nodes where there are enough.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::views::Index;

/// The parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cast {
    /// Publishes telemetry.
    pub(crate) publisher: Index,
    /// Is killed, and comes back.
    pub(crate) victim: Index,
    /// Leaves in good order.
    pub(crate) leaver: Index,
}

impl Cast {
    /// Of `nodes` nodes, at least 2.
    pub(crate) fn drawn(nodes: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |bound: usize| {
            // The bias of a remainder is nothing to a demo.
            usize::try_from(rng.next_u64() % bound.max(1) as u64).unwrap_or(0)
        };
        let mut order: Vec<Index> = (0..nodes).collect();
        for place in (1..nodes).rev() {
            order.swap(place, below(place + 1));
        }
        let part = |place: usize| order.get(place % nodes.max(1)).copied().unwrap_or(0);
        Self { publisher: part(0), victim: part(1), leaver: part(if nodes > 2 { 2 } else { 1 }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_played_by_different_nodes() {
        for seed in 0..200 {
            for nodes in [3, 4, 20, 250] {
                let Cast { publisher, victim, leaver } = Cast::drawn(nodes, seed);
                assert!(publisher != victim && victim != leaver && leaver != publisher);
                assert!([publisher, victim, leaver].iter().all(|&index| index < nodes));
            }
            let pair = Cast::drawn(2, seed);
            assert_eq!(pair.publisher + pair.victim, 1);
        }
    }

    #[test]
    fn one_seed_gives_one_cast() {
        assert_eq!(Cast::drawn(20, 7), Cast::drawn(20, 7));
        assert!((0..20).any(|seed| Cast::drawn(20, seed) != Cast::drawn(20, 7)));
    }
}
