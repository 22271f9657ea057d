//! A scenario is a value: how large a cluster, on what network, what happens to it and when, what is expected.
//!
//! It is written as a TOML file, or taken from the built-in ones by name. A run is `(scenario, seed) -> report`; see
//! [`run`](crate::run).

mod builtin;
mod expectations;
mod group;
mod limits;
mod overrides;
mod perform;
mod run;
mod swarm;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::ConfigError;
use thiserror::Error;

use crate::network::Network;
use crate::process::{Memory, Place, Rejoin};
use crate::simulation::node_config;
use crate::units::{Share, span};
pub use expectations::Expectations;
pub use group::{Group, GroupError};
pub use overrides::Overrides;
pub(crate) use run::{LAST, Marks, run_traced};
pub use run::{Options, Progress, run, run_with};

/// What happens to a cluster.
///
/// ```
/// use telemetry_gossip_sim::{Scenario, run};
///
/// let scenario = Scenario::from_toml(
///     r#"
///     name = "one-down"
///     nodes = 5
///     duration = "20s"
///     steps = [{ at = "5s", crash = "3" }]
///     expect = { views-complete = true, no-false-dead = true, known-within = "10s" }
///     "#,
/// )?;
/// let report = run(&scenario, 1)?;
/// assert!(report.passed(), "{report}");
/// # Ok::<(), telemetry_gossip_sim::ScenarioError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows, in a sentence.
    #[serde(default)]
    pub about: String,
    /// Seeds at which it once failed: a test of past failures runs it with these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
    /// Nodes at the start.
    pub nodes: usize,
    /// How they find each other.
    #[serde(default)]
    pub start: Start,
    /// Virtual time of the run.
    #[serde(with = "span")]
    pub duration: Duration,
    /// Settings that differ from the defaults.
    #[serde(default, skip_serializing_if = "is_default")]
    pub config: Overrides,
    /// The network at the start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: Network,
    /// Whether hosts seal what their nodes send.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    /// Clocks run fast or slow by up to so many millionths, spread evenly over the nodes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clock_drift_ppm: u32,
    /// Telemetry that every node publishes all the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Load>,
    /// What happens, and when.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What must be so for the run to pass, beside that no rule of the protocol breaks.
    #[serde(default)]
    pub expect: Expectations,
    /// The file it was read from, for the command that replays a run.
    #[serde(skip)]
    pub file: Option<String>,
}

/// How the nodes of a scenario find each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// All join through n0 at the start.
    #[default]
    Joined,
    /// All know all from the start.
    Known,
}

/// Telemetry published all the time, by one node after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Load {
    /// Each node publishes once in this time.
    #[serde(with = "span")]
    pub every: Duration,
    /// Bytes of each value.
    pub bytes: u16,
    /// Under so many keys in turn; with more than one, now and then a key is removed.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub keys: u16,
}

const fn one() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_one(keys: &u16) -> bool {
    *keys == 1
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When, from the start of the run.
    #[serde(with = "span")]
    pub at: Duration,
    /// What.
    #[serde(flatten)]
    pub operation: Operation,
}

impl fmt::Display for Step {
    /// As in a scenario file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = toml::Value::try_from(self).map_err(|_| fmt::Error)?;
        write!(f, "{value}")
    }
}

/// What can happen to a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Kill nodes.
    Crash(Group),
    /// Start killed nodes again.
    Restart {
        /// Which; those that are not down are left alone.
        nodes: Group,
        /// What they remember.
        #[serde(default)]
        memory: Memory,
        /// Where they listen.
        #[serde(default)]
        place: Place,
        /// How they find the others.
        #[serde(default)]
        rejoin: Rejoin,
    },
    /// Joins groups of nodes that no record and no seed leads to each other, as after a restart of
    /// all without seeds; leaves alone those that can find the others by themselves.
    Reunite {},
    /// Stop nodes for a while.
    Pause(Group),
    /// Let paused nodes go on.
    Resume(Group),
    /// Let nothing pass the sockets of nodes whose timers go on: what they send and what arrives waits.
    Block(Group),
    /// Let what waits at blocked nodes pass.
    Unblock(Group),
    /// Slow nodes down: they take datagrams in up to so much late, and their timers run out at multiples of that only; `0s` makes
    /// them as quick as they were.
    Slow {
        /// Which.
        nodes: Group,
        /// How slow.
        #[serde(with = "span")]
        by: Duration,
    },
    /// Set the clocks of nodes ahead or back.
    Jump {
        /// Which.
        nodes: Group,
        /// How far.
        #[serde(with = "span")]
        by: Duration,
        /// Back, not ahead.
        #[serde(default)]
        back: bool,
    },
    /// Let nodes leave in good order.
    Leave(Group),
    /// Start this many more nodes.
    Join(usize),
    /// Start a second process with the id of each of these nodes.
    Twin(Group),
    /// The hosts of nodes tell them of members that there are not.
    Ghosts {
        /// Which are told.
        nodes: Group,
        /// How many there are not: the same ones each time.
        count: usize,
    },
    /// The hosts of nodes tell them which nodes belong: all that there are by then.
    Configure(Group),
    /// The hosts of nodes say that the members out of touch are gone.
    AcceptLoss(Group),
    /// Let nodes publish an entry of telemetry.
    Publish {
        /// Which.
        nodes: Group,
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Nothing passes between two groups.
    Partition {
        /// One side.
        left: Group,
        /// The other.
        right: Group,
    },
    /// Nothing passes from one group to another; the other way it does.
    Cut {
        /// From these.
        from: Group,
        /// To those.
        to: Group,
    },
    /// A share is lost from one group to another.
    Lose {
        /// From these.
        from: Group,
        /// To those.
        to: Group,
        /// How much.
        loss: Share,
    },
    /// Every node reaches only so many next ones on either side.
    Ring(usize),
    /// Ends partitions, cuts, rings and the loss of single links.
    Heal {},
    /// Replaces the conditions on the network.
    Network(Network),
}

