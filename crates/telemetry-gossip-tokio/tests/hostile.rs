//! Transports of the host that misbehave: no node hangs, and no member is accused that takes part.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Gate, PATIENCE, Wrapped, agree, quick, status, until, until_so, within};
use telemetry_gossip_core::{Config, Event, Status};
use telemetry_gossip_tokio::{
    Agent, AgentError, Events, MemoryNetwork, MemoryTransport, Options, RecvError, Transport,
};

/// What a transport does instead of sending a datagram once, and what may follow from it.
struct Kind {
    name: &'static str,
    send: fn(&Hostile, &[u8]) -> io::Result<()>,
    /// Whether the datagrams arrive, so that no member may even be suspected.
    arrives: bool,
    /// Whether its node can go on.
    runs: bool,
}

/// A datagram on its way through a hostile transport.
struct Hostile<'a> {
    inner: &'a dyn Transport,
    to: telemetry_gossip_tokio::PeerAddr,
    /// The datagrams before this one.
    before: u64,
}

impl Hostile<'_> {
    fn pass(&self, bytes: &[u8]) -> io::Result<()> {
        self.inner.send(self.to, bytes)
    }
}

const KINDS: [Kind; 9] = [
    Kind {
        name: "each send fails",
        send: |_, _| Err(io::ErrorKind::Other.into()),
        arrives: false,
        runs: true,
    },
    Kind {
        name: "each fourth send fails",
        send: |it, bytes| {
            if it.before % 4 == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { it.pass(bytes) }
        },
        arrives: false,
        runs: true,
    },
    Kind {
        name: "each send fails after it was sent",
        send: |it, bytes| it.pass(bytes).and(Err(io::ErrorKind::Other.into())),
        arrives: true,
        runs: true,
    },
    Kind {
        name: "a send panics",
        send: |it, bytes| {
            assert!(it.before < 20, "a transport panics in this test");
            it.pass(bytes)
        },
        arrives: false,
        runs: false,
    },
    Kind {
        name: "the node hears what it sends",
        send: |it, bytes| it.pass(bytes).and(it.inner.send(it.inner.local(), bytes)),
        arrives: true,
        runs: true,
    },
    Kind {
        name: "datagrams arrive five times",
        send: |it, bytes| (0..5).try_for_each(|_| it.pass(bytes)),
        arrives: true,
        runs: true,
    },
    Kind {
        name: "datagrams longer than any arrive beside the others",
        send: |it, bytes| {
            let long: Vec<u8> = bytes.iter().copied().cycle().take(70_000).collect();
            it.inner.send(it.inner.local(), &long)?;
            it.pass(&long).and(it.pass(bytes))
        },
        arrives: true,
        runs: true,
    },
    Kind {
        name: "datagrams arrive in halves",
        send: |it, bytes| {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            it.pass(first).and(it.pass(second)).and(it.pass(&[]))
        },
        arrives: false,
        runs: true,
    },
    Kind {
        name: "the transport has ended",
        send: |it, bytes| {
            if it.before == 20 {
                it.inner.close();
            }
            it.pass(bytes)
        },
        arrives: false,
        runs: false,
    },
];

fn spawn(id: &str, config: Config, transport: Arc<dyn Transport>) -> Agent {
    let id = id.parse().unwrap();
    let options = Options::new(id).config(config).seeds(["b", "c"]).rng_seed(Some([7; 32]));
    Agent::spawn(options, transport).unwrap()
}

/// The members that were suspected, and those that were declared dead, by their ids.
fn accused(events: &mut Events) -> (Vec<String>, Vec<String>) {
    let (mut suspected, mut dead) = (Vec::new(), Vec::new());
    for event in heard(events) {
        match event {
            Event::Suspected { id, .. } => suspected.push(id.to_string()),
            Event::Dead { id, .. } => dead.push(id.to_string()),
            _ => {}
        }
    }
    (suspected, dead)
}

/// The events that wait for a reader.
fn heard(events: &mut Events) -> Vec<telemetry_gossip_tokio::Event> {
    let mut all = Vec::new();
    loop {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(events.recv()).poll(&mut context) {
            std::task::Poll::Ready(Ok(event)) => all.push(event),
            std::task::Poll::Ready(Err(RecvError::Lagged(missed))) => panic!("{missed} missed"),
            std::task::Poll::Ready(Err(RecvError::Closed)) | std::task::Poll::Pending => {
                return all;
            }
        }
    }
}

