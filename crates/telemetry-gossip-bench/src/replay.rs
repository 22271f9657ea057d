//! Replays the inputs of one node without the rest of the cluster, so that an instruction counter
//! runs that node only.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use crate::arena::{Contender, Out, Recorded};

/// Pings and acks without rumors have fewer bytes than this.
const SHORT: usize = 64;

/// The recorded inputs of one node, and the time from which they are measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Inputs before this time are replayed but not measured.
    pub from: u64,
    /// The inputs.
    pub inputs: Vec<Recorded>,
}

/// The counts of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Measured datagrams.
    pub handled: u64,
    /// All datagrams sent and their bytes, which equal those in the arena.
    pub sent: (u64, u64),
}

impl Replayed {
    fn carry<T>(&mut self, out: &mut Out<T>, timers: &mut Vec<Option<T>>) {
        out.drain_sends(|_, bytes| self.sent = (self.sent.0 + 1, self.sent.1 + bytes.len() as u64));
        timers.extend(out.drain_timers().map(|(_, timer)| Some(timer)));
    }
}

impl Trace {
    /// Writes the trace to a file.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&self.from.to_be_bytes())?;
        for input in &self.inputs {
            let (at, other, bytes) = match input {
                Recorded::Datagram(at, from, bytes) => (at, from, bytes.as_slice()),
                Recorded::Timer(at, number) => (at, number, [].as_slice()),
            };
            file.write_all(&at.to_be_bytes())?;
            file.write_all(&other.to_be_bytes())?;
            file.write_all(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes())?;
            file.write_all(bytes)?;
        }
        file.flush()
    }

    /// Reads a trace that [`save`](Self::save) has written.
    pub fn load(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let mut from = [0; 8];
        file.read_exact(&mut from)?;
        let mut trace = Self { from: u64::from_be_bytes(from), inputs: Vec::new() };
        let mut head = [0; 14];
        while let Ok(()) = file.read_exact(&mut head) {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = head;
            let (at, other) =
                (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([i, j, k, l]));
            let mut bytes = vec![0; usize::from(u16::from_be_bytes([m, n]))];
            file.read_exact(&mut bytes)?;
            // Neither library sends empty datagrams.
            trace.inputs.push(if bytes.is_empty() {
                Recorded::Timer(at, other)
            } else {
                Recorded::Datagram(at, other, bytes)
            });
        }
        Ok(trace)
    }

    /// Replays the inputs to a node that begins in the recorded state.
    ///
    /// Datagrams longer than a ping or an ack, or with longer answers, are measured separately. A
    /// first pass finds them.
    pub fn replay<C: Contender>(&self, make: impl Fn(&mut Out<C::Timer>) -> C) -> Replayed {
        let mut answers = Vec::new();
        self.pass(&make, C::timer, |node, at, from, bytes, out| {
            let before = out.bytes();
            node.datagram(at, from, bytes, out);
            answers.push(bytes.len().max(out.bytes() - before));
        });
        let mut answers = answers.into_iter();
        self.pass(&make, measured_timer, |node, at, from, bytes, out| {
            if answers.next().is_some_and(|longer| longer < SHORT) {
                measured_datagram(node, at, from, bytes, out);
            } else {
                measured_long(node, at, from, bytes, out);
            }
        })
    }

    fn pass<C: Contender>(
        &self,
        make: impl FnOnce(&mut Out<C::Timer>) -> C,
        timer: impl Fn(&mut C, u64, C::Timer, &mut Out<C::Timer>),
        mut datagram: impl FnMut(&mut C, u64, u32, &[u8], &mut Out<C::Timer>),
    ) -> Replayed {
        let mut out = Out::default();
        let mut node = make(&mut out);
        let (mut timers, mut done) = (Vec::new(), Replayed::default());
        done.carry(&mut out, &mut timers);
        for input in &self.inputs {
            match input {
                Recorded::Datagram(at, from, bytes) if *at < self.from => {
                    node.datagram(*at, *from, bytes, &mut out);
                }
                Recorded::Datagram(at, from, bytes) => {
                    done.handled += 1;
                    datagram(&mut node, *at, *from, bytes, &mut out);
                }
                Recorded::Timer(at, number) => {
                    let Some(due) = timers.get_mut(*number as usize).and_then(Option::take) else {
                        continue;
                    };
                    if *at < self.from {
                        node.timer(*at, due, &mut out);
                    } else {
                        timer(&mut node, *at, due, &mut out);
                    }
                }
            }
            done.carry(&mut out, &mut timers);
        }
        done
    }
}

/// Handles a measured ping or ack. The instruction counter looks for this function.
#[inline(never)]
pub fn measured_datagram<C: Contender>(
    node: &mut C,
    now: u64,
    from: u32,
    bytes: &[u8],
    out: &mut Out<C::Timer>,
) {
    // Prevents the compiler from merging identical functions.
    std::hint::black_box("a ping or an ack");
    node.datagram(now, from, bytes, out);
}

/// Handles a longer datagram. The instruction counter looks for this function.
#[inline(never)]
pub fn measured_long<C: Contender>(
    node: &mut C,
    now: u64,
    from: u32,
    bytes: &[u8],
    out: &mut Out<C::Timer>,
) {
    std::hint::black_box("a longer one");
    node.datagram(now, from, bytes, out);
}

/// Handles a measured timer. The instruction counter looks for this function.
#[inline(never)]
pub fn measured_timer<C: Contender>(
    node: &mut C,
    now: u64,
    timer: C::Timer,
    out: &mut Out<C::Timer>,
) {
    node.timer(now, timer, out);
}

#[cfg(test)]
mod tests {
    use telemetry_gossip_core::Config;

    use super::*;
    use crate::arena::Setting;
    use crate::contenders::{foca, lone, lone_foca, ours};

    const SETTING: Setting = Setting { recorded: true, ..Setting::new(12, 7) };

    #[test]
    fn a_replay_sends_the_same_datagrams_as_the_node_in_the_arena() {
        let mut arena = ours(SETTING);
        arena.run_for(20_000_000);
        let trace = Trace { from: 5_000_000, inputs: arena.recorded() };
        let replayed = trace.replay(|out| lone(0, 12, 7, Config::lan(), out));
        let stats = arena.nodes[0].node.stats();
        assert_eq!(replayed.sent, (stats.datagrams_sent, stats.bytes_sent));
        assert!(replayed.handled > 20, "{replayed:?}");
    }

    #[test]
    fn a_trace_of_foca_survives_its_file_and_replays() {
        let mut arena = foca(SETTING);
        arena.run_for(20_000_000);
        let trace = Trace { from: 5_000_000, inputs: arena.recorded() };
        let path = std::env::temp_dir().join(format!("trace-{}", std::process::id()));
        trace.save(&path).unwrap();
        assert_eq!(Trace::load(&path).unwrap(), trace);
        std::fs::remove_file(&path).unwrap();
        let replayed = trace.replay(|out| lone_foca(0, 12, 7, 0, out));
        assert!(replayed.handled > 20 && replayed.sent.0 > 20, "{replayed:?}");
    }
}
