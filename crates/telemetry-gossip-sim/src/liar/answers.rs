//! What liars answer at their addresses: pings truthfully, so that they stay members, and all else
//! with lies.

use super::wire::{self, Reader, Said, kind, status};
use super::{Liars, Sending, known};
use crate::process::Process;

impl Liars {
    /// Takes a datagram that arrived at an address of a liar, and returns the answer.
    pub(crate) fn hear(
        &mut self,
        at: u32,
        from: u32,
        contents: &[u8],
        processes: &[Process],
    ) -> Option<Sending> {
        self.memory.hear(contents);
        let own = self.faces.get(&at).filter(|face| !face.asleep)?.clone();
        let mut accused = None;
        let (mut answer, mut said) = (self.writer(own.hash), false);
        for (kind, mut body) in wire::frames(contents) {
            if kind == kind::CLAIMS {
                while let Some(claim) = body.claim() {
                    if claim.id == own.id && claim.generation >= own.generation {
                        accused = Some(claim).filter(|claim| {
                            claim.status != status::ALIVE || claim.instance != own.instance
                        });
                    }
                }
                continue;
            }
            let Some(number) = body.u32() else { continue };
            said |= kind != kind::ACK;
            answer = match kind {
                kind::PING if body.u32() == Some(own.hash) => {
                    answer.numbers(kind::ACK, &[number, own.instance])
                }
                kind::PING_REQ => match self.draws.below(4) {
                    // It hides what lives, or shows what is dead.
                    0 | 1 => answer.numbers(kind::NACK, &[number]),
                    2 => {
                        let instance = self.instance_of(body.u32(), processes);
                        answer.numbers(kind::ACK, &[number, instance])
                    }
                    _ => continue,
                },
                kind::PAGE_REQUEST => {
                    let page = [&number.to_be_bytes()[..], &[0]].concat();
                    let crowd = self.crowd(4);
                    answer.frame(kind::PAGE, &page).claims(&[own.claim(at)]).claims(&crowd)
                }
                kind::SYNC_OPEN | kind::SYNC_DIGEST | kind::SYNC_VERSIONS => {
                    let lies = self.lies(own.liar, processes);
                    answer.claims(&lies).frame(kind::SYNC_DONE, &self.done(number))
                }
                kind::SYNC_WANTS => {
                    let confirmed = self.confirmed(body, own.hash, processes);
                    answer.claims(&confirmed).frame(kind::SYNC_DONE, &self.done(number))
                }
                kind::TREE => answer.numbers(kind::TREE_ACK, &[number]),
                _ => continue,
            };
        }
        if let Some(accused) = accused {
            let own = self.faces.get_mut(&at)?;
            own.generation = accused.generation.saturating_add(1).min(1 << 62);
            let claim = own.claim(at);
            answer = answer.claims(&[claim]);
            said = true;
        }
        let liar = own.liar;
        said.then(|| Sending { liar, from: at, to: from, bytes: answer.done(), recorded: false })
    }

    fn done(&mut self, number: u32) -> Vec<u8> {
        let more = u8::from(self.one_in(2));
        [&number.to_be_bytes()[..], &[more]].concat()
    }

    /// The instance that was heard of the member with this id hash, or 0.
    fn instance_of(&self, target: Option<u32>, processes: &[Process]) -> u32 {
        let of = |process: &&Process| Some(process.id.id_hash().0) == target;
        let id = processes.iter().find(of).map(|process| process.id);
        let claim = id.and_then(|id| self.memory.claim(id.as_str()));
        claim.map_or(0, |claim| claim.instance)
    }

    /// A few claims for a partner in a session: a member that is dead or gone, and a crowd.
    fn lies(&mut self, liar: usize, processes: &[Process]) -> Vec<Said> {
        let mut lies = self.crowd(2);
        let about = self.draws.below(self.all[liar].about.len());
        let victim = self.all[liar].about.get(about).and_then(|&about| known(processes, about));
        if let Some((id, address)) = victim {
            let truth = self.truth(id.as_str(), address);
            let status = self.any(&[status::DEAD, status::LEFT, status::SUSPECTED]).unwrap_or(2);
            let step = self.any(&[1, 3, 1 << 16, 1 << 40]).unwrap_or(1);
            let generation = truth.generation.saturating_add(step).min(1 << 62);
            self.memory.say(id.as_str(), generation);
            let instance = if self.one_in(4) { self.instance() } else { truth.instance };
            lies.push(Said { status, generation, instance, accusers: Vec::new(), ..truth });
        }
        lies
    }

    /// The claim that a node wants, as an accusation of which this liar is the author; or the claim
    /// of another liar, if that one has the id.
    fn confirmed(&mut self, mut wants: Reader<'_>, own: u32, processes: &[Process]) -> Vec<Said> {
        // The first want, after the boolean `more`.
        let Some(wanted) = wants.varint().and_then(|_| wants.u32()) else { return Vec::new() };
        let rival = self.faces.iter().find(|(_, face)| face.hash == wanted);
        if let Some((&address, rival)) = rival {
            return vec![rival.claim(address)];
        }
        let of = |process: &&Process| process.id.id_hash().0 == wanted;
        let Some(process) = processes.iter().find(of) else { return Vec::new() };
        let truth = self.truth(process.id.as_str(), process.address);
        let (status, accusers) = (status::SUSPECTED, vec![own]);
        let generation = truth.generation.saturating_add(u64::from(truth.status == status::ALIVE));
        vec![Said { status, generation, accusers, ..truth }]
    }
}
