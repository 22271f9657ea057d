//! Datagrams that the transport does not send are counted by the reason, and told once.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{PATIENCE, Wrapped, agree, quick, within};
use telemetry_gossip_tokio::{Agent, AgentError, HostStatus, MemoryNetwork, Options};

#[tokio::test(start_paused = true)]
async fn datagrams_that_are_not_sent_are_counted_by_the_reason_and_told_once() {
    let network = MemoryNetwork::new(1);
    let failing = Wrapped::over(network.transport("a").unwrap());
    let options = |id: &str| Options::new(id.parse().unwrap()).config(quick()).seeds(["a"]);
    let a = Agent::spawn(options("a"), failing.clone()).unwrap();
    let b = Agent::spawn(options("b"), network.transport("b").unwrap()).unwrap();
    let agents = [a, b];
    agree(&agents).await;
    let a = &agents[0];
    let mut told = a.host_status();
    assert_eq!(a.send_stats(), Default::default());

    failing.fail(io::ErrorKind::PermissionDenied);
    within("it is told", told.changed()).await.unwrap();
    let text = told.borrow_and_update().sends.clone().expect("sends fail");
    assert!(text.contains("permission denied") && text.contains("the firewall"), "{text}");
    let counted = a.send_stats();
    assert!(counted.not_permitted >= 8 && counted.unreachable == 0, "{counted:?}");

    // Another reason is counted apart, and not told again.
    failing.fail(io::ErrorKind::NetworkUnreachable);
    let start = tokio::time::Instant::now();
    while a.send_stats().unreachable < 20 {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(!told.has_changed().unwrap());

    failing.mend();
    within("it is told that it works", told.changed()).await.unwrap();
    assert_eq!(*told.borrow(), HostStatus::default());
    agree(&agents).await;
}

#[tokio::test(start_paused = true)]
async fn a_leave_that_no_other_member_hears_is_an_error_and_one_without_others_is_none() {
    let network = MemoryNetwork::new(1);
    let failing = Wrapped::over(network.transport("a").unwrap());
    let options = |id: &str| Options::new(id.parse().unwrap()).config(quick()).seeds(["a"]);
    let a = Agent::spawn(options("a"), failing.clone()).unwrap();
    let b = Agent::spawn(options("b"), network.transport("b").unwrap()).unwrap();
    let alone = Agent::spawn(Options::new("c".parse().unwrap()), network.transport("c").unwrap());
    agree(&[a.clone(), b.clone()]).await;
    failing.fail(io::ErrorKind::PermissionDenied);
    for _ in 0..2 {
        let left = within("it leaves", a.leave(PATIENCE)).await;
        assert_eq!(left, Err(AgentError::Unheard));
    }
    assert!(!a.health().await.unwrap().active, "it has left");
    within("alone", alone.unwrap().leave(PATIENCE)).await.unwrap();
    // It takes the first one for alive, which no longer answers.
    let left = within("the other node leaves", b.leave(PATIENCE)).await;
    assert_eq!(left, Err(AgentError::Unheard));
}

/// Others hear the node: it is not as if it were gone.
#[tokio::test(start_paused = true)]
async fn failures_between_datagrams_that_are_sent_are_counted_and_not_told() {
    let network = MemoryNetwork::new(1);
    let failing = Wrapped::over(network.transport("a").unwrap());
    let sends = AtomicU64::new(0);
    failing.on_send(move |inner, to, bytes| match sends.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => inner.send(to, bytes),
    });
    let options = |id: &str| Options::new(id.parse().unwrap()).config(quick()).seeds(["a"]);
    let a = Agent::spawn(options("a"), failing).unwrap();
    let b = Agent::spawn(options("b"), network.transport("b").unwrap()).unwrap();
    agree(&[a.clone(), b]).await;
    let told = a.host_status();
    let start = tokio::time::Instant::now();
    while a.send_stats().no_room < 50 {
        assert!(start.elapsed() < 10 * PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(!told.has_changed().unwrap(), "it is told that a node cannot send that can");
}
