//! Many runs side by side: results come in the order of what was asked for, whoever is done first.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

/// As many threads as there are cores.
pub(crate) fn all_cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Runs `run` for 0, 1, ... below `count` on so many threads, and hands each result on, in this
/// order, until `take` has enough. Whatever is under way then is waited for and dropped, so that
/// the results taken do not depend on the threads.
pub(crate) fn in_order<R: Send>(
    count: u64,
    threads: NonZeroUsize,
    run: impl Fn(u64) -> R + Sync,
    mut take: impl FnMut(R) -> ControlFlow<()>,
) {
    let (next, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.get() {
            let (tell, next, enough, run) = (tell.clone(), &next, &enough, &run);
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= count || tell.send((place, run(place))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        // Those that were quicker than the one before them.
        let (mut early, mut due) = (BTreeMap::new(), 0);
        for (place, result) in told {
            early.insert(place, result);
            while let Some(result) = early.remove(&due) {
                due += 1;
                if take(result).is_break() {
                    enough.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(threads: usize, most: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        let square = |place: u64| place * place;
        in_order(100, NonZeroUsize::new(threads).unwrap(), square, |result| {
            taken.push(result);
            if taken.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        taken
    }

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        let all: Vec<u64> = (0..100).map(|place| place * place).collect();
        assert_eq!([taken(1, usize::MAX), taken(7, usize::MAX)], [all.clone(), all]);
    }

    #[test]
    fn who_has_enough_gets_no_more() {
        assert_eq!([taken(1, 3), taken(7, 3)], [[0, 1, 4], [0, 1, 4]]);
    }
}
