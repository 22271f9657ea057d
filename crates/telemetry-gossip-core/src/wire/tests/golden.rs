//! The crate writes the golden datagrams byte for byte, and reads them with their meaning.
//!
//! `tests/wire/golden.toml` has the bytes, and `tests/wire/meaning.rs` the shapes of the file.

use alloc::vec::Vec;
use core::net::SocketAddr;

use meaning::{Entry, Golden, Header, Hex, News, Parts, Range, Status, Version, Want};

use super::*;
use crate::address::{Address, MAX_ADDRESS_LEN};

#[path = "../../../tests/wire/meaning.rs"]
mod meaning;

fn hex(address: &impl Address) -> Hex {
    let mut buf = [0; MAX_ADDRESS_LEN];
    let len = address.encode(&mut buf);
    Hex(buf[..len].to_vec())
}

const STATUSES: [Status; 4] = [Status::Alive, Status::Suspected, Status::Dead, Status::Left];

fn rank(status: Status) -> u8 {
    STATUSES.into_iter().zip(0..).find(|&(other, _)| other == status).unwrap().1
}

fn write(w: &mut Writer<'_>, frame: &meaning::Frame) {
    use meaning::Frame::{
        Ack, Claims, Gone, Nack, NotAMember, Page, PagePlace, PageRequest, Ping, Relay, SeenAt,
        SyncDigest, SyncDone, SyncOpen, SyncSums, SyncVersions, SyncWants, Telemetry,
        TelemetryAnew, Tree, TreeAck, Unknown,
    };
    let written = match frame {
        &Ping { number, target } => w.lead(kind::PING, number, target),
        &Ack { number, instance } => w.lead(kind::ACK, number, instance),
        &Nack { number } => w.frame(kind::NACK, &super::Nack { number }),
        Relay { number, target, address } => w.frame(
            kind::PING_REQ,
            &super::PingReq { number: *number, target: *target, address: &address.0 },
        ),
        Claims { claims } => list(w, kind::CLAIMS, |w| {
            claims.iter().all(|claim| {
                w.item(&WireClaim {
                    status: rank(claim.status),
                    generation: claim.generation,
                    instance: claim.instance,
                    id: claim.id.as_bytes(),
                    address: &claim.address.0,
                    accusers: claim.accusers.iter().copied().map(IdHash).collect(),
                    age_secs: claim.age,
                })
            })
        }),
        Telemetry(news) => list(w, kind::TELEMETRY, |w| w.item(&head(news)) && entries(w, news)),
        TelemetryAnew { floor, news } => list(w, kind::TELEMETRY_ANEW, |w| {
            w.item(&CompactedHead { compacted: *floor, head: head(news) }) && entries(w, news)
        }),
        &SyncOpen { number } => w.frame(kind::SYNC_OPEN, &super::SyncOpen { number }),
        SyncDigest { number, sums } => list(w, kind::SYNC_DIGEST, |w| {
            w.item(&DigestHead { number: *number })
                && sums.iter().all(|&sum| w.item(&WireSum { sum }))
        }),
        SyncSums { number, more, ranges } => list(w, kind::SYNC_SUMS, |w| {
            w.item(&SumsHead { number: *number, more: *more })
                && ranges.iter().all(|&Parts { from, bits, sums }| {
                    w.item(&WireParts { from, bits, sums: sums.map(|sum| WireSum { sum }) })
                })
        }),
        SyncVersions { number, more, ranges } => list(w, kind::SYNC_VERSIONS, |w| {
            w.item(&VersionsHead { number: *number, more: *more })
                && ranges.iter().all(|each| range(w, each))
        }),
        SyncWants { number, more, wants } => list(w, kind::SYNC_WANTS, |w| {
            w.item(&WantsHead { number: *number, more: *more })
                && wants.iter().all(|&Want { tag: id_hash, claim, since }| {
                    w.item(&WireWant { id_hash, claim, since })
                })
        }),
        &SyncDone { number, more } => w.frame(kind::SYNC_DONE, &super::SyncDone { number, more }),
        &PageRequest { number, from } => {
            w.frame(kind::PAGE_REQUEST, &super::PageRequest { number, from })
        }
        &Page { number, next } => {
            w.frame(kind::PAGE, &super::Page { number, next: next.map(IdHash) })
        }
        &PagePlace { nth } => w.frame(kind::PAGE_PLACE, &super::PagePlace { nth }),
        &Gone { sum } => w.frame(kind::GONE, &super::Gone { sum }),
        &NotAMember { version } => w.frame(kind::NOT_A_MEMBER, &super::NotAMember { version }),
        SeenAt { address } => w.frame(kind::SEEN_AT, &super::SeenAt { address: &address.0 }),
        &Tree { number, end } => w.frame(kind::TREE, &super::Tree { number, end }),
        &TreeAck { number } => w.frame(kind::TREE_ACK, &super::TreeAck { number }),
        Unknown { kind, body } => list(w, *kind, |w| body.0.iter().all(|byte| w.item(byte))),
    };
    assert!(written, "{frame:?}");
}

