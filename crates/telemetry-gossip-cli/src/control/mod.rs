//! The control protocol between an agent and `tgossip members`, `explain` and `key`: one line of
//! JSON each way over TCP, then the agent closes the connection.
//!
//! ```text
//! client                                     agent
//!   {"ask":"view"}                     --->
//!                                      <---  {"view":{"node":"edge-1","members":[..],..}}
//!
//!   {"ask":"explain","id":"edge-7"}    --->
//!                                      <---  {"explanation":{"id":"edge-7",..}}
//!                                            {"explanation":null}    if the member is unknown
//!
//!   something else                     --->
//!                                      <---  {"error":"..."}
//!
//!   too many clients at a time         --->
//!                                      <---  "busy"
//! ```
//!
//! These requests only read. [`keys`] has the requests that change the keys of an agent; they are
//! authenticated by one of its keys.
//!
//! The agent limits the size and the time of a request and the number of connections ([`server`]);
//! the client limits the size of the answer ([`client`]). This module only defines the messages.

pub(crate) mod client;
pub(crate) mod keys;
mod reasons;
pub(crate) mod server;
mod status_word;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use telemetry_gossip::transport::SealStats;
use telemetry_gossip_core::{Health, Instant, Member, Stats, Status, TelemetryEntry};
use telemetry_gossip_tokio as driver;

pub(crate) use reasons::{Finding, Reasons};

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Asks for everything that the agent knows.
    View,
    /// Asks why the agent considers a member alive, suspected or dead.
    Explain {
        /// Id of the member.
        id: String,
    },
    /// Asks for the ids of the agent's keys.
    Keys,
    /// Orders a change of the keys.
    ChangeKeys {
        /// The order, sealed under one of the keys, in hexadecimal digits.
        sealed_message: String,
    },
}

/// The answer of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// Everything that the agent knows.
    View(Box<View>),
    /// Why the agent gives a member its status; `None` if it does not know the member.
    Explanation(Option<Box<Reasons>>),
    /// The keys of the agent.
    Keys(keys::Keys),
    /// Why the agent did not change its keys.
    Refused(String),
    /// Why there is no answer.
    Error(String),
    /// The agent serves too many clients; ask again.
    Busy,
}

/// Everything that one agent knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct View {
    /// Id of the agent.
    pub(crate) node: String,
    /// Health of its node.
    pub(crate) health: HealthView,
    /// The members that it knows, itself included, in order of id.
    pub(crate) members: Vec<MemberView>,
    /// Counters of its node since it started.
    pub(crate) stats: Stats,
    /// Counters of its socket.
    pub(crate) socket: Socket,
    /// Counters of its record, if it keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) record: Option<Record>,
    /// Counters of its seal; `None` in plaintext.
    pub(crate) seal: Option<SealStats>,
}

/// [`Health`] with a boolean in place of an instant, which has no meaning outside the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthView {
    pub(crate) local_health: u8,
    pub(crate) isolated: bool,
    pub(crate) alive: u32,
    pub(crate) suspected: u32,
    pub(crate) dead: u32,
    pub(crate) active: bool,
}

/// Datagrams that the socket dropped, named like the counters of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Socket {
    /// Datagrams that arrived but did not reach the node, as it was too slow.
    pub(crate) datagrams_received_dropped: u64,
    /// Datagrams that count as sent but did not reach the network, as it was too slow.
    pub(crate) datagrams_sent_dropped: u64,
}

/// [`driver::RecordStats`], with names that are unique among all counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) record_files: u64,
    pub(crate) record_bytes: u64,
    pub(crate) record_gaps: u64,
    pub(crate) record_failures: u64,
    /// Absent in the answers of earlier versions.
    #[serde(default)]
    pub(crate) record_unreadable: u64,
}

impl From<driver::RecordStats> for Record {
    fn from(stats: driver::RecordStats) -> Self {
        let driver::RecordStats { files, bytes, gaps, failures, unreadable, .. } = stats;
        Self {
            record_files: files,
            record_bytes: bytes,
            record_gaps: gaps,
            record_failures: failures,
            record_unreadable: unreadable,
        }
    }
}

impl View {
    /// Combines the view and the counters of a running node.
    pub(crate) fn of(
        node: &str,
        view: &driver::View,
        health: &Health,
        stats: Stats,
        socket: Socket,
        seal: Option<SealStats>,
    ) -> Self {
        let Health { local_health, isolated_since, alive, suspected, dead, active, .. } = *health;
        let isolated = isolated_since.is_some();
        Self {
            node: node.to_owned(),
            health: HealthView { local_health, isolated, alive, suspected, dead, active },
            members: view.iter().map(|member| MemberView::of(member)).collect(),
            stats,
            socket,
            record: None,
            seal,
        }
    }
}

