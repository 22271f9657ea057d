//! The names of the seeds: when they are resolved, and what follows. When seeds are asked is up to
//! the node.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use telemetry_gossip_core::Input;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Command;
use crate::peer_addr::PeerAddr;
use crate::transport::{BoxFuture, Transport};

/// The most time that resolving one seed may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the names of the seeds led to when they were resolved last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeedStatus {
    /// The names that led to no address, each with the reason.
    pub unresolved: Vec<(String, String)>,
    /// Whether all of them led to the node itself. One name may stand for all members, and this
    /// node be the first of them.
    pub only_itself: bool,
}

/// What resolved addresses are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The node joins through them.
    Join,
    /// The node has joined, and may ask them again.
    Refresh,
}

/// The names of the seeds of a node, and the task that resolves them.
pub(crate) struct SeedNames {
    pub(super) names: Vec<String>,
    wanted: Option<Purpose>,
    /// At most one resolution. It ends with the node's task, however that ends.
    resolver: JoinSet<()>,
    status: watch::Sender<SeedStatus>,
}

impl SeedNames {
    pub(crate) fn new(names: Vec<String>, status: watch::Sender<SeedStatus>) -> Self {
        let wanted = (!names.is_empty()).then_some(Purpose::Join);
        Self { names, wanted, resolver: JoinSet::new(), status }
    }

    /// Replaces the names. The addresses of those before are no longer wanted.
    pub(super) fn replace(&mut self, names: Vec<String>) {
        self.names = names;
        self.wanted = None;
        self.resolver = JoinSet::new();
    }

    /// Ends the resolution, and waits until it holds nothing any more.
    pub(super) async fn stop(&mut self) {
        self.resolver.shutdown().await;
    }

    /// Has the names resolved. A join comes before anything else.
    pub(super) fn want(&mut self, purpose: Purpose) {
        if self.wanted != Some(Purpose::Join) {
            self.wanted = Some(purpose);
        }
    }

    /// The input that passes resolved addresses on; `None` if there is none, or if they are of
    /// names that were replaced in the meantime.
    pub(super) fn resolved(
        &mut self,
        purpose: Purpose,
        peers: Vec<PeerAddr>,
    ) -> Option<Input<'static, PeerAddr>> {
        if self.resolver.is_empty() {
            return None;
        }
        self.resolver = JoinSet::new();
        match purpose {
            Purpose::Join => {
                // A join that has failed meanwhile wants no more than this.
                self.wanted = None;
                Some(Input::join(peers))
            }
            // The addresses known so far are better than none.
            Purpose::Refresh => (!peers.is_empty()).then(|| Input::seeds(peers)),
        }
    }

    /// Resolves the names in the background if that is wanted; for a join, again and again until
    /// one has the address of another node.
    pub(super) fn resolve(
        &mut self,
        me: PeerAddr,
        pause: Duration,
        transport: &Arc<dyn Transport>,
        commands: &mpsc::WeakSender<Command>,
    ) {
        if self.names.is_empty() || !self.resolver.is_empty() {
            return;
        }
        let Some(purpose) = self.wanted.take() else { return };
        let (transport, names) = (transport.clone(), self.names.clone());
        let (commands, status) = (commands.clone(), self.status.clone());
        self.resolver.spawn(async move {
            loop {
                let Resolved { peers, unresolved } = resolve_all(&*transport, &names).await;
                let only_itself = !peers.is_empty() && peers.iter().all(|&peer| peer == me);
                let peers = if only_itself { Vec::new() } else { peers };
                tell(&status, SeedStatus { unresolved, only_itself });
                if !peers.is_empty() || purpose == Purpose::Refresh {
                    if let Some(commands) = commands.upgrade() {
                        let _ = commands.send(Command::Resolved(purpose, peers)).await;
                    }
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        });
    }
}

/// Tells the readers of the status and the log what is new.
fn tell(status: &watch::Sender<SeedStatus>, new: SeedStatus) {
    status.send_if_modified(|held| {
        let is_new = *held != new;
        if is_new {
            for (name, reason) in &new.unresolved {
                tracing::warn!(name, reason, "a seed has no address: trying again");
            }
            if new.only_itself {
                tracing::warn!("the seeds lead to this node alone: trying again");
            }
            *held = new;
        }
        is_new
    });
}

/// The addresses of seeds, and the names that have none.
pub(crate) struct Resolved {
    pub(crate) peers: Vec<PeerAddr>,
    pub(crate) unresolved: Vec<(String, String)>,
}

impl Resolved {
    /// Why no name has an address.
    pub(crate) fn reasons(&self) -> String {
        let reasons: Vec<String> =
            self.unresolved.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
        reasons.join("; ")
    }
}

/// A transport of the host has panicked.
struct Panicked;

/// Runs a future of the host's code. A panic in it must not end the search for seeds in silence.
async fn caught<'a, T>(begin: impl FnOnce() -> BoxFuture<'a, T>) -> Result<T, Panicked> {
    // The future is not used again after a panic.
    let mut future = catch_unwind(AssertUnwindSafe(begin)).map_err(|_| Panicked)?;
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.map_or(Poll::Ready(Err(Panicked)), |poll| poll.map(Ok))
    })
    .await
}

/// Resolves all seeds. A name server that does not answer delays its own seed only.
pub(crate) async fn resolve_all(transport: &dyn Transport, seeds: &[String]) -> Resolved {
    let (mut peers, mut unresolved) = (Vec::new(), Vec::new());
    for seed in seeds {
        let resolve = caught(|| transport.resolve(seed));
        let reason = match tokio::time::timeout(RESOLVE_TIMEOUT, resolve).await {
            Ok(Ok(Ok(found))) => {
                peers.extend(found);
                continue;
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(Panicked)) => "the transport panicked when it resolved it".to_owned(),
            Err(_) => format!("not resolved within {RESOLVE_TIMEOUT:?}"),
        };
        unresolved.push((seed.clone(), reason));
    }
    Resolved { peers, unresolved }
}