fn list<'b>(w: &mut Writer<'b>, kind: u8, items: impl FnOnce(&mut Writer<'b>) -> bool) -> bool {
    let open = w.open(kind).unwrap();
    let fits = items(w);
    w.close(open);
    fits
}

fn head(news: &News) -> TelemetryHead {
    TelemetryHead { owner: news.owner, instance: news.instance, since: news.since }
}

fn entries(w: &mut Writer<'_>, news: &News) -> bool {
    let mut last = news.since;
    news.entries.iter().all(|entry| {
        let step = entry.version - core::mem::replace(&mut last, entry.version);
        let age = entry.age_ms * 2 + u64::from(entry.urgent);
        let value = entry.value.as_ref().map(|value| value.0.as_slice());
        w.item(&WireEntry { step, age, key: entry.key.as_bytes(), value })
    })
}

fn range(w: &mut Writer<'_>, range: &Range) -> bool {
    let rows = u16::try_from(range.rows.len()).unwrap();
    w.item(&RangeHead { from: range.from, to: range.to, rows })
        && range.rows.iter().all(
            |&Version { tag: id_hash, content, status, generation, telemetry }| {
                w.item(&WireVersion {
                    id_hash,
                    content,
                    status: rank(status),
                    generation,
                    telemetry,
                })
            },
        )
}

/// Returns a frame that the crate has read, in the shape of the golden file. Since the crate skips
/// frames of unknown kinds, such a frame is returned as it was expected.
fn read(frame: Frame<'_, SocketAddr>, expected: &meaning::Frame) -> meaning::Frame {
    use meaning::Frame as Meant;
    match frame {
        Frame::Ping(Ping { number, target }) => Meant::Ping { number, target },
        Frame::Ack(Ack { number, instance }) => Meant::Ack { number, instance },
        Frame::Nack(Nack { number }) => Meant::Nack { number },
        Frame::PingReq { number, target, address } => {
            Meant::Relay { number, target, address: hex(&address) }
        }
        Frame::Claims(claims) => Meant::Claims {
            claims: claims
                .map(|claim| meaning::Claim {
                    status: STATUSES[usize::from(claim.status.rank())],
                    generation: claim.generation.0,
                    instance: claim.instance.0,
                    id: claim.id.into(),
                    address: claim.address.map_or(Hex::default(), |address| hex(&address)),
                    accusers: claim.accusers.iter().map(|id_hash| id_hash.0).collect(),
                    age: claim.age_secs,
                })
                .collect(),
        },
        Frame::Telemetry(compacted, head, entries) => {
            let mut version = head.since;
            let entries = entries
                .map(|entry| {
                    version += entry.step;
                    let key = core::str::from_utf8(entry.key).unwrap().into();
                    let (age_ms, urgent) = (entry.age >> 1, entry.age & 1 != 0);
                    Entry {
                        version,
                        age_ms,
                        urgent,
                        key,
                        value: entry.value.map(|value| Hex(value.to_vec())),
                    }
                })
                .collect();
            let news =
                News { owner: head.owner, instance: head.instance, since: head.since, entries };
            if compacted == 0 {
                Meant::Telemetry(news)
            } else {
                Meant::TelemetryAnew { floor: compacted, news }
            }
        }
        Frame::SyncOpen(SyncOpen { number }) => Meant::SyncOpen { number },
        Frame::SyncDigest(DigestHead { number }, sums) => {
            Meant::SyncDigest { number, sums: sums.map(|sum| sum.sum).collect() }
        }
        Frame::SyncSums(SumsHead { number, more }, ranges) => {
            let ranges = ranges.map(|WireParts { from, bits, sums }| Parts {
                from,
                bits,
                sums: sums.map(|sum| sum.sum),
            });
            Meant::SyncSums { number, more, ranges: ranges.collect() }
        }
        Frame::SyncVersions(VersionsHead { number, more }, ranges) => {
            let rows = |rows: super::items::Items<'_, WireVersion>| {
                rows.map(|WireVersion { id_hash, content, status, generation, telemetry }| {
                    Version {
                        tag: id_hash,
                        content,
                        status: STATUSES[usize::from(status)],
                        generation,
                        telemetry,
                    }
                })
                .collect()
            };
            let ranges = ranges.map(|(head, items)| Range {
                from: head.from,
                to: head.to,
                rows: rows(items),
            });
            Meant::SyncVersions { number, more, ranges: ranges.collect() }
        }
        Frame::SyncWants(WantsHead { number, more }, wants) => {
            let wants =
                wants.map(|WireWant { id_hash, claim, since }| Want { tag: id_hash, claim, since });
            Meant::SyncWants { number, more, wants: wants.collect() }
        }
        Frame::SyncDone(SyncDone { number, more }) => Meant::SyncDone { number, more },
        Frame::PageRequest(PageRequest { number, from }) => Meant::PageRequest { number, from },
        Frame::Page(Page { number, next }) => {
            Meant::Page { number, next: next.map(|id_hash| id_hash.0) }
        }
        Frame::PagePlace(PagePlace { nth }) => Meant::PagePlace { nth },
        Frame::Gone(super::Gone { sum }) => Meant::Gone { sum },
        Frame::NotAMember(NotAMember { version }) => Meant::NotAMember { version },
        Frame::SeenAt(address) => Meant::SeenAt { address: hex(&address) },
        Frame::Tree(Tree { number, end }) => Meant::Tree { number, end },
        Frame::TreeAck(TreeAck { number }) => Meant::TreeAck { number },
        Frame::Unknown => match expected {
            Meant::Unknown { .. } => expected.clone(),
            _ => panic!("the crate does not know the frame {expected:?}"),
        },
    }
}

