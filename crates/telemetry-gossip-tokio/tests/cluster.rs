//! Clusters of agents on both transports: they agree, read each other's telemetry, and notice when
//! a member leaves, crashes or returns.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::{Net, PATIENCE, agree, cluster, next, status, until, within};
use telemetry_gossip_core::{Config, Event, NodeId, ProbeOutcome, Status};
use telemetry_gossip_tokio::{Agent, Events, MemoryNetwork, Options, Sealing, UdpTransport};

async fn five_agree_and_read_all_telemetry(net: Net) {
    let agents = cluster(&net, 5).await;
    agree(&agents).await;
    for agent in &agents {
        let value = format!("load of {}", agent.id());
        agent.publish("load", value.as_bytes()).await.unwrap();
        assert_eq!(
            agent.member(agent.id().as_str()).unwrap().value("load").unwrap().value,
            value.as_bytes()
        );
    }
    for reader in &agents {
        for owner in &agents {
            until("the telemetry has come", reader, |reader| {
                let member = reader.member(owner.id().as_str());
                let expected = format!("load of {}", owner.id());
                member.is_some_and(|member| {
                    member.value("load").is_some_and(|value| value.value == expected.as_bytes())
                })
            })
            .await;
            let member = reader.member(owner.id().as_str()).unwrap();
            assert_eq!(member.address, Some(owner.transport().local()));
            assert!(member.value("load").unwrap().age() < PATIENCE);
        }
    }
    // A removal spreads as well.
    agents[2].unpublish("load").await.unwrap();
    for reader in &agents {
        until("the value is gone", reader, |reader| {
            reader.member("n2").unwrap().value("load").is_none()
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn five_nodes_in_memory_agree_and_read_all_telemetry() {
    five_agree_and_read_all_telemetry(Net::Memory(MemoryNetwork::new(1))).await;
}

#[tokio::test]
async fn five_nodes_on_udp_agree_and_read_all_telemetry() {
    five_agree_and_read_all_telemetry(Net::Udp).await;
}

#[tokio::test(start_paused = true)]
async fn an_isolated_node_is_suspected_then_dead_and_back_after_healing() {
    let network = MemoryNetwork::new(2);
    let agents = cluster(&Net::Memory(network.clone()), 5).await;
    agree(&agents).await;
    let mut events: Vec<_> = agents[..4].iter().map(Agent::events).collect();
    let mut cut_off = agents[4].events();
    network.isolate("n4");
    for (agent, events) in agents.iter().zip(&mut events) {
        let story = |event: &Event<_>| match event {
            Event::Suspected { id, generation, .. } if id.as_str() == "n4" => {
                Some((Status::Suspected, *generation))
            }
            Event::Dead { id, generation, .. } if id.as_str() == "n4" => {
                Some((Status::Dead, *generation))
            }
            _ => None,
        };
        let (first, suspected) = next("n4 is noticed", events, story).await;
        assert_eq!(first, Status::Suspected, "{} suspects before it declares", agent.id());
        let dead = loop {
            let (status, generation) = next("n4 is dead", events, story).await;
            if status == Status::Dead {
                break generation;
            }
        };
        assert!(dead >= suspected);
        assert_eq!(status(agent, "n4"), Some(Status::Dead));
        assert_eq!(agent.view().alive(), 4, "no other node is declared dead");
    }
    // The isolated node declares no member dead.
    assert!(agents[4].view().iter().all(|member| member.status != Status::Dead));
    if agents[4].health().await.unwrap().isolated_since.is_none() {
        let isolated = |event: &Event<_>| matches!(event, Event::Isolated { .. }).then_some(());
        next("n4 knows that it is cut off", &mut cut_off, isolated).await;
    }
    let view = agents[4].view();
    let isolation = view.isolation().expect("the view shows it");
    assert_eq!((isolation.lost, isolation.of), (4, 5));
    for member in view.iter() {
        assert_eq!(view.is_unconfirmed(member), member.id.as_str() != "n4", "{}", member.id);
    }
    assert_eq!(agents[0].view().isolation(), None);
    network.heal();
    agree(&agents).await;
    let reconnected = |event: &Event<_>| matches!(event, Event::Reconnected { .. }).then_some(());
    next("n4 knows that it is back", &mut cut_off, reconnected).await;
    let view = agents[4].view();
    assert!(view.isolation().is_none() && !view.iter().any(|member| view.is_unconfirmed(member)));
}

async fn a_node_that_stops_is_declared_dead_and_returns_under_its_id(net: Net) {
    let mut agents = cluster(&net, 4).await;
    agree(&agents).await;
    let gone = agents.pop().unwrap();
    let first_instance = gone.member("n3").unwrap().instance;
    gone.shutdown().await;
    drop(gone);
    for agent in &agents {
        until("n3 is dead", agent, |agent| status(agent, "n3") == Some(Status::Dead)).await;
    }
    let options = Options::new("n3".parse().unwrap())
        .config(common::quick())
        .seeds(vec![agents[1].transport().local().to_string()]);
    agents.push(Agent::spawn(options, net.transport("n3").await).unwrap());
    agree(&agents).await;
    for agent in &agents {
        let member = agent.member("n3").unwrap();
        assert_ne!(member.instance, first_instance, "a new instance of the same node");
        assert_eq!(member.address, Some(agents[3].transport().local()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_in_memory_that_stops_is_declared_dead_and_returns_under_its_id() {
    a_node_that_stops_is_declared_dead_and_returns_under_its_id(Net::Memory(MemoryNetwork::new(3)))
        .await;
}

#[tokio::test]
async fn a_node_on_udp_that_stops_is_declared_dead_and_returns_under_its_id() {
    a_node_that_stops_is_declared_dead_and_returns_under_its_id(Net::Udp).await;
}

async fn leaving_is_seen_as_left_everywhere(net: Net) {
    let agents = cluster(&net, 5).await;
    agree(&agents).await;
    let mut events: Vec<_> = agents[..4].iter().map(Agent::events).collect();
    agents[4].leave(PATIENCE).await.unwrap();
    assert!(!agents[4].health().await.unwrap().active);
    for (agent, events) in agents.iter().zip(&mut events) {
        let end = next("n4 is gone", events, |event| match event {
            Event::Left { id, .. } | Event::Dead { id, .. } if id.as_str() == "n4" => Some(*event),
            _ => None,
        });
        assert!(matches!(end.await, Event::Left { .. }), "left, not dead, for {}", agent.id());
        assert_eq!(status(agent, "n4"), Some(Status::Left));
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_in_memory_is_seen_as_left_everywhere() {
    leaving_is_seen_as_left_everywhere(Net::Memory(MemoryNetwork::new(4))).await;
}

#[tokio::test]
async fn leaving_on_udp_is_seen_as_left_everywhere() {
    leaving_is_seen_as_left_everywhere(Net::Udp).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_agree_despite_loss_duplicates_and_latency() {
    for seed in 0..8 {
        let network = MemoryNetwork::new(seed);
        network.set_loss(100);
        network.set_duplicates(100);
        network.set_latency(Duration::from_millis(10));
        let agents = cluster(&Net::Memory(network), 5).await;
        agree(&agents).await;
        agents[0].publish("load", b"0.7").await.unwrap();
        for agent in &agents {
            until("the telemetry has come", agent, |agent| {
                agent.member("n0").is_some_and(|n0| n0.value("load").is_some())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_view_is_never_behind_an_event() {
    let network = MemoryNetwork::new(5);
    let agents = cluster(&Net::Memory(network), 2).await;
    agree(&agents).await;
    let (watcher, owner) = (&agents[0], &agents[1]);
    let mut events = watcher.events();
    for round in 1..=50_u32 {
        owner.publish("round", &round.to_be_bytes()).await.unwrap();
        let seen = |agent: &Agent| agent.member("n1").unwrap().telemetry_version;
        assert!(seen(owner) >= round.into(), "a command is answered once the view shows it");
        let version = next("the telemetry of n1 changes", &mut events, |event| match event {
            Event::Telemetry { id, version, .. } if id.as_str() == "n1" => Some(*version),
            _ => None,
        });
        let version = version.await;
        assert!(seen(watcher) >= version, "an event is told once the view shows it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_asked_for_tells_how_it_went() {
    use telemetry_gossip_core::ProbeOutcome;
    let network = MemoryNetwork::new(6);
    let agents = cluster(&Net::Memory(network.clone()), 4).await;
    agree(&agents).await;
    let id = |id: &str| id.parse::<NodeId>().unwrap();
    assert_eq!(agents[0].probe(id("n1")).await, Ok(ProbeOutcome::Direct));
    assert_eq!(agents[0].probe(id("n0")).await, Ok(ProbeOutcome::NotProbed));
    assert_eq!(agents[0].probe(id("stranger")).await, Ok(ProbeOutcome::NotProbed));
    network.cut("n0", "n1");
    assert_eq!(agents[0].probe(id("n1")).await, Ok(ProbeOutcome::Indirect));
    network.isolate("n1");
    let outcome = agents[0].probe(id("n1")).await.unwrap();
    // The others may declare it dead meanwhile, which ends the probe.
    let is_gone = status(&agents[0], "n1") == Some(Status::Dead);
    let fits = outcome == ProbeOutcome::Failed || (outcome == ProbeOutcome::NotProbed && is_gone);
    assert!(fits, "{outcome:?}, and it is gone: {is_gone}");
}

/// Lets this much of the virtual time pass.
async fn pass(span: Duration) {
    let end = tokio::time::Instant::now() + span;
    let _ = tokio::time::timeout_at(end, std::future::pending::<()>()).await;
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_takes_what_it_learns_for_as_old_as_it_is() {
    const AGE: Duration = Duration::from_secs(20 * 3_600);
    let network = MemoryNetwork::new(1);
    let net = Net::Memory(network.clone());
    // Slow, so that a day is not many steps; the tombstones' time is the default.
    let config = telemetry_gossip_core::Config::default()
        .reconnect_interval(Duration::from_secs(600))
        .probe_interval(Duration::from_secs(60));
    let spawn = async |id: &str, seed: Option<&str>| {
        let options = Options::new(id.parse().unwrap()).config(config.clone()).seeds(seed);
        Agent::spawn(options, net.transport(id).await).unwrap()
    };
    let old = spawn("old", None).await;
    let gone = spawn("gone", Some("old")).await;
    agree(&[old.clone(), gone.clone()]).await;
    old.publish("load", b"0.7").await.unwrap();
    gone.leave(PATIENCE).await.unwrap();
    gone.shutdown().await;
    until("gone has left", &old, |old| status(old, "gone") == Some(Status::Left)).await;
    pass(AGE).await;

    let newcomer = spawn("newcomer", Some("old")).await;
    agree(&[old.clone(), newcomer.clone()]).await;
    until("all is known", &newcomer, |newcomer| {
        let loaded = newcomer.member("old").is_some_and(|old| old.value("load").is_some());
        loaded && status(newcomer, "gone") == Some(Status::Left)
    })
    .await;
    let published = |reader: &Agent| reader.member("old").unwrap().value("load").unwrap().published;
    let (first, learned) = (published(&old), published(&newcomer));
    let apart =
        learned.saturating_duration_since(first).max(first.saturating_duration_since(learned));
    assert!(apart < Duration::from_secs(1), "{apart:?} apart, after {AGE:?}");

    // Both forget the dead at about the same time: a day after the word, wherever it was heard.
    let mut events = [old.events(), newcomer.events()];
    let start = tokio::time::Instant::now();
    for events in &mut events {
        // Not `next`, whose timeout is shorter than this wait.
        loop {
            let event = events.recv().await;
            let event = event.expect("it runs, and the events of some hours fit the buffer");
            if let Event::Removed { id, .. } = event {
                assert_eq!(id.as_str(), "gone");
                break;
            }
        }
        let waited = start.elapsed();
        let day = telemetry_gossip_core::Config::default().tombstone_ttl;
        assert!(waited <= day - AGE + Duration::from_secs(5), "{waited:?}");
    }
}

/// A host with several addresses: bound to all, reached at one, and the system sends from another.
#[tokio::test(flavor = "current_thread")]
async fn nodes_that_answer_from_another_address_than_they_advertise_work_as_any_other() {
    let (mut agents, mut told): (Vec<Agent>, Vec<Events>) = Default::default();
    for host in 2..7_u8 {
        // On the loopback the system sends from 127.0.0.1, whatever address the datagram came to.
        let stated = SocketAddr::from(([127, 0, 0, host], 0));
        let all = SocketAddr::from(([0, 0, 0, 0], 0));
        let transport =
            UdpTransport::bind_advertised(all, stated, Sealing::Plaintext).await.unwrap();
        let seeds = agents.first().map(|first| first.transport().local().to_string());
        let options = Options::new(format!("host-{host}").parse().unwrap())
            .config(Config::local())
            .seeds(seeds);
        let agent = Agent::spawn(options, transport).unwrap();
        told.push(agent.events());
        agents.push(agent);
    }
    // Each is told of the four others, which happens only as they answer its questions.
    for events in &mut told {
        let mut elsewhere = BTreeSet::new();
        while elsewhere.len() < 4 {
            match within("all answer from elsewhere", events.recv()).await.unwrap() {
                Event::AnswersElsewhere { id, .. } => drop(elsewhere.insert(id)),
                Event::Suspected { id, .. } => panic!("{id} is suspected"),
                _ => {}
            }
        }
    }
    for agent in &agents {
        for other in agents.iter().filter(|other| other.id() != agent.id()) {
            assert_eq!(agent.probe(other.id()).await.unwrap(), ProbeOutcome::Direct);
        }
        assert_eq!(agent.view().alive(), 5);
    }
}

/// The values of its lives have the same key and version, and the reader was away meanwhile.
#[tokio::test(start_paused = true)]
async fn a_reader_that_was_away_is_told_the_value_of_a_restarted_member() {
    let net = Net::Memory(MemoryNetwork::new(5));
    let mut agents = cluster(&net, 3).await;
    agree(&agents).await;
    let held = |value: &'static [u8]| {
        move |agent: &Agent| {
            let member = agent.member("n2");
            member.is_some_and(|it| it.value("load").is_some_and(|entry| entry.value == value))
        }
    };
    agents[2].publish("load", b"old").await.unwrap();
    until("the value is there", &agents[0], held(b"old")).await;
    let mut changes = agents[0].subscribe("load");
    let first = within("the first value", changes.recv()).await.unwrap();
    assert_eq!(first.value.map(|entry| (entry.value, entry.version)), Some((b"old".to_vec(), 1)));

    let last = agents.pop().unwrap();
    last.shutdown().await;
    let seeds = [agents[0].transport().local().to_string()];
    let options = Options::new("n2".parse().unwrap()).config(common::quick()).seeds(seeds);
    let again = Agent::spawn(options, net.transport("n2").await).unwrap();
    again.publish("load", b"new").await.unwrap();
    until("the new value is there", &agents[0], held(b"new")).await;
    let told = within("the change", async {
        loop {
            let change = changes.recv().await.unwrap();
            if let Some(entry) = change.value {
                return (entry.value, entry.version);
            }
        }
    })
    .await;
    assert_eq!(told, (b"new".to_vec(), 1));
}

/// Each asks in its turn, and each caller gets its own answer.
#[tokio::test(start_paused = true)]
async fn exchanges_and_probes_asked_at_once_are_answered_in_the_order_of_the_callers() {
    let network = MemoryNetwork::new(1);
    let agents = cluster(&Net::Memory(network.clone()), 3).await;
    agree(&agents).await;
    network.set_latency(Duration::from_millis(5));
    let (answered, mut order) = tokio::sync::mpsc::unbounded_channel();
    let callers = 6_usize;
    for caller in 0..callers {
        let (agent, target, answered) = (agents[0].clone(), agents[1].id(), answered.clone());
        tokio::spawn(async move {
            if caller % 2 == 0 {
                agent.exchange().await.unwrap();
            } else {
                agent.probe(target).await.unwrap();
            }
            answered.send(caller).unwrap();
        });
    }
    drop(answered);
    let (mut exchanges, mut probes) = (Vec::new(), Vec::new());
    while let Some(caller) = within("each is answered", order.recv()).await {
        if caller % 2 == 0 { exchanges.push(caller) } else { probes.push(caller) }
    }
    assert_eq!(
        exchanges,
        [0, 2, 4],
        "exchanges are answered in the order in which they were asked"
    );
    assert_eq!(probes, [1, 3, 5], "probes are answered in the order in which they were asked");
}
