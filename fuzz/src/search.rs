//! A search for inputs that do what no other one does, from a fixed seed and without the counters
//! of a fuzzer, so that seeds can be made again after a change of the types that they stand for.
//!
//! An input is a list of pieces. A new one is the change of an earlier one that did something new:
//! pieces are added, removed, replaced, repeated, or taken from another one.

use std::collections::BTreeSet;

/// What an input does: each trait is a name.
pub type Traits = BTreeSet<String>;

/// The pieces of an input.
pub type Pieces = Vec<Vec<u8>>;

/// An input and what it does.
type Found = (Pieces, Traits);

/// Tries this many inputs of up to `most` pieces, and returns a few that do together what all of
/// them do, the shortest first. `piece` makes a random piece for a position.
///
/// # Panics
/// If `traits` does, after a line with the input.
pub fn search(
    tries: usize,
    most: usize,
    piece: impl Fn(&mut Random, usize) -> Vec<u8>,
    traits: impl Fn(&[u8]) -> Traits,
) -> Vec<Vec<u8>> {
    let traits = |input: &Pieces| {
        let tried = Tried(input.concat());
        let found = traits(&tried.0);
        core::mem::forget(tried);
        found
    };
    let mut random = Random(0);
    let mut pool: Vec<Found> = Vec::new();
    let mut seen = Traits::new();
    for _ in 0..tries {
        let mut input = match pool.len() {
            0 => vec![piece(&mut random, 0)],
            known => pool[random.below(known)].0.clone(),
        };
        for _ in 0..=random.below(6) {
            random.change(&mut input, &pool, &piece);
        }
        input.truncate(most);
        let found = traits(&input);
        if !found.is_subset(&seen) {
            seen.extend(found.iter().cloned());
            pool.push((input, found));
        }
    }
    let shortest = cover(pool).into_iter().map(|(input, keep)| shorten(input, &keep, &traits));
    let mut chosen: Vec<Vec<u8>> = shortest.map(|pieces| pieces.concat()).collect();
    chosen.sort_by_key(|input| (input.len(), input.clone()));
    chosen
}

/// Chooses inputs that have all traits together: at each step the one with the most new ones.
/// Returns each with the traits for which it was chosen.
fn cover(mut pool: Vec<Found>) -> Vec<Found> {
    let mut chosen = Vec::new();
    while let Some(at) = (0..pool.len()).max_by_key(|&at| pool[at].1.len()) {
        let (input, gained) = pool.swap_remove(at);
        for (_, left) in &mut pool {
            left.retain(|name| !gained.contains(name));
        }
        pool.retain(|(_, left)| !left.is_empty());
        chosen.push((input, gained));
    }
    chosen
}

/// Removes the pieces without which an input keeps these traits. The first one stays.
fn shorten(mut input: Pieces, keep: &Traits, traits: &impl Fn(&Pieces) -> Traits) -> Pieces {
    for at in (1..input.len()).rev() {
        let mut shorter = input.clone();
        shorter.remove(at);
        if keep.is_subset(&traits(&shorter)) {
            input = shorter;
        }
    }
    input
}

/// Prints the input if the code under test panics.
struct Tried(Vec<u8>);

impl Drop for Tried {
    fn drop(&mut self) {
        eprintln!("the input: {:02x?}", self.0);
    }
}

/// Numbers without a pattern: `SplitMix64`.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Returns the next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// Returns a number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % (end as u64).max(1)).unwrap_or(0)
    }

    /// Returns so many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.bits().to_be_bytes()[0]).collect()
    }

    fn change(
        &mut self,
        input: &mut Pieces,
        pool: &[Found],
        piece: &impl Fn(&mut Self, usize) -> Vec<u8>,
    ) {
        let at = self.below(input.len());
        // The first piece has a place of its own.
        let later = at.max(1).min(input.len());
        match self.below(8) {
            0 => {
                let byte = self.below(input[at].len());
                if let Some(byte) = input[at].get_mut(byte) {
                    *byte = self.bits().to_be_bytes()[0];
                }
            }
            1 => input[at] = piece(self, at),
            2 if input.len() > 1 => drop(input.remove(later)),
            3 if input.len() > 1 => {
                let again = input[later].clone();
                input.push(again);
            }
            4 if !pool.is_empty() => {
                let other = &pool[self.below(pool.len())].0;
                let from = self.below(other.len()).max(1).min(other.len());
                input.truncate(later);
                input.extend_from_slice(&other[from..]);
            }
            5 => input.insert(later, piece(self, later)),
            _ => input.push(piece(self, input.len())),
        }
    }
}
