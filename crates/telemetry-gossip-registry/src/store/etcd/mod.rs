//! A store on etcd.
//!
//! ```text
//!   /tgossip/<cluster>/head             the head, one line of JSON
//!   /tgossip/<cluster>/v/<version>/<n>  a chunk of the document of a version
//! ```
//!
//! A write puts all chunks but the last, each under the condition that the head is still the one
//! that the writer has read. Then one transaction puts the last chunk and the head, under the
//! condition that neither the head nor a chunk has changed since. So no reader sees half a version,
//! two writers of one version do not mix their chunks, and a chunk that arrives late changes
//! nothing. Most documents have one chunk, and are written in one step.
//!
//! Reads name no revision of the store, so that its compaction does not disturb them.
//!
//! The client of etcd is a dependency that only [`client`] and [`words`] know.

mod client;
mod words;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use self::client::{Client, Login, Unchanged};
use self::words::Asker;
use super::location::{EtcdPlace, LocationError};
use super::replace::read_bounded;
use super::{FoundHead, KEPT_VERSIONS, Store, StoreError, StoreFuture, Write, Written};
use crate::document::MAX_BYTES;
use crate::head::Head;

/// How often a node reads the head, if nothing tells it to read earlier: 240 nodes read 8 times a
/// second.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The longest chunk, in bytes. By default etcd takes requests of at most 1.5 MiB.
const CHUNK: usize = 512 << 10;

/// The most chunks of a document.
const MAX_CHUNKS: u32 = MAX_BYTES.div_ceil(CHUNK) as u32;

/// The most old versions that a write deletes. It adds one; more are there only after writes that
/// did not get to delete any.
const DELETED_AT_ONCE: usize = 4;

/// The longest file of a certificate, key or password, in bytes. The certificates that a system
/// trusts have some 220 KB.
const MAX_FILE: u64 = 1 << 20;

/// A store on etcd. [`Location::open`](super::Location::open) makes it.
///
/// Its futures need a tokio runtime. A read of the head ends within 4 s, and with a user and a
/// password, if it has to log in, within 60 s. A document takes such a read for each chunk.
#[derive(Debug)]
pub struct EtcdStore {
    location: String,
    /// `/tgossip/<cluster>/`.
    prefix: String,
    client: Client,
}

impl EtcdStore {
    /// Makes a store of a location, and reads the files that it names.
    pub(super) fn open(place: &EtcdPlace) -> Result<Self, LocationError> {
        let prefix = format!("/tgossip/{}/", place.cluster);
        let asker = Asker {
            user: place.user.clone(),
            has_certificate: place.cert.is_some(),
            tls: place.tls,
            prefix: prefix.clone(),
        };
        let tls = if place.tls { Some(tls(place)?) } else { None };
        let endpoints = place
            .endpoints
            .iter()
            .map(|address| Ok((address.clone(), endpoint(address, tls.as_ref(), place)?)))
            .collect::<Result<_, LocationError>>()?;
        let client = Client::new(endpoints, login(place)?, asker);
        Ok(Self { location: place.to_string(), prefix, client })
    }

    fn head_key(&self) -> String {
        format!("{}head", self.prefix)
    }

    fn chunk_key(&self, version: u64, chunk: u32) -> String {
        format!("{}v/{version}/{chunk}", self.prefix)
    }

    async fn read_head(&self) -> Result<Option<FoundHead>, StoreError> {
        let Some(value) = self.client.get(&self.head_key()).await? else { return Ok(None) };
        Ok(Some(FoundHead::new(Head::parse(&value.bytes)?, value.revision)))
    }

