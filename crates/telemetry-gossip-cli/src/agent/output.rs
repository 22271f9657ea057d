//! The output of an agent: one line per event, as text or as JSON.
//!
//! This module formats events and decides nothing. Each line is flushed, so that a reader at the
//! end of a pipe sees it at once.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value, json};
use telemetry_gossip::transport::KeyId;
use telemetry_gossip_core::{
    DropReason, Dropped, Event, Evidence, IdHash, IsolationEnd, NodeId, RemovalReason,
};

use super::telemetry::Held;
use crate::control::Finding;
use crate::safe::Safe;
use crate::text;

/// A finding and the member that it is about.
#[derive(Serialize)]
struct About<'a> {
    id: &'a NodeId,
    #[serde(flatten)]
    finding: Finding,
}

/// One line: a word for its kind, its parts for programs, and a sentence for people.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    word: &'static str,
    parts: Map<String, Value>,
    text: String,
}

impl Line {
    pub(super) fn new(word: &'static str, parts: Value, text: String) -> Self {
        let parts = match parts {
            Value::Object(parts) => parts,
            _ => Map::new(),
        };
        Self { word, parts, text }
    }

    /// The first line of an agent: the address at which other nodes reach it, and the address that
    /// it is bound to if that differs.
    pub(crate) fn udp(id: &NodeId, address: SocketAddr, bound: Option<SocketAddr>) -> Self {
        let text = match bound {
            Some(bound) => format!("udp {address} (bound to {bound})"),
            None => format!("udp {address}"),
        };
        Self::new(
            "udp",
            json!({ "id": id, "address": address, "bound": bound.unwrap_or(address) }),
            text,
        )
    }

    /// The second line: the address at which the agent answers questions, and the file of the token
    /// that clients present, if they present one.
    pub(crate) fn control(address: &str, token_file: Option<&Path>) -> Self {
        let file = token_file.map(|file| file.display().to_string());
        let text = match &file {
            Some(file) => format!("control {address} (token in {file})"),
            None => format!("control {address}"),
        };
        Self::new("control", json!({ "address": address, "token_file": file }), text)
    }

    /// The third line: the keys that seal and open datagrams, or that there are none.
    pub(crate) fn sealing(keys: Option<&[KeyId]>) -> Self {
        let text = match keys {
            Some([primary]) => format!("sealed under the key {primary}"),
            Some([primary, others @ ..]) => {
                let others: Vec<String> = others.iter().map(KeyId::to_string).collect();
                format!("sealed under the key {primary}; also opens {}", others.join(", "))
            }
            _ => "in plaintext: others on the network can read and forge datagrams".to_owned(),
        };
        Self::new("sealing", json!({ "keys": keys }), text)
    }

    /// The node starts to join the cluster.
    pub(crate) fn joining(seeds: &[String]) -> Self {
        Self::new(
            "joining",
            json!({ "seeds": seeds }),
            format!("joining through {}", seeds.join(", ")),
        )
    }

    /// The folder in which the agent keeps live members, and how many it found there.
    pub(crate) fn state(folder: &Path, peers: usize) -> Self {
        let folder = folder.display();
        Self::new(
            "state",
            json!({ "folder": folder.to_string(), "peers": peers }),
            format!(
                "state in {folder}: {} of the earlier run",
                text::counted(peers as u64, "member")
            ),
        )
    }

    /// A problem that does not stop the agent.
    pub(crate) fn warning(text: String) -> Self {
        Self::new("warning", json!({ "text": text }), format!("warning: {text}"))
    }

    /// The reader of the output was too slow for some events.
    pub(crate) fn missed_events(count: u64) -> Self {
        Self::warning(format!(
            "{} not printed, as the output was read too slowly: `tgossip members` shows the \
             present view",
            text::counted(count, "event")
        ))
    }

    /// A signal has asked the agent to leave.
    pub(crate) fn leaving() -> Self {
        Self::new(
            "leaving",
            json!({}),
            "leaving; a second signal ends the process at once".to_owned(),
        )
    }

    /// Evidence for or against a member; `name` maps id hashes to ids.
    fn evidence(id: &NodeId, evidence: &Evidence, name: impl Fn(IdHash) -> Option<NodeId>) -> Self {
        let names: Vec<(IdHash, NodeId)> =
            evidence.id_hashes().filter_map(|hash| Some((hash, name(hash)?))).collect();
        let known =
            |hash| names.iter().find(|(known, _)| *known == hash).map(|(_, id)| id.as_str());
        let finding = Finding::of(evidence, known);
        let text = format!("{} {}", text::word(id.as_str()), finding.text);
        Self::new("evidence", json!(About { id, finding }), text)
    }

