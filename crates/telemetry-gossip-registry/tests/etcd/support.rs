//! What the tests share: stores, documents, and a writer that begins again after a conflict.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_registry::{
    Edition, FoundHead, Location, Stamp, Store, StoreError, Write, Written,
};

/// Opens the store of a cluster, with parameters such as `?tls=true`.
pub(crate) fn open(endpoints: &str, cluster: &str, parameters: &str) -> Arc<dyn Store> {
    let text = format!("etcd://{endpoints}/{cluster}{parameters}");
    text.parse::<Location>().unwrap().open().unwrap()
}

/// The client of etcd by which a test does what an operator does with etcdctl.
pub(crate) fn raw(endpoints: &str) -> etcdrs::client::ClientBuilder {
    let urls: Vec<_> = endpoints.split(',').map(|endpoint| format!("http://{endpoint}")).collect();
    etcdrs::Client::builder()
        .connection_string(urls.join(","))
        .unwrap()
        .retry_policy(Duration::from_secs(10))
}

/// A version with these members.
pub(crate) fn edition(version: u64, members: &[&str]) -> Edition {
    let mut text = begin(version);
    for member in members {
        writeln!(text, "[members.{member}]").unwrap();
    }
    Edition::parse(text.as_bytes()).unwrap()
}

/// A version with so many members, named after `of`. Each of them takes some 110 bytes.
pub(crate) fn long_edition(version: u64, of: &str, count: usize) -> Edition {
    let mut text = begin(version);
    for member in 0..count {
        let (high, low) = (member / 250, member % 250);
        writeln!(
            text,
            "[members.{of}-{member:05}]\naddresses = [\"10.0.{high}.{low}:7946\"]\n\
             labels = {{ zone = \"eu-{}\", rack = \"r{high}\" }}\nsince = {version}\n",
            member % 3
        )
        .unwrap();
    }
    Edition::parse(text.as_bytes()).unwrap()
}

fn begin(version: u64) -> String {
    format!("cluster = \"7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10\"\nversion = {version}\n\n")
}

/// Writes an edition in place of `base`. The stamp is made from the edition, so that two writers of
/// two editions have two stamps.
pub(crate) async fn write(
    store: &dyn Store,
    edition: &Edition,
    base: Option<&FoundHead>,
) -> Result<Written, StoreError> {
    let mut op = [0; 16];
    op.copy_from_slice(&edition.hash().to_string().as_bytes()[..16]);
    let stamp = Stamp::new("a test", "").op(op);
    store.write(&Write::new(edition.clone(), &stamp, base)).await
}

/// Writes the next version, and begins again after each conflict. Returns the version.
pub(crate) async fn write_next(store: &dyn Store, next: impl Fn(u64) -> Edition) -> u64 {
    for _ in 0..200 {
        let base = store.head().await.unwrap();
        let edition = next(base.as_ref().map_or(1, |found| found.head.version + 1));
        if write(store, &edition, base.as_ref()).await.unwrap() == Written::Done {
            return edition.version();
        }
    }
    panic!("200 conflicts in a row");
}

/// Reads the newest version.
pub(crate) async fn read(store: &dyn Store) -> (FoundHead, Vec<u8>) {
    let found = store.head().await.unwrap().expect("there is a head");
    let bytes = store.document(found.head.version, found.head.chunks).await.unwrap();
    (found, bytes.expect("there is a document"))
}
