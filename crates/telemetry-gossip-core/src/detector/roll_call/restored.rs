//! What a restored roll call could get wrong.

use super::{RollCall, RollCalls};
use crate::address::Address;
use crate::cx::Cx;
use crate::time::TimeRules;
use crate::violation::{Unsound, check_rules};

impl RollCalls {
    /// Whether the count of answers is that of the members asked who answered.
    pub(super) fn counts_answers(&self) -> bool {
        let answered = self.asked.iter().filter(|asked| asked.answered).count();
        self.roll.as_ref().is_none_or(|roll| roll.answers == answered)
    }

    /// Checks the roll call and the isolation of a restored node.
    pub(in crate::detector) fn check_restored<A: Address>(
        &self,
        cx: &Cx<A>,
    ) -> Result<(), Unsound> {
        const PART: &str = "roll call";
        let times = cx.time_rules();
        let Self {
            roll,
            asked,
            verified,
            isolated,
            again_at,
            next_rank: _,
            loss_accepted: _,
            accuses_lost: _,
            heard_of_death: _,
        } = self;
        let most = cx.config.max_members as usize;
        if let Some(roll) = roll {
            roll.check_restored(asked.len(), most, times)?;
            check_rules(
                PART,
                &[(self.counts_answers(), "its answers are those of the members that it asked")],
            )?;
        }
        let there = asked.iter().all(|asked| cx.table.is_in_use(asked.slot));
        check_rules(
            PART,
            &[
                (there, "all members that it has asked are in the table"),
                (asked.len() <= most, "it has asked no more members than there may be"),
                (times.are_past(&[*verified, *isolated]), "its findings are of the past"),
                (times.are_deadlines(&[*again_at]), "the next one is not ages away"),
                (
                    isolated.is_none() || roll.is_some() || again_at.is_some(),
                    "an isolated node calls the roll again",
                ),
                (roll.is_none() || again_at.is_none(), "no other is due during a roll call"),
                (isolated.is_some() || !cx.table.has_side(), "only an isolated node is on a side"),
            ],
        )
    }
}

impl RollCall {
    fn check_restored(&self, asked: usize, most: usize, times: TimeRules) -> Result<(), Unsound> {
        /// More rounds than any roll call has.
        const MAX_ROUNDS: usize = 1 << 25;
        let Self {
            started,
            deadline,
            round,
            others,
            rank: _,
            looked_at,
            answers: _,
            all_by,
            doubtful: _,
        } = self;
        check_rules(
            "roll call",
            &[
                (times.is_past(*started), "it began in the past"),
                (times.are_deadlines(&[Some(*deadline)]), "its round ends, and not in ages"),
                (*round <= MAX_ROUNDS && all_by <= round, "its rounds are within their bound"),
                (*others <= most, "it asks no more members than there may be"),
                (
                    asked <= *looked_at && *looked_at <= most,
                    "it has asked no more members than it has looked at",
                ),
            ],
        )
    }
}
