//! `add`, `remove`, `replace` and `readmit`: changes of single nodes. They commute, and so are made
//! again if another operator is first. `pending` and `approve`: nodes that ask to be added.

use std::path::Path;

use telemetry_gossip_core::NodeId;
use telemetry_gossip_registry::document::{Document, Member};
use telemetry_gossip_registry::edit::EditError;
use telemetry_gossip_registry::{Edition, Stamp};

use super::access::{Author, Made, Registry};
use super::error::RegistryError;
use super::fleet::Fleet;
use super::{print, read};
use crate::args::registry::{
    AddArgs, ApproveArgs, AuthorArgs, PendingArgs, ReadmitArgs, RemoveArgs, ReplaceArgs, ViaArgs,
};
use crate::control::client::Client;
use crate::control::registry::Knocked;
use crate::error::Error;
use crate::safe::Safe;
use crate::text;

pub(super) async fn add(registry: &Registry, args: &AddArgs) -> Result<(), Error> {
    let AddArgs { id, address, label, seed, from, why, author, via } = args;
    let members = match (id, from) {
        (_, Some(path)) => members_of(path)?,
        (Some(id), None) => {
            let member = Member::at(address.iter().cloned()).seed(*seed);
            let with_label = |member: Member, (name, value): &(String, String)| {
                member.label(name.clone(), value.clone())
            };
            vec![(*id, label.iter().fold(member, with_label))]
        }
        // The command line requires one of them.
        (None, None) => vec![],
    };
    let edit = |newest: &Edition, _: &Stamp| newest.add(members.clone());
    change(registry, author, why, via, edit, None).await
}

pub(super) async fn remove(registry: &Registry, args: &RemoveArgs) -> Result<(), Error> {
    let RemoveArgs { ids, why, yes_remove, author, via } = args;
    let mut ids = ids.clone();
    ids.sort_unstable();
    ids.dedup();
    let edit = |newest: &Edition, stamp: &Stamp| newest.remove(&ids, *yes_remove, stamp);
    change(registry, author, why, via, edit, None).await?;
    eprintln!(
        "tgossip: nodes that follow the registry leave. One that kept the key of the cluster can \
         still speak as a member until the key is replaced: if a node was stolen, follow \
         \"A stolen node\" in docs/registry.md"
    );
    Ok(())
}

pub(super) async fn replace(registry: &Registry, args: &ReplaceArgs) -> Result<(), Error> {
    let ReplaceArgs { id, address, why, author, via } = args;
    let edit = |newest: &Edition, _: &Stamp| newest.replace(*id, address.clone());
    change(registry, author, why, via, edit, None).await
}

pub(super) async fn readmit(registry: &Registry, args: &ReadmitArgs) -> Result<(), Error> {
    let ReadmitArgs { id, why, author, via } = args;
    let edit = |newest: &Edition, _: &Stamp| newest.readmit(*id);
    let done = format!("readmitted {}", text::word(id.as_str()));
    change(registry, author, why, via, edit, Some(done)).await
}

pub(super) async fn pending(args: &PendingArgs) -> Result<(), Error> {
    use std::io::Write as _;

    let knocked = Client::of(&args.ask).registry_pending().await?;
    if args.json {
        return print::object(&knocked);
    }
    let mut out = Safe::new(std::io::stdout().lock(), false);
    for Knocked { id, address, ago_s } in &knocked {
        let ago = std::time::Duration::try_from_secs_f64(*ago_s).unwrap_or_default();
        let (id, address) = (text::word(id), text::word(address));
        writeln!(out, "{id} at {address}, {} ago", text::age(ago))?;
    }
    Ok(out.flush()?)
}

pub(super) async fn approve(registry: &Registry, args: &ApproveArgs) -> Result<(), Error> {
    let ApproveArgs { id, address, why, author, ask } = args;
    let fleet = Fleet::of(ask);
    let knocked = fleet.client.registry_pending().await?;
    let knock = knocked.into_iter().find(|knock| knock.id == id.as_str());
    let knock = knock.ok_or_else(|| RegistryError::NotPending {
        via: ask.via.to_string(),
        id: id.to_string(),
    })?;
    let addresses = if address.is_empty() { vec![knock.address] } else { address.clone() };
    let edit = |newest: &Edition, _: &Stamp| newest.add([(*id, Member::at(addresses.clone()))]);
    let made = registry.write(&Author::new(author, why), Some(&fleet), edit).await?;
    finish(&made, None, author, Some(&fleet)).await
}

/// Makes a change, tells the version that it made, and has the agent read it.
async fn change(
    registry: &Registry,
    author: &AuthorArgs,
    why: &str,
    via: &ViaArgs,
    edit: impl Fn(&Edition, &Stamp) -> Result<Edition, EditError>,
    instead: Option<String>,
) -> Result<(), Error> {
    let fleet = via.ask().as_ref().map(Fleet::of);
    let made = registry.write(&Author::new(author, why), fleet.as_ref(), edit).await?;
    finish(&made, instead, author, fleet.as_ref()).await
}

/// Tells which version was made, and has the agent read it.
pub(super) async fn finish(
    made: &Made,
    instead: Option<String>,
    author: &AuthorArgs,
    fleet: Option<&Fleet>,
) -> Result<(), Error> {
    // First of all, as the version is there whether its reader is or not.
    if let Some(fleet) = fleet {
        fleet.tell().await;
    }
    print::made(made, instead, author.json)
}

/// The nodes of a file with a table of members.
pub(super) fn members_of(path: &Path) -> Result<Vec<(NodeId, Member)>, Error> {
    let members = Document::parse_members(&read(path)?);
    let members = members.map_err(|error| RegistryError::File { path: path.to_owned(), error })?;
    Ok(members.into_iter().collect())
}
