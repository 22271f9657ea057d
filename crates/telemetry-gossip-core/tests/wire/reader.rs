//! A reader of datagrams made from `docs/wire.md` alone: it has nothing of the crate's but the
//! shapes of `golden.toml`. What it does not know how to read, the page does not say.

use crate::meaning::{Claim, Entry, Frame, Header, Hex, News, Parts, Range, Status, Version, Want};

/// The bytes break a rule of the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bad(pub(crate) &'static str);

type Result<T> = std::result::Result<T, Bad>;

const LONGEST: usize = 65_507;
const VERSIONS: u64 = 1 << 48;

/// "Datagram"
pub(crate) fn datagram(bytes: &[u8], label: u32) -> Result<(Header, Vec<Frame>)> {
    if bytes.len() > LONGEST {
        return Err(Bad("too long"));
    }
    let mut at = At(bytes);
    if at.u8()? != 1 {
        return Err(Bad("version"));
    }
    let header = Header {
        label: at.u32()?,
        sender: at.u32()?,
        claims: at.u32()?,
        telemetry: at.u32()?,
        clock: u32::from(at.u8()?) << 16 | u32::from(at.u16()?),
    };
    if header.label != label {
        return Err(Bad("label"));
    }
    let mut frames = Vec::new();
    while !at.0.is_empty() {
        let kind = at.u8()?;
        let len = at.varint(32)?;
        let mut body = At(at.take(len)?);
        frames.push(frame(kind, &mut body)?);
        if !body.0.is_empty() {
            return Err(Bad("bytes after the body"));
        }
    }
    Ok((header, frames))
}

/// "Frames"
fn frame(kind: u8, at: &mut At<'_>) -> Result<Frame> {
    Ok(match kind {
        1 => Frame::Ping { number: at.u32()?, target: at.u32()? },
        2 => Frame::Ack { number: at.u32()?, instance: at.u32()? },
        3 => Frame::Nack { number: at.u32()? },
        4 => Frame::Relay { number: at.u32()?, target: at.u32()?, address: address(at, false)? },
        5 => Frame::Claims { claims: at.all(claim)? },
        6 => Frame::Telemetry(news(at)?),
        7 => Frame::SyncOpen { number: at.u32()? },
        8 => {
            let (number, sums) = (at.u32()?, at.all(At::u32)?);
            if sums.len() != 16 && sums.len() != 64 {
                return Err(Bad("16 or 64 sums"));
            }
            Frame::SyncDigest { number, sums }
        }
        9 => {
            let (number, more, ranges) = (at.u32()?, at.bool()?, at.all(range)?);
            if ranges.windows(2).any(|pair| pair[0].to >= pair[1].from) {
                return Err(Bad("ranges overlap"));
            }
            Frame::SyncVersions { number, more, ranges }
        }
        10 => {
            let want = |at: &mut At<'_>| {
                Ok(Want { tag: at.u32()?, claim: at.bool()?, since: at.varint(64)? })
            };
            Frame::SyncWants { number: at.u32()?, more: at.bool()?, wants: at.all(want)? }
        }
        11 => Frame::SyncDone { number: at.u32()?, more: at.bool()? },
        12 => Frame::PageRequest { number: at.u32()?, from: at.u32()? },
        13 => {
            let number = at.u32()?;
            Frame::Page { number, next: if at.bool()? { Some(at.varint32()?) } else { None } }
        }
        14 => Frame::Tree { number: at.u32()?, end: at.u32()? },
        15 => Frame::TreeAck { number: at.u32()? },
        16 => {
            let floor = at.varint(64)?;
            if floor >= VERSIONS {
                return Err(Bad("floor"));
            }
            Frame::TelemetryAnew { floor, news: news(at)? }
        }
        19 => {
            let (number, more, ranges) = (at.u32()?, at.bool()?, at.all(parts)?);
            let end = |parts: &Parts| u64::from(parts.from) + (1 << parts.bits);
            if ranges.windows(2).any(|pair| end(&pair[0]) > pair[1].from.into()) {
                return Err(Bad("ranges overlap"));
            }
            Frame::SyncSums { number, more, ranges }
        }
        18 => Frame::PagePlace { nth: at.varint32()? },
        21 => Frame::NotAMember { version: at.varint(64)? },
        22 => Frame::Gone { sum: at.u32()? },
        20 => Frame::SeenAt { address: address(at, false)? },
        _ => Frame::Unknown { kind, body: Hex(std::mem::take(&mut at.0).to_vec()) },
    })
}

