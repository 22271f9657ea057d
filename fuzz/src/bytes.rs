//! The input of the target `bytes`: one byte that selects situation and sender, then one datagram.
//!
//! The bytes are delivered unchanged to a node that is used again for each input, so this target
//! tries more datagrams per second than any other.

use telemetry_gossip_core::WireError;

use crate::watched::AMPLIFICATION;
use crate::{warm, wire};

/// Runs one input. Returns whether the datagram was accepted; `None` if the input is empty.
///
/// # Panics
/// If the node breaks a rule.
pub fn run(input: &[u8]) -> Option<Result<(), WireError>> {
    let (&first, datagram) = input.split_first()?;
    Some(warm::meet(first, |node, from| {
        node.restore();
        let known = node.knows(from);
        node.receive(from, datagram)?;
        let mut replied = 0;
        node.drain(|to, bytes| {
            assert!(bytes.len() > wire::HEADER_LEN, "S13: a datagram of {} bytes", bytes.len());
            replied += if to == from { bytes.len() } else { 0 };
        });
        let most = AMPLIFICATION * datagram.len();
        assert!(
            known || replied <= most,
            "S17: a stranger sent {} bytes and received {replied}",
            datagram.len()
        );
        node.tick();
        node.drain(|_, _| ());
        Ok(())
    }))
}
