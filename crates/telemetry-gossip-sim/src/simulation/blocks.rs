//! Blocked processes: anomalies as the authors of Lifeguard made them (Dadgar, Phillips, Currey
//! 2018), who let members "block before send and after receive".
//!
//! A paused process is not called at all and finds afterwards that it slept. A blocked one is: its
//! timers go on, its probes get no answers, and it cannot tell that from the death of all others.

use super::Simulation;
use super::sealing::Outgoing;

impl Simulation {
    /// Lets nothing pass a process's socket until it is unblocked: what it sends and what arrives
    /// waits, as much as the receive queue holds.
    pub fn block(&mut self, index: usize) {
        if let Some(process) =
            self.processes.get_mut(index).filter(|process| process.node.is_some())
        {
            process.blocked = true;
        }
    }

    /// What the process has sent goes out, then what arrived is taken in, each in its order.
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

    /// What is in the buffer waits until the sender is unblocked.
    pub(super) fn hold(&mut self, index: usize, sent: Outgoing) {
        let most = self.fabric.conditions().receive_queue as usize;
        let process = &mut self.processes[index];
        if process.held.len() < most {
            process.held.push_back((sent.to, sent.kind, self.buffer[..sent.len].to_vec()));
        } else {
            self.fabric.traffic.overflowed += 1;
        }
    }

    /// A process takes in what has arrived, unless it is paused or blocked.
    pub(super) fn empty_inbox(&mut self, index: usize) {
        while self.processes[index].listens()
            && let Some(packet) = self.processes[index].inbox.pop_front()
        {
            self.take_in(index, packet);
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
        let mut cluster = Cluster::new(Settings { nodes: 8, config, seed, ..Settings::default() });
        cluster.start_joined();
        cluster.run_for(Duration::from_secs(5));
        cluster
    }

    fn swim() -> Config {
        let suspicion = SuspicionTimeout::Scaled { multiplier_percent: 200, max_multiplier: 1 };
        Config::default().detector(DetectorFeatures::SWIM).suspicion(suspicion)
    }

    #[test]
    fn a_blocked_process_goes_on_but_nothing_leaves_or_reaches_it() {
        let mut cluster = cluster(swim(), 1);
        // What was on its way when the block began has left.
        cluster.block(3);
        cluster.run_for(Duration::from_millis(100));
        let (received, probes) = (cluster.usage(3).received, cluster.node(3).stats().probes);
        let sent = cluster.usage(3).sent;
        // Long enough for somebody to ping it, whoever chooses whom.
        cluster.run_for(Duration::from_secs(5));
        assert_eq!(cluster.simulation().condition(3), Some(Condition::Blocked));
        assert_eq!(cluster.usage(3).received, received, "what arrives waits");
        assert!(cluster.node(3).stats().probes > probes, "its timers go on");
        assert!(cluster.usage(3).sent > sent, "it speaks");
        cluster.unblock(3);
        assert!(cluster.usage(3).received > received, "what waited is taken in at once");
        assert_eq!(cluster.simulation().condition(3), Some(Condition::Running));
    }

    #[test]
    fn what_waits_longer_than_the_queue_is_lost() {
        let mut settings = Settings { nodes: 2, ..Settings::default() };
        settings.network.receive_queue = 1;
        let mut cluster = Cluster::new(settings);
        cluster.start_joined();
        cluster.block(1);
        cluster.run_for(Duration::from_secs(10));
        assert!(cluster.simulation().traffic().overflowed > 0);
        cluster.unblock(1);
    }

    #[test]
    fn to_declare_a_blocked_member_dead_is_no_false_alarm_but_what_it_says_of_others_is() {
        let mut cluster = cluster(swim(), 1);
        cluster.block(3);
        cluster.run_for(Duration::from_secs(20));
        assert!(cluster.all_hold((0..8).filter(|&node| node != 3), 3, Status::Dead));
        let dead_at_3 =
            cluster.events(3).filter(|(_, event)| matches!(event, Event::Dead { .. })).count();
        assert!(dead_at_3 > 0, "plain SWIM takes its own silence for the others' death");
        assert_eq!(cluster.simulation().false_deads(), dead_at_3 as u64);
        cluster.unblock(3);
        cluster.run_for(Duration::from_secs(60));
        assert!(cluster.views_complete_and_alive());
    }

    #[test]
    fn a_crash_ends_a_block_and_what_waited_is_gone() {
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
