//! Tests of the bytes: golden datagrams pin them, and random ones never make the parser panic.
//!
//! The tests in `tests/wire` check, from outside the crate, which datagrams a node refuses and how
//! it takes the others.

mod golden;

use proptest::prelude::*;

use super::decode::{Datagram, Frame};
use super::encode::Writer;
use super::read::{Read, Reader};
use super::*;
use crate::error::WireError;
use crate::id::Label;
use crate::membership::Fingerprints;

fn parse(bytes: &[u8]) -> Result<Datagram<'_, u32>, WireError> {
    Datagram::parse(bytes, Label(0x0102_0304), |claims| (0, claims))
}

const HEADER: [u8; HEADER_LEN] = [
    1, 1, 2, 3, 4, 0xaa, 0xbb, 0xcc, 0xdd, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99,
    0xaa, 0xbb,
];

/// Returns what [`Reader`] reads from the bytes and what postcard reads: the value, and the number
/// of bytes after it.
fn both<'a, T: Read<'a> + serde::Deserialize<'a>>(bytes: &'a [u8]) -> [Option<(T, usize)>; 2] {
    let mut reader = Reader::new(bytes);
    let by_hand = T::read(&mut reader).map(|value| (value, reader.rest().len()));
    [by_hand, postcard::take_from_bytes(bytes).ok().map(|(value, rest)| (value, rest.len()))]
}

proptest! {
    #[test]
    fn the_reader_and_postcard_read_the_same_values(
        bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), 0_u8..6, Just(0x80), Just(0xff)],
            0..60,
        ),
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

    #[test]
    fn parsing_never_panics_and_a_valid_datagram_gives_all_its_frames(
        frames in prop::collection::vec(
            (0_u8..16, prop::collection::vec(any::<u8>(), 0..60)),
            0..6,
        ),
    ) {
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
