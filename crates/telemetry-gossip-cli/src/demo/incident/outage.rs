//! What happens while the registry is down, and its return.

use std::time::{Duration, Instant};

use telemetry_gossip_core::Status;
use telemetry_gossip_registry::follow::State;

use super::{Incident, of_lists};
use crate::demo::lists::{ListView, Stance};
use crate::demo::picture::Awaited;
use crate::demo::stage::views_complete;
use crate::demo::views::{Index, Views, name};
use crate::demo::{KEY, VALUE};
use crate::error::Error;
use crate::text::{seconds, the_others};

/// How long a change may take to be known to all, and all nodes to be current after the return: the
/// bounds of the incident in the simulator.
const KNOWN_LIMIT: Duration = Duration::from_secs(10);
const CURRENT_LIMIT: Duration = Duration::from_secs(12);

const TELEMETRY_LIMIT: Duration = Duration::from_secs(6);

impl Incident {
    /// Kills one node. Returns when.
    pub(super) async fn crash(&mut self) -> Result<Instant, Error> {
        let victim = self.roles.victim;
        let begun = Instant::now();
        self.cluster.kill(victim).await?;
        self.stage.views.take_down(victim);
        self.say(begun, &format!("{} is killed: it tells no other node", name(victim)))?;
        Ok(begun)
    }

    /// Waits until all know of the crash.
    pub(super) async fn see_the_crash(&mut self, killed: Instant) -> Result<Duration, Error> {
        let victim = self.roles.victim;
        let (node, others) = (name(victim), self.stage.views.others(victim));
        let is_dead = move |views: &Views| Awaited {
            what: format!("other views hold {} dead", name(victim)),
            done: views.counts(victim).of(Status::Dead),
            of: others,
            enough: others,
        };
        let limit = (killed + KNOWN_LIMIT).saturating_duration_since(Instant::now());
        let at = self.until(&format!("{node} has crashed"), limit, is_dead).await?;
        let took = at.saturating_duration_since(killed);
        let others = the_others(others);
        self.say(
            at,
            &format!("{node} is held dead by {others}, {} after the kill", seconds(took)),
        )?;
        Ok(took)
    }

    /// Ends a node without a word and starts it again at once, as a supervisor does.
    pub(super) async fn restart_in_place(&mut self) -> Result<Duration, Error> {
        let index = self.roles.restarted;
        let node = name(index);
        // Its new process publishes the version that it goes by. Only one that has heard of that
        // process has this.
        self.stage.views.watch_telemetry(index);
        let begun = Instant::now();
        self.cluster.kill(index).await?;
        self.stage.views.take_down(index);
        let instance = self.cluster.restart_kept(index).await?;
        self.stage.restarted(index, instance);
        let text = format!("{node} restarts in place, from what it has kept on its disk");
        self.say(begun, &text)?;
        let others = self.stage.views.others(index);
        let is_known = move |views: &Views| {
            let has_list = usize::from(views.list(index).version.is_some());
            Awaited {
                what: format!("other nodes know the new process of {}", name(index)),
                done: views.heard().min(others * has_list),
                of: others,
                enough: others,
            }
        };
        let at = self.until(&format!("{node} restarts"), KNOWN_LIMIT, is_known).await?;
        if let Some(other) = self.cluster.without_instance_of(index, self.roles.removed) {
            let text = format!("{} has not heard of the new process of {node}", name(other));
            return Err(Error::Step(text));
        }
        self.stage.views.unwatch_telemetry();
        let took = at - begun;
        let (others, version) = (the_others(others), self.kept_version(index)?);
        let text = format!(
            "{node} is known to {others} as a new process after {}; it goes by version {version}, \
             from its disk",
            seconds(took)
        );
        self.say(at, &text)?;
        Ok(took)
    }

    /// Starts the removed node again, with an earlier list on its disk that names it.
    pub(super) async fn removed_comes_back(&mut self) -> Result<(), Error> {
        let removed = self.roles.removed;
        let node = name(removed);
        let begun = Instant::now();
        let instance = self.cluster.restart_kept(removed).await?;
        self.stage.listen_to(removed, instance);
        let version = self.kept_version(removed)?;
        let text = format!(
            "{node}, which was removed, starts again; version {version} on its disk names it"
        );
        self.say(begun, &text)?;
        let is_doubted = move |views: &Views| Awaited {
            what: "removed node is told so".into(),
            done: usize::from(views.list(removed).doubted),
            of: 1,
            enough: 1,
        };
        let at = self.until(&format!("{node} is told"), KNOWN_LIMIT, is_doubted).await?;
        self.nobody_admits_the_removed()?;
        let text = format!(
            "{node} is told by the others that it does not belong, after {}: it is not ready",
            seconds(at - begun)
        );
        self.say(at, &text)
    }

