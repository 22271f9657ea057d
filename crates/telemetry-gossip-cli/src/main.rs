//! `tgossip`: a demo on real sockets, one node as a process, queries, simulations, plans.
//!
//! This file picks the subcommand and turns its outcome into an exit code; nothing else may live here. No
//! protocol rule lives in this crate: nodes are the driver's, simulated ones the simulator's.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod agent;
mod args;
mod control;
mod demo;
mod error;
mod experiment;
mod explain;
mod members;
mod plan;
mod sim;
mod text;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use error::Error;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Agent(args) => agent::run(&args),
        Command::Members(args) => members::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Plan(args) => plan::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads this output has gone (`| head`): nobody is left to tell.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tgossip: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
