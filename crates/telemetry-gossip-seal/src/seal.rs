//! One end of sealed traffic: seals outgoing datagrams, opens incoming ones, counts refusals.
//!
//! The cheapest checks come first, and a datagram that fails a check leaves no trace but a count:
//!
//! ```text
//!   format -> length -> a key of the ring -> not our own -> not seen -> authentic -> accepted
//!                                                                             `-> proved, or not
//! ```

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::Stamp;
use thiserror::Error;

use crate::key::{KeyId, TAG};
use crate::keyring::Keyring;
use crate::nonce::{NONCE, NoncePrefix};
use crate::windows::{Freshness, MAX_WINDOWS, ReplayWindows};

/// The first byte of a sealed datagram. It differs from the version, which is the first byte of
/// each datagram of the core.
const FORMAT: u8 = telemetry_gossip_core::SEALED_FORMAT;

/// Bytes before the contents.
const HEADER: usize = 1 + 4 + NONCE;

/// Bytes that sealing adds to a datagram.
pub const OVERHEAD: usize = HEADER + TAG;

/// The longest datagram that can arrive: the largest payload of UDP.
const LONGEST: usize = telemetry_gossip_core::MAX_MTU as usize;

/// The reason why a datagram was not opened. It is counted in [`SealStats`] and has no other
/// effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is shorter than any sealed datagram.
    #[error("the datagram has {len} bytes, a sealed one has at least {OVERHEAD}")]
    #[non_exhaustive]
    TooShort {
        /// Its length in bytes.
        len: usize,
    },
    /// It is longer than any datagram.
    #[error("the datagram has {len} bytes, the longest possible one has {LONGEST}")]
    #[non_exhaustive]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It is not sealed, or in the format of a later version.
    #[error("the datagram is not sealed in the format of this version")]
    NotSealed,
    /// It names a key that the ring does not have: of another cluster, not yet added, or removed.
    #[error("the datagram is sealed under the key {0}, which is not in the keyring")]
    UnknownKey(KeyId),
    /// It has this node's own nonce prefix.
    #[error("the datagram is this node's own")]
    Own,
    /// It was accepted before.
    #[error("the datagram was accepted before")]
    Replayed,
    /// It is so old that it may have been accepted before. Only [`Seal::open`] refuses it.
    #[error("the datagram is older than the replay window of its sender")]
    Stale,
    /// It was changed, made without the key, or sealed for another cluster that has the same key.
    #[error("the datagram is not authentic")]
    NotAuthentic,
}

/// The error of a datagram that was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// The buffer is too short, or the datagram longer than the largest payload of UDP.
    #[error("the sealed datagram would have {len} bytes, there is room for {room}")]
    #[non_exhaustive]
    NoRoom {
        /// The length that the sealed datagram would have.
        len: usize,
        /// The length of the buffer, or the largest possible length if that is less.
        room: usize,
    },
    /// All counters of the nonce prefix are used up.
    #[error("the nonce prefix has no counter left: make a new seal")]
    Exhausted,
}

/// Counters of a [`Seal`]. All but `windows` only increase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SealStats {
    /// Datagrams sealed.
    pub sealed: u64,
    /// Datagrams opened.
    pub opened: u64,
    /// Datagrams refused as [`Refusal::TooShort`].
    pub too_short: u64,
    /// Datagrams refused as [`Refusal::TooLong`].
    pub too_long: u64,
    /// Datagrams refused as [`Refusal::NotSealed`].
    pub not_sealed: u64,
    /// Datagrams refused as [`Refusal::UnknownKey`].
    pub unknown_key: u64,
    /// Datagrams refused as [`Refusal::Own`].
    pub own: u64,
    /// Datagrams refused as [`Refusal::Replayed`].
    pub replayed: u64,
    /// Datagrams refused as [`Refusal::Stale`].
    pub stale: u64,
    /// Datagrams opened whose prefix had no proof, or whose counter was outside of its window.
    pub unproved: u64,
    /// Proofs of a prefix, first ones and renewed ones.
    pub proofs: u64,
    /// Datagrams refused as [`Refusal::NotAuthentic`].
    pub not_authentic: u64,
    /// Replay windows kept now, one per nonce prefix heard.
    pub windows: u64,
    /// Replay windows forgotten to make room for others.
    pub windows_forgotten: u64,
}

impl SealStats {
    /// Returns the number of all datagrams refused.
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

/// A datagram that was opened.
///
/// Its sender had the key. When it sealed the datagram is not known, unless its nonce prefix is
/// proved: see [`Seal::open_stamped`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened<'d> {
    /// The contents.
    pub contents: &'d [u8],
    /// The nonce.
    pub stamp: Stamp,
    /// When the nonce prefix was proved last, as the host said in [`Seal::prove`]; `None` if it is
    /// not proved, or if the counter is outside of its replay window.
    pub proved_at: Option<u64>,
}

