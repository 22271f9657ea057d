//! The runtime of a command.

use std::io;
#[cfg(unix)]
use std::os::unix::net::UnixStream;

use tokio::runtime::{Builder, Runtime};

/// A runtime on the current thread, with IO and time.
///
/// # Errors
/// The system has no room for its descriptors. Tokio itself panics if it gets some, and not all.
pub(crate) fn new() -> io::Result<Runtime> {
    drop(descriptors()?);
    Builder::new_current_thread().enable_all().build()
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