    async fn read_document(
        &self,
        version: u64,
        chunks: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if !(1..=MAX_CHUNKS).contains(&chunks) {
            return Err(StoreError::Damaged(format!(
                "the head of version {version} says {chunks} chunks: 1 to {MAX_CHUNKS} are allowed"
            )));
        }
        let mut document = Vec::new();
        for chunk in 0..chunks {
            let key = self.chunk_key(version, chunk);
            let Some(value) = self.client.get(&key).await? else { return Ok(None) };
            if document.len() + value.bytes.len() > MAX_BYTES {
                return Err(StoreError::Damaged(format!(
                    "version {version} has more than {MAX_BYTES} bytes"
                )));
            }
            document.extend_from_slice(&value.bytes);
        }
        Ok(Some(document))
    }

    async fn write_version(&self, write: &Write) -> Result<Written, StoreError> {
        let version = write.head().version;
        let mut chunks: Vec<_> = write.edition().bytes().chunks(CHUNK).collect();
        let mut head = write.head().clone();
        head.chunks = chunks.len() as u32;
        let (json, head_key) = (head.to_json(), self.head_key());
        let keys: Vec<_> = (0..head.chunks).map(|chunk| self.chunk_key(version, chunk)).collect();

        let last = chunks.pop().unwrap_or_default();
        let mut unchanged = vec![Unchanged { key: &head_key, revision: write.base() }];
        for (key, bytes) in keys.iter().zip(chunks) {
            let is_base = &unchanged[..1];
            let Some(put) = self.client.swap(is_base, &[(key, bytes)]).await? else {
                return Ok(Written::Conflict);
            };
            unchanged.push(Unchanged { key, revision: Some(put) });
        }
        let last_key = keys.last().map(String::as_str).unwrap_or_default();
        let values = [(last_key, last), (head_key.as_str(), json.as_bytes())];
        match self.client.swap(&unchanged, &values).await {
            Ok(Some(_)) => Ok(Written::Done),
            // It may have been written by a first try whose answer was lost.
            Ok(None) => Ok(match self.read_head().await? {
                Some(found) if found.head == head => Written::Done,
                _ => Written::Conflict,
            }),
            Err(StoreError::Unreachable(why)) => self.settle(write, &head, &why).await,
            Err(error) => Err(error),
        }
    }

    /// Finds out how a write ended whose answer did not come. Its head has a random `op`.
    async fn settle(&self, write: &Write, head: &Head, why: &str) -> Result<Written, StoreError> {
        match self.read_head().await {
            Ok(Some(found)) if found.head == *head => Ok(Written::Done),
            Ok(found) if found.as_ref().map(|found| found.revision) != write.base() => {
                Ok(Written::Conflict)
            }
            // It may still arrive.
            _ => Err(StoreError::Unreachable(format!(
                "{why}: it is not known whether version {} was written: look whether it is there \
                 before writing again",
                head.version
            ))),
        }
    }

    /// Deletes what is older than the versions that are kept. What it leaves is left to the next
    /// write.
    async fn delete_old(&self, newest: u64) {
        let Ok(kept) = self.all_versions().await else { return };
        let is_old = |version: &u64| version.saturating_add(KEPT_VERSIONS) <= newest;
        for version in kept.into_iter().filter(is_old).take(DELETED_AT_ONCE) {
            let _ = self.client.delete(&format!("{}v/{version}/", self.prefix)).await;
        }
    }

    /// The versions of which there are chunks, also of writes that did not get to their head.
    async fn all_versions(&self) -> Result<BTreeSet<u64>, StoreError> {
        let prefix = format!("{}v/", self.prefix);
        let keys = self.client.keys(&prefix).await?;
        let version = |key: &String| key.strip_prefix(&prefix)?.split_once('/')?.0.parse().ok();
        Ok(keys.iter().filter_map(version).collect())
    }

    async fn kept_versions(&self) -> Result<Vec<u64>, StoreError> {
        let Some(newest) = self.read_head().await?.map(|found| found.head.version) else {
            return Ok(Vec::new());
        };
        Ok(self.all_versions().await?.range(..=newest).copied().collect())
    }
}

impl Store for EtcdStore {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn poll_interval(&self) -> Duration {
        POLL_INTERVAL
    }

