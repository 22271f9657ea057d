//! The arguments of the experiments: `tgossip sim swim`, `lifeguard`, `telemetry` and
//! `incident`.

use std::path::PathBuf;

use clap::Args;

/// The arguments that apply to experiments only.
#[derive(Debug, Args)]
#[command(next_help_heading = "Experiments (swim, lifeguard, telemetry, incident)")]
pub(crate) struct ExperimentArgs {
    /// lifeguard: run the whole published grid, 29,160 runs; this takes hours.
    #[arg(long)]
    pub(crate) full: bool,
    /// lifeguard: run only the defaults of this implementation, without the published protocols.
    #[arg(long)]
    pub(crate) ours: bool,
    /// Number of times to repeat each run, with different seeds: 10 for lifeguard --full, 1
    /// otherwise.
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1_000),
        allow_negative_numbers = true
    )]
    pub(crate) repeats: Option<u32>,
    /// lifeguard, telemetry, incident: write the figures into this folder, as SVG.
    #[arg(long, value_name = "DIR")]
    pub(crate) plots: Option<PathBuf>,
}

impl ExperimentArgs {
    /// The first of these arguments on the command line.
    pub(crate) fn typed(&self) -> Option<&'static str> {
        let typed = [
            (self.full, "--full"),
            (self.ours, "--ours"),
            (self.repeats.is_some(), "--repeats"),
            (self.plots.is_some(), "--plots"),
        ];
        typed.into_iter().find(|(typed, _)| *typed).map(|(_, name)| name)
    }
}
