//! What `golden.toml` says: bytes, and what they mean. Shapes only: the crate's own tests write and
//! read the bytes, and the reader beside this file reads them by what `docs/wire.md` says.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// The text of the file.
pub(crate) const FILE: &str = include_str!("golden.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Golden {
    pub(crate) header: Header,
    /// What a writer writes and a reader reads.
    pub(crate) datagrams: Vec<Case>,
    /// What a reader reads, too.
    pub(crate) also_read: Vec<Case>,
    pub(crate) refused: Vec<Refused>,
    pub(crate) hashes: Vec<Hashed>,
    pub(crate) labels: Vec<Named>,
    pub(crate) table: Table,
}

impl Golden {
    pub(crate) fn load() -> Self {
        toml::from_str(FILE).expect("golden.toml has these shapes")
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) hex: Hex,
    pub(crate) frames: Vec<Frame>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    pub(crate) name: String,
    pub(crate) hex: Hex,
    pub(crate) error: String,
    pad_to: Option<usize>,
}

impl Refused {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.hex.0.clone();
        bytes.resize(self.pad_to.unwrap_or(bytes.len()), 0);
        bytes
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hashed {
    pub(crate) hex: Hex,
    pub(crate) hash: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) label: u32,
}

/// A table of four members, and what is computed of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    pub(crate) claims: u32,
    pub(crate) telemetry: u32,
    pub(crate) digest16: Vec<u32>,
    pub(crate) digest64: Vec<u32>,
    pub(crate) contents: Vec<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) address: Hex,
    pub(crate) instance: u32,
    pub(crate) generation: u64,
    pub(crate) status: Status,
    pub(crate) telemetry: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) label: u32,
    pub(crate) sender: u32,
    pub(crate) claims: u32,
    pub(crate) telemetry: u32,
    pub(crate) clock: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "kebab-case")]
pub(crate) enum Frame {
    Ping {
        number: u32,
        target: u32,
    },
    Ack {
        number: u32,
        instance: u32,
    },
    Nack {
        number: u32,
    },
    Relay {
        number: u32,
        target: u32,
        address: Hex,
    },
    Claims {
        claims: Vec<Claim>,
    },
    Telemetry(News),
    TelemetryAnew {
        floor: u64,
        #[serde(flatten)]
        news: News,
    },
    SyncOpen {
        number: u32,
    },
    SyncDigest {
        number: u32,
        sums: Vec<u32>,
    },
    SyncSums {
        number: u32,
        more: bool,
        ranges: Vec<Parts>,
    },
    SyncVersions {
        number: u32,
        more: bool,
        ranges: Vec<Range>,
    },
    SyncWants {
        number: u32,
        more: bool,
        wants: Vec<Want>,
    },
    SyncDone {
        number: u32,
        more: bool,
    },
    PageRequest {
        number: u32,
        from: u32,
    },
    Page {
        number: u32,
        next: Option<u32>,
    },
    PagePlace {
        nth: u32,
    },
    SeenAt {
        address: Hex,
    },
    NotAMember {
        version: u64,
    },
    Gone {
        sum: u32,
    },
    Tree {
        number: u32,
        end: u32,
    },
    TreeAck {
        number: u32,
    },
    Unknown {
        kind: u8,
        body: Hex,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    Alive,
    Suspected,
    Dead,
    Left,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) status: Status,
    pub(crate) generation: u64,
    pub(crate) instance: u32,
    pub(crate) id: String,
    pub(crate) address: Hex,
    pub(crate) accusers: Vec<u32>,
    pub(crate) age: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct News {
    pub(crate) owner: u32,
    pub(crate) instance: u32,
    pub(crate) since: u64,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) version: u64,
    pub(crate) age_ms: u64,
    pub(crate) urgent: bool,
    pub(crate) key: String,
    pub(crate) value: Option<Hex>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts {
    pub(crate) from: u32,
    pub(crate) bits: u8,
    pub(crate) sums: [u32; 16],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) rows: Vec<Version>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) tag: u32,
    pub(crate) content: u16,
    pub(crate) status: Status,
    pub(crate) generation: u64,
    pub(crate) telemetry: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Want {
    pub(crate) tag: u32,
    pub(crate) claim: bool,
    pub(crate) since: u64,
}

/// Bytes, as hex; spaces mean nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits: Vec<u32> = text
            .chars()
            .filter(|c| *c != ' ')
            .map(|c| c.to_digit(16).ok_or_else(|| alloc::format!("{c} is no digit")))
            .collect::<Result<_, _>>()?;
        let bytes = digits.chunks(2).map(|pair| match *pair {
            [high, low] => u8::try_from(high * 16 + low).map_err(|error| alloc::format!("{error}")),
            _ => Err("half a byte".into()),
        });
        Ok(Self(bytes.collect::<Result<_, _>>()?))
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex.0.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
    }
}
