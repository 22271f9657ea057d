//! Scenarios: the size of a cluster, its network, the steps with their times, and the expectations,
//! as a value.
//!
//! A scenario is read from a TOML file, or is one of the built-in ones. A run is
//! `(scenario, seed) -> report`; see [`run`](crate::run).

mod builtin;
mod expectations;
mod group;
mod judge;
mod lie;
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
use crate::setters::setters;
use crate::simulation::node_config;
use crate::units::{Share, span};
pub use expectations::Expectations;
pub use group::{Group, GroupError};
pub use lie::Lie;
pub use overrides::Overrides;
pub(crate) use run::run_traced;
pub use run::{Options, Progress, run, run_with};

/// A scenario.
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
#[non_exhaustive]
pub struct Scenario {
    /// The name of the scenario.
    pub name: String,
    /// A sentence that says what the scenario shows.
    #[serde(default)]
    pub about: String,
    /// Seeds with which the scenario once failed, for a test of past failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
    /// The number of nodes at the start.
    pub nodes: usize,
    /// How the nodes find each other.
    #[serde(default)]
    pub start: Start,
    /// The virtual time of a run.
    #[serde(with = "span")]
    pub duration: Duration,
    /// Settings of the nodes that differ from the defaults.
    #[serde(default, skip_serializing_if = "is_default")]
    pub config: Overrides,
    /// Settings of other nodes: the nodes take `config` and these in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_configs: Vec<Overrides>,
    /// The network at the start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: Network,
    /// Whether the hosts seal the datagrams of their nodes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    /// The largest error of the clocks in millionths; the errors are spread evenly over the nodes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clock_drift_ppm: u32,
    /// Telemetry that every node publishes continually.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Load>,
    /// The steps.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The conditions under which a run passes, besides that no rule of the protocol is broken.
    #[serde(default)]
    pub expect: Expectations,
    /// The file that the scenario was read from, for the command that replays a run.
    #[serde(skip)]
    pub file: Option<String>,
}

/// How the nodes of a scenario find each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Start {
    /// All nodes join through n0 at the start.
    #[default]
    Joined,
    /// All nodes know each other from the start.
    Known,
}

/// Telemetry that the nodes publish continually, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Load {
    /// The time between two publications of a node.
    #[serde(with = "span")]
    pub every: Duration,
    /// The size of a value in bytes.
    pub bytes: u16,
    /// The number of keys that a node publishes in turn. If there are several, keys are also
    /// removed from time to time.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub keys: u16,
}

impl Load {
    /// A load of one value of `bytes` bytes per node in each interval `every`, under one key.
    #[must_use]
    pub const fn new(every: Duration, bytes: u16) -> Self {
        Self { every, bytes, keys: 1 }
    }
}

setters! {
    Load {
        keys: u16,
    }
}

const fn one() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_one(keys: &u16) -> bool {
    *keys == 1
}

/// A step of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// The time of the step, since the start of the run.
    #[serde(with = "span")]
    pub at: Duration,
    /// The operation.
    #[serde(flatten)]
    pub operation: Operation,
}

impl Step {
    /// A step that performs an operation at a time since the start of the run.
    #[must_use]
    pub const fn new(at: Duration, operation: Operation) -> Self {
        Self { at, operation }
    }
}

impl fmt::Display for Step {
    /// Writes the step as in a scenario file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = toml::Value::try_from(self).map_err(|_| fmt::Error)?;
        write!(f, "{value}")
    }
}

