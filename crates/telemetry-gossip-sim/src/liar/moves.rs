//! The moves of a liar: one datagram or a few, as its kind says.

use super::wire::{Said, TelemetryHead, kind, status};
use super::{Liars, LieKind, NEWCOMERS, NOWHERE, STRANGER, STRANGERS, Sending, known};
use crate::process::Process;

/// The most claims in one datagram; they take at most 40 bytes each.
const CLAIMS: usize = 25;

/// The largest lead at which a claim at second hand is believed.
const LEAP: u64 = 1 << 16;

/// The highest generation that a liar says; above it the wire has no room.
const HIGHEST: u64 = u64::MAX - 8;

/// The highest version of telemetry.
const HIGHEST_VERSION: u64 = (1 << 48) - 1;

/// The keys that nodes of a scenario publish.
const KEYS: [&str; 4] = ["load", "k0", "k1", "k3"];

impl Liars {
    /// The next move of a liar.
    pub(crate) fn act(&mut self, liar: usize, processes: &[Process]) -> Vec<Sending> {
        let Some(kind) = self.all.get(liar).filter(|_| !self.stopped).map(|liar| liar.plan.kind)
        else {
            return Vec::new();
        };
        let mut sent = Vec::new();
        if self.all[liar].plan.member && kind != LieKind::Partner && self.one_in(4) {
            self.introduce_itself(liar, processes, &mut sent);
        }
        match kind {
            LieKind::Ladder => self.climb(liar, processes, &mut sent),
            LieKind::Crowd => self.make_up(liar, processes, &mut sent),
            LieKind::Rival => self.compete(liar, processes, &mut sent),
            LieKind::Poison => self.poison(liar, processes, &mut sent),
            LieKind::Recording => self.repeat(liar, processes, &mut sent),
            LieKind::Spoof => self.spoof(liar, processes, &mut sent),
            LieKind::Newcomers => self.join(liar, processes, &mut sent),
            LieKind::Partner => self.accuse(liar, processes, &mut sent),
        }
        sent
    }

    /// A node to which the liar lies.
    fn reader(&mut self, liar: usize, processes: &[Process]) -> Option<(u32, u32)> {
        let to = self.draws.below(self.all[liar].to.len());
        let (id, address) = known(processes, *self.all[liar].to.get(to)?)?;
        Some((id.id_hash().0, address))
    }

    /// A member that the liar lies about: its index, id hash, id and address.
    fn victim(&mut self, liar: usize, processes: &[Process]) -> Option<(u32, String, u32)> {
        let about = self.draws.below(self.all[liar].about.len());
        let (id, address) = known(processes, *self.all[liar].about.get(about)?)?;
        Some((id.id_hash().0, id.as_str().to_owned(), address))
    }

    /// The source address and the id hash under which a liar speaks: its own if it is a member.
    fn voice(&mut self, liar: usize) -> (u32, u32) {
        if self.all[liar].plan.member || self.all[liar].face.is_some() {
            let address = self.own_face(liar);
            (address, self.faces[&address].hash)
        } else {
            (STRANGER + liar as u32, self.number())
        }
    }

    /// The claim about a member as the liar heard it, at the address that it knows.
    pub(super) fn truth(&self, id: &str, address: u32) -> Said {
        self.memory.claim(id).cloned().unwrap_or(Said {
            status: status::ALIVE,
            generation: 0,
            instance: 0,
            id: id.to_owned(),
            address: Some(address),
            accusers: Vec::new(),
        })
    }

    /// Asks a node to be let in: the own claim, a request for a page, and a ping.
    fn introduce(
        &mut self,
        liar: usize,
        face: u32,
        processes: &[Process],
        sent: &mut Vec<Sending>,
    ) {
        let (Some((target, to)), Some(own)) =
            (self.reader(liar, processes), self.faces.get(&face).cloned())
        else {
            return;
        };
        let (ping, page) = (self.number(), self.number());
        let datagram = self.writer(own.hash).numbers(kind::PING, &[ping, target]);
        let datagram = datagram.claims(&[own.claim(face)]).numbers(kind::PAGE_REQUEST, &[page, 0]);
        let bytes = datagram.done();
        sent.push(Sending { liar, from: face, to, bytes, recorded: false });
    }

