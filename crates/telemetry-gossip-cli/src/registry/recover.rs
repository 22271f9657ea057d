//! `recover`: ends a rollback or a fork. One list, that of the fleet or that of the store, becomes
//! the version above all others, and every node takes it.

use telemetry_gossip_registry::edit::EditError;
use telemetry_gossip_registry::{Edition, FoundHead, Written};

use super::access::{Author, Made, Newest, Registry};
use super::edit::finish;
use super::error::RegistryError;
use super::fleet::{Fleet, highest};
use super::print::{self, Changes};
use crate::args::registry::{Keep, RecoverArgs};
use crate::control::registry::RegistryAnswer;
use crate::error::Error;
use crate::text;

/// What the store has.
struct Stored {
    /// What is replaced; `None` if there is no registry.
    base: Option<FoundHead>,
    /// Its newest list; `None` if there is none that can be read.
    edition: Option<Edition>,
}

pub(super) async fn recover(registry: &Registry, args: &RecoverArgs) -> Result<(), Error> {
    let RecoverArgs { keep, yes, why, author, ask } = args;
    let fleet = Fleet::of(ask);
    let answer = fleet.client.registry().await?;
    let agent = document_of(&fleet, &answer).await?;
    check_agent(&answer, &agent)?;
    let stored = stored(registry, *keep).await?;
    let next = decide(*keep, registry, &answer, &agent, &stored)?;

    let node = text::word(&answer.node);
    let source = match keep {
        Keep::Fleet => format!("the list of {node}"),
        Keep::Store => "the list of the registry".to_owned(),
    };
    if !yes {
        tell(&next, &source, &node, &agent, &stored)?;
        return print::line("nothing is written: repeat the command with --yes to write it");
    }
    let stamp = Author::new(author, why).stamp()?;
    if registry.put(&next, &stamp, stored.base.as_ref()).await? == Written::Conflict {
        return Err(RegistryError::Conflict { location: registry.location(), tries: 1 }.into());
    }
    let made = Made { before: stored.edition, edition: next };
    finish(&made, Some(format!("recovered {source}")), author, Some(&fleet)).await
}

/// Reads what the store has. The list of the fleet may replace a document that is damaged.
async fn stored(registry: &Registry, keep: Keep) -> Result<Stored, RegistryError> {
    let error = match registry.newest_if_any().await {
        Ok(None) => return Ok(Stored { base: None, edition: None }),
        Ok(Some(Newest { found, edition })) => {
            return Ok(Stored { base: Some(found), edition: Some(edition) });
        }
        Err(error) if keep == Keep::Store => return Err(error),
        Err(error) => error.damage()?,
    };
    match registry.head().await {
        Ok(base) => Ok(Stored { base, edition: None }),
        Err(_) => Err(RegistryError::InTheWay { location: registry.location(), error }),
    }
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
    stored: &Stored,
) -> Result<Edition, RegistryError> {
    let Stored { base, edition } = stored;
    if let Some(stored) = edition {
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
            let missing = || RegistryError::Missing { location: registry.location() };
            edition.as_ref().ok_or_else(missing)?
        }
    };
    let store = base.as_ref().map_or(0, |found| found.head.version);
    Ok(kept.recover(store.max(agent.version()))?)
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
    stored: &Stored,
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
    if let Some(edition) = &stored.edition {
        against("the registry".to_owned(), edition)?;
    }
    against(node.to_owned(), agent)
}