impl Operation {
    /// Its name in scenario files.
    #[must_use]
    pub fn name(&self) -> String {
        let value = toml::Value::try_from(self).ok();
        let name = value.as_ref().and_then(|value| value.as_table()?.keys().next());
        name.cloned().unwrap_or_default()
    }
}

/// Why a scenario cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScenarioError {
    /// The file is no scenario.
    #[error("not a scenario: {0}")]
    Toml(String),
    /// No built-in scenario has this name.
    #[error("no scenario is called `{name}`; there are {}", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// A cluster without nodes.
    #[error("a scenario has at least 1 node")]
    NoNodes,
    /// A cluster that does not fit the memory that a run may take.
    #[error(
        "{nodes} nodes hold {nodes} rows each, together about {need_gib} GiB, and a run may take {limit_gib} GiB: at most \
         {most} nodes"
    )]
    Nodes {
        /// How many there would be, those that join later included.
        nodes: usize,
        /// About how much memory they take, in GiB.
        need_gib: u64,
        /// How much a run may take, in GiB.
        limit_gib: u64,
        /// How many nodes fit.
        most: usize,
    },
    /// A run of no time, or of more than anybody waits for.
    #[error("a run takes {} to {} of virtual time, not {}", words(*least), words(*most), words(*duration))]
    Duration {
        /// How long it would be.
        duration: Duration,
        /// The shortest.
        least: Duration,
        /// The longest.
        most: Duration,
    },
    /// A load without an interval, or without a key.
    #[error("telemetry is published every 1ms or less often, under 1 key at least")]
    Load,
    /// A time to refute that is fixed and grows.
    #[error(
        "suspicion is fixed, so suspicion-percent and suspicion-stretch would say nothing: leave one or the other out"
    )]
    Suspicion,
    /// More telemetry than a report can be made of.
    #[error(
        "so much telemetry for {} does not fit the memory that a run may take: publish less often, or run for {} at most",
        words(*duration),
        words(Duration::from_secs(most.as_secs()))
    )]
    Telemetry {
        /// How long the run would be.
        duration: Duration,
        /// How long it may be.
        most: Duration,
    },
    /// The run ends before all has happened, and had its time to become known.
    #[error(
        "the run ends at {}, before it has shown what it is for: the last step is at {}{}: it needs {} at least",
        words(*duration),
        words(*last),
        known.map_or_else(String::new, |known| format!(" and may take {} to be known", words(known))),
        words(last.saturating_add(known.unwrap_or_default()))
    )]
    TooShort {
        /// When the run ends.
        duration: Duration,
        /// When the last step is.
        last: Duration,
        /// How long news may take.
        known: Option<Duration>,
    },
    /// No node can run with the config.
    #[error("config: {0}")]
    Config(#[from] ConfigError),
}

impl Scenario {
    /// The name of the random scenario; see [`swarm`](Self::swarm).
    pub const RANDOM: &str = swarm::NAME;

    /// Reads a scenario file.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| ScenarioError::Toml(error.to_string()))?;
        scenario.validate()?;
        Ok(scenario)
    }

    /// The built-in scenario of this name.
    pub fn named(name: &str) -> Result<Self, ScenarioError> {
        let text = builtin::text(name).ok_or_else(|| ScenarioError::Unknown {
            name: name.to_owned(),
            known: Self::names().chain([Self::RANDOM]).collect(),
        })?;
        Self::from_toml(text)
    }

    /// The built-in scenario of this name; [`RANDOM`](Self::RANDOM) is one that this seed chooses.
    pub fn for_seed(name: &str, seed: u64) -> Result<Self, ScenarioError> {
        if name == Self::RANDOM { Ok(Self::swarm(seed)) } else { Self::named(name) }
    }

    /// A random scenario: its size, its faults and their times come from the seed. Run it with the same seed.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        swarm::scenario(seed)
    }

    /// The scenario as a file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Every part of a scenario has a form in TOML.
        toml::to_string(self).unwrap_or_default()
    }

    /// The names of the built-in scenarios, the random one aside.
    pub fn names() -> impl Iterator<Item = &'static str> {
        builtin::names()
    }

    /// The same with another number of nodes.
    #[must_use]
    pub fn with_nodes(self, nodes: usize) -> Self {
        Self { nodes, ..self }
    }

    /// The same with another loss on every link.
    #[must_use]
    pub fn with_loss(self, loss: Share) -> Self {
        Self { network: Network { loss, ..self.network }, ..self }
    }

    /// The same for a longer or shorter time.
    #[must_use]
    pub fn with_duration(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), ScenarioError> {
        if self.telemetry.is_some_and(|load| load.every < Duration::from_millis(1) || load.keys == 0) {
            return Err(ScenarioError::Load);
        }
        if self.config.contradicts_itself() {
            return Err(ScenarioError::Suspicion);
        }
        limits::check(self)?;
        node_config(&self.config.config(), self.sealed).validate()?;
        Ok(())
    }

    /// The one command that repeats a run.
    #[must_use]
    pub fn replay_command(&self, seed: u64) -> String {
        let what = self.file.as_deref().unwrap_or(&self.name);
        let duration = words(self.duration);
        let loss = self.network.loss;
        format!("tgossip sim {what} --seed {seed} --nodes {} --duration {duration} --loss {loss}", self.nodes)
    }
}

/// What need not be written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A span as it can be typed: `1m20s`.
fn words(span: Duration) -> String {
    humantime::format_duration(span).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests;
