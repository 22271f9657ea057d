//! `recover`: ends a rollback or a fork. One list, that of the fleet or that of the store, becomes
//! the version above all others, and every node takes it.

use telemetry_gossip_registry::edit::EditError;
use telemetry_gossip_registry::{Edition, Written};

use super::access::{Author, Made, Newest, Registry};
use super::edit::finish;
use super::error::RegistryError;
use super::fleet::{Fleet, highest};
use super::print::{self, Changes};
use crate::args::registry::{Keep, RecoverArgs};
use crate::control::registry::RegistryAnswer;
use crate::error::Error;
use crate::text;

pub(super) async fn recover(registry: &Registry, args: &RecoverArgs) -> Result<(), Error> {
    let RecoverArgs { keep, yes, why, author, ask } = args;
    let fleet = Fleet::of(ask);
    let answer = fleet.client.registry().await?;
    let agent = document_of(&fleet, &answer).await?;
    check_agent(&answer, &agent)?;
    let store = registry.newest_if_any().await?;
    let next = decide(*keep, registry, &answer, &agent, store.as_ref())?;

    let version = next.version();
    let node = text::word(&answer.node);
    let source = match keep {
        Keep::Fleet => format!("the list of {node}"),
        Keep::Store => "the list of the registry".to_owned(),
    };
    if !yes {
        tell(&next, &source, &node, &agent, store.as_ref())?;
        return print::line("nothing is written: repeat the command with --yes to write it");
    }
    let stamp = Author::new(author, why).stamp()?;
    let base = store.as_ref().map(|newest| &newest.found);
    if registry.put(&next, &stamp, base).await? == Written::Conflict {
        return Err(RegistryError::Conflict { location: registry.location(), tries: 1 }.into());
    }
    let instead = format!("recovered {source}");
    let made = Made { before: store.map(|newest| newest.edition), edition: next };
    debug_assert_eq!(made.edition.version(), version);
    finish(&made, Some(instead), author, Some(&fleet)).await
}

/// The list that the agent has in force.
async fn document_of(fleet: &Fleet, answer: &RegistryAnswer) -> Result<Edition, Error> {
    let bytes = fleet.client.registry_document().await?;
    let no_list = || RegistryError::NoList { node: text::printable(&answer.node, 127) };
    let bytes = bytes.ok_or_else(no_list)?;
    // The agent has parsed it itself.
    Ok(Edition::parse(&bytes).map_err(|error| RegistryError::from(EditError::from(error)))?)
}

/// Refuses an agent that has an older version than another live member.
fn check_agent(answer: &RegistryAnswer, agent: &Edition) -> Result<(), RegistryError> {
    match highest(answer) {
        Some(highest) if highest.version > agent.version() => Err(RegistryError::AgentBehind {
            node: text::printable(&answer.node, 127),
            agent: agent.version(),
            id: text::printable(&highest.id, 127),
            version: highest.version,
        }),
        _ => Ok(()),
    }
}

/// Makes the version that ends it.
fn decide(
    keep: Keep,
    registry: &Registry,
    answer: &RegistryAnswer,
    agent: &Edition,
    store: Option<&Newest>,
) -> Result<Edition, RegistryError> {
    let stored = store.map(|newest| &newest.edition);
    if let Some(stored) = stored {
        let (theirs, ours) = (agent.document().cluster(), stored.document().cluster());
        if theirs != ours {
            return Err(RegistryError::OtherCluster { theirs, ours });
        }
        if stored.hash() == agent.hash() && !has_forked(answer, agent) {
            return Err(RegistryError::NothingToRecover { version: agent.version() });
        }
    }
    let kept = match keep {
        Keep::Fleet => agent,
        Keep::Store => {
            stored.ok_or_else(|| RegistryError::Missing { location: registry.location() })?
        }
    };
    let newest = stored.map_or(0, Edition::version).max(agent.version());
    Ok(kept.recover(newest)?)
}

/// Whether a live member has another list than the agent for the same version.
fn has_forked(answer: &RegistryAnswer, agent: &Edition) -> bool {
    let hash = agent.hash().short();
    let same = answer.published.iter().filter(|one| one.version == Some(agent.version()));
    same.into_iter().any(|one| one.hash.as_deref() != Some(&hash))
}

/// Tells what would be written.
fn tell(
    next: &Edition,
    source: &str,
    node: &str,
    agent: &Edition,
    store: Option<&Newest>,
) -> Result<(), Error> {
    print::line(&format!("version {} would be {source}", next.version()))?;
    let against = |what: String, edition: &Edition| -> Result<(), Error> {
        print::line(&format!("against version {} of {what}:", edition.version()))?;
        let mut lines = Changes::between(Some(edition.document()), next.document()).lines();
        if lines.is_empty() {
            lines.push("the same members".to_owned());
        }
        lines.iter().try_for_each(|line| print::line(&format!("  {line}")))
    };
    if let Some(newest) = store {
        against("the registry".to_owned(), &newest.edition)?;
    }
    against(node.to_owned(), agent)
}
