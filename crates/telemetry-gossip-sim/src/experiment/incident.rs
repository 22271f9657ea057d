//! The incident, replayed: the central registry is down for 47 minutes, and the fleet goes on.
//!
//! A fleet follows a registry that says which nodes belong. The registry goes down. Meanwhile nodes
//! crash, return and restart, as machines do, and a node that had been removed before comes back.
//! Each of these is timed: how long until every running node knew. Beside it stands the registry of
//! old, which was asked who is alive: while it was down, each view stayed as it was, and what
//! happened meanwhile became known when it returned.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::Status;
use telemetry_gossip_registry::follow::State;
use telemetry_gossip_registry::{ClusterId, Edition, Member, Stamp};

use super::{Goal, Runs, table};
use crate::cluster::{Cluster, node_id};
use crate::network::Network;
use crate::registry::Registry;
use crate::setters::setters;
use crate::simulation::Settings;
use crate::units::Share;

/// How long a change may take to be known to all.
const LIMIT: Duration = Duration::from_secs(30);

/// How often the views are compared with the truth.
const SAMPLE: Duration = Duration::from_secs(5);

/// How often, while something happens that not all nodes know yet.
const SAMPLE_OFTEN: Duration = Duration::from_millis(500);

/// The size and the length of the incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncidentPlan {
    /// The number of nodes that belong; at least 20.
    pub members: usize,
    /// How long the registry is down, in seconds.
    pub outage_s: u32,
    /// The share of datagrams that is lost.
    pub loss: Share,
    /// The seed of the run.
    pub seed: u64,
}

setters! {
    IncidentPlan {
        members: usize,
        outage_s: u32,
        loss: Share,
        seed: u64,
    }
}

impl Default for IncidentPlan {
    /// The incident as it was: 240 nodes, 47 minutes.
    fn default() -> Self {
        Self { members: 240, outage_s: 47 * 60, loss: Share::percent(1), seed: 1 }
    }
}

/// What happens to a node while the registry is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Happening {
    /// It crashes.
    Crash,
    /// It returns after a crash, with what it has kept on its disk.
    Return,
    /// It is restarted in place, as for an update.
    Restart,
    /// It leaves in good order.
    Leave,
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Crash => "crash",
            Self::Return => "return",
            Self::Restart => "restart",
            Self::Leave => "leave",
        })
    }
}

/// One thing that happened while the registry was down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncidentRow {
    /// Seconds since the registry went down.
    pub at_s: f64,
    /// What happened.
    pub what: Happening,
    /// Seconds until every running node knew; `None` if some did not within 30 s.
    pub known_after_s: Option<f64>,
    /// Seconds until the registry of old would have told.
    pub registry_after_s: f64,
}

/// How wrong the views were at one time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ViewSample {
    /// Seconds since the registry went down.
    pub at_s: f64,
    /// Members that the average node holds Alive and that are not, or that are and it does not.
    pub wrong: f64,
    /// The same in the view of the registry of old, which is frozen while that is down.
    pub frozen: f64,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Incident {
    /// The plan.
    pub plan: IncidentPlan,
    /// What happened, in its order.
    pub rows: Vec<IncidentRow>,
    /// How wrong the views were, every five seconds, and every half second after a change.
    pub samples: Vec<ViewSample>,
    /// How often a node that ran was held Dead by another.
    pub false_deaths: u64,
    /// The most nodes that held the removed node Alive after it came back.
    pub readmitted: u64,
    /// How many nodes were not ready at some time, though they belong and ran.
    pub not_ready: u64,
    /// Seconds from the return of the registry until every node that belongs and runs was current.
    pub current_after_s: Option<f64>,
    /// Seconds from the next write, of which one node is told, until it was in force everywhere.
    pub written_after_s: Option<f64>,
}

