//! A block of inputs, which stays in its bytes: only the input at hand is decoded.
//!
//! A tick of two bytes is an [`Entry`] of two hundred, so a decoded block would take a hundred
//! times the memory of its file.

use std::marker::PhantomData;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use telemetry_gossip_core::{Address, Input, Instant, Stamp};

use crate::format::{EntriesHead, Entry, LATEST, OutputDigest, entry};

/// A block of inputs, and the digest of all outputs up to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block<A> {
    /// The inputs, in order.
    pub entries: Entries<A>,
    /// The digest of all outputs so far.
    pub digest: OutputDigest,
}

/// The inputs of a block, in order. Each is decoded when it is its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries<A> {
    payload: Vec<u8>,
    /// Before the first input.
    begin: Cursor,
    /// The time of the last input.
    last: Instant,
    address: PhantomData<A>,
}

/// A place between two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Where the next input begins in the payload.
    at: usize,
    /// The number of inputs that are left.
    left: u32,
    /// The time of the input before.
    time: Instant,
}

impl<A: Address + DeserializeOwned + 'static> Block<A> {
    /// Takes the payload of a block, whose first byte is its kind, and checks all of it. Returns
    /// the rule that it breaks otherwise.
    pub(crate) fn new(payload: Vec<u8>, after: Instant) -> Result<Self, &'static str> {
        let head = "a block of inputs has their number, a time and a digest";
        let (EntriesHead { digest, count, since }, rest) =
            postcard::take_from_bytes(payload.get(1..).unwrap_or_default()).map_err(|_| head)?;
        if since < after {
            return Err("time does not go back from block to block");
        }
        let begin = Cursor { at: payload.len() - rest.len(), left: count, time: since };
        let (mut rest, mut last) = (rest, since);
        for _ in 0..count {
            (last, rest) = take_time(rest, last)?;
            rest = skip_input::<A>(rest).ok_or("an input is one of those that a node takes")?;
        }
        if !rest.is_empty() {
            return Err("a block has exactly the given number of inputs");
        }
        Ok(Self { entries: Entries { payload, begin, last, address: PhantomData }, digest })
    }
}

impl<A> Entries<A> {
    /// Returns the number of inputs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.begin.left as usize
    }

    /// Whether there are no inputs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the time of the last input; that of the one before the block if there is none.
    pub(crate) fn last(&self) -> Instant {
        self.last
    }

    /// Returns the place before the first input.
    pub(crate) fn begin(&self) -> Cursor {
        self.begin
    }
}

impl<A: Address + DeserializeOwned + 'static> Entries<A> {
    /// Returns an iterator over the inputs.
    pub fn iter(&self) -> EntriesIter<'_, A> {
        EntriesIter { entries: self, next: self.begin }
    }

    /// Decodes the input at `cursor`, and moves the cursor behind it; `None` at the end.
    pub(crate) fn next(&self, cursor: &mut Cursor) -> Option<Entry<A>> {
        cursor.left = cursor.left.checked_sub(1)?;
        // The block was checked as a whole.
        let (at, rest) = take_time(self.payload.get(cursor.at..)?, cursor.time).ok()?;
        let (input, rest) = take_input(rest)?;
        (cursor.at, cursor.time) = (self.payload.len() - rest.len(), at);
        Some(Entry { at, input })
    }
}

impl<'a, A: Address + DeserializeOwned + 'static> IntoIterator for &'a Entries<A> {
    type Item = Entry<A>;
    type IntoIter = EntriesIter<'a, A>;

    fn into_iter(self) -> EntriesIter<'a, A> {
        self.iter()
    }
}

/// An iterator over the inputs of a block.
#[derive(Clone, Debug)]
pub struct EntriesIter<'a, A> {
    entries: &'a Entries<A>,
    next: Cursor,
}

impl<A: Address + DeserializeOwned + 'static> Iterator for EntriesIter<'_, A> {
    type Item = Entry<A>;

    fn next(&mut self) -> Option<Entry<A>> {
        self.entries.next(&mut self.next)
    }
}

pub(crate) fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    postcard::take_from_bytes(bytes).ok()
}

/// Takes the time of an input after one at `before`.
fn take_time(bytes: &[u8], before: Instant) -> Result<(Instant, &[u8]), &'static str> {
    let (micros, rest) = take::<u64>(bytes).ok_or("an input has a time")?;
    let at = before + Duration::from_micros(micros);
    if at > LATEST {
        return Err("a time is less than 146,000 years after the origin");
    }
    Ok((at, rest))
}

fn take_input<A: Address + DeserializeOwned + 'static>(
    bytes: &[u8],
) -> Option<(Input<'static, A>, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    match kind {
        entry::TICK => Some((Input::Tick, rest)),
        entry::DATAGRAM => {
            let (from, bytes, rest) = take_datagram(rest)?;
            Some((Input::Datagram { from, bytes: bytes.to_vec().into() }, rest))
        }
        entry::SEALED => {
            let ((from, stamp, proof_age), bytes, rest) = take_datagram(rest)?;
            Some((Input::sealed(from, stamp, proof_age, bytes.to_vec()), rest))
        }
        entry::INPUT => take::<Input<'static, A>>(rest),
        _ => None,
    }
}

/// Checks an input and returns the bytes after it.
fn skip_input<A: Address + DeserializeOwned + 'static>(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.split_first()? {
        (&entry::DATAGRAM, rest) => take_datagram::<A>(rest).map(|(.., rest)| rest),
        (&entry::SEALED, rest) => {
            take_datagram::<(A, Stamp, Option<Duration>)>(rest).map(|(.., rest)| rest)
        }
        _ => take_input::<A>(bytes).map(|(_, rest)| rest),
    }
}

/// Reads where a datagram came from, and its bytes.
fn take_datagram<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, &[u8], &[u8])> {
    let (head, rest) = take(bytes)?;
    let (bytes, rest) = take::<&[u8]>(rest)?;
    Some((head, bytes, rest))
}
