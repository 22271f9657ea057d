//! A node at work on a table that its host shares with others.

use super::Node;
use crate::address::Address;
use crate::id::Generation;
use crate::membership::Membership;
use crate::status::Status;

impl<A: Address> Node<A> {
    /// Lends the node another table for the time of `f`: it handles inputs and encodes datagrams on
    /// that one. This node's own row is entered first if it is missing, beyond the table's limit if
    /// need be.
    ///
    /// For hosts whose table is shared with others; the node should be in [`Mode::OnDemand`], as it
    /// cannot know what else happens to the table.
    #[doc(hidden)]
    pub fn with_table<T>(
        &mut self,
        table: &mut Membership<A>,
        f: impl FnOnce(&mut Self) -> T,
    ) -> T {
        core::mem::swap(&mut self.cx.table, table);
        let (lent, me, instance) = (self.lent, self.cx.this.slot, self.cx.this.instance);
        self.lent = true;
        match self.cx.table.find(self.cx.this.id.as_str()) {
            Some(slot) => {
                self.cx.this.slot = slot;
                self.cx.this.instance = self.cx.table.row(slot).instance;
                self.cx.table.set_me(slot);
                self.correct_me();
            }
            None => {
                self.cx.table.make_room();
                self.enter_table(Generation(0));
            }
        }
        let result = f(self);
        (self.lent, self.cx.this.slot, self.cx.this.instance) = (lent, me, instance);
        core::mem::swap(&mut self.cx.table, table);
        result
    }

    /// The host may have entered this node's row itself, without its address or in doubt.
    fn correct_me(&mut self) {
        let generation = self.cx.table.row(self.cx.this.slot).generation;
        for generation in [generation, generation.next()] {
            let held = self.cx.table.claim(self.cx.this.slot);
            if held.status != Status::Alive || held.address != Some(self.cx.this.address) {
                self.set_own_status(generation, Status::Alive);
            }
        }
    }
}
