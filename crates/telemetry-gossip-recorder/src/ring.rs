//! Keeps the files of a node's record in a folder, with names that sort by time, and removes the
//! oldest. This is the only module with IO.
//!
//! ```text
//! edge-17.001764000000000000.000002.tgrec      id . start of the instance (us since 1970) . number
//! ```
//!
//! Several nodes may share a folder. Two processes with the same id must not: they would remove
//! each other's files.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use telemetry_gossip_core::{Address, NodeId};
use thiserror::Error;

use crate::format::{Origin, Start};
use crate::play::Player;
use crate::playback::PlaybackReason;
use crate::read::Reader;
use crate::record::Chunk;

/// The extension of the file names.
pub const EXTENSION: &str = "tgrec";

/// The most bytes of an id in a file name. A longer id is cut and ends in its hash.
const STEM: usize = 96;

/// One file of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct RecordFile {
    /// The node's id as in file names: letters, digits, `-` and `_` stand for themselves, and other
    /// bytes are `%` and two hexadecimal digits. A longer text than 96 bytes is cut and ends in a
    /// hash of the id.
    pub stem: String,
    /// The number of the node's instance: its start in microseconds since 1970.
    pub instance: u64,
    /// The number of the file within the instance, from 0.
    pub serial: u32,
    /// The path.
    pub path: PathBuf,
}

impl RecordFile {
    fn parse(path: PathBuf) -> Option<Self> {
        let mut parts = path.file_name()?.to_str()?.split('.');
        let (stem, instance, serial) = (parts.next()?, parts.next()?, parts.next()?);
        let (instance, serial) = (instance.parse().ok()?, serial.parse().ok()?);
        if parts.next() != Some(EXTENSION) || parts.next().is_some() || stem.is_empty() {
            return None;
        }
        Some(Self { stem: stem.to_owned(), instance, serial, path: path.clone() })
    }
}

/// Lists the files of records in a folder, sorted by node, instance and number. Other files are
/// ignored.
pub fn list(folder: &Path) -> io::Result<Vec<RecordFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.extend(RecordFile::parse(entry?.path()));
    }
    files.sort();
    Ok(files)
}

/// The files of one node in a folder, of which the last one is written.
///
/// A file takes the place of the oldest one once it holds half as many bytes. So a full disk, on
/// which files are begun and cannot be continued, does not cost the files from before: a file that
/// could not be continued and has not earned its place goes when the next one begins.
#[derive(Debug)]
pub struct Ring {
    folder: PathBuf,
    stem: String,
    instance: u64,
    keep: usize,
    current: Option<Current>,
}

/// The file that is written.
#[derive(Debug)]
struct Current {
    /// `None` once a chunk was not written: nothing can follow it.
    file: Option<File>,
    path: PathBuf,
    bytes: u64,
    /// Whether the oldest files have made room for it.
    has_place: bool,
}

