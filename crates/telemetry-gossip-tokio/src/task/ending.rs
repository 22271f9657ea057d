//! The end of a node: what is still to be written once its task has stopped.

use std::sync::Arc;

use super::Task;
use crate::record::Tape;
use crate::state::keeper::Keeper;
use crate::view::View;

/// What a task leaves behind.
pub(crate) struct Ending {
    /// The record, which is still open.
    tape: Option<Tape>,
    keeper: Option<Keeper>,
    view: Arc<View>,
}

impl Ending {
    pub(super) fn of(mut task: Task) -> Self {
        let view = task.view.load_full();
        Self { tape: task.carry.tape.take(), keeper: task.keeper.take(), view }
    }

    /// Writes the rest, and frees the folders.
    pub(crate) async fn close(self) {
        let Self { tape, keeper, view } = self;
        if let Some(tape) = tape {
            tape.close().await;
        }
        if let Some(keeper) = keeper {
            keeper.close(&view).await;
        }
    }
}
