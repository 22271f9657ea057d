//! Compares datagrams with their shortest form; see `telemetry_gossip_fuzz::canonical`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    telemetry_gossip_fuzz::canonical::run(bytes);
});
