//! What a node drops is told by events: at once, and then once in a while.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Wrapped, next, quick, until};
use telemetry_gossip_core::{DropReason, Dropped, Label};
use telemetry_gossip_seal::{Key, Keyring};
use telemetry_gossip_tokio::{
    Agent, Event, Events, MemoryNetwork, Options, PeerAddr, SharedSeal, Transport as _,
};

fn seal(byte: u8) -> Arc<SharedSeal> {
    SharedSeal::new(Keyring::new(Label::of(""), Key::new([byte; 32]))).unwrap()
}

fn name(id: &str) -> PeerAddr {
    PeerAddr::Name(id.parse().unwrap())
}

async fn next_dropped(events: &mut Events) -> Dropped<PeerAddr> {
    loop {
        if let Event::Dropped { dropped, .. } = events.recv().await.unwrap() {
            return dropped;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_under_another_key_is_told_once_in_ten_minutes() {
    let network = MemoryNetwork::new(1);
    let transport = network.sealed_transport("a", seal(1)).unwrap();
    let a = Agent::spawn(Options::new("a".parse().unwrap()).config(quick()), transport).unwrap();
    let mut events = a.events();
    let (eve, plain) =
        (network.sealed_transport("eve", seal(2)).unwrap(), network.transport("plain").unwrap());
    let flood = tokio::spawn(async move {
        loop {
            for _ in 0..10 {
                eve.send(name("a"), b"nonsense").unwrap();
            }
            plain.send(name("a"), b"nonsense").unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let started = tokio::time::Instant::now();
    let mut told = Vec::new();
    for _ in 0..6 {
        let dropped = next_dropped(&mut events).await;
        told.push((dropped.reason, started.elapsed().as_secs(), dropped.count, dropped.from));
    }
    flood.abort();
    let of = |id| [Some(name(id)), None, None];
    let expected = [0, 600, 1_200].map(|at| {
        let (many, few) = if at == 0 { (1, 1) } else { (6_000, 600) };
        [
            (DropReason::UnknownKey, at, many, of("eve")),
            (DropReason::NotSealed, at, few, of("plain")),
        ]
    });
    assert_eq!(told, expected.concat());
}

#[tokio::test(start_paused = true)]
async fn what_was_dropped_before_the_node_started_is_told_too() {
    let network = MemoryNetwork::new(1);
    let transport = network.sealed_transport("a", seal(1)).unwrap();
    network.transport("plain").unwrap().send(name("a"), b"nonsense").unwrap();
    let a = Agent::spawn(Options::new("a".parse().unwrap()).config(quick()), transport).unwrap();
    let dropped = next_dropped(&mut a.events()).await;
    assert_eq!((dropped.reason, dropped.from[0]), (DropReason::NotSealed, Some(name("plain"))));
}

#[tokio::test(start_paused = true)]
async fn a_member_for_which_the_table_has_no_room_is_told_with_its_address() {
    let network = MemoryNetwork::new(1);
    let spawn = |id: &str, seeds: &[&str]| {
        let config = quick().max_members(2);
        let options = Options::new(id.parse().unwrap()).config(config).seeds(seeds.iter().copied());
        Agent::spawn(options, network.transport(id).unwrap()).unwrap()
    };
    let a = spawn("a", &[]);
    let mut events = a.events();
    let b = spawn("b", &["a"]);
    until("they know each other", &a, |a| a.view().len() == 2).await;
    until("they know each other", &b, |b| b.view().len() == 2).await;
    let c = spawn("c", &["a"]);
    // At both ends: the newcomer has no room for all members either.
    let dropped = next_dropped(&mut events).await;
    assert_eq!((dropped.reason, dropped.from[0]), (DropReason::TableFull, Some(name("c"))));
    let dropped = next_dropped(&mut c.events()).await;
    assert_eq!(dropped.reason, DropReason::TableFull);
}

#[tokio::test(start_paused = true)]
async fn a_node_knows_whether_a_seed_has_answered() {
    let network = MemoryNetwork::new(1);
    let spawn = |id: &str, key, seeds: &[&str]| {
        let options = Options::new(id.parse().unwrap()).config(quick());
        let options = options.seeds(seeds.iter().copied());
        Agent::spawn(options, network.sealed_transport(id, seal(key)).unwrap()).unwrap()
    };
    let _a = spawn("a", 1, &[]);
    let (b, stranger) = (spawn("b", 1, &["a"]), spawn("c", 2, &["a"]));
    let mut events = stranger.events();
    while events.recv().await.unwrap() != Event::JoinFailed {}
    assert!(!stranger.health().await.unwrap().joined);
    assert!(b.health().await.unwrap().joined);
}

/// Two agents in touch, of which `b` sends over a path that carries so many bytes.
async fn over_a_path_of(network: &MemoryNetwork, bytes: usize) -> (Agent, Agent) {
    let options = |id: &str| Options::new(id.parse().unwrap()).config(quick());
    let a = Agent::spawn(options("a"), network.transport("a").unwrap()).unwrap();
    let narrow = Wrapped::over(network.transport("b").unwrap());
    narrow.on_send(
        move |inner, to, datagram| {
            if datagram.len() <= bytes { inner.send(to, datagram) } else { Ok(()) }
        },
    );
    let b = Agent::spawn(options("b").seeds(["a"]), narrow).unwrap();
    b.publish("load", b"0.7").await.unwrap();
    until("short telemetry arrives", &a, |a| {
        a.member("b").is_some_and(|b| b.value("load").is_some())
    })
    .await;
    (a, b)
}

async fn publish_long(agent: &Agent) {
    for key in ["one", "two", "three"] {
        agent.publish(key, &[b'x'; 400]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn long_datagrams_that_do_not_arrive_are_told_with_their_length() {
    let network = MemoryNetwork::new(1);
    let (a, b) = over_a_path_of(&network, 700).await;
    let mut events = b.events();
    publish_long(&b).await;
    let (id, arrive, lost) = next("it is told", &mut events, |event| match *event {
        Event::LongDatagramsLost { id, arrive, lost, .. } => Some((id, arrive, lost)),
        _ => None,
    })
    .await;
    assert_eq!(id, a.id());
    assert!(arrive <= 700 && 700 < lost && lost <= 1_232, "{arrive} and {lost}");
}

#[tokio::test(start_paused = true)]
async fn datagrams_lost_at_random_are_not_taken_for_long_ones() {
    let network = MemoryNetwork::new(1);
    let (_a, b) = over_a_path_of(&network, 1_500).await;
    let mut events = b.events();
    network.set_loss(300);
    let work = async {
        for round in 0..2_000_u32 {
            publish_long(&b).await;
            b.publish("load", round.to_string().as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let told = async {
        loop {
            let event = events.recv().await;
            if matches!(event, Ok(Event::LongDatagramsLost { .. })) {
                return event;
            }
        }
    };
    tokio::select! {
        () = work => {}
        event = told => panic!("{event:?}"),
    }
}
