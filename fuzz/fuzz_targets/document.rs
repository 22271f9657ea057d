//! Reads bytes as what a store of a registry contains; see `telemetry_gossip_fuzz::document`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    telemetry_gossip_fuzz::document::run(bytes);
});
