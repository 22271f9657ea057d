//! Reads a file. Arbitrary bytes yield a header and blocks or a typed error, and never a panic.

use std::io::{self, Read};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use telemetry_gossip_core::{Address, Instant};
use thiserror::Error;

use crate::block::{Block, take};
use crate::format::{
    Ending, FIRST_FORMAT_VERSION, FORMAT_VERSION, FRAME_LEN, FileHeader, MAGIC, MAX_BLOCK,
    PREAMBLE_LEN, TraceFixture, kind,
};

/// The error of a file that cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The source returned an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file does not begin with the magic bytes of a record.
    #[error("the file is not a record of a node: it does not begin with TGREC")]
    NotARecord,
    /// The file has another version of the format.
    #[error(
        "the record has format version {found}, this build reads versions {FIRST_FORMAT_VERSION} \
         to {FORMAT_VERSION}"
    )]
    #[non_exhaustive]
    Version {
        /// The version of the file.
        found: u16,
    },
    /// The header of the file is incomplete or damaged, so that nothing can be replayed.
    #[error(
        "the header of the record is incomplete or damaged: the process or the machine stopped \
         while it was written, or the disk was full"
    )]
    NoHeader,
    /// A block with a correct checksum breaks a rule of the format.
    #[error("block {block} of the record breaks the format: {rule}")]
    #[non_exhaustive]
    Malformed {
        /// The number of the block in the file; the header is block 0.
        block: u64,
        /// The rule.
        rule: &'static str,
    },
}

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tail {
    /// The end has not been reached yet.
    Unread,
    /// The file ended with its end mark.
    Ended(Ending),
    /// The file ended after a complete block, without an end mark: the process was killed, or is
    /// still running.
    Open,
    /// The file ended within a block: the process was killed while it wrote the block.
    #[non_exhaustive]
    Torn {
        /// The number of bytes of the incomplete block.
        bytes: u64,
    },
    /// A block has a wrong checksum. It and the rest of the file were not read.
    #[non_exhaustive]
    Damaged {
        /// The number of the block in the file; the header is block 0.
        block: u64,
    },
}

/// Reads one file of a record, block by block.
///
/// It holds one block at a time, as its bytes, and decodes one input at a time: at most twice the
/// bytes of the longest block, and 32 MiB. A block has at most [`MAX_BLOCK`] bytes, and never more
/// memory than bytes of it were read.
#[derive(Debug)]
pub struct Reader<R, A> {
    source: R,
    header: FileHeader<A>,
    fixture: Option<TraceFixture<A>>,
    /// The payload of a block that was read ahead.
    ahead: Option<Vec<u8>>,
    tail: Tail,
    blocks: u64,
    last: Instant,
}

