//! Passes the state of a node to the checker after every input.

use std::time::Duration;

use telemetry_gossip_core::{Claim, Member, TelemetryEntry};

use super::{MERGE_PERIOD, PREDECESSOR_GRACE, Simulation, TABLES_PERIOD, find_name};
use crate::checker::{
    Location, Name, Row, Rule, merge_in_a_table, merge_is_a_lattice, order_decides_nothing,
    whole_table,
};
use crate::process::Condition;

impl Simulation {
    /// Whether a declaration of Dead by `judge` is false: a process of this name runs undisturbed,
    /// and the two can reach each other.
    pub(super) fn is_false(&self, judge: usize, name: Name) -> bool {
        self.processes.iter().enumerate().any(|(index, process)| {
            process.name == name
                && process.condition() == Condition::Running
                && !process.is_lost
                && process.takes_part()
                && process.took_over.is_none_or(|at| self.now() > at + PREDECESSOR_GRACE)
                && self.fabric.passes(judge, index)
                && self.fabric.passes(index, judge)
        })
    }

    /// Checks the node after an input: its own row, the rows that events named, and from time to
    /// time its whole table.
    pub(super) fn check(&mut self, now: Duration, index: usize) {
        let location = Location { at: now, observer: index };
        let process = &self.processes[index];
        let Some(node) = &process.node else {
            return;
        };
        let (me, active) = (node.me(), node.health().active);
        self.checker.own_row(location, process.name, row(&me), active);
        let whole = self
            .checking
            .period(self.processes.len())
            .is_some_and(|period| process.inputs.is_multiple_of(period));
        if whole {
            let mut others = 0;
            for member in node.members() {
                let Some(name) = find_name(&self.ids, &self.names, member.id()) else {
                    self.checker.unknown_member(location, member.id());
                    continue;
                };
                if name != process.name {
                    others += 1;
                    self.checker.row(location, name, Some(row(&member)));
                }
            }
            self.checker.len(location, process.name, others);
            self.checker.table_len(
                location,
                node.membership().len(),
                self.config(index).max_members as usize,
            );
            if let Err(violation) = node.check_invariants() {
                self.checker.report(location, Rule::Inner, violation.to_string());
            }
        }
        // The owner decides how long its log is.
        let most = self.configs.iter().map(|config| config.max_telemetry).max();
        let max_telemetry = most.unwrap_or(0) as usize;
        for &name in &self.changed {
            let member = node.member(self.ids[name.index()].as_str());
            if !whole {
                self.checker.row(location, name, member.as_ref().map(row));
            }
            if let Some(member) = member {
                // A packed entry takes 19 bytes besides its key and value.
                let size = |entry: TelemetryEntry<'_>| 19 + entry.key.len() + entry.value.len();
                let len = member.telemetry().map(size).sum();
                self.checker.telemetry_len(location, name, len, max_telemetry);
                for entry in member.telemetry() {
                    self.checker.payload(location, name, member.instance(), &entry);
                }
            }
        }
        if self.inputs.is_multiple_of(MERGE_PERIOD) {
            self.check_merge(location);
        }
        if self.inputs.is_multiple_of(TABLES_PERIOD) {
            self.check_tables(location);
        }
    }

    /// Checks rule S1 on the claims of three random nodes about a random one.
    fn check_merge(&mut self, location: Location) {
        let len = self.processes.len();
        let draws = &mut self.checker_draws;
        let id = self.processes[draws.below(len)].id;
        let witnesses = [draws.below(len), draws.below(len), draws.below(len)];
        let members =
            witnesses.map(|witness| self.processes[witness].node.as_ref()?.member(id.as_str()));
        let claims = members.each_ref().map(|member| member.as_ref().map(claim));
        if let [Some(a), Some(b), Some(c)] = &claims
            && let Err(detail) = merge_is_a_lattice([a, b, c], merge_in_a_table)
        {
            self.checker.report(location, Rule::S1, detail);
        }
    }

    /// Checks rule S2 on all claims of two random nodes.
    fn check_tables(&mut self, location: Location) {
        let len = self.processes.len();
        let witnesses = [self.checker_draws.below(len), self.checker_draws.below(len)];
        let members: Vec<_> = witnesses
            .iter()
            .filter_map(|&witness| self.processes[witness].node.as_ref())
            .flat_map(|node| node.members())
            .collect();
        let claims: Vec<_> = members.iter().map(claim).collect();
        if let Err(detail) = order_decides_nothing(&claims, whole_table) {
            self.checker.report(location, Rule::S2, detail);
        }
    }
}

/// The claim that a member's row makes.
fn claim<'a>(member: &'a Member<'_, u32>) -> Claim<'a, u32> {
    Claim {
        id: member.id(),
        address: member.address(),
        instance: member.instance(),
        generation: member.generation(),
        status: member.status(),
        accusers: Default::default(),
        age_secs: 0,
    }
}

pub(super) fn row(member: &Member<'_, u32>) -> Row {
    Row {
        generation: member.generation().0,
        status: member.status(),
        instance: member.instance(),
        address: member.address(),
    }
}
