//! Delivers one datagram of raw bytes to a node in a situation; see `telemetry_gossip_fuzz::bytes`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    telemetry_gossip_fuzz::bytes::run(bytes);
});
