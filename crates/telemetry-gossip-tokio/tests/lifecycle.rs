//! The lifecycle of an agent: which options it refuses, how it finds its seeds, and that it leaves
//! nothing behind.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{
    Gate, Net, Wrapped, agree, cluster, next, quick, tasks, udp, until, until_so, within,
};
use telemetry_gossip_core::{CommandError, Config, ConfigError, Event, Generation};
use telemetry_gossip_tokio::{
    Agent, AgentError, MemoryNetwork, Options, PeerAddr, RecvError, Sealing, SpawnError,
    Transport as _, UdpTransport,
};

fn options(id: &str, seeds: &[&str]) -> Options {
    Options::new(id.parse().unwrap()).config(quick()).seeds(seeds.iter().copied())
}

/// Takes the port as soon as it is free.
async fn bind_again(address: SocketAddr) -> Arc<UdpTransport> {
    within("the port is free", async {
        loop {
            match UdpTransport::bind(address, Sealing::Plaintext).await {
                Ok(transport) => return transport,
                Err(failed) => {
                    assert_eq!(failed.error.kind(), io::ErrorKind::AddrInUse, "{failed}")
                }
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_shut_down_agent_leaves_no_task_and_no_port() {
    assert_eq!(tasks(), 0);
    let transport = udp().await;
    let address = transport.local_addr();
    let agent = Agent::spawn(options("a", &["nowhere-yet"]), transport).unwrap();
    let handle = agent.clone();
    assert!(agent.is_running() && tasks() >= 2);
    agent.shutdown().await;
    assert!(!handle.is_running());
    assert_eq!(handle.publish("load", b"1").await, Err(AgentError::Closed));
    assert_eq!(handle.events().recv().await, Err(RecvError::Closed));
    assert_eq!(handle.view().len(), 1, "the last view stays readable");
    // Twice is as good as once.
    handle.shutdown().await;
    drop((agent, handle));
    until_so("no task is left", || tasks() == 0).await;
    bind_again(address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shutdown_and_the_last_handle_the_port_is_free_at_once() {
    let mut address = "127.0.0.1:0".parse().unwrap();
    for round in 0..50 {
        let transport = UdpTransport::bind(address, Sealing::Plaintext).await;
        let transport = transport.unwrap_or_else(|error| panic!("round {round}: {error}"));
        address = transport.local_addr();
        // It looks for a seed when it is shut down.
        let agent = Agent::spawn(options("a", &["localhost:9"]), transport).unwrap();
        agent.publish("load", b"1").await.unwrap();
        agent.shutdown().await;
    }
}

#[tokio::test]
async fn a_hundred_dropped_agents_leave_no_task_and_no_port() {
    assert_eq!(tasks(), 0);
    let mut addresses = Vec::new();
    for round in 0..4 {
        let mut agents = Vec::new();
        for index in 0..25 {
            let transport = udp().await;
            addresses.push(transport.local_addr());
            // Some look for their seed in vain, some find it, some know of none.
            let first = addresses[0].to_string();
            let seed = [Some("nowhere"), Some(first.as_str()), None][index % 3];
            let options = options(&format!("n{round}-{index}"), seed.as_slice());
            agents.push(Agent::spawn(options, transport).unwrap());
        }
        let first = &agents[0];
        first.publish("load", b"1").await.unwrap();
        assert!(tasks() >= 50, "one that receives and one that runs each");
    }
    until_so("no task is left", || tasks() == 0).await;
    for address in addresses {
        bind_again(address).await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_agents_one_after_the_other_on_one_transport_leave_nothing() {
    let network = MemoryNetwork::new(1);
    let transport = network.transport("a").unwrap();
    for _ in 0..1_000 {
        let agent = Agent::spawn(options("a", &["unknown"]), transport.clone()).unwrap();
        assert_eq!(agent.health().await.unwrap().alive, 1);
    }
    until_so("no task is left", || tasks() == 0).await;
    assert_eq!(Arc::strong_count(&transport), 1, "only this test holds the transport");
}

#[tokio::test]
async fn a_closed_udp_transport_frees_its_port_at_once_and_ends_its_agent() {
    let transport = udp().await;
    let address = transport.local_addr();
    let agent = Agent::spawn(options("a", &[]), transport.clone()).unwrap();
    transport.close();
    let second = UdpTransport::bind(address, Sealing::Plaintext).await.unwrap();
    until_so("the agent has ended", || !agent.is_running()).await;
    let refused = transport.send(address.into(), b"late").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::NotConnected);
    transport.close();
    assert!(
        within("no more datagrams", async { transport.subscribe().recv().await }).await.is_none()
    );
    drop((agent, transport, second));
    until_so("no task is left", || tasks() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_the_task() {
    let network = MemoryNetwork::new(1);
    let first = Agent::spawn(options("a", &["not-yet"]), network.transport("a").unwrap()).unwrap();
    let mut events = first.events();
    let second = first.clone();
    drop(first);
    assert_eq!(second.health().await.unwrap().alive, 1, "another handle keeps it");
    drop(second);
    while within("the events end", events.recv()).await.is_ok() {}
    until_so("no task is left", || tasks() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn leaving_twice_and_commands_after_leaving_are_answered() {
    let agents = cluster(&Net::Memory(MemoryNetwork::new(1)), 3).await;
    agree(&agents).await;
    let (hasty, limit) = (Duration::from_millis(1), Duration::from_secs(30));
    assert_eq!(
        agents[0].leave(hasty).await,
        Err(AgentError::Timeout(hasty)),
        "it takes some rounds"
    );
    let (first, second) = tokio::join!(agents[0].leave(limit), agents[0].leave(limit));
    assert_eq!((first, second), (Ok(()), Ok(())));
    let refused = agents[0].publish("load", b"1").await;
    assert_eq!(refused, Err(AgentError::Command(CommandError::Inactive)));
    let third = within("a third leave is answered", agents[0].leave(limit)).await;
    assert_eq!(third, Ok(()), "it has left");
}

#[tokio::test]
async fn options_that_break_a_rule_are_refused_by_name() {
    let network = MemoryNetwork::new(1);
    let spawn = |options| Agent::spawn(options, network.transport("a").unwrap()).unwrap_err();
    let config = |config| options("a", &[]).config(config);
    let slow = Config::default().probe_timeout(Duration::from_secs(1));
    assert!(matches!(spawn(config(slow)), SpawnError::Config(ConfigError::ProbeTimeout { .. })));
    let tiny = Config::default().mtu(100);
    let refused = spawn(config(tiny));
    assert!(matches!(refused, SpawnError::Config(ConfigError::Range { field: "mtu", .. })));
    assert!(refused.to_string().contains("mtu is 100"), "{refused}");
    let ahead = options("a", &[]).generation(Generation(u64::MAX));
    assert!(matches!(spawn(ahead), SpawnError::Config(ConfigError::Generation { .. })));
    assert_eq!(tasks(), 0, "a refused agent leaves nothing");
}

#[test]
fn an_agent_outside_a_runtime_is_refused() {
    let transport = MemoryNetwork::new(1).transport("a").unwrap();
    assert!(matches!(Agent::spawn(options("a", &[]), transport), Err(SpawnError::NoRuntime)));
}

#[tokio::test]
async fn commands_that_break_a_rule_are_refused_by_name() {
    let network = MemoryNetwork::new(1);
    let agent = Agent::spawn(options("a", &[]), network.transport("a").unwrap()).unwrap();
    let command = |result: Result<(), AgentError>| match result {
        Err(AgentError::Command(error)) => error,
        other => panic!("a command error, not {other:?}"),
    };
    let refused = command(agent.publish("", b"1").await);
    assert!(matches!(refused, CommandError::Key { len: 0, max: 64, .. }), "{refused}");
    let refused = command(agent.publish("load", &[0; 513]).await);
    assert!(matches!(refused, CommandError::Value { len: 513, max: 512, .. }), "{refused}");
    let refused = command(agent.apply_cluster_config(1, vec!["b".parse().unwrap()]).await);
    assert_eq!(refused, CommandError::NotInClusterConfig);
    assert_eq!(agent.join(&[]).await, Err(AgentError::NoSeeds));
    assert!(AgentError::NoSeeds.to_string().contains("the list of seeds is empty"));
    let refused = agent.join(&["unknown".to_owned()]).await;
    assert!(
        matches!(&refused, Err(AgentError::Resolve(reason)) if reason.contains("unknown")),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_seed_in_memory_that_comes_later_is_found() {
    let network = MemoryNetwork::new(1);
    let early =
        Agent::spawn(options("early", &["late"]), network.transport("early").unwrap()).unwrap();
    let tries = tokio::time::Instant::now();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(tries.elapsed() >= Duration::from_secs(60) && early.view().len() == 1);
    let late = Agent::spawn(options("late", &[]), network.transport("late").unwrap()).unwrap();
    agree(&[early, late]).await;
}

#[tokio::test]
async fn a_seed_on_udp_that_resolves_later_is_found() {
    let early = udp().await;
    let late = udp().await;
    let refused = early.resolve("late").await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    let a = Agent::spawn(options("early", &["late"]), early.clone()).unwrap();
    let b = Agent::spawn(options("late", &[]), late.clone()).unwrap();
    early.add_peer("late", late.local_addr());
    agree(&[a, b]).await;
}

#[tokio::test(start_paused = true)]
async fn a_seed_that_does_not_answer_is_reported_and_tried_again() {
    let network = MemoryNetwork::new(1);
    let seed = Agent::spawn(options("seed", &[]), network.transport("seed").unwrap()).unwrap();
    network.isolate("seed");
    let joining = Agent::spawn(options("a", &["seed"]), network.transport("a").unwrap()).unwrap();
    let mut events = joining.events();
    let failed = |event: &Event<PeerAddr>| matches!(event, Event::JoinFailed).then_some(());
    next("the join fails", &mut events, failed).await;
    network.heal();
    let done = |event: &Event<PeerAddr>| match event {
        Event::JoinCompleted { seed, .. } => Some(*seed),
        _ => None,
    };
    assert_eq!(next("the join completes", &mut events, done).await, seed.transport().local());
    agree(&[seed, joining]).await;
}

#[tokio::test]
async fn nodes_agree_over_ipv6() {
    let bind = || UdpTransport::bind("[::1]:0".parse().unwrap(), Sealing::Plaintext);
    let first = match bind().await {
        Ok(transport) => transport,
        Err(error) => {
            eprintln!("SKIPPED: this host has no IPv6 loopback ({error})");
            return;
        }
    };
    let seed = first.local_addr().to_string();
    let a = Agent::spawn(options("a", &[]), first).unwrap();
    let b = Agent::spawn(options("b", &[&seed]), bind().await.unwrap()).unwrap();
    agree(&[a, b]).await;
}

#[tokio::test]
async fn an_unspecified_address_is_advertised_as_another() {
    let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
    assert_eq!(
        UdpTransport::bind(any, Sealing::Plaintext).await.unwrap_err().error.kind(),
        io::ErrorKind::InvalidInput
    );
    let other_family =
        UdpTransport::bind_advertised(any, "[::1]:0".parse().unwrap(), Sealing::Plaintext).await;
    assert_eq!(other_family.unwrap_err().error.kind(), io::ErrorKind::InvalidInput);
    let first =
        UdpTransport::bind_advertised(any, "127.0.0.1:0".parse().unwrap(), Sealing::Plaintext)
            .await
            .unwrap();
    assert_ne!(first.local_addr().port(), 0);
    let seed = first.local_addr().to_string();
    let a = Agent::spawn(options("a", &[]), first).unwrap();
    let second = udp().await;
    let b = Agent::spawn(options("b", &[&seed]), second).unwrap();
    agree(&[a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_do_not_wait_for_a_blocked_protocol_task() {
    let network = MemoryNetwork::new(1);
    let (gate, transport) = Gate::before(network.transport("a").unwrap());
    let a = Agent::spawn(options("a", &["b"]), transport).unwrap();
    let b = Agent::spawn(options("b", &[]), network.transport("b").unwrap()).unwrap();
    agree(&[a.clone(), b.clone()]).await;
    gate.set(true);
    // Its next probe blocks it, in the middle of its work.
    until_so("the task is blocked", || gate.is_blocking()).await;
    for _ in 0..10_000 {
        let view = a.view();
        assert_eq!((view.len(), view.get("b").unwrap().id.as_str()), (2, "b"));
        assert!(a.member("b").is_some() && a.is_running());
        let _ = a.events();
    }
    assert!(gate.is_blocking(), "it was blocked all the while");
    gate.set(false);
    a.publish("load", b"1").await.unwrap();
    until("b learns what a publishes after that", &b, |b| {
        b.member("a").is_some_and(|a| a.value("load").is_some())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_panics_when_it_resolves_a_seed_is_told_and_asked_again() {
    let network = MemoryNetwork::new(1);
    let seed = Agent::spawn(options("seed", &[]), network.transport("seed").unwrap()).unwrap();
    let transport = Wrapped::over(network.transport("a").unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    // When it is called the first time, and in its future the second time.
    transport.on_resolve({
        let calls = calls.clone();
        move |_| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("resolve panics in this test"),
            1 => Some(Box::pin(async { panic!("the future of resolve panics in this test") })),
            _ => None,
        }
    });
    let joining = Agent::spawn(options("a", &["seed"]), transport).unwrap();
    let mut status = joining.seed_status();
    let told = within("it is told", status.wait_for(|told| !told.unresolved.is_empty())).await;
    let (name, reason) = told.unwrap().unresolved[0].clone();
    assert_eq!(name, "seed");
    assert!(reason.contains("panicked"), "{reason}");
    agree(&[seed, joining]).await;
    assert!(calls.load(Ordering::SeqCst) >= 3);
}

/// As many as can wait.
#[tokio::test(start_paused = true)]
async fn all_commands_that_wait_when_a_node_is_shut_down_are_carried_out() {
    let network = MemoryNetwork::new(1);
    for round in 0..20 {
        let agent = Agent::spawn(options("a", &[]), network.transport("a").unwrap()).unwrap();
        // Without tokio's budget, which would keep some of them from being given at all.
        let command = || Box::pin(tokio::task::unconstrained(agent.publish("load", b"1")));
        let mut waiting: Vec<_> = (0..64).map(|_| command()).collect();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for command in &mut waiting {
            assert!(command.as_mut().poll(&mut context).is_pending());
        }
        within("it ends", agent.shutdown()).await;
        for command in waiting {
            let carried_out = command.await;
            assert_eq!(carried_out, Ok(()), "round {round}: given before the end");
        }
        assert_eq!(agent.member("a").unwrap().telemetry_version, 64);
    }
}
