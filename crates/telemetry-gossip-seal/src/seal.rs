//! One sender and receiver: seals what goes out, opens what comes in, and counts what it refuses.
//!
//! Checks go from the cheapest to the dearest, and nothing is remembered of a datagram that fails
//! one:
//!
//! ```text
//!   format -> length -> a key of the ring -> not my own -> not seen -> authentic -> remembered
//! ```

use core::fmt::{self, Debug};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::key::{KeyId, NONCE, TAG};
use crate::keyring::Keyring;
use crate::sessions::{MAX_SESSIONS, Seen, Sessions};

/// What a sealed datagram begins with: another byte than any datagram of the core, whose first is
/// its version.
const FORMAT: u8 = 0x81;

/// Bytes before the contents.
const HEADER: usize = 1 + 4 + NONCE;

/// Bytes that sealing adds to a datagram.
pub const OVERHEAD: usize = HEADER + TAG;

/// The longest datagram that can come: the largest payload of UDP.
const LONGEST: usize = telemetry_gossip_core::MAX_MTU as usize;

/// One life of a sender: 16 random bytes, drawn anew at each start. A session that comes again
/// under a key gives away what it seals, so it is never stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session(pub [u8; 16]);

impl Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Why a datagram was not opened. It is counted in [`SealStats`], and changes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is shorter than any.
    #[error("{len} bytes are fewer than the {OVERHEAD} of the shortest sealed datagram")]
    TooShort {
        /// Its length.
        len: usize,
    },
    /// It is longer than any.
    #[error("{len} bytes are more than {LONGEST}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// It is not sealed, or by a later version.
    #[error("it is not sealed in the format of this version")]
    NotSealed,
    /// It names a key that the ring does not have: of another cluster, not added yet, or removed.
    #[error("no key {0} is in the keyring")]
    UnknownKey(KeyId),
    /// It says that it is from here.
    #[error("it is this node's own")]
    Own,
    /// It has come before.
    #[error("it has come before")]
    Replayed,
    /// It is so old that it may have come before.
    #[error("it is older than the window of its session")]
    Stale,
    /// It was changed, made without the key, or is of another cluster that has the same key.
    #[error("it is not authentic")]
    NotAuthentic,
}

/// Why a datagram was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The buffer is too short, or the datagram longer than any may be.
    #[error("a sealed datagram of {len} bytes does not fit {room}")]
    NoRoom {
        /// The length that it would have.
        len: usize,
        /// The buffer's length, or the longest that can be.
        room: usize,
    },
    /// All counters of the session are used up; it takes a new [`Seal`].
    #[error("the session has sealed as many datagrams as it can")]
    Exhausted,
}

/// What a seal has done since it was made. All counters only grow, but `sessions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealStats {
    /// Datagrams sealed.
    pub sealed: u64,
    /// Datagrams opened.
    pub opened: u64,
    /// Refused: [`Refusal::TooShort`].
    pub too_short: u64,
    /// Refused: [`Refusal::TooLong`].
    pub too_long: u64,
    /// Refused: [`Refusal::NotSealed`].
    pub not_sealed: u64,
    /// Refused: [`Refusal::UnknownKey`].
    pub unknown_key: u64,
    /// Refused: [`Refusal::Own`].
    pub own: u64,
    /// Refused: [`Refusal::Replayed`].
    pub replayed: u64,
    /// Refused: [`Refusal::Stale`].
    pub stale: u64,
    /// Refused: [`Refusal::NotAuthentic`].
    pub not_authentic: u64,
    /// Sessions remembered now.
    pub sessions: u64,
    /// Sessions forgotten to make room for others.
    pub sessions_forgotten: u64,
}

impl SealStats {
    /// All datagrams refused.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.too_short
            + self.too_long
            + self.not_sealed
            + self.unknown_key
            + self.own
            + self.replayed
            + self.stale
            + self.not_authentic
    }

    fn count(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::TooShort { .. } => &mut self.too_short,
            Refusal::TooLong { .. } => &mut self.too_long,
            Refusal::NotSealed => &mut self.not_sealed,
            Refusal::UnknownKey(_) => &mut self.unknown_key,
            Refusal::Own => &mut self.own,
            Refusal::Replayed => &mut self.replayed,
            Refusal::Stale => &mut self.stale,
            Refusal::NotAuthentic => &mut self.not_authentic,
        };
        *counter += 1;
    }
}

/// What stands between a node and its socket. One for each socket and start of it; the crate's
/// documentation has an example.
#[derive(Clone, Debug)]
pub struct Seal {
    keyring: Keyring,
    session: Session,
    next: u64,
    sessions: Sessions,
    stats: SealStats,
}

/// Where a datagram says it comes from.
struct Head {
    key: KeyId,
    session: Session,
    counter: u64,
    nonce: [u8; NONCE],
}