fn parts(at: &mut At<'_>) -> Result<Parts> {
    let (from, bits, mut sums) = (at.u32()?, at.u8()?, [0; 16]);
    if !(4..=32).contains(&bits) || !u64::from(from).is_multiple_of(1 << bits) {
        return Err(Bad("range of parts"));
    }
    for sum in &mut sums {
        *sum = at.u32()?;
    }
    Ok(Parts { from, bits, sums })
}

fn status(at: &mut At<'_>) -> Result<Status> {
    Ok(match at.u8()? {
        0 => Status::Alive,
        1 => Status::Suspected,
        2 => Status::Dead,
        3 => Status::Left,
        _ => return Err(Bad("status")),
    })
}

fn address(at: &mut At<'_>, may_be_empty: bool) -> Result<Hex> {
    let bytes = at.bytes()?;
    match bytes.len() {
        6 | 18 => Ok(Hex(bytes.to_vec())),
        0 if may_be_empty => Ok(Hex::default()),
        _ => Err(Bad("address")),
    }
}

/// Scripts by their ranges. Greek and Cyrillic look like ASCII and do not stand beside its letters.
fn may_name_a_node(id: &str) -> bool {
    const SCRIPTS: [&[(char, char)]; 7] = [
        &[('\u{391}', '\u{3a1}'), ('\u{3a3}', '\u{3c9}')],
        &[('\u{401}', '\u{45f}')],
        &[('\u{c0}', '\u{17e}')],
        &[('\u{3041}', '\u{3096}')],
        &[('\u{30a1}', '\u{30fa}')],
        &[('\u{4e00}', '\u{9fff}')],
        &[('\u{ac00}', '\u{d7a3}')],
    ];
    const LIKE_OTHERS: &str = "×÷ıĲĳĸĿŀŉ";
    const LIKE_ASCII: &str = "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαγικνορσυχЅІЇЈАВЕЁКМНОРСТУХаеёкорсухѕіїј";
    let script = |c: char| {
        SCRIPTS.iter().position(|ranges| ranges.iter().any(|&(a, b)| (a..=b).contains(&c)))
    };
    let others: Vec<char> = id.chars().filter(|c| !c.is_ascii_graphic()).collect();
    let Some(first) = others.first() else { return true };
    let Some(of_first) = script(*first) else { return false };
    others.iter().all(|&c| script(c) == Some(of_first) && !LIKE_OTHERS.contains(c))
        && (of_first >= 2
            || !id.chars().any(|c| c.is_ascii_alphabetic())
                && others.iter().any(|&c| !LIKE_ASCII.contains(c)))
}

/// "Claims"
fn claim(at: &mut At<'_>) -> Result<Claim> {
    let (status, generation, instance) = (status(at)?, at.varint(64)?, at.u32()?);
    let id = at.text()?;
    if id.is_empty() || id.len() > 127 || !may_name_a_node(id) {
        return Err(Bad("id"));
    }
    let address = address(at, true)?;
    let count = at.varint(64)?;
    if count > 4 {
        return Err(Bad("more than four accusers"));
    }
    let accusers: Vec<u32> = (0..count).map(|_| at.varint32()).collect::<Result<_>>()?;
    let age = at.varint32()?;
    if generation >= u64::MAX - 1 {
        return Err(Bad("generation"));
    }
    if status != Status::Suspected && !accusers.is_empty() {
        return Err(Bad("accusers"));
    }
    if matches!(status, Status::Alive | Status::Suspected) && age != 0 {
        return Err(Bad("age"));
    }
    Ok(Claim { status, generation, instance, id: id.to_owned(), address, accusers, age })
}

