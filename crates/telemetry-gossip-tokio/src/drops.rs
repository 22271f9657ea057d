//! What a seal refuses, and when the host is told. The rule is that of the core; a refused datagram
//! does not reach the node, so that a flood of them takes no place in its queue.

use std::fmt;

use telemetry_gossip_core::{DropReason, Dropped, Drops, Instant};
use telemetry_gossip_seal::Refusal;
use tokio::sync::broadcast;

use crate::peer_addr::PeerAddr;

/// The most notices that wait for a task. There is one per reason in ten minutes.
const MAX_WAITING: usize = 16;

/// Counts the datagrams that a seal refuses, and tells the log and the nodes of them.
pub(crate) struct SealDrops {
    drops: Drops<PeerAddr>,
    started: tokio::time::Instant,
    told: broadcast::Sender<Dropped<PeerAddr>>,
    /// The receiver of the first node, which also gets what was told before it started.
    first: Option<broadcast::Receiver<Dropped<PeerAddr>>>,
}

impl SealDrops {
    pub(crate) fn new() -> Self {
        let (told, first) = broadcast::channel(MAX_WAITING);
        let started = tokio::time::Instant::now();
        Self { drops: Drops::default(), started, told, first: Some(first) }
    }

    /// Counts a refused datagram.
    pub(crate) fn add(&mut self, refusal: Refusal, from: PeerAddr) {
        let Some(reason) = reason(refusal) else { return };
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Some(dropped) = self.drops.add(reason, Some(from), Instant::from_micros(micros)) {
            tracing::warn!("{dropped}");
            // Without a node, the log is all there is.
            let _ = self.told.send(dropped);
        }
    }

    /// What is told from now on; the first caller also gets what was told before.
    pub(crate) fn subscribe(&mut self) -> broadcast::Receiver<Dropped<PeerAddr>> {
        self.first.take().unwrap_or_else(|| self.told.subscribe())
    }
}

impl fmt::Debug for SealDrops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealDrops").finish_non_exhaustive()
    }
}

/// Why a refused datagram is told; `None` for copies, which networks make and which do no harm.
const fn reason(refusal: Refusal) -> Option<DropReason> {
    match refusal {
        Refusal::NotSealed => Some(DropReason::NotSealed),
        Refusal::UnknownKey(_) => Some(DropReason::UnknownKey),
        Refusal::NotAuthentic => Some(DropReason::NotAuthentic),
        Refusal::TooShort { .. } | Refusal::TooLong { .. } => Some(DropReason::Malformed),
        _ => None,
    }
}

/// Waits for the next notice. Never ends without a seal.
///
/// # Cancel safety
/// No notice is lost if the future is dropped.
pub(crate) async fn next(
    notices: &mut Option<broadcast::Receiver<Dropped<PeerAddr>>>,
) -> Dropped<PeerAddr> {
    while let Some(receiver) = notices {
        match receiver.recv().await {
            Ok(dropped) => return dropped,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => *notices = None,
        }
    }
    std::future::pending().await
}
