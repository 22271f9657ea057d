//! The event loop: takes the next entry from the heap, passes it to a process as an input, and
//! carries out what follows.

use std::cmp::Reverse;
use std::time::Duration;

use telemetry_gossip_core::{Event, Input, InputError, Instant, Node, NodeId, WireError};

use super::sealing::Outgoing;
use super::{Entry, Logged, Packet, QueuedEvent, Simulation};
use crate::checker::{Cause, Checking, Location};
use crate::network::Kind;
use crate::rng::micros;

impl Simulation {
    /// Runs until virtual time `until`.
    pub fn run_to(&mut self, until: Duration) {
        let until = micros(until);
        while self.queue.peek().is_some_and(|Reverse(next)| next.at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// The time of the next queued event.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        self.queue.peek().map(|Reverse(next)| Duration::from_micros(next.at))
    }

    /// Processes the next queued event; returns false if there is none.
    pub fn step(&mut self) -> bool {
        let Some(Reverse(entry)) = self.queue.pop() else {
            return false;
        };
        self.now = self.now.max(entry.at);
        match entry.what {
            QueuedEvent::Arrival { packet } => self.arrive(packet),
            QueuedEvent::Wake { process, instance } => {
                self.wake(process as usize, instance, entry.at)
            }
            QueuedEvent::Lie { liar } => self.lie(liar),
        }
        true
    }

    pub(super) fn schedule(&mut self, at: u64, what: QueuedEvent) {
        self.sequence += 1;
        self.queue.push(Reverse(Entry { at, sequence: self.sequence, what }));
    }

    fn arrive(&mut self, packet: u32) {
        let to = self.packets.all[packet as usize].to;
        let Some(index) = self.owner_of(to).filter(|&index| self.processes[index].node.is_some())
        else {
            if !self.hear_as_liar(packet) {
                self.fabric.traffic.no_listener += 1;
            }
            self.packets.free.push(packet);
            return;
        };
        if self.processes[index].listens() {
            self.receive(index, packet);
        } else if self.processes[index].inbox.len()
            < self.fabric.conditions().receive_queue as usize
        {
            self.processes[index].inbox.push_back(packet);
        } else {
            self.fabric.traffic.overflowed += 1;
            self.packets.free.push(packet);
        }
    }

    /// Passes a datagram from the socket of a process to its node.
    pub(super) fn receive(&mut self, index: usize, packet: u32) {
        let place = packet as usize;
        let Packet { from, altered, lie, .. } = self.packets.all[place];
        let bytes = std::mem::take(&mut self.packets.all[place].bytes);
        self.fabric.traffic.delivered += 1;
        let usage = &mut self.processes[index].usage;
        usage.received += 1;
        usage.received_bytes += bytes.len() as u64;
        let Some((contents, stamp)) = self.opened(index, &bytes) else {
            self.packets.all[place].bytes = bytes;
            self.packets.free.push(packet);
            return;
        };
        let location = Location { at: self.now(), observer: index };
        if altered && self.processes[index].seal.is_some() {
            self.checker.opened_altered(location, contents.len());
        } else if altered {
            // Tell the checker first: the node may believe the datagram at once.
            self.checker.accepted_altered();
        }
        if lie {
            self.believe(&contents);
        }
        self.replies.clear();
        self.answering = Some(from);
        let len = contents.len();
        let input = match stamp {
            None => Input::datagram(from, contents),
            Some((stamp, age)) => Input::sealed(from, stamp, age, contents),
        };
        let is_unproved = stamp.is_some_and(|(_, age)| age.is_none());
        let result = self.feed(index, input);
        // The first proof of a sealed sender also has the datagram taken that waited for it.
        let taken = 1 + usize::from(self.keep_proof(index) && is_unproved);
        self.answering = None;
        if self.checking != Checking::Off {
            self.checker.replies(location, &self.replies, taken);
            if let Err(InputError::Datagram(error)) = result
                && error != WireError::Label
                && !altered
                && !lie
            {
                self.checker.refused(location, error, len);
            }
        }
        self.packets.all[place].bytes = bytes;
        self.packets.free.push(packet);
    }

    /// Ticks a node at its deadline, unless the wake-up is stale.
    fn wake(&mut self, index: usize, instance: u32, at: u64) {
        let now = self.now();
        let process = &mut self.processes[index];
        if process.instances != instance || process.wake != Some(at) {
            return;
        }
        process.wake = None;
        let Some(deadline) = process.node.as_ref().and_then(Node::poll_timeout) else {
            return;
        };
        if process.clock.when(deadline) + process.lateness > now {
            // The deadline has moved since this wake-up was queued.
            self.arm(index, None);
        } else if process.paused {
            process.overslept = true;
        } else {
            // A tick is never refused.
            let _ = self.feed(index, Input::Tick);
        }
    }

    /// Passes one input to a node and carries out everything that follows from it.
    pub(super) fn feed(&mut self, index: usize, input: Input<'_, u32>) -> Result<(), InputError> {
        let now = self.now();
        let process = &mut self.processes[index];
        let Some(node) = process.node.as_mut() else {
            return Ok(());
        };
        // The deadline that this tick is for, to check below that the node has moved it.
        let ticked = if matches!(input, Input::Tick) { node.poll_timeout() } else { None };
        self.prompted = !matches!(input, Input::Tick);
        self.publishing = matches!(input, Input::Publish { .. } | Input::Unpublish { .. });
        self.trace.input(now, index, &input);
        let result = node.handle(process.clock.read(now), input);
        process.inputs = process.inputs.wrapping_add(1);
        self.inputs += 1;
        self.settle(index);
        if let (Some(deadline), Some(next)) =
            (ticked, self.node(index).and_then(Node::poll_timeout))
            && next <= deadline
            && self.processes[index].clock.when(deadline) <= now
        {
            // The node would be ticked at this time for ever. Report it, and tick it again later so
            // that the run can go on.
            self.checker.stuck(Location { at: now, observer: index }, deadline, next);
            self.arm(index, Some(now + Duration::from_micros(1)));
        } else {
            self.arm(index, None);
        }
        result
    }

    /// Drains the datagrams and events of a node, and checks its state.
    pub(super) fn settle(&mut self, index: usize) {
        let now = self.now();
        self.drain_transmits(now, index);
        self.drain_events(now, index);
        if self.checking != Checking::Off {
            self.check(now, index);
        }
        let process = &mut self.processes[index];
        if let Some(node) = &process.node {
            process.generation = process.generation.max(node.me().generation().0);
        }
        self.arm(index, None);
    }

    fn drain_transmits(&mut self, now: Duration, index: usize) {
        let mtu = usize::from(self.config(index).mtu);
        loop {
            let Some(sent) = self.next_sent(index) else {
                return;
            };
            let process = &mut self.processes[index];
            process.usage.sent += 1;
            process.usage.sent_bytes += sent.len as u64;
            self.fabric.traffic.sent += 1;
            self.fabric.traffic.sent_bytes += sent.len as u64;
            self.trace.transmit(now, index, sent.to, &self.buffer[..sent.len]);
            self.checker.datagram(Location { at: now, observer: index }, sent.len, mtu);
            self.tap(index, sent);
            self.overhear(index, sent);
            // Telemetry that is passed on does not count as a reply, even if the tree passes it
            // back to the node that it came from.
            if self.answering == Some(sent.to) && sent.kind != Kind::Telemetry {
                self.replies.push(sent.kind);
            }
            if self.processes[index].blocked {
                self.hold(index, sent);
            } else {
                self.post(index, sent);
            }
        }
    }

    /// Sends the datagram in the buffer into the network.
    pub(super) fn post(&mut self, index: usize, sent: Outgoing) {
        let process = &self.processes[index];
        let source = process.second.unwrap_or(process.address);
        let to = self.owner_of(sent.to);
        if let Some(receiver) = to.and_then(|to| self.processes.get_mut(to))
            && receiver.node.is_none()
            && !self.prompted
        {
            receiver.first_probed.get_or_insert(Duration::from_micros(self.now));
        }
        self.carry(index, source, sent, false);
    }

    /// Sends the datagram in the buffer into the network, from a node or a liar. `lie` says that
    /// a liar made it.
    pub(super) fn carry(&mut self, index: usize, source: u32, sent: Outgoing, lie: bool) {
        let Outgoing { to, kind, len } = sent;
        let owner = self.owner_of(to);
        let Some(target) = owner.or_else(|| self.liar_at(to)) else {
            self.fabric.traffic.no_listener += 1;
            return;
        };
        let slowness = owner.map_or(Duration::ZERO, |owner| self.processes[owner].slowness);
        let arrivals = self.fabric.send(self.now(), (index, target), kind, len);
        let copies = [
            (arrivals.first, arrivals.alter),
            (arrivals.duplicate, false),
            (arrivals.replay, false),
        ];
        for (after, alter) in copies {
            let Some(after) = after else { continue };
            let packet = self.packets.add(source, to, &self.buffer[..len]);
            self.packets.all[packet as usize].lie = lie;
            if alter {
                self.alter(packet, len);
            }
            // A slow process finds the datagram in its socket only later.
            let late =
                if slowness.is_zero() { 0 } else { self.operations.micros_up_to(micros(slowness)) };
            self.schedule(
                self.now.saturating_add(micros(after) + late),
                QueuedEvent::Arrival { packet },
            );
        }
    }

    /// Alters a packet, perhaps with the end of another one. The buffer still holds its original
    /// `len` bytes.
    fn alter(&mut self, packet: u32, len: usize) {
        let place = packet as usize;
        let other = &self.packets.all[self.fabric.below(self.packets.all.len())];
        let (other, sound) = (other.bytes.clone(), !other.altered && !other.bytes.is_empty());
        let packet = &mut self.packets.all[place];
        self.fabric.alter(&mut packet.bytes, &other);
        // A packet that now equals another unaltered one is merely a misdelivered copy.
        packet.altered = packet.bytes != self.buffer[..len] && !(sound && packet.bytes == other);
    }

    fn drain_events(&mut self, now: Duration, index: usize) {
        let location = Location { at: now, observer: index };
        self.changed.clear();
        while let Some(event) = self.processes[index].node.as_mut().and_then(Node::poll_event) {
            self.trace.event(now, index, &event);
            self.counts.add(&event);
            if self.keep_events {
                self.log.push(Logged { at: now, node: index, timed: !self.prompted, event });
            }
            if let Event::JoinCompleted { .. } = event {
                self.processes[index].has_joined = true;
            }
            if let Event::IdentityRegained { .. } = event {
                self.processes[index].took_over = Some(now);
            }
            if let Event::IdentityConflict { lost: true, .. } = event {
                // It waits for its id, and takes no part until it has it back. Its join has ended.
                self.watches.stopped(now, index);
                self.processes[index].joined_through.clear();
            }
            let Some(id) = subject(&event) else {
                continue;
            };
            let name = self.name(id);
            // Events about the node itself are no part of its view of others.
            if name == self.processes[index].name {
                continue;
            }
            self.watches.event(now, index, name, &event);
            if let Event::Dead { generation, .. } = event
                && self.declared.insert((name, generation.0))
                && self.is_false(index, name)
            {
                self.false_deads += 1;
            }
            if self.checking != Checking::Off {
                let now = self.processes[index].node.as_ref().map_or(Instant::ORIGIN, Node::now);
                let cause = match (self.publishing, self.prompted) {
                    (true, _) => Cause::Publication,
                    (false, true) => Cause::Input,
                    (false, false) => Cause::Timer,
                };
                self.checker.event(location, name, &event, cause, now);
                self.changed.push(name);
            }
        }
    }

    /// Ensures that the queue holds a wake-up at the node's deadline or earlier.
    pub(super) fn arm(&mut self, index: usize, not_before: Option<Duration>) {
        let now = self.now();
        let process = &mut self.processes[index];
        let Some(deadline) = process.node.as_ref().and_then(Node::poll_timeout) else {
            return;
        };
        let due = process.clock.when(deadline) + process.lateness;
        let due = micros(due.max(now).max(not_before.unwrap_or_default()));
        let at = due.checked_next_multiple_of(micros(process.slowness)).unwrap_or(due);
        // An earlier wake-up arms the timer again if the deadline has not come by then. This keeps
        // the queue small, since most inputs move the deadline to a later time.
        if not_before.is_none() && process.wake.is_some_and(|wake| wake <= at) {
            return;
        }
        process.wake = Some(at);
        let instance = process.instances;
        self.schedule(
            at,
            QueuedEvent::Wake { process: u32::try_from(index).unwrap_or(u32::MAX), instance },
        );
    }
}

/// The member that an event is about.
fn subject(event: &Event<u32>) -> Option<NodeId> {
    match *event {
        Event::Joined { id, .. }
        | Event::Alive { id, .. }
        | Event::Suspected { id, .. }
        | Event::Dead { id, .. }
        | Event::Left { id, .. }
        | Event::Moved { id, .. }
        | Event::Removed { id, .. }
        | Event::Telemetry { id, .. } => Some(id),
        _ => None,
    }
}
