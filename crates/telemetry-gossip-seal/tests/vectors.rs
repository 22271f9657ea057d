//! Test vectors: the published ones of the cipher, and the bytes of a sealed datagram. A change of
//! either is a change of the wire format.
#![forbid(unsafe_code)]
#![deny(warnings)]

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use telemetry_gossip_core::Label;
use telemetry_gossip_seal::{Key, Keyring, NoncePrefix, OVERHEAD, Seal};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    base16ct::lower::decode_vec(digits).unwrap()
}

/// draft-irtf-cfrg-xchacha-03, A.3.1: AEAD_XCHACHA20_POLY1305.
#[test]
fn the_cipher_gives_the_published_bytes() {
    let plain =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
          future, sunscreen would be it.";
    let associated = bytes("50515253c0c1c2c3c4c5c6c7");
    let key: [u8; 32] = bytes("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f")
        .try_into()
        .unwrap();
    let nonce: [u8; 24] =
        bytes("404142434445464748494a4b4c4d4e4f5051525354555657").try_into().unwrap();
    let expected = bytes(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb
         731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452
         2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9
         21f9664c97637da9768812f615c68b13b52e",
    );
    let tag = bytes("c0875924c1c7987947deafd8780acf49");

    let mut sealed = plain.to_vec();
    let cipher = chacha20poly1305::XChaCha20Poly1305::new(&key.into());
    let made = cipher
        .encrypt_inout_detached(&nonce.into(), &associated, sealed.as_mut_slice().into())
        .unwrap();
    assert_eq!((sealed, made.to_vec()), (expected, tag));
}

/// Builds the datagram by hand from the cipher alone: the header is not encrypted, the nonce is the
/// prefix and the counter, and format, key id and label are the associated data.
#[test]
fn a_sealed_datagram_has_the_bytes_of_the_documented_format() {
    let (key, prefix, label, plain) = ([0x42; 32], [0xa5; 16], Label::of("production"), b"hello");
    let id = Key::new(key).id();
    assert_eq!(id.to_string(), "fb546f6b");
    let mut seal = Seal::new(Keyring::new(label, Key::new(key)), NoncePrefix::new(prefix));
    for counter in 0..3_u64 {
        let mut out = [0; 100];
        let len = seal.seal(plain, &mut out).unwrap();
        assert_eq!(len, plain.len() + OVERHEAD);

        let nonce: Vec<u8> = [&prefix[..], &counter.to_be_bytes()].concat();
        let associated = [&[0x81][..], &id.to_bytes(), &label.0.to_be_bytes()].concat();
        let mut contents = plain.to_vec();
        let cipher = chacha20poly1305::XChaCha20Poly1305::new(&key.into());
        let nonce_array: [u8; 24] = nonce.clone().try_into().unwrap();
        let tag = cipher
            .encrypt_inout_detached(
                &nonce_array.into(),
                &associated,
                contents.as_mut_slice().into(),
            )
            .unwrap();
        let expected = [&[0x81][..], &id.to_bytes(), &nonce, &contents, &tag].concat();
        assert_eq!(&out[..len], expected);
    }
}