/// A node that is to change, and when, in thousandths of the outage.
const STEPS: [(u64, usize, Happening); 14] = [
    (40, 2, Happening::Crash),
    (110, 3, Happening::Restart),
    (180, 4, Happening::Crash),
    (250, 2, Happening::Return),
    (320, 5, Happening::Leave),
    (390, 6, Happening::Crash),
    (450, 7, Happening::Restart),
    (520, 8, Happening::Crash),
    (590, 4, Happening::Return),
    (650, 9, Happening::Crash),
    (720, 6, Happening::Return),
    (790, 10, Happening::Restart),
    (850, 11, Happening::Crash),
    (920, 9, Happening::Return),
];

/// The node that is removed before the outage, and comes back in it.
const REMOVED: usize = 1;

/// When the removed node comes back, in thousandths of the outage.
const COMES_BACK: u64 = 200;

struct Run {
    cluster: Cluster,
    registry: Registry,
    plan: IncidentPlan,
    down_at: Duration,
    /// Which nodes ran when the registry went down.
    frozen: Vec<bool>,
    outcome: Incident,
    /// The nodes that were not ready at some time.
    not_ready: Vec<bool>,
}

/// Replays the incident. `progress` is told of each step.
///
/// # Panics
/// Panics if a rule of the protocol was broken.
pub fn incident(plan: &IncidentPlan, mut progress: impl FnMut(Runs)) -> Incident {
    let mut run = Run::new(*plan);
    let of = STEPS.len() + 1;
    for (done, &(permille, index, what)) in STEPS.iter().enumerate() {
        if permille > COMES_BACK && !run.runs(REMOVED) {
            run.run_to(COMES_BACK);
            run.bring_back();
        }
        run.run_to(permille);
        run.happens(index, what);
        progress(Runs { done: done + 1, of });
    }
    run.run_to(1_000);
    run.recover();
    progress(Runs { done: of, of });
    run.outcome.false_deaths = run.cluster.simulation().false_deads();
    run.outcome.not_ready = run.not_ready.iter().filter(|was| **was).count() as u64;
    run.outcome
}

impl Run {
    /// A fleet that has run for a minute, from which one node was removed, as the registry goes
    /// down.
    fn new(plan: IncidentPlan) -> Self {
        let plan = plan.members(plan.members.max(20));
        let settings = Settings::default()
            .nodes(plan.members)
            .network(Network::losing(plan.loss))
            .seed(plan.seed);
        let mut cluster = Cluster::new(settings);
        let members = (0..plan.members).map(|index| (node_id(index), Member::default()));
        let first = Edition::first(ClusterId::from_random([1; 16]), "", members);
        // The ids differ, and there are fewer than a document may have.
        let first = first.unwrap_or_else(|error| unreachable!("{error}"));
        let mut registry = Registry::new(first.clone());
        (0..plan.members).for_each(|index| registry.follow(&cluster, index));
        cluster.start_joined();
        let second = first.remove(&[node_id(REMOVED)], None, &Stamp::new("ana", "stolen"));
        registry.write(second.unwrap_or_else(|error| unreachable!("{error}")));
        registry.run_for(&mut cluster, Duration::from_secs(60));
        registry.crash(&mut cluster, REMOVED);
        registry.set_down(true);
        let down_at = cluster.now();
        let frozen = (0..plan.members).map(|index| index != REMOVED).collect();
        let outcome = Incident {
            plan,
            rows: Vec::new(),
            samples: Vec::new(),
            false_deaths: 0,
            readmitted: 0,
            not_ready: 0,
            current_after_s: None,
            written_after_s: None,
        };
        let not_ready = vec![false; plan.members];
        Self { cluster, registry, plan, down_at, frozen, outcome, not_ready }
    }

    fn outage(&self) -> Duration {
        Duration::from_secs(self.plan.outage_s.into())
    }

    /// Whether a node runs and has not left.
    fn runs(&self, index: usize) -> bool {
        self.cluster.taking_part().any(|running| running == index)
    }

    fn since_down(&self) -> Duration {
        self.cluster.now() - self.down_at
    }

    /// Lets time pass until so many thousandths of the outage are over.
    fn run_to(&mut self, permille: u64) {
        let until = self.outage().mul_f64(permille as f64 / 1_000.0);
        while self.since_down() < until {
            let step = SAMPLE.min(until - self.since_down());
            self.registry.run_for(&mut self.cluster, step);
            self.sample();
        }
    }

