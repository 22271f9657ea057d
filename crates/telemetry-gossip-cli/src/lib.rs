//! What the programs `tgossip` and `tgossip-agent` are made of.
//!
//! ```text
//! tgossip         demo, members, explain, key, sim, swarm, plan, replay --> run here
//!                 agent -- if tgossip-agent is beside ------> becomes that
//!                       `- otherwise ---------------------> run here
//! tgossip-agent   the agent alone
//! ```
//!
//! A node runs for months beside the work of its host, and a program's pages stay resident once
//! touched: so the agent is a program of its own, without the simulator, the plots and the rest
//! that only people at a terminal need.
//!
//! This file picks the subcommand and turns its outcome into an exit code; nothing else may live
//! here. No protocol rule lives in this crate: nodes are the driver's, simulated ones the
//! simulator's.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod agent;
mod args;
mod control;
mod demo;
mod error;
mod experiment;
mod explain;
mod key;
mod members;
mod plan;
mod replay;
mod sim;
mod swarm;
mod text;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{AgentCli, Cli, Command};
use error::Error;

/// The program `tgossip`, with the arguments of this process.
pub fn tgossip() -> ExitCode {
    exit_code(match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Agent(args) => {
            agent::lean::hand_over();
            agent::run(&args)
        }
        Command::Members(args) => members::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Swarm(args) => swarm::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Replay(args) => replay::run(&args),
    })
}

/// The program `tgossip-agent`, with the arguments of this process.
pub fn tgossip_agent() -> ExitCode {
    exit_code(agent::run(&AgentCli::parse().args))
}

/// The command line of `tgossip`: its subcommands and options, without running anything.
#[must_use]
pub fn command_line() -> clap::Command {
    Cli::command()
}

fn exit_code(outcome: Result<(), Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads this output has gone (`| head`): nobody is left to tell.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tgossip: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
