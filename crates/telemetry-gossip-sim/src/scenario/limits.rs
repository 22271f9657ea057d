//! Limits on the size and the length of a run.
//!
//! Every node holds a row for every node, so memory grows with the square of their number. A
//! scenario that needs too much is refused before the first node starts, instead of being killed by
//! the system when memory runs out.

use std::time::Duration;

use super::{Operation, Scenario, ScenarioError};

/// Process memory in bytes for one node's row about another: with its index, the checker's copy,
/// datagrams in flight and the bookkeeping of news. Measured: 170 in `quiet` with 1,000 nodes, 350
/// in `mixed` with 300, which is the most of the built-in scenarios.
const BYTES_PER_ROW: u64 = 400;

/// Process memory in bytes for each publication: its spread is kept for the report.
const BYTES_PER_PUBLICATION: u64 = 200;

/// The most memory that a run may take, in bytes.
const MAX_BYTES: u64 = 4 * GIB;

const GIB: u64 = 1 << 30;

/// The shortest run. In less time no node probes another.
const MIN_DURATION: Duration = Duration::from_secs(1);

/// The longest run.
const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Refuses a scenario that is too large, too long or too short.
pub(super) fn check(scenario: &Scenario) -> Result<(), ScenarioError> {
    if scenario.nodes == 0 {
        return Err(ScenarioError::NoNodes);
    }
    let joining = scenario.steps.iter().map(|step| match step.operation {
        Operation::Join(count) | Operation::JoinLong(count) => count,
        _ => 0,
    });
    let nodes = joining.fold(scenario.nodes, usize::saturating_add);
    let rows = (nodes as u64).saturating_mul(nodes as u64).saturating_mul(BYTES_PER_ROW);
    if rows > MAX_BYTES {
        let most = usize::try_from((MAX_BYTES / BYTES_PER_ROW).isqrt()).unwrap_or(usize::MAX);
        let (need_gib, limit_gib) = (rows.div_ceil(GIB), MAX_BYTES / GIB);
        return Err(ScenarioError::Nodes { nodes, need_gib, limit_gib, most });
    }
    let duration = scenario.duration;
    if !(MIN_DURATION..=MAX_DURATION).contains(&duration) {
        return Err(ScenarioError::Duration { duration, least: MIN_DURATION, most: MAX_DURATION });
    }
    if let Some(load) = scenario.telemetry {
        let each = duration.as_micros() / load.every.as_micros().max(1);
        let need = each.saturating_mul(nodes as u128 * u128::from(BYTES_PER_PUBLICATION))
            + u128::from(rows);
        if need > u128::from(MAX_BYTES) {
            let most = (MAX_BYTES - rows) / BYTES_PER_PUBLICATION / nodes as u64;
            let most = load.every * u32::try_from(most).unwrap_or(u32::MAX);
            return Err(ScenarioError::Telemetry { duration, most });
        }
    }
    let known = scenario.expect.known_within;
    if let Some(last) = scenario.steps.iter().map(|step| step.at).max()
        && last.saturating_add(known.unwrap_or_default()) > duration
    {
        return Err(ScenarioError::TooShort { duration, last, known });
    }
    Ok(())
}
