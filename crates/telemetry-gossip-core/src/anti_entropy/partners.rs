//! The partner of each exchange that the host asks for.

use serde::{Deserialize, Serialize};

/// Structured partners: in each of ceil(log3 n) steps, the member 3^r places on in the common
/// roster, with the largest distance first; then one random partner.
///
/// Without loss, and with all nodes in step, the state of every node is known everywhere after one
/// pass. The random step makes up for losses.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Partners {
    /// The number of exchanges so far.
    step: u32,
}

impl Partners {
    /// The distance in the roster to the partner of this step; `None` for a random partner.
    pub(crate) fn next(&mut self, members: usize) -> Option<usize> {
        let mut steps = 0;
        while 3_usize.saturating_pow(steps) < members {
            steps += 1;
        }
        let step = self.step % (steps + 1);
        self.step = self.step.wrapping_add(1);
        (step < steps).then(|| 3_usize.pow(steps - 1 - step))
    }
}
