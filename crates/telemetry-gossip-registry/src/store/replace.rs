//! Files that are read and replaced whole: within a bound, in one step, by one writer at a time.
//!
//! [`FileStore`](super::FileStore) and the cache of a node keep their files with it. What the files
//! contain is up to them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

/// How often a writer tries to take the lock that another one has.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Why a file was not read.
#[derive(Debug, Error)]
pub(crate) enum Unread {
    /// The system failed.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The path is that of a folder, a pipe or a device.
    #[error("it is no regular file")]
    NotAFile,
    /// The file is longer than allowed.
    #[error("it has more than {most} bytes")]
    TooLong {
        /// How many bytes are allowed.
        most: u64,
    },
}

/// Reads a regular file of at most `most` bytes; `None` if there is none. A pipe, a folder or a
/// device is refused without waiting.
pub(crate) fn read_bounded(path: &Path, most: u64) -> Result<Option<Vec<u8>>, Unread> {
    let mut options = OpenOptions::new();
    options.read(true);
    // A pipe without a writer would keep a reader waiting.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits() as i32,
    );
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Unread::NotAFile);
    }
    // Of its own length at once, as a buffer that grows would take up to twice as much memory.
    let mut bytes = Vec::with_capacity(found.len().min(most) as usize + 1);
    // One byte more than allowed, so that a longer file is refused.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(Unread::TooLong { most }) } else { Ok(Some(bytes)) }
}

/// Replaces a file in one step: a crash leaves the old file or the new one, and a loss of power
/// after this returns does not undo it. The new file has this mode, where the system has modes.
///
/// Two writers of one file need a [`Lock`].
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = beside(path, "new")?;
    let written = create(&new, mode)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            set_mode(&file, mode)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // It may not even exist.
        let _ = fs::remove_file(&new);
    } else {
        // Some file systems know no such thing, and some folders may not be read. The file is
        // replaced all the same.
        let _ = sync_folder_of(path);
    }
    written
}

/// The mode of the file, or `default` if there is none, or the system has no modes.
pub(crate) fn mode_of(path: &Path, default: u32) -> u32 {
    #[cfg(unix)]
    if let Ok(found) = fs::metadata(path) {
        return std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777;
    }
    let _ = path;
    default
}

/// The right to replace a file, held against all other processes that ask for it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks `FILE.lock`, the file beside the one that is replaced, which may not exist itself.
    /// Waits at most so long for another writer.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another writer had the lock all the time.
    #[expect(clippy::disallowed_methods, reason = "nothing tells when a lock becomes free in time")]
    pub(crate) fn take(path: &Path, patience: Duration) -> io::Result<Self> {
        let path = beside(path, "lock")?;
        let until = Instant::now() + patience;
        loop {
            if let Some(file) = try_lock(&path)? {
                return Ok(Self { _file: file });
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            thread::sleep(LOCK_RETRY);
        }
    }
}

/// The path of the file beside `path` whose name has one ending more.
fn beside(path: &Path, ending: &str) -> io::Result<PathBuf> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".");
    name.push(ending);
    Ok(path.with_file_name(name))
}

/// Creates a file in place of one that an earlier process has left half written.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    // Never through a link that another user of the host has put there.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let _ = mode;
    options.open(path)
}

/// Sets the mode once more, as the process may have a mask that took bits away.
fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    let _ = (file, mode);
    Ok(())
}

/// Makes a rename last. Other systems than Unix do that by themselves, or not at all.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Opens and locks a file; `None` if another open file of it has the lock. It ends with the process
/// however that ends.
#[cfg(unix)]
fn try_lock(path: &Path) -> io::Result<Option<File>> {
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
fn try_lock(path: &Path) -> io::Result<Option<File>> {
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
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_read_within_its_bound() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.toml");
        assert_eq!(read_bounded(&path, 10).unwrap(), None);
        // An earlier process was killed while it wrote.
        fs::write(root.path().join("x.toml.new"), b"half").unwrap();
        replace(&path, b"0123456789", 0o644).unwrap();
        assert_eq!(read_bounded(&path, 10).unwrap().unwrap(), b"0123456789");
        assert!(matches!(read_bounded(&path, 9), Err(Unread::TooLong { most: 9 })));
        replace(&path, b"short", 0o644).unwrap();
        assert_eq!(read_bounded(&path, 10).unwrap().unwrap(), b"short");
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing else is left: {left:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_has_the_mode_that_was_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x");
        assert_eq!(mode_of(&path, 0o640), 0o640);
        for mode in [0o600, 0o666, 0o604] {
            replace(&path, b"1", mode).unwrap();
            assert_eq!(mode_of(&path, 0), mode, "{mode:o}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_a_folder_and_a_device_are_refused_without_waiting() {
        let root = tempfile::tempdir().unwrap();
        let pipe = root.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo runs");
        for path in [&pipe, root.path(), Path::new("/dev/zero")] {
            let read = read_bounded(path, 10);
            assert!(matches!(read, Err(Unread::NotAFile)), "{}: {read:?}", path.display());
        }
    }

    #[test]
    fn a_second_writer_waits_for_the_lock_of_the_first() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x");
        let first = Lock::take(&path, Duration::ZERO).unwrap();
        let refused = Lock::take(&path, Duration::ZERO).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        thread::scope(|scope| {
            let second = scope.spawn(|| Lock::take(&path, Duration::from_secs(30)));
            drop(first);
            assert!(second.join().unwrap().is_ok());
        });
    }
}