impl MemberView {
    /// Describes a member of a replayed node, at time `now` of the replay.
    pub(crate) fn of_node(member: &Member<'_, driver::PeerAddr>, now: Instant) -> Self {
        let value = |entry: &TelemetryEntry<'_>| Value {
            content: Content::of(entry.value),
            version: entry.version,
            age_s: entry.age(now).as_secs_f64(),
        };
        Self {
            id: member.id().to_owned(),
            status: member.status(),
            generation: member.generation().0,
            address: member.address().map(|address| address.to_string()),
            last_heard_s: now.since(member.last_observed()).as_secs_f64(),
            telemetry_version: member.telemetry_version(),
            telemetry: member
                .telemetry()
                .map(|entry| (entry.key.to_owned(), value(&entry)))
                .collect(),
        }
    }

    fn of(member: &driver::MemberView) -> Self {
        let value = |entry: &driver::TelemetryValue| Value {
            content: Content::of(&entry.value),
            version: entry.version,
            age_s: entry.age().as_secs_f64(),
        };
        Self {
            id: member.id.to_string(),
            status: member.status,
            generation: member.generation.0,
            address: member.address.map(|address| address.to_string()),
            last_heard_s: member.last_observed().elapsed().as_secs_f64(),
            telemetry_version: member.telemetry_version,
            telemetry: member
                .telemetry
                .iter()
                .map(|entry| (entry.key.clone(), value(entry)))
                .collect(),
        }
    }
}

/// One member in the view of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemberView {
    pub(crate) id: String,
    #[serde(with = "status_word")]
    pub(crate) status: Status,
    pub(crate) generation: u64,
    pub(crate) address: Option<String>,
    /// Time since the agent last received a datagram from the member, or learned something new
    /// about it.
    pub(crate) last_heard_s: f64,
    pub(crate) telemetry_version: u64,
    pub(crate) telemetry: BTreeMap<String, Value>,
}

/// One entry of telemetry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Value {
    #[serde(flatten)]
    pub(crate) content: Content,
    pub(crate) version: u64,
    /// Time since the agent learned it.
    pub(crate) age_s: f64,
}

/// The bytes of a value, as text if they are valid UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Content {
    Value(String),
    ValueHex(String),
}

impl Content {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Value(text.to_owned()),
            Err(_) => Self::ValueHex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) use super::reasons::tests::{name, probe_failed};

    pub(crate) fn view() -> View {
        let load = Value { content: Content::of(b"0.42"), version: 3, age_s: 0.5 };
        let blob = Value { content: Content::of(&[0xff, 0x00]), version: 4, age_s: 0.25 };
        View {
            node: "edge-1".into(),
            health: HealthView {
                local_health: 0,
                isolated: false,
                alive: 1,
                suspected: 0,
                dead: 0,
                active: true,
            },
            members: vec![MemberView {
                id: "edge-1".into(),
                status: Status::Alive,
                generation: 2,
                address: Some("127.0.0.1:7101".into()),
                last_heard_s: 1.5,
                telemetry_version: 4,
                telemetry: [("load".to_owned(), load), ("blob".to_owned(), blob)].into(),
            }],
            stats: Stats::default(),
            socket: Socket { datagrams_received_dropped: 0, datagrams_sent_dropped: 0 },
            record: None,
            seal: Some(SealStats::default()),
        }
    }

    #[test]
    fn an_answer_survives_json() {
        let unknown = Answer::Explanation(None);
        for answer in [
            Answer::View(Box::new(view())),
            unknown,
            Answer::Error("no request".into()),
            Answer::Busy,
        ] {
            let text = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer, "{text}");
        }
    }

    #[test]
    fn messages_have_these_words_in_json() {
        assert_eq!(serde_json::to_string(&Request::View).unwrap(), r#"{"ask":"view"}"#);
        let explain = Request::Explain { id: "edge-7".into() };
        assert_eq!(serde_json::to_string(&explain).unwrap(), r#"{"ask":"explain","id":"edge-7"}"#);
        let change = Request::ChangeKeys { sealed_message: "00".into() };
        assert_eq!(
            serde_json::to_string(&change).unwrap(),
            r#"{"ask":"change-keys","sealed_message":"00"}"#
        );
        assert_eq!(serde_json::to_string(&Answer::Busy).unwrap(), r#""busy""#);
        let text = serde_json::to_string(&view()).unwrap();
        assert!(text.contains(r#""status":"alive""#), "{text}");
        assert!(text.contains(r#""load":{"value":"0.42","version":3,"age_s":0.5}"#), "{text}");
        assert!(text.contains(r#""blob":{"value_hex":"ff00""#), "{text}");
    }
}
