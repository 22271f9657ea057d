//! `tgossip key`: makes key files, and changes the keys of a running agent.

use std::io::{self, Write};

use telemetry_gossip::transport::{Keyring, create_key, read_key};
use telemetry_gossip_core::{Label, NodeId};

use crate::args::key::{KeyArgs, KeyCommand, Order};
use crate::control::client::{Client, until_interrupted};
use crate::control::keys::{Change, Keys};
use crate::error::Error;

pub(crate) fn run(args: &KeyArgs) -> Result<(), Error> {
    let keys = match &args.command {
        KeyCommand::New { file } => {
            let key = create_key(file)?;
            writeln!(io::stdout(), "key {} in {}", key.id(), file.display())?;
            return Ok(());
        }
        KeyCommand::List { ask } => until_interrupted(Client::of(ask).keys())?,
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
    let meant = order.agent.as_ref().map(NodeId::as_str);
    until_interrupted(Client::of(&order.ask).change_keys(&ring, meant, change))
}
