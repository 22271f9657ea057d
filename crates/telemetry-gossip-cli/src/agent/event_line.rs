//! The lines of events.

use std::fmt::Display;

use serde::Serialize;
use serde_json::json;
use telemetry_gossip_core::{
    DropReason, Dropped, Event, Evidence, IdHash, IsolationEnd, NodeId, RemovalReason,
};

use super::line::Line;
use crate::control::Finding;
use crate::text;

/// A finding and the member that it is about.
#[derive(Serialize)]
struct About<'a> {
    id: &'a NodeId,
    #[serde(flatten)]
    finding: Finding,
}

impl Line {
    /// Evidence for or against a member; `name` maps id hashes to ids.
    pub(super) fn evidence(
        id: &NodeId,
        evidence: &Evidence,
        name: impl Fn(IdHash) -> Option<NodeId>,
    ) -> Self {
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
    pub(super) fn isolated(lost: u32, of: u32, control: Option<&str>) -> Self {
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