impl Ring {
    /// Opens the ring of a node in a folder, and creates the folder if it is missing.
    ///
    /// The ring keeps at most `keep` files, those of earlier instances included, and at least one;
    /// beside them the one that is written, until it holds half as many bytes as the oldest.
    /// `instance` is the number of this instance, see [`Recorder::new`](crate::Recorder::new). If
    /// the clock has gone back, it is raised above the latest number in the folder.
    pub fn new(folder: &Path, id: &NodeId, instance: u64, keep: usize) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let stem = stem(id);
        let earlier = list(folder)?
            .into_iter()
            .filter(|file| file.stem == stem)
            .map(|file| file.instance)
            .max();
        let instance = earlier.map_or(instance, |earlier| instance.max(earlier.saturating_add(1)));
        let folder = folder.to_owned();
        Ok(Self { folder, stem, instance, keep: keep.max(1), current: None })
    }

    /// Creates the next file, and writes `opening` to it, the chunk of a recorder that begins a new
    /// file. A folder that was removed is made again.
    ///
    /// An opening that cannot be replayed is refused, and one that cannot be written whole leaves
    /// no file. In both cases no other file is removed. So among the files that are kept, there is
    /// always one from which a replay can start.
    pub fn begin<A>(&mut self, opening: &Chunk) -> Result<(), RingError>
    where
        A: Address + Serialize + DeserializeOwned + 'static,
    {
        let reader = Reader::<_, A>::new(opening.bytes()).map_err(PlaybackReason::from)?;
        Player::start(reader.header()).map_err(PlaybackReason::from)?;
        if let Some(before) = &mut self.current {
            // What comes from now on does not belong there, also if no file is begun.
            before.file = None;
        }
        let serial = reader.header().serial;
        let continues =
            matches!(reader.header().start, Start::State { origin: Origin::Rotated, .. });
        let name = format!("{}.{:018}.{serial:06}.{EXTENSION}", self.stem, self.instance);
        let path = self.folder.join(name);
        let mut file = match create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.folder)?;
                create(&path)?
            }
            created => created?,
        };
        write_opening(&mut file, &path, opening)?;
        let bytes = opening.bytes().len() as u64;
        let current = Current { file: Some(file), path, bytes, has_place: false };
        match self.current.replace(current) {
            // Complete, however small: the limit may be lower than when the oldest was written.
            Some(before) if !before.has_place && continues => self.make_room(1)?,
            Some(before) if !before.has_place => remove(&before.path)?,
            _ => {}
        }
        Ok(self.claim_place()?)
    }

    /// Appends a chunk to the file that was begun last. After an error, and if the
    /// file was removed, which is an error, nothing is appended until the next file is begun:
    /// returns false then.
    pub fn append(&mut self, chunk: &Chunk) -> Result<bool, RingError> {
        let Some(Current { file: held, path, bytes, .. }) = &mut self.current else {
            return Ok(false);
        };
        // Taken, and put back only if all went well.
        let Some(mut file) = held.take() else { return Ok(false) };
        file.write_all(chunk.bytes())?;
        // Otherwise all would be written to a file that is gone.
        fs::metadata(&*path)?;
        *bytes = bytes.saturating_add(chunk.bytes().len() as u64);
        *held = Some(file);
        self.claim_place()?;
        Ok(true)
    }

    /// Removes the oldest files if the current one has earned its place.
    fn claim_place(&mut self) -> io::Result<()> {
        let Some(current) = self.current.as_ref().filter(|current| !current.has_place) else {
            return Ok(());
        };
        let bytes = current.bytes;
        // An instance that ended early may have left one more than are kept.
        self.make_room(1)?;
        let oldest = self.above(0)?;
        let held = |file: &RecordFile| fs::metadata(&file.path).map_or(0, |held| held.len());
        if oldest.iter().all(|file| bytes >= held(file) / 2) {
            self.make_room(0)?;
            if let Some(current) = &mut self.current {
                current.has_place = true;
            }
        }
        Ok(())
    }

    /// Removes the oldest files until at most `more` above the number to keep are left.
    fn make_room(&self, more: usize) -> io::Result<()> {
        self.above(more)?.iter().try_for_each(|file| remove(&file.path))
    }

    /// The oldest files that are too many if `more` above the number to keep may stay. Never the
    /// current file.
    fn above(&self, more: usize) -> io::Result<Vec<RecordFile>> {
        let mut own = list(&self.folder)?;
        own.retain(|file| file.stem == self.stem);
        let above = own.len().saturating_sub(self.keep.saturating_add(more));
        own.truncate(above);
        Ok(own)
    }
}

/// Creates a file that does not exist yet. A record is confidential: only its owner may read it.
fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Writes the first chunk of a file that was just created there. A file that does not take all of
/// it is removed: without a beginning it could not be read.
fn write_opening(file: &mut File, path: &Path, opening: &Chunk) -> io::Result<()> {
    file.write_all(opening.bytes()).inspect_err(|_| {
        // That may fail as well, and the error that is returned is the reason.
        let _ = fs::remove_file(path);
    })
}

