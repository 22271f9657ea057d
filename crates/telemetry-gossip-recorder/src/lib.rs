//! The flight recorder: what happened to a node, in files that the core replays bit for bit.
//!
//! A node is a pure function of its state and its inputs. So a record is a state and the inputs
//! that came after it; whoever has it can look at any moment of the node's life afterwards, with
//! the same code. What the node said and told is not in it, only a hash of that, block by block: a
//! replay that comes to the same hash said and told the same.
//!
//! - [`Recorder`] takes down inputs and outputs, and hands out [`Piece`]s to be written. No IO, no
//!   clock.
//! - [`Ring`] keeps the files of a node in a folder, and removes the oldest.
//! - [`Reader`] reads one file: its [`Opening`], then [`Block`]s, up to the last that is whole.
//! - [`Player`] runs them through the core, and says where it comes to something else than was
//!   recorded; [`Playback`] does so for several files.
//!
//! ```
//! use telemetry_gossip_core::{Config, Identity, Input, Instant};
//! use telemetry_gossip_recorder::{Boot, Player, Reader, Recorder};
//!
//! // A node, and whatever happens to it.
//! let start = Instant::from_millis(5);
//! let identity = Identity::new("edge-17".parse()?, 17_u32);
//! let boot = Boot { config: Config::default(), identity, seed: [7; 32], at: start };
//! let mut node = boot.node()?;
//! let (mut recorder, mut file) = (Recorder::new(boot, Default::default(), 0)?, Vec::new());
//! for millis in 0..2_000 {
//!     let (now, input) = (Instant::from_millis(5 + millis), Input::Tick);
//!     recorder.input(now, &input)?;
//!     let result = node.handle(now, input);
//!     let mut buf = [0; 1_400];
//!     while let Some(sent) = node.poll_transmit(&mut buf) {
//!         recorder.transmit(&sent.to, &buf[..sent.len]);
//!     }
//!     while let Some(event) = node.poll_event() {
//!         recorder.event(&event);
//!     }
//!     recorder.handled(&node, result.is_ok())?;
//! }
//! recorder.end();
//! while let Some(piece) = recorder.poll_piece() {
//!     file.extend(piece.bytes());
//! }
//!
//! // Later, elsewhere.
//! let mut reader = Reader::<_, u32>::new(file.as_slice())?;
//! let mut player = Player::start(reader.opening())?;
//! while let Some(block) = reader.next_block()? {
//!     for entry in &block.entries {
//!         player.play(entry, |_| {});
//!     }
//!     player.compare(&block.seal)?;
//! }
//! assert_eq!((player.inputs(), player.node().now()), (2_000, Instant::from_millis(2_004)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is in a record
//!
//! All of the node's state: ids, addresses, telemetry keys and values, and the seed of its random
//! numbers, with which the numbers of its pings can be guessed. Treat it as confidential as the
//! telemetry is.
//!
//! # The format
//!
//! ```text
//! file    = "TGREC" 0 version(2) block*
//! block   = length(4) crc32(4) payload                     little-endian; the checksum is that of the payload
//! payload = 0 opening | 1 seal entry* | 2 ending | 3 brief
//! entry   = micros since the one before, then 0 (tick) | 1 from length bytes (datagram) | 2 input
//! ```
//!
//! What has no fixed length is in postcard's form. A file begins with an opening: settings,
//! identity and seed at the start of a node, its whole state otherwise, so that every file of a
//! ring can be replayed alone. The checksums find what came to harm, not what was made up.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod digest;
mod format;
mod play;
mod playback;
mod read;
mod record;
mod ring;

pub use digest::Digest;
pub use format::{
    Block, Boot, Brief, Ending, Entry, FORMAT_VERSION, Known, MAX_BLOCK, Opening, Origin, Seal,
    Start,
};
pub use play::{Divergence, Output, PlayError, Player};
pub use playback::{Playback, PlaybackError, PlaybackReason, Step};
pub use read::{ReadError, Reader, Tail};
pub use record::{Limits, Piece, RecordError, Recorder};
pub use ring::{EXTENSION, RecordFile, Ring, list, stem};
