//! The output of an agent: one line per event, as text or as JSON.
//!
//! This module prints lines and decides nothing; [`super::line`] and [`super::event_line`] make
//! them. Each line is flushed, so that a reader at the end of a pipe sees it at once.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::SystemTime;

use telemetry_gossip_core::{Event, IdHash, NodeId};

use super::line::Line;
use super::telemetry::Held;
use crate::safe::Safe;

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
    use serde_json::{Value, json};
    use std::net::SocketAddr;
    use std::time::Duration;
    use telemetry_gossip_core::{DropReason, Dropped, Generation, RemovalReason};

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
