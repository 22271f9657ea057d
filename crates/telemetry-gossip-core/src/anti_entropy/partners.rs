//! With whom to exchange when the host asks for it.

use serde::{Deserialize, Serialize};

/// Structured partners: in step r of ceil(log3 n) the member 3^r places on in the common roster,
/// largest distance first, then one step at random. Without loss, and with nodes in step, news of
/// every node is everywhere after one pass; the random step mends what loss has broken.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Partners {
    step: u32,
}

impl Partners {
    /// How many places on the partner of this step is; `None` for a random one.
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