    /// The version that a node goes by, which it can only have from its disk.
    fn kept_version(&self, index: Index) -> Result<u64, Error> {
        let in_force = self.cluster.following(index)?.status().in_force;
        in_force.map(|in_force| in_force.version).ok_or_else(|| {
            Error::Step(format!("{} has started without the list that it kept", name(index)))
        })
    }

    /// Starts the crashed node again, with what it has kept.
    pub(super) async fn come_back(&mut self) -> Result<Duration, Error> {
        let victim = self.roles.victim;
        let node = name(victim);
        let begun = Instant::now();
        let instance = self.cluster.restart_kept(victim).await?;
        self.stage.restarted(victim, instance);
        self.say(begun, &format!("{node} starts again, from what it has kept on its disk"))?;
        let at = self.until(&format!("{node} returns"), KNOWN_LIMIT, views_complete).await?;
        let took = at - begun;
        let (views, version) = (self.stage.views.running(), self.kept_version(victim)?);
        let text = format!(
            "{node} is alive in all {views} views after {}; it goes by version {version}, from its \
             disk",
            seconds(took)
        );
        self.say(at, &text)?;
        Ok(took)
    }

    /// One node publishes; all others read it.
    pub(super) async fn telemetry(&mut self) -> Result<Duration, Error> {
        let publisher = self.roles.publisher;
        let (node, others) = (name(publisher), self.stage.views.others(publisher));
        self.stage.views.watch_telemetry(publisher);
        let begun = Instant::now();
        self.cluster.publish(publisher, KEY, VALUE).await?;
        self.say(begun, &format!("{node} publishes {KEY}={VALUE}"))?;
        let step = format!("the telemetry of {node} spreads");
        let has_it = move |views: &Views| Awaited {
            what: format!("other nodes have {KEY}={VALUE}"),
            done: views.heard(),
            of: others,
            enough: others,
        };
        let at = self.until(&step, TELEMETRY_LIMIT, has_it).await?;
        for reader in 0..=self.nodes {
            let is_other = reader != publisher && reader != self.roles.removed;
            let read = self.cluster.read(reader, publisher, KEY);
            if is_other && read.as_deref() != Some(VALUE.as_bytes()) {
                let text = format!("the view of {} lacks {KEY}={VALUE} of {node}", name(reader));
                return Err(Error::Step(text));
            }
        }
        self.stage.views.unwatch_telemetry();
        let took = at - begun;
        let others = the_others(others);
        let text = format!("{KEY}={VALUE} of {node} has reached {others} after {}", seconds(took));
        self.say(at, &text)?;
        Ok(took)
    }

    /// Waits until each node has noticed that the registry is down.
    pub(super) async fn hold(&mut self) -> Result<(), Error> {
        let version = self.version;
        let holds = move |views: &Views| {
            let what = format!("nodes hold on to version {version}");
            let holds =
                |view: ListView| view.stance == Stance::Held && view.version == Some(version);
            of_lists(views, what, holds)
        };
        let at = self.until("the registry is down", KNOWN_LIMIT, holds).await?;
        self.nobody_admits_the_removed()?;
        let why = match self.cluster.following(self.roles.publisher)?.status().state {
            State::Held(reason) => reason.word(),
            _ => "held",
        };
        let text = format!(
            "all {} nodes have noticed that the registry is down ({why}), and go on with version \
             {version}; none has admitted {}",
            self.stage.views.running(),
            name(self.roles.removed)
        );
        self.say(at, &text)
    }

    /// The registry returns. Returns how long it was down, and how long all took to be current.
    pub(super) async fn registry_returns(
        &mut self,
        down: Instant,
    ) -> Result<(Duration, Duration), Error> {
        let begun = Instant::now();
        let done = self.registry.start_again().await?;
        let back = Instant::now();
        let outage = back - down;
        let text = format!(
            "the registry returns: {done}. It was down for {}, {} of them to start",
            seconds(outage),
            seconds(back - begun)
        );
        self.say(back, &text)?;
        let is_current = |views: &Views| {
            of_lists(views, "nodes are current".into(), |view| view.stance == Stance::Current)
        };
        let at = self.until("the registry returns", CURRENT_LIMIT, is_current).await?;
        let took = at.saturating_duration_since(back);
        let text = format!(
            "all {} nodes are current, {} after the return",
            self.stage.views.running(),
            seconds(took)
        );
        self.say(at, &text)?;
        Ok((outage, took))
    }
}
