//! The registry on real processes: agents follow an etcd of three, which is changed, killed,
//! stopped, restored from a backup, written on and recovered. One command, one report:
//!
//! ```sh
//! TGOSSIP_ETCD=$(.ci/etcd) \
//!     cargo test --release -p telemetry-gossip-cli --test registry_etcd -- --ignored --nocapture
//! ```
//!
//! That takes 16 minutes, with 240 agents and an outage of 10 minutes, and wants the whole machine.
//! The small form of it takes a minute. Agents and operator log in by client certificates; at the
//! end, they log in by passwords.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![cfg(all(target_os = "linux", feature = "etcd"))]

mod common;
mod registry_etcd_support;

use std::time::{Duration, Instant, SystemTime};

use common::text;
use registry_etcd_support::etcd::Etcd;
use registry_etcd_support::fleet::Fleet;
use registry_etcd_support::node::{Machine, Node};
use registry_etcd_support::report::Report;

/// What a run has of everything.
struct Plan {
    agents: usize,
    /// How many agents are added, and removed.
    changed: usize,
    outage: Duration,
    /// How many agents restart in the outage.
    restarts: usize,
    /// How long all agents may take to be current after all have started, by certificate and by
    /// password. A password costs etcd 60 ms.
    by_certificate: Duration,
    by_password: Duration,
    /// How long all of it may take; `None` where the outage decides.
    whole: Option<Duration>,
    /// By how much a time may be above its bound: the small form runs on machines that are busy
    /// with other tests, and the bounds themselves are held in virtual time (`tests/protocol`).
    slack: f64,
    /// What may be resident of the largest agent, in MiB; `None` if that is told and not judged.
    resident: Option<f64>,
}

#[test]
#[ignore = "16 minutes, and 240 processes that need the whole machine"]
fn a_fleet_of_240_follows_a_registry_that_is_changed_stopped_restored_and_recovered() {
    run(&Plan {
        agents: 240,
        changed: 5,
        outage: Duration::from_secs(600),
        restarts: 20,
        by_certificate: Duration::from_secs(3),
        by_password: Duration::from_secs(20),
        whole: None,
        slack: 1.0,
        resident: Some(RESIDENT),
    });
}

#[test]
fn twelve_agents_follow_a_registry_that_is_changed_stopped_restored_and_recovered() {
    run(&Plan {
        agents: 12,
        changed: 2,
        outage: Duration::from_secs(15),
        restarts: 2,
        by_certificate: Duration::from_secs(3),
        by_password: Duration::from_secs(5),
        whole: None,
        slack: 4.0,
        resident: None,
    });
}

/// How long all agents may take to have a version in force that was written with `--via`. They read
/// it within 2 s of the hint. 240 agents on one host need more than 2 cores for that.
const NEW_VERSION: Duration = Duration::from_secs(3);

/// How long a node that was removed may take to leave: it reads the list once more after 10 s, and
/// waits up to 5 s until the others have heard of it.
const LEAVE: Duration = Duration::from_secs(20);

/// How long a write may take after the leader was killed: an election takes 1 to 2 s, twice that if
/// votes are split.
const ELECTION: Duration = Duration::from_secs(10);

/// How long all agents may take to be current once etcd is back: they ask every 1 to 10 s.
const CURRENT_AGAIN: Duration = Duration::from_secs(12);

/// How long a restarted agent may take to see all others, while the registry is down.
const WHOLE: Duration = Duration::from_secs(3);

/// How long a recovery may take until all agents have it.
const RECOVERED: Duration = Duration::from_secs(5);

/// The most requests per second that a change costs etcd.
const REQUESTS: f64 = 300.0;

/// The memory of the largest agent that no other process shares, in MiB.
const PRIVATE: f64 = 3.0;

/// All that is resident of the largest agent, in MiB: 8.5 MB. Most of that are pages of the
/// program, which all agents on a host share: Linux maps whole 64 KiB of a file where one byte is
/// used.
const RESIDENT: f64 = 8.1;

/// What an agent may cost while etcd is down, in percent of a core.
const CPU: f64 = 0.1;

