//! Measures the time of the operations of the core:
//! `cargo bench -p telemetry-gossip-bench --bench operations`.

use std::cell::RefCell;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use divan::Bencher;
use telemetry_gossip_bench::Out;
use telemetry_gossip_bench::arena::MTU;
use telemetry_gossip_bench::contenders::{Ours, id, lone, stub};
use telemetry_gossip_bench::stale;
use telemetry_gossip_core::{Config, Input, Mode};

const SIZES: [u32; 4] = [20, 250, 1_000, 10_000];

fn main() {
    divan::main();
}

fn address(index: u32) -> SocketAddr {
    let [_, a, b, c] = index.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 7_946))
}

/// Makes a node that acts on command only and knows this many members.
fn node(own: u32, nodes: u32) -> Ours {
    let mut node = lone(own, nodes, 1, Config::lan().mode(Mode::OnDemand), &mut Out::default());
    sent(&mut node);
    node
}

/// Removes and returns the datagrams of a node.
fn sent(node: &mut Ours) -> Vec<Vec<u8>> {
    let mut buffer = [0; MTU];
    let mut all = Vec::new();
    while let Some(sent) = node.node.poll_transmit(&mut buffer) {
        all.push(buffer[..sent.len].to_vec());
    }
    all
}

fn discard(node: &mut Ours) {
    let mut buffer = [0; MTU];
    while node.node.poll_transmit(&mut buffer).is_some() {}
    while node.node.poll_event().is_some() {}
}

/// Delivers a datagram and drops the outputs.
fn receive(node: &mut Ours, from: u32, bytes: &[u8]) {
    receive_only(node, from, bytes);
    discard(node);
}

/// Delivers a datagram and keeps the outputs.
fn receive_only(node: &mut Ours, from: u32, bytes: &[u8]) {
    let now = node.node.now();
    let _ = node.node.handle(now, Input::Datagram { from: address(from), bytes: bytes.into() });
}

/// Handles a ping and encodes its ack.
#[divan::bench(args = SIZES)]
fn handle_ping(bencher: Bencher<'_, '_>, nodes: u32) {
    let (mut node, ping) = (node(1, nodes), node(0, nodes).ping(1));
    bencher.bench_local(|| receive(&mut node, 0, black_box(&ping)));
}

/// Handles an ack of the current probe. Each sample begins a new probe.
#[divan::bench(args = SIZES, sample_size = 1, sample_count = 2_000)]
fn handle_ack(bencher: Bencher<'_, '_>, nodes: u32) {
    let (asker, mut asked) = (RefCell::new(node(0, nodes)), node(1, nodes));
    bencher
        .with_inputs(|| {
            let ping = asker.borrow_mut().ping(1);
            let now = asked.node.now();
            let _ = asked
                .node
                .handle(now, Input::Datagram { from: address(0), bytes: ping.as_slice().into() });
            sent(&mut asked).pop().unwrap_or_default()
        })
        .bench_local_values(|ack| receive(&mut asker.borrow_mut(), 1, &ack));
    assert_eq!(asker.borrow().node.stats().acks_unmatched, 0, "each ack answers its probe");
}

/// Runs a complete probe at both ends: ping and ack.
#[divan::bench(args = SIZES)]
fn probe(bencher: Bencher<'_, '_>, nodes: u32) {
    let (mut asker, mut asked) = (node(0, nodes), node(1, nodes));
    let (mut ping, mut ack) = ([0; MTU], [0; MTU]);
    bencher.bench_local(|| {
        let now = asker.node.now();
        let _ = asker.node.handle(now, Input::Probe { id: id(1) });
        let len = asker.node.poll_transmit(&mut ping).map_or(0, |sent| sent.len);
        let _ =
            asked.node.handle(now, Input::Datagram { from: address(0), bytes: ping[..len].into() });
        let len = asked.node.poll_transmit(&mut ack).map_or(0, |sent| sent.len);
        receive(&mut asker, 1, &ack[..len]);
    });
}

/// Handles a ping with 8 known updates.
#[divan::bench(args = SIZES)]
fn handle_ping_with_8_stale(bencher: Bencher<'_, '_>, nodes: u32) {
    let (mut node, ping) = stale::ours(nodes, 1);
    bencher.bench_local(|| receive(&mut node, 0, black_box(&ping)));
}

/// Handles a ping with a claim that raises the generation of its sender.
#[divan::bench(args = SIZES, sample_size = 50)]
fn handle_claim_that_changes(bencher: Bencher<'_, '_>, nodes: u32) {
    let mut node = node(0, nodes);
    let mut generation = 0;
    bencher
        .with_inputs(|| {
            generation += 2;
            let mut member = stub(2, generation);
            member.introduce(0, 0);
            member.ping(0)
        })
        .bench_local_values(|hello| receive(&mut node, 2, &hello));
}

