//! What a node keeps of the registry on its own disk: the document in force, and since which
//! version its machine is the node.
//!
//! ```text
//!   tgossip-registry 1 since=42 sha256=9f2c..        one line, then the bytes of the document
//!   cluster = "7f0c2f3e-..."
//! ```
//!
//! The hash is that of the number, an end of line and the document. The file is replaced in one
//! step and only its owner can read it. One that cannot be used is renamed and told of: a node
//! without it starts as if it were new.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::document::{DocumentHash, Edition, MAX_BYTES};
use crate::follow::Kept;
use crate::store::replace::{Unread, read_bounded, replace};

/// The name of the file in the state folder.
const FILE: &str = "registry";

/// The first word of the file, and the version of its format.
const MAGIC: &str = "tgossip-registry 1";

/// The longest first line, in bytes.
const MAX_LINE: usize = 256;

/// The file in which a node keeps the registry.
#[derive(Clone, Debug)]
pub struct Cache {
    path: PathBuf,
}

/// What was found in a cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// What an earlier run has kept; `None` if there is none, or it cannot be used.
    pub kept: Option<Kept>,
    /// Why the file of the earlier run is not used, and where it is now or what to do.
    pub set_aside: Option<String>,
}

impl Cache {
    /// The cache in this state folder, which exists.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join(FILE) }
    }

    /// Reads what an earlier run has kept. A file that cannot be used is renamed; one that the
    /// system does not let this process read is left, since it may be whole.
    #[must_use]
    pub fn read(&self) -> Found {
        let most = (MAX_BYTES + MAX_LINE) as u64;
        let read = match read_bounded(&self.path, most) {
            Ok(None) => return Found::default(),
            Ok(Some(bytes)) => decode(&bytes),
            Err(Unread::Io(error)) => {
                let path = self.path.display();
                let told = format!(
                    "the registry kept in {path} is not used, as it cannot be read: {error}: let \
                     the user of this process read it"
                );
                return Found { kept: None, set_aside: Some(told) };
            }
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(kept) => Found { kept: Some(kept), set_aside: None },
            Err(why) => Found { kept: None, set_aside: Some(self.set_aside(&why)) },
        }
    }

    fn set_aside(&self, why: &str) -> String {
        let aside = self.path.with_extension("broken");
        let what = match fs::rename(&self.path, &aside) {
            Ok(()) => format!("renamed to {}", aside.display()),
            Err(error) => format!("which cannot be renamed: {error}"),
        };
        format!("the registry kept in {} is not used, as {why}: {what}", self.path.display())
    }

    /// Keeps this in place of what was kept.
    pub fn write(&self, kept: &Kept) -> io::Result<()> {
        let since = Since(kept.since());
        let hash = checksum(&since, kept.bytes());
        let mut bytes = format!("{MAGIC} since={since} sha256={hash}\n").into_bytes();
        bytes.extend_from_slice(kept.bytes());
        replace(&self.path, &bytes, 0o600)
    }
}

/// The hash of all that is kept.
fn checksum(since: &Since, document: &[u8]) -> DocumentHash {
    let mut bytes = format!("{since}\n").into_bytes();
    bytes.extend_from_slice(document);
    DocumentHash::of(&bytes)
}

/// A version, or a dash for none.
struct Since(Option<u64>);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(since) => write!(f, "{since}"),
            None => f.write_str("-"),
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Kept, String> {
    let end = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
    let end = end.ok_or("it has no first line")?;
    let (line, document) = (&bytes[..end], &bytes[end + 1..]);
    let line = std::str::from_utf8(line).map_err(|_| "its first line is no text")?;
    let fields = line.strip_prefix(MAGIC).ok_or("it was written by another version")?;
    let mut words = fields.split_ascii_whitespace();
    let since = words.next().and_then(|word| word.strip_prefix("since="));
    let since = match since.ok_or("its first line has no `since`")? {
        "-" => None,
        version => Some(version.parse().map_err(|_| "its `since` is no version")?),
    };
    let hash = words.next().and_then(|word| word.strip_prefix("sha256="));
    let hash: DocumentHash =
        hash.and_then(|hash| hash.parse().ok()).ok_or("its first line has no hash")?;
    if hash != checksum(&Since(since), document) {
        return Err("its hash is wrong".to_owned());
    }
    Edition::parse(document).map_err(|error| error.to_string())?;
    Ok(Kept::new(document, since))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let text = "cluster = '7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10'\nversion = 3\n[members.a]\n";
        Kept::new(text.as_bytes(), Some(2))
    }

    #[test]
    fn what_was_kept_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        assert_eq!(cache.read(), Found::default());
        for since in [Some(2), None] {
            let kept = Kept::new(kept().bytes(), since);
            cache.write(&kept).unwrap();
            assert_eq!(cache.read(), Found { kept: Some(kept), set_aside: None });
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_the_system_does_not_let_be_read_stays_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, path) = (Cache::new(folder.path()), folder.path().join(FILE));
        // Even a user who may read every file cannot read this one, and tests may run as such a
        // user.
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let found = cache.read();
        assert_eq!(found.kept, None);
        assert!(found.set_aside.unwrap().contains("is not used, as it cannot be read: "));
        assert!(fs::symlink_metadata(&path).is_ok(), "it was not renamed");
    }

    #[test]
    fn a_file_with_any_byte_changed_or_cut_anywhere_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, path) = (Cache::new(folder.path()), folder.path().join(FILE));
        cache.write(&kept()).unwrap();
        let whole = fs::read(&path).unwrap();
        let changed = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        let cut = |at: usize| whole[..at].to_vec();
        for at in 0..whole.len() {
            for broken in [changed(at), cut(at)] {
                fs::write(&path, &broken).unwrap();
                let found = cache.read();
                assert_eq!(found.kept, None, "byte {at}");
                let told = found.set_aside.unwrap();
                assert!(told.contains("renamed to") && !path.exists(), "{told}");
            }
        }
    }
}
