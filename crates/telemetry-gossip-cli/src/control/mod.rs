//! The control protocol between an agent and `tgossip members`, `explain`, `accept-loss` and `key`:
//! one line of JSON each way, then the agent closes the connection.
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
//!   {"ask":"accept-loss"}              --->
//!                                      <---  {"loss":{"node":"edge-1","silent":3}}
//!                                            {"loss":{"node":"edge-1","silent":null}}
//!                                                                    if it is not isolated
//!
//!   something else                     --->
//!                                      <---  {"error":"..."}
//!
//!   too many clients at a time         --->
//!                                      <---  "busy"
//!
//!   over TCP, without "token":".."     --->
//!                                      <---  {"denied":"..."}
//! ```
//!
//! A unix socket is open to its user alone, and a TCP address to those who present the token
//! ([`listen`], [`place`]). [`keys`] has the requests that change the keys of an agent; they are
//! also authenticated by one of its keys. [`registry`] has the requests about the registry that an
//! agent follows.
//!
//! The agent limits the size and the time of a request and the number of connections ([`server`]);
//! the client limits the size of the answer ([`client`]). This module only defines the messages.

pub(crate) mod client;
pub(crate) mod keys;
pub(crate) mod listen;
mod pace;
pub(crate) mod pages;
pub(crate) mod place;
mod reasons;
pub(crate) mod registry;
pub(crate) mod server;
mod status_word;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip::transport::SealStats;
use telemetry_gossip_core::{Health, Instant, Member, Stats, Status, TelemetryEntry};
use telemetry_gossip_tokio as driver;

use registry::{Knocked, RegistryAnswer, RegistryView};

pub(crate) use pace::{Pace, Shared};
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
    /// Declares the members dead that do not answer, which ends an isolation.
    AcceptLoss,
    /// Asks for the ids of the agent's keys.
    Keys,
    /// Orders a change of the keys.
    ChangeKeys {
        /// The order, sealed under one of the keys, in hexadecimal digits.
        sealed_message: String,
    },
    /// Asks for the registry that the agent follows, and what the members publish of theirs.
    Registry,
    /// Asks for the document in force.
    RegistryDocument,
    /// Asks which nodes have knocked at the agent.
    RegistryPending,
    /// Orders the agent to read its registry now.
    ReadRegistry,
}

/// The answer of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// Everything that the agent knows.
    View(Box<View>),
    /// Why the agent gives a member its status; `None` if it does not know the member.
    Explanation(Option<Box<Reasons>>),
    /// What became of an order to accept a loss.
    Loss(Loss),
    /// The keys of the agent.
    Keys(keys::Keys),
    /// What the agent knows of its registry.
    Registry(Box<RegistryAnswer>),
    /// The text of the document in force; `None` if there is none.
    RegistryDocument(Option<String>),
    /// The nodes that have knocked, the last first.
    RegistryPending(Vec<Knocked>),
    /// The agent reads its registry, or will within 1 s.
    Reading,
    /// Why the agent did not do what was asked.
    Refused(String),
    /// Why there is no answer.
    Error(String),
    /// Why this client gets no answer.
    Denied(String),
    /// The agent serves too many clients; ask again.
    Busy,
}

/// A loss that an agent has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loss {
    /// Id of the agent.
    pub(crate) node: String,
    /// How many members did not answer; `None` if the agent was not isolated.
    pub(crate) silent: Option<u64>,
}

/// Everything that one agent knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct View {
    /// Id of the agent.
    pub(crate) node: String,
    /// Health of its node.
    pub(crate) health: HealthView,
    /// Its isolation; `None` while it reaches at least half of the members.
    #[serde(default)]
    pub(crate) isolation: Option<IsolationView>,
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
    /// Counters of its control socket.
    #[serde(default)]
    pub(crate) control: Clients,
    /// What it makes of its registry; `None` if it follows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<RegistryView>,
}

/// The isolation of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct IsolationView {
    pub(crate) since_s: f64,
    /// How many members did not answer when it began.
    pub(crate) lost: u32,
    /// How many members were asked then, the agent included.
    pub(crate) of: u32,
    /// How many members that are live for the agent it has not heard from since.
    pub(crate) silent: u64,
    /// What to type if they are gone for good. The client adds it, which knows the agent's address.
    #[serde(default)]
    pub(crate) command: Option<String>,
}

impl IsolationView {
    pub(crate) fn of(view: &driver::View) -> Option<Self> {
        let isolation = view.isolation()?;
        let silent = view.iter().filter(|member| view.is_unconfirmed(member)).count();
        Some(Self {
            since_s: isolation.since.elapsed().as_secs_f64(),
            lost: isolation.lost,
            of: isolation.of,
            silent: silent as u64,
            command: None,
        })
    }
}

/// Clients of the control socket, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clients {
    /// Requests that were answered.
    pub(crate) clients_served: u64,
    /// Connections of other users of the machine, closed at once.
    pub(crate) clients_other_user: u64,
    /// Requests that did not present the token.
    pub(crate) clients_without_token: u64,
    /// Lines that were no request, or came too late.
    pub(crate) clients_malformed: u64,
    /// Connections that found all places taken.
    pub(crate) clients_busy: u64,
}

/// [`Health`] with a boolean in place of an instant, which has no meaning outside the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthView {
    pub(crate) local_health: u8,
    pub(crate) isolated: bool,
    pub(crate) alive: u32,
    pub(crate) suspected: u32,
    pub(crate) dead: u32,
    /// Absent in the answers of earlier versions, whose `dead` has these, too.
    #[serde(default)]
    pub(crate) left: u32,
    pub(crate) active: bool,
    /// Why the agent knows no other live member; `None` if it knows one. Absent in the answers of
    /// earlier versions.
    #[serde(default)]
    pub(crate) alone: Option<Alone>,
}

