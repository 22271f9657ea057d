//! Golden datagrams pin the bytes; mutated ones are refused or harmless.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::decode::{Datagram, Frame};
use super::encode::Writer;
use super::read::{Read, Reader};
use super::*;
use crate::error::WireError;
use crate::id::Label;
use crate::membership::Fingerprints;

fn datagram(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buf = [0; 1_400];
    let (label, tag) = (Label(0x0102_0304), Tag(0xaabb_ccdd));
    let fingerprints = Fingerprints { claims: 0x1122_3344, telemetry: 0x5566_7788 };
    let mut w = Writer::new(&mut buf, 1_400, label, tag, fingerprints, 0x0099_aabb).unwrap();
    fill(&mut w);
    let len = w.len();
    buf[..len].to_vec()
}

fn parse(bytes: &[u8]) -> Result<Datagram<'_, u32>, WireError> {
    Datagram::parse(bytes, Label(0x0102_0304), |claims| (0, claims))
}

const HEADER: [u8; HEADER_LEN] =
    [1, 1, 2, 3, 4, 0xaa, 0xbb, 0xcc, 0xdd, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb];

fn claim() -> WireClaim<'static> {
    WireClaim {
        status: 1,
        generation: 300,
        instance: 7,
        id: b"n1",
        address: &[10, 0, 0, 1],
        accusers: core::iter::once(Tag(5)).collect(),
        age_secs: 0,
    }
}

#[test]
fn the_bytes_of_each_frame_are_these() {
    let cases: [(Vec<u8>, &[u8]); 5] = [
        (
            datagram(|w| assert!(w.frame(kind::PING, &Ping { number: 9, target: 0x0a0b_0c0d }))),
            &[1, 8, 0, 0, 0, 9, 0x0a, 0x0b, 0x0c, 0x0d],
        ),
        (
            datagram(|w| assert!(w.frame(kind::ACK, &Ack { number: 9, instance: 1 }))),
            &[2, 8, 0, 0, 0, 9, 0, 0, 0, 1],
        ),
        (datagram(|w| assert!(w.frame(kind::NACK, &Nack { number: 9 }))), &[3, 4, 0, 0, 0, 9]),
        (
            datagram(|w| {
                let open = w.open(kind::CLAIMS).unwrap();
                assert!(w.item(&claim()));
                w.close(open);
            }),
            &[5, 18, 1, 0xac, 2, 0, 0, 0, 7, 2, b'n', b'1', 4, 10, 0, 0, 1, 1, 5, 0],
        ),
        (
            datagram(|w| assert!(w.frame(kind::SYNC_DONE, &SyncDone { number: 9, more: true }))),
            &[11, 5, 0, 0, 0, 9, 1],
        ),
    ];
    for (bytes, frame) in cases {
        assert_eq!(bytes[..HEADER_LEN], HEADER);
        assert_eq!(&bytes[HEADER_LEN..], frame);
        assert!(parse(&bytes).is_ok());
    }
}

#[test]
fn unknown_frames_are_skipped() {
    let mut bytes = datagram(|w| assert!(w.frame(200, &[1_u8, 2, 3])));
    bytes.extend_from_slice(&[3, 4, 0, 0, 0, 9]);
    let frames: Vec<_> = parse(&bytes).unwrap().frames().collect();
    assert!(matches!(frames[..], [Frame::Unknown, Frame::Nack(Nack { number: 9 })]));
}

#[test]
fn each_kind_of_bad_datagram_is_named() {
    let good = datagram(|w| assert!(w.frame(kind::NACK, &Nack { number: 9 })));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let bad_claim = |edit: fn(&mut WireClaim<'static>)| {
        let mut claim = claim();
        edit(&mut claim);
        datagram(|w| {
            let open = w.open(kind::CLAIMS).unwrap();
            assert!(w.item(&claim));
            w.close(open);
        })
    };
    let rule = |bytes: &[u8]| match parse(bytes) {
        Err(WireError::Rule { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(parse(&[]).unwrap_err(), WireError::Truncated);
    assert_eq!(parse(&good[..10]).unwrap_err(), WireError::Truncated);
    assert_eq!(parse(&good[..good.len() - 1]).unwrap_err(), WireError::Truncated);
    assert_eq!(parse(&changed(0, 9)).unwrap_err(), WireError::Version(9));
    assert_eq!(parse(&changed(4, 9)).unwrap_err(), WireError::Label);
    assert_eq!(parse(&changed(HEADER_LEN, kind::PING)).unwrap_err(), WireError::Malformed("ping"));
    assert_eq!(rule(&bad_claim(|claim| claim.status = 4)), "status");
    assert_eq!(rule(&bad_claim(|claim| claim.id = b"")), "id");
    assert_eq!(rule(&bad_claim(|claim| claim.id = b"a\nb")), "id");
    assert_eq!(rule(&bad_claim(|claim| claim.generation = u64::MAX - 1)), "generation");
    assert_eq!(rule(&bad_claim(|claim| claim.status = 0)), "accusers");
    assert_eq!(rule(&bad_claim(|claim| claim.age_secs = 1)), "age");
    assert_eq!(parse(&bad_claim(|claim| claim.address = &[1])).unwrap_err(), WireError::Malformed("address"));
}

/// What the hand-written reader makes of bytes, and what postcard does: the value, and how many bytes it took.
fn both<'a, T: Read<'a> + serde::Deserialize<'a>>(bytes: &'a [u8]) -> [Option<(T, usize)>; 2] {
    let mut reader = Reader::new(bytes);
    let by_hand = T::read(&mut reader).map(|value| (value, reader.rest().len()));
    [by_hand, postcard::take_from_bytes(bytes).ok().map(|(value, rest)| (value, rest.len()))]
}

proptest! {
    #[test]
    fn what_is_read_by_hand_is_what_postcard_reads(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..6, Just(0x80), Just(0xff)], 0..60),
    ) {
        let [by_hand, by_postcard] = both::<WireClaim<'_>>(&bytes);
        prop_assert_eq!(by_hand, by_postcard);
        let [by_hand, by_postcard] = both::<WireEntry<'_>>(&bytes);
        prop_assert_eq!(by_hand, by_postcard);
        let [by_hand, by_postcard] = both::<TelemetryHead>(&bytes);
        prop_assert_eq!(by_hand, by_postcard);
        let [by_hand, by_postcard] = both::<Ping>(&bytes);
        prop_assert_eq!(by_hand, by_postcard);
    }

    /// Whatever comes, parsing ends, and a datagram that passes hands out each of its frames.
    #[test]
    fn parsing_never_panics(frames in prop::collection::vec((0_u8..16, prop::collection::vec(any::<u8>(), 0..60)), 0..6)) {
        let mut bytes = HEADER.to_vec();
        for (kind, body) in &frames {
            bytes.extend_from_slice(&[*kind, u8::try_from(body.len()).unwrap()]);
            bytes.extend_from_slice(body);
        }
        if let Ok(datagram) = parse(&bytes) {
            prop_assert_eq!(datagram.frames().count(), frames.len());
        }
    }
}