/// An operation on a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Operation {
    /// Kill nodes.
    Crash(Group),
    /// Restart killed nodes.
    Restart {
        /// The nodes; those that are not down are left alone.
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
    /// Join groups of nodes that cannot find each other by a record or a seed, as after a restart
    /// of all nodes without seeds.
    Reunite {},
    /// Let the hosts of nodes save their state, for a restart with it.
    Save(Group),
    /// Pause nodes.
    Pause(Group),
    /// Resume paused nodes.
    Resume(Group),
    /// Block the sockets of nodes: their timers run, but their datagrams wait in both directions.
    Block(Group),
    /// Unblock the sockets of nodes.
    Unblock(Group),
    /// Let the hosts of nodes send from a second address, and state the first.
    SendElsewhere(Group),
    /// Let the addresses that nodes state lead nowhere. What they send comes from a second address.
    LoseAddress(Group),
    /// Let the addresses that nodes state lead to them again.
    RegainAddress(Group),
    /// Slow nodes down: they receive datagrams up to this much late, and their timers fire only at
    /// multiples of it. `0s` ends this.
    Slow {
        /// The nodes.
        nodes: Group,
        /// The slowness.
        #[serde(with = "span")]
        by: Duration,
    },
    /// Let the timers of nodes fire this much later than the nodes ask for. `0s` ends this.
    LateTicks {
        /// The nodes.
        nodes: Group,
        /// The lateness.
        #[serde(with = "span")]
        by: Duration,
    },
    /// Set the clocks of nodes ahead or back.
    Jump {
        /// The nodes.
        nodes: Group,
        /// The distance.
        #[serde(with = "span")]
        by: Duration,
        /// Whether the clocks are set back rather than ahead.
        #[serde(default)]
        back: bool,
    },
    /// Let nodes leave the cluster.
    Leave(Group),
    /// Start this many more nodes.
    Join(usize),
    /// Start this many more nodes with the longest ids that there are.
    JoinLong(usize),
    /// Kill nodes for good, and start other ones at their addresses.
    Replace(Group),
    /// Let the hosts of nodes pass many commands at once.
    Storm {
        /// The nodes.
        nodes: Group,
        /// The number of commands to each of them.
        count: u32,
    },
    /// Start a second process with the id of each of these nodes.
    Twin(Group),
    /// Let the hosts of nodes introduce members that do not exist.
    Ghosts {
        /// The nodes to which they are introduced.
        nodes: Group,
        /// The number of members that do not exist; they are the same each time.
        count: usize,
    },
    /// Let the hosts of nodes apply a cluster config with all nodes of that time.
    Configure(Group),
    /// Let the hosts of nodes accept the loss of unreachable members.
    AcceptLoss(Group),
    /// Let nodes publish an entry of telemetry.
    Publish {
        /// The nodes.
        nodes: Group,
        /// The key of the entry.
        key: String,
        /// The value of the entry.
        value: String,
    },
    /// Stop all datagrams between two groups.
    Partition {
        /// One side.
        left: Group,
        /// The other side.
        right: Group,
    },
    /// Stop all datagrams from one group to another, in this direction only.
    Cut {
        /// The senders.
        from: Group,
        /// The receivers.
        to: Group,
    },
    /// Lose a share of the datagrams from one group to another.
    Lose {
        /// The senders.
        from: Group,
        /// The receivers.
        to: Group,
        /// The share that is lost.
        loss: Share,
    },
    /// Arrange the nodes on a ring, on which each reaches only this many nodes on either side.
    Ring(usize),
    /// End partitions, cuts, rings and losses of single links.
    Heal {},
    /// Let a liar act from now on.
    Lie(Lie),
    /// End all lies. Nothing answers any more at the addresses of liars.
    StopLying {},
    /// Replace the conditions on the network.
    Network(Network),
}

impl Operation {
    /// The name of the operation in scenario files.
    #[must_use]
    pub fn name(&self) -> String {
        let value = toml::Value::try_from(self).ok();
        let name = value.as_ref().and_then(|value| value.as_table()?.keys().next());
        name.cloned().unwrap_or_default()
    }
}

/// The reason why a scenario cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The text is not a scenario.
    #[error("the file is not a scenario: {0}")]
    Toml(String),
    /// No built-in scenario has this name.
    #[error("no scenario is called `{name}`; there are {}", known.join(", "))]
    #[non_exhaustive]
    Unknown {
        /// The requested name.
        name: String,
        /// The existing names.
        known: Vec<&'static str>,
    },
    /// The scenario has no nodes.
    #[error("a scenario needs at least 1 node")]
    NoNodes,
    /// The cluster does not fit the memory that a run may use.
    #[error(
        "{nodes} nodes hold {nodes} rows each, together about {need_gib} GiB, but a run may use \
         {limit_gib} GiB: use at most {most} nodes"
    )]
    #[non_exhaustive]
    Nodes {
        /// The number of nodes, including those that join later.
        nodes: usize,
        /// The approximate memory that the nodes need, in GiB.
        need_gib: u64,
        /// The memory that a run may use, in GiB.
        limit_gib: u64,
        /// The largest number of nodes that fits.
        most: usize,
    },
    /// The run is too short or too long.
    #[error(
        "a run takes {} to {} of virtual time, not {}",
        words(*least), words(*most), words(*duration)
    )]
    #[non_exhaustive]
    Duration {
        /// The duration of the run.
        duration: Duration,
        /// The shortest duration.
        least: Duration,
        /// The longest duration.
        most: Duration,
    },
    /// The telemetry load has a too short interval, or no key.
    #[error("the telemetry load needs an interval of at least 1ms and at least 1 key")]
    Load,
    /// The suspicion timeout is both fixed and scaled.
    #[error(
        "suspicion sets a fixed timeout, so suspicion-multiplier-percent and \
         suspicion-max-multiplier would have no effect: leave one or the other out"
    )]
    Suspicion,
    /// The publications do not fit the memory that a run may use.
    #[error(
        "the publications of {} do not fit the memory that a run may use: publish less often, or \
         run for at most {}",
        words(*duration),
        words(Duration::from_secs(most.as_secs()))
    )]
    #[non_exhaustive]
    Telemetry {
        /// The duration of the run.
        duration: Duration,
        /// The longest possible duration.
        most: Duration,
    },
    /// The run ends before its last step, or before the news of it can have spread.
    #[error(
        "the run ends at {}, but its last step is at {}{}: it needs at least {}",
        words(*duration),
        words(*last),
        known.map_or_else(String::new, |known| format!(
            ", and its news may take {} to spread", words(known)
        )),
        words(last.saturating_add(known.unwrap_or_default()))
    )]
    #[non_exhaustive]
    TooShort {
        /// The end of the run.
        duration: Duration,
        /// The time of the last step.
        last: Duration,
        /// The time that news may take.
        known: Option<Duration>,
    },
    /// No node can run with the configuration.
    #[error("no node can run with the config: {0}")]
    Config(#[from] ConfigError),
}

