//! Key files, which hold one key each. They are created once and read at the start, and refused
//! where other users can read them.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use telemetry_gossip_seal::{Key, KeyError, KeyringError, MAX_KEY_FILE};
use thiserror::Error;

/// Why a key file was not read or created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// The file cannot be created. A file that exists is never overwritten
    /// ([`io::ErrorKind::AlreadyExists`]).
    #[error("{} cannot be created: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// Other users of the machine can read or write the file.
    #[error(
        "{} can be read or written by {} (mode {mode:03o}): make it private by chmod 600",
        path.display(),
        if mode & 0o007 == 0 { "its group" } else { "every user" }
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// The permissions of the file.
        mode: u32,
    },
    /// The file belongs to another user, who can read and replace it.
    #[error(
        "{} belongs to another user (id {owner}), who can read and replace it: make it your own by \
         chown, or copy it",
        path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// The id of its owner.
        owner: u32,
    },
    /// The path is that of a folder, a pipe or a device.
    #[error("{} is no regular file: name the file that holds the key", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file does not contain a key.
    #[error("{} does not contain a key: {error}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        #[source]
        error: KeyError,
    },
    /// The key of the file does not fit the others.
    #[error("the key of {} cannot be added: {error}", path.display())]
    Keyring {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        #[source]
        error: KeyringError,
    },
    /// No file was given.
    #[error("sealing needs at least one key file")]
    NoFile,
}

/// Reads the key of a file: 64 hexadecimal digits, with optional spaces and line breaks around
/// them. On Unix the file must belong to this user or root, and no other user, also none of its
/// group, may read or write it.
pub fn read_key(path: &Path) -> Result<Key, KeyFileError> {
    let unreadable = |error| KeyFileError::Unreadable { path: path.to_owned(), error };
    let no_key = |error| KeyFileError::NoKey { path: path.to_owned(), error };
    let mut options = OpenOptions::new();
    options.read(true);
    // A pipe without a writer would keep a reader waiting.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits() as i32,
    );
    let file = options.open(path).map_err(unreadable)?;
    // The metadata of the open file, even if the path has another file by now.
    check(path, &file.metadata().map_err(unreadable)?)?;
    // Wiped when dropped, like the key itself.
    // One byte more than allowed, so that a longer file is refused.
    let mut text = zeroize::Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE + 1));
    file.take(MAX_KEY_FILE as u64 + 1).read_to_end(&mut text).map_err(unreadable)?;
    Key::from_file(&text).map_err(no_key)
}

/// Creates a new key from the randomness of the system, and a file for it that only its owner can
/// read (mode 0600). A file that exists is never overwritten.
pub fn create_key(path: &Path) -> Result<Key, KeyFileError> {
    let unwritable = |error| KeyFileError::Unwritable { path: path.to_owned(), error };
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| unwritable(io::Error::other(error)))?;
    let key = Key::new(*bytes);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(unwritable)?;
    file.write_all(key.to_text().as_str().as_bytes()).map_err(unwritable)?;
    file.write_all(b"\n").map_err(unwritable)?;
    file.sync_all().map_err(unwritable)?;
    Ok(key)
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), KeyFileError> {
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o777);
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(KeyFileError::Owner { path: path.to_owned(), owner });
        }
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_file_is_private_to_its_user() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.key");
        create_key(&path).unwrap();
        for (mode, who) in [
            (0o640, "its group (mode 640)"),
            (0o620, "its group"),
            (0o604, "every user"),
            (0o602, "every user"),
            (0o666, "every user (mode 666)"),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let refused = read_key(&path).unwrap_err().to_string();
            assert!(refused.contains(who) && refused.contains("chmod 600"), "{refused}");
        }
        for mode in [0o600, 0o400] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(read_key(&path).is_ok());
        }
    }

    #[test]
    fn a_key_file_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.key");
        create_key(&path).unwrap();
        // Only root can give a file away.
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
            let refused = read_key(&path).unwrap_err();
            assert!(matches!(refused, KeyFileError::Owner { owner: 65_534, .. }), "{refused}");
        }
    }

    #[test]
    fn a_pipe_a_folder_and_a_device_are_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo runs");
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            let refused = read_key(path).unwrap_err();
            assert!(matches!(refused, KeyFileError::NotAFile { .. }), "{refused}");
        }
    }
}