    /// The node has dropped what it cannot read or may not take.
    fn dropped<A: Display>(dropped: &Dropped<A>) -> Self {
        let from: Vec<String> = dropped.from.iter().flatten().map(ToString::to_string).collect();
        let option = match dropped.reason {
            DropReason::NotSealed | DropReason::Sealed => " (--key-file)",
            DropReason::UnknownKey => " (--key-file, see `tgossip help key`)",
            DropReason::NotAuthentic | DropReason::OtherLabel => " (--label)",
            DropReason::TooLong => " (--mtu)",
            _ => "",
        };
        let text = format!("{dropped}{option}");
        Self::new(
            "dropped",
            json!({ "reason": dropped.reason.word(), "count": dropped.count, "from": from,
                "others": dropped.others, "text": text }),
            text,
        )
    }

    /// The node cannot reach more than half of the members; `control` is where it can be asked.
    fn isolated(lost: u32, of: u32, control: Option<&str>) -> Self {
        let command = control.map(|control| format!("tgossip accept-loss --via {control}"));
        let hint =
            command.as_ref().map(|command| format!("; if they are gone for good, type: {command}"));
        Self::new(
            "isolated",
            json!({ "lost": lost, "of": of, "command": command }),
            format!(
                "isolated: {lost} of {of} members do not answer; until they do, this node declares \
                 no member dead{}",
                hint.unwrap_or_default()
            ),
        )
    }