/// One end of sealed traffic, between a node and its socket.
///
/// Make a new one for each socket and each start of the process. The documentation of the
/// [crate](crate) has an example.
#[derive(Clone, Debug)]
pub struct Seal {
    keyring: Keyring,
    prefix: NoncePrefix,
    next_counter: u64,
    windows: ReplayWindows,
    stats: SealStats,
}

/// The unencrypted fields of a datagram.
struct Header {
    key: KeyId,
    prefix: NoncePrefix,
    counter: u64,
    nonce: [u8; NONCE],
}

impl Seal {
    /// Makes a seal with these keys.
    ///
    /// `prefix` must be random and new at each start: a restarted process with its old prefix would
    /// use its old nonces again.
    #[must_use]
    pub fn new(keyring: Keyring, prefix: NoncePrefix) -> Self {
        Self {
            keyring,
            prefix,
            next_counter: 0,
            windows: ReplayWindows::new(MAX_WINDOWS),
            stats: SealStats::default(),
        }
    }

    /// Keeps at most `max` replay windows instead of [`MAX_WINDOWS`], and forgets all windows so
    /// far.
    ///
    /// `max` is clamped to 1 to 2^24. With fewer windows than the cluster has members, senders have
    /// to prove themselves again and again.
    #[must_use]
    pub fn with_max_windows(mut self, max: usize) -> Self {
        self.windows = ReplayWindows::new(max.clamp(1, 1 << 24));
        self
    }

    /// Seals `plain` into `out` and returns the length of the sealed datagram, which is longer by
    /// [`OVERHEAD`].
    pub fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let len = plain.len().saturating_add(OVERHEAD);
        let room = out.len().min(LONGEST);
        if len > room {
            return Err(SealError::NoRoom { len, room });
        }
        let counter = self.next_counter;
        let after = counter.checked_add(1).ok_or(SealError::Exhausted)?;
        let key = self.keyring.primary();
        let nonce = self.prefix.nonce(counter);
        let contents = HEADER + plain.len();
        out[0] = FORMAT;
        out[1..5].copy_from_slice(&key.id().to_bytes());
        out[5..HEADER].copy_from_slice(&nonce);
        out[HEADER..contents].copy_from_slice(plain);
        let associated = associated_data(&self.keyring, key.id());
        let tag = key.encrypt(&nonce, &associated, &mut out[HEADER..contents]);
        out[contents..len].copy_from_slice(&tag.map_err(|_| SealError::NoRoom { len, room })?);
        self.next_counter = after;
        self.stats.sealed += 1;
        Ok(len)
    }

    /// Opens a datagram in place and returns its contents, whose sender is trusted at its first
    /// word: of a recorded prefix, each datagram opens once.
    ///
    /// For tools that ask and listen. A node needs [`Seal::open_stamped`].
    pub fn open<'d>(&mut self, datagram: &'d mut [u8]) -> Result<&'d [u8], Refusal> {
        let opened = self.try_open(datagram, true);
        self.counted(opened, datagram).map(|opened| opened.contents)
    }

    /// Opens a datagram in place, and says whether its nonce prefix is proved.
    ///
    /// A prefix is proved by a datagram that repeats a number which the receiver drew and sent just
    /// before. The seal does not know what datagrams say: the node decides, and its host calls
    /// [`Seal::prove`]. A datagram of a proved prefix opens once. Any other opens each time, and
    /// leaves nothing behind.
    pub fn open_stamped<'d>(&mut self, datagram: &'d mut [u8]) -> Result<Opened<'d>, Refusal> {
        let opened = self.try_open(datagram, false);
        self.counted(opened, datagram)
    }

    /// Notes that a datagram with this stamp has proved its prefix, at time `at` of the host.
    ///
    /// Of the prefix, datagrams up to this one open without a proof from now on.
    pub fn prove(&mut self, stamp: Stamp, at: u64) {
        self.stats.proofs += 1;
        let prefix = NoncePrefix::new(stamp.prefix);
        if self.windows.prove(prefix, stamp.counter, at) {
            self.stats.windows_forgotten += 1;
        }
    }

    /// Looks again at a datagram that was opened before its prefix was proved, and has waited
    /// since: when its prefix was proved, if it was sealed after that.
    pub fn proved_meanwhile(&mut self, stamp: Stamp) -> Option<u64> {
        let prefix = NoncePrefix::new(stamp.prefix);
        let Freshness::New(at) = self.windows.check(prefix, stamp.counter) else { return None };
        self.windows.accept(prefix, stamp.counter);
        Some(at)
    }

    /// Takes another nonce prefix, random and new, for what is sealed from now on.
    pub const fn renew(&mut self, prefix: NoncePrefix) {
        (self.prefix, self.next_counter) = (prefix, 0);
    }

    /// Counts an opened or refused datagram.
    fn counted<'d>(
        &mut self,
        opened: Result<(usize, Stamp, Option<u64>), Refusal>,
        datagram: &'d [u8],
    ) -> Result<Opened<'d>, Refusal> {
        match opened {
            Ok((end, stamp, proved_at)) => {
                self.stats.opened += 1;
                self.stats.unproved += u64::from(proved_at.is_none());
                Ok(Opened { contents: &datagram[HEADER..end], stamp, proved_at })
            }
            Err(refusal) => {
                self.stats.count(refusal);
                Err(refusal)
            }
        }
    }

    /// Opens a datagram in place. Returns the end of its contents, its stamp, and when its prefix
    /// was proved. `trusts` takes the first datagram of a prefix for a proof.
    fn try_open(
        &mut self,
        datagram: &mut [u8],
        trusts: bool,
    ) -> Result<(usize, Stamp, Option<u64>), Refusal> {
        let len = datagram.len();
        let Header { key: id, prefix, counter, nonce } = parse_header(datagram)?;
        let key = self.keyring.get(id).ok_or(Refusal::UnknownKey(id))?;
        if prefix == self.prefix {
            return Err(Refusal::Own);
        }
        // Checked before the cipher runs, so that a flood of replays is cheap. A forged counter
        // does no harm: only an authentic datagram moves the window.
        let freshness = self.windows.check(prefix, counter);
        match freshness {
            Freshness::Seen => return Err(Refusal::Replayed),
            Freshness::Stale | Freshness::Ahead if trusts => return Err(Refusal::Stale),
            _ => {}
        }
        let (rest, tag) =
            datagram.split_last_chunk_mut::<TAG>().ok_or(Refusal::TooShort { len })?;
        let associated = associated_data(&self.keyring, id);
        key.decrypt(&nonce, &associated, &mut rest[HEADER..], tag)
            .map_err(|_| Refusal::NotAuthentic)?;
        let stamp = Stamp { prefix: prefix.to_bytes(), counter };
        let proved_at = match freshness {
            Freshness::New(at) => {
                self.windows.accept(prefix, counter);
                Some(at)
            }
            _ if trusts => {
                self.stats.windows_forgotten += u64::from(self.windows.trust(prefix, counter));
                Some(0)
            }
            _ => None,
        };
        Ok((len - TAG, stamp, proved_at))
    }

    /// Returns the keys.
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Returns the keys for changing them. A change takes effect at once.
    pub const fn keyring_mut(&mut self) -> &mut Keyring {
        &mut self.keyring
    }

    /// Returns the nonce prefix of the datagrams that it seals.
    #[must_use]
    pub const fn nonce_prefix(&self) -> NoncePrefix {
        self.prefix
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> SealStats {
        SealStats { windows: self.windows.len() as u64, ..self.stats }
    }
}