    fn introduce_itself(&mut self, liar: usize, processes: &[Process], sent: &mut Vec<Sending>) {
        let face = self.own_face(liar);
        self.introduce(liar, face, processes, sent);
    }

    /// Climbs a ladder of claims about one member, and tells the same to up to three nodes.
    fn climb(&mut self, liar: usize, processes: &[Process], sent: &mut Vec<Sending>) {
        let Some((hash, id, address)) = self.victim(liar, processes) else { return };
        let truth = self.truth(&id, address);
        let said_too = self.one_in(2);
        let mut generation = self.memory.generation(&id, said_too);
        let far = [1, 1, 2, 100, LEAP - 1, LEAP, LEAP, LEAP + 1, 1 << 33, 1 << 56, 1 << 62];
        let step = self.any(&far).unwrap_or(1);
        let mut claims = Vec::new();
        for _ in 1..1 + self.draws.below(self.all[liar].plan.count.min(CLAIMS)) {
            generation = generation.saturating_add(step).min(HIGHEST);
            claims.push(Said { status: status::ALIVE, generation, ..truth.clone() });
        }
        generation = generation.saturating_add(step).min(HIGHEST);
        let top = [status::SUSPECTED, status::SUSPECTED, status::DEAD, status::LEFT, status::ALIVE];
        let status = self.any(&top).unwrap_or(status::SUSPECTED);
        let accuser = match self.draws.below(3) {
            0 => Some(self.voice(liar).1),
            1 => self.reader(liar, processes).map(|(hash, _)| hash),
            _ => None,
        };
        let accusers = accuser.filter(|_| status == status::SUSPECTED).into_iter().collect();
        // At times it names another process, or another place.
        let instance = if self.one_in(6) { self.instance() } else { truth.instance };
        let moved = self.one_in(6).then(|| NOWHERE + self.number() % STRANGERS);
        let address = moved.or(truth.address);
        claims.push(Said { status, generation, instance, address, accusers, ..truth });
        self.memory.say(&id, generation);
        let (from, name) = self.voice(liar);
        // At times in the name of the member itself.
        let name = if self.one_in(4) { hash } else { name };
        for _ in 0..1 + self.draws.below(3) {
            let Some((_, to)) = self.reader(liar, processes) else { return };
            let bytes = self.writer(name).claims(&claims).done();
            sent.push(Sending { liar, from, to, bytes, recorded: false });
        }
    }

    /// Claims about members that do not exist.
    pub(super) fn crowd(&mut self, count: usize) -> Vec<Said> {
        let mut crowd = Vec::new();
        for _ in 0..count.min(CLAIMS) {
            // At times one that was made up before.
            let number = if self.one_in(4) {
                self.draws.below(1 + self.strangers_made.min(STRANGERS) as usize) as u32
            } else {
                self.strangers_made += 1;
                self.strangers_made % STRANGERS
            };
            let generations = [0, 0, 1, 1 << 20, 1 << 62, (1 << 62) + 1];
            crowd.push(Said {
                status: if self.one_in(4) { self.draws.below(4) as u8 } else { status::ALIVE },
                generation: self.any(&generations).unwrap_or(0),
                instance: self.instance(),
                id: format!("made-up-{number}"),
                address: Some(NOWHERE + number),
                accusers: Vec::new(),
            });
        }
        crowd
    }

