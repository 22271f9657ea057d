//! Hosts with several addresses, and addresses that stop working.

use super::Simulation;

impl Simulation {
    /// Lets a process send from a second address from now on. It is reached at both, and states the
    /// first, as a host does that is bound to all of its addresses.
    pub fn send_elsewhere(&mut self, index: usize) {
        let next = u32::try_from(self.owners.len()).unwrap_or(u32::MAX);
        let Some(process) = self.processes.get_mut(index).filter(|it| it.second.is_none()) else {
            return;
        };
        process.second = Some(next);
        self.owners.push(u32::try_from(index).ok());
    }

    /// Lets the address that a process states lead nowhere. What it sends comes from a second
    /// address, at which it is reached. A restart at the same address does not change that.
    pub fn lose_address(&mut self, index: usize) {
        self.send_elsewhere(index);
        if let Some(process) = self.processes.get_mut(index) {
            process.is_lost = true;
        }
    }

    /// Lets the address that a process states lead to it again.
    pub fn regain_address(&mut self, index: usize) {
        if let Some(process) = self.processes.get_mut(index) {
            process.is_lost = false;
        }
    }

    /// The process to which an address leads.
    pub(super) fn owner_of(&self, address: u32) -> Option<usize> {
        let owner = self.owners.get(address as usize).copied().flatten()?;
        let index = usize::try_from(owner).ok()?;
        let process = self.processes.get(index)?;
        (!process.is_lost || process.address != address).then_some(index)
    }
}
