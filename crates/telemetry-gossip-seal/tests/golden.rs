//! Sealed datagrams byte for byte, and the replay window counter by counter, as `docs/wire.md`
//! quotes them for other implementations. The bytes were computed by another implementation of the
//! cipher.
#![forbid(unsafe_code)]
#![deny(warnings)]

use telemetry_gossip_core::Label;
use telemetry_gossip_seal::{Key, Keyring, NoncePrefix, Refusal, Seal};

/// 32 bytes, 00 to 1f.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What a node with the nonce prefix a5 a5 ... seals, one after the other: the contents, and the
/// datagram as format, key id, nonce prefix, counter, ciphertext and authentication tag.
const SEALED: [(&str, &str); 3] = [
    (
        "",
        "81 4a722033 a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5 0000000000000000
         5b747365303347fe620efa99d1ad42ee",
    ),
    (
        "68656c6c6f",
        "81 4a722033 a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5 0000000000000001 74cbffa7d8
         7fad496fabd710a89fbb1e18c396be7d",
    ),
    // A datagram of the core with a ping.
    (
        "01d4aa122faabbccdd112233445566778899aabb 01080a0b0c0d51a5c0de",
        "81 4a722033 a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5 0000000000000002
         1a86e984edac34c2dddd85661d3d5230ee27955fcffa3fbcd17567bc3329
         60eb1afe04178a25ee2c7f4ff32e7a59",
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    base16ct::lower::decode_vec(digits).unwrap()
}

/// A node of the cluster `production`.
fn node(nonce_prefix: u8) -> Seal {
    let key: Key = KEY.parse().unwrap();
    Seal::new(Keyring::new(Label::of("production"), key), NoncePrefix::new([nonce_prefix; 16]))
}

#[test]
fn the_key_id_is_computed_from_the_key() {
    assert_eq!(KEY.parse::<Key>().unwrap().id().to_string(), "4a722033");
}

#[test]
fn sealed_datagrams_have_the_bytes_of_the_page() {
    let (mut sender, mut receiver) = (node(0xa5), node(0x5a));
    for (plain, sealed) in SEALED {
        let (plain, sealed, mut out) = (bytes(plain), bytes(sealed), [0; 200]);
        let len = sender.seal(&plain, &mut out).unwrap();
        assert_eq!(out[..len], sealed);
        assert_eq!(receiver.open(&mut out[..len]), Ok(&plain[..]));
    }
}

#[test]
fn the_replay_window_is_1024_counters_wide() {
    let (mut sender, mut receiver) = (node(0xa5), node(0x5a));
    let sent: Vec<Vec<u8>> = (0..=1_034)
        .map(|_| {
            let mut out = [0; 100];
            let len = sender.seal(b"x", &mut out).unwrap();
            out[..len].to_vec()
        })
        .collect();
    for (counter, outcome) in [
        (10, Ok(&b"x"[..])),
        (10, Err(Refusal::Replayed)),
        (3, Ok(b"x")),
        (1_034, Ok(b"x")),
        (11, Ok(b"x")),
        (10, Err(Refusal::Stale)),
        (5, Err(Refusal::Stale)),
        (11, Err(Refusal::Replayed)),
    ] {
        assert_eq!(receiver.open(&mut sent[counter].clone()), outcome, "counter {counter}");
    }
}
