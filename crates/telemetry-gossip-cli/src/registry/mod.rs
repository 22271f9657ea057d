//! `tgossip registry`: changes, shows and checks the list of nodes that belong to a cluster.
//!
//! | file | commands |
//! |---|---|
//! | [`edit`] | `add`, `remove`, `replace`, `readmit`, `pending`, `approve` |
//! | [`lists`] | `init`, `export`, `import`, `render` |
//! | [`show`] | `list`, `status` |
//! | [`history`] | `log`, and what `check` asks of the versions that are kept |
//! | [`check`] | `check` |
//! | [`recover`] | `recover` |
//!
//! The rules of a list are in `telemetry-gossip-registry`. What is here reads the newest version,
//! has it edited, writes the outcome, and says what was done.

mod access;
mod check;
mod edit;
mod error;
mod fleet;
mod history;
mod lists;
mod print;
mod recover;
mod show;

use std::path::Path;

use crate::args::registry::{RegistryArgs, RegistryCommand as Command};
use crate::control::client::until_interrupted;
use crate::error::Error;

use access::Registry;
pub(crate) use error::RegistryError;

/// The longest file that is read: the longest document.
const MAX_FILE_BYTES: u64 = telemetry_gossip_registry::document::MAX_BYTES as u64;

pub(crate) fn run(args: &RegistryArgs) -> Result<(), Error> {
    match &args.command {
        // They need no registry.
        Command::Render(args) => return lists::render(args),
        Command::Pending(args) => return until_interrupted(edit::pending(args)),
        _ => {}
    }
    let location = args.url.as_ref().ok_or(RegistryError::NoUrl)?;
    let registry = Registry::open(location)?;
    until_interrupted(obey(&registry, &args.command))
}

async fn obey(registry: &Registry, command: &Command) -> Result<(), Error> {
    match command {
        Command::Init(args) => lists::init(registry, args).await,
        Command::Add(args) => edit::add(registry, args).await,
        Command::Remove(args) => edit::remove(registry, args).await,
        Command::Replace(args) => edit::replace(registry, args).await,
        Command::Readmit(args) => edit::readmit(registry, args).await,
        Command::List(args) => show::list(registry, args).await,
        Command::Log(args) => history::log(registry, args.json).await,
        Command::Export => lists::export(registry).await,
        Command::Import(args) => lists::import(registry, args).await,
        Command::Render(args) => lists::render(args),
        Command::Status(args) => show::status(registry, args).await,
        Command::Check(args) => check::check(registry, args).await,
        Command::Pending(args) => edit::pending(args).await,
        Command::Approve(args) => edit::approve(registry, args).await,
        Command::Recover(args) => recover::recover(registry, args).await,
    }
}

/// Reads a file of the operator's.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;

    let unread = |error| Error::File { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    // One byte more than any document has, which is refused as too long when it is parsed.
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unread)?;
    Ok(bytes)
}
