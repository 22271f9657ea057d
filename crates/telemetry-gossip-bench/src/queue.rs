//! The event queue: buckets of 128 us for the next two seconds, and a heap for later events. Events
//! of the same time keep the order in which they were scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The binary logarithm of the width of a bucket in microseconds.
const WIDTH: u32 = 7;
const BUCKETS: usize = 1 << 14;
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Cell<E> {
    at: u64,
    sequence: u64,
    next: u32,
    event: Option<E>,
}

/// A queue of events in virtual time.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    cells: Vec<Cell<E>>,
    free: Vec<u32>,
    sequence: u64,
    /// The first cell of each bucket. The number of a bucket is its start divided by the width,
    /// modulo the number of buckets.
    firsts: Vec<u32>,
    /// One bit per bucket, set if it is not empty.
    filled: Vec<u64>,
    later: BinaryHeap<Reverse<(u64, u64, u32)>>,
    /// The events of the current bucket, in reverse order.
    current: Vec<(u64, u64, u32)>,
    /// The number of the current bucket before the modulo.
    bucket: u64,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self {
            cells: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            firsts: vec![NONE; BUCKETS],
            filled: vec![0; BUCKETS / 64],
            later: BinaryHeap::new(),
            current: Vec::new(),
            bucket: 0,
        }
    }

    pub(crate) fn push(&mut self, at: u64, event: E) {
        self.sequence += 1;
        let cell = Cell { at, sequence: self.sequence, next: NONE, event: Some(event) };
        let index = match self.free.pop() {
            Some(index) => {
                self.cells[index as usize] = cell;
                index
            }
            None => {
                self.cells.push(cell);
                u32::try_from(self.cells.len() - 1).unwrap_or(NONE)
            }
        };
        self.place(at, self.sequence, index);
    }

    fn place(&mut self, at: u64, sequence: u64, index: u32) {
        let bucket = at >> WIDTH;
        if bucket <= self.bucket {
            let place = self.current.partition_point(|&(a, s, _)| (a, s) > (at, sequence));
            self.current.insert(place, (at, sequence, index));
        } else if bucket - self.bucket < BUCKETS as u64 {
            let slot = bucket as usize % BUCKETS;
            self.cells[index as usize].next = self.firsts[slot];
            self.firsts[slot] = index;
            self.filled[slot / 64] |= 1 << (slot % 64);
        } else {
            self.later.push(Reverse((at, sequence, index)));
        }
    }

    /// Removes and returns the next event, unless it is after `end`.
    pub(crate) fn pop(&mut self, end: u64) -> Option<(u64, E)> {
        while self.current.is_empty() {
            self.advance(end)?;
        }
        let &(at, _, index) = self.current.last()?;
        if at > end {
            return None;
        }
        self.current.pop();
        self.free.push(index);
        self.cells[index as usize].event.take().map(|event| (at, event))
    }

    /// Makes the next bucket the current one; `None` if it begins after `end`.
    fn advance(&mut self, end: u64) -> Option<()> {
        let near = self.next_filled();
        let far = self.later.peek().map(|Reverse((at, _, _))| at >> WIDTH);
        let bucket = near.into_iter().chain(far).min()?;
        if bucket << WIDTH > end {
            return None;
        }
        self.bucket = bucket;
        while let Some(&Reverse((at, sequence, index))) = self.later.peek()
            && (at >> WIDTH).saturating_sub(bucket) < BUCKETS as u64
        {
            self.later.pop();
            self.place(at, sequence, index);
        }
        let slot = bucket as usize % BUCKETS;
        let mut index = std::mem::replace(&mut self.firsts[slot], NONE);
        self.filled[slot / 64] &= !(1 << (slot % 64));
        while let Some(cell) = self.cells.get(index as usize) {
            self.current.push((cell.at, cell.sequence, index));
            index = cell.next;
        }
        self.current.sort_unstable_by_key(|&(at, sequence, _)| Reverse((at, sequence)));
        Some(())
    }

    /// Returns the number of the next bucket after the current one that is not empty.
    fn next_filled(&self) -> Option<u64> {
        let from = (self.bucket as usize + 1) % BUCKETS;
        let words = self.filled.len();
        let first = self.filled[from / 64] & (u64::MAX << (from % 64));
        let slot = (0..=words).find_map(|step| {
            let word = (from / 64 + step) % words;
            let bits = if step == 0 { first } else { self.filled[word] };
            (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
        })?;
        Some(self.bucket + 1 + ((slot + BUCKETS - from) % BUCKETS) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_ordered_by_time_and_then_by_scheduling() {
        let mut queue = Queue::new();
        let mut state = 1_u64;
        let (mut now, mut expected, mut number) = (0, BinaryHeap::new(), 0_u64);
        let mut popped = 0;
        for round in 0..20_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if round % 3 < 2 {
                let span = [100, 5_000, 3_000_000, 40_000_000][(state >> 60) as usize % 4];
                let at = now + (state >> 20) % span;
                number += 1;
                queue.push(at, number);
                expected.push(Reverse((at, number)));
            } else if let Some(Reverse((at, number))) = expected.pop() {
                assert_eq!(queue.pop(u64::MAX), Some((at, number)));
                (now, popped) = (at, popped + 1);
            }
        }
        while let Some(Reverse(next)) = expected.pop() {
            assert_eq!(queue.pop(next.0 - 1), None);
            assert_eq!(queue.pop(u64::MAX), Some(next));
            popped += 1;
        }
        assert_eq!((queue.pop(u64::MAX), popped), (None, number));
    }
}
