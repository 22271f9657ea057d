//! A counting allocator for one thread. With several threads the counts would be too low.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

/// Returns the number of allocations and reallocations so far.
pub(crate) fn calls() -> u64 {
    CALLS.load(Relaxed)
}

/// Returns the bytes allocated now.
pub(crate) fn held() -> u64 {
    HELD.load(Relaxed)
}

/// Returns the most bytes that were allocated at a time.
pub(crate) fn peak() -> u64 {
    PEAK.load(Relaxed)
}

fn took(bytes: usize) {
    // An atomic addition would slow down the measured code.
    CALLS.store(calls() + 1, Relaxed);
    HELD.store(held() + bytes as u64, Relaxed);
    PEAK.store(peak().max(held()), Relaxed);
}

fn gave(bytes: usize) {
    HELD.store(held().wrapping_sub(bytes as u64), Relaxed);
}

// SAFETY: each call is passed unchanged to the allocator of the system.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        gave(layout.size());
        took(size);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
