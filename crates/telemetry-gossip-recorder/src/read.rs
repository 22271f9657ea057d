//! Reading a file: any bytes give an opening and blocks, or a typed error, and never a panic.

use std::io::{self, Read};
use std::marker::PhantomData;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use telemetry_gossip_core::{Address, Input, Instant};
use thiserror::Error;

use crate::format::{
    Block, Brief, Ending, EntriesHead, Entry, FORMAT_VERSION, FRAME_LEN, HEADER_LEN, MAGIC,
    MAX_BLOCK, Opening, entry, kind,
};

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read at all.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin like a record.
    #[error("this is no record of a node: it does not begin with TGREC")]
    NoRecord,
    /// It has another format.
    #[error("the record has format version {found}, this build reads {FORMAT_VERSION}")]
    Version {
        /// The version of the file.
        found: u16,
    },
    /// Its opening is not whole: nothing can be replayed.
    #[error(
        "the record's opening is cut off or damaged: the node or the machine ended as the file was begun"
    )]
    NoOpening,
    /// A block whose checksum is right is none of this format.
    #[error("block {block} of the record breaks the format: {rule}")]
    Malformed {
        /// Which block of the file; the opening is 0.
        block: u64,
        /// What it breaks.
        rule: &'static str,
    },
}

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// It is not read to the end yet.
    Unread,
    /// In good order.
    Ended(Ending),
    /// Behind a whole block, without a word: the node was killed, or still runs.
    Open,
    /// In the middle of a block: the node was killed as it was written. So many bytes are left
    /// over.
    Torn {
        /// Bytes of the block that is not whole.
        bytes: u64,
    },
    /// A block's checksum is wrong; it and what follows is not read.
    Damaged {
        /// Which block of the file; the opening is 0.
        block: u64,
    },
}

/// Reads one file of a record, block by block.
#[derive(Debug)]
pub struct Reader<R, A> {
    source: R,
    opening: Opening<A>,
    brief: Option<Brief<A>>,
    /// A block that was looked at already.
    ahead: Option<Vec<u8>>,
    tail: Tail,
    blocks: u64,
    last: Instant,
    address: PhantomData<A>,
}

impl<R: Read, A: Address + DeserializeOwned + 'static> Reader<R, A> {
    /// Reads the opening. `source` is read in small portions: wrap a file into a
    /// [`BufReader`](io::BufReader).
    pub fn new(mut source: R) -> Result<Self, ReadError> {
        let mut header = [0; HEADER_LEN];
        let len = fill(&mut source, &mut header)?;
        let (magic, version) = header.split_at(MAGIC.len());
        if magic != MAGIC || len < HEADER_LEN {
            return Err(ReadError::NoRecord);
        }
        let found = version.try_into().map_or(0, u16::from_le_bytes);
        if found != FORMAT_VERSION {
            return Err(ReadError::Version { found });
        }
        let Ok(Some(payload)) = next_payload(&mut source)? else {
            return Err(ReadError::NoOpening);
        };
        let Some((&kind::OPENING, payload)) = payload.split_first() else {
            return Err(ReadError::Malformed { block: 0, rule: "the first block is the opening" });
        };
        let opening: Opening<A> = whole(payload).ok_or(ReadError::Malformed {
            block: 0,
            rule: "it says which node it is of, and its state",
        })?;
        let last = opening.at;
        let mut reader = Self {
            source,
            opening,
            brief: None,
            ahead: None,
            tail: Tail::Unread,
            blocks: 1,
            last,
            address: PhantomData,
        };
        reader.read_brief()?;
        Ok(reader)
    }

    /// Which node, when, and where a replay starts.
    pub fn opening(&self) -> &Opening<A> {
        &self.opening
    }

    /// What a record that became a test says about itself; `None` for others.
    pub fn brief(&self) -> Option<&Brief<A>> {
        self.brief.as_ref()
    }

    /// How the file ended, once [`Reader::next_block`] has returned `None`.
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// The next block; `None` behind the last that is whole.
    pub fn next_block(&mut self) -> Result<Option<Block<A>>, ReadError> {
        let Some(payload) = self.payload()? else { return Ok(None) };
        let block = self.blocks;
        self.blocks += 1;
        let malformed = |rule| ReadError::Malformed { block, rule };
        match payload.split_first() {
            Some((&kind::ENTRIES, payload)) => self.entries(payload).map(Some).map_err(malformed),
            Some((&kind::ENDING, payload)) => {
                let ending = whole(payload).ok_or_else(|| malformed("an ending has a reason"))?;
                self.tail = Tail::Ended(ending);
                Ok(None)
            }
            _ => Err(malformed("a block after the opening has inputs, or ends the file")),
        }
    }

    fn read_brief(&mut self) -> Result<(), ReadError> {
        let payload = self.payload()?;
        if let Some((&kind::BRIEF, payload)) =
            payload.as_ref().and_then(|payload| payload.split_first())
        {
            let rule = "it says whom the node knew before and after";
            self.brief = Some(whole(payload).ok_or(ReadError::Malformed { block: 1, rule })?);
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

    fn entries(&mut self, payload: &[u8]) -> Result<Block<A>, &'static str> {
        let head = "a block of inputs says how many, since when, and what came of them";
        let (EntriesHead { seal, count, since }, mut rest) =
            postcard::take_from_bytes(payload).map_err(|_| head)?;
        if since < self.last {
            return Err("time does not go back between blocks");
        }
        let mut at = since;
        let mut entries = Vec::new();
        for _ in 0..count {
            let (micros, input);
            (micros, rest) = take::<u64>(rest).ok_or("an input has a time")?;
            (input, rest) = take_input(rest).ok_or("an input is one that a node knows")?;
            at = at + Duration::from_micros(micros);
            entries.push(Entry { at, input });
        }
        if !rest.is_empty() {
            return Err("a block has no more inputs than it says");
        }
        self.last = at;
        Ok(Block { entries, seal })
    }
}

fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    postcard::take_from_bytes(bytes).ok()
}

fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    take(bytes).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

fn take_input<A: Address + DeserializeOwned + 'static>(
    bytes: &[u8],
) -> Option<(Input<'static, A>, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    match kind {
        entry::TICK => Some((Input::Tick, rest)),
        entry::DATAGRAM => {
            let (from, rest) = take(rest)?;
            let (bytes, rest) = take::<&[u8]>(rest)?;
            Some((Input::Datagram { from, bytes: bytes.to_vec().into() }, rest))
        }
        entry::INPUT => take::<Input<'static, A>>(rest),
        _ => None,
    }
}

/// A block that is not whole.
enum Bad {
    Torn { bytes: u64 },
    Damaged,
}

/// The next payload whose checksum is right; `None` at the end.
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
    // Grows with what is there, not with what the length says.
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

/// Reads as much as there is, up to the length of `buf`.
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
