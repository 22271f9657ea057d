//! Criterion 5 and the rest of an exchange through the public API, on both transports: one round
//! brings both sides to the higher records, ties are broken alike everywhere, and an update of one
//! node reaches twenty within five rounds.
use std::sync::Arc;

use crate::support::{Wrapped, alive, info, tasks, udp, until_so, within};
use telemetry_gossip::gossip::{NodeErrorKind, PushPullGossip};
use telemetry_gossip::membership::{MemberInfo, MemberStatus, MembershipState};
use telemetry_gossip::swim::SwimDetector;
use telemetry_gossip::transport::{MemoryNetwork, Sealing, Transport, UdpTransport};
use telemetry_gossip_tests::for_each_seed;

use MemberStatus::{Alive, Dead, Suspected};

type Record = (String, MemberStatus, u64);

/// What two states have in common once they agree: all but the times of observation, which are each
/// host's own.
fn records(state: &MembershipState) -> Vec<Record> {
    let snapshot = state.snapshot();
    snapshot.into_iter().map(|member| (member.node_id, member.status, member.generation)).collect()
}

/// Two states on two transports, each of which knows the other's id.
struct Pair {
    states: [Arc<MembershipState>; 2],
    gossips: [PushPullGossip; 2],
    transports: [Arc<dyn Transport>; 2],
}

impl Pair {
    fn new(transports: [Arc<dyn Transport>; 2]) -> Self {
        let states = [(); 2].map(|()| Arc::new(MembershipState::new()));
        let ids = [0, 1].map(|side: usize| transports[side].local().to_string());
        states[0].upsert(info(&ids[1], Alive, 0));
        states[1].upsert(info(&ids[0], Alive, 0));
        let gossips =
            [0, 1].map(|side| PushPullGossip::new(states[side].clone(), transports[side].clone()));
        Self { states, gossips, transports }
    }

    fn in_memory() -> Self {
        let network = MemoryNetwork::new(1);
        Self::new([network.transport("a").unwrap(), network.transport("b").unwrap()])
    }

    async fn on_udp() -> Self {
        let bind = || UdpTransport::bind("127.0.0.1:0".parse().unwrap(), Sealing::Plaintext);
        Self::new([bind().await.unwrap(), bind().await.unwrap()])
    }

    /// One exchange, begun by `side`. A machine too busy to answer in time is given more tries.
    async fn round(&self, side: usize) {
        let mut tries = 0;
        while let Err(error) = within("the round ends", self.gossips[side].gossip_round()).await {
            tries += 1;
            assert!(error.kind() == NodeErrorKind::NoAnswer && tries < 10, "{error}");
        }
    }

    /// The answering side has merged the last datagram too.
    async fn agreed(&self) {
        let [first, second] = &self.states;
        let unlike = || {
            let (first, second) = (records(first), records(second));
            let only = |a: &[Record], b: &[Record]| -> Vec<Record> {
                a.iter().filter(|record| !b.contains(record)).cloned().collect()
            };
            (only(&first, &second), only(&second, &first))
        };
        let start = std::time::Instant::now();
        while records(first) != records(second) {
            assert!(
                start.elapsed() < std::time::Duration::from_secs(20),
                "only one side has {:?}",
                unlike()
            );
            tokio::task::yield_now().await;
        }
    }
}

