//! `tgossip key`: makes key files, and changes the keys of a running agent.

use std::io::{self, Write};

use telemetry_gossip::transport::{Keyring, create_key, read_key};
use telemetry_gossip_core::Label;

use crate::args::key::{KeyArgs, KeyCommand, Order};
use crate::control::client;
use crate::control::keys::{Change, Keys};
use crate::error::Error;

pub(crate) fn run(args: &KeyArgs) -> Result<(), Error> {
    let keys = match &args.command {
        KeyCommand::New { file } => {
            let key = create_key(file)?;
            writeln!(io::stdout(), "key {} in {}", key.id(), file.display())?;
            return Ok(());
        }
        KeyCommand::List { via } => run_until_interrupted(client::keys(&via.via))?,
        KeyCommand::Add { file, order } => change(order, &Change::Add(read_key(file)?.to_text()))?,
        KeyCommand::Use { id, order } => change(order, &Change::Use(*id))?,
        KeyCommand::Remove { id, order } => change(order, &Change::Remove(*id))?,
    };
    let mut out = io::stdout().lock();
    for (place, id) in keys.ids.iter().enumerate() {
        writeln!(out, "{id}{}", if place == 0 { " (primary)" } else { "" })?;
    }
    Ok(out.flush()?)
}

/// Orders a change and returns the agent's keys after it.
fn change(order: &Order, change: &Change) -> Result<Keys, Error> {
    let ring = Keyring::new(Label::of(&order.label), read_key(&order.key_file)?);
    run_until_interrupted(client::change_keys(&order.via.via, &ring, change))
}

fn run_until_interrupted(answer: impl Future<Output = Result<Keys, Error>>) -> Result<Keys, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Setup)?;
    runtime.block_on(async {
        tokio::select! {
            keys = answer => keys,
            _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        }
    })
}
