//! Datagrams that the transport does not send are counted by the reason, and told once.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use std::io;
use std::sync::{Arc, Mutex};

use common::{PATIENCE, agree, quick, within};
use telemetry_gossip_tokio::{
    Agent, AgentError, BoxFuture, HostStatus, MemoryNetwork, MemoryTransport, Options, PeerAddr,
    SharedSeal, Subscription, Transport,
};

/// A transport that does not send while it has an error.
#[derive(Debug)]
struct Failing {
    inner: Arc<MemoryTransport>,
    error: Mutex<Option<io::ErrorKind>>,
}

impl Failing {
    fn set(&self, error: Option<io::ErrorKind>) {
        *self.error.lock().unwrap() = error;
    }
}

impl Transport for Failing {
    fn local(&self) -> PeerAddr {
        self.inner.local()
    }

    fn send(&self, to: PeerAddr, bytes: &[u8]) -> io::Result<()> {
        match *self.error.lock().unwrap() {
            Some(error) => Err(error.into()),
            None => self.inner.send(to, bytes),
        }
    }

    fn seal(&self) -> Option<&Arc<SharedSeal>> {
        self.inner.seal()
    }

    fn subscribe(&self) -> Subscription {
        self.inner.subscribe()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<PeerAddr>>> {
        self.inner.resolve(name)
    }

    fn close(&self) {
        self.inner.close();
    }
}

#[tokio::test(start_paused = true)]
async fn datagrams_that_are_not_sent_are_counted_by_the_reason_and_told_once() {
    let network = MemoryNetwork::new(1);
    let inner = network.transport("a").unwrap();
    let failing = Arc::new(Failing { inner, error: Mutex::default() });
    let options = |id: &str| Options::new(id.parse().unwrap()).config(quick()).seeds(["a"]);
    let a = Agent::spawn(options("a"), failing.clone()).unwrap();
    let b = Agent::spawn(options("b"), network.transport("b").unwrap()).unwrap();
    let agents = [a, b];
    agree(&agents).await;
    let a = &agents[0];
    let mut told = a.host_status();
    assert_eq!(a.send_stats(), Default::default());

    failing.set(Some(io::ErrorKind::PermissionDenied));
    within("it is told", told.changed()).await.unwrap();
    let text = told.borrow_and_update().sends.clone().expect("sends fail");
    assert!(text.contains("permission denied") && text.contains("the firewall"), "{text}");
    let counted = a.send_stats();
    assert!(counted.not_permitted >= 8 && counted.unreachable == 0, "{counted:?}");

    // Another reason is counted apart, and not told again.
    failing.set(Some(io::ErrorKind::NetworkUnreachable));
    let start = tokio::time::Instant::now();
    while a.send_stats().unreachable < 20 {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(!told.has_changed().unwrap());

    failing.set(None);
    within("it is told that it works", told.changed()).await.unwrap();
    assert_eq!(*told.borrow(), HostStatus::default());
    agree(&agents).await;
}

#[tokio::test(start_paused = true)]
async fn a_leave_of_which_nothing_is_sent_is_an_error_and_one_without_others_is_none() {
    let network = MemoryNetwork::new(1);
    let inner = network.transport("a").unwrap();
    let failing = Arc::new(Failing { inner, error: Mutex::default() });
    let options = |id: &str| Options::new(id.parse().unwrap()).config(quick()).seeds(["a"]);
    let a = Agent::spawn(options("a"), failing.clone()).unwrap();
    let b = Agent::spawn(options("b"), network.transport("b").unwrap()).unwrap();
    let alone = Agent::spawn(Options::new("c".parse().unwrap()), network.transport("c").unwrap());
    agree(&[a.clone(), b.clone()]).await;
    failing.set(Some(io::ErrorKind::PermissionDenied));
    for _ in 0..2 {
        let left = within("it leaves", a.leave(PATIENCE)).await;
        assert_eq!(left, Err(AgentError::NotSent));
    }
    assert!(!a.health().await.unwrap().active, "it has left");
    within("alone", alone.unwrap().leave(PATIENCE)).await.unwrap();
    within("the other node leaves", b.leave(PATIENCE)).await.unwrap();
}
