//! `tgossip key`: makes key files, and orders a running agent to change its keys.

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
        KeyCommand::List { via } => asked(client::keys(&via.via))?,
        KeyCommand::Add { file, order } => changed(order, &Change::Add(read_key(file)?.to_text()))?,
        KeyCommand::Use { id, order } => changed(order, &Change::Use(*id))?,
        KeyCommand::Remove { id, order } => changed(order, &Change::Remove(*id))?,
    };
    let mut out = io::stdout().lock();
    for (place, id) in keys.ids.iter().enumerate() {
        writeln!(out, "{id}{}", if place == 0 { " (primary)" } else { "" })?;
    }
    Ok(out.flush()?)
}

/// The agent's keys after the change.
fn changed(order: &Order, change: &Change) -> Result<Keys, Error> {
    let ring = Keyring::new(Label::of(&order.label), read_key(&order.key_file)?);
    asked(client::change_keys(&order.via.via, &ring, change))
}

fn asked(answer: impl Future<Output = Result<Keys, Error>>) -> Result<Keys, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Setup)?;
    runtime.block_on(async {
        tokio::select! {
            keys = answer => keys,
            _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        }
    })
}
