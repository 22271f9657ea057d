//! Datagrams and events on their way: every subscriber gets every datagram, garbage changes
//! nothing, and a reader that is too slow is told so.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use common::{Net, agree, cluster, until_so, within};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use telemetry_gossip_core::{Config, Generation, Identity, Input, Instant, Node};
use telemetry_gossip_tokio::{
    Agent, MemoryNetwork, Options, PeerAddr, RecvError, Sealing, Transport as _, UdpTransport,
};

async fn two_subscribers_both_get_each_datagram(net: Net) {
    let (from, to) = (net.transport("from").await, net.transport("to").await);
    let mut subscriptions = [to.subscribe(), to.subscribe()];
    drop(to.subscribe());
    for byte in 0..100_u8 {
        from.send(to.local(), &[byte; 3]).unwrap();
        for subscription in &mut subscriptions {
            let delivery = within("the datagram comes", subscription.recv()).await.unwrap();
            assert_eq!((delivery.from, &*delivery.bytes), (from.local(), &[byte; 3][..]));
        }
    }
    assert!(subscriptions[0].try_recv().is_none(), "once each");
    to.close();
    for subscription in &mut subscriptions {
        assert!(within("the subscription ends", subscription.recv()).await.is_none());
    }
}

#[tokio::test]
async fn two_subscribers_in_memory_both_get_each_datagram() {
    two_subscribers_both_get_each_datagram(Net::Memory(MemoryNetwork::new(1))).await;
}

#[tokio::test]
async fn two_subscribers_on_udp_both_get_each_datagram() {
    two_subscribers_both_get_each_datagram(Net::Udp).await;
}

#[tokio::test]
async fn two_agents_on_one_transport_both_take_part() {
    let network = MemoryNetwork::new(1);
    let shared = network.transport("shared").unwrap();
    let spawn = |id: &str, seeds: Vec<String>, transport| {
        let options = Options::new(id.parse().unwrap()).config(common::quick()).seeds(seeds);
        Agent::spawn(options, transport).unwrap()
    };
    let first = spawn("first", vec![], shared.clone());
    let second = spawn("second", vec!["shared".into()], shared);
    let third = spawn("third", vec!["shared".into()], network.transport("third").unwrap());
    let agents = [first, second, third];
    for agent in &agents {
        common::until("third is known", agent, |agent| agent.member("third").is_some()).await;
    }
}

/// What garbage must not change.
fn records(agent: &Agent) -> Vec<String> {
    let view = agent.view();
    let record = |member: &telemetry_gossip_tokio::MemberView| {
        let telemetry = (member.telemetry_version, &member.telemetry);
        format!(
            "{} {} {} {:?} {telemetry:?}",
            member.id, member.status, member.generation, member.address
        )
    };
    view.iter().map(|member| record(member)).collect()
}

