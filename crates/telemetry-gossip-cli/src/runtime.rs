//! The runtime of a command.

use std::io;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// How long a thread for blocking work waits for more. It is shorter than the time between two
/// reads of a registry in a file: what a thread has allocated goes back to the system when it ends.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// A runtime on the current thread, with IO and time.
///
/// # Errors
/// The system has no room for its descriptors. Tokio itself panics if it gets some, and not all.
pub(crate) fn new() -> io::Result<Runtime> {
    drop(descriptors()?);
    Builder::new_current_thread().enable_all().thread_keep_alive(KEEP_ALIVE).build()
}

/// As many descriptors as a runtime opens (its poll, its waker, and three for signals), and some.
#[cfg(unix)]
fn descriptors() -> io::Result<Vec<(UnixStream, UnixStream)>> {
    (0..4).map(|_| UnixStream::pair()).collect()
}

#[cfg(not(unix))]
fn descriptors() -> io::Result<()> {
    Ok(())
}
