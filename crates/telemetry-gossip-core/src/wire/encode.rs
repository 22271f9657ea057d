//! How a datagram is written into the caller's buffer, never beyond its limit.
//!
//! The writer knows the header and the bounds of frames. What a frame says is up to the caller.

use serde::Serialize;

use super::{HEADER_LEN, WIRE_VERSION};
use crate::id::{IdHash, Label};
use crate::membership::Fingerprints;

/// The most bytes of the varint of a body length: bodies are shorter than 2^16 bytes.
const LEN_BYTES: usize = 3;

/// Appends frames to a datagram. A frame or item that does not fit is not written, and the datagram
/// stays as it was.
#[derive(Debug)]
pub(crate) struct Writer<'b> {
    buf: &'b mut [u8],
    len: usize,
}

/// An open frame, by the position of its kind.
#[derive(Debug)]
#[must_use]
pub(crate) struct Open {
    at: usize,
}

impl<'b> Writer<'b> {
    /// Begins a datagram of at most `limit` bytes; `None` if not even the header fits.
    pub(crate) fn new(
        buf: &'b mut [u8],
        limit: usize,
        label: Label,
        sender: IdHash,
        fingerprints: Fingerprints,
        clock: u32,
    ) -> Option<Self> {
        let limit = limit.min(buf.len());
        let buf = &mut buf[..limit];
        let header = buf.first_chunk_mut::<HEADER_LEN>()?;
        header[0] = WIRE_VERSION;
        header[1..5].copy_from_slice(&label.0.to_be_bytes());
        header[5..9].copy_from_slice(&sender.0.to_be_bytes());
        header[9..13].copy_from_slice(&fingerprints.claims.to_be_bytes());
        header[13..17].copy_from_slice(&fingerprints.telemetry.to_be_bytes());
        header[17..].copy_from_slice(&clock.to_be_bytes()[1..]);
        Some(Self { buf, len: HEADER_LEN })
    }

    /// Returns the bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the bytes left.
    pub(crate) fn room(&self) -> usize {
        self.buf.len() - self.len
    }

    /// Whether nothing but the header was written.
    pub(crate) fn is_bare(&self) -> bool {
        self.len == HEADER_LEN
    }

    /// Writes a frame of two integers, with which most datagrams begin; false if it does not fit.
    pub(crate) fn lead(&mut self, kind: u8, first: u32, second: u32) -> bool {
        let Some(frame) = self.buf.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut())
        else {
            return false;
        };
        let ([a, b, c, d], [e, f, g, h]) = (first.to_be_bytes(), second.to_be_bytes());
        *frame = [kind, 8, a, b, c, d, e, f, g, h];
        self.len += frame.len();
        true
    }

    /// Writes a frame of one value; false if it does not fit.
    pub(crate) fn frame<T: Serialize>(&mut self, kind: u8, value: &T) -> bool {
        // Most bodies are shorter than 128 bytes, so their length takes one byte. Such a body is
        // written at its final place.
        let body = self.len + 2;
        let written = match self.buf.get_mut(body..) {
            Some(rest) => postcard::to_slice(value, rest).map_or(0, |written| written.len()),
            None => 0,
        };
        if let Some(len) = u8::try_from(written).ok().filter(|len| (1..128).contains(len)) {
            (self.buf[self.len], self.buf[self.len + 1]) = (kind, len);
            self.len = body + written;
            return true;
        }
        let Some(open) = self.open(kind) else { return false };
        if self.item(value) {
            self.close(open);
            true
        } else {
            self.abandon(&open);
            false
        }
    }

    /// Begins a frame of items; `None` if not even its kind and its length fit. Its length is
    /// unknown yet, so the longest one is left free for it.
    pub(crate) fn open(&mut self, kind: u8) -> Option<Open> {
        let at = self.len;
        *self.buf.get_mut(at)? = kind;
        if self.room() <= 1 + LEN_BYTES {
            return None;
        }
        self.len += 1 + LEN_BYTES;
        Some(Open { at })
    }

    /// Appends an item to the open frame; false if it does not fit.
    pub(crate) fn item<T: Serialize>(&mut self, item: &T) -> bool {
        match postcard::to_slice(item, &mut self.buf[self.len..]) {
            Ok(written) => {
                self.len += written.len();
                true
            }
            Err(_) => false,
        }
    }

    /// Returns the bytes in the body of the open frame.
    pub(crate) fn body_len(&self, open: &Open) -> usize {
        self.len - open.at - 1 - LEN_BYTES
    }

    /// Removes what was appended since the datagram was `len` bytes long.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = len;
    }

    /// Overwrites an item of fixed length that was appended when the datagram was `at` bytes long.
    pub(crate) fn rewrite<T: Serialize>(&mut self, at: usize, item: &T) {
        // An item of this length was written here before, so it fits.
        let _ = postcard::to_slice(item, &mut self.buf[at..self.len]);
    }

    /// Ends a frame: writes its length and moves the body up to it.
    pub(crate) fn close(&mut self, open: Open) {
        let body = open.at + 1 + LEN_BYTES;
        let len = self.len - body;
        let mut varint = [0; 5];
        let len = postcard::to_slice(&len, &mut varint).map_or(0, |written| written.len());
        self.buf[open.at + 1..open.at + 1 + len].copy_from_slice(&varint[..len]);
        self.buf.copy_within(body..self.len, open.at + 1 + len);
        self.len -= LEN_BYTES - len;
    }

    /// Removes an open frame and all its items.
    pub(crate) fn abandon(&mut self, open: &Open) {
        self.len = open.at;
    }
}