    fn make_up(&mut self, liar: usize, processes: &[Process], sent: &mut Vec<Sending>) {
        let Some((_, to)) = self.reader(liar, processes) else { return };
        let crowd = self.crowd(self.all[liar].plan.count);
        let (from, name) = self.voice(liar);
        let bytes = self.writer(name).claims(&crowd).done();
        sent.push(Sending { liar, from, to, bytes, recorded: false });
    }

    /// Claims the id of a member for a process of its own.
    fn compete(&mut self, liar: usize, processes: &[Process], sent: &mut Vec<Sending>) {
        let face = match self.all[liar].face.filter(|face| self.faces.contains_key(face)) {
            Some(face) => face,
            None => {
                let Some((_, id, _)) = self.victim(liar, processes) else { return };
                let face = self.make_face(liar, id, 0);
                self.all[liar].face = Some(face);
                face
            }
        };
        let (leaps, sleeps) = (self.one_in(6), self.one_in(12));
        let leap = if leaps { self.any(&[2, LEAP, 1 << 40]).unwrap_or(1) } else { 1 };
        if let Some(own) = self.faces.get_mut(&face) {
            let heard = self.memory.generation(&own.id, false).max(own.generation);
            own.generation = heard.saturating_add(leap).min(1 << 62);
            own.asleep ^= sleeps;
            if own.asleep {
                return;
            }
        }
        for _ in 0..1 + self.draws.below(3) {
            self.introduce(liar, face, processes, sent);
        }
    }

    /// Forges an entry of a member's telemetry.
    fn poison(&mut self, liar: usize, processes: &[Process], sent: &mut Vec<Sending>) {
        let Some((owner, id, address)) = self.victim(liar, processes) else { return };
        let instance = self.truth(&id, address).instance;
        let unheard = TelemetryHead { owner, instance, version: 0 };
        let held = self.memory.telemetry(owner).unwrap_or(unheard);
        let steps = [1, 1, 2, 1 << 20, 1 << 33, (1 << 47) - 1, 1 << 47, HIGHEST_VERSION];
        let step = self.any(&steps).unwrap_or(1);
        let since = if self.one_in(3) { 0 } else { held.version };
        let step = step.min(HIGHEST_VERSION - since).max(1);
        let head = TelemetryHead { owner, instance, version: since };
        let compactions = [0, held.version, since + step, HIGHEST_VERSION];
        let compacted = if self.one_in(4) { self.any(&compactions) } else { None };
        let key = self.any(&KEYS).unwrap_or("load");
        let value = [b"forged".as_slice(), &[0xff; 300], &[]];
        let value = if self.one_in(4) { None } else { self.any(&value) };
        let (from, name) = self.voice(liar);
        for _ in 0..1 + self.draws.below(3) {
            let Some((_, to)) = self.reader(liar, processes) else { return };
            let mut datagram = self.writer(name);
            if self.one_in(2) {
                // To be passed on.
                let (number, end) = (self.number(), self.number());
                datagram = datagram.numbers(kind::TREE, &[number, end]);
            }
            let bytes = datagram.telemetry(compacted, head, step, key, value).done();
            sent.push(Sending { liar, from, to, bytes, recorded: false });
        }
    }

    /// Repeats recorded datagrams, mostly to the node that they were sent to.
    fn repeat(&mut self, liar: usize, processes: &[Process], sent: &mut Vec<Sending>) {
        for _ in 0..self.all[liar].plan.count {
            let place = self.draws.below(self.memory.recorded().len());
            let Some(datagram) = self.memory.recorded().get(place).cloned() else { return };
            let elsewhere = self.one_in(4);
            let to = self.reader(liar, processes).filter(|_| elsewhere);
            let to = to.map_or(datagram.to, |(_, address)| address);
            let (from, bytes) = (datagram.from, datagram.bytes);
            sent.push(Sending { liar, from, to, bytes, recorded: true });
        }
    }

