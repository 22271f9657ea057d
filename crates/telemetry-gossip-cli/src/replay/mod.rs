//! `tgossip replay`: replays the record of a node and prints what happened.
//!
//! ```text
//!   files --> playback: inputs to the core, blocks compared ---> events, as they come
//!                |                                          `--> a test, with --as-test
//!                `-- at the end, or at the time of --at -------> members, explanation, result
//! ```
//!
//! The recorder reads records and compares them with the replay. This module prints the result.

mod found;
mod statuses;
mod trace;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use telemetry_gossip_core::{Member, NodeId};
use telemetry_gossip_recorder::{
    Boot, Entry, Output, Playback, PlaybackStep, Player, RecordFile, Start,
};
use telemetry_gossip_tokio::PeerAddr;

use crate::agent::output;
use crate::agent::telemetry::Held;
use crate::args::ReplayArgs;
use crate::control::{MemberView, Reasons};
use crate::error::Error;
use crate::safe::Safe;
use crate::text;
use found::Found;
use statuses::Statuses;
use trace::Trace;

/// The longest line of an explanation in characters: a probe with eight helpers of the longest
/// ids.
const MAX_LINE_CHARS: usize = 1_500;

pub(crate) fn run(args: &ReplayArgs) -> Result<(), Error> {
    let playback = Playback::new(files(&args.path, args.node.as_ref())?);
    let mut out = Safe::new(BufWriter::new(io::stdout().lock()), args.json);
    let mut replay = Replay {
        args,
        playback,
        found: Found::default(),
        lead: 0,
        boot: None,
        trace: None,
        statuses: Statuses::default(),
    };
    replay.run(&mut out)?;
    let Replay { playback, found, trace, lead, statuses, .. } = replay;
    let Some(player) = playback.player() else {
        return Err(Error::Usage(format!(
            "{} contains no complete beginning of a record, so there is nothing to replay",
            args.path.display()
        )));
    };
    if let (Some(path), Some(trace)) = (&args.as_test, trace) {
        trace.write(path, player)?;
    }
    found.print(&mut out, player, args.json)?;
    let now = player.node().now().as_micros().wrapping_add(lead);
    let age = |member: Member<'_, PeerAddr>| statuses.age(member.id(), member.status(), now);
    if args.members {
        members(&mut out, player, age, args.json)?;
    }
    let known = args
        .explain
        .as_ref()
        .map(|id| explain(&mut out, player, id, age, args.json))
        .transpose()?;
    out.flush()?;
    if let (Some(false), Some(id)) = (known, &args.explain) {
        return Err(Error::UnknownThen { id: id.to_string() });
    }
    found.verdict(args.verify)?;
    match found.end_before_stop() {
        Some(end) => Err(Error::BeyondRecord { end }),
        None => Ok(()),
    }
}

/// Finds the files to replay, in order.
fn files(path: &Path, node: Option<&NodeId>) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error| Error::File { path: path.to_owned(), error };
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = telemetry_gossip_recorder::list(path).map_err(unreadable)?;
    if let Some(node) = node {
        let stem = telemetry_gossip_recorder::stem(node);
        files.retain(|file| file.stem == stem);
    }
    let mut stems: Vec<&str> = files.iter().map(|file| file.stem.as_str()).collect();
    stems.dedup();
    let shown = path.display();
    match (stems.as_slice(), node) {
        ([_], _) => Ok(files.into_iter().map(|RecordFile { path, .. }| path).collect()),
        ([], None) => Err(Error::Usage(format!(
            "{shown} contains no records: name a folder into which an agent recorded with --record"
        ))),
        ([], Some(node)) => Err(Error::Usage(format!(
            "{shown} contains no records of `{node}`: check the id, or leave --node out"
        ))),
        (several, _) => Err(Error::Usage(format!(
            "{shown} contains records of {} nodes: choose one with --node ({})",
            several.len(),
            several.join(", ")
        ))),
    }
}

/// A replay in progress.
struct Replay<'a> {
    args: &'a ReplayArgs,
    playback: Playback<PeerAddr>,
    found: Found,
    /// The wall clock minus the clock of the node, in microseconds, according to the present file.
    lead: u64,
    /// The parameters that the node was started with, until its first input.
    boot: Option<Boot<PeerAddr>>,
    trace: Option<Trace>,
    statuses: Statuses,
}

