//! Carries out a history of one node; see `telemetry_gossip_fuzz::node`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telemetry_gossip_fuzz::node::History;

fuzz_target!(|history: History| {
    history.run();
});
