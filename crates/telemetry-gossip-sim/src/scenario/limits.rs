//! How large and how long a run may be.
//!
//! Every node holds a row of every node, so memory grows with the square of the nodes. Who asks for
//! too much is told so before the first node starts, not by the system when memory is gone.

use std::time::Duration;

use super::{Operation, Scenario, ScenarioError};

/// Bytes of the process for one node's row of another, with the index, the checker's copy,
/// datagrams under way and who waits for which news: 170 in `quiet` with 1,000 nodes, 350 in
/// `mixed` with 300, the most of the built-in scenarios.
const BYTES_A_ROW: u64 = 400;

/// Bytes for each time that a node publishes: how the news spread is kept for the report.
const BYTES_A_PUBLICATION: u64 = 200;

/// What a run may take.
const MOST_BYTES: u64 = 4 * GIB;

const GIB: u64 = 1 << 30;

/// Shorter than that, no node has probed another.
const SHORTEST: Duration = Duration::from_secs(1);

const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);

pub(super) fn check(scenario: &Scenario) -> Result<(), ScenarioError> {
    if scenario.nodes == 0 {
        return Err(ScenarioError::NoNodes);
    }
    let joining = scenario.steps.iter().map(|step| match step.operation {
        Operation::Join(count) => count,
        _ => 0,
    });
    let nodes = joining.fold(scenario.nodes, usize::saturating_add);
    let rows = (nodes as u64).saturating_mul(nodes as u64).saturating_mul(BYTES_A_ROW);
    if rows > MOST_BYTES {
        let most = usize::try_from((MOST_BYTES / BYTES_A_ROW).isqrt()).unwrap_or(usize::MAX);
        let (need_gib, limit_gib) = (rows.div_ceil(GIB), MOST_BYTES / GIB);
        return Err(ScenarioError::Nodes { nodes, need_gib, limit_gib, most });
    }
    let duration = scenario.duration;
    if !(SHORTEST..=LONGEST).contains(&duration) {
        return Err(ScenarioError::Duration { duration, least: SHORTEST, most: LONGEST });
    }
    if let Some(load) = scenario.telemetry {
        let each = duration.as_micros() / load.every.as_micros().max(1);
        let need =
            each.saturating_mul(nodes as u128 * u128::from(BYTES_A_PUBLICATION)) + u128::from(rows);
        if need > u128::from(MOST_BYTES) {
            let most = (MOST_BYTES - rows) / BYTES_A_PUBLICATION / nodes as u64;
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
