//! The lines that tell which entries of a member's telemetry changed, and to which values.

use serde_json::{Value, json};
use telemetry_gossip_core::{Member, NodeId};
use telemetry_gossip_registry::follow::TELEMETRY_KEY;
use telemetry_gossip_tokio::{MemberView, PeerAddr};

use super::line::Line;
use crate::control::Content;
use crate::text;

/// The longest value in a line, in bytes. `tgossip members --json` has longer ones.
const MAX_VALUE_BYTES: usize = 4_096;

/// The longest value in a line of text, in characters.
const MAX_VALUE_CHARS: usize = 60;

/// An entry that was set or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: String,
    /// `None` if it was removed.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) version: u64,
}

/// What is held of a member's telemetry after an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// The version of it that is known.
    pub(crate) version: u64,
    /// All entries, and the removed ones that are remembered.
    pub(crate) entries: Vec<Change>,
}

impl Held {
    /// Reads the view of a running agent.
    pub(crate) fn of_view(member: &MemberView) -> Self {
        let set = member.telemetry.iter().map(|entry| Change {
            key: entry.key.clone(),
            value: Some(entry.value.clone()),
            version: entry.version,
        });
        let removed = member.removed.iter();
        let removed = removed.map(|(key, version)| Change::removed(key, *version));
        Self { version: member.telemetry_version, entries: set.chain(removed).collect() }
    }

    /// Reads a replayed node.
    pub(crate) fn of_node(member: &Member<'_, PeerAddr>) -> Self {
        let set = member.telemetry().map(|entry| Change {
            key: entry.key.to_owned(),
            value: Some(entry.value.to_owned()),
            version: entry.version,
        });
        let removed = member.removed().map(|(key, version)| Change::removed(key, version));
        Self { version: member.telemetry_version(), entries: set.chain(removed).collect() }
    }

    /// Returns one line per entry that changed after the version `since`, up to `version`, in the
    /// order of the versions. Entries that have changed again since are told with the event of
    /// that change. If the values are not held, a line without a key says so.
    pub(crate) fn lines(mut self, id: &NodeId, since: u64, version: u64) -> Vec<Line> {
        self.entries.retain(|entry| (since + 1..=version).contains(&entry.version));
        self.entries.sort_by_key(|entry| entry.version);
        if self.entries.is_empty() && self.version <= version {
            let id_text = text::word(id.as_str());
            return vec![Line::new(
                "telemetry",
                json!({ "id": id, "version": version }),
                format!(
                    "the telemetry of {id_text} is at version {version}; its values are not held \
                     here"
                ),
            )];
        }
        // The versions of the registry are told by the event `registry`. A line per member and
        // version would cost a fleet the square of its size.
        self.entries.retain(|entry| entry.key != TELEMETRY_KEY);
        self.entries.iter().map(|entry| entry.line(id)).collect()
    }
}

impl Change {
    fn removed(key: &str, version: u64) -> Self {
        Self { key: key.to_owned(), value: None, version }
    }

    fn line(&self, id: &NodeId) -> Line {
        let Self { key, value, version } = self;
        let mut parts = json!({ "id": id, "version": version, "key": key });
        let (id, shown_key) = (text::word(id.as_str()), text::word(key));
        let (field, told, text) = match value {
            None => ("removed", json!(true), format!("{id} has removed {shown_key}")),
            Some(value) if value.len() > MAX_VALUE_BYTES => (
                "value_bytes",
                json!(value.len()),
                format!("{id} has set {shown_key} to {} bytes", value.len()),
            ),
            Some(value) => match Content::of(value) {
                Content::Value(value) => {
                    let shown = text::word(&text::cut(&value, MAX_VALUE_CHARS));
                    ("value", Value::String(value), format!("{id} has set {shown_key}={shown}"))
                }
                Content::ValueHex(hex) => {
                    let shown = text::cut(&hex, MAX_VALUE_CHARS);
                    let text = format!("{id} has set {shown_key}=0x{shown}");
                    ("value_hex", Value::String(hex), text)
                }
            },
        };
        parts[field] = told;
        Line::new("telemetry", parts, format!("{text} (version {version})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn lines(held: Held, since: u64, version: u64) -> Vec<(Value, String)> {
        let lines = held.lines(&"edge-2".parse().unwrap(), since, version);
        let at = SystemTime::UNIX_EPOCH;
        lines
            .iter()
            .map(|line| {
                let json = serde_json::from_str(&line.render(at, true)).unwrap();
                (json, line.render(at, false))
            })
            .collect()
    }

    fn held(entries: &[(&str, Option<&[u8]>, u64)]) -> Held {
        let version = entries.iter().map(|entry| entry.2).max().unwrap_or(7);
        let entries = entries.iter().map(|&(key, value, version)| Change {
            key: key.to_owned(),
            value: value.map(ToOwned::to_owned),
            version,
        });
        Held { version, entries: entries.collect() }
    }

    #[test]
    fn each_changed_entry_is_told_with_its_value() {
        let long = vec![b'x'; MAX_VALUE_BYTES + 1];
        let told = lines(
            held(&[
                ("blob", Some(&[0xff, 0x00]), 4),
                ("load", Some(b"0.42"), 2),
                ("old", Some(b"x"), 1),
                ("gone", None, 3),
                ("long", Some(&long), 5),
            ]),
            1,
            5,
        );
        let at = "1970-01-01T00:00:00.000Z";
        let line = |version: u64, key: &str, field: &str, value: Value| {
            let mut line = json!({ "at": at, "event": "telemetry", "id": "edge-2" });
            line["version"] = version.into();
            line["key"] = key.into();
            line[field] = value;
            line
        };
        let objects: Vec<Value> = told.iter().map(|(object, _)| object.clone()).collect();
        assert_eq!(
            objects,
            [
                line(2, "load", "value", "0.42".into()),
                line(3, "gone", "removed", true.into()),
                line(4, "blob", "value_hex", "ff00".into()),
                line(5, "long", "value_bytes", 4_097.into()),
            ]
        );
        assert_eq!(told[0].1, format!("{at} edge-2 has set load=0.42 (version 2)"));
        assert_eq!(told[1].1, format!("{at} edge-2 has removed gone (version 3)"));
    }

    /// The view may be ahead of the event: what changed again is told once, with the later event.
    #[test]
    fn an_entry_that_has_changed_again_is_told_once() {
        let now = held(&[("load", Some(b"0.5"), 3)]);
        assert_eq!(lines(now.clone(), 1, 2), []);
        assert_eq!(lines(now, 2, 3).len(), 1);
    }

    #[test]
    fn values_that_are_not_held_are_told_by_version() {
        let told = lines(held(&[]), 3, 7);
        assert_eq!((told.len(), &told[0].0["version"]), (1, &7.into()));
        assert!(told[0].0.get("key").is_none() && told[0].1.contains("not held here"));
    }

    #[test]
    fn a_value_cannot_look_like_another_entry() {
        let told = lines(held(&[("a", Some(b"1 b=2"), 2)]), 1, 2);
        assert!(told[0].1.contains(r#"a="1 b=2" (version 2)"#), "{}", told[0].1);
    }
}
