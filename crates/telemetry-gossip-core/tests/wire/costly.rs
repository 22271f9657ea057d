//! Datagrams that ask for as much work as they can: what a liar would send. Each is as long as a
//! datagram may be, and made with the writer beside this file.
//!
//! They were thought out, kind of frame by kind of frame. The fuzz target `cost` starts from them
//! and looks for worse ones; the bench `worst` counts what each of them costs.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::meaning::{Claim, Entry, Frame, Header, Hex, News, Parts, Range, Status, Version, Want};
use crate::writer::datagram;

/// What the liar knows of the node that receives its datagrams.
pub(crate) struct Target<'a> {
    pub(crate) header: Header,
    /// The number of a request of the node that the liar has to answer.
    pub(crate) number: u32,
    /// The node itself.
    pub(crate) node: Known,
    /// The members in its table, as far as datagrams name them.
    pub(crate) members: &'a [Known],
    /// The longest datagram, in bytes.
    pub(crate) longest: usize,
}

/// A member as it stands in the table.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) tag: u32,
    pub(crate) address: Vec<u8>,
    pub(crate) instance: u32,
    pub(crate) generation: u64,
    /// The version up to which its telemetry is held.
    pub(crate) telemetry: u64,
}

impl Target<'_> {
    /// Returns the longest datagram that fits, of those that `frames` makes from a number of items.
    fn longest(&self, frames: impl Fn(usize) -> Vec<Frame>) -> Vec<u8> {
        let len = |count| datagram(&self.header, &frames(count)).len();
        let (mut fits, mut beyond) = (0, 1);
        while len(beyond) <= self.longest && beyond < 4_096 {
            (fits, beyond) = (beyond, beyond * 2);
        }
        while beyond - fits > 1 {
            let middle = fits + (beyond - fits) / 2;
            if len(middle) <= self.longest { fits = middle } else { beyond = middle }
        }
        datagram(&self.header, &frames(fits))
    }

    /// The n-th member, around and around.
    fn member(&self, n: usize) -> &Known {
        self.members.get(n % self.members.len().max(1)).unwrap_or(&self.node)
    }

    /// A claim about the n-th member, `above` what is held.
    fn claim(&self, n: usize, status: Status, above: u64) -> Claim {
        let Known { id, address, instance, generation, .. } = self.member(n).clone();
        Claim {
            status,
            generation: generation + above,
            instance,
            id,
            address: Hex(address),
            accusers: Vec::new(),
            age: 0,
        }
    }

    /// A frame of telemetry of the n-th member after what is held, with `entries` entries.
    fn news(&self, n: usize, since: u64, entries: usize, key: impl Fn(usize) -> String) -> News {
        let Known { tag, instance, telemetry, .. } = *self.member(n);
        let entries = (1..).take(entries).map(|at| Entry {
            version: telemetry + since + at,
            age_ms: 120_000,
            urgent: false,
            key: key(at as usize),
            value: None,
        });
        News { owner: tag, instance, since: telemetry + since, entries: entries.collect() }
    }
}

fn repeat(count: usize, frame: impl Fn(usize) -> Frame) -> Vec<Frame> {
    (0..count).map(frame).collect()
}

/// The key that fills the telemetry logs of all members, at this place.
pub(crate) fn filled_key(at: usize) -> String {
    format!("{at:06}")
}

fn word(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Ranges without rows that together are the whole circle.
fn empty_ranges(count: usize) -> Vec<Range> {
    let (count, mut ranges) = (word(count.max(1)), Vec::new());
    let width = u32::MAX / count;
    for n in 0..count {
        let to = if n + 1 == count { u32::MAX } else { n * width + (width - 1) };
        ranges.push(Range { from: n * width, to, rows: Vec::new() });
    }
    ranges
}

/// Returns ids of 24 bytes that have one and the same hash: the last 8 bytes are chosen so that
/// they cancel what the hash makes of the first 16.
pub(crate) fn namesakes(count: usize) -> Vec<String> {
    const SECRET: [u64; 2] = [0x8bb8_4b93_962e_acc9, 0x4b33_a62e_d433_d4a3];
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        (product & u128::from(u64::MAX)) as u64 ^ (product >> 64) as u64
    };
    let word = |text: &str| u64::from_le_bytes(text.as_bytes().try_into().expect("8 bytes"));
    let ids = (0_u64..).filter_map(|n| {
        let head = format!("{n:016}");
        let seed = fold(SECRET[1], SECRET[0]);
        let seed = fold(word(&head[..8]) ^ SECRET[1], word(&head[8..]) ^ seed);
        let tail = seed.to_le_bytes();
        let visible = tail.iter().all(u8::is_ascii_graphic);
        visible.then(|| head + core::str::from_utf8(&tail).expect("visible bytes are ASCII"))
    });
    ids.take(count).collect()
}

