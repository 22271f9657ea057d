//! The control protocol between `tgossip members` or `explain` and an agent: one line of JSON each
//! way over TCP.
//!
//! ```text
//! client                         agent
//!   {"ask":"view"}\n       --->     or {"ask":"explain","id":"edge-7"}\n
//!                          <---  {"view":{"node":"edge-1","members":[..],..}}\n      and the agent closes
//!                                or {"explanation":{"id":"edge-7",..}}\n, null for a stranger
//!                          <---  {"error":"..."}\n                                   if it was no request
//!                          <---  "busy"\n                                            if too many ask at a time
//! ```
//!
//! It only reads, but for the keys, which [`keys`] lets those change who have one. The agent bounds
//! a request in bytes and time and the connections in number ([`server`]), the client the answer
//! ([`client`]). What a member is, is decided elsewhere: here are only its words.

pub(crate) mod client;
pub(crate) mod keys;
mod reasons;
pub(crate) mod server;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use telemetry_gossip::transport::SealStats;
use telemetry_gossip_core::{Health, Instant, Member, Stats, Status, TelemetryEntry};
use telemetry_gossip_tokio as driver;

pub(crate) use reasons::{Finding, Reasons};

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// All that the agent knows.
    View,
    /// Why it holds a member to be what it is.
    Explain {
        /// The member's id.
        id: String,
    },
    /// Which keys it has.
    Keys,
    /// Change them.
    ChangeKeys {
        /// What is ordered, sealed under one of them.
        letter: String,
    },
}

/// What an agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// All that it knows.
    View(Box<View>),
    /// Why a member is held to be what it is; `None` if it is not known.
    Explanation(Option<Box<Reasons>>),
    /// The keys that it has.
    Keys(keys::Keys),
    /// Why the keys are as they were.
    Refused(String),
    /// Why there is nothing.
    Error(String),
    /// Too many clients are served; ask again.
    Busy,
}

/// What one agent knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct View {
    /// The agent's id.
    pub(crate) node: String,
    /// How it is.
    pub(crate) health: HealthView,
    /// Whom it knows, itself included, in order of id.
    pub(crate) members: Vec<MemberView>,
    /// What it counted since it started.
    pub(crate) stats: Stats,
    /// What its socket dropped.
    pub(crate) socket: Socket,
    /// What has become of its record, if it keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) record: Option<Record>,
    /// What its seal did and refused; none in plaintext.
    pub(crate) seal: Option<SealStats>,
}

/// [`Health`], with a word in place of an instant, which means nothing outside of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthView {
    pub(crate) local_health: u8,
    pub(crate) isolated: bool,
    pub(crate) alive: u32,
    pub(crate) suspected: u32,
    pub(crate) dead: u32,
    pub(crate) active: bool,
}

/// Datagrams that the socket dropped, named as the node's counters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Socket {
    /// Came, and never reached the node: it was too slow.
    pub(crate) datagrams_received_dropped: u64,
    /// Counted as sent, and never reached the network: it was too slow.
    pub(crate) datagrams_sent_dropped: u64,
}

/// [`driver::RecordStats`], named so that they can stand beside the other counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) record_files: u64,
    pub(crate) record_bytes: u64,
    pub(crate) record_gaps: u64,
    pub(crate) record_failures: u64,
}

impl From<driver::RecordStats> for Record {
    fn from(stats: driver::RecordStats) -> Self {
        let driver::RecordStats { files, bytes, gaps, failures, .. } = stats;
        Self {
            record_files: files,
            record_bytes: bytes,
            record_gaps: gaps,
            record_failures: failures,
        }
    }
}

impl View {
    /// What a running node knows.
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
    /// A member of a node that is replayed, at this time of it.
    pub(crate) fn of_node(member: &Member<'_, driver::PeerAddr>, now: Instant) -> Self {
        let value = |entry: &TelemetryEntry<'_>| Value {
            content: Content::of(entry.value.unwrap_or_default()),
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

/// One member as the agent holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemberView {
    pub(crate) id: String,
    #[serde(with = "status_word")]
    pub(crate) status: Status,
    pub(crate) generation: u64,
    pub(crate) address: Option<String>,
    /// How long ago the agent itself last got something from it, or learned something new of it.
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
    /// How long ago the agent learned it.
    pub(crate) age_s: f64,
}

/// A value: as text where it is one.
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

/// A status as the word that people read, not as the name of a Rust variant.
mod status_word {
    use serde::{Deserialize, Deserializer, Serializer};
    use telemetry_gossip_core::Status;

    pub(super) fn serialize<S: Serializer>(status: &Status, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(status)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Status, D::Error> {
        let word = String::deserialize(from)?;
        [Status::Alive, Status::Suspected, Status::Dead, Status::Left]
            .into_iter()
            .find(|status| status.to_string() == word)
            .ok_or_else(|| serde::de::Error::custom(format_args!("`{word}` is no status")))
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
    fn an_answer_is_read_as_it_was_written() {
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
    fn the_words_on_the_wire_are_these() {
        assert_eq!(serde_json::to_string(&Request::View).unwrap(), r#"{"ask":"view"}"#);
        let explain = Request::Explain { id: "edge-7".into() };
        assert_eq!(serde_json::to_string(&explain).unwrap(), r#"{"ask":"explain","id":"edge-7"}"#);
        assert_eq!(serde_json::to_string(&Answer::Busy).unwrap(), r#""busy""#);
        let text = serde_json::to_string(&view()).unwrap();
        assert!(text.contains(r#""status":"alive""#), "{text}");
        assert!(text.contains(r#""load":{"value":"0.42","version":3,"age_s":0.5}"#), "{text}");
        assert!(text.contains(r#""blob":{"value_hex":"ff00""#), "{text}");
    }
}