async fn both_hold_the_higher_generation_after_one_exchange(pair: impl AsyncFn() -> Pair) {
    // What a holds of c, what b holds of c, and the one they keep.
    let cases = [
        ((Alive, 3), (Dead, 4), (Dead, 4)),
        ((Alive, 5), (Dead, 4), (Alive, 5)),
        ((Dead, 4), (Alive, 3), (Dead, 4)),
        ((Dead, 4), (Alive, 5), (Alive, 5)),
        ((Suspected, 7), (Alive, 8), (Alive, 8)),
        // Concurrent updates at one generation: Dead beats Suspected beats Alive.
        ((Alive, 9), (Suspected, 9), (Suspected, 9)),
        ((Dead, 9), (Suspected, 9), (Dead, 9)),
        ((Alive, 9), (Dead, 9), (Dead, 9)),
    ];
    for ((a_status, a_generation), (b_status, b_generation), (status, generation)) in cases {
        for begins in [0, 1] {
            let pair = pair().await;
            pair.states[0].upsert(info("c", a_status, a_generation));
            pair.states[1].upsert(info("c", b_status, b_generation));
            pair.states[0].upsert(info("only-a-knows", Alive, 1));
            pair.states[1].upsert(info("only-b-knows", Dead, 2));
            pair.round(begins).await;
            pair.agreed().await;
            for state in &pair.states {
                let held = state.member("c").unwrap();
                assert_eq!((held.status, held.generation), (status, generation), "{begins} begins");
                assert_eq!(state.member("only-a-knows").unwrap().status, Alive);
                assert_eq!(state.member("only-b-knows").unwrap().status, Dead);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_memory_both_hold_the_higher_generation_after_one_exchange() {
    both_hold_the_higher_generation_after_one_exchange(async || Pair::in_memory()).await;
}

#[tokio::test]
async fn on_udp_both_hold_the_higher_generation_after_one_exchange() {
    both_hold_the_higher_generation_after_one_exchange(Pair::on_udp).await;
}

#[test]
fn a_state_is_the_same_in_whatever_order_records_arrive() {
    let records = [
        info("x", Alive, 4),
        info("x", Suspected, 4),
        info("x", Dead, 4),
        info("x", Alive, 5),
        info("x", Suspected, 5),
        info("y", Dead, 1),
    ];
    let mut order: Vec<usize> = (0..records.len()).collect();
    let expected = [("x".to_owned(), Suspected, 5), ("y".to_owned(), Dead, 1)];
    // All orders, by Heap's algorithm.
    let mut counters = vec![0; order.len()];
    let mut at = 0;
    while at < order.len() {
        let state = MembershipState::new();
        let shuffled: Vec<MemberInfo> = order.iter().map(|&index| records[index].clone()).collect();
        state.merge(&shuffled);
        state.merge(&shuffled);
        assert_eq!(self::records(&state), expected, "{order:?}");
        while at < order.len() && counters[at] >= at {
            counters[at] = 0;
            at += 1;
        }
        if at < order.len() {
            order.swap(if at % 2 == 0 { 0 } else { counters[at] }, at);
            counters[at] += 1;
            at = 0;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspicion_of_the_answering_side_is_refuted_by_it() {
    let pair = Pair::in_memory();
    let before = pair.states[1].member("b").unwrap().generation;
    pair.states[0].upsert(info("b", Suspected, before + 1));
    pair.round(0).await;
    pair.round(0).await;
    let held = pair.states[0].member("b").unwrap();
    assert_eq!((held.status, held.generation), (Alive, before + 2), "G, G+1 Suspected, G+2 Alive");
    pair.agreed().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_refutes_a_record_that_accuses_it_and_keeps_an_alive_one() {
    for entered_first in [false, true] {
        for (entered, expected) in [((Alive, 3), 3), ((Suspected, 3), 4), ((Dead, 3), 4)] {
            let network = MemoryNetwork::new(1);
            let states = [(); 2].map(|()| Arc::new(MembershipState::new()));
            let own = info("a", entered.0, entered.1);
            if entered_first {
                states[0].upsert(own.clone());
            }
            states[0].upsert(info("b", Alive, 0));
            let gossips = [("a", &states[0]), ("b", &states[1])].map(|(id, state)| {
                PushPullGossip::new(state.clone(), network.transport(id).unwrap())
            });
            if !entered_first {
                states[0].upsert(own);
            }
            for _ in 0..2 {
                gossips[0].gossip_round().await.unwrap();
                gossips[1].gossip_round().await.unwrap();
            }
            for state in &states {
                let a = state.member("a").unwrap();
                assert_eq!((a.status, a.generation), (Alive, expected), "entered as {entered:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_has_no_record_of_an_id_that_was_replaced() {
    let network = MemoryNetwork::new(1);
    let directory = Wrapped::over(network.transport("plug-1").unwrap());
    directory.name("edge-2", "plug-2".try_into().unwrap());
    let states = [(); 3].map(|()| Arc::new(MembershipState::new()));
    let renamed = |state: &Arc<MembershipState>, transport: Arc<dyn Transport>, id: &str| {
        let gossip = PushPullGossip::new(state.clone(), transport);
        gossip.with_id("neither").unwrap().with_rng_seed([7; 32]).with_id(id).unwrap()
    };
    let ids = |state: &MembershipState| -> Vec<String> {
        state.snapshot().into_iter().map(|member| member.node_id).collect()
    };
    for (state, other) in [(&states[0], "edge-2"), (&states[1], "edge-1")] {
        state.merge(&[info(other, Alive, 0), info("lost", Dead, 1)]);
    }
    let first = renamed(&states[0], directory, "edge-1");
    let second = renamed(&states[1], network.transport("plug-2").unwrap(), "edge-2");
    for state in &states[..2] {
        assert_eq!(ids(state), ["edge-1", "edge-2", "lost"], "no plug was ever a member");
    }
    first.gossip_round().await.unwrap();
    second.gossip_round().await.unwrap();
    for state in &states[..2] {
        assert_eq!(ids(state), ["edge-1", "edge-2", "lost"]);
        assert!(
            state.alive_members().iter().all(|member| member.generation == 0),
            "no node had to raise its generation"
        );
    }

    // What the host entered itself stays, whatever the transport is called.
    states[2].upsert(info("plug-3", Alive, 0));
    let third = renamed(&states[2], network.transport("plug-3").unwrap(), "edge-3");
    assert_eq!(ids(&states[2]), ["edge-3", "plug-3"]);
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn a_datagram_on_its_way_does_not_bring_a_replaced_id_back() {
    let network = MemoryNetwork::new(1);
    let stranger = network.transport("stranger").unwrap();
    // Which of an agent's wake-ups comes first is drawn: each of many must be harmless.
    let renamed: Vec<_> = (0..32)
        .map(|index| {
            let state = Arc::new(MembershipState::new());
            let transport = network.transport(&format!("plug-{index}")).unwrap();
            let gossip = PushPullGossip::new(state.clone(), transport.clone());
            stranger.send(transport.local(), b"whatever").unwrap();
            (state, gossip.with_id("edge").unwrap())
        })
        .collect();
    until_so("the agents given up have ended", || tasks() == renamed.len()).await;
    for (state, _) in &renamed {
        assert_eq!(records(state), [("edge".to_owned(), Alive, 0)]);
    }
}

async fn large_states_are_equal_after_one_exchange(pair: Pair) {
    // More than one datagram in both directions.
    for index in 0..300_u64 {
        let id = format!("member-{index:03}");
        if index % 3 != 1 {
            pair.states[0].upsert(info(&id, Alive, index));
        }
        if index % 3 != 0 {
            pair.states[1].upsert(info(&id, Dead, index / 2 + 50));
        }
    }
    pair.round(0).await;
    pair.agreed().await;
    assert_eq!(pair.states[0].snapshot().len(), 302);
}

#[tokio::test(start_paused = true)]
async fn in_memory_large_states_are_equal_after_one_exchange() {
    large_states_are_equal_after_one_exchange(Pair::in_memory()).await;
}

#[tokio::test]
async fn on_udp_large_states_are_equal_after_one_exchange() {
    large_states_are_equal_after_one_exchange(Pair::on_udp().await).await;
}

#[tokio::test(start_paused = true)]
async fn a_round_without_partners_is_no_error_and_one_without_answer_is() {
    let network = MemoryNetwork::new(1);
    let state = Arc::new(MembershipState::new());
    let gossip = PushPullGossip::new(state.clone(), network.transport("a").unwrap());
    gossip.gossip_round().await.unwrap();
    assert_eq!(records(&state), [("a".to_owned(), Alive, 0)]);

    // Members that the transport cannot find are no partners.
    state.upsert(info("nowhere", Alive, 0));
    gossip.gossip_round().await.unwrap();

    let other = PushPullGossip::new(Arc::default(), network.transport("b").unwrap());
    state.upsert(info("b", Alive, 0));
    network.isolate("b");
    let silent = gossip.gossip_round().await.unwrap_err();
    assert!(
        silent.kind() == NodeErrorKind::NoAnswer && silent.to_string().contains("from b,"),
        "{silent:?}"
    );
    network.heal();
    gossip.gossip_round().await.unwrap();
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn members_that_are_not_found_delay_a_round_by_one_timeout() {
    let network = MemoryNetwork::new(1);
    let directory = Wrapped::over(network.transport("a").unwrap());
    let states = [(); 2].map(|()| Arc::new(MembershipState::new()));
    for name in ["silent-1", "silent-2", "silent-3"] {
        directory.hang(name);
        states[0].upsert(info(name, Alive, 0));
    }
    states[0].upsert(info("b", Alive, 0));
    let gossip = PushPullGossip::new(states[0].clone(), directory);
    let answering = PushPullGossip::new(states[1].clone(), network.transport("b").unwrap());
    let start = tokio::time::Instant::now();
    gossip.gossip_round().await.unwrap();
    assert!(start.elapsed() <= std::time::Duration::from_millis(2_100), "{:?}", start.elapsed());
    assert_eq!(states[1].snapshot().len(), 5);
    drop(answering);
}

#[tokio::test]
async fn a_round_on_a_closed_transport_is_an_error() {
    let pair = Pair::in_memory();
    pair.round(0).await;
    pair.transports[0].close();
    let closed = async { pair.gossips[0].gossip_round().await };
    let error = within("the round ends", closed).await.unwrap_err();
    assert_eq!(error.kind(), NodeErrorKind::Closed);
}

async fn a_detector_and_an_exchange_share_a_transport(transports: [Arc<dyn Transport>; 4]) {
    let ids: Vec<String> =
        transports.iter().map(|transport| transport.local().to_string()).collect();
    let members = alive(&ids);
    let states: Vec<Arc<MembershipState>> = (0..4).map(|_| Arc::default()).collect();
    let detectors: Vec<_> =
        transports.iter().map(|transport| SwimDetector::new(transport.clone(), 2)).collect();
    let gossips: Vec<_> = transports
        .iter()
        .zip(&states)
        .map(|(transport, state)| {
            state.merge(&members);
            PushPullGossip::new(state.clone(), transport.clone())
        })
        .collect();
    states[0].upsert(info("news", Dead, 7));
    // Rounds and probes at the same time, all from one transport; each would fail if the other took
    // its answers.
    let rounds = async {
        while !states.iter().all(|state| state.member("news").is_some()) {
            for gossip in &gossips {
                let _ = gossip.gossip_round().await;
            }
        }
    };
    let probes = async {
        for target in &ids[1..] {
            let mut found = false;
            for _ in 0..5 {
                found = found || detectors[0].probe(target, &members).await;
            }
            assert!(found, "{target} answers");
        }
    };
    within("both end", async { tokio::join!(rounds, probes) }).await;
    for state in &states {
        for id in &ids {
            // One node behind one transport: no node suspects it, and its exchange and its detector
            // do not raise the generation in turns. It may replace the record of the host once.
            let member = state.member(id).unwrap();
            assert!(member.status == Alive && member.generation <= 1, "{member:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_detector_and_an_exchange_share_a_transport() {
    let network = MemoryNetwork::new(1);
    let transports =
        ["a", "b", "c", "d"].map(|id| network.transport(id).unwrap() as Arc<dyn Transport>);
    a_detector_and_an_exchange_share_a_transport(transports).await;
}

#[tokio::test]
async fn on_udp_a_detector_and_an_exchange_share_a_transport() {
    let bind = async || Wrapped::over(udp().await) as Arc<dyn Transport>;
    let transports = [bind().await, bind().await, bind().await, bind().await];
    a_detector_and_an_exchange_share_a_transport(transports).await;
}

/// The rounds until an update of `n0` has reached all `count` states. In each round every node
/// exchanges once, in sequence.
async fn rounds_until_all_know(count: usize, seed: u64) -> usize {
    let network = MemoryNetwork::new(seed);
    let ids: Vec<String> = (0..count).map(|index| format!("n{index}")).collect();
    let states: Vec<Arc<MembershipState>> = (0..count).map(|_| Arc::default()).collect();
    let gossips: Vec<_> = (0_u8..)
        .zip(ids.iter().zip(&states))
        .map(|(index, (id, state))| {
            state.merge(&alive(&ids));
            let mut rng_seed = [index; 32];
            rng_seed[..8].copy_from_slice(&seed.to_le_bytes());
            PushPullGossip::new(state.clone(), network.transport(id).unwrap())
                .with_rng_seed(rng_seed)
        })
        .collect();
    states[0].upsert(info("n0", Alive, 1));
    for round in 1.. {
        for gossip in &gossips {
            gossip.gossip_round().await.unwrap();
        }
        let held = states.iter().map(|state| state.member("n0").unwrap());
        if held.clone().all(|n0| n0.status == Alive && n0.generation >= 1) {
            return round;
        }
        assert!(round < 20, "{:?}", held.collect::<Vec<_>>());
    }
    unreachable!("a round is always followed by another")
}

#[test]
fn an_update_of_one_node_reaches_twenty_within_five_rounds() {
    let mut slowest = 0;
    for_each_seed(24, |seed| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        let rounds = runtime.block_on(within("all know", rounds_until_all_know(20, seed)));
        assert!(rounds <= 5, "{rounds} rounds");
        slowest = slowest.max(rounds);
    });
    println!("20 states: at most {slowest} rounds");
}

#[tokio::test(start_paused = true)]
async fn small_clusters_need_fewer_rounds() {
    for (count, most) in [(1, 1), (2, 1), (3, 2), (5, 3)] {
        let rounds = within("all know", rounds_until_all_know(count, 1)).await;
        assert!(rounds <= most, "{count} nodes: {rounds} rounds");
    }
}

#[tokio::test]
async fn a_dropped_exchange_leaves_no_task() {
    let pair = Pair::in_memory();
    pair.round(0).await;
    assert_eq!(tasks(), 2);
    drop(pair);
    until_so("no task is left", || tasks() == 0).await;
}
