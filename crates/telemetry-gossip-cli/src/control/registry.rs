//! Requests about the registry that an agent follows.
//!
//! ```text
//! client                                agent
//!   {"ask":"registry"}            --->
//!                                 <---  {"registry":{"node":"edge-1","registry":{"state":..},
//!                                        "published":[{"id":"edge-2","version":42,"hash":..},..]}}
//!   {"ask":"registry-document"}   --->
//!                                 <---  {"registry-document":"cluster = \"7f0c..\"\n.."}
//!                                       {"registry-document":null}    if none is in force
//!   {"ask":"registry-pending"}    --->
//!                                 <---  {"registry-pending":[{"id":"edge-9",..},..]}
//!   {"ask":"read-registry"}       --->
//!                                 <---  "reading"
//! ```
//!
//! An agent without a registry answers the first with `"registry":null`, since it still sees what
//! the others publish, and refuses the others.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use telemetry_gossip_registry::DocumentHash;
use telemetry_gossip_registry::follow::{Published, State, Status, TELEMETRY_KEY};
use telemetry_gossip_registry::host::{Following, Knock};
use telemetry_gossip_tokio as driver;

use super::client::Client;
use super::{Answer, Request};
use crate::error::Error;

/// What an agent knows of its registry, and of the versions that the members go by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RegistryAnswer {
    /// Id of the agent.
    pub(crate) node: String,
    /// What it makes of its registry; `None` if it follows none.
    pub(crate) registry: Option<RegistryView>,
    /// What each live member publishes, the agent included, in order of id. It is the last field,
    /// since it is sent in pages.
    pub(crate) published: Vec<Publishing>,
}

/// What an agent makes of the registry that it follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RegistryView {
    /// Where the registry is, without passwords.
    pub(crate) location: String,
    /// `waiting`, `current`, `held`, `not-yet-member` or `gone`.
    pub(crate) state: String,
    /// Why the agent waits or is held, in a word such as `unreachable`.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// The state in a sentence.
    pub(crate) text: String,
    /// The version in force; `None` if there is none yet.
    pub(crate) version: Option<u64>,
    /// The hash of its document.
    pub(crate) hash: Option<DocumentHash>,
    /// How many members it has.
    pub(crate) members: Option<u64>,
    /// The version that the store had when it was read last; `None` if it had none.
    pub(crate) store_version: Option<u64>,
    /// Time since the store last answered; `None` if it never has.
    pub(crate) answered_s: Option<f64>,
    /// How often the store was read.
    pub(crate) reads: u64,
    /// How many of these reads failed.
    pub(crate) failures: u64,
    /// Whether members say, by a newer version, that the agent does not belong.
    #[serde(default)]
    pub(crate) doubted: bool,
    /// A live member that publishes the version in force with another hash.
    #[serde(default)]
    pub(crate) differs: Option<String>,
    /// Whether the agent has a list, belongs by it, and has no reason to doubt that.
    pub(crate) ready: bool,
}

impl RegistryView {
    /// Describes the registry that an agent follows.
    pub(crate) fn of(following: &Following) -> Self {
        let status = following.status();
        let answered = status.answered_at.map(|at| following.host_time(at).elapsed());
        let answered_s = answered.map(|ago| ago.as_secs_f64());
        Self { answered_s, ..Self::of_status(following.location(), &status) }
    }

    /// Describes a status, but for the time since the store answered.
    pub(crate) fn of_status(location: &str, status: &Status) -> Self {
        let in_force = status.in_force.as_ref();
        let reason = match &status.state {
            State::Waiting(reason) => reason.as_ref(),
            State::Held(reason) => Some(reason),
            _ => None,
        };
        Self {
            location: location.to_owned(),
            state: hyphenated(status.state.word()),
            reason: reason.map(|reason| hyphenated(reason.word())),
            text: status.state.to_string(),
            version: in_force.map(|in_force| in_force.version),
            hash: in_force.map(|in_force| in_force.hash),
            members: in_force.map(|in_force| in_force.members),
            store_version: status.store,
            answered_s: None,
            reads: status.reads,
            failures: status.failures,
            doubted: status.doubted,
            differs: status.differs.map(|id| id.to_string()),
            ready: status.is_ready(),
        }
    }
}

/// A word in the spelling of the other words of events and answers.
fn hyphenated(word: &str) -> String {
    word.replace('_', "-")
}

/// The version that a live member publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Publishing {
    pub(crate) id: String,
    /// `None` if it publishes none: it follows no registry, or has no version yet.
    pub(crate) version: Option<u64>,
    /// The first 16 digits of the hash of the document.
    pub(crate) hash: Option<String>,
}

impl Publishing {
    /// What this member publishes; `None` if it is not live.
    pub(crate) fn of(member: &driver::MemberView) -> Option<Self> {
        if !member.status.is_live() {
            return None;
        }
        let published = member.value(TELEMETRY_KEY);
        let published = published.and_then(|entry| Published::parse(&entry.value));
        Some(Self {
            id: member.id.to_string(),
            version: published.as_ref().map(Published::version),
            hash: published.as_ref().map(|published| published.hash().to_owned()),
        })
    }
}

/// A node that has asked an agent for something and does not belong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Knocked {
    /// The id that it states. Nothing proves that.
    pub(crate) id: String,
    /// The address from which it came last.
    pub(crate) address: String,
    /// Time since it came last.
    pub(crate) ago_s: f64,
}

impl From<&Knock> for Knocked {
    fn from(knock: &Knock) -> Self {
        let ago_s = Instant::now().saturating_duration_since(knock.at).as_secs_f64();
        Self { id: knock.id.to_string(), address: knock.address.to_string(), ago_s }
    }
}

#[allow(dead_code, reason = "the commands of operators ask")]
impl Client {
    /// Asks what the agent makes of its registry, and what each live member publishes.
    pub(crate) async fn registry(&self) -> Result<RegistryAnswer, Error> {
        match self.ask(&Request::Registry).await? {
            Answer::Registry(answer) => Ok(*answer),
            other => Err(self.unexpected(other)),
        }
    }

    /// Asks for the bytes of the document in force; `None` if there is none yet.
    pub(crate) async fn registry_document(&self) -> Result<Option<Vec<u8>>, Error> {
        match self.ask(&Request::RegistryDocument).await? {
            Answer::RegistryDocument(text) => Ok(text.map(String::into_bytes)),
            other => Err(self.unexpected(other)),
        }
    }

    /// Asks which nodes have knocked at the agent, the last first.
    pub(crate) async fn registry_pending(&self) -> Result<Vec<Knocked>, Error> {
        match self.ask(&Request::RegistryPending).await? {
            Answer::RegistryPending(knocked) => Ok(knocked),
            other => Err(self.unexpected(other)),
        }
    }

    /// Has the agent read its registry now, or 1 s after its last read. Does not wait for that.
    pub(crate) async fn read_registry(&self) -> Result<(), Error> {
        match self.ask(&Request::ReadRegistry).await? {
            Answer::Reading => Ok(()),
            other => Err(self.unexpected(other)),
        }
    }
}