    /// Speaks in the name and from the address of a member.
    fn spoof(&mut self, liar: usize, processes: &[Process], sent: &mut Vec<Sending>) {
        let Some((name, id, from)) = self.victim(liar, processes) else { return };
        let Some((target, to)) = self.reader(liar, processes) else { return };
        let other = self.victim(liar, processes);
        let (number, guess) = (self.number(), self.number());
        let truth = self.truth(&id, from);
        let above = self.memory.generation(&id, true).saturating_add(1).min(HIGHEST);
        let datagram = self.writer(name);
        let datagram = match self.draws.below(9) {
            0 => {
                self.memory.say(&id, above);
                let left = Said { status: status::LEFT, generation: above, ..truth };
                datagram.claims(&[left])
            }
            1 => {
                self.memory.say(&id, above);
                let address = Some(NOWHERE + number % STRANGERS);
                datagram.claims(&[Said { generation: above, address, ..truth }])
            }
            2 => {
                // An accusation by the member.
                let Some((_, other, address)) = other else { return };
                let truth = self.truth(&other, address);
                let generation = truth.generation.saturating_add(1).min(HIGHEST);
                let (status, accusers) = (status::SUSPECTED, vec![name]);
                datagram.claims(&[Said { status, generation, accusers, ..truth }])
            }
            3 => datagram.numbers(kind::PING, &[number, target]),
            4 => datagram.numbers(kind::PAGE_REQUEST, &[number, 0]),
            5 => {
                let mut body = number.to_be_bytes().to_vec();
                body.extend_from_slice(&target.to_be_bytes());
                body.push(4);
                body.extend_from_slice(&from.to_be_bytes());
                datagram.frame(kind::PING_REQ, &body)
            }
            6 => {
                let instance = truth.instance;
                datagram.numbers(kind::ACK, &[guess, instance]).numbers(kind::TREE_ACK, &[number])
            }
            7 => datagram.numbers(kind::SYNC_OPEN, &[number]),
            _ => {
                let crowd = self.crowd(4);
                let mut body = number.to_be_bytes().to_vec();
                body.push(1);
                datagram.claims(&crowd).frame(kind::SYNC_DONE, &body)
            }
        };
        sent.push(Sending { liar, from, to, bytes: datagram.done(), recorded: false });
    }

    /// Joins under one more id, and lets the oldest of too many fall silent.
    fn join(&mut self, liar: usize, processes: &[Process], sent: &mut Vec<Sending>) {
        if self.all[liar].newcomers.len() >= self.all[liar].plan.count.max(1)
            && let Some(oldest) = self.all[liar].newcomers.pop_front()
        {
            self.faces.remove(&oldest);
        }
        let id = format!("newcomer-{}", self.faces_made % NEWCOMERS);
        let face = self.make_face(liar, id, 0);
        self.all[liar].newcomers.push_back(face);
        for _ in 0..2 {
            self.introduce(liar, face, processes, sent);
        }
        // The others go on speaking, so that all nodes hear of them.
        let again = self.draws.below(self.all[liar].newcomers.len());
        let again = self.all[liar].newcomers.get(again).copied();
        if let Some(face) = again {
            self.introduce(liar, face, processes, sent);
        }
    }

    /// Accuses a member as a member that confirms its accusations.
    fn accuse(&mut self, liar: usize, processes: &[Process], sent: &mut Vec<Sending>) {
        self.introduce_itself(liar, processes, sent);
        let Some((_, id, address)) = self.victim(liar, processes) else { return };
        let Some((_, to)) = self.reader(liar, processes) else { return };
        let face = self.own_face(liar);
        let Some(own) = self.faces.get(&face).cloned() else { return };
        let truth = self.truth(&id, address);
        let generation = truth.generation.saturating_add(1).min(HIGHEST);
        let accused =
            Said { status: status::SUSPECTED, generation, accusers: vec![own.hash], ..truth };
        let bytes = self.writer(own.hash).claims(&[accused, own.claim(face)]).done();
        sent.push(Sending { liar, from: face, to, bytes, recorded: false });
    }
}
