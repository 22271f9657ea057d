//! What a liar writes and reads: a small writer and reader made from `docs/wire.md`.
//!
//! The encoder of the core writes only what a node may say. A liar says more, so this module shares
//! no code with it.

use telemetry_gossip_core::Label;

/// Bytes before the first frame.
const HEADER: usize = 20;

/// The kinds of frames that a liar writes or understands.
pub(super) mod kind {
    pub(in crate::liar) const PING: u8 = 1;
    pub(in crate::liar) const ACK: u8 = 2;
    pub(in crate::liar) const NACK: u8 = 3;
    pub(in crate::liar) const PING_REQ: u8 = 4;
    pub(in crate::liar) const CLAIMS: u8 = 5;
    pub(in crate::liar) const TELEMETRY: u8 = 6;
    pub(in crate::liar) const SYNC_OPEN: u8 = 7;
    pub(in crate::liar) const SYNC_DIGEST: u8 = 8;
    pub(in crate::liar) const SYNC_VERSIONS: u8 = 9;
    pub(in crate::liar) const SYNC_WANTS: u8 = 10;
    pub(in crate::liar) const SYNC_DONE: u8 = 11;
    pub(in crate::liar) const PAGE_REQUEST: u8 = 12;
    pub(in crate::liar) const PAGE: u8 = 13;
    pub(in crate::liar) const TREE: u8 = 14;
    pub(in crate::liar) const TREE_ACK: u8 = 15;
    pub(in crate::liar) const TELEMETRY_ANEW: u8 = 16;
}

/// The statuses as numbers.
pub(super) mod status {
    pub(in crate::liar) const ALIVE: u8 = 0;
    pub(in crate::liar) const SUSPECTED: u8 = 1;
    pub(in crate::liar) const DEAD: u8 = 2;
    pub(in crate::liar) const LEFT: u8 = 3;
}

/// A claim as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: u8,
    pub(super) generation: u64,
    pub(super) instance: u32,
    pub(super) id: String,
    pub(super) address: Option<u32>,
    pub(super) accusers: Vec<u32>,
}

/// The head of a frame of telemetry, and the version of its last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TelemetryHead {
    pub(super) owner: u32,
    pub(super) instance: u32,
    pub(super) version: u64,
}

