//! The state folder: what a node keeps over its restarts, in small files that are replaced whole.
//!
//! [`StateDir`] opens the folder for one process at a time, and reads and replaces files in it.
//! What they contain is up to those who use it: [`peers`] has the members that are tried at the
//! next start, and [`keeper`] the thread that writes them.
//!
//! A file is replaced in one step, so that a crash leaves the old one or the new one. A file that
//! cannot be used never keeps a node from starting: it is set aside under another name.

pub(crate) mod keeper;
pub(crate) mod peers;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The file that the process locks that uses the folder.
const LOCK: &str = "lock";

/// Why a state folder cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The folder cannot be created, or no file can be created in it.
    #[error(
        "the state folder {} cannot be used: {error}: name a folder that this user can create and \
         write to",
        folder.display()
    )]
    #[non_exhaustive]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// A node that runs uses the folder.
    #[error(
        "the state folder {} is used by another node that runs: give each node a folder of its own",
        folder.display()
    )]
    #[non_exhaustive]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
}

/// Why a file of the folder was not read.
#[derive(Debug, Error)]
pub(crate) enum Unread {
    /// The system failed.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The path is that of a folder, a pipe or a device.
    #[error("it is no regular file")]
    NotAFile,
    /// The file is longer than any that a node writes.
    #[error("it has more than {most} bytes")]
    TooLong { most: u64 },
}

/// A state folder, locked until this is dropped.
#[derive(Debug)]
pub(crate) struct StateDir {
    folder: PathBuf,
    lock: File,
}

impl StateDir {
    /// Creates the folder if it is missing, for its owner alone, and locks it.
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let unusable = |error| StateError::Unusable { folder: folder.to_owned(), error };
        create_folder(folder).map_err(unusable)?;
        let lock = lock(&folder.join(LOCK)).map_err(unusable)?;
        let lock = lock.ok_or_else(|| StateError::InUse { folder: folder.to_owned() })?;
        let dir = Self { folder: folder.to_owned(), lock };
        // The lock may be a file from a time when the folder could be written to.
        let probe = dir.path("probe.new");
        create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(unusable)?;
        Ok(dir)
    }

    /// The path of a file of the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Reads a file of at most so many bytes; `None` if there is none.
    pub(crate) fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, Unread> {
        let mut options = OpenOptions::new();
        options.read(true);
        // A pipe without a writer would keep a reader waiting.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            rustix::fs::OFlags::NONBLOCK.bits() as i32,
        );
        let file = match options.open(self.path(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(Unread::NotAFile);
        }
        let mut bytes = Vec::new();
        // One byte more than allowed, so that a longer file is refused.
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(Unread::TooLong { most });
        }
        Ok(Some(bytes))
    }

    /// Renames a file that cannot be used, in place of one that was set aside earlier. Returns its
    /// new path.
    pub(crate) fn set_aside(&self, name: &str) -> io::Result<PathBuf> {
        let aside = self.path(&format!("{name}.broken"));
        fs::rename(self.path(name), &aside)?;
        Ok(aside)
    }

    /// Replaces a file in one step. Only the owner can read it. Once this returns, a loss of power
    /// does not undo it. A folder that was removed is made again, and locked.
    ///
    /// # Errors
    /// The system failed, or another node has the folder by now.
    pub(crate) fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if !is_at(&self.lock, &self.path(LOCK)) {
            *self = Self::open(&self.folder).map_err(|error| match error {
                StateError::Unusable { error, .. } => error,
                error @ StateError::InUse { .. } => io::Error::other(error),
            })?;
        }
        let (path, new) = (self.path(name), self.path(&format!("{name}.new")));
        let written = create(&new)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| sync_folder(&self.folder));
        if written.is_err() {
            // It may not even exist.
            let _ = fs::remove_file(&new);
        }
        written
    }
}