    /// The line for an event; `None` for events that end an operation an agent never starts.
    pub(crate) fn of<A: Display>(event: &Event<A>) -> Option<Self> {
        let place = |address: &Option<A>| address.as_ref().map(ToString::to_string);
        let at = |address: &Option<A>| {
            address.as_ref().map_or_else(|| "an unknown address".to_owned(), ToString::to_string)
        };
        let shown = subject(event).map_or_else(String::new, |id| text::word(id.as_str()));
        Some(match event {
            Event::Joined { id, address, generation, .. } => Self::new(
                "joined",
                json!({ "id": id, "address": place(address), "generation": generation }),
                format!("{shown} joined at {} with generation {generation}", at(address)),
            ),
            Event::Alive { id, generation, .. } => Self::new(
                "alive",
                json!({ "id": id, "generation": generation }),
                format!("{shown} is alive at generation {generation}"),
            ),
            Event::Suspected { id, generation, by, .. } => Self::new(
                "suspected",
                json!({ "id": id, "generation": generation, "by": by }),
                match by {
                    Some(by) => {
                        let by = text::word(by.as_str());
                        format!("{shown} is suspected at generation {generation}, by {by}")
                    }
                    None => format!("{shown} is suspected at generation {generation}"),
                },
            ),
            Event::Dead { id, generation, .. } => Self::new(
                "dead",
                json!({ "id": id, "generation": generation }),
                format!("{shown} is dead at generation {generation}"),
            ),
            Event::Left { id, generation, .. } => Self::new(
                "left",
                json!({ "id": id, "generation": generation }),
                format!("{shown} has left at generation {generation}"),
            ),
            Event::Moved { id, address, .. } => Self::new(
                "moved",
                json!({ "id": id, "address": place(address) }),
                format!("{shown} is now at {}", at(address)),
            ),
            Event::Removed { id, reason, .. } => {
                let (word, text) = match reason {
                    RemovalReason::Expired => {
                        ("expired", "it has been dead or gone for long enough")
                    }
                    RemovalReason::NotInClusterConfig => {
                        ("not-in-cluster-config", "the cluster config does not list it")
                    }
                    RemovalReason::NeverAnswered => (
                        "never-answered",
                        "a seed named it when this node joined, and it has not answered since",
                    ),
                    RemovalReason::Displaced => (
                        "displaced",
                        "it answered first, but the seeds know another process of its id",
                    ),
                    _ => ("other", "for a reason that this program does not know"),
                };
                Self::new(
                    "removed",
                    json!({ "id": id, "reason": word }),
                    format!("{shown} is removed: {text}"),
                )
            }
            Event::Refuted { generation, .. } => Self::new(
                "refuted",
                json!({ "generation": generation }),
                format!(
                    "this node raises its generation to {generation}: other nodes suspected it, or \
                     knew an earlier instance of it"
                ),
            ),
            Event::Isolated { lost, of, .. } => Self::isolated(*lost, *of, None),
            Event::Reconnected { end, .. } => {
                let (word, text) = match end {
                    IsolationEnd::MembersAnswer => {
                        ("members-answer", "at least half of the members answer again")
                    }
                    IsolationEnd::LossAccepted => {
                        ("loss-accepted", "the host accepted the loss of the members")
                    }
                    IsolationEnd::Limit => ("time-limit", "the time limit of isolation has passed"),
                    IsolationEnd::ClusterConfig => {
                        ("cluster-config", "the cluster config no longer lists the lost members")
                    }
                    _ => ("other", "for a reason that this program does not know"),
                };
                Self::new(
                    "reconnected",
                    json!({ "end": word }),
                    format!("no longer isolated: {text}"),
                )
            }
            Event::IdentityConflict { instance, address, lost, .. } => Self::new(
                "identity-conflict",
                json!({ "instance": instance, "address": place(address), "lost": lost }),
                format!(
                    "another process at {} has this node's id (perhaps on a copy of this \
                     machine){}",
                    at(address),
                    if *lost {
                        ", and most members hold it: this node is no member until it is gone"
                    } else {
                        ", but this node keeps it"
                    }
                ),
            ),
            Event::IdentityRegained { generation, .. } => Self::new(
                "identity-regained",
                json!({ "generation": generation }),
                "the other process with this node's id is gone: this node is a member again"
                    .to_owned(),
            ),
            Event::Unreached { seen_at, .. } => Self::new(
                "unreached",
                json!({ "seen-at": place(seen_at) }),
                format!(
                    "members call this node suspected or dead, and nothing that they send to its \
                     advertised address reaches it: check --advertise and the firewalls{}",
                    seen_at.as_ref().map_or_else(String::new, |seen_at| format!(
                        "; its own datagrams come to them from {seen_at}"
                    ))
                ),
            ),
            Event::SeenElsewhere { address, .. } => Self::new(
                "seen-elsewhere",
                json!({ "address": address.to_string() }),
                format!(
                    "members see the datagrams of this node come from {address}, which is not its \
                     advertised address: that does no harm while the advertised address works; if \
                     it is not meant, add --bind with the address to send from"
                ),
            ),
            Event::AnswersElsewhere { id, stated, source, .. } => Self::new(
                "answers-elsewhere",
                json!({ "id": id.as_str(), "stated": stated.to_string(),
                    "source": source.to_string() }),
                format!(
                    "{shown} was asked at {stated}, which it advertises, and answers from \
                     {source}: that does no harm; if it is not meant, check --bind and \
                     --advertise there"
                ),
            ),
            Event::Dropped { dropped, .. } => Self::dropped(dropped),
            Event::LongDatagramsLost { id, address, arrive, lost, .. } => Self::new(
                "long-datagrams-lost",
                json!({ "id": id, "address": address.to_string(), "arrive": arrive,
                    "lost": lost }),
                format!(
                    "datagrams of about {lost} bytes and more do not arrive at {shown} at \
                     {address}, while those of up to {arrive} do: if the path is to blame, set \
                     --mtu to what it carries"
                ),
            ),
            Event::Distant { id, address, round_trip, .. } => {
                let millis = round_trip.as_millis();
                Self::new(
                    "distant",
                    json!({ "id": id, "address": address.to_string(), "round_trip_ms": millis }),
                    format!(
                        "{shown} at {address} answers after {millis} ms, which is longer than a \
                         probe waits: it will be suspected again and again; give all nodes \
                         --profile wan, or a longer --probe-timeout"
                    ),
                )
            }
            Event::NotAMember { version, by, .. } => Self::new(
                "not-a-member",
                json!({ "version": version, "by": by.map(|by| by.as_str().to_owned()) }),
                format!(
                    "{} does not count this node as a member, by cluster config {version}: it \
                     tells this node nothing; if that is not meant, add this node to the config",
                    by.as_ref().map_or("another node".to_owned(), |by| text::word(by.as_str()))
                ),
            ),
            Event::Knocked { id, address, .. } => Self::new(
                "knocked",
                json!({ "id": id, "address": address.to_string() }),
                format!("{shown} at {address} asks to join: if it belongs, add it to the config"),
            ),
            Event::JoinCompleted { seed, .. } => Self::new(
                "join-completed",
                json!({ "seed": seed.to_string() }),
                format!("join complete: {seed} has sent its whole view"),
            ),
            Event::SeedsDue => return None,
            Event::JoinFailed => Self::new(
                "join-failed",
                json!({}),
                "join not complete: no seed or member of the earlier run has answered so far, and \
                 the node keeps trying; the usual reasons are a wrong address, a firewall, and \
                 that they drop what it sends, as it has another key or label, or a key where \
                 they have none: their output says so"
                    .to_owned(),
            ),
            Event::TableDoubled { before, now, .. } => Self::new(
                "table-doubled",
                json!({ "before": before, "now": now }),
                format!(
                    "the number of live members has grown from {before} to {now} within ten \
                     minutes; if you did not add so many, apply a cluster config that names the \
                     members"
                ),
            ),
            Event::LeaveCompleted { heard_by, others, .. } => Self::new(
                "leave-completed",
                json!({ "heard_by": heard_by, "others": others }),
                match heard_by {
                    0 if *others == 0 => "leave complete; there is no other member".to_owned(),
                    0 => "leave complete; no member has answered that it heard".to_owned(),
                    1 => "leave complete; one member has answered that it heard".to_owned(),
                    _ => {
                        format!("leave complete; {heard_by} members have answered that they heard")
                    }
                },
            ),
            // `Output::lines_of` formats evidence and telemetry, as it needs names and values.
            // `ProbeCompleted` and `ExchangeCompleted` answer commands, which this program does not
            // give.
            _ => return None,
        })
    }