/// What a program without optimisation takes is told and not judged.
const fn if_optimised(bound: f64) -> Option<f64> {
    if cfg!(debug_assertions) { None } else { Some(bound) }
}

/// A fleet, its registry, and what was found so far.
struct Run<'a> {
    plan: &'a Plan,
    etcd: Etcd,
    fleet: Fleet,
    /// The newest version.
    version: u64,
    report: Report,
}

fn run(plan: &Plan) {
    let begun = Instant::now();
    let Some(etcd) = Etcd::start() else { return };
    let fleet = Fleet::new(etcd.url("node"), etcd.url("operator"));
    let mut run = Run { plan, etcd, fleet, version: 0, report: Report::new(plan.slack) };
    run.start();
    run.add();
    let stolen = run.remove_and_replace();
    run.kill_the_leader();
    let stolen = run.stop_etcd(&stolen);
    run.restore_and_recover(stolen);
    run.resident("before the restarts");
    run.restart_all("by certificate", plan.by_certificate);
    run.fleet.url = run.etcd.url_with_password("node");
    run.fleet.operator = run.etcd.url_with_password("operator");
    run.etcd.restart_without_certificates();
    run.restart_all("by password", plan.by_password);
    run.check();
    run.report.time("the whole run", begun.elapsed(), plan.whole);
    run.report.judge();
}

