//! Looks up the addresses of host names, on threads that nothing waits for.
//!
//! The system's own lookup blocks its thread, for many seconds if the name server is silent. A
//! runtime that is dropped waits for its blocking threads, and so for a lookup whose caller is
//! gone. These threads belong to no runtime: a program can end while they are busy.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The most lookups of a process at a time, those included whose caller has given up.
const MAX_LOOKUPS: usize = 8;

/// The longest that a lookup is waited for, its turn included.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

type Found = io::Result<Vec<SocketAddr>>;

/// The addresses of `host`, a name or an address, with this port.
///
/// # Errors
/// Those of the system, and [`io::ErrorKind::TimedOut`] after [`LOOKUP_TIMEOUT`].
pub(crate) async fn lookup(host: &str, port: u16) -> Found {
    static TURNS: std::sync::LazyLock<Arc<Semaphore>> =
        std::sync::LazyLock::new(|| Arc::new(Semaphore::new(MAX_LOOKUPS)));
    let host = host.to_owned();
    let lookup = move || Ok((host.as_str(), port).to_socket_addrs()?.collect());
    tokio::time::timeout(LOOKUP_TIMEOUT, on_thread(&TURNS, lookup)).await.unwrap_or_else(|_| {
        let rule = format!("the system has not looked it up within {LOOKUP_TIMEOUT:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, rule))
    })
}

/// Runs `work` on a thread of its own, once there is a turn. The turn lasts as long as the work,
/// even if this future is dropped meanwhile.
async fn on_thread(turns: &Arc<Semaphore>, work: impl FnOnce() -> Found + Send + 'static) -> Found {
    let turn: OwnedSemaphorePermit =
        turns.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (answer, answered) = oneshot::channel();
    std::thread::Builder::new().name("tgossip-lookup".to_owned()).spawn(move || {
        let found = work();
        drop(turn);
        // The caller may have given up, which is no error.
        let _ = answer.send(found);
    })?;
    answered.await.unwrap_or_else(|_| Err(io::Error::other("the lookup has panicked")))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Longer than anything takes; only a failing test waits for it.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A lookup as by a silent name server: it begins, and goes on until the sender is dropped.
    fn silent(begun: Sender<()>) -> (Sender<()>, impl FnOnce() -> Found + Send + 'static) {
        let (end, ends): (Sender<()>, Receiver<()>) = channel();
        let work = move || {
            begun.send(()).unwrap();
            let _ = ends.recv();
            Ok(Vec::new())
        };
        (end, work)
    }

    #[test]
    fn a_runtime_is_dropped_while_a_lookup_goes_on() {
        let (dropped, is_dropped) = channel();
        let (begun, begins) = channel();
        let (end, work) = silent(begun);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            runtime.spawn(async move { on_thread(&Arc::new(Semaphore::new(1)), work).await });
            // It begins before the runtime ends.
            runtime.block_on(async {
                while begins.try_recv().is_err() {
                    tokio::task::yield_now().await;
                }
            });
            drop(runtime);
            dropped.send(()).unwrap();
        });
        let waited = is_dropped.recv_timeout(PATIENCE);
        drop(end);
        assert_eq!(waited, Ok(()), "the runtime waits for the lookup");
    }

    #[tokio::test]
    async fn lookups_that_nobody_waits_for_keep_their_turn_and_give_it_back() {
        let turns = Arc::new(Semaphore::new(1));
        let (begun, begins) = channel();
        let (end, work) = silent(begun);
        let first = tokio::spawn({
            let turns = turns.clone();
            async move { on_thread(&turns, work).await }
        });
        while begins.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert_eq!(turns.available_permits(), 0, "no more threads than turns");
        drop(end);
        let next = on_thread(&turns, || Ok(vec![SocketAddr::from(([127, 0, 0, 1], 1))]));
        assert_eq!(tokio::time::timeout(PATIENCE, next).await.unwrap().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_panic_and_an_address_are_answered() {
        let turns = Arc::new(Semaphore::new(1));
        let failed = on_thread(&turns, || panic!("a lookup panics in this test")).await;
        assert!(failed.unwrap_err().to_string().contains("panicked"));
        assert_eq!(turns.available_permits(), 1);
        let found = lookup("127.0.0.1", 7946).await.unwrap();
        assert_eq!(found, [SocketAddr::from(([127, 0, 0, 1], 7946))]);
    }
}
