//! The roles of the demo and the nodes that play them. The seed selects the nodes; they are
//! different where there are enough of them.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::views::Index;

/// The node for each role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cast {
    /// Publishes telemetry.
    pub(crate) publisher: Index,
    /// Is killed, and starts again.
    pub(crate) victim: Index,
    /// Leaves the cluster.
    pub(crate) leaver: Index,
}

impl Cast {
    /// Selects among `nodes` nodes, at least 2.
    pub(crate) fn select(nodes: usize, seed: u64) -> Self {
        let order = shuffled(nodes, seed);
        let role = |place: usize| order.get(place % nodes.max(1)).copied().unwrap_or(0);
        Self { publisher: role(0), victim: role(1), leaver: role(if nodes > 2 { 2 } else { 1 }) }
    }
}

/// All nodes, in an order that the seed selects.
pub(crate) fn shuffled(nodes: usize, seed: u64) -> Vec<Index> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |bound: usize| {
        // The bias of the remainder does not matter for a demo.
        usize::try_from(rng.next_u64() % bound.max(1) as u64).unwrap_or(0)
    };
    let mut order: Vec<Index> = (0..nodes).collect();
    for place in (1..nodes).rev() {
        order.swap(place, below(place + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_nodes_play_the_roles() {
        for seed in 0..200 {
            for nodes in [3, 4, 20, 250] {
                let Cast { publisher, victim, leaver } = Cast::select(nodes, seed);
                assert!(publisher != victim && victim != leaver && leaver != publisher);
                assert!([publisher, victim, leaver].iter().all(|&index| index < nodes));
            }
            let pair = Cast::select(2, seed);
            assert_eq!(pair.publisher + pair.victim, 1);
        }
    }

    #[test]
    fn the_same_seed_selects_the_same_nodes() {
        assert_eq!(Cast::select(20, 7), Cast::select(20, 7));
        assert!((0..20).any(|seed| Cast::select(20, seed) != Cast::select(20, 7)));
    }
}
