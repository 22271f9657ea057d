//! Bytes to an address that has never answered: whatever one datagram says of it, and to which node
//! it is sent, all nodes together send little there.

use super::*;
use crate::wire::{
    DigestHead, HEADER_LEN, PING_LEN, Page, PageRequest, PingReq, RangeHead, SyncDone, SyncOpen,
    Tree, VersionsHead, WantsHead, WireSum, WireWant, kind,
};

/// The most bytes that are sent to the address, as a multiple of the datagram that named it.
const MOST_TIMES: usize = 3;

/// The lengths of the datagrams. The shortest one that names an address has 41 bytes.
const LENGTHS: [usize; 6] = [41, 46, 53, 75, 400, 1_400];

/// The seed through which a node joins that is told lies. It is no victim.
const SEED: u32 = 1_000;

/// The address that is named.
const VICTIM: u32 = 2_000;

/// A datagram to one of the nodes, and the source address that it states.
struct Forged {
    from: u32,
    to: u32,
    bytes: Vec<u8>,
}

/// Makes a datagram that names an address, of a length or shorter, if there is one.
type Kind = fn(&mut Net, u32, usize) -> Option<Forged>;

/// A claim that a member of a short id is at the address.
fn named(victim: u32, n: usize) -> Claim<'static, u32> {
    let id: &'static str = String::leak(alloc::format!("{n:02}"));
    Claim { id, ..alive(victim, 1) }
}

