//! Carries out a plan of faults on a small cluster, which must then become live; see
//! `telemetry_gossip_fuzz::plan`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use telemetry_gossip_fuzz::plan::Plan;

fuzz_target!(|plan: Plan| {
    plan.run();
});
