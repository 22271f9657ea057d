//! Sealing: between the state machine and the socket. A [`Seal`] turns what the core wants to send
//! into a datagram that only holders of the cluster's key can read or make, and turns such a
//! datagram back, once.
//!
//! ```text
//!   core --datagram--> seal ---> format (1) key id (4) session (16) counter (8) ciphertext tag (16) ---> socket
//!   core <--datagram-- open <--- refused and counted unless every check holds                      <--- socket
//! ```
//!
//! The cipher is XChaCha20-Poly1305. Its nonce of 24 bytes is the sender's session, random at each
//! start, and a counter that each datagram raises; so no nonce comes twice under a key, though all
//! nodes share the key. Format, key id and the cluster's label are authenticated beside the
//! contents. [`OVERHEAD`] bytes are added to each datagram.
//!
//! ```
//! use telemetry_gossip_core::Label;
//! use telemetry_gossip_seal::{Key, Keyring, OVERHEAD, Refusal, Seal, Session};
//!
//! // Key and sessions are 32 and 16 random bytes from the system.
//! let ring = || Keyring::new(Label::of("production"), Key::new([7; 32]));
//! let (mut a, mut b) = (Seal::new(ring(), Session([1; 16])), Seal::new(ring(), Session([2; 16])));
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
//! # Changing keys
//!
//! A [`Keyring`] has up to [`MAX_KEYS`] keys. Any of them opens, the primary seals; the key id in
//! the datagram says which one to try, so opening tries one. To replace a key without losing a
//! datagram: *add* the new one at every node, then *use* it at every node, then *remove* the old
//! one at every node. Each step may take as long as it takes: nodes that are a step apart
//! understand each other. Sessions and counters go on across the change.
//!
//! # Which threats are met
//!
//! The attacker reads, drops, delays, changes, repeats and makes datagrams, from any source
//! address, at any rate; the attacker has no key. Nodes and those who hold a key trust each other:
//! whoever has one can be any member.
//!
//! | threat | what happens |
//! |---|---|
//! | reading | length, timing, key id, session and counter show; nothing else does |
//! | forging, changing, cutting short | refused before anything is decoded: the tag covers all bytes but itself |
//! | datagrams of another cluster | refused: its label is authenticated, and its key is another one, or should be |
//! | repeating to the same node | refused: each session has a window of [`WINDOW`] counters; what is older is refused unseen |
//! | sending a node its own datagrams | refused: it knows its session |
//! | filling memory | only an authentic datagram makes a session, of which at most [`MAX_SESSIONS`] are remembered |
//! | wasting time | most floods fail at a comparison; at worst each costs one authentication of its length |
//! | plaintext to a sealed node | refused: the first byte tells them apart |
//!
//! Not met, and why that is bearable:
//!
//! - *Repeating A's datagram to B at another node C*. The window is per receiver: C accepts it
//!   once. Neither is the address bound that it was sent to: a sender knows a seed by a name, or a
//!   node behind NAT by an address that the node itself does not know. The core is made for it: a
//!   ping names its target, an answer repeats a random number that only its asker knows, and a
//!   claim or a telemetry entry is as true at C as it was at B.
//! - *The source address* is not bound, for the same reason. Who takes a datagram out of the
//!   network and sends it from elsewhere draws one answer there, which it cannot read; the core
//!   believes an address when it has answered, and answers strangers sparingly.
//! - *A receiver that does not remember the session* accepts a datagram recorded earlier once more:
//!   one that has restarted since, or one that has heard so many other sessions that it forgot this
//!   one. What the datagram claims is older than what the members know, and the merge rule lets it
//!   lose. Recordings of many past lives can push out live sessions in the same way; newcomers that
//!   have spoken once are forgotten first. Removing the key ends all of that: what was recorded
//!   under it is worthless.
//! - *Copies of a running process*: a snapshot of a machine that is started twice goes on twice
//!   under one session, and its nonces repeat, which gives away what they seal. Start the process
//!   anew in each copy.
//! - *Secrecy of the past* (forward secrecy): whoever learns a key reads what was recorded under
//!   it. Change keys.
//! - *Dropping datagrams*, or drowning the link: nothing that seals can help.
//!
//! # What is deliberately absent
//!
//! IO, clocks, threads, randomness (the session is passed in), and allocation for a datagram: only
//! a session not known so far can allocate, up to [`SESSION_BYTES`] each.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

extern crate alloc;

mod key;
mod keyring;
mod letter;
mod seal;
mod sessions;

pub use key::{Key, KeyError, KeyId, KeyIdError, KeyText};
pub use keyring::{Keyring, KeyringError, MAX_KEYS};
pub use letter::{LETTER_OVERHEAD, LetterError};
pub use seal::{OVERHEAD, Refusal, Seal, SealError, SealStats, Session};
pub use sessions::{MAX_SESSIONS, SESSION_BYTES, WINDOW};
