//! Puts datagrams and events into words.
//!
//! Datagrams are read by the reader that was made from `docs/wire.md`. Random numbers get short
//! names in the order in which they appear: request ids `#1`, `#2`, ...; instances `a`, `b`, ...;
//! fingerprints of tables `A`, `B`, ...

use std::collections::BTreeMap;
use std::net::SocketAddr;

use telemetry_gossip_core::Event;

use crate::meaning::{Claim, Entry, Frame, News, Range, Status};
use crate::reader;

/// The label of a cluster without a name.
const LABEL: u32 = 3_081_061_156;

pub(crate) struct Words {
    /// Names of nodes by their id hashes.
    nodes: BTreeMap<u32, String>,
    requests: Vec<u32>,
    instances: Vec<u32>,
    tables: Vec<u32>,
    /// Whether to say which table a sender has.
    pub(crate) name_tables: bool,
}

/// The place of a number among those seen so far, which it joins if it is new.
fn place(seen: &mut Vec<u32>, number: u32) -> usize {
    seen.iter().position(|&other| other == number).unwrap_or_else(|| {
        seen.push(number);
        seen.len() - 1
    })
}

fn letter(first: char, place: usize) -> String {
    let place = u8::try_from(place).ok().filter(|&place| place < 26);
    place.map_or("?".into(), |place| char::from(first as u8 + place).to_string())
}

impl Words {
    pub(crate) fn new(ids: impl Iterator<Item = String>) -> Self {
        let hashed = |id: String| {
            (
                u32::try_from(reader::hash(id.as_bytes()) >> 32)
                    .expect("the upper half of 64 bits"),
                id,
            )
        };
        Self {
            nodes: ids.map(hashed).collect(),
            requests: Vec::new(),
            instances: Vec::new(),
            tables: Vec::new(),
            name_tables: false,
        }
    }

    /// The names begin anew.
    pub(crate) fn begin(&mut self) {
        (self.requests, self.instances, self.tables) = (Vec::new(), Vec::new(), Vec::new());
    }

    fn node(&self, id_hash: u32) -> String {
        self.nodes.get(&id_hash).cloned().unwrap_or_else(|| format!("{id_hash:08x}"))
    }

    fn request(&mut self, id: u32) -> String {
        format!("#{}", place(&mut self.requests, id) + 1)
    }

    fn instance(&mut self, instance: u32) -> String {
        if instance == 0 {
            "unknown".into()
        } else {
            letter('a', place(&mut self.instances, instance))
        }
    }

    pub(crate) fn datagram(&mut self, bytes: &[u8]) -> String {
        let (header, frames) = reader::datagram(bytes, LABEL).expect("a valid datagram");
        let mut said: Vec<String> = frames.iter().map(|frame| self.frame(frame)).collect();
        if self.name_tables {
            said.insert(
                0,
                format!("table {}", letter('A', place(&mut self.tables, header.claims))),
            );
        }
        said.join(" | ")
    }

    fn frame(&mut self, frame: &Frame) -> String {
        match frame {
            Frame::Ping { number, target } => {
                format!("ping {} of {}", self.request(*number), self.node(*target))
            }
            Frame::Ack { number, instance } => {
                format!("ack {} instance {}", self.request(*number), self.instance(*instance))
            }
            Frame::Nack { number } => format!("nack {}", self.request(*number)),
            Frame::Relay { number, target, .. } => {
                format!("ping-req {}: ping {} for me", self.request(*number), self.node(*target))
            }
            Frame::Claims { claims } => {
                let claims: Vec<String> = claims.iter().map(|claim| self.claim(claim)).collect();
                format!("claims: {}", claims.join(", "))
            }
            Frame::Telemetry(news) => format!("telemetry {}", self.news(news)),
            Frame::TelemetryAnew { floor, news } => {
                format!("telemetry anew, compacted to version {floor}: {}", self.news(news))
            }
            Frame::SyncOpen { number } => format!("sync open {}", self.request(*number)),
            Frame::SyncDigest { number, sums } => {
                format!("sync digest {} of {} ranges", self.request(*number), sums.len())
            }
            Frame::SyncSums { number, ranges, .. } if ranges.is_empty() => {
                format!("sync sums {}: can be read", self.request(*number))
            }
            Frame::SyncSums { number, more, ranges } => {
                let (number, more) = (self.request(*number), self::more(*more));
                format!("sync sums {number}{more} of the parts of {} ranges", ranges.len())
            }
            Frame::SyncVersions { number, ranges, .. } => {
                let ranges: Vec<String> = ranges.iter().map(|range| self.range(range)).collect();
                format!("sync versions {}: {}", self.request(*number), ranges.join("; "))
            }
            Frame::SyncWants { number, more, wants } => {
                let wants: Vec<String> = wants
                    .iter()
                    .map(|want| {
                        let claim = if want.claim { "claim and " } else { "" };
                        format!("{} ({claim}telemetry after {})", self.node(want.tag), want.since)
                    })
                    .collect();
                let wants = if wants.is_empty() { "nothing".into() } else { wants.join(", ") };
                format!("sync wants {}{}: {wants}", self.request(*number), self::more(*more))
            }
            Frame::SyncDone { number, more } => {
                format!("sync done {}{}", self.request(*number), self::more(*more))
            }
            Frame::PageRequest { number, from } => {
                format!("page request {} from id hash {from:08x}", self.request(*number))
            }
            Frame::Page { number, next } => {
                let next = next.map_or("the last".into(), |next| format!("next from {next:08x}"));
                format!("page {}, {next}", self.request(*number))
            }
            Frame::PagePlace { nth } => format!("after {nth} of its id hash"),
            Frame::Gone { sum } => format!("sum of the gone {sum:08x}"),
            Frame::NotAMember { version } => format!("not a member as of version {version}"),
            Frame::SeenAt { address } => format!("seen at {address:?}"),
            Frame::Tree { number, end } => {
                format!("tree {} up to {}", self.request(*number), self.node(*end))
            }
            Frame::TreeAck { number } => format!("tree ack {}", self.request(*number)),
            Frame::Unknown { kind, .. } => format!("unknown frame {kind}"),
        }
    }