/// Why an agent knows no other live member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Alone {
    /// It has seeds, and none has answered since its start.
    NoSeedAnswered,
    /// It has no seeds, and no other node has joined through it.
    NoSeeds,
    /// It has joined, and the other members have left or are dead.
    OthersGone,
    /// For a reason that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Datagrams that the socket dropped, named like the counters of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Socket {
    /// Datagrams that arrived but did not reach the node, as it was too slow.
    pub(crate) datagrams_received_dropped: u64,
    /// Datagrams that count as sent but did not reach the network, as it was too slow.
    pub(crate) datagrams_sent_dropped: u64,
    /// Datagrams that count as sent, and that this host did not permit. Absent in the answers of
    /// earlier versions, as are the next two.
    #[serde(default)]
    pub(crate) datagrams_not_permitted: u64,
    /// Datagrams that count as sent, and for which this host has no route.
    #[serde(default)]
    pub(crate) datagrams_unreachable: u64,
    /// Datagrams that count as sent, and were not for any other reason.
    #[serde(default)]
    pub(crate) datagrams_not_sent: u64,
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

impl HealthView {
    /// Describes the health of a node; `isolation` is that of the view beside it, and `has_seeds`
    /// says whether the agent was given seeds.
    pub(crate) fn of(health: &Health, isolation: Option<&IsolationView>, has_seeds: bool) -> Self {
        let Health { local_health, alive, suspected, dead, left, active, joined, .. } = *health;
        let is_alone = active && alive + suspected <= 1;
        let alone = is_alone.then_some(match (has_seeds, joined) {
            _ if dead + left > 0 => Alone::OthersGone,
            (true, false) => Alone::NoSeedAnswered,
            (false, false) => Alone::NoSeeds,
            (_, true) => Alone::OthersGone,
        });
        let isolated = isolation.is_some();
        Self { local_health, isolated, alive, suspected, dead, left, active, alone }
    }
}

impl MemberView {
    /// Describes a member of the replayed node called `itself`, at time `now` of the replay, that
    /// has had its status for `status_since`, if that is known.
    pub(crate) fn of_node(
        itself: &str,
        member: &Member<'_, driver::PeerAddr>,
        now: Instant,
        status_since: Option<Duration>,
        isolated_since: Option<Instant>,
    ) -> Self {
        let value = |entry: &TelemetryEntry<'_>| Value {
            content: Content::of(entry.value),
            version: entry.version,
            age_s: entry.age(now).as_secs_f64(),
        };
        Self {
            id: member.id().to_owned(),
            status: member.status(),
            unconfirmed: member.status().is_live()
                && isolated_since.is_some_and(|since| member.last_observed() < since),
            generation: member.generation().0,
            address: member.address().map(|address| address.to_string()),
            status_since_s: status_since.map(|since| since.as_secs_f64()),
            last_heard_s: member
                .last_heard()
                .filter(|_| member.id() != itself)
                .map(|heard| now.since(heard).as_secs_f64()),
            telemetry_version: member.telemetry_version(),
            telemetry: member
                .telemetry()
                .map(|entry| (entry.key.to_owned(), value(&entry)))
                .collect(),
        }
    }

    /// Describes a member in the view of the agent called `itself`.
    fn of(itself: &str, view: &driver::View, member: &driver::MemberView) -> Self {
        let value = |entry: &driver::TelemetryValue| Value {
            content: Content::of(&entry.value),
            version: entry.version,
            age_s: entry.age().as_secs_f64(),
        };
        Self {
            id: member.id.to_string(),
            status: member.status,
            unconfirmed: view.is_unconfirmed(member),
            generation: member.generation.0,
            address: member.address.map(|address| address.to_string()),
            status_since_s: Some(member.since.elapsed().as_secs_f64()),
            last_heard_s: member
                .last_heard()
                .filter(|_| member.id.as_str() != itself)
                .map(|heard| heard.elapsed().as_secs_f64()),
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
    /// Whether the member is alive only as far as the agent knows: the agent is isolated, and has
    /// not heard from the member since.
    #[serde(default)]
    pub(crate) unconfirmed: bool,
    pub(crate) generation: u64,
    pub(crate) address: Option<String>,
    /// Time since the member has its status for the agent; `None` if a replay does not know it.
    #[serde(default)]
    pub(crate) status_since_s: Option<f64>,
    /// Time since the agent last heard from the member itself, directly or through a helper; `None`
    /// if it never has, and for the agent itself.
    #[serde(default)]
    pub(crate) last_heard_s: Option<f64>,
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
                left: 0,
                active: true,
                alone: None,
            },
            isolation: None,
            members: vec![MemberView {
                id: "edge-1".into(),
                status: Status::Alive,
                unconfirmed: false,
                generation: 2,
                address: Some("127.0.0.1:7101".into()),
                status_since_s: Some(41.0),
                last_heard_s: Some(1.5),
                telemetry_version: 4,
                telemetry: [("load".to_owned(), load), ("blob".to_owned(), blob)].into(),
            }],
            stats: Stats::default(),
            socket: Socket::default(),
            record: None,
            seal: Some(SealStats::default()),
            control: Clients::default(),
            registry: None,
        }
    }

    #[test]
    fn an_answer_survives_json() {
        let unknown = Answer::Explanation(None);
        for answer in [
            Answer::View(Box::new(view())),
            unknown,
            Answer::Error("no request".into()),
            Answer::Denied("no token".into()),
            Answer::Loss(Loss { node: "edge-1".into(), silent: Some(3) }),
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
        assert_eq!(
            serde_json::to_string(&Request::AcceptLoss).unwrap(),
            r#"{"ask":"accept-loss"}"#
        );
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