/// "Telemetry"
fn news(at: &mut At<'_>) -> Result<News> {
    let (owner, instance, since) = (at.u32()?, at.u32()?, at.varint(64)?);
    let mut version = since;
    let entries = at.all(|at| {
        let (step, age) = (at.varint(64)?, at.varint(64)?);
        version = version.saturating_add(step);
        let key = at.text()?.to_owned();
        if step == 0 || key.is_empty() || key.len() > 255 {
            return Err(Bad("entry"));
        }
        let value = if at.bool()? { Some(Hex(at.bytes()?.to_vec())) } else { None };
        Ok(Entry { version, age_ms: age / 2, urgent: age % 2 == 1, key, value })
    })?;
    if version >= VERSIONS {
        return Err(Bad("version of telemetry"));
    }
    Ok(News { owner, instance, since, entries })
}

/// "Version lists"
fn range(at: &mut At<'_>) -> Result<Range> {
    let (from, to, count) = (at.u32()?, at.u32()?, at.u16()?);
    let mut rows = Vec::new();
    for _ in 0..count {
        rows.push(Version {
            tag: at.u32()?,
            content: at.u16()?,
            status: status(at)?,
            generation: at.varint(64)?,
            telemetry: at.varint(64)?,
        });
    }
    let tags: Vec<u32> = rows.iter().map(|row| row.tag).collect();
    if from > to || !tags.is_sorted() || tags.iter().any(|tag| !(from..=to).contains(tag)) {
        return Err(Bad("range"));
    }
    Ok(Range { from, to, rows })
}

/// "Numbers and texts"
struct At<'a>(&'a [u8]);

impl<'a> At<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let len = usize::try_from(len).map_err(|_| Bad("truncated"))?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Bad("truncated"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from(self.u8()?) << 8 | u16::from(self.u8()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    fn bool(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Bad("neither 0 nor 1")),
        }
    }

    fn varint(&mut self, bits: u32) -> Result<u64> {
        let mut value = 0_u128;
        for place in 0..bits.div_ceil(7) {
            let byte = self.u8()?;
            value |= u128::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return u64::try_from(value)
                    .ok()
                    .filter(|_| value >> bits == 0)
                    .ok_or(Bad("varint"));
            }
        }
        Err(Bad("varint"))
    }

    fn varint32(&mut self) -> Result<u32> {
        u32::try_from(self.varint(32)?).map_err(|_| Bad("varint"))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.varint(64)?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Bad("text"))
    }

    /// Items to the end of the body.
    fn all<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.0.is_empty() {
            items.push(item(self)?);
        }
        Ok(items)
    }
}

