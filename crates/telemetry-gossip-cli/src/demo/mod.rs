//! `tgossip demo`: a real cluster over loopback UDP in one process, led through what can happen to
//! a cluster.
//!
//! ```text
//!   join --> telemetry --> crash: suspected, dead --> return --> leave --> summary
//! ```
//!
//! Each step does one thing to one node and waits until the views of all are as they should be,
//! within a limit. The parts: `cluster` runs the nodes, `views` folds what they tell, `stage`
//! waits, `picture` and `screen` show it, `summary` counts.

mod cast;
mod cluster;
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
use stage::{Stage, Told, views_complete};
use summary::{Sent, Summary, Traffic, settings};
use views::name;

/// The limits of the steps: several times what they take, and together with the whole demo's limit
/// below 30 s.
const JOIN_LIMIT: Duration = Duration::from_secs(14);
const TELEMETRY_LIMIT: Duration = Duration::from_secs(6);
const DEAD_LIMIT: Duration = Duration::from_secs(12);
const RETURN_LIMIT: Duration = Duration::from_secs(8);
const LEAVE_LIMIT: Duration = Duration::from_secs(6);

/// How long people may look at the outcome of a step.
const LOOK: Duration = Duration::from_millis(900);

const KEY: &str = "load";
const VALUE: &str = "0.42";

pub(crate) fn run(args: &DemoArgs) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Setup)?;
    let outcome = runtime.block_on(Demo::run(args));
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
        let (tell, told) = mpsc::unbounded_channel();
        let interrupt = tell.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                // Nobody listens once the demo has ended, and then there is nothing to end.
                let _ = interrupt.send(Told::Interrupted);
            }
        });
        let screen = Screen::new(args.plain, started)?;
        let mut demo = Self {
            nodes,
            cast: Cast::drawn(nodes, args.seed),
            cluster: Cluster::new(nodes, config.clone(), args.seed, args.record.recording(), tell),
            stage: Stage::new(nodes, screen, told, started),
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
        self.look("everybody reads the news").await?;
        let (suspected, first_dead, dead) = self.crash().await?;
        self.look("everybody knows of the crash").await?;
        let returned = self.come_back().await?;
        self.look("all views are complete again").await?;
        let left = self.leave().await?;
        let sent = self.cluster.sent().await?;
        self.look("everybody knows of the leave").await?;
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

    /// All start at once and find each other through a few of them.
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
            &format!(
                "all {} views are complete and alive, {} after the start",
                self.nodes,
                seconds(took)
            ),
        )?;
        Ok(took)
    }

    /// One node publishes; all others read it.
    async fn telemetry(&mut self) -> Result<Duration, Error> {
        let (publisher, others) = (self.cast.publisher, self.nodes - 1);
        let who = name(publisher);
        self.stage.views.watch_telemetry(publisher);
        let begun = Instant::now();
        self.cluster.publish(publisher, KEY, VALUE).await?;
        self.say(begun, &format!("{who} publishes {KEY}={VALUE}"))?;
        let step = format!("the telemetry of {who} spreads");
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
                    "{} was told of the telemetry of {who}, and does not read {KEY}={VALUE}",
                    name(reader)
                )));
            }
        }
        let took = at - begun;
        self.say(
            at,
            &format!(
                "{KEY}={VALUE} of {who} is read by {} after {}",
                the_others(others),
                seconds(took)
            ),
        )?;
        Ok(took)
    }

    /// One node is killed without a word; the others find out.
    async fn crash(&mut self) -> Result<(Duration, Duration, Duration), Error> {
        let (victim, others) = (self.cast.victim, self.nodes - 1);
        let who = name(victim);
        self.stage.views.unwatch_telemetry();
        let begun = Instant::now();
        self.cluster.kill(victim).await?;
        self.stage.views.take_down(victim);
        self.say(begun, &format!("{who} is killed: its task ends without a word"))?;
        let step = format!("{who} has crashed");
        let held = |status, enough| {
            move |views: &views::Views| {
                let standing = views.standing(victim);
                // Who has gone on to Dead has suspected before, even if the others' word was
                // quicker than its own.
                let done = match status {
                    Status::Suspected => {
                        standing.held(Status::Suspected) + standing.held(Status::Dead)
                    }
                    status => standing.held(status),
                };
                let what = format!("other views hold {} {status}", name(victim));
                Awaited { what, done, of: others, enough }
            }
        };
        let suspected = self.stage.until(&step, DEAD_LIMIT, held(Status::Suspected, 1)).await?;
        self.say(
            suspected,
            &format!("{who} is first suspected, {} after the kill", seconds(suspected - begun)),
        )?;
        let first = self.stage.until(&step, DEAD_LIMIT, held(Status::Dead, 1)).await?;
        self.say(
            first,
            &format!("{who} is first held dead, {} after the kill", seconds(first - begun)),
        )?;
        let dead = self.stage.until(&step, DEAD_LIMIT, held(Status::Dead, others)).await?;
        self.say(
            dead,
            &format!(
                "{who} is held dead by {}, {} after the kill",
                the_others(others),
                seconds(dead - begun)
            ),
        )?;
        Ok((suspected - begun, first - begun, dead - begun))
    }

    /// The killed node starts again with its old name and nothing else.
    async fn come_back(&mut self) -> Result<Duration, Error> {
        let victim = self.cast.victim;
        let who = name(victim);
        let begun = Instant::now();
        let life = self.cluster.restart(victim).await?;
        self.stage.reborn(victim, life);
        self.say(
            begun,
            &format!("{who} starts again at generation 0, having forgotten everything"),
        )?;
        let at =
            self.stage.until(&format!("{who} comes back"), RETURN_LIMIT, views_complete).await?;
        let generation = self.cluster.generation(self.cast.publisher, victim).unwrap_or_default();
        let took = at - begun;
        self.say(
            at,
            &format!(
                "{who} is alive in all {} views at generation {generation}, after {}",
                self.nodes,
                seconds(took)
            ),
        )?;
        Ok(took)
    }

    /// One node leaves in good order.
    async fn leave(&mut self) -> Result<Duration, Error> {
        let (leaver, others) = (self.cast.leaver, self.nodes - 1);
        let who = name(leaver);
        let begun = Instant::now();
        self.cluster.leave(leaver)?;
        self.stage.views.take_down(leaver);
        self.say(begun, &format!("{who} leaves in good order"))?;
        let at = self
            .stage
            .until(&format!("{who} leaves"), LEAVE_LIMIT, |views| Awaited {
                what: format!("other views hold {} left", name(leaver)),
                done: views.standing(leaver).held(Status::Left),
                of: others,
                enough: others,
            })
            .await?;
        let took = at - begun;
        self.say(
            at,
            &format!(
                "{who} is held to have left by {} after {}",
                the_others(others),
                seconds(took)
            ),
        )?;
        Ok(took)
    }

    fn say(&mut self, at: Instant, text: &str) -> Result<(), Error> {
        Ok(self.stage.screen.line(at, text)?)
    }

    /// Holds a step for a moment where somebody watches.
    async fn look(&mut self, step: &str) -> Result<(), Error> {
        if self.stage.screen.is_live() { self.stage.dwell(step, LOOK).await } else { Ok(()) }
    }
}
