//! Criterion 6 through the public API, on both transports, and the corner cases of a probe: fewer
//! helpers than wanted, no helper, an unknown target, clusters of one and two.
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Wrapped, alive, info, tasks, udp, until_so, within};
use telemetry_gossip::config::{Generation, Mode};
use telemetry_gossip::event::{ProbeOutcome, Status};
use telemetry_gossip::membership::{MemberInfo, MemberStatus};
use telemetry_gossip::swim::{MAX_INDIRECT, MAX_PROBES_AT_ONCE, SwimDetector};
use telemetry_gossip::transport::{MemoryNetwork, PeerAddr, Transport};
use telemetry_gossip::{Config, Options, Stats};
use telemetry_gossip_tokio::Agent;

const IDS: [&str; 4] = ["a", "b", "c", "d"];

/// A probe of an unreachable member ends by then: two timeouts of 300 ms, and a busy machine.
const BOUND: Duration = Duration::from_secs(30);

fn detectors(network: &MemoryNetwork, ids: &[&str], k: usize) -> Vec<SwimDetector> {
    ids.iter().map(|id| SwimDetector::new(network.transport(id).unwrap(), k)).collect()
}

#[tokio::test(start_paused = true)]
async fn in_memory_an_indirect_probe_succeeds_where_the_direct_one_fails() {
    for k in [1, 2, 3, 16, usize::MAX] {
        let network = MemoryNetwork::new(1);
        let detectors = detectors(&network, &IDS, k);
        let members = alive(&IDS);
        assert!(detectors[0].probe("b", &members).await, "b answers");
        network.cut("a", "b");
        let start = tokio::time::Instant::now();
        assert!(detectors[0].probe("b", &members).await, "c and d reach b, K = {k}");
        // Time is the test's own here: the direct ping had its time before the helpers were asked,
        // which is a quarter of the timeout where round trips are known to be short.
        assert!(start.elapsed() >= Duration::from_millis(75), "the direct ping failed first");
        // Without helpers the same probe fails: nothing else reached b.
        assert!(!detectors[0].probe("b", &alive(&["b"])).await || k > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn without_helpers_the_broken_path_is_a_failed_probe() {
    let network = MemoryNetwork::new(1);
    let no_k = detectors(&network, &IDS, 0);
    network.cut("a", "b");
    assert!(!no_k[0].probe("b", &alive(&IDS)).await, "K = 0 asks no helper");

    let network = MemoryNetwork::new(1);
    let alone = detectors(&network, &["a", "b"], 3);
    network.cut("a", "b");
    assert!(!alone[0].probe("b", &alive(&["a", "b"])).await, "there is no helper to ask");

    let network = MemoryNetwork::new(1);
    let dead = detectors(&network, &IDS, 3);
    network.cut("a", "b");
    let helper = |id| info(id, MemberStatus::Dead, 1);
    let members = [info("b", MemberStatus::Alive, 0), helper("c"), helper("d")];
    assert!(!dead[0].probe("b", &members).await, "the dead are not asked");
}

/// What the node did, beside the yes or no of its probe; on a transport of its own beside it.
async fn stats(agent: &Agent) -> Stats {
    agent.stats().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn in_memory_the_prober_counts_one_indirect_probe_and_k_ping_reqs() {
    let network = MemoryNetwork::new(1);
    let config = Config::default().mode(Mode::OnDemand).indirect_probes(2);
    let spawn = |id: &str| {
        let options = Options::new(id.parse().unwrap()).config(config.clone());
        Agent::spawn(options, network.transport(id).unwrap()).unwrap()
    };
    let agents = ["a", "b", "c", "d", "e"].map(spawn);
    for other in &agents[1..] {
        let peer = other.transport().local();
        let generation = Generation(0);
        agents[0].introduce(other.id(), Some(peer), generation).await.unwrap();
    }
    network.cut("a", "b");
    let outcome = agents[0].probe(agents[1].id()).await.unwrap();
    assert_eq!(outcome, ProbeOutcome::Indirect);
    let counted = stats(&agents[0]).await;
    assert_eq!((counted.probes, counted.probes_indirect, counted.probes_failed), (1, 1, 0));
    let mut relays = 0;
    for helper in &agents[2..] {
        relays += stats(helper).await.ping_reqs;
    }
    assert_eq!(relays, 2, "K = 2 of the three others are asked");
    assert_eq!(agents[0].member("b").unwrap().status, Status::Alive);
}

#[tokio::test]
async fn on_udp_an_indirect_probe_succeeds_where_the_direct_one_fails() {
    let mut transports = Vec::new();
    for _ in IDS {
        transports.push(Wrapped::over(udp().await));
    }
    let detectors: Vec<_> =
        transports.iter().map(|transport| SwimDetector::new(transport.clone(), 2)).collect();
    let ids: Vec<_> = transports.iter().map(|transport| transport.local().to_string()).collect();
    let members = alive(&ids);
    transports[0].cut(transports[1].local());
    // A machine too busy to answer in 300 ms is given another try; a broken indirect path fails
    // them all.
    let mut found = false;
    for _ in 0..5 {
        found = found || within("the probe ends", detectors[0].probe(&ids[1], &members)).await;
    }
    assert!(found, "c and d reach b");
    assert!(transports[0].dropped() > 0, "a's own pings were lost");

    // No node reaches b: the same probe fails, so it was the helpers that found it.
    transports[2].cut(transports[1].local());
    transports[3].cut(transports[1].local());
    assert!(!within("the probe ends", detectors[0].probe(&ids[1], &members)).await);
}

#[tokio::test]
async fn on_udp_an_unreachable_target_is_false_within_the_bound() {
    let transport = Wrapped::over(udp().await);
    let silent = Wrapped::over(udp().await);
    let detector = SwimDetector::new(transport, 3).with_timeout(Duration::from_millis(50));
    let start = Instant::now();
    assert!(!within("the probe ends", detector.probe(&silent.local().to_string(), &[])).await);
    assert!(start.elapsed() >= Duration::from_millis(50), "it waited for an answer");
    assert!(start.elapsed() < BOUND);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_target_is_false_after_two_timeouts() {
    let network = MemoryNetwork::new(1);
    let detectors = detectors(&network, &IDS, 2);
    network.isolate("b");
    let start = tokio::time::Instant::now();
    assert!(!detectors[0].probe("b", &alive(&IDS)).await);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(600) && took < Duration::from_secs(2), "{took:?}");
    // The next ones are stretched, but bounded.
    for _ in 0..5 {
        let start = tokio::time::Instant::now();
        assert!(!detectors[0].probe("b", &alive(&IDS)).await);
        assert!(start.elapsed() <= Duration::from_millis(600 * 9 + 100), "{:?}", start.elapsed());
    }
    network.heal();
    assert!(detectors[0].probe("b", &alive(&IDS)).await, "and back");
}

#[tokio::test(start_paused = true)]
async fn unknown_invalid_and_own_targets_are_false_at_once() {
    let network = MemoryNetwork::new(1);
    let detector = SwimDetector::new(network.transport("a").unwrap(), 3);
    let start = tokio::time::Instant::now();
    let long = "n".repeat(128);
    for target in ["unknown", "", "line\nbreak", &long, "a"] {
        assert!(!detector.probe(target, &alive(&IDS)).await, "{target:?}");
        assert!(!detector.probe(target, &[]).await, "{target:?}");
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn two_nodes_probe_each_other_and_notice_that_one_is_gone() {
    let network = MemoryNetwork::new(1);
    let mut pair = detectors(&network, &["a", "b"], 3);
    let members = alive(&["a", "b"]);
    assert!(pair[0].probe("b", &members).await && pair[1].probe("a", &members).await);
    // The list need not name the target: the transport finds it.
    assert!(pair[0].probe("b", &[]).await);
    drop(pair.pop());
    assert!(!pair[0].probe("b", &members).await);
}

#[tokio::test(start_paused = true)]
async fn many_probes_at_once_are_each_answered() {
    let network = MemoryNetwork::new(1);
    let detectors = detectors(&network, &IDS, 2);
    let members = alive(&IDS);
    network.cut("a", "b");
    network.isolate("d");
    let (b, c, d, again) = tokio::join!(
        detectors[0].probe("b", &members),
        detectors[0].probe("c", &members),
        detectors[0].probe("d", &members),
        detectors[0].probe("c", &members),
    );
    assert_eq!((b, c, d, again), (true, true, false, true));
}

#[tokio::test(start_paused = true)]
async fn a_detector_is_known_by_the_id_it_is_given() {
    let network = MemoryNetwork::new(1);
    let transport = network.transport("plug").unwrap();
    let named = SwimDetector::new(transport, 2).with_id("named").unwrap();
    let prober = SwimDetector::new(network.transport("a").unwrap(), 2);
    assert!(!named.probe("named", &[]).await, "itself");
    let members: Vec<MemberInfo> = alive(&["plug"]);
    // Under its plug's name it is another member, and does not answer for that one.
    let _ = within("the probe ends", prober.probe("plug", &members)).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_is_followed_to_whatever_address_it_moves() {
    let network = MemoryNetwork::new(1);
    let plug = |id: &str| network.transport(id).unwrap();
    let directory = Wrapped::over(plug("prober"));
    let prober = SwimDetector::new(directory.clone(), 2);
    // Up, down and up again in the order of addresses. The old address is left each time.
    for place in ["m", "z", "b", "y", "a"] {
        let target = SwimDetector::new(plug(place), 2).with_id("target").unwrap();
        directory.name("target", plug_of(place));
        assert!(prober.probe("target", &[]).await, "it is at {place} now");
        drop(target);
    }
}

/// The address of a node in memory.
fn plug_of(id: &str) -> PeerAddr {
    id.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn names_that_are_not_found_delay_only_their_own_probe() {
    let network = MemoryNetwork::new(1);
    let others = detectors(&network, &["b", "c", "d"], 2);
    let directory = Wrapped::over(network.transport("a").unwrap());
    let prober = SwimDetector::new(directory.clone(), 3);
    let silent = ["silent-1", "silent-2", "silent-3", "silent-4"];
    for name in silent {
        directory.hang(name);
    }
    let members = alive(&[&silent[..], &["b", "c", "d"]].concat());
    let start = tokio::time::Instant::now();
    assert!(prober.probe("b", &members).await);
    assert_eq!(start.elapsed(), Duration::ZERO, "the ping does not wait for helpers");

    network.cut("a", "b");
    assert!(prober.probe("b", &members).await, "c and d are found beside them, and reach b");
    assert!(start.elapsed() <= Duration::from_millis(600), "{:?}", start.elapsed());

    let start = tokio::time::Instant::now();
    assert!(!prober.probe("silent-1", &members).await);
    assert!(start.elapsed() <= Duration::from_millis(2_100), "{:?}", start.elapsed());
    drop(others);
}

#[tokio::test]
async fn a_dropped_detector_leaves_no_task() {
    let network = MemoryNetwork::new(1);
    let detectors = detectors(&network, &IDS, 2);
    assert_eq!(tasks(), 4);
    assert!(detectors[0].probe("b", &alive(&IDS)).await);
    drop(detectors);
    until_so("no task is left", || tasks() == 0).await;
    assert_eq!(MAX_INDIRECT, 16);
    let _: Arc<dyn Transport> = network.transport("a").unwrap();
}

/// Polls each probe until its ping is sent and it waits for the answer, and drops it.
#[tokio::test(start_paused = true)]
async fn probes_that_are_given_up_delay_no_other() {
    let network = MemoryNetwork::new(1);
    let detectors = detectors(&network, &["a", "b", "dead"], 2);
    network.isolate("dead");
    let members = alive(&["b", "dead"]);
    for _ in 0..100 {
        let given_up = detectors[0].probe("dead", &members);
        tokio::time::timeout(Duration::from_millis(1), given_up).await.unwrap_err();
    }
    let start = tokio::time::Instant::now();
    assert!(detectors[0].probe("b", &members).await);
    assert_eq!(start.elapsed(), Duration::ZERO);
    until_so("only the three that answer are left", || tasks() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn silent_members_do_not_delay_the_probe_of_another() {
    let network = MemoryNetwork::new(1);
    let detectors = detectors(&network, &["a", "b", "x", "y", "z"], 2);
    ["x", "y", "z"].iter().for_each(|silent| network.isolate(silent));
    let members = alive(&["b", "x", "y", "z"]);
    let limit = Duration::from_millis(250);
    let probe = |id| tokio::time::timeout(limit, detectors[0].probe(id, &members));
    for _ in 0..10 {
        let told = tokio::join!(probe("x"), probe("y"), probe("z"), probe("b"));
        assert_eq!(told.3, Ok(true));
        assert!(told.0.is_err() && told.1.is_err() && told.2.is_err());
    }
    // More than run side by side take turns, and none is lost.
    let many = (0..3 * MAX_PROBES_AT_ONCE).map(|_| detectors[0].probe("b", &members));
    let mut pending: Vec<_> = many.map(Box::pin).collect();
    for probe in &mut pending {
        assert!(probe.await);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_stated_number_of_probes_run_side_by_side() {
    let network = MemoryNetwork::new(1);
    let mut detectors = detectors(&network, &["a", "b"], 0);
    network.isolate("b");
    let detector = Arc::new(detectors.swap_remove(0));
    let (callers, answering) = (3 * MAX_PROBES_AT_ONCE, 2);
    let mut probing = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let detector = detector.clone();
        probing.spawn(async move { detector.probe("b", &[]).await });
    }
    // All have begun, and those that have a turn wait for their answers.
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(tasks() - callers - answering, MAX_PROBES_AT_ONCE, "one task for each probe");
    while let Some(told) = within("the others have their turn", probing.join_next()).await {
        assert!(!told.unwrap());
    }
    until_so("no probe is left", || tasks() == answering).await;
}

/// Those outside the stated range become the nearest one inside.
#[tokio::test(start_paused = true)]
async fn a_detector_probes_with_whatever_timeout_it_is_given() {
    let network = MemoryNetwork::new(1);
    let _answers = SwimDetector::new(network.transport("b").unwrap(), 2);
    let year = Duration::from_secs(366 * 24 * 3_600);
    for timeout in [Duration::ZERO, Duration::from_millis(400), Duration::from_secs(2), year] {
        let detector = SwimDetector::new(network.transport("a").unwrap(), 2).with_timeout(timeout);
        assert!(detector.probe("b", &[]).await, "b answers within {timeout:?}");
        // Which it would not if its settings broke a rule of the node.
        let back = SwimDetector::new(network.transport("c").unwrap(), 2);
        assert!(back.probe("a", &[]).await, "it answers others with a timeout of {timeout:?}");
    }
}
