//! Properties of sealing, tested over many inputs: a sealed datagram opens once, and all other
//! bytes are refused and leave no trace.
#![forbid(unsafe_code)]
#![deny(warnings)]

use proptest::prelude::*;
use telemetry_gossip_core::Label;
use telemetry_gossip_seal::{
    Key, Keyring, NoncePrefix, OVERHEAD, Refusal, Seal, SealError, SealStats, WINDOW,
};

const CLUSTER: &str = "production";

fn key(byte: u8) -> Key {
    Key::new([byte; 32])
}

/// The seal of one node of the cluster.
fn seal(node: u8) -> Seal {
    Seal::new(Keyring::new(Label::of(CLUSTER), key(7)), NoncePrefix::new([node; 16]))
}

fn sealed(by: &mut Seal, plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0; plain.len() + OVERHEAD];
    let len = by.seal(plain, &mut out).unwrap();
    assert_eq!(len, out.len());
    out
}

fn opened(by: &mut Seal, datagram: &[u8]) -> Result<Vec<u8>, Refusal> {
    by.open(&mut datagram.to_vec()).map(<[u8]>::to_vec)
}

/// The counters that a refusal must not change.
fn without_refusals(stats: SealStats) -> (u64, u64, u64, u64) {
    (stats.sealed, stats.opened, stats.windows, stats.windows_forgotten)
}

proptest! {
    #[test]
    fn a_sealed_datagram_hides_its_contents_and_opens_to_them(
        plain in proptest::collection::vec(any::<u8>(), 0..1_500),
    ) {
        let (mut a, mut b) = (seal(1), seal(2));
        let datagram = sealed(&mut a, &plain);
        if plain.len() >= 8 {
            prop_assert!(!datagram.windows(8).any(|shown| shown == &plain[..8]));
        }
        prop_assert_eq!(opened(&mut b, &datagram), Ok(plain));
    }

    #[test]
    fn a_flipped_bit_and_a_changed_length_are_refused(
        plain in proptest::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let (mut a, mut b) = (seal(1), seal(2));
        let whole = sealed(&mut a, &plain);
        let before = without_refusals(b.stats());
        let at = at.index(whole.len());
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        let longer = [&whole[..], &[0]].concat();
        for damaged in [&flipped[..], &whole[..at], &longer] {
            prop_assert!(opened(&mut b, damaged).is_err());
        }
        prop_assert_eq!((without_refusals(b.stats()), b.stats().refused()), (before, 3));
        prop_assert_eq!(opened(&mut b, &whole), Ok(plain), "the undamaged datagram still opens");
    }

    #[test]
    fn arbitrary_bytes_are_refused_and_leave_no_trace(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        with_header in any::<bool>(),
    ) {
        let mut b = seal(2);
        if with_header && bytes.len() >= 5 {
            bytes[0] = 0x81;
            bytes[1..5].copy_from_slice(&key(7).id().to_bytes());
        }
        let before = without_refusals(b.stats());
        prop_assert!(opened(&mut b, &bytes).is_err());
        prop_assert_eq!((without_refusals(b.stats()), b.stats().refused()), (before, 1));
    }

    /// The order is arbitrary within the window, with any number of repetitions.
    #[test]
    fn datagrams_in_any_order_are_opened_once_each(
        order in proptest::collection::vec(0..100_usize, 1..300),
    ) {
        let (mut a, mut b) = (seal(1), seal(2));
        let sent: Vec<Vec<u8>> =
            (0..100_u64).map(|number| sealed(&mut a, &number.to_be_bytes())).collect();
        let mut accepted = std::collections::BTreeSet::new();
        for at in order {
            let expected = if accepted.insert(at) {
                Ok((at as u64).to_be_bytes().to_vec())
            } else {
                Err(Refusal::Replayed)
            };
            prop_assert_eq!(opened(&mut b, &sent[at]), expected);
        }
        prop_assert_eq!(b.stats().windows, 1);
    }

    /// Nodes take each step of a key change one by one, in any order. A step begins when the one
    /// before is done on all nodes. At any time all nodes understand each other.
    #[test]
    fn a_key_is_changed_without_losing_a_datagram(
        steps in proptest::collection::vec(Just([0_u8, 1, 2, 3]).prop_shuffle(), 3),
    ) {
        let mut nodes: Vec<Seal> = (0..4).map(seal).collect();
        let (old, new) = (key(7).id(), key(8).id());
        for (step, order) in steps.iter().enumerate() {
            for &node in order {
                let ring = nodes[usize::from(node)].keyring_mut();
                match step {
                    0 => ring.add(key(8)),
                    1 => ring.use_key(new),
                    _ => ring.remove(old),
                }.unwrap();
                for from in 0..4 {
                    let datagram = sealed(&mut nodes[from], b"on");
                    for to in (0..4).filter(|&to| to != from) {
                        prop_assert_eq!(opened(&mut nodes[to], &datagram), Ok(b"on".to_vec()));
                    }
                }
            }
        }
        for node in &nodes {
            prop_assert!(node.keyring().ids().eq([new]));
            prop_assert_eq!(node.stats().refused(), 0);
        }
    }
}

