//! Seals and opens datagrams and messages, changes keys and reads key files; see
//! `telemetry_gossip_fuzz::seal`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telemetry_gossip_fuzz::seal::Traffic;

fuzz_target!(|traffic: Traffic| {
    traffic.run();
});
