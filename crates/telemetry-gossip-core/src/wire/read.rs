//! A cursor over postcard's bytes, for what is read most: signals, claims and telemetry entries. It
//! reads just what `postcard::take_from_bytes` reads (a test says so), in a fraction of the
//! instructions.

use serde::Deserialize;

use crate::error::WireError;

/// Reads from the front; `None` once something is not there or not canonical enough for postcard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline(always)]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// Four bytes, big-endian.
    #[inline(always)]
    pub(crate) fn fixed(&mut self) -> Option<u32> {
        let (&bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(bytes))
    }

    /// A LEB128 varint of at most so many bits.
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

    /// A length, and as many bytes.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint(u64::BITS)?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Whether there is a value, as postcard writes an `Option`.
    #[inline(always)]
    pub(crate) fn id_hash(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// A value that can be read from postcard's bytes.
pub(crate) trait Read<'a>: Sized {
    fn read(reader: &mut Reader<'a>) -> Option<Self>;
}

pub(super) fn head<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    name: &'static str,
) -> Result<(T, &'a [u8]), WireError> {
    postcard::take_from_bytes(body).map_err(|_| WireError::Malformed(name))
}

pub(super) const fn rule(field: &'static str, rule: &'static str) -> WireError {
    WireError::Rule { field, rule }
}

/// UTF-8; most of what comes is ASCII.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    core::str::from_utf8(bytes).ok()
}
