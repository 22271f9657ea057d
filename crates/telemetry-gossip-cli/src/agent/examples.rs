//! One example of each event, as `docs/events.md` shows it. The page is compared with what is
//! printed: `UPDATE=1 cargo test -p telemetry-gossip-cli --lib examples` writes it anew.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use telemetry_gossip_core::{
    DropReason, Dropped, Event, Evidence, Generation, IdHash, Instance, IsolationEnd, NodeId,
    RemovalReason,
};
use telemetry_gossip_registry::DocumentHash;
use telemetry_gossip_registry::follow::{State, Status};

use super::line::Line;
use super::output::Output;
use super::telemetry::{Change, Held};
use crate::control::registry::RegistryView;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md");

/// The marks around the examples in the page.
const AROUND: [&str; 2] = ["```json\n", "```\n"];

fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A registry that is current.
fn registry() -> RegistryView {
    let mut status = Status::default();
    (status.state, status.store) = (State::Current, Some(42));
    RegistryView {
        version: Some(42),
        hash: Some(DocumentHash::of(b"")),
        members: Some(240),
        ready: true,
        ..RegistryView::of_status("file:/etc/tgossip/cluster.toml", &status)
    }
}

/// The lines that an agent prints by itself.
fn own_lines() -> Vec<Line> {
    vec![
        Line::udp(&id("edge-1"), at(7_101), None),
        Line::control("/run/tgossip/edge-1.sock", None),
        Line::sealing(Some(&["526ab1ad".parse().unwrap()])),
        Line::joining(&["127.0.0.1:7102".to_owned()]),
        Line::state(Path::new("/var/lib/edge"), 3),
        Line::registry(&registry(), false),
        Line::warning("the seed 127.0.0.1:7102 has no address so far".to_owned()),
    ]
}

/// The events of a node.
fn events() -> Vec<Event<SocketAddr>> {
    let (other, generation) = (id("edge-2"), Generation(2));
    let dropped = Dropped::new(DropReason::UnknownKey, 22, [Some(at(7_103)), None, None]);
    vec![
        Event::join_completed(at(7_102)),
        Event::JoinFailed,
        Event::joined(other, Some(at(7_102)), Generation(0)),
        Event::telemetry(other, 1, 5),
        Event::suspected(other, Generation(1), Some(id("edge-3"))),
        Event::evidence(other, Evidence::AnsweredThrough { helper: IdHash(3) }),
        Event::alive(other, generation),
        Event::dead(other, Generation(3)),
        Event::left(other, Generation(4)),
        Event::moved(other, Some(at(7_104))),
        Event::removed(other, RemovalReason::Expired),
        Event::refuted(generation),
        Event::isolated(3, 5),
        Event::reconnected(IsolationEnd::MembersAnswer),
        Event::identity_conflict(Instance(7), Some(at(7_105)), true),
        Event::identity_regained(generation),
        Event::unreached(Some(at(7_106))),
        Event::seen_elsewhere(at(7_106)),
        Event::answers_elsewhere(other, at(7_102), at(7_106)),
        Event::not_a_member(4, Some(other)),
        Event::knocked(id("edge-4"), at(7_107)),
        Event::table_doubled(20, 41),
        Event::dropped(dropped),
        Event::long_datagrams_lost(other, at(7_102), 508, 1_232),
        Event::distant(other, at(7_102), Duration::from_millis(800)),
        Event::leave_completed(11, 11),
    ]
}

/// What is held of the telemetry of edge-2.
fn held() -> Held {
    let change = |key: &str, value: Option<&[u8]>, version| Change {
        key: key.to_owned(),
        value: value.map(ToOwned::to_owned),
        version,
    };
    let entries = vec![
        change("load", Some(b"0.42"), 2),
        change("token", Some(&[0xff, 0x00]), 3),
        change("zone", None, 4),
        change("map", Some(&[b'x'; 5_000]), 5),
    ];
    Held { version: 5, entries }
}

fn examples() -> Vec<String> {
    let control = Some("/run/tgossip/edge-1.sock".to_owned());
    let output = Output { id: id("edge-1"), json: true, control };
    // In the order in which an agent that joins, runs and leaves may print them.
    let mut lines = own_lines();
    for event in events() {
        if matches!(event, Event::LeaveCompleted { .. }) {
            lines.push(Line::leaving());
        }
        let name = |hash| (hash == IdHash(3)).then(|| id("edge-3"));
        lines.extend(output.lines_of(&event, name, |_| held()));
    }
    let mut printed = Vec::new();
    for (second, line) in (10..).zip(&lines) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_943_700 + second);
        output.print_at(&mut printed, line, time).unwrap();
    }
    String::from_utf8(printed).unwrap().lines().map(ToOwned::to_owned).collect()
}

#[test]
fn the_events_page_shows_each_event_as_it_is_printed() {
    let page = std::fs::read_to_string(PAGE).expect("docs/events.md");
    let (before, rest) = page.split_once(AROUND[0]).expect("the examples begin");
    let (shown, after) = rest.split_once(AROUND[1]).expect("the examples end");
    let printed = examples().join("\n") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        let page = [before, AROUND[0], &printed, AROUND[1], after].concat();
        std::fs::write(PAGE, page).expect("docs/events.md can be written");
    } else {
        let values = |lines: &str| -> Vec<Value> {
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        assert_eq!(values(shown), values(&printed), "docs/events.md shows something else");
    }
}

/// Every word that a line is made with has an example.
#[test]
fn every_event_has_an_example() {
    let literal = |text: &'static str| {
        let text = text.trim_start().strip_prefix('"')?;
        Some(text.split_once('"')?.0)
    };
    let of_source: BTreeSet<&str> = [
        ("Self::new(", include_str!("line.rs")),
        ("Self::new(", include_str!("event_line.rs")),
        ("Line::new(", include_str!("telemetry.rs")),
    ]
    .into_iter()
    .flat_map(|(call, source)| source.split("#[cfg(test)]").next().unwrap().split(call))
    .filter_map(literal)
    .collect();
    let examples = examples();
    let shown: BTreeSet<String> = examples
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].as_str().unwrap().into())
        .collect();
    let missing: Vec<_> = of_source.iter().filter(|word| !shown.contains(**word)).collect();
    assert!(of_source.len() > 25 && missing.is_empty(), "without an example: {missing:?}");
}
