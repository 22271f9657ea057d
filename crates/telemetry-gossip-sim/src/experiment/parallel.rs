//! Many runs side by side: results come in the order of their settings, whoever is done first.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::Runs;

/// Runs `run` on every item, on all cores, and says after each how many are done.
pub(super) fn map<T: Sync, R: Send>(
    items: &[T],
    run: impl Fn(&T) -> R + Sync,
    mut progress: impl FnMut(Runs),
) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let (tell, told) = mpsc::channel();
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (tell, next, run) = (tell.clone(), &next, &run);
            scope.spawn(move || {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { return };
                    if tell.send((place, run(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        for (done, (place, result)) in told.into_iter().enumerate() {
            results[place] = Some(result);
            progress(Runs { done: done + 1, of: items.len() });
        }
    });
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items_and_each_is_told_of() {
        let items: Vec<u64> = (0..100).collect();
        let mut told = Vec::new();
        let results = map(&items, |item| item * item, |runs| told.push(runs));
        assert_eq!(results, items.iter().map(|item| item * item).collect::<Vec<_>>());
        assert_eq!(told.last(), Some(&Runs { done: 100, of: 100 }));
        assert!(told.iter().map(|runs| runs.done).eq(1..=100));
    }
}