#[test]
fn golden_datagrams_are_written_and_read_exactly() {
    let golden = Golden::load();
    let Header { label, sender, claims, telemetry, clock } = golden.header;
    let fingerprints = Fingerprints { claims, telemetry };
    for case in golden.datagrams.iter().chain(&golden.also_read) {
        let datagram =
            Datagram::<SocketAddr>::parse(&case.hex.0, Label(label), |claims| (0, claims));
        let datagram = datagram.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(
            (datagram.sender, datagram.fingerprints, datagram.clock),
            (sender, fingerprints, clock)
        );
        let frames: Vec<_> =
            datagram.frames().zip(&case.frames).map(|(frame, meant)| read(frame, meant)).collect();
        assert_eq!(frames, case.frames, "{}", case.name);
        assert_eq!(datagram.frames().count(), case.frames.len(), "{}", case.name);
    }
    for case in &golden.datagrams {
        let mut buf = [0; 1_400];
        let mut w = Writer::new(&mut buf, 1_400, Label(label), IdHash(sender), fingerprints, clock)
            .unwrap();
        case.frames.iter().for_each(|frame| write(&mut w, frame));
        let len = w.len();
        assert_eq!(Hex(buf[..len].to_vec()), case.hex, "{}", case.name);
    }
}

/// The rows of a digest and of a version list, and the fingerprints in the header, are those of the
/// golden table.
#[test]
fn the_sums_and_fingerprints_of_the_golden_table_are_computed_exactly() {
    use crate::membership::claim::{Accusers, Claim};
    use crate::membership::telemetry_log::LogEntry;
    use crate::membership::{BUCKETS, Membership};

    let meaning::Table { rows, claims, telemetry, digest16, digest64, contents } =
        Golden::load().table;
    let mut table = Membership::<SocketAddr>::new(9);
    let now = crate::Instant::ORIGIN;
    for (row, content) in rows.iter().zip(contents) {
        let claim = Claim {
            id: &row.id,
            address: SocketAddr::decode(&row.address.0),
            instance: crate::Instance(row.instance),
            generation: crate::Generation(row.generation),
            status: crate::Status::from_rank(rank(row.status)).unwrap(),
            accusers: Accusers::new(),
            age_secs: 0,
        };
        let slot = table.merge_at(now, &claim).1.unwrap();
        if row.telemetry > 0 {
            let version = row.telemetry;
            let entry =
                LogEntry { key: b"k", value: Some(b"v"), version, published: now, urgent: false };
            table.set_entry(slot, now, &entry);
        }
        let version = crate::anti_entropy::diff::version_of(table.id_hash(slot), table.row(slot));
        assert_eq!((version.content, version.telemetry), (content, row.telemetry), "{}", row.id);
    }
    assert_eq!(table.fingerprints(), Fingerprints { claims, telemetry });
    assert_eq!(crate::anti_entropy::diff::sums(&table, BUCKETS / 4).collect::<Vec<_>>(), digest16);
    assert_eq!(crate::anti_entropy::diff::sums(&table, BUCKETS).collect::<Vec<_>>(), digest64);
}

#[test]
fn golden_hashes_and_labels_are_computed_exactly() {
    let golden = Golden::load();
    for meaning::Hashed { hex, hash } in &golden.hashes {
        assert_eq!(alloc::format!("{:016x}", crate::id::bytes_hash(&hex.0)), *hash, "{hex:?}");
    }
    for meaning::Named { name, label } in &golden.labels {
        assert_eq!(Label::of(name).0, *label, "{name}");
    }
}

/// Returns the name of an error in the golden file. A new variant needs a datagram in the file.
fn error_name(error: WireError) -> alloc::string::String {
    match error {
        WireError::TooLong { .. } => "too long".into(),
        WireError::Truncated => "truncated".into(),
        WireError::Version(version) => alloc::format!("version {version}"),
        WireError::Label => "label".into(),
        WireError::Malformed(what) => alloc::format!("malformed {what}"),
        WireError::Rule { field, rule } => alloc::format!("{field}: {rule}"),
    }
}

#[test]
fn each_bad_datagram_is_refused_with_its_golden_error() {
    let golden = Golden::load();
    for case in &golden.refused {
        let bytes = case.bytes();
        let refused =
            Datagram::<SocketAddr>::parse(&bytes, Label(golden.header.label), |claims| (0, claims));
        let error = refused.map_or_else(error_name, |_| "none".into());
        assert_eq!(error, case.error, "{}", case.name);
    }
}