    /// Compares all views with the truth.
    fn sample(&mut self) {
        let running: Vec<usize> =
            self.cluster.taking_part().filter(|&index| index != REMOVED).collect();
        let is_running = |index: usize| running.binary_search(&index).is_ok();
        let members = (0..self.plan.members).filter(|&index| index != REMOVED);
        let mut wrong = 0;
        for &observer in &running {
            for of in members.clone() {
                let alive = self.cluster.status(observer, of) == Some(Status::Alive);
                wrong += u64::from(alive != is_running(of));
            }
        }
        let frozen = members.clone().filter(|&of| self.frozen[of] != is_running(of)).count();
        self.outcome.samples.push(ViewSample {
            at_s: self.since_down().as_secs_f64(),
            wrong: wrong as f64 / running.len().max(1) as f64,
            frozen: frozen as f64,
        });
        let holders = running.iter().filter(|&&observer| self.admits_removed(observer)).count();
        self.outcome.readmitted = self.outcome.readmitted.max(holders as u64);
        for &index in &running {
            let ready = self.registry.status(index).is_some_and(|status| status.is_ready());
            self.not_ready[index] |= !ready;
        }
    }

    fn admits_removed(&self, observer: usize) -> bool {
        self.cluster.status(observer, REMOVED) == Some(Status::Alive)
    }

    fn happens(&mut self, index: usize, what: Happening) {
        let at = self.since_down();
        match what {
            Happening::Crash => self.registry.crash(&mut self.cluster, index),
            Happening::Leave => self.cluster.leave(index),
            Happening::Return => self.registry.restart(&mut self.cluster, index),
            Happening::Restart => {
                self.registry.crash(&mut self.cluster, index);
                self.registry.run_for(&mut self.cluster, Duration::from_millis(200));
                self.registry.restart(&mut self.cluster, index);
            }
        }
        let all_hold = |cluster: &Cluster, status| {
            let others = cluster.taking_part().filter(|&other| other != index && other != REMOVED);
            cluster.all_hold(others, index, status)
        };
        let known = |_: &Registry, cluster: &Cluster| match what {
            Happening::Crash => all_hold(cluster, Status::Dead),
            Happening::Leave => all_hold(cluster, Status::Left),
            Happening::Return | Happening::Restart => {
                let is_whole = cluster.health(index).alive == cluster.health(0).alive;
                is_whole && all_hold(cluster, Status::Alive) && holds_instance(cluster, index)
            }
        };
        let took = self.wait_until(known);
        self.outcome.rows.push(IncidentRow {
            at_s: at.as_secs_f64(),
            what,
            known_after_s: took.map(|took| took.as_secs_f64()),
            registry_after_s: self.outage().saturating_sub(at).as_secs_f64(),
        });
    }

    /// Lets time pass until something is known, and compares the views with the truth meanwhile.
    fn wait_until(&mut self, known: impl Fn(&Registry, &Cluster) -> bool) -> Option<Duration> {
        let start = self.cluster.now();
        loop {
            self.sample();
            let step = SAMPLE_OFTEN;
            if self.registry.run_until(&mut self.cluster, &known, step).is_some() {
                self.sample();
                return Some(self.cluster.now() - start);
            }
            if self.cluster.now() - start >= LIMIT {
                return None;
            }
        }
    }

    /// Starts the removed node again, with an earlier list on its disk that names it.
    fn bring_back(&mut self) {
        self.registry.restart(&mut self.cluster, REMOVED);
    }

