//! The flight recorder of a running node. A thread of its own writes the files, from a bounded
//! queue.
//!
//! Before a file is begun, its first state is restored once, since the oldest file goes for it.
//!
//! The node never waits for the disk. If the queue is full, or a file cannot be written, recording
//! stops. It starts again with the current state of the node once the queue is empty.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use telemetry_gossip_core::{Event, Input, Instant, Node};
use telemetry_gossip_recorder::{Boot, Chunk, Limits, RecordError, Recorder, Ring, RingError};
use tokio::sync::{mpsc, oneshot};

use crate::clocks::Clocks;
use crate::host::HostTold;
use crate::peer_addr::PeerAddr;

/// The most chunks that wait to be written: 2 MiB, or the state of a node and some more.
const QUEUE: usize = 64;

/// The shortest time after which stopped recording starts again.
const PAUSE: Duration = Duration::from_secs(5);

/// How long a node that is dropped with its runtime waits for the disk.
const MAX_WAIT_AT_END: Duration = Duration::from_secs(1);

/// Where a node is recorded, and how much is kept.
///
/// A record contains all that the node knows, telemetry included, and the seed of its random
/// numbers. On Unix only the owner of the files can read them.
///
/// ```
/// use telemetry_gossip_tokio::{Options, Recording};
///
/// let record = Recording::new("/var/lib/edge/record").files(4);
/// let options = Options::new("edge-17".parse()?).record(record);
/// # Ok::<(), telemetry_gossip_core::IdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recording {
    /// The folder, created if it does not exist. Nodes with different ids may share one.
    pub folder: PathBuf,
    /// The size of a file, in bytes, at which the next one is started with the state of the node;
    /// twice the size of that state if that is more. Default 8 MiB.
    pub file_bytes: u64,
    /// The number of files that are kept, those of earlier instances of the node included; at least
    /// one, and 8 by default. Beside them there is the one that is written, until it holds half as
    /// many bytes as the oldest.
    pub files: usize,
}

impl Recording {
    /// The defaults: at most 64 MiB in this folder, and 4 MiB more while a file begins.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), file_bytes: Limits::default().file_bytes, files: 8 }
    }

    /// Sets the size of a file.
    #[must_use]
    pub const fn file_bytes(mut self, file_bytes: u64) -> Self {
        self.file_bytes = file_bytes;
        self
    }

    /// Sets the number of files that are kept.
    #[must_use]
    pub const fn files(mut self, files: usize) -> Self {
        self.files = files;
        self
    }
}

/// The counters of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordStats {
    /// Files started.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Times that recording stopped because the disk was slower than the node, or failed. The next
    /// file counts what was missed.
    pub gaps: u64,
    /// Times that the system failed to write.
    pub failures: u64,
    /// Times that no file was begun because the state of the node could not be restored from it,
    /// which is a defect of this library. The files before it are kept, and recording tries again
    /// after some seconds.
    pub unreadable: u64,
    /// Chunks that wait to be written now. At most 64: if more would wait, recording stops.
    pub waiting: u64,
}

#[derive(Debug, Default)]
struct Counts {
    files: AtomicU64,
    bytes: AtomicU64,
    gaps: AtomicU64,
    failures: AtomicU64,
    unreadable: AtomicU64,
    waiting: AtomicU64,
    /// The current file is incomplete: it cannot be written to any more.
    broken: AtomicBool,
}

/// Reads the counters while the node runs and afterwards.
#[derive(Clone, Debug)]
pub(crate) struct RecordView(Arc<Counts>);

impl RecordView {
    pub(crate) fn stats(&self) -> RecordStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { files, bytes, gaps, failures, unreadable, waiting, broken: _ } = &*self.0;
        RecordStats {
            files: read(files),
            bytes: read(bytes),
            gaps: read(gaps),
            failures: read(failures),
            unreadable: read(unreadable),
            waiting: read(waiting),
        }
    }
}

