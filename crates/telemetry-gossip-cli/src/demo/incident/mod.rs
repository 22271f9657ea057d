//! `tgossip demo --registry`: a fleet whose registry goes down, and returns.
//!
//! ```text
//!   join at version 1 --> a node is added (2) --> a node is removed (3), and leaves
//!     --> the registry goes down: a crash, a restart in place, the removed node comes back,
//!         the crashed node returns, telemetry
//!     --> the registry returns: all are current --> one more version (4)
//! ```
//!
//! The simulator replays the same with 240 nodes and 47 minutes (`tgossip sim incident`); here are
//! real nodes, a real registry and seconds. `outage` has the steps while the registry is down,
//! `registry` runs the registry, `summary` has the times.

mod outage;
pub(in crate::demo) mod registry;
mod summary;

use std::time::{Duration, Instant};

use telemetry_gossip_core::{Config, NodeId};
use telemetry_gossip_registry::edit::EditError;
use telemetry_gossip_registry::follow::State;
use telemetry_gossip_registry::{ClusterId, Edition, Location, Member, Stamp};
use tokio::sync::mpsc;

use super::cluster::{Cluster, Follow, open_all};
use super::lists::{ListView, Stance};
use super::picture::Awaited;
use super::screen::Screen;
use super::stage::{Stage, views_complete};
use super::summary::settings;
use super::views::{Index, Views, name};
use super::{LOOK, cast};
use crate::agent::signals::Signals;
use crate::args::DemoArgs;
use crate::error::Error;
use crate::text::{counted, seconds, the_others};
use registry::{OPERATOR, Registry};
use summary::Summary;

/// The fewest nodes: each role needs one, and a node that crashes must not be half of the others.
const MIN_NODES: usize = 5;

/// The time limit of the whole. The help text promises 60 s.
const WHOLE_LIMIT: Duration = Duration::from_secs(59);

/// The time limits of the steps outside the outage. In the simulator a version is in force
/// everywhere within 3 s; this host may do much else. A removed node reads for 10 s, and leaves
/// within 5 s.
const JOIN_LIMIT: Duration = Duration::from_secs(14);
const VERSION_LIMIT: Duration = Duration::from_secs(6);
const LEAVE_LIMIT: Duration = Duration::from_secs(18);

/// How many members are marked as seeds in the registry.
const SEEDS: usize = 5;

/// Why the operator removes a node.
const WHY: &str = "stolen";

/// The node for each role. They are different.
#[derive(Clone, Copy, Debug)]
struct Roles {
    publisher: Index,
    /// Is killed, and returns.
    victim: Index,
    removed: Index,
    /// Is restarted in place.
    restarted: Index,
    /// Is added.
    newcomer: Index,
}

impl Roles {
    /// Selects among `nodes` nodes, to which one is added.
    fn select(nodes: usize, seed: u64) -> Self {
        let order = cast::shuffled(nodes, seed);
        let role = |place: usize| order.get(place).copied().unwrap_or_default();
        let (publisher, victim, removed, restarted) = (role(0), role(1), role(2), role(3));
        Self { publisher, victim, removed, restarted, newcomer: nodes }
    }
}

/// Runs the demo to its end, or until a signal. The registry ends with it.
pub(super) async fn run(args: &DemoArgs) -> Result<(), Error> {
    if args.nodes < MIN_NODES {
        return Err(Error::Usage(format!(
            "a demo with a registry needs {MIN_NODES} nodes or more, and {} were asked for: type \
             --nodes {MIN_NODES}",
            args.nodes
        )));
    }
    let mut signals = Signals::caught().map_err(Error::Setup)?;
    tokio::select! {
        outcome = play(args) => outcome,
        () = signals.recv() => Err(Error::Interrupted),
    }
}

async fn play(args: &DemoArgs) -> Result<(), Error> {
    let (nodes, config, started) = (args.nodes, Config::default(), Instant::now());
    let (sender, messages) = mpsc::unbounded_channel();
    let screen = Screen::new(args.plain, started)?;
    // One node is added later.
    let all = nodes + 1;
    let cluster = Cluster::new(all, config.clone(), args.seed, args.record.recording(), sender);
    let mut stage = Stage::new(all, screen, messages, started, WHOLE_LIMIT);
    let roles = Roles::select(nodes, args.seed);
    stage.views.take_down(roles.newcomer);
    stage.screen.line(started, &format!("{nodes} nodes on loopback UDP, {}", settings(&config)))?;
    let registry = Registry::start().await?;
    let mut incident = Incident { nodes, roles, cluster, stage, registry, version: 0, started };
    let summary = incident.steps().await?;
    incident.stage.screen.plain_line(&format!("\n{summary}"))?;
    incident.cluster.stop().await;
    Ok(())
}

