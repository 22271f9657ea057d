//! The input of the target `bytes`: who sends to a node in which situation (1), then one datagram
//! as it is.
//!
//! Nothing is done for the fuzzer but to keep the nodes warm, so this is the target for which most
//! datagrams are tried.

use telemetry_gossip_core::WireError;

use crate::warm::{self, AMPLIFICATION};
use crate::wire;

/// Runs one input; whether the datagram was accepted, if there is one.
///
/// # Panics
/// If the node breaks a rule.
pub fn run(input: &[u8]) -> Option<Result<(), WireError>> {
    let (&first, datagram) = input.split_first()?;
    Some(warm::meet(first, |node, from| {
        node.put_back();
        let known = node.knows(from);
        node.hear(from, datagram)?;
        let mut replied = 0;
        node.said(|to, bytes| {
            assert!(bytes.len() > wire::HEADER_LEN, "S13: a datagram of {} bytes", bytes.len());
            replied += if to == from { bytes.len() } else { 0 };
        });
        let most = AMPLIFICATION * datagram.len();
        assert!(
            known || replied <= most,
            "S17: a stranger sent {} bytes and gets {replied}",
            datagram.len()
        );
        node.tick();
        node.said(|_, _| ());
        Ok(())
    }))
}
