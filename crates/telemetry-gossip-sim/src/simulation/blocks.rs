//! Blocked processes: the anomaly with which the authors of Lifeguard tested (Dadgar, Phillips,
//! Currey 2018), whose members "block before send and after receive".
//!
//! A paused process gets no calls at all and later notices that it slept. A blocked process does
//! get calls: its timers run, its probes get no answers, and it cannot tell this from the death of
//! all other members.

use super::Simulation;
use super::sealing::Outgoing;

impl Simulation {
    /// Blocks the socket of a process until it is unblocked: datagrams in both directions wait, up
    /// to the size of the receive queue.
    pub fn block(&mut self, index: usize) {
        if let Some(process) =
            self.processes.get_mut(index).filter(|process| process.node.is_some())
        {
            process.blocked = true;
        }
    }

    /// Unblocks the socket of a process: first the waiting datagrams that it sent go out, then it
    /// receives those that arrived, each in their order.
    pub fn unblock(&mut self, index: usize) {
        let Some(process) = self.processes.get_mut(index).filter(|process| process.blocked) else {
            return;
        };
        process.blocked = false;
        self.prompted = true;
        while let Some((to, kind, bytes)) = self.processes[index].held.pop_front() {
            self.buffer[..bytes.len()].copy_from_slice(&bytes);
            self.post(index, Outgoing { to, kind, len: bytes.len() });
        }
        self.empty_inbox(index);
    }

    /// Keeps the datagram in the buffer until its sender is unblocked.
    pub(super) fn hold(&mut self, index: usize, sent: Outgoing) {
        let most = self.fabric.conditions().receive_queue as usize;
        let process = &mut self.processes[index];
        if process.held.len() < most {
            process.held.push_back((sent.to, sent.kind, self.buffer[..sent.len].to_vec()));
        } else {
            self.fabric.traffic.overflowed += 1;
        }
    }

    /// Passes waiting datagrams to a process, unless it is paused or blocked.
    pub(super) fn empty_inbox(&mut self, index: usize) {
        while self.processes[index].listens()
            && let Some(packet) = self.processes[index].inbox.pop_front()
        {
            self.receive(index, packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use telemetry_gossip_core::{Config, DetectorFeatures, Event, Status, SuspicionTimeout};

    use super::super::Settings;
    use crate::cluster::Cluster;
    use crate::process::Condition;

    fn cluster(config: Config, seed: u64) -> Cluster {
        let mut cluster = Cluster::new(Settings::default().nodes(8).config(config).seed(seed));
        cluster.start_joined();
        cluster.run_for(Duration::from_secs(5));
        cluster
    }

    fn swim() -> Config {
        let suspicion = SuspicionTimeout::Scaled { multiplier_percent: 200, max_multiplier: 1 };
        Config::default().detector(DetectorFeatures::SWIM).suspicion(suspicion)
    }

    #[test]
    fn the_timers_of_a_blocked_process_run_and_its_datagrams_wait() {
        let mut cluster = cluster(swim(), 1);
        // Datagrams that were in flight when the block began have arrived after 100 ms.
        cluster.block(3);
        cluster.run_for(Duration::from_millis(100));
        let (received, probes) = (cluster.usage(3).received, cluster.node(3).stats().probes);
        let sent = cluster.usage(3).sent;
        // Long enough for at least one ping of the blocked node.
        cluster.run_for(Duration::from_secs(5));
        assert_eq!(cluster.simulation().condition(3), Some(Condition::Blocked));
        assert_eq!(cluster.usage(3).received, received, "arriving datagrams wait");
        assert!(cluster.node(3).stats().probes > probes, "its timers run");
        assert!(cluster.usage(3).sent > sent, "it sends");
        cluster.unblock(3);
        assert!(cluster.usage(3).received > received, "waiting datagrams are received at once");
        assert_eq!(cluster.simulation().condition(3), Some(Condition::Running));
    }

    #[test]
    fn datagrams_beyond_the_queue_of_a_blocked_process_are_lost() {
        let mut settings = Settings::default().nodes(2);
        settings.network.receive_queue = 1;
        let mut cluster = Cluster::new(settings);
        cluster.start_joined();
        cluster.block(1);
        cluster.run_for(Duration::from_secs(10));
        assert!(cluster.simulation().traffic().overflowed > 0);
        cluster.unblock(1);
    }

    #[test]
    fn declaring_a_blocked_member_dead_is_no_false_alarm_but_its_own_declarations_are() {
        let mut cluster = cluster(swim(), 1);
        cluster.block(3);
        cluster.run_for(Duration::from_secs(20));
        assert!(cluster.all_hold((0..8).filter(|&node| node != 3), 3, Status::Dead));
        let dead_at_3 =
            cluster.events(3).filter(|(_, event)| matches!(event, Event::Dead { .. })).count();
        assert!(dead_at_3 > 0, "plain SWIM mistakes its own isolation for the death of others");
        assert_eq!(cluster.simulation().false_deads(), dead_at_3 as u64);
        cluster.unblock(3);
        cluster.run_for(Duration::from_secs(60));
        assert!(cluster.views_complete_and_alive());
    }

    #[test]
    fn a_crash_ends_a_block_and_drops_waiting_datagrams() {
        let mut cluster = cluster(Config::default(), 2);
        cluster.block(3);
        cluster.run_for(Duration::from_secs(2));
        cluster.crash(3);
        cluster.unblock(3);
        assert_eq!(cluster.simulation().condition(3), Some(Condition::Down));
        cluster.restart(3, crate::Memory::Lost);
        assert_eq!(cluster.simulation().condition(3), Some(Condition::Running));
        cluster.run_for(Duration::from_secs(30));
        assert!(cluster.views_complete_and_alive());
    }

    #[test]
    fn one_seed_gives_one_trace_with_blocks_and_pauses_together() {
        let run = || {
            let mut cluster = cluster(Config::default(), 7);
            (2..5).for_each(|node| cluster.block(node));
            cluster.run_for(Duration::from_millis(700));
            cluster.pause(2);
            (2..5).for_each(|node| cluster.unblock(node));
            cluster.run_for(Duration::from_millis(700));
            cluster.resume(2);
            cluster.run_for(Duration::from_secs(20));
            assert!(cluster.views_complete_and_alive());
            cluster.simulation().trace_hash()
        };
        assert_eq!(run(), run());
    }
}
