//! Lent tables: a node that works on a table which its host shares with others.
//!
//! The other parts know only the slots of the node's own table, so a node works on a lent one only
//! within [`Node::with_table`].

use super::Node;
use crate::address::Address;
use crate::id::Generation;
use crate::membership::Membership;
use crate::status::Status;

impl<A: Address> Node<A> {
    /// Lends the node another table while `f` runs: inputs are handled and datagrams encoded on
    /// that one. If this node's own row is missing there, it is entered first, if need be beyond
    /// the table's limit.
    ///
    /// This is for hosts whose table is shared with others. The node should be in
    /// [`Mode::OnDemand`](crate::Mode::OnDemand), because it cannot know how others change the
    /// table.
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

    /// Corrects this node's own row, which the host may have entered without its address or with
    /// another status than Alive.
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
