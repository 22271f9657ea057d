//! `list` and `status`: what the newest version says.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{Table, presets};
use serde::Serialize;
use telemetry_gossip_core::NodeId;
use telemetry_gossip_registry::document::{Member, Removed};
use telemetry_gossip_registry::{Document, Head};

use super::access::{Newest, Registry};
use super::fleet::Fleet;
use super::history::{History, time};
use super::print;
use crate::args::registry::{ListArgs, StatusArgs};
use crate::control::registry::RegistryAnswer;
use crate::error::Error;
use crate::safe::Safe;
use crate::text;

/// A list, for programs.
#[derive(Serialize)]
struct ListView<'a> {
    cluster: String,
    label: &'a str,
    version: u64,
    members: Vec<MemberView<'a>>,
    removed: Vec<RemovedView<'a>>,
}

#[derive(Serialize)]
struct MemberView<'a> {
    id: String,
    addresses: &'a [String],
    labels: &'a BTreeMap<String, String>,
    seed: bool,
    since: u64,
}

impl<'a> MemberView<'a> {
    fn of((id, member): (NodeId, &'a Member)) -> Self {
        let Member { addresses, labels, seed, since, .. } = member;
        Self { id: id.to_string(), addresses, labels, seed: *seed, since: *since }
    }
}

#[derive(Serialize)]
struct RemovedView<'a> {
    id: String,
    since: u64,
    removed: u64,
    by: &'a str,
    why: &'a str,
}

impl<'a> RemovedView<'a> {
    fn of((id, removed): (NodeId, &'a Removed)) -> Self {
        let Removed { removed, by, why, was, .. } = removed;
        Self { id: id.to_string(), since: was.since, removed: *removed, by, why }
    }
}

pub(super) async fn list(registry: &Registry, args: &ListArgs) -> Result<(), Error> {
    let Newest { edition, .. } = registry.newest().await?;
    let document = edition.document();
    if args.json {
        return print::object(&list_view(document));
    }
    let mut out = Safe::new(io::stdout().lock(), false);
    let table = if args.removed { removed_table(document) } else { members_table(document) };
    writeln!(out, "{}", table.trim_fmt())?;
    Ok(out.flush()?)
}

fn list_view(document: &Document) -> ListView<'_> {
    ListView {
        cluster: document.cluster().to_string(),
        label: document.label(),
        version: document.version(),
        members: document.members().map(MemberView::of).collect(),
        removed: document.removed().map(RemovedView::of).collect(),
    }
}

fn members_table(document: &Document) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["ID", "ADDRESSES", "SEED", "SINCE", "LABELS"]);
    for (id, member) in document.members() {
        let labels = member.labels.iter();
        let labels =
            labels.map(|(name, value)| format!("{}={}", text::word(name), text::word(value)));
        table.add_row([
            text::word(id.as_str()),
            member.addresses.join(" "),
            if member.seed { "yes" } else { "" }.to_owned(),
            version(member.since),
            labels.collect::<Vec<_>>().join(" "),
        ]);
    }
    table
}

fn removed_table(document: &Document) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["ID", "SINCE", "REMOVED", "BY", "WHY"]);
    for (id, removed) in document.removed() {
        let Removed { removed, by, why, was, .. } = removed;
        let [by, why] = [by, why].map(|said| text::printable(said, usize::MAX));
        table.add_row([text::word(id.as_str()), version(was.since), removed.to_string(), by, why]);
    }
    table
}

/// A version; zero means that it is unknown.
fn version(version: u64) -> String {
    if version == 0 { "unknown".to_owned() } else { version.to_string() }
}

/// What a registry has, for programs.
#[derive(Serialize)]
struct StatusView {
    location: String,
    head: Head,
    kept: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<RegistryAnswer>,
}

pub(super) async fn status(registry: &Registry, args: &StatusArgs) -> Result<(), Error> {
    let newest = registry.newest().await?;
    let history = History::of(registry, &newest).await?;
    let kept = history.kept().chain([newest.edition.version()]).collect();
    let agent = match args.via.ask() {
        Some(ask) => Some(Fleet::of(&ask).client.registry().await?),
        None => None,
    };
    let (location, head) = (registry.location(), newest.found.head);
    let view = StatusView { location, head, kept, agent };
    if args.json {
        return print::object(&view);
    }
    let mut out = Safe::new(io::stdout().lock(), false);
    for line in lines(&view) {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

fn lines(view: &StatusView) -> Vec<String> {
    let StatusView { location, head, kept, agent } = view;
    let mut lines = vec![format!("registry  {location}")];
    let label = if head.label.is_empty() {
        String::new()
    } else {
        format!(" ({})", text::word(&head.label))
    };
    lines.push(format!("cluster   {}{label}", head.cluster));
    let members = text::counted(head.members, "member");
    lines.push(format!("version   {}, {members}, hash {}", head.version, head.hash.short()));
    if head.at > 0 {
        let by = if head.by.is_empty() { "unknown" } else { &head.by };
        let why = if head.why.is_empty() { String::new() } else { format!(": {}", head.why) };
        lines.push(format!("written   {} by {}{}", time(head.at), text::word(by), why));
    }
    for (version, word) in [(head.forced, "forced"), (head.recovered, "recovered")] {
        if version > 0 {
            lines.push(format!("{word:<10}version {version}"));
        }
    }
    lines.push(format!("kept      {}", kept_range(kept)));
    if let Some(agent) = agent {
        lines.push(format!("agent     {}", agent_line(agent)));
    }
    lines
}

fn kept_range(kept: &[u64]) -> String {
    match kept {
        [] => "nothing".to_owned(),
        [one] => format!("version {one} alone"),
        [first, .., last] => {
            format!("{} from {first} to {last}", text::counted(kept.len() as u64, "version"))
        }
    }
}

/// What the agent makes of its registry.
fn agent_line(agent: &RegistryAnswer) -> String {
    let node = text::word(&agent.node);
    let Some(registry) = &agent.registry else { return format!("{node} follows no registry") };
    let in_force = match registry.version {
        Some(version) => format!("has version {version} in force"),
        None => "has no version in force".to_owned(),
    };
    let (state, location) = (text::printable(&registry.text, 400), text::word(&registry.location));
    format!("{node} {in_force}; {state}; it reads {location}")
}
