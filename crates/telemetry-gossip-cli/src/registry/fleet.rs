//! What the live members have in force, as one of them sees it.

use crate::args::AskArgs;
use crate::control::client::Client;
use crate::control::registry::{Publishing, RegistryAnswer};
use crate::error::Error;
use crate::safe;

use super::error::RegistryError;

/// An agent through which the fleet is seen.
pub(super) struct Fleet {
    pub(super) client: Client,
}

/// The highest version that a live member has in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Highest {
    pub(super) id: String,
    pub(super) version: u64,
}

impl Fleet {
    pub(super) fn of(ask: &AskArgs) -> Self {
        Self { client: Client::of(ask) }
    }

    /// The highest version that a live member has; `None` if none has any.
    pub(super) async fn highest(&self) -> Result<Option<Highest>, Error> {
        Ok(highest(&self.client.registry().await?))
    }

    /// Has the agent read the registry now. The change is made, whatever comes of this.
    pub(super) async fn tell(&self) {
        if let Err(error) = self.client.read_registry().await {
            let said = safe::lines(&error.to_string());
            eprintln!("tgossip: the change is made, and no agent was told to look: {said}");
        }
    }
}

/// The highest version among those that are published.
pub(super) fn highest(answer: &RegistryAnswer) -> Option<Highest> {
    let of = |one: &Publishing| Some(Highest { id: one.id.clone(), version: one.version? });
    answer.published.iter().filter_map(of).max_by_key(|one| one.version)
}

impl Highest {
    /// Refuses to write to a store that is behind.
    pub(super) fn guard(&self, location: &str, store: u64) -> Result<(), RegistryError> {
        if self.version <= store {
            return Ok(());
        }
        let Self { id, version } = self.clone();
        Err(RegistryError::Behind { location: location.to_owned(), store, id, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publishing(id: &str, version: Option<u64>) -> Publishing {
        let hash = version.map(|_| "0123456789abcdef".to_owned());
        Publishing { id: id.to_owned(), version, hash }
    }

    #[test]
    fn a_store_behind_a_live_member_is_not_written() {
        let published = [("a", Some(3)), ("b", Some(5)), ("c", None)];
        let published = published.map(|(id, version)| publishing(id, version)).into();
        let mut answer = RegistryAnswer { node: "a".into(), registry: None, published };
        let found = highest(&answer).unwrap();
        assert_eq!(found, Highest { id: "b".into(), version: 5 });
        assert!(found.guard("file:x", 5).is_ok());
        let refused = found.guard("file:x", 4).unwrap_err();
        assert_eq!(refused.exit_code(), 6);
        let said = refused.to_string();
        assert!(said.contains("has version 4, and b has version 5 in force"), "{said}");
        assert!(said.contains("b is not to be believed: remove it without `--via`"), "{said}");
        answer.published.clear();
        assert_eq!(highest(&answer), None);
    }
}