    fn claim(&self, claim: &Claim) -> String {
        let status = match claim.status {
            Status::Alive => "alive",
            Status::Suspected => "suspected",
            Status::Dead => "dead",
            Status::Left => "left",
        };
        let accusers: Vec<String> =
            claim.accusers.iter().map(|&accuser| self.node(accuser)).collect();
        let by = if accusers.is_empty() {
            String::new()
        } else {
            format!(" by {}", accusers.join(", "))
        };
        format!("{} {status}@{}{by}", claim.id, claim.generation)
    }

    fn news(&self, news: &News) -> String {
        let entry = |entry: &Entry| {
            let value =
                entry.value.as_ref().map(|value| String::from_utf8_lossy(&value.0).into_owned());
            format!("{}={} (v{})", entry.key, value.as_deref().unwrap_or("removed"), entry.version)
        };
        let entries: Vec<String> = news.entries.iter().map(entry).collect();
        format!("of {} after v{}: {}", self.node(news.owner), news.since, entries.join(", "))
    }

    fn range(&self, range: &Range) -> String {
        let rows: Vec<String> = range
            .rows
            .iter()
            .map(|row| {
                let status = match row.status {
                    Status::Alive => "alive",
                    Status::Suspected => "suspected",
                    Status::Dead => "dead",
                    Status::Left => "left",
                };
                format!("{} {status}@{} v{}", self.node(row.tag), row.generation, row.telemetry)
            })
            .collect();
        let rows = if rows.is_empty() { "no rows".into() } else { rows.join(", ") };
        let whole = (range.from, range.to) == (0, u32::MAX);
        let range =
            if whole { "all".into() } else { format!("{:08x} to {:08x}", range.from, range.to) };
        format!("{range}: {rows}")
    }

    /// What the host is told of members and of the node's own joining and leaving.
    pub(crate) fn event(&self, event: &Event<SocketAddr>) -> Option<String> {
        Some(match event {
            Event::Joined { id, generation, .. } => {
                format!("{id} joined at generation {generation}")
            }
            Event::Alive { id, generation, .. } => {
                format!("{id} is Alive at generation {generation}")
            }
            Event::Suspected { id, generation, .. } => {
                format!("{id} is Suspected at generation {generation}")
            }
            Event::Dead { id, generation, .. } => {
                format!("{id} is Dead at generation {generation}")
            }
            Event::Left { id, generation, .. } => {
                format!("{id} has left at generation {generation}")
            }
            Event::Refuted { generation, .. } => format!("refuted, now at generation {generation}"),
            Event::JoinCompleted { seed, .. } => format!("join completed by {}", seed.ip()),
            Event::LeaveCompleted { heard_by, .. } => {
                format!("leave completed, heard by {heard_by}")
            }
            Event::Isolated { lost, of, .. } => format!("isolated, {lost} of {of} are silent"),
            Event::Reconnected { .. } => "in touch again".into(),
            _ => return None,
        })
    }
}

const fn more(more: bool) -> &'static str {
    if more { ", more" } else { "" }
}