struct Incident {
    /// The nodes that join first.
    nodes: usize,
    roles: Roles,
    cluster: Cluster,
    stage: Stage,
    registry: Registry,
    /// The newest version.
    version: u64,
    started: Instant,
}

impl Incident {
    async fn steps(&mut self) -> Result<Summary, Error> {
        let (what, location) = (self.registry.describe(), self.registry.location());
        let text = format!("the registry is {what}: {location}");
        self.say(Instant::now(), &text)?;
        let joined = self.join().await?;
        self.look("all nodes go by version 1").await?;
        let added = self.add().await?;
        let (begun, removed) = self.remove().await?;
        let left = self.leave(begun).await?;
        self.look("the removed node has left").await?;
        let down = Instant::now();
        let done = self.registry.stop()?;
        self.say(down, &format!("the registry goes down: {done}"))?;
        let killed = self.crash().await?;
        let restarted = self.restart_in_place().await?;
        self.removed_comes_back().await?;
        let dead = self.see_the_crash(killed).await?;
        let returned = self.come_back().await?;
        let telemetry = self.telemetry().await?;
        self.hold().await?;
        let (outage, current) = self.registry_returns(down).await?;
        self.look("all nodes are current").await?;
        let written = self.write_once_more().await?;
        self.nobody_admits_the_removed()?;
        self.look("the next version is in force everywhere").await?;
        let (nodes, total) = (self.nodes, self.started.elapsed());
        Ok(Summary {
            nodes,
            registry: self.registry.kind(),
            version: self.version,
            total,
            joined,
            added,
            removed,
            left,
            outage,
            dead,
            returned,
            restarted,
            telemetry,
            current,
            written,
        })
    }

    /// The first version names all nodes; they join through the addresses in it.
    async fn join(&mut self) -> Result<Duration, Error> {
        let begun = Instant::now();
        let transports = open_all(self.nodes).await?;
        let mut members = Vec::new();
        for (index, transport) in transports.iter().enumerate() {
            let at = Member::at([transport.local_addr().to_string()]).seed(index < SEEDS);
            members.push((id(index)?, at));
        }
        let mut cluster = [0; 16];
        getrandom::fill(&mut cluster)
            .map_err(|error| Error::Setup(std::io::Error::other(error)))?;
        let cluster = ClusterId::from_random(cluster);
        let first = Edition::first(cluster, "", members);
        let version = self.registry.write_first(first).await?;
        self.version = version;
        let location: Location = self.registry.location().clone();
        self.cluster.follow(Follow { location, folder: self.registry.state_folder() });
        for (index, transport) in transports.into_iter().enumerate() {
            self.cluster.spawn(index, transport, Vec::new())?;
        }
        let text = format!(
            "version {version} names {} nodes; they start without seeds, and join through the \
             addresses in it",
            self.nodes
        );
        self.say(begun, &text)?;
        let at =
            self.until("the nodes join", JOIN_LIMIT, move |views| whole(views, version)).await?;
        let took = at - begun;
        let text = format!(
            "all {} views are complete, and version {version} is in force at all, {} after the \
             start",
            self.nodes,
            seconds(took)
        );
        self.say(at, &text)?;
        Ok(took)
    }

    /// The operator adds a node, which starts.
    async fn add(&mut self) -> Result<Duration, Error> {
        let newcomer = self.roles.newcomer;
        let node = name(newcomer);
        let mut transports = open_all(1).await?;
        let Some(transport) = transports.pop() else { return Ok(Duration::ZERO) };
        let member = (id(newcomer)?, Member::at([transport.local_addr().to_string()]));
        let begun = Instant::now();
        let version = self.edit("more work", |newest, _| newest.add([member])).await?;
        self.stage.views.bring_up(newcomer);
        self.cluster.spawn(newcomer, transport, Vec::new())?;
        let text = format!("{OPERATOR} adds {node}: version {version}, of which one node is told");
        self.say(begun, &text)?;
        let step = format!("{node} is added");
        let at = self.until(&step, VERSION_LIMIT, move |views| whole(views, version)).await?;
        let took = at - begun;
        let text = format!(
            "version {version} is in force at all {} nodes, and {node} is alive in all views, {} \
             after the write",
            self.stage.views.running(),
            seconds(took)
        );
        self.say(at, &text)?;
        Ok(took)
    }

