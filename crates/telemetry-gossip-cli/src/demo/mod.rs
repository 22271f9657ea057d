//! `tgossip demo`: a real cluster over loopback UDP in one process, and what can happen to it.
//!
//! ```text
//!   join --> telemetry --> crash: suspected, dead --> return --> leave --> summary
//! ```
//!
//! Each step does one thing to one node, and waits within a limit until the views of all nodes are
//! as expected. The modules: `cluster` runs the nodes, `views` collects their events, `stage`
//! waits, `picture` and `screen` show the cluster, `summary` counts. `incident` is the demo with a
//! registry, and `lists` what its nodes make of that.

mod cast;
mod cluster;
mod incident;
mod lists;
mod picture;
mod screen;
mod stage;
mod summary;
mod views;

use std::time::{Duration, Instant};

use telemetry_gossip_core::{Config, Status};
use tokio::sync::mpsc;

use crate::args::DemoArgs;
use crate::error::Error;
use crate::text::{seconds, the_others};
use cast::Cast;
use cluster::Cluster;
use picture::Awaited;
use screen::Screen;
use stage::{Message, Stage, views_complete};
use summary::{Sent, Summary, Traffic, settings};
use views::name;

/// The time limit of the whole demo. The help text promises 30 s.
const WHOLE_LIMIT: Duration = Duration::from_secs(29);

/// The time limits of the steps. Each is several times what the step takes; the limit of the whole
/// demo keeps their sum below 30 s.
const JOIN_LIMIT: Duration = Duration::from_secs(14);
const TELEMETRY_LIMIT: Duration = Duration::from_secs(6);
const DEAD_LIMIT: Duration = Duration::from_secs(12);
const RETURN_LIMIT: Duration = Duration::from_secs(8);
const LEAVE_LIMIT: Duration = Duration::from_secs(6);

/// How long the outcome of a step stays on a terminal before the next step.
const LOOK: Duration = Duration::from_millis(900);

const KEY: &str = "load";
const VALUE: &str = "0.42";

