//! `tgossip plan`: finds settings for a target, and prints them with their predicted effects.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use telemetry_gossip_core::{Config, Plan, PlanError, PlanRule, Prediction, SuspicionTimeout};

use crate::args::PlanArgs;
use crate::error::Error;
use crate::text;

/// One percent in parts per million.
const PPM_PER_PERCENT: u32 = 10_000;

pub(crate) fn run(args: &PlanArgs) -> Result<(), Error> {
    // The planner takes whole percents. Round up: a plan for too much loss is safe.
    let loss = u8::try_from(args.loss.as_ppm().div_ceil(PPM_PER_PERCENT)).unwrap_or(u8::MAX);
    let plan = Config::plan(args.nodes, args.rtt, loss, args.target)
        .map_err(|error| Error::Usage(sentence(&error)))?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &PlanReport::of(&plan)).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}", table(&plan).trim_fmt())?;
    }
    out.flush()?;
    Ok(())
}

/// Describes why there is no plan, and what to type instead.
fn sentence(error: &PlanError) -> String {
    match *error {
        PlanError::Target { target, least, rule } => {
            let why = match rule {
                PlanRule::FiveRoundTrips => "a probe timeout is at least five round trips",
                PlanRule::LateTimers => {
                    "a probe timeout is at least 20ms, since timers of a busy process run late"
                }
            };
            format!(
                "the nodes cannot all know of a crash within {}, as {why}: type --target {} or \
                 more",
                text::span(target),
                text::span(least)
            )
        }
        PlanError::Members { .. } => format!("{error}: type --nodes 250"),
        PlanError::RoundTrip { .. } => format!("{error}: type --rtt 150ms"),
        PlanError::Loss { .. } => format!("{error}: type --loss 5%"),
        ref other => other.to_string(),
    }
}

/// Lists the settings that a plan chooses, under the names of their fields.
fn settings(config: &Config) -> Vec<(&'static str, String)> {
    let suspicion = match config.suspicion {
        SuspicionTimeout::Fixed(span) => text::span(span),
        SuspicionTimeout::Scaled { multiplier_percent: percent, .. } => {
            format!("{percent}% of probe_interval x max(1, log10(nodes))")
        }
        other => format!("{other:?}"),
    };
    vec![
        ("probe_interval", text::span(config.probe_interval)),
        ("probe_timeout", text::span(config.probe_timeout)),
        ("indirect_probes", config.indirect_probes.to_string()),
        ("suspicion", suspicion),
        ("gossip_interval", text::span(config.gossip_interval)),
        ("gossip_fanout", config.gossip_fanout.to_string()),
        ("retransmit_multiplier", config.retransmit_multiplier.to_string()),
        ("reconnect_interval", text::span(config.reconnect_interval)),
        ("join_timeout", text::span(config.join_timeout)),
        ("max_members", config.max_members.to_string()),
    ]
}

fn table(plan: &Plan) -> Table {
    let Prediction {
        detection_median,
        detection_p99,
        false_suspicions,
        false_deaths,
        idle_bytes,
        ..
    } = plan.predicted;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["SETTING", "VALUE"]);
    for (name, value) in settings(&plan.config) {
        table.add_row([name.to_owned(), value]);
    }
    table.add_row(["", ""]);
    table.add_row(["PREDICTED", ""]);
    for (name, value) in [
        ("all nodes know of a crash, median", text::seconds(detection_median)),
        ("all nodes know of a crash, p99", text::seconds(detection_p99)),
        ("false suspicions per member", every(false_suspicions)),
        ("false deaths per member", every(false_deaths)),
        ("idle bytes per node and second", idle_bytes.to_string()),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    if let Some(column) = table.column_mut(0) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    table
}

/// Converts a rate per 10^9 hours into the time between two events.
fn every(per_billion_hours: u64) -> String {
    const BILLION_HOURS: u64 = 3_600 * 1_000_000_000;
    const YEAR: u64 = 365 * 24 * 3_600;
    match BILLION_HOURS.checked_div(per_billion_hours) {
        None => "none in 100000 years".to_owned(),
        Some(secs) if secs >= 2 * YEAR => format!("one in {} years", secs / YEAR),
        Some(secs) => format!("one in {}", text::age(Duration::from_secs(secs))),
    }
}

/// A plan in JSON; fields that end in `_s` are seconds.
#[derive(Serialize)]
struct PlanReport {
    settings: Settings,
    predicted: Predicted,
}

#[derive(Serialize)]
struct Settings {
    probe_interval_s: f64,
    probe_timeout_s: f64,
    indirect_probes: u8,
    suspicion_multiplier_percent: Option<u16>,
    gossip_interval_s: f64,
    gossip_fanout: u8,
    retransmit_multiplier: u8,
    reconnect_interval_s: f64,
    join_timeout_s: f64,
    max_members: u32,
}

#[derive(Serialize)]
struct Predicted {
    detection_median_s: f64,
    detection_p99_s: f64,
    false_suspicions_per_billion_member_hours: u64,
    false_deaths_per_billion_member_hours: u64,
    idle_bytes_per_node_second: u64,
}

impl PlanReport {
    fn of(plan: &Plan) -> Self {
        let Plan { config, predicted, .. } = plan;
        Self {
            settings: Settings {
                probe_interval_s: config.probe_interval.as_secs_f64(),
                probe_timeout_s: config.probe_timeout.as_secs_f64(),
                indirect_probes: config.indirect_probes,
                suspicion_multiplier_percent: match config.suspicion {
                    SuspicionTimeout::Scaled { multiplier_percent: percent, .. } => Some(percent),
                    _ => None,
                },
                gossip_interval_s: config.gossip_interval.as_secs_f64(),
                gossip_fanout: config.gossip_fanout,
                retransmit_multiplier: config.retransmit_multiplier,
                reconnect_interval_s: config.reconnect_interval.as_secs_f64(),
                join_timeout_s: config.join_timeout.as_secs_f64(),
                max_members: config.max_members,
            },
            predicted: Predicted {
                detection_median_s: predicted.detection_median.as_secs_f64(),
                detection_p99_s: predicted.detection_p99.as_secs_f64(),
                false_suspicions_per_billion_member_hours: predicted.false_suspicions,
                false_deaths_per_billion_member_hours: predicted.false_deaths,
                idle_bytes_per_node_second: predicted.idle_bytes,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_printed_as_the_time_between_two_events() {
        for (rate, said) in [
            (0, "none in 100000 years"),
            (1, "one in 114155 years"),
            (4_000_000_000, "one in 15m"),
            (1_000_000_000, "one in 60m"),
            (10_000_000, "one in 4d"),
        ] {
            assert_eq!(every(rate), said);
        }
    }
}
