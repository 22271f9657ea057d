//! Counters and the node's own state of health.

use core::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::time::Instant;

/// What happened since the node was created. All counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Datagrams handed out to be sent.
    pub datagrams_sent: u64,
    /// Their payload bytes.
    pub bytes_sent: u64,
    /// Datagrams accepted.
    pub datagrams_received: u64,
    /// Their payload bytes.
    pub bytes_received: u64,
    /// Datagrams refused as malformed, truncated, over-long or against a rule.
    pub datagrams_malformed: u64,
    /// Datagrams refused for another protocol version.
    pub datagrams_other_version: u64,
    /// Datagrams refused for another cluster's label.
    pub datagrams_other_label: u64,
    /// Datagrams ignored because the node has left or lost its id.
    pub datagrams_while_inactive: u64,
    /// Frames of a kind that this version does not know, skipped.
    pub frames_unknown: u64,
    /// Claims refused: implausible generation.
    pub claims_implausible: u64,
    /// Claims refused: the table is full.
    pub claims_table_full: u64,
    /// Claims refused: the cluster config does not name the member.
    pub claims_not_in_config: u64,
    /// Telemetry ignored: of another instance, with a gap before it, or over a limit.
    pub telemetry_ignored: u64,
    /// Updates of telemetry that waited for a partner until a newer one of their owner took them
    /// along: values that were replaced meanwhile are never sent.
    pub telemetry_merged: u64,
    /// Datagrams of telemetry that were not acknowledged in time, and whose contents were sent
    /// again.
    pub telemetry_resent: u64,
    /// Probes started.
    pub probes: u64,
    /// Probes answered only through another member.
    pub probes_indirect: u64,
    /// Probes that failed.
    pub probes_failed: u64,
    /// Acks that matched no question: late, forged, or from a renewed member.
    pub acks_unmatched: u64,
    /// Pings on behalf of others.
    pub ping_reqs: u64,
    /// Relay requests shed because too many were under way.
    pub ping_reqs_shed: u64,
    /// Datagrams shed because the outbox was full.
    pub outbox_shed: u64,
    /// Events shed because the host did not poll them.
    pub events_shed: u64,
    /// Times this node refuted an accusation.
    pub refutations: u64,
    /// Sync sessions this node began.
    pub syncs: u64,
    /// Sync sessions that got no answer.
    pub syncs_failed: u64,
    /// Roll calls begun: checks that at least half of the members are in touch.
    pub roll_calls: u64,
    /// Times this node found that it had been paused.
    pub pauses: u64,
}

impl AddAssign for Stats {
    /// The counters of several nodes, or of several lives of one.
    fn add_assign(&mut self, other: Self) {
        // Every field by name: one that is added does not compile before it adds up.
        let Self {
            datagrams_sent,
            bytes_sent,
            datagrams_received,
            bytes_received,
            datagrams_malformed,
            datagrams_other_version,
            datagrams_other_label,
            datagrams_while_inactive,
            frames_unknown,
            claims_implausible,
            claims_table_full,
            claims_not_in_config,
            telemetry_ignored,
            telemetry_merged,
            telemetry_resent,
            probes,
            probes_indirect,
            probes_failed,
            acks_unmatched,
            ping_reqs,
            ping_reqs_shed,
            outbox_shed,
            events_shed,
            refutations,
            syncs,
            syncs_failed,
            roll_calls,
            pauses,
        } = other;
        self.datagrams_sent += datagrams_sent;
        self.bytes_sent += bytes_sent;
        self.datagrams_received += datagrams_received;
        self.bytes_received += bytes_received;
        self.datagrams_malformed += datagrams_malformed;
        self.datagrams_other_version += datagrams_other_version;
        self.datagrams_other_label += datagrams_other_label;
        self.datagrams_while_inactive += datagrams_while_inactive;
        self.frames_unknown += frames_unknown;
        self.claims_implausible += claims_implausible;
        self.claims_table_full += claims_table_full;
        self.claims_not_in_config += claims_not_in_config;
        self.telemetry_ignored += telemetry_ignored;
        self.telemetry_merged += telemetry_merged;
        self.telemetry_resent += telemetry_resent;
        self.probes += probes;
        self.probes_indirect += probes_indirect;
        self.probes_failed += probes_failed;
        self.acks_unmatched += acks_unmatched;
        self.ping_reqs += ping_reqs;
        self.ping_reqs_shed += ping_reqs_shed;
        self.outbox_shed += outbox_shed;
        self.events_shed += events_shed;
        self.refutations += refutations;
        self.syncs += syncs;
        self.syncs_failed += syncs_failed;
        self.roll_calls += roll_calls;
        self.pauses += pauses;
    }
}

/// How the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// 0 (well) to 8: how much the node doubts itself. Its probe interval and timeouts are
    /// stretched by one more than this.
    pub local_health: u8,
    /// Since when the node has been out of touch with more than half of the members, if it is.
    pub isolated_since: Option<Instant>,
    /// Members held Alive, this node included.
    pub alive: u32,
    /// Members held Suspected.
    pub suspected: u32,
    /// Members remembered as Dead or Left.
    pub dead: u32,
    /// Whether the node still takes part: false once it has left or lost its id.
    pub active: bool,
}
