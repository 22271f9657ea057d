//! An allocator that counts. For one thread: counts of several would get lost, memory would not.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

/// Allocations and reallocations so far.
pub(crate) fn calls() -> u64 {
    CALLS.load(Relaxed)
}

/// Bytes held now.
pub(crate) fn held() -> u64 {
    HELD.load(Relaxed)
}

/// The most bytes that were held.
pub(crate) fn peak() -> u64 {
    PEAK.load(Relaxed)
}

fn took(bytes: usize) {
    // No atomic addition: it would slow down who allocates.
    CALLS.store(calls() + 1, Relaxed);
    HELD.store(held() + bytes as u64, Relaxed);
    PEAK.store(peak().max(held()), Relaxed);
}

fn gave(bytes: usize) {
    HELD.store(held().wrapping_sub(bytes as u64), Relaxed);
}

// SAFETY: all is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: as the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        gave(layout.size());
        took(size);
        // SAFETY: as the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