/// Writes one datagram.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// A datagram of a node with this id hash. A fingerprint of 0 differs from those of all tables
    /// that are not empty.
    pub(super) fn new(label: Label, sender: u32, clock: u32) -> Self {
        let mut bytes = vec![1];
        bytes.extend_from_slice(&label.0.to_be_bytes());
        bytes.extend_from_slice(&sender.to_be_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&clock.to_be_bytes()[1..]);
        Self(bytes)
    }

    pub(super) fn frame(mut self, kind: u8, body: &[u8]) -> Self {
        self.0.push(kind);
        varint(&mut self.0, body.len() as u64);
        self.0.extend_from_slice(body);
        self
    }

    /// A frame whose body is a request id and more numbers of 32 bits.
    pub(super) fn numbers(self, kind: u8, numbers: &[u32]) -> Self {
        let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        self.frame(kind, &body)
    }

    pub(super) fn claims(self, claims: &[Said]) -> Self {
        if claims.is_empty() {
            return self;
        }
        let mut body = Vec::new();
        for claim in claims {
            body.push(claim.status);
            varint(&mut body, claim.generation);
            body.extend_from_slice(&claim.instance.to_be_bytes());
            text(&mut body, &claim.id);
            match claim.address {
                Some(address) => {
                    body.push(4);
                    body.extend_from_slice(&address.to_be_bytes());
                }
                None => body.push(0),
            }
            varint(&mut body, claim.accusers.len() as u64);
            for &accuser in &claim.accusers {
                varint(&mut body, accuser.into());
            }
            body.push(0);
        }
        self.frame(kind::CLAIMS, &body)
    }

    /// A frame of telemetry with one entry, `step` versions above `since`. With a compacted
    /// version it is a frame of telemetry anew.
    pub(super) fn telemetry(
        self,
        compacted: Option<u64>,
        head: TelemetryHead,
        step: u64,
        key: &str,
        value: Option<&[u8]>,
    ) -> Self {
        let mut body = Vec::new();
        if let Some(compacted) = compacted {
            varint(&mut body, compacted);
        }
        body.extend_from_slice(&head.owner.to_be_bytes());
        body.extend_from_slice(&head.instance.to_be_bytes());
        varint(&mut body, head.version);
        varint(&mut body, step);
        body.push(0);
        text(&mut body, key);
        match value {
            Some(value) => {
                body.push(1);
                varint(&mut body, value.len() as u64);
                body.extend_from_slice(value);
            }
            None => body.push(0),
        }
        let anew = compacted.is_some();
        self.frame(if anew { kind::TELEMETRY_ANEW } else { kind::TELEMETRY }, &body)
    }

    /// The bytes of the datagram.
    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn text(out: &mut Vec<u8>, text: &str) {
    varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Reads the body of a frame from front to end. Each method returns `None` where it ends too early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    pub(super) const fn new(bytes: &'d [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn u8(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0_u64, 0);
        loop {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }

    fn bytes(&mut self) -> Option<&'d [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// The next claim of a frame of claims.
    pub(super) fn claim(&mut self) -> Option<Said> {
        let status = self.u8()?;
        let generation = self.varint()?;
        let instance = self.u32()?;
        let id = String::from_utf8(self.bytes()?.to_vec()).ok()?;
        let address = self.bytes()?.try_into().ok().map(u32::from_be_bytes);
        let accusers = (0..self.varint()?.min(4)).map(|_| self.varint().map(|hash| hash as u32));
        let accusers = accusers.collect::<Option<Vec<u32>>>()?;
        self.varint()?;
        Some(Said { status, generation, instance, id, address, accusers })
    }

    /// The head of a frame of telemetry, with the version of its last entry.
    pub(super) fn telemetry(&mut self, anew: bool) -> Option<TelemetryHead> {
        if anew {
            self.varint()?;
        }
        let (owner, instance, mut version) = (self.u32()?, self.u32()?, self.varint()?);
        while !self.is_at_end() {
            version = version.saturating_add(self.varint()?);
            self.varint()?;
            self.bytes()?;
            if self.u8()? == 1 {
                self.bytes()?;
            }
        }
        Some(TelemetryHead { owner, instance, version })
    }
}

/// The frames of a datagram: kinds and bodies. A datagram that is cut short ends the list.
pub(super) fn frames(datagram: &[u8]) -> impl Iterator<Item = (u8, Reader<'_>)> {
    let mut rest = Reader::new(datagram.get(HEADER..).unwrap_or_default());
    std::iter::from_fn(move || {
        let kind = rest.u8()?;
        Some((kind, Reader::new(rest.bytes()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let said = Said {
            status: status::SUSPECTED,
            generation: 1 << 40,
            instance: 7,
            id: "n3".to_owned(),
            address: Some(9),
            accusers: vec![1, u32::MAX],
        };
        let left = Said { status: status::LEFT, address: None, accusers: vec![], ..said.clone() };
        let head = TelemetryHead { owner: 5, instance: 6, version: 70_000 };
        let datagram = Writer::new(Label(1), 2, 3)
            .numbers(kind::PING, &[8, 9])
            .claims(&[said.clone(), left.clone()])
            .telemetry(None, head, 4, "load", Some(b"7"))
            .telemetry(Some(3), head, 5, "load", None)
            .done();
        let mut frames = frames(&datagram);
        let (first, mut ping) = frames.next().unwrap();
        assert_eq!(
            (first, ping.u32(), ping.u32(), ping.u32()),
            (kind::PING, Some(8), Some(9), None)
        );
        let (_, mut claims) = frames.next().unwrap();
        assert_eq!([claims.claim(), claims.claim()], [Some(said), Some(left)]);
        assert!(claims.is_at_end());
        for (anew, version) in [(false, 70_004), (true, 70_005)] {
            let read = frames.next().unwrap().1.telemetry(anew);
            assert_eq!(read, Some(TelemetryHead { version, ..head }));
        }
        assert!(frames.next().is_none());
    }
}