    pub(super) fn render(&self, now: SystemTime, as_json: bool) -> String {
        let now = text::wall_clock(now);
        if as_json {
            let mut object = Map::new();
            object.insert("at".to_owned(), json!(now));
            object.insert("event".to_owned(), json!(self.word));
            object.extend(self.parts.clone());
            Value::Object(object).to_string()
        } else {
            // A line stays one line, whatever the texts in it.
            format!("{now} {}", text::printable(&self.text, usize::MAX))
        }
    }
}

/// The member that an event tells of.
const fn subject<A>(event: &Event<A>) -> Option<&NodeId> {
    match event {
        Event::Joined { id, .. }
        | Event::Alive { id, .. }
        | Event::Suspected { id, .. }
        | Event::Dead { id, .. }
        | Event::Left { id, .. }
        | Event::Moved { id, .. }
        | Event::Removed { id, .. }
        | Event::AnswersElsewhere { id, .. }
        | Event::LongDatagramsLost { id, .. }
        | Event::Distant { id, .. }
        | Event::Knocked { id, .. } => Some(id),
        _ => None,
    }
}

/// Standard output of an agent, or of a replay.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The id of the node.
    pub(crate) id: NodeId,
    pub(crate) json: bool,
    /// The control address, if the node runs.
    pub(crate) control: Option<String>,
}

impl Output {
    /// The lines for an event: one, or one per entry of telemetry that changed. `name` maps id
    /// hashes to ids, and `held` returns the telemetry that is held of a member.
    pub(crate) fn lines_of<A: Display>(
        &self,
        event: &Event<A>,
        name: impl Fn(IdHash) -> Option<NodeId>,
        held: impl FnOnce(&NodeId) -> Held,
    ) -> Vec<Line> {
        match event {
            Event::Telemetry { id, since, version, .. } => held(id).lines(id, *since, *version),
            event => self.line_of(event, name).into_iter().collect(),
        }
    }

    /// The line for an event; `name` maps id hashes to ids. An `alive` event of this node itself
    /// has none, since the `refuted` event says the same with the reason.
    fn line_of<A: Display>(
        &self,
        event: &Event<A>,
        name: impl Fn(IdHash) -> Option<NodeId>,
    ) -> Option<Line> {
        match event {
            Event::Alive { id, .. } if *id == self.id => None,
            Event::Evidence { id, evidence, .. } => Some(Line::evidence(id, evidence, name)),
            Event::Isolated { lost, of, .. } => {
                Some(Line::isolated(*lost, *of, self.control.as_deref()))
            }
            event => Line::of(event),
        }
    }

