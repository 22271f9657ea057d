//! Seals datagrams between the state machine and the socket.
//!
//! A [`Seal`] encrypts and authenticates what the core wants to send, so that only holders of the
//! cluster's key can read or make it. It tells a datagram that is fresh from one that may be a
//! recording, and opens a fresh one at most once.
//!
//! ```text
//!   core --datagram-> seal --> format (1) key id (4) nonce (16 + 8) ciphertext tag (16) --> socket
//!   core <-datagram-- open <-- refused and counted unless every check passes            <-- socket
//! ```
//!
//! The cipher is XChaCha20-Poly1305. Its nonce of 24 bytes is a [`NoncePrefix`] of 16, drawn at
//! random each time that a sender starts, and a counter of 8 that increases with each datagram. So
//! no nonce is used twice under a key, although all nodes share the key. Format, key id and the
//! cluster's label are associated data: they are authenticated together with the contents. Sealing
//! adds [`OVERHEAD`] bytes to each datagram.
//!
//! ```
//! use telemetry_gossip_core::Label;
//! use telemetry_gossip_seal::{Key, Keyring, NoncePrefix, OVERHEAD, Refusal, Seal};
//!
//! // Use random bytes from the operating system for the key and for the prefixes.
//! let ring = || Keyring::new(Label::of("production"), Key::new([7; 32]));
//! let mut a = Seal::new(ring(), NoncePrefix::new([1; 16]));
//! let mut b = Seal::new(ring(), NoncePrefix::new([2; 16]));
//!
//! let mut buf = [0; 1_400];
//! let len = a.seal(b"hello", &mut buf)?;
//! assert_eq!(len, b"hello".len() + OVERHEAD);
//! let mut again = buf;
//! assert_eq!(b.open(&mut buf[..len]), Ok(&b"hello"[..]));
//! assert_eq!(b.open(&mut again[..len]), Err(Refusal::Replayed));
//! assert_eq!(b.stats().replayed, 1);
//! # Ok::<(), telemetry_gossip_seal::SealError>(())
//! ```
//!
//! # Freshness
//!
//! A tag says who sealed a datagram, and not when. So a nonce prefix is *proved* to a receiver by a
//! datagram that repeats a number which this receiver has just drawn and sent. The core decides
//! what is such an answer, and what may pass without one; the host carries its decisions:
//!
//! ```text
//!   socket --> open_stamped --contents, stamp, proved_at--> Input::Sealed --> core
//!                 prove <-------------- stamp ------------- poll_proof <------'
//! ```
//!
//! Only a proof makes a replay window. Counters up to that of the proof lie outside, so no
//! recording of the prefix is fresh afterwards. A counter outside of the window, or far above it,
//! moves nothing: the datagram opens without a proof.
//!
//! [`Seal::open`] keeps no proofs: it trusts a prefix at its first word, and then opens each of its
//! datagrams once. It is for tools that ask and listen, and not for nodes.
//!
//! # Changing keys
//!
//! A [`Keyring`] holds up to [`MAX_KEYS`] keys. The primary key seals, and any key of the ring
//! opens. The key id in a datagram names the key, so that opening tries one key only.
//!
//! To replace a key without losing a datagram, *add* the new key on every node, then *use* it on
//! every node, then *remove* the old key on every node. There is no hurry: nodes that are one step
//! apart understand each other. Nonce prefixes, counters and replay windows survive the change.
//!
//! # Threats
//!
//! The attacker can read, drop, delay, change, repeat and make datagrams, from any source address
//! and at any rate, but has no key. Holders of a key are not told apart: one key is enough to seal
//! as any member. What a node believes of a holder that lies is decided in the core; `SECURITY.md`
//! of the repository says what is promised.
//!
//! | threat | defence |
//! |---|---|
//! | reading | only length, timing, key id and nonce are visible |
//! | forging, changing, truncating | refused before anything is decoded: the tag covers all other bytes |
//! | datagrams of another cluster | refused: the label is authenticated, and the key should differ, too |
//! | replay to the same node | refused: each proved nonce prefix has a window of [`WINDOW`] counters |
//! | replay to another node, after a restart, or of an earlier life | opened without a proof, of which the core takes nothing |
//! | a key holder's datagram with a false counter | a window leaps by [`MAX_LEAP`] at most, and the next answer of the true sender sets it right |
//! | reflecting a node's own datagrams | refused: a node knows its own prefix |
//! | exhausting memory | only a proof creates a replay window, and at most [`MAX_WINDOWS`] are kept |
//! | exhausting the processor | most floods fail at a comparison; the worst case is one authentication per datagram |
//! | plaintext to a sealed node | refused: the first byte differs |
//!
//! These threats are not met, for the reasons given:
//!
//! - *The destination address* is not authenticated: a sender may know a seed by a name, or a node
//!   behind NAT by an address that the node itself does not know. Once A is proved to C, C takes a
//!   datagram of A to B that was sealed after the proof, once. A ping names its target, an answer
//!   repeats a random number that only the asker knows, and a claim or a telemetry entry is as true
//!   at C as it was at B. The core lets a proof lapse long before it forgets what would beat an old
//!   claim.
//! - *The source address* is not authenticated, for the same reason. An attacker that captures a
//!   datagram and sends it from elsewhere receives one answer there, which it cannot read. The core
//!   trusts an address only after it has answered, and limits what it sends to unproven addresses.
//! - *Reflection*: a recorded ping is answered by a bare ack, and a recorded claim by a ping, no
//!   longer than what was sent. Both go to the source address, which may be forged.
//! - *Copies of a running process*: two copies started from one snapshot of a machine continue with
//!   the same prefix and counter, and their nonces repeat, which reveals the plaintext, and lets an
//!   attacker forge under these nonces. The host [renews](Seal::renew) the prefix as soon as the
//!   clocks show it; what is sealed before that is exposed.
//! - *Forward secrecy*: an attacker that learns a key can read everything recorded under it. Change
//!   keys regularly.
//! - *Denial of service*: sealing cannot prevent an attacker from dropping datagrams or flooding
//!   the link.
//!
//! # What is deliberately absent
//!
//! IO, clocks, threads and randomness: the host passes in the prefix. Sealing and opening do not
//! allocate, except for the replay window of a new sender, which takes at most [`WINDOW_BYTES`].
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

extern crate alloc;

mod key;
mod keyring;
mod message;
mod nonce;
mod seal;
mod windows;

pub use key::{Key, KeyError, KeyId, KeyIdError, KeyText, MAX_KEY_FILE};
pub use keyring::{Keyring, KeyringError, MAX_KEYS};
pub use message::{MESSAGE_OVERHEAD, MessageError};
pub use nonce::NoncePrefix;
pub use seal::{OVERHEAD, Opened, Refusal, Seal, SealError, SealStats};
/// The nonce of a datagram, as the core names it.
pub use telemetry_gossip_core::Stamp;
pub use windows::{MAX_LEAP, MAX_WINDOWS, WINDOW, WINDOW_BYTES};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
