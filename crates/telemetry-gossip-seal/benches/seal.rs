//! Measures the time to seal, open and refuse one datagram, as short as a ping and of full length.
//!
//! `cargo bench -p telemetry-gossip-seal`
//!
//! On x86 the portable backend of `poly1305` is faster for datagrams than the default one. A
//! program built with `RUSTFLAGS='--cfg poly1305_backend="soft"'` seals and opens 100 B in 1.3 us
//! instead of 3.2 us, and 1,400 B in 3.9 us instead of 5.4 us.
#![forbid(unsafe_code)]
#![deny(warnings)]

use divan::Bencher;
use divan::counter::BytesCount;
use telemetry_gossip_core::Label;
use telemetry_gossip_seal::{Key, Keyring, NoncePrefix, OVERHEAD, Seal};

const SIZES: [usize; 2] = [100, 1_400];

fn main() {
    divan::main();
}

fn seal(node: u8) -> Seal {
    let ring = Keyring::new(Label::of("production"), Key::new([7; 32]));
    Seal::new(ring, NoncePrefix::new([node; 16]))
}

/// Seals and opens one datagram.
#[divan::bench(args = SIZES)]
fn seal_and_open(bencher: Bencher<'_, '_>, bytes: usize) {
    let (mut a, mut b, plain) = (seal(1), seal(2), vec![5; bytes]);
    let mut out = vec![0; bytes + OVERHEAD];
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let len = a.seal(&plain, &mut out).expect("it fits");
        b.open(&mut out[..len]).expect("it is authentic").len()
    });
}

/// Seals one datagram.
#[divan::bench(args = SIZES)]
fn seal_only(bencher: Bencher<'_, '_>, bytes: usize) {
    let (mut a, plain) = (seal(1), vec![5; bytes]);
    let mut out = vec![0; bytes + OVERHEAD];
    bencher.counter(BytesCount::new(bytes)).bench_local(|| a.seal(&plain, &mut out));
}

/// Refuses a datagram with a wrong tag, the most expensive refusal.
#[divan::bench(args = SIZES)]
fn refuse_forged(bencher: Bencher<'_, '_>, bytes: usize) {
    let (mut a, mut b) = (seal(1), seal(2));
    let mut out = vec![0; bytes + OVERHEAD];
    let len = a.seal(&vec![5; bytes], &mut out).expect("it fits");
    out[len - 1] ^= 1;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| b.open(&mut out[..len]).is_err());
}

/// Refuses a replayed datagram by its counter.
#[divan::bench(args = SIZES)]
fn refuse_replayed(bencher: Bencher<'_, '_>, bytes: usize) {
    let (mut a, mut b) = (seal(1), seal(2));
    let mut out = vec![0; bytes + OVERHEAD];
    let len = a.seal(&vec![5; bytes], &mut out).expect("it fits");
    b.open(&mut out.clone()[..len]).expect("it is authentic");
    bencher.counter(BytesCount::new(bytes)).bench_local(|| b.open(&mut out[..len]).is_err());
}
