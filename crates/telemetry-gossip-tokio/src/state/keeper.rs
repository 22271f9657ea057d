//! Keeps the members that are alive in the state folder, so that the next start finds the cluster
//! without seeds.
//!
//! The task of the node hands views to a thread of their own, which chooses and writes. The task
//! never waits for the disk: while the thread is busy, a view is skipped, and the next one has
//! all that is in it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use telemetry_gossip_core::{Generation, Label, MAX_PEERS, NodeId, Status};
use tokio::sync::watch;
use tokio::time::Instant;

use super::StateDir;
use super::peers::{FILE, PeerList};
use crate::peer_addr::PeerAddr;
use crate::view::View;

/// How soon after the start a node that knows others hands over its first view.
const FIRST_AFTER: Duration = Duration::from_secs(5);

/// The shortest time between two views after that, except for the one at the end.
const INTERVAL: Duration = Duration::from_secs(60);

/// How long members of the earlier run that are not known yet stay in the file once others are.
/// A node that finds a part of its cluster first must not forget the way to the rest.
const KEEP_UNKNOWN: Duration = Duration::from_secs(3_600);

/// How long the end of a node waits for its last view to be written.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// What a node found in its state folder, and how it keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateStatus {
    /// The number of members of the earlier run that were found at the start.
    pub peers: usize,
    /// Why the file of the earlier run is not used, and where it is now; `None` if it is used, or
    /// if there was none.
    pub set_aside: Option<String>,
    /// How often the file was written.
    pub writes: u64,
    /// How often it could not be written. It is tried again with a later view.
    pub failures: u64,
    /// Why it could not be written the last time; `None` if it was.
    pub failing: Option<String>,
}

/// The earlier run of a node, as its state folder has it.
#[derive(Debug)]
pub(crate) struct Earlier {
    dir: StateDir,
    node: NodeId,
    label: Label,
    list: PeerList,
    set_aside: Option<String>,
}

impl Earlier {
    /// Reads the file in the folder. One that cannot be used is set aside.
    pub(crate) fn read(dir: StateDir, node: NodeId, label: Label) -> Self {
        let read = PeerList::read(&dir, node, label);
        let (list, set_aside) = match read {
            Ok(list) => (list.unwrap_or_default(), None),
            Err(error) => {
                let path = dir.path(FILE);
                let what = match dir.set_aside(FILE) {
                    Ok(aside) => format!("renamed to {}", aside.display()),
                    Err(error) => format!("which cannot be renamed: {error}"),
                };
                let told = format!(
                    "the members of the earlier run in {} are not used, as {error}: {what}",
                    path.display()
                );
                tracing::warn!("{told}");
                (PeerList::default(), Some(told))
            }
        };
        Self { dir, node, label, list, set_aside }
    }

    /// The addresses of the members that were alive.
    pub(crate) fn peers(&self) -> Vec<PeerAddr> {
        self.list.peers.iter().map(|&(_, address)| address).collect()
    }

    /// The generation at which to start: at least `wanted`, and above those of the earlier run.
    pub(crate) fn generation(&self, wanted: Generation) -> Generation {
        let last = self.list.generation;
        if last == Generation::default() || last >= Generation::MAX_START {
            return wanted;
        }
        wanted.max(Generation(last.0 + 1))
    }
}

/// The end of the task of the node: hands views to the thread.
pub(crate) struct Keeper {
    views: Option<SyncSender<Arc<View>>>,
    /// Closed once the thread has ended, and the folder is free for another node.
    ended: Receiver<()>,
    next_at: Instant,
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start(earlier: Earlier) -> io::Result<(Self, watch::Receiver<StateStatus>)> {
        let (views, queue) = sync_channel(2);
        let (end, ended) = channel();
        let Earlier { dir, node, label, list, set_aside } = earlier;
        let peers = list.peers.len();
        let (status, told) =
            watch::channel(StateStatus { peers, set_aside, ..StateStatus::default() });
        let writer = Writer {
            dir,
            node,
            label,
            earlier: list.peers.clone(),
            written: list,
            started: std::time::Instant::now(),
            lot: RandomState::new(),
            status,
        };
        std::thread::Builder::new().name("tgossip-state".to_owned()).spawn(move || {
            writer.run(&queue);
            drop(end);
        })?;
        let next_at = Instant::now() + FIRST_AFTER;
        Ok((Self { views: Some(views), ended, next_at }, told))
    }