/// As many of these claims as fit, followed by what `then` writes.
fn filled(
    sender: u32,
    len: usize,
    claim: impl Fn(usize) -> Claim<'static, u32>,
    then: impl Fn(&mut Writer<'_>),
) -> Option<Vec<u8>> {
    let tail = datagram(sender, then)[HEADER_LEN..].to_vec();
    let with = |count: usize| {
        let all: Vec<_> = (0..count).map(&claim).collect();
        [claims(sender, &all), tail.clone()].concat()
    };
    let one = with(1).len();
    let each = with(2).len() - one;
    let mut most = 1 + len.checked_sub(one)?.saturating_sub(2) / each;
    while most > 1 && with(most).len() > len {
        most -= 1;
    }
    Some(with(most))
}

/// The datagram with a frame of an unknown kind behind it, so that it has this length.
pub(super) fn padded(mut bytes: Vec<u8>, len: usize) -> Option<Vec<u8>> {
    let rest = len.checked_sub(bytes.len())?;
    match rest {
        0 => {}
        1 => return None,
        _ => {
            let body = if rest < 130 { rest - 2 } else { rest - 3 };
            bytes.push(200);
            if rest < 130 {
                bytes.push(u8::try_from(body).ok()?);
            } else {
                bytes.extend([
                    u8::try_from(body & 0x7f | 0x80).ok()?,
                    u8::try_from(body >> 7).ok()?,
                ]);
            }
            bytes.resize(len, 0);
        }
    }
    Some(bytes)
}

/// From a stranger at an address at which no node is.
fn by_stranger(bytes: Option<Vec<u8>>) -> Option<Forged> {
    Some(Forged { from: 900, to: 1, bytes: bytes? })
}

/// In the name of the victim: its address is the source.
fn spoofed(victim: u32, sender: u32, len: usize, put: impl Fn(&mut Writer<'_>)) -> Option<Forged> {
    let bytes = padded(datagram(sender, put), len)?;
    Some(Forged { from: victim, to: 1, bytes })
}

fn ping_req(w: &mut Writer<'_>, victim: u32, target: IdHash) {
    let address = &victim.to_be_bytes();
    assert!(w.frame(kind::PING_REQ, &PingReq { number: 1, target: target.0, address }));
}

fn whole_table(w: &mut Writer<'_>) {
    let open = w.open(kind::SYNC_VERSIONS).unwrap();
    assert!(w.item(&VersionsHead { number: 1, more: false }));
    assert!(w.item(&RangeHead { from: 0, to: u32::MAX, rows: 0 }));
    w.close(open);
}

fn wants(w: &mut Writer<'_>) {
    let open = w.open(kind::SYNC_WANTS).unwrap();
    assert!(w.item(&WantsHead { number: 1, more: false }));
    for address in 1..=9 {
        let id_hash = id(address).id_hash().0;
        assert!(w.item(&WireWant { id_hash, claim: true, since: 0 }));
    }
    w.close(open);
}

fn digest(w: &mut Writer<'_>) {
    let open = w.open(kind::SYNC_DIGEST).unwrap();
    assert!(w.item(&DigestHead { number: 1 }));
    (0..16).for_each(|sum| assert!(w.item(&WireSum { sum })));
    w.close(open);
}

/// Lets a node compare its table. Returns its partner and the number of the session.
fn session(net: &mut Net) -> Option<(u32, u32)> {
    let now = net.now;
    net.node(1).handle(now, Input::Exchange).unwrap();
    drain(net.node(1)).iter().find_map(|(to, bytes)| {
        frames(bytes).into_iter().find_map(|frame| match frame {
            Frame::SyncVersions(head, _) => Some((*to, head.number)),
            Frame::SyncOpen(open) => Some((*to, open.number)),
            Frame::SyncDigest(head, _) => Some((*to, head.number)),
            _ => None,
        })
    })
}

/// An answer in a session of node 1, with such claims.
fn in_session(
    net: &mut Net,
    len: usize,
    claim: impl Fn(usize) -> Claim<'static, u32>,
) -> Option<Forged> {
    let (partner, number) = session(net)?;
    let done = SyncDone { number, more: false };
    let bytes = filled(partner, len, claim, |w| assert!(w.frame(kind::SYNC_DONE, &done)))?;
    Some(Forged { from: partner, to: 1, bytes })
}

/// A page of a join of node 2, with such claims.
fn in_page(
    net: &mut Net,
    len: usize,
    claim: impl Fn(usize) -> Claim<'static, u32>,
) -> Option<Forged> {
    let now = net.now;
    net.node(2).handle(now, Input::Join { seeds: alloc::vec![SEED].into() }).unwrap();
    let number = drain(net.node(2)).iter().find_map(|(_, bytes)| {
        frames(bytes).into_iter().find_map(|frame| match frame {
            Frame::PageRequest(request) => Some(request.number),
            _ => None,
        })
    })?;
    let page = Page { number, next: None };
    let bytes = filled(SEED, len, claim, |w| assert!(w.frame(kind::PAGE, &page)))?;
    Some(Forged { from: SEED, to: 2, bytes })
}

fn with_status(victim: u32, n: usize, status: Status) -> Claim<'static, u32> {
    Claim { status, ..named(victim, n) }
}

const KINDS: &[(&str, Kind)] = &[
    ("one claim", |_, victim, len| by_stranger(padded(claims(900, &[named(victim, 0)]), len))),
    ("claims", |_, victim, len| by_stranger(filled(900, len, |n| named(victim, n), |_| {}))),
    ("claims of the dead", |_, victim, len| {
        by_stranger(filled(900, len, |n| with_status(victim, n, Status::Dead), |_| {}))
    }),
    ("a member has moved there", |_, victim, len| {
        let moved = Claim { address: Some(victim), ..alive(3, 9) };
        by_stranger(padded(claims(900, &[moved]), len))
    }),
    ("a member is suspected there", |_, victim, len| {
        let accusers: Accusers = [id(4).id_hash(), id(5).id_hash()].into_iter().collect();
        let status = Status::Suspected;
        let moved = Claim { address: Some(victim), status, accusers, ..alive(3, 9) };
        by_stranger(padded(claims(900, &[moved]), len))
    }),
    ("the node itself is there", |_, victim, len| {
        let rival = Claim { address: Some(victim), instance: Instance(u32::MAX), ..alive(1, 9) };
        by_stranger(padded(claims(900, &[rival]), len))
    }),
    ("claims of the dead in a session", |net, victim, len| {
        in_session(net, len, |n| with_status(victim, n, Status::Dead))
    }),
    ("claims of leavers in a session", |net, victim, len| {
        in_session(net, len, |n| with_status(victim, n, Status::Left))
    }),
    ("claims in a session", |net, victim, len| in_session(net, len, |n| named(victim, n))),
    ("a member has died there, in a session", |net, victim, len| {
        in_session(net, len, |_| Claim {
            address: Some(victim),
            status: Status::Dead,
            instance: Instance(5),
            ..alive(3, 5)
        })
    }),
    ("one claim in a page", |net, victim, len| {
        let Forged { from, to, bytes } = in_page(net, len.min(50), |_| named(victim, 0))?;
        Some(Forged { from, to, bytes: padded(bytes, len)? })
    }),
    ("claims in a page", |net, victim, len| in_page(net, len, |n| named(victim, n))),
    ("claims of the dead in a page", |net, victim, len| {
        in_page(net, len, |n| with_status(victim, n, Status::Dead))
    }),
    ("a ping in its name", |_, victim, len| {
        spoofed(victim, 900, len, |w| {
            assert!(w.lead(kind::PING, 1, id(1).id_hash().0));
        })
    }),
    ("a ping in its name and that of a member", |_, victim, len| {
        spoofed(victim, 3, len, |w| {
            assert!(w.lead(kind::PING, 1, id(1).id_hash().0));
        })
    }),
    ("a ping-req to it", |_, victim, len| {
        let bytes = datagram(900, |w| ping_req(w, victim, id(7).id_hash()));
        by_stranger(padded(bytes, len))
    }),
    ("a ping-req to it in its own name", |_, victim, len| {
        spoofed(victim, 900, len, |w| {
            assert!(w.lead(kind::PING, 1, id(1).id_hash().0));
            ping_req(w, victim, id(7).id_hash());
        })
    }),
    ("a ping-req to a member in its name", |_, victim, len| {
        spoofed(victim, 900, len, |w| ping_req(w, 3, id(3).id_hash()))
    }),
    ("a join in its name", |_, victim, len| {
        let request = PageRequest { number: 1, from: 0 };
        let put = |w: &mut Writer<'_>| assert!(w.frame(kind::PAGE_REQUEST, &request));
        let bytes = filled(900, len.min(60), |n| named(victim, n), put)?;
        Some(Forged { from: victim, to: 1, bytes: padded(bytes, len)? })
    }),
    ("a join and claims in its name", |_, victim, len| {
        let request = PageRequest { number: 1, from: 0 };
        let bytes = filled(
            900,
            len,
            |n| named(victim, n),
            |w| {
                assert!(w.frame(kind::PAGE_REQUEST, &request));
            },
        )?;
        Some(Forged { from: victim, to: 1, bytes })
    }),
    ("everything in its name", |_, victim, len| {
        let bytes = filled(
            900,
            len,
            |n| named(victim, n),
            |w| {
                assert!(w.frame(
                    kind::PING,
                    &crate::wire::Ping { number: 1, target: id(1).id_hash().0 }
                ));
                ping_req(w, victim, id(7).id_hash());
            },
        )?;
        Some(Forged { from: victim, to: 1, bytes })
    }),
    ("a sync open in its name", |_, victim, len| {
        spoofed(victim, 900, len, |w| assert!(w.frame(kind::SYNC_OPEN, &SyncOpen { number: 1 })))
    }),
    ("a digest in its name", |_, victim, len| {
        (len >= 100).then(|| spoofed(victim, 900, len, digest))?
    }),
    ("versions in its name", |_, victim, len| spoofed(victim, 900, len, whole_table)),
    ("wants in its name", |_, victim, len| {
        (len >= 100).then(|| spoofed(victim, 900, len, wants))?
    }),
    ("a tree in its name", |_, victim, len| {
        spoofed(victim, 900, len, |w| assert!(w.frame(kind::TREE, &Tree { number: 1, end: 0 })))
    }),
];

/// Tells one node of a cluster about the address, and counts the datagrams and the bytes that all
/// nodes send there within an hour. `None` if there is no such datagram.
fn sent_for(saved: &[Vec<u8>], forge: Kind, len: usize) -> Option<(usize, usize, usize)> {
    let nodes = saved.iter().map(|bytes| Node::restore(bytes).unwrap()).collect::<Vec<_>>();
    let count = u32::try_from(nodes.len()).unwrap();
    let now = nodes.iter().map(Node::now).max().unwrap();
    let mut net = Net { nodes, now, ..Net::new(0, &Config::default()) };
    let Forged { from, to, bytes } = forge(&mut net, VICTIM, len)?;
    assert!(bytes.len() <= len);
    hear(net.node(to), from, &bytes);
    let (mut datagrams, mut sent) = (0, 0);
    for _ in 0..60 {
        net.run_for(Duration::from_secs(60));
        for (_, _, bytes) in net.log.drain(..).filter(|&(_, to, _)| to == VICTIM) {
            (datagrams, sent) = (datagrams + 1, sent + bytes.len());
        }
    }
    for address in 1..=count {
        assert_eq!(net.node(address).health().alive, count, "at n{address}");
    }
    Some((bytes.len(), datagrams, sent))
}

fn assert_little_is_sent(nodes: u32, lengths: &[usize]) {
    let mut net = Net::joined(nodes, &Config::default());
    net.run_for(Duration::from_secs(30));
    for address in 1..=nodes {
        net.events(address);
    }
    let saved: Vec<_> = net.nodes.iter().map(|node| node.snapshot().unwrap()).collect();
    let (mut beyond, mut asked) = (Vec::new(), 0);
    for &(what, forge) in KINDS {
        for &len in lengths {
            let Some((len, datagrams, sent)) = sent_for(&saved, forge, len) else { continue };
            asked += usize::from(sent > 0);
            if sent > MOST_TIMES * len {
                beyond.push(alloc::format!("{what}: {sent} in {datagrams} for {len}"));
            }
        }
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
    assert!(asked > KINDS.len() * lengths.len() / 3, "{asked} have the address asked");
}

#[test]
fn an_address_that_never_answers_gets_three_times_the_bytes_that_named_it_in_an_hour() {
    assert_little_is_sent(12, &LENGTHS);
}

#[test]
#[ignore = "takes minutes"]
fn an_address_that_never_answers_gets_as_little_from_60_nodes() {
    assert_little_is_sent(60, &[60, 1_400]);
}

/// Answers and pings to a member from the pages of a join have no frame but the ping, and no rumor,
/// whatever this node has to tell.
#[test]
fn pings_to_a_member_that_has_never_answered_are_bare() {
    let mut net = Net::joined(6, &Config::default());
    net.run_for(Duration::from_secs(30));
    let Forged { from, to, bytes } = in_page(&mut net, 60, |n| named(VICTIM, n)).unwrap();
    hear(net.node(to), from, &bytes);
    assert!(net.node(to).member("00").is_some(), "it is a member, for now");
    net.log.clear();
    for round in 0..60 {
        // There are rumors all the time, and now and then all members are called.
        net.input(
            to,
            Input::Publish { key: "load".into(), value: [round].as_slice().into(), urgent: true },
        );
        let suspected = Claim { status: Status::Left, ..alive(300 + u32::from(round), 1) };
        hear(net.node(to), 3, &claims(3, &[suspected]));
        if round == 2 {
            net.cut = (1..=6).filter(|&at| at != 5).flat_map(|at| [(at, 5), (5, at)]).collect();
            let now = net.now;
            net.node(to).handle(now, Input::Probe { id: id(5) }).unwrap();
            net.node(to).handle(now, Input::Probe { id: "00".parse().unwrap() }).unwrap();
        }
        net.run_for(Duration::from_secs(1));
    }
    let to_it: Vec<_> = net.log.iter().filter(|&&(_, to, _)| to == VICTIM).collect();
    assert!(to_it.len() >= 4, "{}", to_it.len());
    for (from, _, bytes) in to_it {
        let frames = frames(bytes);
        let bare = matches!(frames[..], [Frame::Ping(_)]) && bytes.len() == PING_LEN;
        assert!(bare, "n{from} says {frames:?}");
    }
}
