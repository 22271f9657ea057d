//! Reads records of a node and replays them; see `telemetry_gossip_fuzz::replay`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    telemetry_gossip_fuzz::replay::run(bytes);
});
