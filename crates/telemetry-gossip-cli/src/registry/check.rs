//! `check`: whether the registry is whole, and whether every live member has its newest version.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use telemetry_gossip_registry::Edition;
use tokio::time::{Instant, sleep_until};

use super::access::{Newest, Registry};
use super::error::RegistryError;
use super::fleet::Fleet;
use super::history::History;
use super::print;
use crate::args::registry::CheckArgs;
use crate::control::registry::{Publishing, RegistryAnswer};
use crate::error::Error;
use crate::safe::Safe;
use crate::text;

/// How often the agent is asked again, while the command waits.
const ASK_INTERVAL: Duration = Duration::from_millis(250);

/// The most problems that are printed. There may be as many as members.
const MAX_PROBLEMS: usize = 100;

/// What a check has found, for programs.
#[derive(Debug, Default, Serialize)]
struct Report {
    location: String,
    /// The newest version; `None` if it cannot be read.
    version: Option<u64>,
    hash: Option<String>,
    members: u64,
    /// How many versions are kept, the newest included.
    kept: usize,
    /// How many live members have the newest version; `None` if no agent was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_force: Option<u64>,
    /// What each live member has.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Vec<Publishing>>,
    /// The members of the list that are not live at the agent, which are not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_live: Option<Vec<String>>,
    problems: Vec<String>,
}

pub(super) async fn check(registry: &Registry, args: &CheckArgs) -> Result<(), Error> {
    let mut report = Report { location: registry.location(), ..Report::default() };
    match registry.newest().await {
        Ok(newest) => {
            report.set_newest(&newest.edition);
            report.check_history(registry, &newest).await?;
            if let Some(ask) = args.via.ask() {
                let wait = args.wait.unwrap_or_default();
                report.check_fleet(registry, &Fleet::of(&ask), wait, newest).await?;
            }
        }
        Err(error) => report.problems.push(error.damage()?.to_string()),
    }
    report.print(args.json)?;
    match report.problems.len() {
        0 => Ok(()),
        count => {
            let found = text::counted(count as u64, "problem");
            Err(RegistryError::Unsound(format!("the registry has {found}")).into())
        }
    }
}

impl Report {
    fn set_newest(&mut self, newest: &Edition) {
        self.version = Some(newest.version());
        self.hash = Some(newest.hash().to_string());
        self.members = newest.document().members().len() as u64;
    }

    async fn check_history(&mut self, registry: &Registry, newest: &Newest) -> Result<(), Error> {
        let mut history = History::of(registry, newest).await?;
        self.kept = 1 + history.kept().len();
        while let Some(earlier) = history.next().await? {
            self.problems.extend(earlier.problem);
        }
        Ok(())
    }

    /// Holds what the live members publish against the newest version, until all have it or the
    /// time is up.
    async fn check_fleet(
        &mut self,
        registry: &Registry,
        fleet: &Fleet,
        wait: Duration,
        mut newest: Newest,
    ) -> Result<(), Error> {
        let end = Instant::now() + wait;
        if !wait.is_zero() {
            fleet.client.read_registry().await?;
        }
        loop {
            let next = Instant::now() + ASK_INTERVAL;
            let answer = fleet.client.registry().await?;
            let found = laggards(&newest.edition, &answer);
            if found.is_empty() || next > end {
                self.set_newest(&newest.edition);
                let has_it = |one: &&Publishing| has(&newest.edition, one);
                self.not_live = Some(not_live(&newest.edition, &answer));
                self.in_force = Some(answer.published.iter().filter(has_it).count() as u64);
                self.live = Some(answer.published);
                self.problems.extend(found);
                return Ok(());
            }
            sleep_until(next).await;
            // Another operator may have written a version meanwhile.
            if registry.head().await?.as_ref() != Some(&newest.found) {
                newest = registry.newest().await?;
            }
        }
    }

