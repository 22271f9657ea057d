//! What one datagram may cost: the bounds that tests, benchmarks and fuzz targets hold a node to,
//! and a counter of the work that no [`Stats`](crate::Stats) tells.
//!
//! Nothing here decides anything. The limits that a node keeps by itself stand where they are
//! applied; these bounds follow from them.

/// The rows that may be visited for a datagram beyond those that its bytes and those of the answers
/// pay for: most of them are added up, to find in which part of a large table two nodes differ.
pub const MAX_ROWS: u64 = 7_168;

/// The bytes that pay for one row: a row of a version list takes as many.
pub const BYTES_PER_ROW: u64 = 9;

/// The most steps for telemetry: entries of logs looked at, and bytes moved by 256. Each of the
/// logs that a datagram adds to is read for each branch of the trees.
pub const MAX_STEPS: u64 = 400_000;

/// Returns the most rows that are visited for a datagram of this length, with answers of this
/// length.
pub const fn max_rows(received: u64, sent: u64) -> u64 {
    MAX_ROWS + (received + sent) / BYTES_PER_ROW
}

/// Returns the most bytes that are sent at once because of a datagram of this length, to all
/// addresses together. Telemetry goes to a partner per branch of the trees, and a reply takes one
/// datagram.
pub const fn max_sent(received: u64, mtu: u64) -> u64 {
    3 * received + 16 * mtu
}

/// Returns the most bytes by which the heap grows because of a datagram of this length, at a table
/// of so many members. A list that is full takes room for a part of its length more.
pub const fn max_growth(received: u64, members: u64) -> u64 {
    16 * received + 65_536 + 32 * members
}

/// Counts steps, for tests and fuzz targets: a program that runs a node has no such counter, and
/// nothing reads it to decide.
#[cfg(any(test, feature = "check-invariants"))]
mod steps {
    extern crate std;

    use core::cell::Cell;

    // A counter of the thread and not of the node: the code that reads a log has borrowed it from
    // the node, so it cannot raise a counter there, and a `Cell` in each log would keep nodes from
    // being shared between threads. Tests run side by side, so one counter for all would not do.
    // Without tests and without the feature `check-invariants` the core has no such counter.
    std::thread_local!(static STEPS: Cell<u64> = const { Cell::new(0) });

    pub(crate) fn add(steps: usize) {
        STEPS.with(|count| count.set(count.get().saturating_add(steps as u64)));
    }

    /// Returns the steps for telemetry that `f` takes on this thread, and its result.
    pub fn steps_of<T>(f: impl FnOnce() -> T) -> (u64, T) {
        let before = STEPS.with(Cell::get);
        let result = f();
        (STEPS.with(Cell::get) - before, result)
    }
}

#[cfg(any(test, feature = "check-invariants"))]
pub(crate) use steps::add;
#[cfg(any(test, feature = "check-invariants"))]
pub use steps::steps_of;