/// All of them, each with a name.
pub(crate) fn datagrams(target: &Target<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = questions(target);
    all.extend(claims(target));
    all.extend(telemetry(target));
    all.extend(signals(target));
    all
}

fn questions(target: &Target<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let number = target.number;
    let whole = || Range { from: 0, to: u32::MAX, rows: Vec::new() };
    let versions = |ranges| Frame::SyncVersions { number, more: false, ranges };
    let rows = |count: usize, version: &dyn Fn(&Known) -> Version| {
        let mut rows: Vec<_> =
            (0..count.min(target.members.len())).map(|n| version(target.member(n))).collect();
        rows.sort_by_key(|row| row.tag);
        Range { from: 0, to: u32::MAX, rows }
    };
    let outdated = |known: &Known| Version {
        tag: known.tag,
        content: 0,
        status: Status::Alive,
        generation: 0,
        telemetry: 0,
    };
    let newer = |known: &Known| Version {
        content: 1,
        generation: known.generation + 2,
        telemetry: known.telemetry + 2,
        ..outdated(known)
    };
    let wants = |wants| Frame::SyncWants { number, more: false, wants };
    let want = |tag, claim, since| Want { tag, claim, since };
    let middle = |known: &Known| known.telemetry.saturating_sub(known.telemetry / 8);
    let pages = |from, nth| {
        target.longest(|n| {
            repeat(2 * n, |at| match at % 2 {
                0 => Frame::PagePlace { nth },
                _ => Frame::PageRequest { number, from },
            })
        })
    };
    let first = target.member(0);
    let sums = |n: usize| Frame::SyncDigest { number, sums: alloc::vec![word(n); 64] };
    let parts = |bits: u8, number| {
        target.longest(|n| {
            let count = n.min(1 << (32 - bits)) as u64;
            let parts = |at| Parts { from: (at << bits) as u32, bits, sums: [1; 16] };
            let ranges = (0..count).map(parts).collect();
            alloc::vec![Frame::SyncSums { number, more: false, ranges }]
        })
    };
    let for_parts = |n: usize| Frame::SyncSums { number: word(n), more: false, ranges: Vec::new() };
    alloc::vec![
        ("sums: the whole circle", parts(32, number)),
        ("sums: ranges with many rows each", parts(28, number)),
        ("sums: ranges with some rows each", parts(26, number)),
        ("sums: ranges with hardly a row each", parts(20, number)),
        ("digest: all differ, and parts are read", {
            target.longest(|n| repeat(n, |at| if at == 0 { for_parts(at) } else { sums(at) }))
        }),
        (
            "versions: ranges without rows",
            target.longest(|n| alloc::vec![versions(empty_ranges(n))]),
        ),
        (
            "versions: the whole circle without rows",
            target.longest(|n| repeat(n, |_| versions(alloc::vec![whole()]))),
        ),
        (
            "versions: outdated rows",
            target.longest(|n| alloc::vec![versions(alloc::vec![rows(n, &outdated)])]),
        ),
        (
            "versions: newer rows",
            target.longest(|n| alloc::vec![versions(alloc::vec![rows(n, &newer)])]),
        ),
        (
            "wants: one member",
            target.longest(|n| {
                alloc::vec![wants(
                    (0..n).map(|at| want(first.tag, at.is_multiple_of(2), 0)).collect()
                )]
            }),
        ),
        (
            "wants: claims and telemetry of many",
            target.longest(|n| {
                alloc::vec![wants((0..n).map(|at| want(target.member(at).tag, true, 0)).collect())]
            }),
        ),
        (
            "wants: the ends of long logs",
            target.longest(|n| {
                let ends = (0..n).map(|at| {
                    let known = target.member(at);
                    want(known.tag, false, known.telemetry.saturating_sub(1))
                });
                alloc::vec![wants(ends.collect())]
            }),
        ),
        (
            "wants: the last eighths of long logs",
            target.longest(|n| {
                let ends = (0..n).map(|at| {
                    let known = target.member(at);
                    want(known.tag, false, middle(known))
                });
                alloc::vec![wants(ends.collect())]
            }),
        ),
        (
            "wants: unknown members",
            target.longest(|n| {
                alloc::vec![wants((0..n).map(|at| want(word(at), true, 0)).collect())]
            }),
        ),
        ("digest: all differ", target.longest(|n| repeat(n, sums))),
        ("pages: from the beginning", pages(0, 0)),
        ("pages: from the first member on", pages(first.tag, 0)),
        ("pages: far into one id hash", pages(first.tag, 5_000)),
        ("pages: behind all", pages(1, u32::MAX)),
        ("sync open", target.longest(|n| repeat(n, |_| Frame::SyncOpen { number })),),
        ("sync done", target.longest(|n| repeat(n, |_| Frame::SyncDone { number, more: true })),),
        (
            "a page in answer",
            target.longest(|n| {
                let mut frames: Vec<Frame> = (0..4)
                    .map(|part| Frame::Claims {
                        claims: (0..n.div_ceil(4)).map(|at| made_up(4 * at + part, 'p')).collect(),
                    })
                    .collect();
                frames.push(Frame::Page { number, next: Some(u32::MAX) });
                frames
            }),
        ),
    ]
}