    fn head(&self) -> StoreFuture<'_, Option<FoundHead>> {
        Box::pin(self.read_head())
    }

    fn document(&self, version: u64, chunks: u32) -> StoreFuture<'_, Option<Vec<u8>>> {
        Box::pin(self.read_document(version, chunks))
    }

    fn write<'a>(&'a self, write: &'a Write) -> StoreFuture<'a, Written> {
        Box::pin(async move {
            let written = self.write_version(write).await?;
            if written == Written::Done {
                self.delete_old(write.head().version).await;
            }
            Ok(written)
        })
    }

    fn versions(&self) -> StoreFuture<'_, Vec<u64>> {
        Box::pin(self.kept_versions())
    }
}

fn endpoint(
    address: &str,
    tls: Option<&ClientTlsConfig>,
    place: &EtcdPlace,
) -> Result<Endpoint, LocationError> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let wrong = |_| LocationError::Endpoint { endpoint: address.to_owned() };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(wrong)?;
    let Some(tls) = tls else { return Ok(endpoint) };
    endpoint.tls_config(tls.clone()).map_err(|error| {
        // Only the key and the certificates are checked here.
        let path = place.cert.as_ref().or(place.ca.as_ref()).cloned().unwrap_or_default();
        let parameter = if place.cert.is_some() { "cert" } else { "ca" };
        let why = format!("{}: name a certificate and its key, as PEM", deepest(&error));
        LocationError::File { parameter, path, why }
    })
}

/// The cause that an error wraps, or itself.
fn deepest(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), deepest)
}

fn tls(place: &EtcdPlace) -> Result<ClientTlsConfig, LocationError> {
    let config = ClientTlsConfig::new();
    let config = match &place.ca {
        None => config.with_native_roots(),
        Some(ca) => config.ca_certificate(Certificate::from_pem(certificates("ca", ca)?)),
    };
    let (Some(cert), Some(key)) = (&place.cert, &place.key) else { return Ok(config) };
    let (cert, key) = (certificates("cert", cert)?, pem("key", key, "PRIVATE KEY-----")?);
    Ok(config.identity(Identity::from_pem(cert, key)))
}

fn certificates(parameter: &'static str, path: &Path) -> Result<Vec<u8>, LocationError> {
    pem(parameter, path, "-----BEGIN CERTIFICATE-----")
}

/// Reads a file that has this mark of PEM. A file without one would be taken for no certificates.
fn pem(parameter: &'static str, path: &Path, mark: &str) -> Result<Vec<u8>, LocationError> {
    let bytes = read(parameter, path)?;
    if bytes.windows(mark.len()).any(|window| window == mark.as_bytes()) {
        return Ok(bytes);
    }
    let why = format!("it has no line with `{mark}`: name a file in the format PEM");
    Err(LocationError::File { parameter, path: path.to_owned(), why })
}

fn login(place: &EtcdPlace) -> Result<Option<Login>, LocationError> {
    let (Some(user), Some(path)) = (&place.user, &place.password_file) else { return Ok(None) };
    let parameter = "password-file";
    let wrong = |why: &str| LocationError::File { parameter, path: path.clone(), why: why.into() };
    let text = String::from_utf8(read(parameter, path)?).map_err(|_| wrong("it is not UTF-8"))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() || password.contains('\n') {
        return Err(wrong("it has no password: write the password, on one line, to it"));
    }
    Ok(Some(Login { user: user.clone(), password: password.to_owned() }))
}

fn read(parameter: &'static str, path: &Path) -> Result<Vec<u8>, LocationError> {
    let wrong = |why: String| LocationError::File { parameter, path: path.to_owned(), why };
    match read_bounded(path, MAX_FILE) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(wrong("there is no such file: name one that exists".to_owned())),
        Err(unread) => Err(wrong(format!("{unread}: name a file that this user can read"))),
    }
}