impl Replay<'_> {
    fn run(&mut self, out: &mut impl Write) -> Result<(), Error> {
        while let Some(step) = self.playback.next_step()? {
            match step {
                PlaybackStep::Opened { header, missing, divergence, .. } => {
                    self.lead = header.unix_micros.wrapping_sub(header.at.as_micros());
                    self.boot = match &header.start {
                        Start::Boot(boot) => {
                            self.statuses.begin(boot.identity.id, header.unix_micros);
                            Some(Boot::clone(boot))
                        }
                        _ => None,
                    };
                    let begins = self.found.opened(&header, missing, divergence);
                    if let Some(trace) = &mut self.trace {
                        trace.interrupted(begins || missing > 0)?;
                    }
                }
                PlaybackStep::Input(entry) => {
                    let at = entry.at.as_micros().wrapping_add(self.lead);
                    let start = *self.found.start.get_or_insert(at);
                    if self.args.at.is_some_and(|stop| stop.unix_micros(start) < at) {
                        return Ok(());
                    }
                    let shown = self.args.from.is_none_or(|from| from.unix_micros(start) <= at);
                    self.found.end = at;
                    self.play(&entry, at, shown, out)?;
                }
                PlaybackStep::Compared(compared) => self.found.compared(compared),
                PlaybackStep::Closed { path, tail, .. } => self.found.closed(path, tail),
                PlaybackStep::Skipped { path, reason, .. } => self.found.skipped(&path, &reason),
                _ => {}
            }
        }
        self.found.ends_before_stop = self.args.at.is_some_and(|stop| {
            self.found.start.is_some_and(|start| self.found.end < stop.unix_micros(start))
        });
        Ok(())
    }

    fn play(
        &mut self,
        entry: &Entry<PeerAddr>,
        at: u64,
        shown: bool,
        out: &mut impl Write,
    ) -> Result<(), Error> {
        if shown && self.args.as_test.is_some() && self.trace.is_none() {
            let (boot, now) =
                (self.boot.take(), self.playback.now().as_micros().wrapping_add(self.lead));
            self.trace =
                self.playback.player().map(|player| Trace::begin(player, boot, now)).transpose()?;
        }
        self.boot = None;
        let mut trace = self.trace.as_mut();
        if let Some(trace) = &mut trace {
            trace.input(entry)?;
        }
        let (mut events, begun) = (Vec::new(), Instant::now());
        let show = shown && self.args.events;
        let statuses = &mut self.statuses;
        let accepted = self.playback.play(entry, |output| {
            if let Some(trace) = &mut trace {
                trace.output(&output);
            }
            if let Output::Event(event) = output {
                statuses.learn(&event, at);
                if show {
                    events.push(event);
                }
            }
        });
        self.found.took += begun.elapsed();
        let Some(player) = self.playback.player() else { return Ok(()) };
        self.found.played();
        if let Some(trace) = trace {
            trace.handled(player, accepted)?;
        }
        let members = || player.node().members().filter_map(|member| NodeId::new(member.id()).ok());
        let Some(id) = NodeId::new(player.node().me().id()).ok().filter(|_| !events.is_empty())
        else {
            return Ok(());
        };
        let output = output::Output { id, json: self.args.json, control: None };
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(at);
        for event in &events {
            let name = |hash| members().find(|id| id.id_hash() == hash);
            let held = |id: &NodeId| {
                let member = player.node().member(id.as_str());
                member.map(|member| Held::of_node(&member)).unwrap_or_default()
            };
            for line in output.lines_of(event, name, held) {
                output.print_at(out, &line, time)?;
            }
        }
        Ok(())
    }
}

fn members(
    out: &mut impl Write,
    player: &Player<PeerAddr>,
    age: impl Fn(Member<'_, PeerAddr>) -> Option<Duration>,
    json: bool,
) -> Result<(), Error> {
    let node = player.node();
    let (now, isolated_since) = (node.now(), node.health().isolated_since);
    let mut members: Vec<MemberView> = node
        .members()
        .map(|it| MemberView::of_node(node.me().id(), &it, now, age(it), isolated_since))
        .collect();
    members.sort_by(|one, other| one.id.cmp(&other.id));
    if json {
        serde_json::to_writer(&mut *out, &members).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "\n{}", crate::members::members_table(node.me().id(), &members).trim_fmt())?;
    }
    Ok(())
}

/// Prints the explanation of a member's status. Returns false if the node does not know the member.
fn explain(
    out: &mut impl Write,
    player: &Player<PeerAddr>,
    id: &NodeId,
    age: impl Fn(Member<'_, PeerAddr>) -> Option<Duration>,
    json: bool,
) -> Result<bool, Error> {
    let node = player.node();
    let Some(explanation) = node.explain(id.as_str()) else { return Ok(false) };
    let since = node.member(id.as_str()).and_then(age);
    let reasons = Reasons::of(node.me().id(), &explanation, since);
    if json {
        serde_json::to_writer(&mut *out, &reasons).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "\n{} says:", text::word(&reasons.node))?;
        for line in reasons.text.lines() {
            writeln!(out, "{}", text::printable(line, MAX_LINE_CHARS))?;
        }
    }
    Ok(true)
}