impl Run<'_> {
    /// Makes a change with `--via`. Returns how long it took until all agents had it.
    fn change(&mut self, args: &[&str]) -> Duration {
        self.version += 1;
        self.fleet.change(self.version, &[args, &["--via", self.fleet.via()]].concat())
    }

    /// Checks that no running member was suspected or declared dead since the last check, and that
    /// no removed node was admitted.
    fn nobody_wronged(&mut self, step: &str) {
        let mut found = self.fleet.found();
        found.wrong.extend(found.suspected);
        self.report.none(&format!("{step}: wrongly Suspected, Dead or admitted"), &found.wrong);
    }

    /// The same after all agents have started at once. Some then get no processor time for longer
    /// than others wait for their answer: who is suspected is told.
    fn nobody_wronged_by_start(&mut self, step: &str) {
        let found = self.fleet.found();
        let suspected = found.suspected.len() as f64;
        self.report.add(&format!("{step}: members suspected as all start"), suspected, None, "");
        self.report.none(&format!("{step}: wrongly Dead or admitted"), &found.wrong);
    }

    fn start(&mut self) {
        let machines = self.fleet.machines(self.plan.agents);
        let list = self.fleet.list(&machines);
        self.version = 1;
        self.fleet.done(&["init", "--members", &list]);
        let (begun, start) = (SystemTime::now(), Instant::now());
        self.fleet.start(&machines);
        let current = self.fleet.until_current(1, begun);
        self.report.time("start of all agents: all current", current, None);
        self.fleet.until_whole(&self.fleet.ids());
        self.report.time("start of all agents: all views whole", start.elapsed(), None);
        self.nobody_wronged_by_start("start");
    }

    fn add(&mut self) {
        let machines = self.fleet.machines(self.plan.changed);
        let list = self.fleet.list(&machines);
        self.version += 1;
        let args = ["add", "--from", &list, "--via", self.fleet.via()];
        let change = || self.fleet.change(self.version, &args);
        let before = self.cpu(&[]);
        let (took, requests) = self.etcd.busiest_second(change);
        let used = self.cpu(&[]) - before;
        self.report.time("add: new version at all", took, Some(NEW_VERSION));
        self.report.time("add: processor time of all agents meanwhile", used, None);
        let step = "add: requests in the busiest second";
        self.report.add(step, requests, Some(REQUESTS), "/s");
        let started = self.fleet.start(&machines);
        let took = self.fleet.until_current(self.version, started);
        self.report.time("add: the new agents are current", took, None);
        self.fleet.until_whole(&self.fleet.ids());
        self.nobody_wronged("add");
    }

    /// Returns the machine of a removed node.
    fn remove_and_replace(&mut self) -> Machine {
        let ids: Vec<_> = self.fleet.ids().into_iter().skip(1).take(self.plan.changed).collect();
        let removed: Vec<Node> = ids.iter().map(|id| self.fleet.take(id)).collect();
        let begun = Instant::now();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let took = self.change(&[&["remove", "--why", "stolen"], &ids[..]].concat());
        self.report.time("remove: new version at all others", took, Some(NEW_VERSION));
        ids.iter().for_each(|id| self.fleet.removed(id));

        let id = self.fleet.nodes[1].id().to_owned();
        let old = self.fleet.take(&id);
        let machine = self.fleet.machine(&id);
        let took = self.change(&["replace", &id, "--address", &machine.address]);
        self.report.time("replace: new version at all others", took, Some(NEW_VERSION));

        let stolen = removed[0].machine.clone();
        for node in removed {
            self.fleet.end_gone(node);
        }
        let took = begun.elapsed();
        self.report.time("remove: the removed agents end with exit code 5", took, Some(LEAVE));
        self.fleet.end_gone(old);
        let took = begun.elapsed();
        self.report.time("replace: the old agent ends with exit code 5", took, Some(LEAVE));
        let started = self.fleet.start(&[machine]);
        let took = self.fleet.until_current(self.version, started);
        self.report.time("replace: the new agent is current", took, None);
        self.fleet.until_whole(&self.fleet.ids());
        self.nobody_wronged("remove and replace");
        stolen
    }

    fn kill_the_leader(&mut self) {
        let leader = self.etcd.cluster.leader();
        let begun = Instant::now();
        self.etcd.cluster.kill(leader);
        let took = self.change(&["add", "spare-1"]);
        let step = "leader killed: the next version at all, since the kill";
        self.report.time(step, begun.elapsed(), Some(ELECTION + NEW_VERSION));
        self.report.time("leader killed: the same, since the write", took, None);
        self.etcd.cluster.start_again(leader);
        self.nobody_wronged("leader killed");
    }

    /// Stops etcd for a while, in which agents restart and a removed node comes back. Returns that
    /// one.
    fn stop_etcd(&mut self, stolen: &Machine) -> Node {
        let begun = Instant::now();
        self.etcd.cluster.kill_all();
        self.fleet.look();
        self.fleet.until_held(self.version, "unreachable", SystemTime::now());
        let ids = self.fleet.ids();
        let restarting = &ids[ids.len() - self.plan.restarts..];

        let stolen = self.fleet.start_removed(stolen);
        let mut slowest = Duration::ZERO;
        for id in restarting {
            let started = self.fleet.restart(std::slice::from_ref(id));
            self.fleet.until_whole(std::slice::from_ref(id));
            slowest = slowest.max(started.elapsed().unwrap_or_default());
        }
        let step = "etcd stopped: a restarted agent sees all others, the slowest";
        self.report.time(step, slowest, Some(WHOLE));
        self.fleet.until_held(self.version, "unreachable", SystemTime::now());
        // What it is told makes it doubt that it belongs.
        stolen.until(|line| line["ready"] == false && line["doubted"] == true);
        assert_eq!(stolen.version(), Some(2));

        let (from, before) = (Instant::now(), self.cpu(restarting));
        while begun.elapsed() < self.plan.outage {
            self.fleet.nodes.iter().for_each(Node::read_printed);
            std::thread::park_timeout(self.plan.outage.saturating_sub(begun.elapsed()));
        }
        let used = self.cpu(restarting) - before;
        let count = (ids.len() - restarting.len()) as f64;
        let percent = used.as_secs_f64() * 100.0 / from.elapsed().as_secs_f64() / count;
        let step = "etcd stopped: processor time per agent";
        self.report.add(step, percent, if_optimised(CPU), "% of a core");

        self.etcd.cluster.start_all();
        let back = SystemTime::now();
        let took = self.fleet.until_current(self.version, back);
        self.report.time("etcd back: all current again", took, Some(CURRENT_AGAIN));
        self.fleet.until_whole(&self.fleet.ids());
        self.nobody_wronged("etcd stopped");
        stolen
    }

    /// The processor time of all agents but these.
    fn cpu(&self, but: &[String]) -> Duration {
        let nodes = self.fleet.nodes.iter().filter(|node| !but.iter().any(|id| id == node.id()));
        nodes.map(Node::cpu).sum()
    }

    /// Restores a backup, writes on, and recovers. The removed node leaves before that.
    fn restore_and_recover(&mut self, stolen: Node) {
        let backup = self.etcd.save();
        let took = self.change(&["add", "spare-2"]);
        self.report.time("after the backup: new version at all", took, Some(NEW_VERSION));
        self.fleet.end_gone(stolen);

        self.etcd.restore(&backup);
        let back = SystemTime::now();
        self.fleet.look();
        let took = self.fleet.until_held(self.version, "rolled-back", back);
        self.report.time("restored: all hold as rolled back", took, Some(CURRENT_AGAIN));
        let via = self.fleet.via();
        let refused = self.fleet.run(&["add", "spare-3", "--via", via]);
        assert_eq!(refused.status.code(), Some(6), "{}", text(&refused.stderr));

        let written = SystemTime::now();
        let said = self.fleet.done(&["add", "spare-4"]);
        assert!(said.starts_with(&format!("version {}: ", self.version)), "{said}");
        self.fleet.look();
        let took = self.fleet.until_held(self.version, "forked", written);
        self.report.time("written on: all hold as forked", took, Some(CURRENT_AGAIN));

        self.version += 1;
        let args = ["recover", "--keep", "fleet", "--yes", "--via", self.fleet.via()];
        let change = || self.fleet.change(self.version, &args);
        let (took, requests) = self.etcd.busiest_second(change);
        self.report.time("recovered: new version at all", took, Some(RECOVERED));
        let step = "recovered: requests in the busiest second";
        self.report.add(step, requests, Some(REQUESTS), "/s");
        self.nobody_wronged("restored and recovered");
    }

    fn resident(&mut self, when: &str) {
        let mib = |kib: u64| kib as f64 / 1_024.0;
        for (what, bound, kib) in [
            ("private memory", Some(PRIVATE), Node::private_kib as fn(&Node) -> u64),
            ("resident", self.plan.resident, Node::resident_kib),
        ] {
            let each: Vec<_> = self.fleet.nodes.iter().map(kib).collect();
            let most = each.iter().max().copied().unwrap_or_default();
            let mean = each.iter().sum::<u64>() / each.len() as u64;
            let step = format!("{when}: {what} of the largest agent");
            self.report.add(&step, mib(most), bound.and_then(if_optimised), "MiB");
            self.report.add(&format!("{when}: {what} of the mean agent"), mib(mean), None, "MiB");
        }
    }

    fn restart_all(&mut self, how: &str, bound: Duration) {
        let ids = self.fleet.ids();
        let restart = || {
            let started = self.fleet.restart(&ids);
            self.fleet.until_current(self.version, started)
        };
        let (took, requests) = self.etcd.busiest_second(restart);
        let step = format!("all restarted, {how}: all current after the last start");
        self.report.time(&step, took, Some(bound));
        let step = format!("all restarted, {how}: requests in the busiest second");
        self.report.add(&step, requests, None, "/s");
        self.fleet.until_whole(&ids);
        self.nobody_wronged_by_start(&format!("all restarted, {how}"));
    }

    /// All agents have the newest version, as they say themselves and as one of them sees it.
    fn check(&mut self) {
        let said = self.fleet.done(&["check", "--via", self.fleet.via(), "--wait", "10s"]);
        let count = self.fleet.nodes.len();
        assert!(said.contains(&format!("{count} of {count} live members")), "{said}");
        let behind = self.fleet.nodes.iter().filter(|node| node.version() != Some(self.version));
        let behind: Vec<_> = behind.map(|node| node.id().to_owned()).collect();
        self.report.none("at the end: agents that do not have the newest version", &behind);
        self.resident("at the end");
    }
}
