//! Sends datagrams, counts those that were not sent, and tells when none is.
//!
//! Datagrams get lost, and one that was not sent is no different to the node. The host must know:
//! a firewall or a lost route at home looks like a cluster that is gone.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::host::HostTold;
use crate::peer_addr::PeerAddr;
use crate::transport::Transport;

/// After this many failures in a row it is told that the node cannot send.
const TOLD_AFTER: u32 = 8;

/// How long the log is not told again of failures of one kind.
const WARN_EVERY: Duration = Duration::from_secs(600);

/// The datagrams that were not sent since the node was spawned, by the reason that the transport
/// gave. `Stats::datagrams_sent` counts these, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendStats {
    /// The buffer of the socket was full. Some are lost in every burst.
    pub no_room: u64,
    /// A firewall of this host, or its policy, forbids it.
    pub not_permitted: u64,
    /// There is no route, the network is down, or the address is of a family or form that the
    /// transport does not reach.
    pub unreachable: u64,
    /// The transport is closed.
    pub closed: u64,
    /// Anything else, such as a datagram that is too long for the network.
    pub other: u64,
}

/// The number of reasons of [`SendStats`].
const KINDS: usize = 5;

/// Reads the counters while the node runs and afterwards.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendView(Arc<[AtomicU64; KINDS]>);

impl SendView {
    pub(crate) fn stats(&self) -> SendStats {
        let [no_room, not_permitted, unreachable, closed, other] =
            std::array::from_fn(|kind| self.0[kind].load(Ordering::Relaxed));
        SendStats { no_room, not_permitted, unreachable, closed, other }
    }
}

/// The place of a reason in the counters.
fn kind_of(error: &io::Error) -> usize {
    match error.kind() {
        io::ErrorKind::WouldBlock => 0,
        io::ErrorKind::PermissionDenied => 1,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => 2,
        io::ErrorKind::NotConnected => 3,
        _ => 4,
    }
}

pub(crate) struct Sends {
    pub(crate) transport: Arc<dyn Transport>,
    counts: SendView,
    told: HostTold,
    /// Datagrams that were sent.
    pub(crate) sent: u64,
    /// The failures since the last success.
    in_a_row: u32,
    warned_at: [Option<Instant>; KINDS],
}

impl Sends {
    pub(crate) fn new(transport: Arc<dyn Transport>, counts: SendView, told: HostTold) -> Self {
        Self { transport, counts, told, sent: 0, in_a_row: 0, warned_at: [None; KINDS] }
    }

    pub(crate) fn send(&mut self, to: PeerAddr, bytes: &[u8]) {
        match self.transport.send(to, bytes) {
            Ok(()) => {
                self.sent += 1;
                if std::mem::take(&mut self.in_a_row) > 0 {
                    self.told.sends_work();
                }
            }
            Err(error) => self.failed(to, &error),
        }
    }

    #[cold]
    fn failed(&mut self, to: PeerAddr, error: &io::Error) {
        let kind = kind_of(error);
        self.counts.0[kind].fetch_add(1, Ordering::Relaxed);
        self.in_a_row = self.in_a_row.saturating_add(1);
        let warned_at = &mut self.warned_at[kind];
        if warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            *warned_at = Some(Instant::now());
            tracing::warn!(%to, %error, "a datagram was not sent; others like it are counted only");
        }
        if self.in_a_row == TOLD_AFTER {
            self.told.sends_fail(|| {
                format!(
                    "this node cannot send, the last time to {to}: {error}. To others it is as if \
                     it were gone: look at the firewall, the routes and the interfaces of this host"
                )
            });
        }
    }
}
