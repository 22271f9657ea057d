//! Looks for the datagram that costs the most; see `telemetry_gossip_fuzz::cost`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: telemetry_gossip_fuzz::cost::prepare(), |bytes: &[u8]| {
    telemetry_gossip_fuzz::cost::run(bytes);
});
