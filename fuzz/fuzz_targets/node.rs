//! The life of one node, step by step; see `telemetry_gossip_fuzz::node`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telemetry_gossip_fuzz::node::Life;

fuzz_target!(|life: Life| {
    life.run();
});