/// A claim about a member that does not exist.
fn made_up(n: usize, kind: char) -> Claim {
    Claim {
        status: Status::Alive,
        generation: 1,
        instance: 7,
        id: format!("{kind}{n}"),
        address: Hex(alloc::vec![198, 51, (n >> 8 & 0xff) as u8, (n & 0xff) as u8, 1, 1]),
        accusers: Vec::new(),
        age: 0,
    }
}

fn claims(target: &Target<'_>) -> Vec<(&'static str, Vec<u8>)> {
    // A node reads four frames of claims, and they may be of any length.
    let each = |claim: &dyn Fn(usize) -> Claim| {
        target.longest(|n| alloc::vec![Frame::Claims { claims: (0..n).map(claim).collect() }])
    };
    let of = |status, above| move |n: usize| target.claim(n, status, above);
    let accused = |n: usize| Claim {
        accusers: (1..=4).map(|at| target.member(n + at).tag).collect(),
        ..target.claim(n, Status::Suspected, 1)
    };
    let moved = |n: usize| Claim {
        instance: 3,
        address: made_up(n, 'm').address,
        ..target.claim(n, Status::Alive, 2)
    };
    let own = |n: usize| {
        let Known { id, address, instance, generation, .. } = target.node.clone();
        Claim {
            status: Status::Suspected,
            generation: generation + 1 + n as u64,
            instance,
            id,
            address: Hex(address),
            accusers: (0..4).map(|at| target.member(n + at).tag).collect(),
            age: 0,
        }
    };
    let ladder = |n: usize| {
        let status = if n.is_multiple_of(2) { Status::Alive } else { Status::Suspected };
        Claim { generation: n as u64 + 1, ..target.claim(0, status, 0) }
    };
    let crowd = |n: usize| {
        alloc::vec![
            Frame::Claims { claims: (0..n).map(|at| target.claim(at, Status::Dead, 1)).collect() },
            Frame::SyncDone { number: target.number, more: false },
        ]
    };
    let unknown_dead = |n: usize| {
        let dead = |at| Claim { status: Status::Dead, ..made_up(at, 'd') };
        alloc::vec![
            Frame::Claims { claims: (0..n).map(dead).collect() },
            Frame::SyncDone { number: target.number, more: false },
        ]
    };
    alloc::vec![
        ("claims: alive, held already", each(&of(Status::Alive, 0))),
        ("claims: alive, higher", each(&of(Status::Alive, 2))),
        ("claims: suspected", each(&of(Status::Suspected, 1))),
        ("claims: suspected, by four", each(&accused)),
        ("claims: dead", each(&of(Status::Dead, 1))),
        ("claims: left", each(&of(Status::Left, 1))),
        ("claims: alive, far higher", each(&of(Status::Alive, 1 << 40))),
        ("claims: other addresses", each(&moved)),
        ("claims: made up", each(&|n| made_up(n, 'x'))),
        ("claims: the node itself", each(&own)),
        ("claims: one member up a ladder", each(&ladder)),
        ("claims: dead, in a session", target.longest(crowd)),
        ("claims: unknown and dead, in a session", target.longest(unknown_dead)),
    ]
}

