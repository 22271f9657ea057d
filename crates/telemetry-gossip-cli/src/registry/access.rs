//! Reading the newest version of a registry, and writing the next one.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use telemetry_gossip_registry::edit::EditError;
use telemetry_gossip_registry::{
    Edition, FoundHead, Location, Stamp, Store, StoreError, Write, Written,
};

use super::error::RegistryError;
use super::fleet::Fleet;
use crate::args::registry::AuthorArgs;
use crate::error::Error;

/// How often an edit is made again from a newer version, if other operators are first.
const RETRIES: usize = 8;

/// How often the newest version is read again, if it is replaced between the reads of its head and
/// of its document.
const READS: usize = 8;

/// The registry that a command works on.
pub(super) struct Registry {
    store: Arc<dyn Store>,
}

/// The newest version of a registry.
#[derive(Clone, Debug)]
pub(super) struct Newest {
    pub(super) found: FoundHead,
    pub(super) edition: Edition,
}

/// A version that was written.
pub(super) struct Made {
    /// The version before; `None` if this is the first.
    pub(super) before: Option<Edition>,
    pub(super) edition: Edition,
}

impl Registry {
    pub(super) fn open(location: &Location) -> Result<Self, RegistryError> {
        Ok(Self { store: location.open()? })
    }

    /// A registry in a store of a test.
    #[cfg(test)]
    pub(super) fn in_store(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    pub(super) fn location(&self) -> String {
        self.store.location()
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The error of a store, with its location.
    pub(super) fn failed(&self, error: StoreError) -> RegistryError {
        RegistryError::Store { location: self.location(), error }
    }

    fn damaged(&self, what: String) -> RegistryError {
        self.failed(StoreError::Damaged(what))
    }

    pub(super) async fn head(&self) -> Result<Option<FoundHead>, RegistryError> {
        self.store.head().await.map_err(|error| self.failed(error))
    }

    /// Reads the newest version.
    ///
    /// # Errors
    /// There is none, or its head and its document do not belong together.
    pub(super) async fn newest(&self) -> Result<Newest, RegistryError> {
        let newest = self.newest_if_any().await?;
        newest.ok_or_else(|| RegistryError::Missing { location: self.location() })
    }

    /// Reads the newest version; `None` if there is no registry.
    pub(super) async fn newest_if_any(&self) -> Result<Option<Newest>, RegistryError> {
        let mut version = 0;
        for _ in 0..READS {
            let Some(found) = self.head().await? else { return Ok(None) };
            version = found.head.version;
            let document = self.store.document(version, found.head.chunks).await;
            let Some(bytes) = document.map_err(|error| self.failed(error))? else { continue };
            let edition = Edition::parse(&bytes).map_err(|error| {
                self.damaged(format!("the document of version {version} cannot be read: {error}"))
            })?;
            match found.head.matches(&edition) {
                Ok(()) => return Ok(Some(Newest { found, edition })),
                // A file may have been replaced between the two reads.
                Err(_) if self.head().await?.as_ref() != Some(&found) => {}
                Err(what) => return Err(self.damaged(what)),
            }
        }
        Err(self.damaged(format!(
            "the head names version {version}, and there is no such document: restore it"
        )))
    }

    /// Edits the newest version and writes the outcome. If another operator is first, the edit is
    /// made again, from the version of that one.
    ///
    /// # Errors
    /// A rule forbids the edit, or live members have a newer version than the store.
    pub(super) async fn write(
        &self,
        author: &Author<'_>,
        fleet: Option<&Fleet>,
        edit: impl Fn(&Edition, &Stamp) -> Result<Edition, EditError>,
    ) -> Result<Made, Error> {
        // Before the store, since a version may be written between the two.
        let highest = match fleet {
            Some(fleet) => fleet.highest().await?,
            None => None,
        };
        for _ in 0..=RETRIES {
            let Newest { found, edition: before } = self.newest().await?;
            if let Some(highest) = &highest {
                highest.guard(&self.location(), before.version())?;
            }
            let stamp = author.stamp()?;
            let edition = edit(&before, &stamp).map_err(RegistryError::from)?;
            if self.put(&edition, &stamp, Some(&found)).await? == Written::Done {
                return Ok(Made { before: Some(before), edition });
            }
        }
        Err(RegistryError::Conflict { location: self.location(), tries: RETRIES + 1 }.into())
    }

    /// Writes a version in place of the head that was found.
    pub(super) async fn put(
        &self,
        edition: &Edition,
        stamp: &Stamp,
        base: Option<&FoundHead>,
    ) -> Result<Written, RegistryError> {
        let write = Write::new(edition.clone(), stamp, base);
        self.store.write(&write).await.map_err(|error| self.failed(error))
    }
}

/// Who makes a change, and why.
pub(super) struct Author<'a> {
    by: String,
    why: &'a str,
}

impl<'a> Author<'a> {
    pub(super) fn new(args: &AuthorArgs, why: &'a str) -> Self {
        Self::named(args.by.as_deref(), why)
    }

    pub(super) fn named(by: Option<&str>, why: &'a str) -> Self {
        let by = by.map(ToOwned::to_owned).or_else(|| std::env::var("USER").ok());
        Self { by: by.unwrap_or_default(), why }
    }

    /// A stamp of this moment, for one write.
    pub(super) fn stamp(&self) -> Result<Stamp, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Stamp::new(&self.by, self.why).op(random()?).at(now.as_secs()))
    }
}

/// 16 random bytes.
pub(super) fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::Setup(std::io::Error::other(error)))?;
    Ok(bytes)
}
