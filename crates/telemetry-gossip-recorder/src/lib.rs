//! The flight recorder: records the inputs of a node in files that the core replays bit for bit.
//!
//! A node is a pure function of its state and its inputs. A record is therefore a state and the
//! inputs that came after it, and with the same code it shows the node at any moment. The outputs
//! are not recorded, only a hash of them per block: a replay that arrives at the same hash produced
//! the same outputs.
//!
//! - [`Recorder`] takes inputs and outputs and returns [`Chunk`]s to write. It does no IO and reads
//!   no clock.
//! - [`Ring`] keeps the files of a node in a folder and removes the oldest, but never the last one
//!   that can be replayed.
//! - [`Reader`] reads one file: its [`FileHeader`], then [`Block`]s up to the last complete one.
//! - [`Player`] runs them through the core and reports where the replay differs from the record.
//!   [`Playback`] does so for several files.
//!
//! ```
//! use telemetry_gossip_core::{Config, Identity, Input, Instant};
//! use telemetry_gossip_recorder::{Boot, Limits, Player, Reader, Recorder};
//!
//! // A node and its inputs, recorded.
//! let start = Instant::from_millis(5);
//! let identity = Identity::new("edge-17".parse()?, 17_u32);
//! let boot = Boot::new(Config::default(), identity, [7; 32], start);
//! let mut node = boot.node()?;
//! let (mut recorder, mut file) = (Recorder::new(boot, Limits::default(), 0)?, Vec::new());
//! for millis in 0..2_000 {
//!     let (now, input) = (Instant::from_millis(5 + millis), Input::Tick);
//!     recorder.input(now, &input)?;
//!     let result = node.handle(now, input);
//!     let mut buf = [0; 1_232];
//!     while let Some(sent) = node.poll_transmit(&mut buf) {
//!         recorder.transmit(&sent.to, &buf[..sent.len]);
//!     }
//!     while let Some(event) = node.poll_event() {
//!         recorder.event(&event);
//!     }
//!     recorder.handled(&node, result.is_ok())?;
//! }
//! recorder.end();
//! while let Some(chunk) = recorder.poll_chunk() {
//!     file.extend(chunk.bytes());
//! }
//!
//! // Later, on another machine.
//! let mut reader = Reader::<_, u32>::new(file.as_slice())?;
//! let mut player = Player::start(reader.header())?;
//! while let Some(block) = reader.next_block()? {
//!     for entry in &block.entries {
//!         player.play(&entry, |_| {});
//!     }
//!     player.compare(&block.digest)?;
//! }
//! assert_eq!((player.inputs(), player.node().now()), (2_000, Instant::from_millis(2_004)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is in a record
//!
//! A record contains the complete state of the node: ids, addresses, telemetry keys and values, and
//! the seed of its random numbers, from which the numbers of its pings can be computed. Keep it as
//! confidential as the telemetry.
//!
//! # The format
//!
//! ```text
//! file    = "TGREC" 0 version(2) block*
//! block   = length(4) crc32(4) payload            little-endian; the checksum is of the payload
//! payload = 0 header | 1 digest entry* | 2 ending | 3 fixture
//! entry   = micros since the one before, then 0 (tick) | 1 from length bytes (datagram) | 2 input
//!         | 3 from prefix counter age length bytes (a datagram that a seal has opened)
//! ```
//!
//! Fields without a fixed length are in postcard format. A file begins with a header that holds
//! settings, identity and seed at the start of a node, and the complete state otherwise, so that
//! each file of a ring can be replayed alone. The checksums detect damage, not forgery.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod block;
mod digest;
mod format;
mod play;
mod playback;
mod read;
mod record;
mod ring;

pub use block::{Block, Entries, EntriesIter};
#[doc(hidden)]
pub use digest::OutputHasher;
pub use format::{
    Boot, Ending, Entry, FORMAT_VERSION, FileHeader, KnownMember, MAX_BLOCK, Origin, OutputDigest,
    Start, TraceFixture,
};
pub use play::{Continuation, Divergence, Output, PlayError, Player};
pub use playback::{Playback, PlaybackError, PlaybackReason, PlaybackStep};
pub use read::{ReadError, Reader, Tail};
pub use record::{Chunk, Limits, RecordError, Recorder};
pub use ring::{EXTENSION, RecordFile, Ring, RingError, list, stem};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
