//! A store in a file: the document is the file, and the head is made from it.
//!
//! Another tool may write the file too, such as Puppet, Ansible or a ConfigMap that is mounted. So
//! it is read by its path, and what it contains says whether it has changed: the time of a file and
//! its inode stay the same under some of these tools, and change without need under others.

use std::fs;
use std::future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::replace::{Lock, Unread, mode_of, read_bounded, replace};
use super::{FoundHead, Store, StoreError, StoreFuture, Write, Written};
use crate::document::{DocumentError, DocumentHash, Edition, MAX_BYTES};
use crate::head::{Head, Stamp};

/// How often a node reads the file. That costs no server anything.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long a writer waits for another one. A write of the longest document takes far less.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// The mode of a new file: a document holds no secrets, and a node may run as another user than the
/// operator who writes.
const DEFAULT_MODE: u32 = 0o644;

/// A store in a file. It keeps the newest version alone.
///
/// Its futures are ready at once, without a runtime: a file of 30 KB is read within 0.1 ms. A file
/// on a network mount that hangs keeps the thread waiting that polls them, so a host polls them on
/// a thread of its own.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    /// What the file contained when it was read last. The bytes are not kept, since the memory of a
    /// small agent matters.
    last: Mutex<Option<Last>>,
}

#[derive(Clone, Debug)]
struct Last {
    hash: DocumentHash,
    head: Result<Head, DocumentError>,
}

impl FileStore {
    /// A store in the file at this path, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), last: Mutex::default() }
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        read_bounded(&self.path, MAX_BYTES as u64).map_err(|unread| self.unread(&unread))
    }

    fn unread(&self, unread: &Unread) -> StoreError {
        let path = self.path.display();
        match unread {
            Unread::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                StoreError::Refused(format!(
                    "{path} cannot be read: {error}: let the user of this process read it"
                ))
            }
            Unread::Io(error) => StoreError::Unreachable(format!("{path} cannot be read: {error}")),
            Unread::NotAFile | Unread::TooLong { .. } => StoreError::Damaged(format!(
                "{path} is no document: {unread}: name the file that has the list of members"
            )),
        }
    }

    /// Reads the file and makes the head from it. The bytes are parsed only if they are others than
    /// at the last time.
    ///
    /// What is new is read once more after that, since a tool that writes in place, such as `cp`,
    /// shows half a file meanwhile, which may be a document with fewer members.
    fn read_both(
        &self,
        mut read: impl FnMut() -> Result<Option<Vec<u8>>, StoreError>,
    ) -> Result<Option<(FoundHead, Vec<u8>)>, StoreError> {
        let Some(bytes) = read()? else { return Ok(None) };
        let hash = DocumentHash::of(&bytes);
        let mut last = self.last();
        let head = match &*last {
            Some(last) if last.hash == hash => last.head.clone(),
            _ => {
                let head = Edition::parse(&bytes).map(|found| Head::of(&found, &Stamp::default()));
                if read()?.is_none_or(|again| again != bytes) {
                    let path = self.path.display();
                    return Err(StoreError::Unreachable(format!(
                        "{path} changes while it is read: replace it in one step, by renaming"
                    )));
                }
                *last = Some(Last { hash, head: head.clone() });
                head
            }
        }?;
        Ok(Some((FoundHead::new(head, revision(hash)), bytes)))
    }

    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        // What it holds is right at any time.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_head(&self) -> Result<Option<FoundHead>, StoreError> {
        Ok(self.read_both(|| self.read())?.map(|(found, _)| found))
    }

    fn read_version(&self, version: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.read_both(|| self.read())?;
        let is_asked_for = |found: &FoundHead| found.head.version == version;
        Ok(found.filter(|(found, _)| is_asked_for(found)).map(|(_, bytes)| bytes))
    }

    fn write_edition(&self, write: &Write) -> Result<Written, StoreError> {
        // A link is followed, not replaced.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let unwritable = |error: io::Error| {
            let (path, why) = (path.display(), reason(&error));
            StoreError::Unwritable(format!("{path} cannot be replaced: {why}"))
        };
        let _lock = Lock::take(&path, LOCK_PATIENCE).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => unwritable(error),
            _ => StoreError::Unwritable(format!(
                "{}.lock, which writers lock, cannot be opened: {error}: write as its owner or, if \
                 it is not there, as a user who may create files in its folder",
                path.display()
            )),
        })?;
        let found = self.read()?.map(|bytes| revision(DocumentHash::of(&bytes)));
        if found != write.base() {
            return Ok(Written::Conflict);
        }
        let mode = mode_of(&path, DEFAULT_MODE);
        replace(&path, write.edition().bytes(), mode).map_err(unwritable)?;
        Ok(Written::Done)
    }
}