fn parse_header(datagram: &[u8]) -> Result<Header, Refusal> {
    let len = datagram.len();
    if len > LONGEST {
        return Err(Refusal::TooLong { len });
    }
    if datagram.first().is_some_and(|&format| format != FORMAT) {
        return Err(Refusal::NotSealed);
    }
    let Some((header, _)) = datagram.split_first_chunk::<HEADER>().filter(|_| len >= OVERHEAD)
    else {
        return Err(Refusal::TooShort { len });
    };
    let [_, k0, k1, k2, k3, nonce @ ..] = header;
    let (prefix, counter) = NoncePrefix::split(nonce);
    let key = KeyId::from_bytes([*k0, *k1, *k2, *k3]);
    Ok(Header { key, prefix, counter, nonce: *nonce })
}

/// The associated data of a datagram: what its tag covers besides contents and nonce.
fn associated_data(keyring: &Keyring, id: KeyId) -> [u8; 9] {
    let mut data = [FORMAT; 9];
    data[1..5].copy_from_slice(&id.to_bytes());
    data[5..].copy_from_slice(&keyring.label().0.to_be_bytes());
    data
}

#[cfg(test)]
mod tests {
    use telemetry_gossip_core::Label;

    use super::*;
    use crate::key::Key;
    use crate::windows::MAX_LEAP;

    fn seal(node: u8) -> Seal {
        Seal::new(Keyring::new(Label::of(""), Key::new([7; 32])), NoncePrefix::new([node; 16]))
    }

    /// Seals a datagram and opens it at another node: when its prefix was proved, and its stamp.
    fn pass(from: &mut Seal, to: &mut Seal) -> Result<(Option<u64>, Stamp), Refusal> {
        let mut out = [0; 100];
        let len = from.seal(b"x", &mut out).unwrap();
        to.open_stamped(&mut out[..len]).map(|opened| (opened.proved_at, opened.stamp))
    }