    /// Whether a view is due.
    pub(crate) fn is_due(&self) -> bool {
        self.next_at <= Instant::now()
    }

    /// Hands over a view. One without other members waits for the first that has some.
    pub(crate) fn keep(&mut self, view: &Arc<View>) {
        if view.len() > 1 {
            self.next_at = Instant::now() + INTERVAL;
            if let Some(views) = &self.views {
                // No room means that the disk is slow: a later view has all that is in this one.
                let _ = views.try_send(view.clone());
            }
        }
    }

    /// Called once the node has ended: hands over the last view, and waits until it is written, but
    /// not for long.
    pub(crate) async fn close(mut self, view: &Arc<View>) {
        self.keep(view);
        self.views = None;
        let ended = self.ended;
        // By the clock of the host, which goes on where that of a test is paused.
        let waiting = tokio::task::spawn_blocking(move || ended.recv_timeout(LAST_WRITE));
        let _ = waiting.await;
    }
}

/// Chooses and writes, on a thread of its own.
struct Writer {
    dir: StateDir,
    node: NodeId,
    label: Label,
    /// The members of the earlier run.
    earlier: Vec<(NodeId, PeerAddr)>,
    /// What the file contains.
    written: PeerList,
    started: std::time::Instant,
    /// Decides by lot, and always alike, which members are written: the file then changes only if
    /// one of them does. No other node knows the lot, so none can make itself one of them.
    lot: RandomState,
    status: watch::Sender<StateStatus>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Arc<View>>) {
        while let Ok(view) = queue.recv() {
            let list = self.chosen(&view);
            drop(view);
            // An operator may have removed the file, or the whole folder.
            let is_kept = list == self.written && self.dir.path(FILE).exists();
            // The last members that were known are better than none.
            if !list.peers.is_empty() && !is_kept {
                self.write(list);
            }
        }
    }

    fn write(&mut self, list: PeerList) {
        let text = list.to_text(self.node, self.label);
        let result = self.dir.replace(FILE, text.as_bytes());
        if result.is_ok() {
            self.written = list;
        }
        let path = self.dir.path(FILE);
        self.status.send_modify(|status| match result {
            Ok(()) => {
                status.writes += 1;
                if status.failing.take().is_some() {
                    tracing::info!(path = %path.display(), "the live members are kept again");
                }
            }
            Err(error) => {
                status.failures += 1;
                let told = format!("{} cannot be written: {error}", path.display());
                if status.failing.replace(told).is_none() {
                    tracing::warn!(
                        path = %path.display(),
                        %error,
                        "the live members cannot be kept for the next start: trying again"
                    );
                }
            }
        });
    }

    /// The members to write, in the order of their ids.
    fn chosen(&self, view: &View) -> PeerList {
        let mut live: Vec<_> = view
            .iter()
            .filter(|member| member.status.is_live() && member.id != self.node)
            .filter_map(|member| {
                let suspected = member.status != Status::Alive;
                Some((suspected, self.lot.hash_one(member.id), member.id, member.address?))
            })
            .collect();
        live.sort_unstable();
        let mut peers: Vec<(NodeId, PeerAddr)> =
            live.iter().take(MAX_PEERS).map(|&(_, _, id, address)| (id, address)).collect();
        if peers.is_empty() || self.started.elapsed() < KEEP_UNKNOWN {
            for &(id, address) in &self.earlier {
                let is_new = !peers.iter().any(|known| known.1 == address);
                if peers.len() < MAX_PEERS && is_new && view.get(id.as_str()).is_none() {
                    peers.push((id, address));
                }
            }
        }
        peers.sort_unstable();
        let own = view.get(self.node.as_str()).map(|own| own.generation);
        PeerList { generation: own.unwrap_or(self.written.generation), peers }
    }
}
