//! A writer of datagrams made from `docs/wire.md`, as the reader beside it is: everything in its
//! shortest form, and nothing of the crate's but the shapes of `golden.toml`. It writes what it is
//! told, rules or not.

use crate::meaning::{Claim, Entry, Frame, Header, News, Parts, Range, Status, Version, Want};

/// "Datagram"
pub(crate) fn datagram(header: &Header, frames: &[Frame]) -> Vec<u8> {
    let mut out = vec![1];
    for field in [header.label, header.sender, header.claims, header.telemetry] {
        out.extend(field.to_be_bytes());
    }
    out.extend(&header.clock.to_be_bytes()[1..]);
    for frame in frames {
        let (kind, body) = body(frame);
        out.push(kind);
        bytes(&mut out, &body);
    }
    out
}

/// "Frames"
fn body(frame: &Frame) -> (u8, Vec<u8>) {
    let mut out = Vec::new();
    let mut u32s = |words: &[u32]| words.iter().for_each(|word| out.extend(word.to_be_bytes()));
    let kind = match frame {
        Frame::Ping { number, target } => {
            u32s(&[*number, *target]);
            1
        }
        Frame::Ack { number, instance } => {
            u32s(&[*number, *instance]);
            2
        }
        Frame::Nack { number } => {
            u32s(&[*number]);
            3
        }
        Frame::Relay { number, target, address } => {
            u32s(&[*number, *target]);
            bytes(&mut out, &address.0);
            4
        }
        Frame::Claims { claims } => {
            claims.iter().for_each(|each| claim(&mut out, each));
            5
        }
        Frame::Telemetry(told) => {
            news(&mut out, told);
            6
        }
        Frame::SyncOpen { number } => {
            u32s(&[*number]);
            7
        }
        Frame::SyncDigest { number, sums } => {
            u32s(&[*number]);
            u32s(sums);
            8
        }
        Frame::SyncSums { number, more, ranges } => {
            u32s(&[*number]);
            out.push(u8::from(*more));
            for Parts { from, bits, sums } in ranges {
                out.extend(from.to_be_bytes());
                out.push(*bits);
                sums.iter().for_each(|sum| out.extend(sum.to_be_bytes()));
            }
            19
        }
        Frame::SyncVersions { number, more, ranges } => {
            u32s(&[*number]);
            out.push(u8::from(*more));
            ranges.iter().for_each(|each| range(&mut out, each));
            9
        }
        Frame::SyncWants { number, more, wants } => {
            u32s(&[*number]);
            out.push(u8::from(*more));
            for &Want { tag, claim, since } in wants {
                out.extend(tag.to_be_bytes());
                out.push(u8::from(claim));
                varint(&mut out, since);
            }
            10
        }
        Frame::SyncDone { number, more } => {
            u32s(&[*number]);
            out.push(u8::from(*more));
            11
        }
        Frame::PageRequest { number, from } => {
            u32s(&[*number, *from]);
            12
        }
        Frame::Page { number, next } => {
            u32s(&[*number]);
            out.push(u8::from(next.is_some()));
            if let Some(next) = *next {
                varint(&mut out, next.into());
            }
            13
        }
        Frame::Tree { number, end } => {
            u32s(&[*number, *end]);
            14
        }
        Frame::TreeAck { number } => {
            u32s(&[*number]);
            15
        }
        Frame::TelemetryAnew { floor, news: told } => {
            varint(&mut out, *floor);
            news(&mut out, told);
            16
        }
        Frame::PagePlace { nth } => {
            varint(&mut out, (*nth).into());
            18
        }
        Frame::NotAMember { version } => {
            varint(&mut out, *version);
            21
        }
        Frame::Gone { sum } => {
            out.extend(sum.to_be_bytes());
            22
        }
        Frame::SeenAt { address } => {
            bytes(&mut out, &address.0);
            20
        }
        Frame::Unknown { kind, body } => {
            out.extend(&body.0);
            *kind
        }
    };
    (kind, out)
}

/// "Claims"
fn claim(out: &mut Vec<u8>, claim: &Claim) {
    out.push(rank(claim.status));
    varint(out, claim.generation);
    out.extend(claim.instance.to_be_bytes());
    bytes(out, claim.id.as_bytes());
    bytes(out, &claim.address.0);
    varint(out, claim.accusers.len() as u64);
    claim.accusers.iter().for_each(|&accuser| varint(out, accuser.into()));
    varint(out, claim.age.into());
}

fn rank(status: Status) -> u8 {
    match status {
        Status::Alive => 0,
        Status::Suspected => 1,
        Status::Dead => 2,
        Status::Left => 3,
    }
}

/// "Telemetry"
fn news(out: &mut Vec<u8>, News { owner, instance, since, entries }: &News) {
    out.extend(owner.to_be_bytes());
    out.extend(instance.to_be_bytes());
    varint(out, *since);
    let mut last = *since;
    for Entry { version, age_ms, urgent, key, value } in entries {
        varint(out, version.wrapping_sub(last));
        varint(out, age_ms << 1 | u64::from(*urgent));
        bytes(out, key.as_bytes());
        out.push(u8::from(value.is_some()));
        value.iter().for_each(|value| bytes(out, &value.0));
        last = *version;
    }
}

/// "Version lists"
fn range(out: &mut Vec<u8>, Range { from, to, rows }: &Range) {
    out.extend(from.to_be_bytes());
    out.extend(to.to_be_bytes());
    // The page's lists of rows have a count of two bytes.
    out.extend(u16::try_from(rows.len()).unwrap_or(u16::MAX).to_be_bytes());
    for Version { tag, content, status, generation, telemetry } in rows {
        out.extend(tag.to_be_bytes());
        out.extend(content.to_be_bytes());
        out.push(rank(*status));
        varint(out, *generation);
        varint(out, *telemetry);
    }
}

/// "Numbers and texts"
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}
