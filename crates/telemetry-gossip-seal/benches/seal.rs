//! What sealing costs: one datagram sealed, opened, and refused, for payloads of a ping and of a
//! full datagram.
//!
//! `cargo bench -p telemetry-gossip-seal`
//!
//! On x86 the portable backend of `poly1305` is quicker for datagrams than its own choice; a host
//! that builds its program with `RUSTFLAGS='--cfg poly1305_backend="soft"'` seals and opens 100 B
//! in 1.3 us instead of 3.2, and 1,400 B in 3.9 instead of 5.4.
#![forbid(unsafe_code)]
#![deny(warnings)]

use divan::Bencher;
use divan::counter::BytesCount;
use telemetry_gossip_core::Label;
use telemetry_gossip_seal::{Key, Keyring, OVERHEAD, Seal, Session};

const SIZES: [usize; 2] = [100, 1_400];

fn main() {
    divan::main();
}

fn seal(node: u8) -> Seal {
    Seal::new(Keyring::new(Label::of("production"), Key::new([7; 32])), Session([node; 16]))
}

/// One datagram through both ends.
#[divan::bench(args = SIZES)]
fn seal_and_open(bencher: Bencher<'_, '_>, bytes: usize) {
    let (mut a, mut b, plain) = (seal(1), seal(2), vec![5; bytes]);
    let mut out = vec![0; bytes + OVERHEAD];
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let len = a.seal(&plain, &mut out).expect("it fits");
        b.open(&mut out[..len]).expect("it is authentic").len()
    });
}

/// The sender's end alone.
#[divan::bench(args = SIZES)]
fn seal_only(bencher: Bencher<'_, '_>, bytes: usize) {
    let (mut a, plain) = (seal(1), vec![5; bytes]);
    let mut out = vec![0; bytes + OVERHEAD];
    bencher.counter(BytesCount::new(bytes)).bench_local(|| a.seal(&plain, &mut out));
}

/// A datagram whose tag is wrong: the dearest refusal.
#[divan::bench(args = SIZES)]
fn refuse_forged(bencher: Bencher<'_, '_>, bytes: usize) {
    let (mut a, mut b) = (seal(1), seal(2));
    let mut out = vec![0; bytes + OVERHEAD];
    let len = a.seal(&vec![5; bytes], &mut out).expect("it fits");
    out[len - 1] ^= 1;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| b.open(&mut out[..len]).is_err());
}

/// A datagram that has come before: refused by its counter.
#[divan::bench(args = SIZES)]
fn refuse_replayed(bencher: Bencher<'_, '_>, bytes: usize) {
    let (mut a, mut b) = (seal(1), seal(2));
    let mut out = vec![0; bytes + OVERHEAD];
    let len = a.seal(&vec![5; bytes], &mut out).expect("it fits");
    b.open(&mut out.clone()[..len]).expect("it is authentic");
    bencher.counter(BytesCount::new(bytes)).bench_local(|| b.open(&mut out[..len]).is_err());
}