    /// Prints one line.
    pub(crate) fn print(&self, line: &Line) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.print_at(&mut out, line, SystemTime::now())?;
        out.flush()
    }

    /// Writes one line of an event that happened at this time.
    pub(crate) fn print_at(
        &self,
        out: &mut impl Write,
        line: &Line,
        at: SystemTime,
    ) -> io::Result<()> {
        writeln!(Safe::new(out, self.json), "{}", line.render(at, self.json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::{name, probe_failed};
    use std::time::Duration;
    use telemetry_gossip_core::Generation;

    fn id() -> NodeId {
        "edge-1".parse().unwrap()
    }

    #[test]
    fn an_event_is_a_sentence_or_an_object() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 7_101)));
        let line = Line::of(&Event::joined(id(), address, Generation(3))).unwrap();
        assert_eq!(
            line.render(time, false),
            "1970-01-01T00:00:01.500Z edge-1 joined at 127.0.0.1:7101 with generation 3"
        );
        let object: Value = serde_json::from_str(&line.render(time, true)).unwrap();
        assert_eq!(
            object,
            json!({ "at": "1970-01-01T00:00:01.500Z", "event": "joined", "id": "edge-1",
                    "address": "127.0.0.1:7101", "generation": 3 })
        );
    }

    #[test]
    fn a_raised_generation_is_printed_once_with_its_reason() {
        let output = Output { id: id(), json: false, control: None };
        let generation = Generation(2);
        let alive = |id| output.line_of(&Event::<SocketAddr>::alive(id, generation), |_| None);
        assert_eq!(alive(id()), None);
        assert!(alive("edge-2".parse().unwrap()).is_some());
        let refuted = output.line_of(&Event::<SocketAddr>::refuted(generation), |_| None).unwrap();
        assert_eq!(
            refuted.render(SystemTime::UNIX_EPOCH, false),
            "1970-01-01T00:00:00.000Z this node raises its generation to 2: other nodes suspected \
             it, or knew an earlier instance of it"
        );
    }

    #[test]
    fn an_isolated_node_says_what_to_type() {
        let output = Output { id: id(), json: true, control: Some("/run/a.sock".to_owned()) };
        let line = output.line_of(&Event::<SocketAddr>::isolated(3, 5), |_| None).unwrap();
        let command = "tgossip accept-loss --via /run/a.sock";
        assert!(line.render(SystemTime::UNIX_EPOCH, false).ends_with(command));
        let object: Value =
            serde_json::from_str(&line.render(SystemTime::UNIX_EPOCH, true)).unwrap();
        assert_eq!((&object["lost"], &object["command"]), (&json!(3), &json!(command)));
    }

    #[test]
    fn what_is_dropped_is_told_with_its_source_and_what_to_type() {
        let from = [Some(SocketAddr::from(([127, 0, 0, 1], 7_982))), None, None];
        let event = Event::dropped(Dropped::new(DropReason::UnknownKey, 22, from));
        let line = Line::of(&event).unwrap();
        let text = "dropped 22 datagrams from 127.0.0.1:7982, sealed under a key that this node \
                    does not have: give all nodes the same key (--key-file, see `tgossip help \
                    key`)";
        assert_eq!(line.text, text);
        let object: Value =
            serde_json::from_str(&line.render(SystemTime::UNIX_EPOCH, true)).unwrap();
        assert_eq!(
            object,
            json!({ "at": "1970-01-01T00:00:00.000Z", "event": "dropped", "count": 22,
                    "reason": "unknown-key", "from": ["127.0.0.1:7982"], "others": false,
                    "text": text })
        );
    }

    #[test]
    fn a_line_is_one_line_without_hidden_characters_whatever_it_tells() {
        let seed = "n\n2026-01-01 n2 is dead\u{1b}[2J\u{202e}".to_owned();
        let event = Event::join_completed(seed);
        for json in [false, true] {
            let output = Output { id: id(), json, control: None };
            let mut out = Vec::new();
            let line = output.line_of(&event, |_| None).unwrap();
            output.print_at(&mut out, &line, SystemTime::UNIX_EPOCH).unwrap();
            let printed = String::from_utf8(out).unwrap();
            assert_eq!(printed.trim_end().lines().count(), 1, "{printed}");
            assert!(!printed.contains(['\u{1b}', '\u{202e}']), "{printed}");
        }
    }

    #[test]
    fn evidence_is_printed_with_names() {
        let event = Event::<SocketAddr>::evidence("n7".parse().unwrap(), probe_failed());
        let output = Output { id: id(), json: false, control: None };
        let line = output.line_of(&event, |hash| name(hash)?.parse().ok()).unwrap();
        let text = line.render(SystemTime::UNIX_EPOCH, false);
        let said = format!("n7 {}", probe_failed().describe(name));
        assert!(text.ends_with(&said) && said.contains("n3 ("), "{text}");
        let object: Value =
            serde_json::from_str(&line.render(SystemTime::UNIX_EPOCH, true)).unwrap();
        assert_eq!((&object["id"], &object["event"]), (&json!("n7"), &json!("evidence")));
        assert_eq!(
            (&object["kind"], &object["helpers"][1]["id"]),
            (&json!("probe-failed"), &json!("n9"))
        );
    }

    #[test]
    fn every_line_of_json_is_one_line() {
        let events: [Event<SocketAddr>; 4] = [
            Event::JoinFailed,
            Event::refuted(Generation(2)),
            Event::isolated(3, 5),
            Event::removed(id(), RemovalReason::Expired),
        ];
        for event in &events {
            let text = Line::of(event).unwrap().render(SystemTime::UNIX_EPOCH, true);
            assert!(!text.contains('\n') && serde_json::from_str::<Value>(&text).is_ok(), "{text}");
        }
    }
}
