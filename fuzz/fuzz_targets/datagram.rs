//! Raw bytes into `Node::handle(Input::Datagram)`; see `telemetry_gossip_fuzz::datagram` for what
//! the bytes mean.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    telemetry_gossip_fuzz::datagram::run(bytes);
});