impl Seal {
    /// Seals and opens with this ring. `session` is random, and another one each time: a restarted
    /// process that took its old one would use its nonces again.
    #[must_use]
    pub fn new(keyring: Keyring, session: Session) -> Self {
        Self {
            keyring,
            session,
            next: 0,
            sessions: Sessions::new(MAX_SESSIONS),
            stats: SealStats::default(),
        }
    }

    /// Remembers so many sessions at most, 1 to 2^24 (a number outside is taken for the nearest),
    /// instead of [`MAX_SESSIONS`]; fewer than a cluster has members makes repeated datagrams pass.
    /// Forgets all so far.
    #[must_use]
    pub fn with_max_sessions(mut self, max: usize) -> Self {
        self.sessions = Sessions::new(max.clamp(1, 1 << 24));
        self
    }

    /// Seals `plain` into `out`; the sealed datagram's length, which is [`OVERHEAD`] more.
    pub fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let len = plain.len().saturating_add(OVERHEAD);
        let room = out.len().min(LONGEST);
        if len > room {
            return Err(SealError::NoRoom { len, room });
        }
        let counter = self.next;
        let after = counter.checked_add(1).ok_or(SealError::Exhausted)?;
        let key = self.keyring.primary();
        let nonce = nonce(self.session, counter);
        let contents = HEADER + plain.len();
        out[0] = FORMAT;
        out[1..5].copy_from_slice(&key.id().0);
        out[5..HEADER].copy_from_slice(&nonce);
        out[HEADER..contents].copy_from_slice(plain);
        let beside = beside(&self.keyring, key.id());
        let tag = key.encrypt(&nonce, &beside, &mut out[HEADER..contents]);
        out[contents..len].copy_from_slice(&tag.map_err(|_| SealError::NoRoom { len, room })?);
        self.next = after;
        self.stats.sealed += 1;
        Ok(len)
    }

    /// Opens a datagram in place; its contents.
    pub fn open<'d>(&mut self, datagram: &'d mut [u8]) -> Result<&'d [u8], Refusal> {
        match self.try_open(datagram) {
            Ok(end) => {
                self.stats.opened += 1;
                Ok(&datagram[HEADER..end])
            }
            Err(refusal) => {
                self.stats.count(refusal);
                Err(refusal)
            }
        }
    }

    /// Where the contents end.
    fn try_open(&mut self, datagram: &mut [u8]) -> Result<usize, Refusal> {
        let len = datagram.len();
        let Head { key: id, session, counter, nonce } = head(datagram)?;
        let key = self.keyring.get(id).ok_or(Refusal::UnknownKey(id))?;
        if session == self.session {
            return Err(Refusal::Own);
        }
        match self.sessions.look(session, counter) {
            Seen::New => {}
            Seen::Before => return Err(Refusal::Replayed),
            Seen::Stale => return Err(Refusal::Stale),
        }
        let (rest, tag) =
            datagram.split_last_chunk_mut::<TAG>().ok_or(Refusal::TooShort { len })?;
        let beside = beside(&self.keyring, id);
        key.decrypt(&nonce, &beside, &mut rest[HEADER..], tag)
            .map_err(|_| Refusal::NotAuthentic)?;
        if self.sessions.enter(session, counter) {
            self.stats.sessions_forgotten += 1;
        }
        Ok(len - TAG)
    }

    /// The keys.
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The keys, to change them: what is sealed or opened from then on follows the change.
    pub const fn keyring_mut(&mut self) -> &mut Keyring {
        &mut self.keyring
    }

    /// Its own session.
    #[must_use]
    pub const fn session(&self) -> Session {
        self.session
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> SealStats {
        SealStats { sessions: self.sessions.len() as u64, ..self.stats }
    }
}

fn head(datagram: &[u8]) -> Result<Head, Refusal> {
    let len = datagram.len();
    if len > LONGEST {
        return Err(Refusal::TooLong { len });
    }
    if datagram.first().is_some_and(|&format| format != FORMAT) {
        return Err(Refusal::NotSealed);
    }
    let Some((first, _)) = datagram.split_first_chunk::<HEADER>().filter(|_| len >= OVERHEAD)
    else {
        return Err(Refusal::TooShort { len });
    };
    let [_, k0, k1, k2, k3, nonce @ ..] = first;
    let (mut session, mut counter) = ([0; 16], [0; 8]);
    session.copy_from_slice(&nonce[..16]);
    counter.copy_from_slice(&nonce[16..]);
    let key = KeyId([*k0, *k1, *k2, *k3]);
    Ok(Head { key, session: Session(session), counter: u64::from_be_bytes(counter), nonce: *nonce })
}

fn nonce(session: Session, counter: u64) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce[..16].copy_from_slice(&session.0);
    nonce[16..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// What a datagram's tag covers beside its contents and nonce.
fn beside(keyring: &Keyring, id: KeyId) -> [u8; 9] {
    let mut beside = [FORMAT; 9];
    beside[1..5].copy_from_slice(&id.0);
    beside[5..].copy_from_slice(&keyring.label().0.to_be_bytes());
    beside
}
