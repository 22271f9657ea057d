//! `init`, `export`, `import` and `render`: lists of all members at once.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use telemetry_gossip_core::NodeId;
use telemetry_gossip_registry::edit::EditError;
use telemetry_gossip_registry::{ClusterId, Document, Edition, Member, Stamp, Written};

use super::access::{Author, Made, Newest, Registry, random};
use super::edit::{finish, members_of};
use super::error::RegistryError;
use super::fleet::{Fleet, Highest};
use super::{print, read};
use crate::args::registry::{ImportArgs, InitArgs, RenderArgs};
use crate::error::Error;
use crate::safe::Safe;

pub(super) async fn init(registry: &Registry, args: &InitArgs) -> Result<(), Error> {
    let InitArgs { cluster_label, members, member, why, author, via } = args;
    let location = registry.location();
    if let Some(found) = registry.head().await? {
        return Err(RegistryError::Exists { location, version: found.head.version }.into());
    }
    let fleet = via.ask().as_ref().map(Fleet::of);
    let mut all = match members {
        Some(path) => members_of(path)?,
        None => vec![],
    };
    all.extend(member.iter().map(|(id, address)| (*id, Member::at([address]))));
    if let Some(fleet) = &fleet {
        if let Some(Highest { id, version }) = fleet.highest().await? {
            return Err(RegistryError::Lost { location, id, version }.into());
        }
        all.extend(live_members(fleet).await?);
    }
    if all.is_empty() {
        return Err(RegistryError::NoMembers.into());
    }
    let mut each = BTreeMap::new();
    for (id, member) in all {
        if each.insert(id, member).is_some() {
            return Err(RegistryError::Twice { id: id.to_string() }.into());
        }
    }
    let cluster = ClusterId::from_random(random()?);
    let edition = Edition::first(cluster, cluster_label, each).map_err(RegistryError::from)?;
    let stamp = Author::new(author, why).stamp()?;
    if registry.put(&edition, &stamp, None).await? == Written::Conflict {
        let version = registry.newest().await?.edition.version();
        return Err(RegistryError::Exists { location, version }.into());
    }
    let made = Made { before: None, edition };
    // The agents of a fleet that gets its first registry follow none yet: no agent has to be told.
    finish(&made, None, author, None).await
}

/// The live members of a fleet, with their addresses.
async fn live_members(fleet: &Fleet) -> Result<Vec<(NodeId, Member)>, Error> {
    let view = fleet.client.view().await?;
    let member = |told: crate::control::MemberView| {
        let id = NodeId::new(&told.id).ok()?;
        Some((id, Member::at(told.address)))
    };
    Ok(view.members.into_iter().filter(|told| told.status.is_live()).filter_map(member).collect())
}

pub(super) async fn export(registry: &Registry) -> Result<(), Error> {
    bytes(registry.newest().await?.edition.bytes())
}

/// Prints a document: byte by byte, except to a terminal.
fn bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        let mut out = Safe::new(out, false);
        out.write_all(bytes)?;
        return Ok(out.flush()?);
    }
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

pub(super) async fn import(registry: &Registry, args: &ImportArgs) -> Result<(), Error> {
    let ImportArgs { file, yes_remove, why, author, via } = args;
    let list = Document::parse(&read(file)?)
        .map_err(|error| RegistryError::File { path: file.clone(), error })?;
    let fleet = via.ask().as_ref().map(Fleet::of);
    let highest = match &fleet {
        Some(fleet) => fleet.highest().await?,
        None => None,
    };
    let Newest { found, edition: before } = registry.newest().await?;
    if let Some(highest) = highest {
        highest.guard(&registry.location(), before.version())?;
    }
    let stamp = Author::new(author, why).stamp()?;
    let edited = before.import(&list, *yes_remove, &stamp);
    let edition = edited.map_err(|error| refused(error, &before, &list))?;
    if registry.put(&edition, &stamp, Some(&found)).await? == Written::Conflict {
        let newest = registry.newest().await?.edition;
        let location = registry.location();
        let error = newest.import(&list, *yes_remove, &stamp).err();
        let conflict = RegistryError::Conflict { location, tries: 1 };
        return Err(error.map_or(conflict, |error| refused(error, &newest, &list)).into());
    }
    finish(&Made { before: Some(before), edition }, None, author, fleet.as_ref()).await
}

/// Adds to the error of a list from an older version what the list would change.
fn refused(error: EditError, newest: &Edition, list: &Document) -> RegistryError {
    if !error.is_conflict() {
        return error.into();
    }
    let difference = print::Changes::between(Some(newest.document()), list).lines();
    let difference = if difference.is_empty() {
        "nothing: both have the same members".to_owned()
    } else {
        difference.join("\n")
    };
    RegistryError::Imported { error, newest: newest.version(), difference }
}

pub(super) fn render(args: &RenderArgs) -> Result<(), Error> {
    let RenderArgs { members, previous, yes_remove, why, by } = args;
    let before = Edition::parse(&read(previous)?)
        .map_err(|error| RegistryError::File { path: previous.clone(), error })?;
    let list: BTreeMap<_, _> = members_of(members)?.into_iter().collect();
    let stamp = Author::named(by.as_deref(), why).stamp()?;
    match rendered(&before, &list, *yes_remove, &stamp) {
        Ok(next) => bytes(next.bytes()),
        Err(error) => Err(RegistryError::from(error).into()),
    }
}

/// The next version of a file; the same one if the members are the same, so that a tool that runs
/// this again and again makes no versions.
fn rendered(
    before: &Edition,
    list: &BTreeMap<NodeId, Member>,
    confirmed: Option<usize>,
    stamp: &Stamp,
) -> Result<Edition, EditError> {
    match before.take_over(list, confirmed, stamp) {
        Err(EditError::Unchanged) => Ok(before.clone()),
        next => next,
    }
}
