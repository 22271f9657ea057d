//! The task that follows the registry for one node: it carries out what the follower asks for.
//!
//! Reads run as tasks of their own, or on threads where they keep a thread waiting, so that a store
//! that hangs keeps neither this task nor the node waiting.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::{NodeId, Status as MemberStatus};
use telemetry_gossip_tokio::{Agent, Event, Events, RecvError, TelemetryChange, TelemetryChanges};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Prepared, Shared};
use crate::cache::Cache;
use crate::follow::{
    Action, Fleet, Follower, Gone, Hint, Kept, Published, State, Status, TELEMETRY_KEY,
};
use crate::head::Head;
use crate::store::{Store, StoreError};

/// How long a store may take to answer. Stores have shorter limits of their own: 60 s where two
/// members of etcd have to check a password.
const READ_TIMEOUT: Duration = Duration::from_secs(70);

/// How long a node that leaves waits for the others to hear of it.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after its join a node has heard what the others publish.
const HEARD_AFTER: Duration = Duration::from_millis(1_500);

/// What a read has found.
enum Outcome {
    Head(Result<Option<Head>, StoreError>),
    Document(Result<Option<Vec<u8>>, StoreError>),
    Kept(Result<(), String>),
}

/// Something that was begun and not finished, on a task or a thread of its own.
struct UnderWay {
    outcome: JoinHandle<Outcome>,
    /// What to report if it takes too long.
    late: fn() -> Outcome,
    until: Instant,
}

pub(super) struct Task {
    store: Arc<dyn Store>,
    follower: Follower,
    cache: Option<Cache>,
    start: Instant,
    seeds: Vec<String>,
    agent: Agent,
    events: Events,
    published: TelemetryChanges,
    told: watch::Sender<Status>,
    asks: mpsc::Receiver<()>,
    shared: Arc<Shared>,
    under_way: Option<UnderWay>,
    /// A read that took too long, and may still keep a thread waiting: no other begins before it
    /// has ended.
    stuck: Option<JoinHandle<Outcome>>,
    /// When the node has heard what the others publish; `None` until it has joined.
    heard_at: Option<Instant>,
    /// What the node could not publish, and is to publish before the next read.
    unpublished: Option<String>,
    /// The state that was logged last.
    logged: Option<String>,
}

impl Task {
    pub(super) fn new(
        prepared: Prepared,
        agent: Agent,
        told: watch::Sender<Status>,
        asks: mpsc::Receiver<()>,
        shared: Arc<Shared>,
    ) -> Self {
        let Prepared { store, follower, cache, start, seeds, .. } = prepared;
        let (events, published) = (agent.events(), agent.subscribe(TELEMETRY_KEY));
        Self {
            store,
            follower,
            cache,
            start,
            seeds,
            agent,
            events,
            published,
            told,
            asks,
            shared,
            under_way: None,
            stuck: None,
            heard_at: None,
            unpublished: None,
            logged: None,
        }
    }

    pub(super) async fn run(mut self) {
        self.shared.set_document(self.follower.document());
        loop {
            while let Some(action) = self.follower.poll(self.now()) {
                self.carry_out(action).await;
            }
            self.tell();
            if !self.wait().await {
                return;
            }
        }
    }

    /// Waits until there is something to do; `false` once the node has ended.
    async fn wait(&mut self) -> bool {
        let due = self.follower.poll_timeout().map(|at| self.host_time(at));
        let due = match (due, self.heard_at.filter(|at| *at > Instant::now())) {
            (Some(due), Some(heard)) => Some(due.min(heard)),
            (due, heard) => due.or(heard),
        };
        let late = self.under_way.as_ref().map(|under_way| under_way.until);
        tokio::select! {
            outcome = finished(self.under_way.as_mut()) => {
                self.under_way = None;
                self.report(outcome);
            }
            () = at(late) => self.give_up(),
            () = at(due) => self.set_fleet(),
            Some(()) = self.asks.recv() => self.hint(Hint::Asked),
            event = self.events.recv() => match event {
                Ok(event) => self.on_event(&event),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return false,
            },
            change = self.published.recv() => match change {
                Some(change) => self.on_published(&change),
                None => return false,
            },
        }
        true
    }

    fn now(&self) -> telemetry_gossip_core::Instant {
        telemetry_gossip_core::Instant::ORIGIN + self.start.elapsed()
    }