/// "The hash of bytes", of up to 128 of them.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    const S: [u64; 7] = [
        0x2d35_8dcc_aa6c_78a5,
        0x8bb8_4b93_962e_acc9,
        0x4b33_a62e_d433_d4a3,
        0x4d5a_2da5_1de1_aa47,
        0xa076_1d64_78bd_642f,
        0xe703_7ed1_a0b4_28db,
        0x90ed_1765_281c_388c,
    ];
    let halves = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        [(product & u128::from(u64::MAX)) as u64, (product >> 64) as u64]
    };
    let fold = |a: u64, b: u64| {
        let [low, high] = halves(a, b);
        low ^ high
    };
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let half =
        |at: usize| u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")));
    let len = bytes.len();
    let (mut seed, mut rest) = (fold(S[2], S[1]), len);
    let (a, b) = match len {
        0 => (0, 0),
        1..=3 => (u64::from(bytes[0]) << 45 | u64::from(bytes[len - 1]), u64::from(bytes[len / 2])),
        4..=7 => (half(0), half(len - 4)),
        8..=16 => (word(0), word(len - 8)),
        _ => {
            let mut from = 0;
            if len > 112 {
                seed = (0..7)
                    .fold(0, |sum, i| sum ^ fold(word(16 * i) ^ S[i], word(16 * i + 8) ^ seed));
                (from, rest) = (112, len - 112);
            }
            for (i, secret) in [S[2], S[2], S[1], S[1], S[2], S[1]].into_iter().enumerate() {
                if rest > 16 * (i + 1) {
                    let at = from + 16 * i;
                    seed = fold(word(at) ^ secret, word(at + 8) ^ seed);
                }
            }
            (word(len - 16) ^ rest as u64, word(len - 8))
        }
    };
    if (4..=16).contains(&len) {
        seed ^= len as u64;
    }
    let [low, high] = halves(a ^ S[1], b ^ seed);
    fold(low ^ 0xaaaa_aaaa_aaaa_aaaa, high ^ S[1] ^ rest as u64)
}

fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// A member as the fingerprints count it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: Vec<u8>,
    pub(crate) address: Vec<u8>,
    pub(crate) instance: u32,
    pub(crate) generation: u64,
    pub(crate) status: u8,
    pub(crate) telemetry: u64,
}

impl Row {
    pub(crate) fn content(&self) -> u16 {
        (mix(u64::from(self.instance) ^ hash(&self.address)) & 0xffff) as u16
    }

    /// What it adds to the sums of the claims, of the telemetry, and of the gone.
    fn adds(&self) -> [u64; 3] {
        let id = hash(&self.id);
        let state = mix(self.generation.wrapping_mul(4).wrapping_add(self.status.into()));
        let life = mix(state ^ u64::from(self.instance)) ^ hash(&self.address);
        let telemetry = if self.telemetry == 0 { 0 } else { mix(id ^ mix(!self.telemetry)) };
        if self.status > 1 { [0, 0, mix(id ^ life)] } else { [mix(id ^ life), telemetry, 0] }
    }
}

fn folded(sum: u64) -> u32 {
    ((sum ^ sum >> 32) & 0xffff_ffff) as u32
}

fn sum(rows: &[Row], which: usize) -> u32 {
    folded(rows.iter().fold(0, |sum: u64, row| sum.wrapping_add(row.adds()[which])))
}

/// The two fingerprints of a table, as they stand in the header.
pub(crate) fn fingerprints(rows: &[Row]) -> [u32; 2] {
    [sum(rows, 0), sum(rows, 1)]
}

/// The sum over the members that are gone.
pub(crate) fn gone(rows: &[Row]) -> u32 {
    sum(rows, 2)
}

/// The sums of a digest with so many ranges.
pub(crate) fn digest(rows: &[Row], ranges: u64) -> Vec<u32> {
    let of = |range: u64| {
        let within = rows.iter().filter(|row| hash(&row.id) / (u64::MAX / ranges + 1) == range);
        let adds = within.flat_map(|row| row.adds().into_iter().take(2));
        folded(adds.fold(0, u64::wrapping_add))
    };
    (0..ranges).map(of).collect()
}

/// The sums of the 16 parts of a range of 2^`bits` id hashes. The dead and the left count.
pub(crate) fn parts_of(rows: &[Row], from: u32, bits: u8) -> [u32; 16] {
    let part = |row: &Row| {
        let within = (hash(&row.id) >> 32).checked_sub(from.into())?;
        usize::try_from(within >> (bits - 4)).ok().filter(|part| *part < 16)
    };
    let mut sums = [0; 16];
    for row in rows {
        if let Some(part) = part(row) {
            sums[part] = row.adds().into_iter().fold(sums[part], u64::wrapping_add);
        }
    }
    sums.map(folded)
}