    /// The registry returns, and an operator writes the next version.
    fn recover(&mut self) {
        self.registry.set_down(false);
        let current = |registry: &Registry, cluster: &Cluster| {
            let mut running = cluster.taking_part().filter(|&index| index != REMOVED);
            running.all(|index| {
                registry.status(index).is_some_and(|status| status.state == State::Current)
            })
        };
        let limit = Duration::from_secs(120);
        let took = self.registry.run_until(&mut self.cluster, current, limit);
        self.outcome.current_after_s = took.map(|took| took.as_secs_f64());
        self.sample();
        let newest = self.registry.newest();
        let added = newest.add([(node_id(self.plan.members), Member::default())]);
        let Ok(added) = added else { return };
        let version = added.version();
        self.registry.write(added);
        self.registry.ask(&self.cluster, 0);
        let everywhere = |registry: &Registry, cluster: &Cluster| {
            let mut running = cluster.taking_part().filter(|&index| index != REMOVED);
            running.all(|index| registry.in_force(index) == Some(version))
        };
        let took = self.registry.run_until(&mut self.cluster, everywhere, limit);
        self.outcome.written_after_s = took.map(|took| took.as_secs_f64());
    }
}

/// Whether all running nodes hold the process of `index` that runs now, and no earlier one.
fn holds_instance(cluster: &Cluster, index: usize) -> bool {
    let instance = cluster.node(index).me().instance();
    let mut others = cluster.taking_part().filter(|&other| other != index && other != REMOVED);
    others
        .all(|other| cluster.held(other, index).is_some_and(|member| member.instance() == instance))
}

impl Incident {
    /// The bounds: every change known within 10 s while the registry was down, no node that ran
    /// held Dead, the removed node admitted nowhere, every node current within 12 s of the return,
    /// and the next version in force everywhere within 3 s of one node being told.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        // A change that some node never learned of is worse than any that was late.
        let times: Option<Vec<f64>> = self.rows.iter().map(|row| row.known_after_s).collect();
        let slowest = times.map_or(f64::NAN, |times| times.into_iter().fold(0.0, f64::max));
        let within = |figure: &str, most: f64, value: f64| Goal::new(figure, 0.0..=most, value);
        vec![
            within("seconds until the slowest change was known", 10.0, slowest),
            within("nodes that ran and were held Dead", 0.0, self.false_deaths as f64),
            within("nodes that admitted the removed one", 0.0, self.readmitted as f64),
            within("nodes that were not ready", 0.0, self.not_ready as f64),
            within(
                "seconds from the return until all were current",
                12.0,
                self.current_after_s.unwrap_or(f64::NAN),
            ),
            within(
                "seconds until the next version was in force",
                3.0,
                self.written_after_s.unwrap_or(f64::NAN),
            ),
        ]
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IncidentPlan { members, outage_s, loss, seed } = self.plan;
        writeln!(
            f,
            "{members} nodes, {loss} loss, the registry down for {} min; seed {seed}.\n",
            outage_s / 60
        )?;
        table::head(
            f,
            &[
                "minute",
                "what happened",
                "known to all after",
                "the registry of old would tell after",
            ],
        )?;
        for row in &self.rows {
            let known = row
                .known_after_s
                .map_or_else(|| "more than 30 s".to_owned(), |after| format!("{after:.1} s"));
            let cells = [
                format!("{:.1}", row.at_s / 60.0),
                row.what.to_string(),
                known,
                format!("{:.0} min", row.registry_after_s / 60.0),
            ];
            table::line(f, &cells)?;
        }
        let most =
            |value: fn(&ViewSample) -> f64| self.samples.iter().map(value).fold(0.0, f64::max);
        writeln!(
            f,
            "\nWrong entries of the average view, at most: {:.1}; of the frozen one: {:.0}.\n",
            most(|sample| sample.wrong),
            most(|sample| sample.frozen)
        )?;
        table::goals(f, &self.goals())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_goes_on_while_its_registry_is_down() {
        let plan = IncidentPlan::default().members(40).outage_s(900);
        let result = incident(&plan, |_| {});
        let missed: Vec<Goal> = result.goals().into_iter().filter(|goal| !goal.is_met()).collect();
        assert!(missed.is_empty(), "{missed:?}\n{result}");
        assert_eq!(result.rows.len(), STEPS.len());
        let frozen = result.samples.iter().map(|sample| sample.frozen).fold(0.0, f64::max);
        assert!(frozen >= 3.0, "the frozen view is wrong: {frozen}");
        let last = result.samples.last().unwrap();
        assert_eq!(last.wrong, 0.0, "{last:?}");
    }
}