/// The recorder of a node, and the queue to the thread that writes its files.
pub(crate) struct Tape {
    recorder: Recorder,
    chunks: Option<mpsc::Sender<Chunk>>,
    counts: Arc<Counts>,
    /// When recording stopped.
    shed_at: Instant,
    written: Option<oneshot::Receiver<()>>,
    /// The same, for a task that is dropped and cannot await.
    written_too: std::sync::mpsc::Receiver<()>,
}

impl Tape {
    /// Starts the record of a node that has not handled anything yet. The first file is created at
    /// once, so that a folder that cannot be written to is reported at the start.
    pub(crate) fn start(
        recording: &Recording,
        boot: Boot<PeerAddr>,
        told: HostTold,
    ) -> io::Result<Self> {
        let unix_micros = u64::try_from(Clocks::read().wall.as_micros()).unwrap_or(u64::MAX);
        let mut ring =
            Ring::new(&recording.folder, &boot.identity.id, unix_micros, recording.files)?;
        let limits = Limits::default().file_bytes(recording.file_bytes);
        let mut recorder = Recorder::new(boot, limits, unix_micros).map_err(io::Error::other)?;
        let counts = Arc::new(Counts::default());
        if let Some(opening) = recorder.poll_chunk() {
            begin(&mut ring, &opening, &counts).map_err(|error| match error {
                RingError::Io(error) => error,
                other => io::Error::other(other),
            })?;
        }
        let (chunks, queue) = mpsc::channel(QUEUE);
        let (done, written) = oneshot::channel();
        let (done_too, written_too) = std::sync::mpsc::channel::<()>();
        let folder = recording.folder.clone();
        let writer = Writer { ring, folder, told, wrote: true, counts: counts.clone() };
        std::thread::Builder::new().name("tgossip-record".to_owned()).spawn(move || {
            writer.run(queue);
            // The receiver may be gone, which is no error.
            let _ = done.send(());
            drop(done_too);
        })?;
        let (shed_at, chunks, written) = (Instant::ORIGIN, Some(chunks), Some(written));
        Ok(Self { recorder, chunks, counts, shed_at, written, written_too })
    }

    pub(crate) fn view(&self) -> RecordView {
        RecordView(self.counts.clone())
    }

    pub(crate) fn input(&mut self, now: Instant, input: &Input<'_, PeerAddr>) {
        let result = self.recorder.input(now, input);
        self.count_failure(now, result);
    }

    pub(crate) fn transmit(&mut self, to: &PeerAddr, bytes: &[u8]) {
        self.recorder.transmit(to, bytes);
    }

    pub(crate) fn event(&mut self, event: &Event<PeerAddr>) {
        self.recorder.event(event);
    }

    /// Called once all outputs of an input are drained.
    pub(crate) fn handled(&mut self, node: &Node<PeerAddr>, accepted: bool) {
        let now = node.now();
        let mut result = self.recorder.handled(node, accepted);
        if self.counts.broken.load(Ordering::Relaxed) && !self.recorder.is_shed() {
            self.counts.broken.store(false, Ordering::Relaxed);
            self.recorder.give_up();
            self.add_gap(now);
        }
        let idle =
            self.chunks.as_ref().is_some_and(|chunks| chunks.capacity() == chunks.max_capacity());
        if self.recorder.is_shed() && idle && now.since(self.shed_at) >= PAUSE {
            result = self.recorder.resume(node);
            self.shed_at = now;
        }
        self.count_failure(now, result);
        if !self.carry() {
            self.add_gap(now);
        }
    }

    /// Queues the complete chunks; false if the queue is full.
    fn carry(&mut self) -> bool {
        while let Some(chunk) = self.recorder.poll_chunk() {
            // Counted before the other thread can see the chunk.
            self.counts.waiting.fetch_add(1, Ordering::Relaxed);
            if self.chunks.as_ref().is_none_or(|chunks| chunks.try_send(chunk).is_err()) {
                self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
                self.recorder.shed();
                return false;
            }
        }
        true
    }

