//! The counters of a node, and the state of its own health.

use core::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::time::Instant;

/// What happened since the node was created. All counters only grow.
///
/// Counters of several nodes add up with `+=`. Later versions may add counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams handed to the host to be sent.
    pub datagrams_sent: u64,
    /// Their payload bytes.
    pub bytes_sent: u64,
    /// Datagrams accepted.
    pub datagrams_received: u64,
    /// Their payload bytes.
    pub bytes_received: u64,
    /// Datagrams refused because they are malformed, truncated, too long or break a rule.
    pub datagrams_malformed: u64,
    /// Datagrams refused because of their protocol version.
    pub datagrams_other_version: u64,
    /// Datagrams refused because they have the label of another cluster.
    pub datagrams_other_label: u64,
    /// Datagrams ignored because the node has left or lost its id.
    pub datagrams_while_inactive: u64,
    /// Datagrams ignored because this node sent them itself: an address of the host, or one that is
    /// shared, led back to it.
    pub datagrams_echoed: u64,
    /// Claims, ping-reqs and datagrams refused because of an address at which this node believes no
    /// member to be; see [`Input::AllowNetworks`](crate::Input::AllowNetworks).
    pub addresses_refused: u64,
    /// Frames skipped because this version does not know their kind.
    pub frames_unknown: u64,
    /// Frames ignored because they go beyond what one datagram may ask for: it may ask one question
    /// and hold a few frames of claims.
    pub frames_beyond_limit: u64,
    /// Rows of the table visited to compare it with version lists, to serve wants, and to write
    /// pages and version lists: the work for others that grows with the table.
    pub rows_visited: u64,
    /// Claims refused because their generation is too far ahead. Their members are asked.
    pub claims_implausible: u64,
    /// Claims that waited until their member had answered: about unknown members, and about other
    /// instances or addresses than the ones held.
    pub claims_waited: u64,
    /// Claims refused because this node had not asked for them, and their member cannot be asked.
    pub claims_unasked: u64,
    /// Claims refused because the table is full.
    pub claims_table_full: u64,
    /// Claims refused because the cluster config does not name the member.
    pub claims_not_in_config: u64,
    /// Datagrams of nodes that the cluster config does not name: at most a ping of theirs is
    /// answered.
    pub datagrams_not_in_config: u64,
    /// Telemetry ignored because it belongs to another instance, follows a gap or exceeds a limit.
    pub telemetry_ignored: u64,
    /// Updates of telemetry that waited for a partner and were merged with a newer one of their
    /// owner. Values that were replaced meanwhile are never sent.
    pub telemetry_merged: u64,
    /// Datagrams of telemetry that were not acknowledged in time, so that their contents were sent
    /// again.
    pub telemetry_resent: u64,
    /// Probes started.
    pub probes: u64,
    /// Probes that were answered only through a helper.
    pub probes_indirect: u64,
    /// Probes that failed.
    pub probes_failed: u64,
    /// Acks that match no request: late, forged, or from a member that has restarted.
    pub acks_unmatched: u64,
    /// Pings sent on behalf of others.
    pub ping_reqs: u64,
    /// Ping requests of others that were dropped because too many were under way.
    pub ping_reqs_shed: u64,
    /// Datagrams dropped because the outbox was full.
    pub outbox_shed: u64,
    /// Events dropped because the host did not poll them.
    pub events_shed: u64,
    /// Accusations that this node refuted.
    pub refutations: u64,
    /// Sync sessions that this node started.
    pub syncs: u64,
    /// Sync sessions that got no answer.
    pub syncs_failed: u64,
    /// Roll calls started: checks that at least half of the members can be reached.
    pub roll_calls: u64,
    /// Times that this node found that it had been paused.
    pub pauses: u64,
}

impl Stats {
    /// Whether no counter comes near to its end, as none does that counts one by one.
    pub(crate) fn is_sound(&self) -> bool {
        /// A counter that was restored has this much room left.
        const MOST: u64 = 1 << 63;
        let Self {
            datagrams_sent,
            bytes_sent,
            datagrams_received,
            bytes_received,
            datagrams_malformed,
            datagrams_other_version,
            datagrams_other_label,
            datagrams_while_inactive,
            datagrams_echoed,
            addresses_refused,
            frames_unknown,
            frames_beyond_limit,
            rows_visited,
            claims_implausible,
            claims_waited,
            claims_unasked,
            claims_table_full,
            claims_not_in_config,
            datagrams_not_in_config,
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
        } = *self;
        [
            datagrams_sent,
            bytes_sent,
            datagrams_received,
            bytes_received,
            datagrams_malformed,
            datagrams_other_version,
            datagrams_other_label,
            datagrams_while_inactive,
            datagrams_echoed,
            addresses_refused,
            frames_unknown,
            frames_beyond_limit,
            rows_visited,
            claims_implausible,
            claims_waited,
            claims_unasked,
            claims_table_full,
            claims_not_in_config,
            datagrams_not_in_config,
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
        ]
        .into_iter()
        .all(|count: u64| count <= MOST)
    }
}

impl AddAssign for Stats {
    /// The counters of several nodes, or of several instances of one.
    fn add_assign(&mut self, other: Self) {
        // Every field by name, so that a new counter does not compile until it is added here.
        let Self {
            datagrams_sent,
            bytes_sent,
            datagrams_received,
            bytes_received,
            datagrams_malformed,
            datagrams_other_version,
            datagrams_other_label,
            datagrams_while_inactive,
            datagrams_echoed,
            addresses_refused,
            frames_unknown,
            frames_beyond_limit,
            rows_visited,
            claims_implausible,
            claims_waited,
            claims_unasked,
            claims_table_full,
            claims_not_in_config,
            datagrams_not_in_config,
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
        self.datagrams_echoed += datagrams_echoed;
        self.addresses_refused += addresses_refused;
        self.frames_unknown += frames_unknown;
        self.frames_beyond_limit += frames_beyond_limit;
        self.rows_visited += rows_visited;
        self.claims_implausible += claims_implausible;
        self.claims_waited += claims_waited;
        self.claims_unasked += claims_unasked;
        self.claims_table_full += claims_table_full;
        self.claims_not_in_config += claims_not_in_config;
        self.datagrams_not_in_config += datagrams_not_in_config;
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

/// The state of the node itself, and the number of members in each status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// The local health multiplier of Lifeguard, from 0 (well) to 8. The node's probe interval and
    /// timeouts are stretched by one more than this.
    pub local_health: u8,
    /// Since when the node has been isolated: unable to reach more than half of the members.
    pub isolated_since: Option<Instant>,
    /// The number of members that are Alive, this node included.
    pub alive: u32,
    /// The number of members that are Suspected.
    pub suspected: u32,
    /// The number of members that are Dead and not forgotten yet.
    pub dead: u32,
    /// The number of members that have left in good order and are not forgotten yet.
    pub left: u32,
    /// The version of the cluster config in force, if there is one.
    pub cluster_config: Option<u64>,
    /// Whether a join of this node has completed: a seed has answered it.
    pub joined: bool,
    /// Whether the node takes part in the cluster: false once it has left or lost its id.
    pub active: bool,
}
