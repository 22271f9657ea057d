//! Members that are killed, frozen or refuse: reads go on, end in time, and cost next to nothing.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use telemetry_gossip_registry::{StoreError, Written};

use crate::cluster::{Cluster, free_ports};
use crate::proxy::Proxy;
use crate::support::{edition, open, read, write, write_next};

/// The longest that a call may take without a login: two endpoints of 2 s each, and 1 s for a
/// machine that is busy with other tests.
const LONGEST: Duration = Duration::from_secs(5);

/// How long etcd may take to choose another leader, and a store to find it: its election timeout
/// of 1 to 2 s, twice if votes are split, and one call.
const ELECTION: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_on_while_a_member_is_frozen_and_after_the_leader_was_killed() {
    let Some(mut cluster) = Cluster::start(3, &[]) else { return };
    let endpoints = cluster.endpoints();
    // They begin at random members, so that some meet the frozen one first.
    let stores: Vec<_> = (0..8).map(|_| open(&endpoints, "faults", "")).collect();
    write_next(&*stores[0], |version| edition(version, &["a"])).await;

    let leader = cluster.leader();
    let frozen = (leader + 1) % 3;
    cluster.freeze(frozen);
    let reads = stores.iter().map(|store| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            for _ in 0..2 {
                let start = Instant::now();
                read(&*store).await;
                took.push(start.elapsed());
            }
            took
        })
    });
    for took in reads.collect::<Vec<_>>() {
        let took = took.await.unwrap();
        assert!(took[0] < LONGEST, "{took:?}");
        assert!(took[1] < Duration::from_secs(1), "it stays with the one that answers: {took:?}");
    }
    cluster.thaw(frozen);

    cluster.kill(leader);
    let until = Instant::now() + ELECTION;
    for store in &stores {
        loop {
            let start = Instant::now();
            let answer = store.head().await;
            assert!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
            match answer {
                Ok(found) => break assert_eq!(found.unwrap().head.version, 1),
                Err(StoreError::Unreachable(_)) => {}
                Err(other) => panic!("{other}"),
            }
            assert!(Instant::now() < until, "{answer:?}");
        }
    }
    let version = write_next(&*stores[7], |version| edition(version, &["b"])).await;
    assert_eq!(version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_members_are_all_frozen_ends_each_call_in_time() {
    let Some(cluster) = Cluster::start(1, &[]) else { return };
    let store = open(&cluster.endpoints(), "frozen", "");
    write_next(&*store, |version| edition(version, &["a"])).await;
    cluster.freeze(0);
    let start = Instant::now();
    let error = store.head().await.unwrap_err();
    assert!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
    assert!(matches!(&error, StoreError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("did not answer within 2 s"), "{error}");
    cluster.thaw(0);
    assert_eq!(read(&*store).await.0.head.version, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_known_again_or_said_to_be_unknown() {
    let Some(cluster) = Cluster::shared() else { return };
    let endpoints = cluster.endpoints();
    let direct = endpoints.split(',').next().unwrap();
    let proxy = Proxy::start(direct).await;

    // A store begins at a random endpoint: take one that begins behind the proxy.
    let store = loop {
        let store = open(&format!("{},{direct}", proxy.address), "lost", "");
        let before = proxy.connections();
        assert_eq!(store.head().await, Ok(None));
        if proxy.connections() > before {
            break store;
        }
    };
    proxy.lose_answers(true);
    assert_eq!(write(&*store, &edition(1, &["a"]), None).await, Ok(Written::Done));
    let (first, _) = read(&*store).await;

    let alone = open(&proxy.address, "lost", "");
    let error = write(&*alone, &edition(2, &["b"]), Some(&first)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unreachable(_)), "{error}");
    let words = "it is not known whether version 2 was written";
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(read(&*store).await.0.head.version, 2, "it did arrive");
    proxy.lose_answers(false);
    let again = write(&*alone, &edition(2, &["b"]), Some(&first)).await;
    assert_eq!(again, Ok(Written::Done));
    assert_eq!(store.versions().await, Ok(vec![1, 2]));
}

/// A node asks a store that is down every 5 s on average. With 0.1 % of a core it may spend 5 ms on
/// each call. On one thread, whose time is measured alone.
#[tokio::test]
async fn a_store_that_is_down_costs_less_than_a_thousandth_of_a_core() {
    const CALLS: u32 = 20;

    let ports = free_ports(3);
    let endpoints: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let store = open(&endpoints.join(","), "down", "");
    let spent = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let before = spent();
    for _ in 0..CALLS {
        let error = store.head().await.unwrap_err();
        assert!(matches!(&error, StoreError::Unreachable(_)), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
    }
    let each = (spent() - before) / CALLS;
    println!("{each:?} for each call");
    assert!(each < Duration::from_millis(5), "{each:?}");
}
