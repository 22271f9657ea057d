//! The programs `tgossip` and `tgossip-agent`.
//!
//! ```text
//! tgossip         demo, agent, members, explain, accept-loss, key, registry, sim,
//!                 swarm, plan, replay, completions, man
//! tgossip-agent   what `tgossip agent` does, and nothing else
//! ```
//!
//! `tgossip agent` runs the agent itself; neither program starts the other. `tgossip-agent` exists
//! to save memory: a node runs for months beside the work of its host, and the pages of a program
//! stay resident once they are touched. Without the simulator, the plots and the other commands, an
//! agent takes about a quarter less memory. It follows registries in files alone, and has neither
//! the client of etcd nor TLS.
//!
//! This file selects the subcommand and turns its result into an exit code; nothing else belongs
//! here. This crate contains no rule of the protocol: real nodes come from the tokio driver,
//! simulated nodes from the simulator.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod accept_loss;
mod agent;
mod args;
mod control;
mod demo;
mod error;
mod experiment;
mod explain;
mod install;
mod key;
mod members;
mod plan;
mod progress;
mod registry;
mod replay;
mod runtime;
mod safe;
mod sim;
mod swarm;
mod text;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{AgentCli, Cli, Command};
use error::Error;
use telemetry_gossip_registry::Location;

/// Runs the program `tgossip` with the arguments of this process.
pub fn tgossip() -> ExitCode {
    exit_code(match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Agent(args) => agent::run(&args, Location::open),
        Command::Members(args) => members::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::AcceptLoss(args) => accept_loss::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Registry(args) => registry::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Swarm(args) => swarm::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Completions(args) => install::completions(&args),
        Command::Man(args) => install::man(&args),
    })
}

/// Runs the program `tgossip-agent` with the arguments of this process.
pub fn tgossip_agent() -> ExitCode {
    exit_code(agent::run(&AgentCli::parse().args, Location::open_file))
}

/// The command line of `tgossip`: its subcommands and options, without running anything.
#[must_use]
pub fn command_line() -> clap::Command {
    Cli::command()
}

fn exit_code(outcome: Result<(), Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has closed it, as `| head` does: the command has done its work.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tgossip: {}", safe::lines(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}
