//! Runs many jobs in parallel and returns their results in order.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

/// The number of cores.
pub(crate) fn all_cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Calls `run` for 0, 1, ... below `count` on several threads, and passes the results to `take` in
/// this order, until `take` breaks. Jobs that are still running then are awaited and their results
/// dropped, so the results taken do not depend on the number of threads.
pub(crate) fn in_order<R: Send>(
    count: u64,
    threads: NonZeroUsize,
    run: impl Fn(u64) -> R + Sync,
    mut take: impl FnMut(R) -> ControlFlow<()>,
) {
    let (next, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.get() {
            let (sender, next, enough, run) = (sender.clone(), &next, &enough, &run);
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= count || sender.send((place, run(place))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        // Results that were ready before that of an earlier job.
        let (mut early, mut due) = (BTreeMap::new(), 0);
        for (place, result) in results {
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
    fn results_are_in_order_with_any_number_of_threads() {
        let all: Vec<u64> = (0..100).map(|place| place * place).collect();
        assert_eq!([taken(1, usize::MAX), taken(7, usize::MAX)], [all.clone(), all]);
    }

    #[test]
    fn no_result_is_passed_on_after_a_break() {
        assert_eq!([taken(1, 3), taken(7, 3)], [[0, 1, 4], [0, 1, 4]]);
    }
}
