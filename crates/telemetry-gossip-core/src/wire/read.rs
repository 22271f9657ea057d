//! A cursor over postcard's bytes, for the values that are read most often: pings, acks, claims and
//! telemetry entries.
//!
//! It reads exactly what `postcard::take_from_bytes` reads, as a test checks, in a fraction of the
//! instructions. All other values are read by postcard itself.

use serde::Deserialize;

use crate::error::WireError;

/// A cursor that reads from the front. Its methods return `None` where postcard fails: the bytes
/// end too early, or are not canonical enough for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the bytes that were not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline(always)]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// Reads four bytes, big-endian.
    #[inline(always)]
    pub(crate) fn fixed(&mut self) -> Option<u32> {
        let (&bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(bytes))
    }

    /// Reads a LEB128 varint of at most `bits` bits. Most varints have one byte, so that case is
    /// inlined.
    #[inline(always)]
    fn varint(&mut self, bits: u32) -> Option<u64> {
        match self.rest.split_first()? {
            (&byte, rest) if byte < 0x80 => {
                self.rest = rest;
                Some(byte.into())
            }
            _ => self.long_varint(bits),
        }
    }

    fn long_varint(&mut self, bits: u32) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        while shift < bits {
            let byte = self.byte()?;
            // The last byte may only hold the bits that are left of the integer.
            if bits - shift < 7 && byte >> (bits - shift) != 0 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
            shift += 7;
        }
        None
    }

    #[inline(always)]
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.varint(u64::BITS)
    }

    #[inline(always)]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.varint(u32::BITS)?).ok()
    }

    /// Reads a length, and as many bytes.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint(u64::BITS)?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Reads the byte by which postcard says whether an `Option` has a value.
    #[inline(always)]
    pub(crate) fn has_value(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// A value that [`Reader`] can read.
pub(crate) trait Read<'a>: Sized {
    /// Reads the value; `None` if the bytes are none.
    fn read(reader: &mut Reader<'a>) -> Option<Self>;
}

/// Reads the value at the front of a body by postcard, and returns it with the bytes after it.
pub(super) fn head<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    name: &'static str,
) -> Result<(T, &'a [u8]), WireError> {
    postcard::take_from_bytes(body).map_err(|_| WireError::Malformed(name))
}

/// Returns the error for a field that breaks a rule.
pub(super) const fn rule(field: &'static str, rule: &'static str) -> WireError {
    WireError::Rule { field, rule }
}

/// Returns the bytes as text if they are UTF-8. Most text that arrives is ASCII.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    core::str::from_utf8(bytes).ok()
}
