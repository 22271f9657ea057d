//! Carries out the checks of the seeds before the first input, of which it does nothing; see
//! `telemetry_gossip_fuzz::checks`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: telemetry_gossip_fuzz::checks::run(), |_bytes: &[u8]| {});