impl<R: Read, A: Address + DeserializeOwned + 'static> Reader<R, A> {
    /// Reads the header of a file.
    ///
    /// `source` is read in small portions: wrap a file in a [`BufReader`](io::BufReader).
    pub fn new(mut source: R) -> Result<Self, ReadError> {
        let mut preamble = [0; PREAMBLE_LEN];
        let len = fill(&mut source, &mut preamble)?;
        if len < PREAMBLE_LEN && preamble.starts_with(&MAGIC[..len.min(MAGIC.len())]) {
            return Err(ReadError::NoHeader);
        }
        let (magic, version) = preamble.split_at(MAGIC.len());
        if magic != MAGIC || len < PREAMBLE_LEN {
            return Err(ReadError::NotARecord);
        }
        let found = version.try_into().map_or(0, u16::from_le_bytes);
        if found != FORMAT_VERSION && found != FIRST_FORMAT_VERSION {
            return Err(ReadError::Version { found });
        }
        let Ok(Some(payload)) = next_payload(&mut source)? else {
            return Err(ReadError::NoHeader);
        };
        let Some((&kind::HEADER, payload)) = payload.split_first() else {
            return Err(ReadError::Malformed { block: 0, rule: "the first block is the header" });
        };
        let header: FileHeader<A> = whole(payload).ok_or(ReadError::Malformed {
            block: 0,
            rule: "a header has the id and the state of the node",
        })?;
        if let Some(rule) = header.broken_rule() {
            return Err(ReadError::Malformed { block: 0, rule });
        }
        let last = header.at;
        let mut reader = Self {
            source,
            header,
            fixture: None,
            ahead: None,
            tail: Tail::Unread,
            blocks: 1,
            last,
        };
        reader.read_fixture()?;
        Ok(reader)
    }

    /// Returns the header.
    pub fn header(&self) -> &FileHeader<A> {
        &self.header
    }

    /// Returns the fixture of a record that was made a regression test; `None` for other records.
    pub fn fixture(&self) -> Option<&TraceFixture<A>> {
        self.fixture.as_ref()
    }

    /// Returns how the file ended, once [`Reader::next_block`] has returned `None`.
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// Returns the next block; `None` after the last complete one.
    pub fn next_block(&mut self) -> Result<Option<Block<A>>, ReadError> {
        let Some(payload) = self.payload()? else { return Ok(None) };
        let block = self.blocks;
        self.blocks += 1;
        let malformed = |rule| ReadError::Malformed { block, rule };
        match payload.split_first() {
            Some((&kind::ENTRIES, _)) => {
                let block = Block::new(payload, self.last).map_err(malformed)?;
                self.last = block.entries.last();
                Ok(Some(block))
            }
            Some((&kind::ENDING, ending)) => {
                let ending = whole(ending).ok_or_else(|| malformed("an end mark has a reason"))?;
                self.tail = Tail::Ended(ending);
                Ok(None)
            }
            _ => Err(malformed("a block after the header has inputs, or ends the file")),
        }
    }

    fn read_fixture(&mut self) -> Result<(), ReadError> {
        let payload = self.payload()?;
        if let Some((&kind::FIXTURE, payload)) =
            payload.as_ref().and_then(|payload| payload.split_first())
        {
            let rule = "a fixture has the members that the node knew at the start and at the end";
            self.fixture = Some(whole(payload).ok_or(ReadError::Malformed { block: 1, rule })?);
            self.blocks += 1;
        } else {
            self.ahead = payload;
        }
        Ok(())
    }

    fn payload(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        if let Some(payload) = self.ahead.take() {
            return Ok(Some(payload));
        }
        if self.tail != Tail::Unread {
            return Ok(None);
        }
        match next_payload(&mut self.source)? {
            Ok(Some(payload)) => return Ok(Some(payload)),
            Ok(None) => self.tail = Tail::Open,
            Err(Bad::Torn { bytes }) => self.tail = Tail::Torn { bytes },
            Err(Bad::Damaged) => self.tail = Tail::Damaged { block: self.blocks },
        }
        Ok(None)
    }

    /// Takes the header out, whose state may be long, and leaves one without a state.
    pub(crate) fn take_header(&mut self) -> FileHeader<A> {
        let header = self.header.stub();
        std::mem::replace(&mut self.header, header)
    }
}

fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    take(bytes).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

/// The reason why a block cannot be read.
enum Bad {
    Torn { bytes: u64 },
    Damaged,
}

/// Reads the next payload and checks its checksum; `None` at the end.
fn next_payload(source: &mut impl Read) -> io::Result<Result<Option<Vec<u8>>, Bad>> {
    let mut frame = [0; FRAME_LEN];
    let got = fill(source, &mut frame)?;
    if got == 0 {
        return Ok(Ok(None));
    }
    if got < FRAME_LEN {
        return Ok(Err(Bad::Torn { bytes: got as u64 }));
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = frame;
    let (len, sum) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([c0, c1, c2, c3]));
    if len == 0 || len as usize > MAX_BLOCK {
        return Ok(Err(Bad::Damaged));
    }
    // The buffer grows with the bytes that are there: a forged length allocates nothing.
    let mut payload = Vec::new();
    source.by_ref().take(len.into()).read_to_end(&mut payload)?;
    if payload.len() < len as usize {
        return Ok(Err(Bad::Torn { bytes: (FRAME_LEN + payload.len()) as u64 }));
    }
    if crc32fast::hash(&payload) != sum {
        return Ok(Err(Bad::Damaged));
    }
    Ok(Ok(Some(payload)))
}

/// Reads until `buf` is full or the source ends, and returns the number of bytes read.
fn fill(source: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buf.len() {
        match source.read(&mut buf[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