fn telemetry(target: &Target<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let tree = || Frame::Tree { number: 1, end: target.node.tag.wrapping_sub(1) };
    let scattered = |at: usize| filled_key(at * 13 % 1_000);
    let along = |frames: Vec<Frame>| {
        let mut all = alloc::vec![tree()];
        all.extend(frames);
        all
    };
    let one = |n| alloc::vec![Frame::Telemetry(target.news(0, 0, n, scattered))];
    let each_owner = |n| repeat(n, |at| Frame::Telemetry(target.news(at, 0, 1, scattered)));
    let own = |n: usize| {
        repeat(n, |at| {
            let Known { tag, instance, .. } = target.node;
            let mut news = target.news(0, at as u64 * 9, 1, scattered);
            (news.owner, news.instance) = (tag, instance);
            Frame::Telemetry(news)
        })
    };
    alloc::vec![
        ("telemetry: many entries of one owner", target.longest(one)),
        ("telemetry: the same along a tree", target.longest(|n| along(one(n)))),
        (
            "telemetry: many frames of one owner",
            target.longest(|n| {
                repeat(n, |at| Frame::Telemetry(target.news(0, at as u64, 1, |_| scattered(at))))
            }),
        ),
        ("telemetry: one entry of each owner", target.longest(each_owner)),
        ("telemetry: the same, along a tree", target.longest(|n| along(each_owner(n)))),
        (
            "telemetry: a gap at each owner, along a tree",
            target.longest(|n| {
                along(repeat(n, |at| Frame::Telemetry(target.news(at, 5, 1, scattered))))
            }),
        ),
        (
            "telemetry: empty frames",
            target.longest(|n| repeat(n, |at| Frame::Telemetry(target.news(at, 0, 0, scattered)))),
        ),
        (
            "telemetry: logs read anew",
            target.longest(|n| {
                repeat(n, |at| {
                    let news = target.news(at, 9, 1, scattered);
                    Frame::TelemetryAnew { floor: news.since, news }
                })
            }),
        ),
        (
            "telemetry: older than what is held",
            target.longest(|n| {
                repeat(n, |at| {
                    let mut news = target.news(at, 0, 1, scattered);
                    news.since = 0;
                    news.entries
                        .iter_mut()
                        .for_each(|entry| (entry.version, entry.age_ms) = (1, 0));
                    Frame::Telemetry(news)
                })
            }),
        ),
        ("telemetry: of the node itself", target.longest(own)),
        (
            "telemetry, then wants of long logs",
            target.longest(|n| {
                let mut frames = each_owner(n);
                let want = |at: usize| Want {
                    tag: target.member(at).tag,
                    claim: false,
                    since: target.member(at).telemetry,
                };
                let wants = (0..n).map(want).collect();
                frames.push(Frame::SyncWants { number: target.number, more: false, wants });
                frames
            }),
        ),
    ]
}

fn signals(target: &Target<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let (number, node) = (target.number, &target.node);
    let unknown = |n: usize| Frame::Unknown { kind: 99, body: Hex(alloc::vec![0; n]) };
    let mixture = |n: usize| {
        let mut frames = alloc::vec![
            Frame::Ping { number, target: node.tag },
            Frame::Relay {
                number,
                target: target.member(1).tag,
                address: Hex(target.member(1).address.clone()),
            },
            Frame::Tree { number, end: node.tag.wrapping_sub(1) },
        ];
        frames.extend((0..n).map(|at| match at % 3 {
            0 => Frame::Claims { claims: alloc::vec![target.claim(at, Status::Left, 1)] },
            1 => Frame::Telemetry(target.news(at, 0, 1, |_| filled_key(at))),
            _ => Frame::Nack { number: word(at) },
        }));
        frames
    };
    alloc::vec![
        ("pings", target.longest(|n| repeat(n, |_| Frame::Ping { number, target: node.tag }))),
        ("acks", target.longest(|n| repeat(n, |at| Frame::Ack { number: word(at), instance: 1 })),),
        ("nacks", target.longest(|n| repeat(n, |at| Frame::Nack { number: word(at) }))),
        (
            "ping-reqs",
            target.longest(|n| {
                repeat(n, |at| Frame::Relay {
                    number,
                    target: target.member(at).tag,
                    address: Hex(target.member(at).address.clone()),
                })
            }),
        ),
        ("tree acks", target.longest(|n| repeat(n, |at| Frame::TreeAck { number: word(at) }))),
        ("trees", target.longest(|n| repeat(n, |at| Frame::Tree { number, end: word(at) }))),
        ("unknown frames", target.longest(|n| repeat(n, |_| unknown(0)))),
        ("one unknown frame", target.longest(|n| alloc::vec![unknown(n)])),
        ("a mixture", target.longest(mixture)),
    ]
}
