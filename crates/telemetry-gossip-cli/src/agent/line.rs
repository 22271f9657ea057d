//! A line of the output of an agent, and the lines that it prints of itself. [`super::event_line`]
//! has those of events.

use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use telemetry_gossip::transport::KeyId;
use telemetry_gossip_core::NodeId;

use crate::control::registry::RegistryView;
use crate::text;

/// One line: a word for its kind, its parts for programs, and a sentence for people.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    word: &'static str,
    parts: Map<String, Value>,
    pub(super) text: String,
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

    /// What the agent makes of its registry has changed. `left` is whether it has left, since the
    /// registry no longer names it.
    pub(crate) fn registry(view: &RegistryView, left: bool) -> Self {
        let RegistryView { location, state, reason, version, hash, members, .. } = view;
        let mut text = format!("registry {}; ", view.text);
        text.push_str(&match (version, members) {
            (Some(version), Some(members)) => {
                format!("version {version} with {} is in force", text::counted(*members, "member"))
            }
            _ => "no version is in force".to_owned(),
        });
        if view.doubted && state != "gone" {
            text.push_str("; members say that a newer version does not name this node");
        }
        if let Some(other) = &view.differs {
            text.push_str(&format!("; {} has another list of that version", text::word(other)));
        }
        Self::new(
            "registry",
            json!({ "state": state, "reason": reason, "version": version, "hash": hash,
                "members": members, "store_version": view.store_version, "ready": view.ready,
                "doubted": view.doubted, "differs": view.differs, "left": left,
                "location": location, "text": view.text }),
            text,
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
