//! Key files, which hold one key each. They are created once and read at the start, and refused
//! where other users can read them.

use std::fs::{File, OpenOptions};
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
    /// Every user of the machine can read or write the file.
    #[error(
        "{} can be read or written by every user (mode {mode:03o}): make it private by chmod 600",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// The permissions of the file.
        mode: u32,
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
/// them. On Unix the file must not be readable or writable by every user.
pub fn read_key(path: &Path) -> Result<Key, KeyFileError> {
    let unreadable = |error| KeyFileError::Unreadable { path: path.to_owned(), error };
    let no_key = |error| KeyFileError::NoKey { path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    // The metadata of the open file, even if the path has another file by now.
    check_mode(path, &file.metadata().map_err(unreadable)?)?;
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

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &std::fs::Metadata) -> Result<(), KeyFileError> {
    let mode = std::os::unix::fs::MetadataExt::mode(metadata) & 0o777;
    if mode & 0o007 == 0 {
        Ok(())
    } else {
        Err(KeyFileError::Exposed { path: path.to_owned(), mode })
    }
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &std::fs::Metadata) -> Result<(), KeyFileError> {
    Ok(())
}