/// Has `a` send by `kind` among two others for two minutes.
async fn two_minutes_with(kind: &Kind) {
    let name = kind.name;
    let network = MemoryNetwork::new(1);
    let plug = |id: &str| -> Arc<MemoryTransport> { network.transport(id).unwrap() };
    let transport = Wrapped::over(plug("a"));
    let agents = [
        spawn("a", quick(), transport.clone()),
        spawn("b", quick(), plug("b")),
        spawn("c", quick(), plug("c")),
    ];
    agree(&agents).await;
    let [a, b, c] = &agents;
    let mut events = [a, b, c].map(Agent::events);
    let (send, sent) = (kind.send, AtomicU64::new(0));
    transport.on_send(move |inner, to, bytes| {
        let before = sent.fetch_add(1, Ordering::Relaxed);
        send(&Hostile { inner, to, before }, bytes)
    });
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let answered = within(name, a.health()).await;
        assert!(answered.is_ok() || !kind.runs, "{name}: {answered:?}");
        b.publish("load", b"1").await.unwrap();
        // It may well fail, but not hang.
        let published = within(name, a.publish("load", b"1")).await;
        assert!(published.is_ok() || published == Err(AgentError::Closed), "{published:?}");
    }
    assert_eq!(a.is_running(), kind.runs, "{name}");
    let told = events.each_mut().map(accused);
    for (who, (suspected, dead)) in ["a", "b", "c"].into_iter().zip(&told) {
        let honest = |id: &String| id == "b" || id == "c";
        assert!(
            who == "a" || !suspected.iter().chain(dead).any(honest),
            "{name}: {who} accuses a member that takes part: {suspected:?}, {dead:?}"
        );
        assert!(!kind.arrives || suspected.is_empty(), "{name}: {who} suspects {suspected:?}");
        assert!(who != "a" || dead.is_empty(), "{name}: a declares {dead:?} dead");
    }
    // And once it is over, the cluster is whole, though the node may have to be started again.
    transport.mend();
    let again = (!kind.runs).then(|| spawn("a", quick(), plug("a")));
    let a = again.as_ref().unwrap_or(a);
    agree(&[a.clone(), b.clone(), c.clone()]).await;
    for agent in [a, b, c] {
        within(name, agent.shutdown()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_misbehaves_makes_no_node_hang_and_no_member_be_accused() {
    for kind in &KINDS {
        two_minutes_with(kind).await;
    }
}

/// A send that panics ends its node, and those who wait are told; the transport is free then.
#[tokio::test(start_paused = true)]
async fn a_node_whose_transport_panics_ends_and_those_who_wait_are_told() {
    let network = MemoryNetwork::new(1);
    let transport = Wrapped::over(network.transport("a").unwrap());
    let a = spawn("a", quick(), transport.clone());
    let b = spawn("b", quick(), network.transport("b").unwrap());
    agree(&[a.clone(), b.clone()]).await;
    let (mut events, mut changes) = (a.events(), a.subscribe(""));
    transport.on_send(|_, _, _| panic!("a transport panics in this test"));
    let (left, probed) = tokio::join!(a.leave(PATIENCE), a.probe(b.id()));
    assert_eq!((left, probed.map(|_| ())), (Err(AgentError::Closed), Err(AgentError::Closed)));
    while within("the events end", events.recv()).await.is_ok() {}
    assert!(within("the changes end", changes.recv()).await.is_none());
    within("it has ended", a.shutdown()).await;
    assert!(!a.is_running() && a.view().len() == 2, "the last view stays readable");
    // Though a handle of the old one is held.
    transport.mend();
    let again = spawn("a", quick(), transport);
    agree(&[again, b]).await;
}

/// Commands wait while the task of their node is blocked, and no other node waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transport_that_blocks_keeps_no_other_node_and_comes_back() {
    let network = MemoryNetwork::new(1);
    let (gate, transport) = Gate::before(network.transport("a").unwrap());
    let a = spawn("a", quick(), transport);
    let [b, c] = ["b", "c"].map(|id| spawn(id, quick(), network.transport(id).unwrap()));
    let agents = [a, b, c];
    agree(&agents).await;
    let [a, b, c] = &agents;
    gate.set(true);
    until_so("the task is blocked", || gate.is_blocking()).await;
    // More than its queue takes, of which none is lost.
    let waiting: Vec<_> = (0..200)
        .map(|round: u32| {
            let a = a.clone();
            tokio::spawn(async move { a.publish("load", &round.to_le_bytes()).await })
        })
        .collect();
    // As it does not answer for so long, this is no wrong accusation.
    until("b finds that a does not answer", b, |b| status(b, "a") == Some(Status::Suspected)).await;
    c.publish("load", b"1").await.unwrap();
    until("others go on", b, |b| b.member("c").is_some_and(|c| c.value("load").is_some())).await;
    assert!(gate.is_blocking(), "it was blocked all the while");
    gate.set(false);
    for published in waiting {
        assert_eq!(within("it is answered", published).await.unwrap(), Ok(()));
    }
    agree(&agents).await;
}

/// Each send takes longer than a probe of this cluster should; there are few of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transport_that_is_slow_delays_its_node_and_nobody_is_declared_dead() {
    let config = || {
        quick().probe_interval(Duration::from_millis(200)).probe_timeout(Duration::from_millis(100))
    };
    let network = MemoryNetwork::new(1);
    let transport = Wrapped::over(network.transport("a").unwrap());
    transport.on_send(|inner, to, bytes| {
        // The fault itself: nothing in this test waits for it.
        std::thread::park_timeout(Duration::from_millis(10));
        inner.send(to, bytes)
    });
    let a = spawn("a", config(), transport);
    let [b, c] = ["b", "c"].map(|id| spawn(id, config(), network.transport(id).unwrap()));
    let agents = [a, b, c];
    let mut events = agents.each_ref().map(Agent::events);
    agree(&agents).await;
    let [a, b, _] = &agents;
    for round in 0..10_u8 {
        within("a probe is answered", a.probe(b.id())).await.unwrap();
        a.publish("load", &[round]).await.unwrap();
        until("it is heard", b, |b| {
            let held = b.member("a").and_then(|a| a.value("load").cloned());
            held.is_some_and(|load| load.value == [round])
        })
        .await;
    }
    for told in &mut events {
        let (_, dead) = accused(told);
        assert_eq!(dead, Vec::<String>::new());
    }
    agree(&agents).await;
}