    fn host_time(&self, at: telemetry_gossip_core::Instant) -> Instant {
        self.start + at.since(telemetry_gossip_core::Instant::ORIGIN)
    }

    fn hint(&mut self, hint: Hint) {
        self.follower.on_hint(self.now(), hint);
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::JoinCompleted { .. } if self.heard_at.is_none() => {
                self.heard_at = Some(Instant::now() + HEARD_AFTER);
            }
            Event::NotAMember { version, by, .. } => {
                self.hint(Hint::NotAMember { version: *version, by: *by });
            }
            Event::Knocked { id, address, .. } => {
                let at = std::time::Instant::now();
                self.shared.knocks(|knocks| knocks.add(*id, *address, at));
                self.hint(Hint::Knocked);
            }
            // The node takes no list while it waits for its id.
            Event::IdentityRegained { .. } => self.hint(Hint::Asked),
            _ => {}
        }
    }

    /// Another member publishes a version.
    fn on_published(&mut self, change: &TelemetryChange) {
        let value = change.value.as_ref().filter(|_| change.key == TELEMETRY_KEY);
        let published = value.and_then(|value| Published::parse(&value.value));
        if let Some(published) = published.filter(|_| change.id != self.agent.id()) {
            self.hint(Hint::Published { by: change.id, published });
        }
    }

    /// Tells the follower what the live members publish.
    fn set_fleet(&mut self) {
        let view = self.agent.view();
        let me = self.agent.id();
        let others = view
            .iter()
            .filter(|member| member.status == MemberStatus::Alive && member.id != me)
            .map(|member| Published::parse(&member.value(TELEMETRY_KEY)?.value));
        let heard = self.heard_at.is_some_and(|at| at <= Instant::now());
        self.follower.set_fleet(self.now(), Fleet::new(others, heard));
    }

    async fn carry_out(&mut self, action: Action) {
        match action {
            Action::ReadHead => {
                if let Some(value) = self.unpublished.clone() {
                    self.publish(value).await;
                }
                self.set_fleet();
                let store = self.store.clone();
                let read = async move { Outcome::Head(head(&*store).await) };
                self.begin(self.store.is_blocking(), read, || Outcome::Head(Err(late())));
            }
            Action::ReadDocument { version, chunks } => {
                let store = self.store.clone();
                let read = async move { Outcome::Document(store.document(version, chunks).await) };
                self.begin(self.store.is_blocking(), read, || Outcome::Document(Err(late())));
            }
            Action::Keep(kept) => self.keep(kept),
            Action::Apply { version, members } => {
                let applied = self.apply(version, members).await;
                self.follower.on_applied(self.now(), applied);
                self.shared.set_document(self.follower.document());
            }
            Action::Publish(value) => self.publish(value).await,
            Action::Seeds(addresses) => self.join(addresses),
            Action::Leave(gone) => self.leave(&gone).await,
            Action::Warn(gone) => tracing::warn!(
                "{gone}: it goes on, as it was told to stay, and the others tell it nothing"
            ),
        }
    }

    /// Publishes the version in force. A node that has no room for it in its telemetry, or waits
    /// for its id, tries again later: the others would count it among those without a version.
    async fn publish(&mut self, value: String) {
        match self.agent.publish_urgent(TELEMETRY_KEY, value.as_bytes()).await {
            Ok(()) => self.unpublished = None,
            Err(error) => {
                if self.unpublished.replace(value).is_none() {
                    tracing::warn!(%error, "the version of the registry cannot be published yet");
                }
            }
        }
    }

    /// Begins something on a task of its own, or on a thread if it keeps its thread waiting.
    fn begin(
        &mut self,
        is_blocking: bool,
        act: impl Future<Output = Outcome> + Send + 'static,
        late: fn() -> Outcome,
    ) {
        if self.stuck.as_ref().is_some_and(|stuck| !stuck.is_finished()) {
            return self.report(late());
        }
        self.stuck = None;
        let outcome = if is_blocking {
            let runtime = Handle::current();
            tokio::task::spawn_blocking(move || runtime.block_on(act))
        } else {
            tokio::spawn(act)
        };
        let until = Instant::now() + READ_TIMEOUT;
        self.under_way = Some(UnderWay { outcome, late, until });
    }

    /// Keeps a version on the disk, if the node has a folder for it.
    fn keep(&mut self, kept: Kept) {
        let Some(cache) = self.cache.clone() else {
            return self.report(Outcome::Kept(Ok(())));
        };
        let write = async move {
            Outcome::Kept(cache.write(&kept).map_err(|error: io::Error| error.to_string()))
        };
        let late = || Outcome::Kept(Err("the disk does not answer".to_owned()));
        self.begin(true, write, late);
    }

    fn give_up(&mut self) {
        if let Some(UnderWay { outcome, late, .. }) = self.under_way.take() {
            outcome.abort();
            self.stuck = Some(outcome);
            self.report(late());
        }
    }

    fn report(&mut self, outcome: Outcome) {
        let now = self.now();
        self.set_fleet();
        match outcome {
            Outcome::Head(found) => self.follower.on_head(now, found),
            Outcome::Document(found) => self.follower.on_document(now, found),
            Outcome::Kept(kept) => {
                self.follower.on_kept(now, kept);
                // The same list in other words is in force once it is kept.
                self.shared.set_document(self.follower.document());
            }
        }
    }

    async fn apply(&mut self, version: u64, members: Vec<NodeId>) -> Result<(), String> {
        let mut sorted = members.clone();
        sorted.sort_unstable();
        let applied = self.agent.apply_cluster_config(version, members).await;
        applied.map_err(|error| error.to_string())?;
        self.shared.knocks(|knocks| knocks.forget(|id| sorted.binary_search(&id).is_ok()));
        Ok(())
    }

    /// Joins through the addresses of a list beside the seeds of the node. What the transport
    /// cannot take for a name is left out.
    fn join(&mut self, addresses: Vec<String>) {
        let mut seeds = self.seeds.clone();
        for address in addresses {
            if self.agent.transport().check_name(&address).is_ok() && !seeds.contains(&address) {
                seeds.push(address);
            }
        }
        if seeds.is_empty() && self.heard_at.is_none() {
            // The node knows no way to other members, so it has no answer to wait for.
            self.heard_at = Some(Instant::now());
            self.set_fleet();
        }
        if seeds.len() == self.seeds.len() {
            return;
        }
        // Names may take seconds to resolve. The node tries those that have an address.
        let agent = self.agent.clone();
        tokio::spawn(async move {
            if let Err(error) = agent.join(&seeds).await {
                tracing::warn!(%error, "the members that the registry names cannot be tried");
            }
        });
    }

    async fn leave(&mut self, gone: &Gone) {
        tracing::warn!("{gone}: it leaves the cluster");
        if let Err(error) = self.agent.leave(LEAVE_TIMEOUT).await {
            tracing::warn!(%error, "the node left, and may not have been heard");
        }
        self.follower.on_left();
    }

    /// Tells readers of a change, and the log of a change of the state.
    fn tell(&mut self) {
        let status = self.follower.status();
        let is_new = self.told.send_if_modified(|told| {
            let differs = told != status;
            if differs {
                told.clone_from(status);
            }
            differs
        });
        if !is_new {
            return;
        }
        let kind = match &status.state {
            State::Waiting(None) => return,
            State::Waiting(Some(reason)) | State::Held(reason) => reason.word().to_owned(),
            State::Current => "current".to_owned(),
            other => other.to_string(),
        };
        if self.logged.as_ref() == Some(&kind) {
            return;
        }
        let (state, location) = (&status.state, self.store.location());
        match state {
            State::Current => tracing::info!(registry = %location, "the registry is current"),
            _ => tracing::warn!(registry = %location, "the registry is {state}"),
        }
        self.logged = Some(kind);
    }
}

async fn head(store: &dyn Store) -> Result<Option<Head>, StoreError> {
    Ok(store.head().await?.map(|found| found.head))
}

fn late() -> StoreError {
    StoreError::Unreachable(format!("it has not answered within {} s", READ_TIMEOUT.as_secs()))
}

/// Waits for what is under way; for ever if nothing is.
async fn finished(under_way: Option<&mut UnderWay>) -> Outcome {
    match under_way {
        None => std::future::pending().await,
        Some(UnderWay { outcome, late, .. }) => match outcome.await {
            Ok(outcome) => outcome,
            // It has panicked, or its runtime is about to end.
            Err(_) => late(),
        },
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