    /// The operator removes a node, and the others drop it. Returns when, and how long they took.
    async fn remove(&mut self) -> Result<(Instant, Duration), Error> {
        let removed = self.roles.removed;
        let (node, gone) = (name(removed), id(removed)?);
        let begun = Instant::now();
        let version = self.edit(WHY, |newest, stamp| newest.remove(&[gone], None, stamp)).await?;
        let text = format!(
            "{OPERATOR} removes {node} ({WHY}): version {version}; {node} reads it twice, 10 s \
             apart, before it leaves"
        );
        self.say(begun, &text)?;
        // From now on no view is correct that has it.
        self.stage.views.take_down(removed);
        let step = format!("{node} is removed");
        let at = self.until(&step, VERSION_LIMIT, move |views| whole(views, version)).await?;
        let everywhere = at - begun;
        let others = the_others(self.stage.views.running());
        let text = format!(
            "version {version} is in force at {others}, and none of them lists {node}, {} after \
             the write",
            seconds(everywhere)
        );
        self.say(at, &text)?;
        self.stage.views.ban(removed);
        Ok((begun, everywhere))
    }

    /// The removed node reads that it is removed, makes sure, and leaves.
    async fn leave(&mut self, begun: Instant) -> Result<Duration, Error> {
        let removed = self.roles.removed;
        let node = name(removed);
        let step = format!("{node} leaves by itself");
        let has_left = move |views: &Views| Awaited {
            what: "removed node has left".into(),
            done: usize::from(views.list(removed).stance == Stance::HasLeft),
            of: 1,
            enough: 1,
        };
        let at = self.until(&step, LEAVE_LIMIT, has_left).await?;
        let says = match self.cluster.following(removed)?.status().state {
            State::Gone(gone) => gone.to_string(),
            other => return Err(Error::Step(format!("{node} has left, and says: {other}"))),
        };
        self.cluster.end(removed).await;
        let left = at - begun;
        let text = format!(
            "{node} has left by itself, {} after the write. It says: {says}",
            seconds(left)
        );
        self.say(at, &text)?;
        Ok(left)
    }

    /// The operator adds a node that does not start.
    async fn write_once_more(&mut self) -> Result<Duration, Error> {
        let next = self.roles.newcomer + 1;
        let member = (id(next)?, Member::default());
        let begun = Instant::now();
        let version = self.edit("the next machine", |newest, _| newest.add([member])).await?;
        let text = format!(
            "{OPERATOR} adds {}, which has not started: version {version}, of which one node is \
             told",
            name(next)
        );
        self.say(begun, &text)?;
        let step = format!("version {version} spreads");
        let at = self.until(&step, VERSION_LIMIT, move |views| in_force(views, version)).await?;
        let took = at - begun;
        let running = self.stage.views.running();
        let text = format!(
            "version {version} is in force at all {running} nodes, {} after the write",
            seconds(took)
        );
        self.say(at, &text)?;
        Ok(took)
    }

    /// Writes a version, and tells one node of it, as `tgossip registry --via` does. Returns the
    /// version.
    async fn edit(
        &mut self,
        why: &str,
        edit: impl FnOnce(&Edition, &Stamp) -> Result<Edition, EditError>,
    ) -> Result<u64, Error> {
        self.version = self.registry.edit(why, edit).await?;
        self.cluster.following(self.roles.publisher)?.read_now();
        Ok(self.version)
    }

    fn nobody_admits_the_removed(&self) -> Result<(), Error> {
        match self.stage.views.admissions() {
            0 => Ok(()),
            some => Err(Error::Step(format!(
                "{}, which was removed, was admitted {}",
                name(self.roles.removed),
                counted(some as u64, "time")
            ))),
        }
    }

    async fn until(
        &mut self,
        step: &str,
        limit: Duration,
        awaited: impl Fn(&Views) -> Awaited,
    ) -> Result<Instant, Error> {
        self.stage.until(step, limit, awaited).await
    }

    fn say(&mut self, at: Instant, text: &str) -> Result<(), Error> {
        Ok(self.stage.screen.line(at, text)?)
    }

    /// Pauses on a terminal, so that people can see the outcome of a step.
    async fn look(&mut self, step: &str) -> Result<(), Error> {
        if self.stage.screen.is_live() { self.stage.dwell(step, LOOK).await } else { Ok(()) }
    }
}

fn id(index: Index) -> Result<NodeId, Error> {
    NodeId::new(&name(index)).map_err(|error| Error::Usage(error.to_string()))
}

/// Counts the running nodes whose view of the registry is such; all are needed.
fn of_lists(views: &Views, what: String, is_such: impl Fn(ListView) -> bool) -> Awaited {
    let of = views.running();
    Awaited { what, done: views.lists(is_such), of, enough: of }
}

/// This version is in force at all running nodes.
fn in_force(views: &Views, version: u64) -> Awaited {
    let what = format!("nodes go by version {version}");
    of_lists(views, what, |view| view.version == Some(version))
}

/// The same, and all views are complete.
fn whole(views: &Views, version: u64) -> Awaited {
    let (lists, complete) = (in_force(views, version), views_complete(views));
    if lists.done < lists.of { lists } else { complete }
}