    fn print(&self, json: bool) -> Result<(), Error> {
        if json {
            return print::object(self);
        }
        let mut out = Safe::new(io::stdout().lock(), false);
        if let (Some(version), Some(hash)) = (self.version, &self.hash) {
            let members = text::counted(self.members, "member");
            let kept = text::counted(self.kept as u64, "version");
            let hash = text::cut(hash, 16);
            writeln!(out, "version {version}: {members}, hash {hash}; {kept} kept")?;
        }
        if let (Some(in_force), Some(live)) = (self.in_force, &self.live) {
            writeln!(out, "{in_force} of {} live members have it in force", live.len())?;
        }
        if let Some(ids) = self.not_live.as_deref().filter(|ids| !ids.is_empty()) {
            let members = text::counted(ids.len() as u64, "member");
            writeln!(out, "{members} not live and not checked: {}", print::listed(ids))?;
        }
        for problem in self.problems.iter().take(MAX_PROBLEMS) {
            writeln!(out, "problem: {problem}")?;
        }
        if self.problems.len() > MAX_PROBLEMS {
            writeln!(out, "and {} more problems", self.problems.len() - MAX_PROBLEMS)?;
        }
        Ok(out.flush()?)
    }
}

/// Whether a live member has this version in force.
fn has(newest: &Edition, one: &Publishing) -> bool {
    one.version == Some(newest.version()) && one.hash.as_deref() == Some(&newest.hash().short())
}

/// The members that are not live at the agent.
fn not_live(newest: &Edition, answer: &RegistryAnswer) -> Vec<String> {
    let live: BTreeSet<&str> = answer.published.iter().map(|one| one.id.as_str()).collect();
    let ids = newest.document().ids().into_iter();
    ids.filter(|id| !live.contains(id.as_str())).map(|id| id.to_string()).collect()
}

/// What is wrong with each live member that does not go by the newest version.
fn laggards(newest: &Edition, answer: &RegistryAnswer) -> Vec<String> {
    let document = newest.document();
    let version = newest.version();
    let problem = |one: &Publishing| {
        let id = text::word(&one.id);
        if document.member(&one.id).is_none() {
            return Some(format!("{id} is live, and no member by version {version}"));
        }
        match one.version {
            _ if has(newest, one) => None,
            None => Some(format!(
                "{id} has no version in force: it follows no registry, or cannot read it"
            )),
            Some(other) if other < version => Some(format!("{id} has version {other} in force")),
            Some(other) if other > version => Some(format!(
                "{id} has version {other} in force, which is newer: the registry was rolled back"
            )),
            Some(_) => Some(format!(
                "{id} has another list for version {version} in force: the registry was edited \
                 without a new version, or its history forked"
            )),
        }
    };
    answer.published.iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_live_member_without_the_newest_version_is_named_with_the_reason() {
        let text = "cluster = '7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10'\nversion = 7\n\
                    [members]\na = {}\nb = {}\nc = {}\nd = {}\ne = {}\nf = {}\n";
        let newest = Edition::parse(text.as_bytes()).unwrap();
        let hash = newest.hash().short();
        let other = "0123456789abcdef".to_owned();
        let published = [
            ("a", Some((7, hash.clone()))),
            ("b", Some((6, other.clone()))),
            ("c", Some((8, other.clone()))),
            ("d", Some((7, other))),
            ("e", None),
            ("x", Some((7, hash))),
        ]
        .map(|(id, told)| Publishing {
            id: id.to_owned(),
            version: told.as_ref().map(|(version, _)| *version),
            hash: told.map(|(_, hash)| hash),
        });
        let answer =
            RegistryAnswer { node: "a".into(), registry: None, published: published.into() };
        let found = laggards(&newest, &answer);
        for (problem, said) in found.iter().zip([
            "b has version 6 in force",
            "c has version 8 in force, which is newer",
            "d has another list for version 7",
            "e has no version in force",
            "x is live, and no member by version 7",
        ]) {
            assert!(problem.starts_with(said), "{problem} should begin with {said}");
        }
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(not_live(&newest, &answer), ["f"]);
    }
}