impl Scenario {
    /// The name of random scenarios; see [`swarm`](Self::swarm).
    pub const RANDOM: &str = swarm::NAME;

    /// Parses the text of a scenario file.
    ///
    /// # Errors
    /// Fails if the text is not a valid scenario.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self =
            toml::from_str(text).map_err(|error| ScenarioError::Toml(error.to_string()))?;
        scenario.validate()?;
        Ok(scenario)
    }

    /// Returns the built-in scenario with this name.
    ///
    /// # Errors
    /// Fails if there is none.
    pub fn named(name: &str) -> Result<Self, ScenarioError> {
        let text = builtin::text(name).ok_or_else(|| ScenarioError::Unknown {
            name: name.to_owned(),
            known: Self::names().chain([Self::RANDOM]).collect(),
        })?;
        Self::from_toml(text)
    }

    /// Returns the built-in scenario with this name, or for the name [`RANDOM`](Self::RANDOM) the
    /// random scenario of this seed.
    ///
    /// # Errors
    /// Fails if there is none.
    pub fn for_seed(name: &str, seed: u64) -> Result<Self, ScenarioError> {
        if name == Self::RANDOM { Ok(Self::swarm(seed)) } else { Self::named(name) }
    }

    /// Returns the random scenario of a seed, which determines its size, its faults and their
    /// times. Run it with the same seed.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        swarm::scenario(seed)
    }

    /// Returns the text of a scenario file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Every part of a scenario has a form in TOML.
        toml::to_string(self).unwrap_or_default()
    }

    /// The names of the built-in scenarios, except [`RANDOM`](Self::RANDOM).
    pub fn names() -> impl Iterator<Item = &'static str> {
        builtin::names()
    }

    /// Replaces the number of nodes.
    #[must_use]
    pub fn with_nodes(self, nodes: usize) -> Self {
        Self { nodes, ..self }
    }

    /// Sets the file that the scenario was read from, for the command that replays a run.
    #[must_use]
    pub fn with_file(self, file: impl Into<String>) -> Self {
        Self { file: Some(file.into()), ..self }
    }

    /// Replaces the loss on all links.
    #[must_use]
    pub fn with_loss(self, loss: Share) -> Self {
        Self { network: self.network.loss(loss), ..self }
    }

    /// Replaces the virtual time of a run.
    #[must_use]
    pub fn with_duration(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    /// Checks that the scenario can be run.
    ///
    /// # Errors
    /// Fails with the first reason why it cannot.
    pub fn validate(&self) -> Result<(), ScenarioError> {
        if self
            .telemetry
            .is_some_and(|load| load.every < Duration::from_millis(1) || load.keys == 0)
        {
            return Err(ScenarioError::Load);
        }
        if self.configs().any(Overrides::contradicts_itself) {
            return Err(ScenarioError::Suspicion);
        }
        limits::check(self)?;
        for config in self.configs() {
            node_config(&config.config(), self.sealed).validate()?;
        }
        Ok(())
    }

    /// The settings that the nodes take in turn.
    fn configs(&self) -> impl Iterator<Item = &Overrides> {
        [&self.config].into_iter().chain(&self.other_configs)
    }

    /// Returns the time by which all nodes have to hold each other Alive after the last lie.
    pub(crate) fn alive_by(&self) -> Option<Duration> {
        let is_end = |step: &&Step| matches!(step.operation, Operation::StopLying {});
        let last = self.steps.iter().filter(is_end).map(|step| step.at).max()?;
        Some(last.saturating_add(self.expect.alive_within?))
    }

    /// Returns the command that repeats a run.
    #[must_use]
    pub fn replay_command(&self, seed: u64) -> String {
        let what = self.file.as_deref().unwrap_or(&self.name);
        let duration = words(self.duration);
        let loss = self.network.loss;
        format!(
            "tgossip sim {what} --seed {seed} --nodes {} --duration {duration} --loss {loss}",
            self.nodes
        )
    }
}

/// Whether a value equals its default and need not be written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The text of a span as it can be typed: `1m20s`.
fn words(span: Duration) -> String {
    humantime::format_duration(span).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests;