async fn garbage_is_counted_and_changes_nothing(net: Net) {
    let agents = cluster(&net, 3).await;
    agree(&agents).await;
    agents[1].publish("load", b"0.7").await.unwrap();
    common::until("the telemetry has come", &agents[0], |agent| {
        agent.member("n1").is_some_and(|n1| n1.value("load").is_some())
    })
    .await;
    let stranger = net.transport("stranger").await;
    let (target, before) = (&agents[0], records(&agents[0]));
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut garbage =
        vec![vec![], vec![0], vec![0xff; 100], b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![1; 1_400]];
    for len in 0..200 {
        let mut bytes = vec![0; len];
        rng.fill_bytes(&mut bytes);
        garbage.push(bytes);
    }
    let refused = async || {
        let stats = target.stats().await.unwrap();
        stats.datagrams_malformed + stats.datagrams_other_version + stats.datagrams_other_label
    };
    let counted = refused().await;
    for (sent, bytes) in (1..).zip(&garbage) {
        stranger.send(target.transport().local(), bytes).unwrap();
        // One at a time: what is counted is what was sent, whatever the socket's buffer holds.
        within("it is counted", async {
            while refused().await < counted + sent {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert_eq!(refused().await, counted + garbage.len() as u64, "each is counted once");
    assert_eq!(records(target), before);
    assert!(target.is_running());
    agree(&agents).await;
}

#[tokio::test]
async fn garbage_in_memory_is_counted_and_changes_nothing() {
    garbage_is_counted_and_changes_nothing(Net::Memory(MemoryNetwork::new(1))).await;
}

#[tokio::test]
async fn garbage_on_udp_is_counted_and_changes_nothing() {
    garbage_is_counted_and_changes_nothing(Net::Udp).await;
}

#[tokio::test]
async fn a_slow_reader_learns_how_many_events_it_missed() {
    let network = MemoryNetwork::new(1);
    let agent =
        Agent::spawn(Options::new("a".parse().unwrap()), network.transport("a").unwrap()).unwrap();
    let mut events = agent.events();
    let total = 6_000_usize;
    for index in 0..total {
        let id = format!("m{index}").parse().unwrap();
        agent.introduce(id, None, Generation(0)).await.unwrap();
    }
    assert_eq!(agent.view().len(), total + 1, "the view misses nothing");
    agent.shutdown().await;
    let Err(RecvError::Lagged(lost)) = events.recv().await else {
        panic!("the reader was too slow")
    };
    let mut read = 0;
    while events.recv().await.map_err(|end| assert_eq!(end, RecvError::Closed)).is_ok() {
        read += 1;
    }
    assert!(lost > 0 && read > 0);
    assert!(lost + read >= total as u64, "{lost} lost and {read} read are all of them");
}

#[tokio::test]
async fn datagrams_to_unknown_and_foreign_addresses_do_no_harm() {
    let network = MemoryNetwork::new(1);
    let memory = network.transport("a").unwrap();
    let udp = Net::Udp.transport("a").await;
    assert!(
        memory.send("unknown".try_into().unwrap(), b"x").is_ok(),
        "it gets lost, as on a network"
    );
    assert!(memory.send(udp.local(), b"x").is_err());
    assert!(udp.send(memory.local(), b"x").is_err());
    // A closed port answers with an ICMP error, which must not end the receiver.
    let gone = Net::Udp.transport("gone").await;
    let address = gone.local();
    gone.close();
    let mut received = udp.subscribe();
    for _ in 0..10 {
        let _ = udp.send(address, b"x");
        tokio::task::yield_now().await;
    }
    let other = Net::Udp.transport("other").await;
    other.send(udp.local(), b"alive").unwrap();
    let delivery = within("the receiver runs", received.recv()).await.unwrap();
    assert_eq!(&*delivery.bytes, b"alive");
    until_so("nothing else is there", || received.try_recv().is_none()).await;
}

#[tokio::test]
async fn a_member_that_claims_an_address_of_another_kind_does_no_harm_over_udp() {
    let transport =
        UdpTransport::bind("127.0.0.1:0".parse().unwrap(), Sealing::Plaintext).await.unwrap();
    let seeds = vec![transport.local_addr().to_string()];
    let first = Options::new("n0".parse().unwrap()).config(common::quick());
    let second = Options::new("n1".parse().unwrap()).config(common::quick()).seeds(seeds);
    let agents = [
        Agent::spawn(first, transport.clone()).unwrap(),
        Agent::spawn(second, Net::Udp.transport("n1").await).unwrap(),
    ];
    agree(&agents).await;

    // It follows the protocol, and claims an address that is a name, which cannot be reached over
    // UDP.
    let name = "ghost".parse().unwrap();
    let identity = Identity::new(name, PeerAddr::Name(name));
    let mut ghost = Node::new(Config::default(), identity, [7; 32], Instant::ORIGIN).unwrap();
    ghost.handle(Instant::ORIGIN, Input::Join { seeds: vec![transport.local()].into() }).unwrap();
    let socket = Net::Udp.transport("ghost").await;
    let mut buf = [0; 1_400];
    while let Some(datagram) = ghost.poll_transmit(&mut buf) {
        socket.send(datagram.to, &buf[..datagram.len]).unwrap();
    }

    // It is asked whether it is there, in vain, so no agent believes that it is.
    common::within("the ghost is asked", async {
        while transport.send_refused() == 0 {
            agents[0].stats().await.unwrap();
        }
    })
    .await;
    agree(&agents).await;
    assert!(agents.iter().all(|agent| agent.view().alive() == 2 && agent.view().len() == 2));
}

/// It misses values in between, and no last one, of whichever member.
#[tokio::test(start_paused = true)]
async fn a_reader_of_telemetry_that_is_too_slow_still_gets_the_last_values() {
    let agents = cluster(&Net::Memory(MemoryNetwork::new(1)), 2).await;
    agree(&agents).await;
    let [agent, other] = [&agents[0], &agents[1]];
    let mut changes = agent.subscribe("");
    other.publish("load", b"1").await.unwrap();
    common::until("the value of the other has come", agent, |agent| {
        agent.member("n1").is_some_and(|n1| n1.value("load").is_some())
    })
    .await;
    // So many that the event about the other is lost.
    for round in 0..3_000_u32 {
        agent.publish("load", &round.to_le_bytes()).await.unwrap();
    }
    let last = 2_999_u32.to_le_bytes();
    let (mut own, mut of_other) = (Vec::new(), Vec::new());
    within("a slow reader gets the last value of each member", async {
        while own != last || of_other != b"1" {
            let change = changes.recv().await.expect("the node runs");
            let held = if change.id == agent.id() { &mut own } else { &mut of_other };
            *held = change.value.expect("nothing is removed").value;
        }
    })
    .await;
}
