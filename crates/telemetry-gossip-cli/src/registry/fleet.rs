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

/// The highest version that live members have in force, and one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Highest {
    pub(super) id: String,
    pub(super) version: u64,
}

impl Fleet {
    pub(super) fn of(ask: &AskArgs) -> Self {
        Self { client: Client::of(ask) }
    }

    /// The highest version that live members have; `None` if too few have any.
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

/// How many members have to say that they have a version, or a higher one, before that is believed.
/// One that lies must neither keep operators from writing nor use the versions up.
const BELIEVED: usize = 3;

/// The highest version that three live members have, or half of fewer.
pub(super) fn highest(answer: &RegistryAnswer) -> Option<Highest> {
    let of = |one: &Publishing| Some(Highest { id: one.id.clone(), version: one.version? });
    let mut published: Vec<Highest> = answer.published.iter().filter_map(of).collect();
    published.sort_by_key(|one| std::cmp::Reverse(one.version));
    let needed = BELIEVED.min(answer.published.len().div_ceil(2)).max(1);
    published.into_iter().nth(needed - 1)
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
        let published = [("a", Some(5)), ("b", Some(5)), ("c", None)];
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

    #[test]
    fn what_one_or_two_of_many_members_make_up_is_not_believed() {
        let of = |versions: &[u64]| {
            let all = versions.iter().map(|&version| publishing("n", Some(version)));
            let answer =
                RegistryAnswer { node: "a".into(), registry: None, published: all.collect() };
            highest(&answer).map(|highest| highest.version)
        };
        assert_eq!(of(&[7, 7, 7, 7, 7, 1 << 50, 1 << 51]), Some(7));
        assert_eq!(of(&[7, 8, 8, 8, 7, 7, 7]), Some(8));
        assert_eq!(
            of(&[7, 1 << 50]),
            Some(1 << 50),
            "of two members, each may be the one to believe"
        );
        assert_eq!(of(&[7, 7, 1 << 50]), Some(7));
    }
}
