//! The files of a node's record in a folder: named so that they sort, the oldest removed. The only
//! place with IO.
//!
//! ```text
//! edge-17.001764000000000000.000002.tgrec      id . start of this life in microseconds since 1970 . file of that life
//! ```
//!
//! Several nodes may share a folder. Two processes of one id must not: they would remove each
//! other's files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use telemetry_gossip_core::NodeId;

/// What the names of the files end in.
pub const EXTENSION: &str = "tgrec";

/// Bytes of an id in a name; what is longer ends in its hash.
const STEM: usize = 96;

/// One file of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordFile {
    /// The node's id as it stands in file names: letters, digits, `-` and `_` as they are, other
    /// bytes as `%` and two hexadecimal digits; cut after 96 bytes, with a hash behind.
    pub stem: String,
    /// Which life of the node: when it began, in microseconds since 1970.
    pub run: u64,
    /// Which file of that life, from 0.
    pub serial: u32,
    /// Where it is.
    pub path: PathBuf,
}

impl RecordFile {
    fn parse(path: PathBuf) -> Option<Self> {
        let mut parts = path.file_name()?.to_str()?.split('.');
        let (stem, run, serial) = (parts.next()?, parts.next()?, parts.next()?);
        let (run, serial) = (run.parse().ok()?, serial.parse().ok()?);
        if parts.next() != Some(EXTENSION) || parts.next().is_some() || stem.is_empty() {
            return None;
        }
        Some(Self { stem: stem.to_owned(), run, serial, path: path.clone() })
    }
}

/// The files of records in a folder: by node, by life, in order. Other files are passed over.
pub fn list(folder: &Path) -> io::Result<Vec<RecordFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.extend(RecordFile::parse(entry?.path()));
    }
    files.sort();
    Ok(files)
}

/// The files of one node.
#[derive(Debug)]
pub struct Ring {
    folder: PathBuf,
    stem: String,
    run: u64,
    keep: usize,
}

impl Ring {
    /// The ring of a node in a folder, which is made if it is not there. `keep` files are kept at
    /// most, one at least, those of earlier lives included. `run` names this life, see
    /// [`Recorder::new`](crate::Recorder::new); where the clock went back, later than the latest
    /// there is.
    pub fn new(folder: &Path, id: &NodeId, run: u64, keep: usize) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let stem = stem(id);
        let earlier =
            list(folder)?.into_iter().filter(|file| file.stem == stem).map(|file| file.run).max();
        let run = earlier.map_or(run, |earlier| run.max(earlier.saturating_add(1)));
        Ok(Self { folder: folder.to_owned(), stem, run, keep: keep.max(1) })
    }

    /// A new file; the oldest are removed first, so that there are never more than `keep`.
    pub fn begin(&mut self, serial: u32) -> io::Result<File> {
        let mut own: Vec<_> =
            list(&self.folder)?.into_iter().filter(|file| file.stem == self.stem).collect();
        while own.len() >= self.keep {
            fs::remove_file(&own.remove(0).path)?;
        }
        let name = format!("{}.{:018}.{serial:06}.{EXTENSION}", self.stem, self.run);
        // What is in it is nobody else's business.
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(self.folder.join(name))
    }
}

/// A node's id as it stands in the names of its files; see [`RecordFile::stem`].
#[must_use]
pub fn stem(id: &NodeId) -> String {
    let mut stem = String::new();
    for byte in id.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => stem.push(byte.into()),
            _ => stem.push_str(&format!("%{byte:02x}")),
        }
    }
    if stem.len() > STEM {
        stem.truncate(STEM);
        stem.push_str(&format!("%{:08x}", id.id_hash().0));
    }
    stem
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn names(folder: &Path) -> Vec<String> {
        let files = list(folder).unwrap().into_iter();
        files.map(|file| file.path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_oldest_files_go_and_those_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let id: NodeId = "edge/17.a".parse().unwrap();
        let mut other = Ring::new(folder.path(), &"other".parse().unwrap(), 9, 3).unwrap();
        other.begin(0).unwrap();
        let mut ring = Ring::new(folder.path(), &id, 7, 3).unwrap();
        for serial in 0..4 {
            ring.begin(serial).unwrap().write_all(b"x").unwrap();
        }
        // A later life, whose clock has gone back.
        let mut later = Ring::new(folder.path(), &id, 5, 3).unwrap();
        later.begin(0).unwrap();
        let expected = [
            "edge%2f17%2ea.000000000000000007.000002.tgrec",
            "edge%2f17%2ea.000000000000000007.000003.tgrec",
            "edge%2f17%2ea.000000000000000008.000000.tgrec",
            "other.000000000000000009.000000.tgrec",
        ];
        assert_eq!(names(folder.path()), expected);
        assert!(folder.path().join("notes.txt").exists());
    }

    #[test]
    fn every_id_has_a_file_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let long = "ü".repeat(60);
        for id in ["a", "A_", "..", "a.b", "a%2eb", &format!("{long}1"), &format!("{long}2")] {
            Ring::new(folder.path(), &id.parse().unwrap(), 1, 1).unwrap().begin(0).unwrap();
        }
        assert_eq!(names(folder.path()).len(), 7);
    }
}