/// Removes a file, which may be gone already.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Why a file of a ring was not begun, or not continued.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RingError {
    /// The system failed to write, or to remove an old file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file could not be replayed: the state of the node at its beginning cannot be restored.
    #[error("the next file would not be readable: {0}")]
    Unreadable(#[from] PlaybackReason),
}

/// Returns a node's id as in the names of its files, see [`RecordFile::stem`].
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
    use telemetry_gossip_core::{Config, Identity, Instant};

    use super::*;
    use crate::format::Boot;
    use crate::record::{Limits, Recorder};

    /// The first chunk of file `serial` of a node's record.
    fn opening(serial: u32) -> Chunk {
        let identity = Identity::new("a".parse().unwrap(), 1_u32);
        let boot = Boot::new(Config::default(), identity, [1; 32], Instant::ORIGIN);
        let mut recorder = Recorder::new(boot.clone(), Limits::default(), 0).unwrap();
        let mut node = boot.node().unwrap();
        while node.poll_event().is_some() {}
        for _ in 0..serial {
            recorder.poll_chunk();
            recorder.give_up();
            recorder.resume(&node).unwrap();
        }
        recorder.poll_chunk().unwrap()
    }

    fn begin(ring: &mut Ring, serial: u32) {
        ring.begin::<u32>(&opening(serial)).unwrap();
    }

    /// The opening of a file whose state is damaged.
    fn unreadable(serial: u32) -> Chunk {
        let start = Start::<u32>::State { origin: Origin::Cut, state: vec![7; 40] };
        opening(serial).with_start(start)
    }

    #[test]
    fn a_file_that_could_not_be_replayed_is_not_begun_and_removes_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::new(folder.path(), &"a".parse().unwrap(), 9, 2).unwrap();
        begin(&mut ring, 0);
        begin(&mut ring, 1);
        let kept = names(folder.path());
        for serial in 2..6 {
            let refused = ring.begin::<u32>(&unreadable(serial)).unwrap_err();
            assert!(matches!(refused, RingError::Unreadable(_)), "{refused}");
            assert_eq!(names(folder.path()), kept);
        }
        begin(&mut ring, 6);
        assert_eq!(names(folder.path()).len(), 2, "the ring goes on once a state is readable");
    }

    #[test]
    fn a_file_that_cannot_be_created_removes_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::new(folder.path(), &"a".parse().unwrap(), 9, 1).unwrap();
        begin(&mut ring, 0);
        let kept = names(folder.path());
        let refused = ring.begin::<u32>(&opening(0)).unwrap_err();
        assert!(matches!(refused, RingError::Io(_)), "the file exists: {refused}");
        assert_eq!(names(folder.path()), kept);
    }

    /// A file that takes nothing, as on a full disk.
    #[cfg(target_os = "linux")]
    fn full() -> File {
        File::options().write(true).open("/dev/full").unwrap()
    }

    #[cfg(target_os = "linux")]
    fn fill_disk(ring: &mut Ring) {
        ring.current.as_mut().unwrap().file = Some(full());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_cannot_be_begun_on_a_full_disk_is_not_left_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.1.tgrec");
        File::create(&path).unwrap();
        let error = write_opening(&mut full(), &path, &opening(0)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(28), "no room");
        assert!(!path.exists(), "an empty file is left, which no replay can read");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_on_which_files_can_be_begun_does_not_cost_the_files_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::new(folder.path(), &"a".parse().unwrap(), 9, 3).unwrap();
        for serial in 0..3 {
            begin(&mut ring, serial);
            for _ in 0..20 {
                assert!(ring.append(&opening(0)).unwrap());
            }
        }
        let kept = names(folder.path());
        for serial in 3..9 {
            begin(&mut ring, serial);
            fill_disk(&mut ring);
            let error = ring.append(&opening(0)).unwrap_err();
            assert!(matches!(&error, RingError::Io(full) if full.raw_os_error() == Some(28)));
            assert!(!ring.append(&opening(0)).unwrap(), "nothing follows in this file");
            let now = names(folder.path());
            assert_eq!((&now[..3], now.len()), (&kept[..], 4), "the one that was begun, at most");
        }
        // There is room again: it takes the place of the oldest once it holds half as much.
        begin(&mut ring, 9);
        assert_eq!(names(folder.path())[..3], kept);
        for _ in 0..10 {
            assert!(ring.append(&opening(0)).unwrap());
        }
        let now = names(folder.path());
        assert_eq!((&now[..2], now.len()), (&kept[1..], 3));
    }

    #[test]
    fn a_file_that_is_complete_takes_its_place_however_small_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::new(folder.path(), &"a".parse().unwrap(), 9, 1).unwrap();
        begin(&mut ring, 0);
        for _ in 0..20 {
            ring.append(&opening(0)).unwrap();
        }
        // As after a start with a lower limit.
        for serial in 1..4 {
            let Start::State { state, .. } = start_of(&opening(serial)) else { panic!("a state") };
            let start = Start::<u32>::State { origin: Origin::Rotated, state };
            ring.begin::<u32>(&opening(serial).with_start(start)).unwrap();
            assert!(names(folder.path()).len() <= 2, "{:?}", names(folder.path()));
        }
        assert_eq!(names(folder.path()), ["a.000000000000000009.000003.tgrec"]);
    }

    fn start_of(opening: &Chunk) -> Start<u32> {
        Reader::<_, u32>::new(opening.bytes()).unwrap().header().start.clone()
    }

    #[test]
    fn a_folder_that_was_removed_is_made_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("records/of/a");
        let mut ring = Ring::new(&folder, &"a".parse().unwrap(), 9, 2).unwrap();
        begin(&mut ring, 0);
        fs::remove_dir_all(parent.path().join("records")).unwrap();
        let error =
            ring.append(&opening(0)).expect_err("nothing is written to a file that is gone");
        assert!(matches!(&error, RingError::Io(error) if error.kind() == io::ErrorKind::NotFound));
        begin(&mut ring, 1);
        assert!(ring.append(&opening(0)).unwrap());
        assert_eq!(names(&folder).len(), 1);
    }

    fn names(folder: &Path) -> Vec<String> {
        let files = list(folder).unwrap().into_iter();
        files.map(|file| file.path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn only_the_oldest_files_of_the_same_node_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let id: NodeId = "edge/17.a".parse().unwrap();
        let mut other = Ring::new(folder.path(), &"other".parse().unwrap(), 9, 3).unwrap();
        begin(&mut other, 0);
        let mut ring = Ring::new(folder.path(), &id, 7, 3).unwrap();
        for serial in 0..4 {
            begin(&mut ring, serial);
        }
        // A later instance whose clock has gone back.
        let mut later = Ring::new(folder.path(), &id, 5, 3).unwrap();
        begin(&mut later, 0);
        for _ in 0..20 {
            assert!(later.append(&opening(1)).unwrap());
        }
        let expected = [
            "edge%2f17%2ea.000000000000000007.000002.tgrec",
            "edge%2f17%2ea.000000000000000007.000003.tgrec",
            "edge%2f17%2ea.000000000000000008.000000.tgrec",
            "other.000000000000000009.000000.tgrec",
        ];
        assert_eq!(names(folder.path()), expected, "three files of the node are kept");
        assert!(folder.path().join("notes.txt").exists());
    }

    #[test]
    fn every_id_has_a_file_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let long = "ü".repeat(60);
        for id in ["a", "A_", "..", "a.b", "a%2eb", &format!("{long}1"), &format!("{long}2")] {
            begin(&mut Ring::new(folder.path(), &id.parse().unwrap(), 1, 1).unwrap(), 0);
        }
        assert_eq!(names(folder.path()).len(), 7);
    }
}