    #[test]
    fn a_datagram_without_a_proof_opens_each_time_and_takes_no_place() {
        let (mut a, mut b) = (seal(1), seal(2));
        let mut out = [0; 100];
        let len = a.seal(b"x", &mut out).unwrap();
        for _ in 0..100 {
            let mut copy = out;
            assert_eq!(b.open_stamped(&mut copy[..len]).unwrap().proved_at, None);
        }
        assert_eq!((b.stats().windows, b.stats().unproved, b.stats().refused()), (0, 100, 0));
        let (proved_at, stamp) = pass(&mut a, &mut b).unwrap();
        assert_eq!(proved_at, None);
        b.prove(stamp, 77);
        assert_eq!(pass(&mut a, &mut b).unwrap().0, Some(77));
        assert_eq!(
            b.open_stamped(&mut out[..len]).unwrap().proved_at,
            None,
            "older than the proof"
        );
        assert_eq!((b.stats().windows, b.stats().proofs), (1, 1));
    }

    #[test]
    fn each_datagram_and_each_forgotten_window_is_counted_once() {
        let (mut a, mut b, mut reader) = (seal(1), seal(2), seal(3).with_max_windows(1));
        for round in 1..=3 {
            let (_, stamp) = pass(&mut a, &mut reader).unwrap();
            reader.prove(stamp, round);
            let (_, stamp) = pass(&mut b, &mut reader).unwrap();
            reader.prove(stamp, round);
        }
        let stats = reader.stats();
        assert_eq!((a.stats().sealed, b.stats().sealed), (3, 3));
        assert_eq!((stats.opened, stats.unproved, stats.proofs), (6, 6, 6));
        assert_eq!((stats.windows, stats.windows_forgotten), (1, 5));
        // A reader that trusts at first sight forgets as well.
        let mut tool = seal(4).with_max_windows(1);
        for (from, count) in [(&mut a, 0), (&mut b, 1), (&mut seal(5), 2)] {
            let mut out = [0; 100];
            let len = from.seal(b"x", &mut out).unwrap();
            tool.open(&mut out[..len]).unwrap();
            assert_eq!(tool.stats().windows_forgotten, count);
        }
    }

    #[test]
    fn more_windows_than_can_be_numbered_are_not_kept() {
        for max in [0, 1, 1 << 24, usize::MAX] {
            let mut reader = seal(2).with_max_windows(max);
            let (_, stamp) = pass(&mut seal(1), &mut reader).unwrap();
            reader.prove(stamp, 1);
            assert_eq!(reader.stats().windows, 1);
        }
    }

    /// A holder of the key seals under the prefix of another node.
    #[test]
    fn one_datagram_with_the_highest_counter_mutes_no_sender() {
        let (mut a, mut b) = (seal(1), seal(2));
        let stamp = pass(&mut a, &mut b).unwrap().1;
        b.prove(stamp, 1);
        for counter in [stamp.counter + MAX_LEAP + 2, u64::MAX - 1] {
            let mut liar = Seal { next_counter: counter, ..seal(1) };
            let (proved_at, far) = pass(&mut liar, &mut b).unwrap();
            assert_eq!((proved_at, far.counter), (None, counter));
            assert_eq!(pass(&mut a, &mut b).unwrap().0, Some(1), "after {counter}");
            // Even if the liar has answered a ping: the next answer of the sender counts again.
            b.prove(far, 2);
            let (proved_at, true_stamp) = pass(&mut a, &mut b).unwrap();
            assert_eq!(proved_at, None, "opened, but not taken for fresh");
            b.prove(true_stamp, 1);
            assert_eq!(pass(&mut a, &mut b).unwrap().0, Some(1));
        }
    }

    #[test]
    fn a_datagram_that_waited_counts_as_fresh_once_its_prefix_is_proved() {
        let (mut a, mut b) = (seal(1), seal(2));
        let before = pass(&mut a, &mut b).unwrap().1;
        let proof = pass(&mut a, &mut b).unwrap().1;
        let after = pass(&mut a, &mut b).unwrap().1;
        assert_eq!(b.proved_meanwhile(after), None);
        b.prove(proof, 5);
        assert_eq!((b.proved_meanwhile(after), b.proved_meanwhile(after)), (Some(5), None));
        assert_eq!(b.proved_meanwhile(before), None, "it is older than the proof");
    }

    #[test]
    fn a_renewed_prefix_uses_no_nonce_again() {
        let (mut a, mut b) = (seal(1), seal(2));
        let before = pass(&mut a, &mut b).unwrap().1;
        a.renew(NoncePrefix::new([3; 16]));
        let after = pass(&mut a, &mut b).unwrap().1;
        assert_eq!((before.prefix, after.prefix), ([1; 16], [3; 16]));
    }
}