/// Whether the path leads to this file. It may have been removed, and another one made there.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |held: fs::Metadata| (held.dev(), held.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(held), Ok(found)) => place(held) == place(found),
        _ => false,
    }
}

/// Whether the path leads to this file, which other systems do not let anybody remove.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Creates a file that only its owner can read, in place of one that an earlier process has left
/// half written.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    // Never through a link that another user of the host has put there.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a rename in the folder last. Other systems than Unix do that by themselves, or not at all.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Opens and locks a file; `None` if another open file of it has the lock. It ends with the process
/// however that ends.
#[cfg(unix)]
fn lock(path: &Path) -> io::Result<Option<File>> {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::fs::{FlockOperation, OFlags, flock};

    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    let file = options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    let file = file.open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens a file that no other process can open meanwhile; `None` if another process has it open.
#[cfg(windows)]
fn lock(path: &Path) -> io::Result<Option<File>> {
    use std::os::windows::fs::OpenOptionsExt as _;

    const ERROR_SHARING_VIOLATION: i32 = 32;
    match OpenOptions::new().write(true).create(true).truncate(false).share_mode(0).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Other systems have no lock that the standard library knows.
#[cfg(not(any(unix, windows)))]
fn lock(path: &Path) -> io::Result<Option<File>> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_read_within_its_bound() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let mut dir = StateDir::open(&folder).unwrap();
        assert_eq!(dir.read("x", 10).unwrap(), None);
        // An earlier process was killed while it wrote.
        fs::write(folder.join("x.new"), b"half").unwrap();
        dir.replace("x", b"0123456789").unwrap();
        assert_eq!(dir.read("x", 10).unwrap().unwrap(), b"0123456789");
        assert!(matches!(dir.read("x", 9), Err(Unread::TooLong { most: 9 })));
        dir.replace("x", b"short").unwrap();
        assert_eq!(dir.read("x", 10).unwrap().unwrap(), b"short");
        let mut names: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["lock", "x"]);
        assert_eq!(dir.set_aside("x").unwrap(), folder.join("x.broken"));
        assert_eq!(dir.read("x", 10).unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_and_its_files_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a");
        let mut dir = StateDir::open(&folder).unwrap();
        dir.replace("x", b"1").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!((mode(&folder.join("x")), mode(&folder.join("lock"))), (0o600, 0o600));
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_and_a_folder_in_the_place_of_a_file_are_refused_without_waiting() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::open(root.path()).unwrap();
        let made = std::process::Command::new("mkfifo").arg(dir.path("pipe")).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo runs");
        fs::create_dir(dir.path("folder")).unwrap();
        for name in ["pipe", "folder"] {
            assert!(matches!(dir.read(name, 10), Err(Unread::NotAFile)), "{name}");
        }
    }

    #[test]
    fn a_folder_is_locked_until_it_is_dropped() {
        let root = tempfile::tempdir().unwrap();
        let first = StateDir::open(root.path()).unwrap();
        assert!(matches!(StateDir::open(root.path()), Err(StateError::InUse { .. })));
        drop(first);
        assert!(StateDir::open(root.path()).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_was_removed_is_made_again_with_its_lock_unless_another_node_has_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let mut first = StateDir::open(&folder).unwrap();
        for _ in 0..2 {
            fs::remove_dir_all(root.path().join("a")).unwrap();
            first.replace("x", b"1").unwrap();
            assert_eq!(first.read("x", 1).unwrap().unwrap(), b"1");
            assert!(matches!(StateDir::open(&folder), Err(StateError::InUse { .. })));
        }
        fs::remove_dir_all(&folder).unwrap();
        let mut second = StateDir::open(&folder).unwrap();
        second.replace("x", b"2").unwrap();
        let refused = first.replace("x", b"1").unwrap_err();
        assert!(refused.to_string().contains("used by another node that runs"), "{refused}");
        assert_eq!(second.read("x", 1).unwrap().unwrap(), b"2", "it is left alone");
    }
}