#[test]
fn each_reason_for_a_refusal_is_returned_and_counted() {
    let (mut a, mut b) = (seal(1), seal(2));
    let other_key = Keyring::new(Label::of(CLUSTER), key(9));
    let other_label = Keyring::new(Label::of("staging"), key(7));
    let from = |ring: Keyring| sealed(&mut Seal::new(ring, NoncePrefix::new([3; 16])), b"x");
    let own = sealed(&mut b, b"x");
    let first = sealed(&mut a, b"x");
    opened(&mut b, &first).unwrap();
    for _ in 0..WINDOW - 1 {
        sealed(&mut a, b"x");
    }
    let last = sealed(&mut a, b"x");
    opened(&mut b, &last).unwrap();

    let mut plaintext = vec![0; 100];
    plaintext[0] = telemetry_gossip_core::WIRE_VERSION;
    let is_short =
        |refusal, bytes| matches!(refusal, Refusal::TooShort { len, .. } if len == bytes);
    type IsExpected<'a> = &'a dyn Fn(Refusal) -> bool;
    let cases: [(Vec<u8>, IsExpected<'_>); 9] = [
        (vec![], &|refusal| is_short(refusal, 0)),
        (last[..OVERHEAD - 1].to_vec(), &|refusal| is_short(refusal, OVERHEAD - 1)),
        (vec![0x81; 65_508], &|refusal| matches!(refusal, Refusal::TooLong { len: 65_508, .. })),
        (plaintext, &|refusal| refusal == Refusal::NotSealed),
        (from(other_key), &|refusal| refusal == Refusal::UnknownKey(key(9).id())),
        (from(other_label), &|refusal| refusal == Refusal::NotAuthentic),
        (own, &|refusal| refusal == Refusal::Own),
        (last.clone(), &|refusal| refusal == Refusal::Replayed),
        (first, &|refusal| refusal == Refusal::Stale),
    ];
    for (datagram, is_expected) in cases {
        let before = b.stats();
        let refusal = opened(&mut b, &datagram).unwrap_err();
        assert!(is_expected(refusal), "{refusal}");
        assert_eq!(b.stats().refused(), before.refused() + 1, "{refusal}");
        assert_eq!(without_refusals(b.stats()), without_refusals(before), "{refusal}");
    }
    let SealStats {
        too_short,
        too_long,
        not_sealed,
        unknown_key,
        own,
        replayed,
        stale,
        not_authentic,
        ..
    } = b.stats();
    let counters =
        [too_short, too_long, not_sealed, unknown_key, own, replayed, stale, not_authentic];
    assert_eq!(counters, [2, 1, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn a_restarted_node_is_understood_although_its_counter_starts_again() {
    let mut b = seal(2);
    for instance in 10..20 {
        let mut a = seal(instance);
        for _ in 0..3 {
            let datagram = sealed(&mut a, b"x");
            assert_eq!(opened(&mut b, &datagram), Ok(b"x".to_vec()));
        }
    }
    assert_eq!(b.stats().windows, 10);
}

#[test]
fn datagrams_recorded_under_a_removed_key_are_refused() {
    let (mut a, mut b) = (seal(1), seal(2));
    let recorded = sealed(&mut a, b"x");
    b.keyring_mut().add(key(8)).unwrap();
    b.keyring_mut().use_key(key(8).id()).unwrap();
    b.keyring_mut().remove(key(7).id()).unwrap();
    assert_eq!(opened(&mut b, &recorded), Err(Refusal::UnknownKey(key(7).id())));
}

#[test]
fn a_datagram_too_long_for_its_buffer_uses_no_counter() {
    let (mut a, mut b) = (seal(1), seal(2));
    let (mut small, mut large) = ([0; 99], vec![0; 70_000]);
    let refused = a.seal(&[0; 55], &mut small);
    assert!(matches!(refused, Err(SealError::NoRoom { len: 100, room: 99, .. })));
    let refused = a.seal(&vec![0; 65_507 - OVERHEAD + 1], &mut large);
    assert!(matches!(refused, Err(SealError::NoRoom { len: 65_508, room: 65_507, .. })));
    assert_eq!(a.stats().sealed, 0);
    let len = a.seal(&vec![1; 65_507 - OVERHEAD], &mut large).unwrap();
    assert_eq!(b.open(&mut large[..len]).map(<[u8]>::len), Ok(65_507 - OVERHEAD));
}

#[test]
fn only_a_new_nonce_prefix_allocates() {
    let (mut a, mut b) = (seal(1), seal(2));
    let mut buf = [0; 1_400];
    let mut exchange = |times: u32| {
        for _ in 0..times {
            let len = a.seal(&[5; 1_000], &mut buf).unwrap();
            let mut again = buf;
            assert!(b.open(&mut buf[..len]).is_ok() && b.open(&mut again[..len]).is_err());
            again[40] ^= 1;
            again[28] ^= 1;
            assert!(b.open(&mut again[..len]).is_err());
        }
    };
    exchange(1);
    let info = allocation_counter::measure(|| exchange(1_000));
    assert_eq!(info.count_total, 0);
}

#[test]
fn seals_and_keys_can_be_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Seal>();
    check::<Keyring>();
    check::<Key>();
}