    fn count_failure(&mut self, now: Instant, result: Result<(), RecordError>) {
        if let Err(error) = result {
            tracing::warn!(%error, "the record has a gap");
            self.add_gap(now);
        }
    }

    fn add_gap(&mut self, now: Instant) {
        self.shed_at = now;
        self.counts.gaps.fetch_add(1, Ordering::Relaxed);
    }

    /// Called once the node has ended: waits until everything is written.
    pub(crate) async fn close(mut self) {
        self.recorder.end();
        if let Some(chunks) = self.chunks.take() {
            while let Some(chunk) = self.recorder.poll_chunk() {
                self.counts.waiting.fetch_add(1, Ordering::Relaxed);
                if chunks.send(chunk).await.is_err() {
                    break;
                }
            }
        }
        if let Some(written) = self.written.take() {
            // An error means that the thread has panicked: nothing more will be written.
            let _ = written.await;
        }
    }
}

impl Drop for Tape {
    /// The task was dropped or has panicked: its last input is the last one of the record. The
    /// process may be about to end, and the record would lack its end if nothing waited for it.
    fn drop(&mut self) {
        if self.chunks.is_none() {
            return; // It was closed.
        }
        self.recorder.end();
        self.carry();
        self.chunks = None;
        // Nothing is ever sent: the wait ends with the thread.
        let _ = self.written_too.recv_timeout(MAX_WAIT_AT_END);
    }
}

/// Begins a file of the ring, and counts it.
fn begin(ring: &mut Ring, opening: &Chunk, counts: &Counts) -> Result<(), RingError> {
    ring.begin::<PeerAddr>(opening)?;
    counts.files.fetch_add(1, Ordering::Relaxed);
    counts.bytes.fetch_add(opening.bytes().len() as u64, Ordering::Relaxed);
    Ok(())
}

/// Writes the files, on a thread of its own.
struct Writer {
    ring: Ring,
    folder: PathBuf,
    told: HostTold,
    /// Whether the last chunk was written.
    wrote: bool,
    counts: Arc<Counts>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Chunk>) {
        while let Some(chunk) = queue.blocking_recv() {
            match self.write(&chunk) {
                Ok(wrote) => {
                    // Not after one: on a full disk, a file can often be begun.
                    if wrote && self.wrote {
                        self.told.record_works();
                    }
                    self.wrote = wrote;
                }
                Err(error) => {
                    self.wrote = false;
                    self.failed(&error);
                    self.counts.broken.store(true, Ordering::Relaxed);
                }
            }
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn failed(&mut self, error: &RingError) {
        let folder = Path::display(&self.folder);
        if let RingError::Unreadable(_) = error {
            self.counts.unreadable.fetch_add(1, Ordering::Relaxed);
            self.told.record_fails(|| {
                format!(
                    "the node is not recorded at present, which is a defect to report with the \
                     record in {folder}: {error}. The files so far are kept"
                )
            });
            return;
        }
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        self.told.record_fails(|| {
            format!(
                "the node is not recorded at present, as the record in {folder} cannot be written: \
                 {error}. The files so far are kept, and it is tried again every {} s: see that \
                 there is room, and that the node may write there",
                PAUSE.as_secs()
            )
        });
    }

    /// Returns false if the chunk is lost with the file that it belongs to, which is incomplete:
    /// the gap is counted already.
    fn write(&mut self, chunk: &Chunk) -> Result<bool, RingError> {
        if chunk.new_file().is_some() {
            begin(&mut self.ring, chunk, &self.counts)?;
            return Ok(true);
        }
        let wrote = self.ring.append(chunk)?;
        if wrote {
            self.counts.bytes.fetch_add(chunk.bytes().len() as u64, Ordering::Relaxed);
        }
        Ok(wrote)
    }
}