/// Why a file was not written, and what to do.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            "another writer holds its lock: try again once that has ended".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error}: write as a user who may create files in its folder")
        }
        _ => error.to_string(),
    }
}

/// The revision of a content: equal for equal contents, and another one for any other, but for one
/// chance in 2^64.
fn revision(hash: DocumentHash) -> u64 {
    // These are 16 hexadecimal digits.
    u64::from_str_radix(&hash.short(), 16).unwrap_or_default()
}

impl Store for FileStore {
    fn location(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn is_blocking(&self) -> bool {
        true
    }

    fn poll_interval(&self) -> Duration {
        POLL_INTERVAL
    }

    fn head(&self) -> StoreFuture<'_, Option<FoundHead>> {
        Box::pin(future::ready(self.read_head()))
    }

    fn document(&self, version: u64, _chunks: u32) -> StoreFuture<'_, Option<Vec<u8>>> {
        Box::pin(future::ready(self.read_version(version)))
    }

    fn write<'a>(&'a self, write: &'a Write) -> StoreFuture<'a, Written> {
        Box::pin(future::ready(self.write_edition(write)))
    }

    fn versions(&self) -> StoreFuture<'_, Vec<u64>> {
        let head = self.read_head();
        Box::pin(future::ready(head.map(|found| found.iter().map(|f| f.head.version).collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "cluster = \"7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10\"\n";

    fn edition(version: u64, member: &str) -> Edition {
        let text = format!("{CLUSTER}version = {version}\n[members.{member}]\n");
        Edition::parse(text.as_bytes()).unwrap()
    }

    async fn write(store: &FileStore, edition: Edition, base: Option<&FoundHead>) -> Written {
        store.write(&Write::new(edition, &Stamp::default(), base)).await.unwrap()
    }

    #[tokio::test]
    async fn a_version_is_written_over_the_one_that_was_read_and_over_no_other() {
        let root = tempfile::tempdir().unwrap();
        let store = FileStore::new(root.path().join("cluster.toml"));
        assert_eq!(store.head().await, Ok(None));
        assert_eq!(store.document(1, 1).await, Ok(None));
        assert_eq!(write(&store, edition(1, "a"), None).await, Written::Done);
        assert_eq!(write(&store, edition(1, "b"), None).await, Written::Conflict);
        let first = store.head().await.unwrap().unwrap();
        assert_eq!((first.head.version, first.head.hash), (1, edition(1, "a").hash()));
        assert_eq!(write(&store, edition(2, "c"), Some(&first)).await, Written::Done);
        assert_eq!(write(&store, edition(2, "d"), Some(&first)).await, Written::Conflict);
        let bytes = store.document(2, 1).await.unwrap().unwrap();
        assert_eq!(bytes, edition(2, "c").bytes(), "exactly as they were written");
        assert_eq!(store.document(1, 1).await, Ok(None), "it keeps the newest alone");
        assert_eq!(store.versions().await, Ok(vec![2]));
    }

    #[tokio::test]
    async fn a_change_is_seen_though_time_length_and_inode_stay_the_same() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cluster.toml");
        let store = FileStore::new(&path);
        fs::write(&path, edition(1, "a").bytes()).unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let before = store.head().await.unwrap().unwrap();
        fs::write(&path, edition(2, "a").bytes()).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        let after = store.head().await.unwrap().unwrap();
        assert_eq!((before.head.version, after.head.version), (1, 2));
        assert_ne!(before.revision, after.revision);
    }

    #[tokio::test]
    async fn a_lock_that_cannot_be_opened_is_named() {
        let root = tempfile::tempdir().unwrap();
        let store = FileStore::new(root.path().join("cluster.toml"));
        fs::create_dir(root.path().join("cluster.toml.lock")).unwrap();
        let write = Write::new(edition(1, "a"), &Stamp::default(), None);
        let error = store.write(&write).await.unwrap_err().to_string();
        assert!(
            error.contains("cluster.toml.lock, which writers lock, cannot be opened"),
            "{error}"
        );
        assert!(error.contains("write as its owner"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_document_is_named_and_the_next_one_is_read() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cluster.toml");
        let store = FileStore::new(&path);
        fs::write(&path, "version = 1").unwrap();
        for _ in 0..2 {
            assert!(matches!(store.head().await, Err(StoreError::Document(_))));
        }
        fs::write(&path, edition(7, "a").bytes()).unwrap();
        assert_eq!(store.head().await.unwrap().unwrap().head.version, 7);
        fs::remove_file(&path).unwrap();
        assert_eq!(store.head().await, Ok(None));
        fs::create_dir(&path).unwrap();
        let damaged = store.head().await.unwrap_err();
        assert!(matches!(&damaged, StoreError::Damaged(what) if what.contains("no regular file")));
        fs::remove_dir(&path).unwrap();
        fs::File::create(&path).unwrap().set_len(MAX_BYTES as u64 + 1).unwrap();
        let damaged = store.head().await.unwrap_err();
        assert!(matches!(&damaged, StoreError::Damaged(what) if what.contains("8388608 bytes")));
    }

    #[test]
    fn a_file_that_is_half_written_is_not_taken_for_a_document() {
        let store = FileStore::new("unused");
        let whole = format!("{CLUSTER}version = 1\n[members.a]\n[members.b]\n").into_bytes();
        let half = edition(1, "a").bytes().to_vec();
        let mut reads = vec![whole.clone(), half].into_iter().rev();
        let error = store.read_both(|| Ok(reads.next())).unwrap_err();
        assert!(error.to_string().contains("changes while it is read"), "{error}");
        let (found, bytes) = store.read_both(|| Ok(Some(whole.clone()))).unwrap().unwrap();
        assert_eq!((found.head.members, bytes), (2, whole));
    }

    #[test]
    fn each_of_eight_writers_at_once_writes_a_version_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cluster.toml");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let store = FileStore::new(path);
                    loop {
                        let base = store.read_head().unwrap();
                        let version = base.as_ref().map_or(1, |found| found.head.version + 1);
                        let next = edition(version, &format!("n{writer}"));
                        let next = Write::new(next, &Stamp::default(), base.as_ref());
                        if store.write_edition(&next).unwrap() == Written::Done {
                            break;
                        }
                    }
                });
            }
        });
        let last = FileStore::new(&path).read_head().unwrap().unwrap();
        assert_eq!(last.head.version, 8);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_is_followed_and_a_mode_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let (target, link) = (root.path().join("real.toml"), root.path().join("link.toml"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        replace(&target, edition(1, "a").bytes(), 0o640).unwrap();
        let store = FileStore::new(&link);
        let base = store.head().await.unwrap();
        assert_eq!(write(&store, edition(2, "a"), base.as_ref()).await, Written::Done);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), edition(2, "a").bytes());
        assert_eq!(mode_of(&target, 0), 0o640);
        let fresh = FileStore::new(root.path().join("fresh.toml"));
        assert_eq!(write(&fresh, edition(1, "a"), None).await, Written::Done);
        assert_eq!(mode_of(fresh.path(), 0), DEFAULT_MODE);
    }
}