pub(crate) fn run(args: &DemoArgs) -> Result<(), Error> {
    let runtime = crate::runtime::new().map_err(Error::Setup)?;
    let outcome = if args.registry {
        runtime.block_on(incident::run(args))
    } else {
        runtime.block_on(Demo::run(args))
    };
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

struct Demo {
    nodes: usize,
    cast: Cast,
    cluster: Cluster,
    stage: Stage,
}

impl Demo {
    async fn run(args: &DemoArgs) -> Result<(), Error> {
        let (nodes, config, started) = (args.nodes, Config::default(), Instant::now());
        let (sender, messages) = mpsc::unbounded_channel();
        let interrupt = sender.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                // The receiver is gone only if the demo has ended already.
                let _ = interrupt.send(Message::Interrupted);
            }
        });
        let screen = Screen::new(args.plain, started)?;
        let mut demo = Self {
            nodes,
            cast: Cast::select(nodes, args.seed),
            cluster: Cluster::new(
                nodes,
                config.clone(),
                args.seed,
                args.record.recording(),
                sender,
            ),
            stage: Stage::new(nodes, screen, messages, started, WHOLE_LIMIT),
        };
        let summary = demo.steps(started, config).await?;
        demo.stage.screen.plain_line(&format!("\n{summary}"))?;
        demo.cluster.stop().await;
        Ok(())
    }

    async fn steps(&mut self, started: Instant, config: Config) -> Result<Summary, Error> {
        let nodes = self.nodes;
        self.say(started, &format!("{nodes} nodes on loopback UDP, {}", settings(&config)))?;
        let joined = self.join(started).await?;
        let (sent_joining, joined_at) = (self.cluster.sent().await?, Instant::now());
        self.look("all views are complete").await?;
        let telemetry = self.telemetry().await?;
        self.look("all nodes have the telemetry").await?;
        let (suspected, first_dead, dead) = self.crash().await?;
        self.look("all nodes know of the crash").await?;
        let returned = self.come_back().await?;
        self.look("all views are complete again").await?;
        let left = self.leave().await?;
        let sent = self.cluster.sent().await?;
        self.look("all nodes know of the leave").await?;
        Ok(Summary {
            nodes,
            config,
            total: started.elapsed(),
            joined,
            telemetry,
            suspected,
            first_dead,
            dead,
            returned,
            left,
            joining: Traffic::between(Sent::default(), sent_joining, joined),
            after: Traffic::between(sent_joining, sent, joined_at.elapsed()),
        })
    }

    /// Starts all nodes at once; they find each other through a few seeds.
    async fn join(&mut self, started: Instant) -> Result<Duration, Error> {
        let seeds = self.cluster.start_all().await?;
        self.say(
            Instant::now(),
            &format!("{} sockets are open; the nodes join through {seeds} of them", self.nodes),
        )?;
        let step = format!("{} nodes join", self.nodes);
        let at = self.stage.until(&step, JOIN_LIMIT, views_complete).await?;
        let took = at - started;
        self.say(
            at,
            &format!("all {} views are complete, {} after the start", self.nodes, seconds(took)),
        )?;
        Ok(took)
    }

    /// One node publishes; all others read it.
    async fn telemetry(&mut self) -> Result<Duration, Error> {
        let (publisher, others) = (self.cast.publisher, self.nodes - 1);
        let id = name(publisher);
        self.stage.views.watch_telemetry(publisher);
        let begun = Instant::now();
        self.cluster.publish(publisher, KEY, VALUE).await?;
        self.say(begun, &format!("{id} publishes {KEY}={VALUE}"))?;
        let step = format!("the telemetry of {id} spreads");
        let at = self
            .stage
            .until(&step, TELEMETRY_LIMIT, |views| Awaited {
                what: format!("other nodes have {KEY}={VALUE}"),
                done: views.heard(),
                of: others,
                enough: others,
            })
            .await?;
        for reader in (0..self.nodes).filter(|&reader| reader != publisher) {
            let read = self.cluster.read(reader, publisher, KEY);
            if read.as_deref() != Some(VALUE.as_bytes()) {
                return Err(Error::Step(format!(
                    "{} emitted an event about the telemetry of {id}, but its view lacks \
                     {KEY}={VALUE}",
                    name(reader)
                )));
            }
        }
        let took = at - begun;
        self.say(
            at,
            &format!(
                "{KEY}={VALUE} of {id} has reached {} after {}",
                the_others(others),
                seconds(took)
            ),
        )?;
        Ok(took)
    }

    /// Kills one node; the others detect it.
    async fn crash(&mut self) -> Result<(Duration, Duration, Duration), Error> {
        let (victim, others) = (self.cast.victim, self.nodes - 1);
        let id = name(victim);
        self.stage.views.unwatch_telemetry();
        let begun = Instant::now();
        self.cluster.kill(victim).await?;
        self.stage.views.take_down(victim);
        self.say(begun, &format!("{id} is killed: its task ends, and it tells no other node"))?;
        let step = format!("{id} has crashed");
        let seen = |status, enough| {
            move |views: &views::Views| {
                let counts = views.counts(victim);
                // A view that holds Dead counts as one that has held Suspected. It may have gone to
                // Dead directly, on the word of another node.
                let done = match status {
                    Status::Suspected => counts.of(Status::Suspected) + counts.of(Status::Dead),
                    status => counts.of(status),
                };
                let what = format!("other views hold {} {status}", name(victim));
                Awaited { what, done, of: others, enough }
            }
        };
        let suspected = self.stage.until(&step, DEAD_LIMIT, seen(Status::Suspected, 1)).await?;
        self.say(
            suspected,
            &format!("{id} is first suspected, {} after the kill", seconds(suspected - begun)),
        )?;
        let first = self.stage.until(&step, DEAD_LIMIT, seen(Status::Dead, 1)).await?;
        self.say(
            first,
            &format!("{id} is first held dead, {} after the kill", seconds(first - begun)),
        )?;
        let dead = self.stage.until(&step, DEAD_LIMIT, seen(Status::Dead, others)).await?;
        self.say(
            dead,
            &format!(
                "{id} is held dead by {}, {} after the kill",
                the_others(others),
                seconds(dead - begun)
            ),
        )?;
        Ok((suspected - begun, first - begun, dead - begun))
    }

    /// Starts the killed node again, with its old id and an empty view.
    async fn come_back(&mut self) -> Result<Duration, Error> {
        let victim = self.cast.victim;
        let id = name(victim);
        let begun = Instant::now();
        let instance = self.cluster.restart(victim).await?;
        self.stage.restarted(victim, instance);
        self.say(begun, &format!("{id} starts again at generation 0, with an empty view"))?;
        let at =
            self.stage.until(&format!("{id} comes back"), RETURN_LIMIT, views_complete).await?;
        let generation = self.cluster.generation(self.cast.publisher, victim).unwrap_or_default();
        let took = at - begun;
        self.say(
            at,
            &format!(
                "{id} is alive in all {} views at generation {generation}, after {}",
                self.nodes,
                seconds(took)
            ),
        )?;
        Ok(took)
    }

    /// Lets one node leave the cluster.
    async fn leave(&mut self) -> Result<Duration, Error> {
        let (leaver, others) = (self.cast.leaver, self.nodes - 1);
        let id = name(leaver);
        let begun = Instant::now();
        self.cluster.leave(leaver)?;
        self.stage.views.take_down(leaver);
        self.say(begun, &format!("{id} leaves the cluster"))?;
        let at = self
            .stage
            .until(&format!("{id} leaves"), LEAVE_LIMIT, |views| Awaited {
                what: format!("other views hold {} left", name(leaver)),
                done: views.counts(leaver).of(Status::Left),
                of: others,
                enough: others,
            })
            .await?;
        let took = at - begun;
        self.say(
            at,
            &format!(
                "{id} is known to have left by {}, {} later",
                the_others(others),
                seconds(took)
            ),
        )?;
        Ok(took)
    }

    fn say(&mut self, at: Instant, text: &str) -> Result<(), Error> {
        Ok(self.stage.screen.line(at, text)?)
    }

    /// Pauses on a terminal, so that people can see the outcome of a step.
    async fn look(&mut self, step: &str) -> Result<(), Error> {
        if self.stage.screen.is_live() { self.stage.dwell(step, LOOK).await } else { Ok(()) }
    }
}