/// Handles the next version of 64 bytes of telemetry. The reader does not forward it.
#[divan::bench(args = SIZES, sample_size = 1, sample_count = 1_000)]
fn handle_telemetry(bencher: Bencher<'_, '_>, nodes: u32) {
    let mut reader = node(1, nodes);
    // A writer and a partner that acknowledges its telemetry. They do not probe.
    let config = Config::lan().probe_interval(Duration::from_secs(3_600));
    let [mut writer, mut partner] =
        [0, 1].map(|own| lone(own, 2, 1, config.clone(), &mut Out::default()));
    writer.tick_until(5_000_000);
    partner.tick_until(5_000_000);
    let mut version = 0_u64;
    bencher
        .with_inputs(|| {
            version += 1;
            let mut value = [0; 64];
            value[..8].copy_from_slice(&version.to_be_bytes());
            let now = writer.node.now() + Duration::from_millis(500);
            let input = Input::Publish {
                key: "load".into(),
                value: value.as_slice().into(),
                urgent: false,
            };
            let _ = writer.node.handle(now, input);
            let _ = writer.node.handle(now, Input::Tick);
            let datagram = sent(&mut writer).into_iter().next().unwrap_or_default();
            receive_only(&mut partner, 0, &datagram);
            for answer in sent(&mut partner) {
                receive_only(&mut writer, 1, &answer);
            }
            datagram
        })
        .bench_local_values(|datagram| receive(&mut reader, 0, &datagram));
    let held = reader.node.member("node-0").map_or(0, |member| member.telemetry_version());
    assert_eq!(held, version, "the reader has the newest version");
}

/// Runs a complete exchange between two nodes with equal tables.
#[divan::bench(args = SIZES)]
fn sync_in_sync(bencher: Bencher<'_, '_>, nodes: u32) {
    let (mut a, mut b) = (node(0, nodes), node(1, nodes));
    bencher.bench_local(|| exchange(&mut a, &mut b));
    assert_eq!(a.node.stats().syncs_failed, 0, "exchanges succeed");
}

/// Runs a complete exchange between two nodes that differ in one member.
#[divan::bench(args = SIZES, sample_size = 1, sample_count = 500)]
fn sync_one_difference(bencher: Bencher<'_, '_>, nodes: u32) {
    let (mut a, b) = (node(0, nodes), RefCell::new(node(1, nodes)));
    let mut generation = 0;
    bencher
        .with_inputs(|| {
            generation += 1;
            b.borrow_mut().introduce(2, generation);
        })
        .bench_local_values(|()| exchange(&mut a, &mut b.borrow_mut()));
    let held = a.node.member("node-2").map(|member| member.generation().0);
    assert_eq!(held, Some(generation), "the difference is gone");
}

/// Runs one exchange that `a`, node 0, begins. `b` answers in the place of any partner.
fn exchange(a: &mut Ours, b: &mut Ours) {
    let now = a.node.now();
    let _ = a.node.handle(now, Input::Exchange);
    let mut buffer = [0; MTU];
    while let Some(sent) = a.node.poll_transmit(&mut buffer) {
        let input = Input::Datagram { from: address(0), bytes: buffer[..sent.len].into() };
        let _ = b.node.handle(now, input);
        while let Some(answer) = b.node.poll_transmit(&mut buffer) {
            let input = Input::Datagram { from: sent.to, bytes: buffer[..answer.len].into() };
            let _ = a.node.handle(now, input);
        }
    }
    discard(a);
    discard(b);
}

/// Encodes a page of the table for a joining node: a full datagram of claims.
#[divan::bench(args = [250, 10_000])]
fn encode_page(bencher: Bencher<'_, '_>, nodes: u32) {
    let mut seed = node(1, nodes);
    let mut joining = stub(0, 1);
    let now = joining.node.now();
    let _ = joining.node.handle(now, Input::Join { seeds: vec![address(1)].into() });
    let _ = joining.node.handle(now, Input::Tick);
    let mut request = sent(&mut joining).pop().unwrap_or_default();
    let mut page = 0;
    for _ in 0..2 {
        receive_only(&mut seed, 0, &request);
        for answer in sent(&mut seed) {
            page = answer.len();
            receive_only(&mut joining, 1, &answer);
        }
        // The joining node proves its address and requests the next page.
        for answer in sent(&mut joining) {
            receive_only(&mut seed, 0, &answer);
            request = answer;
        }
        page = page.max(sent(&mut seed).iter().map(Vec::len).max().unwrap_or(0));
    }
    assert!(page > 1_300, "a page of {page} bytes is not full");
    bencher.bench_local(|| receive(&mut seed, 0, black_box(&request)));
}

#[divan::bench(args = SIZES)]
fn poll_timeout(bencher: Bencher<'_, '_>, nodes: u32) {
    let node = lone(0, nodes, 1, Config::lan(), &mut Out::default());
    bencher.bench_local(|| black_box(&node).node.poll_timeout());
}

#[divan::bench(args = SIZES)]
fn walk_members(bencher: Bencher<'_, '_>, nodes: u32) {
    let node = node(0, nodes);
    bencher.bench_local(|| {
        black_box(&node).node.members().map(|member| member.generation().0).sum::<u64>()
    });
}

#[divan::bench(args = SIZES)]
fn find_member(bencher: Bencher<'_, '_>, nodes: u32) {
    let node = node(0, nodes);
    bencher.bench_local(|| black_box(&node).node.member(black_box("node-7")).is_some());
}
