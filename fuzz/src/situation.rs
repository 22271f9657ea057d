//! Situations: recorded runs of a small cluster that stop while something is in progress, such as a
//! probe, a suspicion or a session.
//!
//! Replaying the inputs of the first node takes microseconds. So raw bytes arrive at a node that
//! has state to damage.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use telemetry_gossip_core::{Config, Generation, Input, Instant, Label, Mode, NodeId, Status};

use crate::cluster::{Cluster, id};
use crate::watched::Watched;
use crate::wire;

/// A recorded run of four nodes, from the point of view of the first.
#[derive(Debug)]
pub struct Situation {
    /// What is in progress.
    pub name: &'static str,
    pub(crate) config: Config,
    /// The inputs of the first node.
    pub(crate) log: Vec<(Instant, Input<'static, SocketAddr>)>,
    /// All datagrams of the run, with the index of the sender.
    pub traffic: Vec<(usize, Vec<u8>)>,
    /// The id hashes of the four nodes.
    pub(crate) id_hashes: [u32; 4],
}

/// The addresses of the four nodes and of a stranger. One is an IPv6 address.
pub static ADDRESSES: [SocketAddr; 5] = [
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7_946),
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 7_946),
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3)), 7_946),
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 4)), 7_946),
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 9),
];

/// The numbers in four ids of 127 characters that have one id hash, found by a search of 2^26.
const OF_ONE_ID_HASH: [u32; 4] = [2_124_915, 13_060_296, 20_057_297, 31_690_909];

static SITUATIONS: LazyLock<Vec<Situation>> = LazyLock::new(record_all);

/// Returns all situations. The first byte of an input selects one, modulo their number.
#[must_use]
pub fn situations() -> &'static [Situation] {
    &SITUATIONS
}

fn config() -> Config {
    Config::default().label(Label::of("fuzz")).max_members(32).max_value(64).max_telemetry(512)
}

type Net = Cluster<SocketAddr>;

/// Runs the cluster until `condition` holds for the first node.
fn run_until(net: &mut Net, what: &str, condition: impl Fn(&Watched<SocketAddr>) -> bool) {
    for _ in 0..60_000 {
        if net.node(0).is_some_and(&condition) {
            return;
        }
        net.run_for(Duration::from_millis(1));
    }
    panic!("the situation was not reached: {what}");
}

/// Cuts all links to the first node.
fn deafen(net: &mut Net) {
    for from in 1..net.len() {
        net.link(from, 0).cut = true;
    }
}

fn join_all_but_the_first(net: &mut Net) {
    net.join(2);
    net.join(3);
    net.run_for(Duration::from_secs(2));
}

fn join_all(net: &mut Net) {
    for host in 1..net.len() {
        net.join(host);
    }
    net.run_for(Duration::from_secs(2));
    for host in 0..net.len() {
        net.command(
            host,
            Input::Publish { key: "load".into(), value: vec![b'0'; 4].into(), urgent: false },
        );
    }
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.defect(), None, "the cluster is not live before the situation");
}

fn status_of(watched: &Watched<SocketAddr>, of: usize) -> Option<Status> {
    watched.node.member(id(of).as_str()).map(|member| member.status())
}

fn record_all() -> Vec<Situation> {
    let probes = |watched: &Watched<SocketAddr>| watched.node.stats().probes;
    let mut all = Vec::new();
    let mut record = |name: &'static str, config: Config, script: &dyn Fn(&mut Net)| {
        let mut net = Cluster::new(config.clone(), &ADDRESSES[..4]);
        (net.log, net.tap) = (Some(Vec::new()), Some(Vec::new()));
        script(&mut net);
        let id_hashes = core::array::from_fn(id_hash);
        let (log, traffic) = (net.log.unwrap_or_default(), net.tap.unwrap_or_default());
        all.push(Situation { name, config, log, traffic, id_hashes });
    };
    record("alone", config(), &|_| {});
    record("joining", config(), &|net| {
        deafen(net);
        net.join(0);
    });
    record("quiet", config(), &join_all);
    record("pinging", config(), &|net| {
        join_all(net);
        deafen(net);
        let before = net.node(0).map_or(0, probes);
        run_until(net, "a ping", |watched| probes(watched) > before);
    });
    record("asking helpers", config(), &|net| {
        join_all(net);
        deafen(net);
        let before = net.node(0).map_or(0, probes);
        run_until(net, "a ping", |watched| probes(watched) > before);
        net.run_for(Duration::from_millis(500));
    });
    record("suspecting", config(), &|net| {
        join_all(net);
        net.crash(3);
        run_until(net, "a suspicion", |watched| status_of(watched, 3) == Some(Status::Suspected));
        deafen(net);
    });
    record("after a death", config(), &|net| {
        join_all(net);
        net.crash(3);
        run_until(net, "a death", |watched| status_of(watched, 3) == Some(Status::Dead));
    });
    record("calling the roll", config(), &|net| {
        join_all(net);
        deafen(net);
        run_until(net, "a roll call", |watched| watched.node.stats().roll_calls > 0);
    });
    record("isolated", config(), &|net| {
        join_all(net);
        deafen(net);
        run_until(net, "an isolation", |watched| watched.node.health().isolated_since.is_some());
    });
    record("opening a session", config(), &|net| {
        join_all(net);
        deafen(net);
        net.command(0, Input::Exchange);
    });
    record("comparing", config(), &|net| {
        join_all(net);
        deafen(net);
        net.command(
            1,
            Input::Publish { key: "load".into(), value: vec![b'9'; 4].into(), urgent: false },
        );
        net.run_for(Duration::from_millis(900));
        net.heal();
        net.command(0, Input::Exchange);
        net.run_for(Duration::from_millis(2));
        deafen(net);
    });
    record("reading from scratch", config().max_telemetry(72), &|net| {
        join_all(net);
        deafen(net);
        // The delete markers of removed keys must make room.
        for key in ["a", "b", "c"] {
            let value = vec![b'9'; 10].into();
            net.command(1, Input::Publish { key: key.into(), value, urgent: false });
            net.command(1, Input::Unpublish { key: key.into() });
        }
        net.run_for(Duration::from_millis(900));
        net.heal();
        net.command(0, Input::Exchange);
        net.run_for(Duration::from_millis(100));
    });
    record("paging", config(), &|net| {
        for to in 1..4 {
            net.link(0, to).cut = true;
        }
        join_all_but_the_first(net);
        net.heal();
        net.join(0);
        net.run_for(Duration::from_millis(2));
        deafen(net);
    });
    record("ping-req", config(), &|net| {
        join_all(net);
        net.link(2, 0).cut = true;
        net.link(1, 2).cut = true;
        run_until(net, "a ping-req", |watched| watched.node.stats().ping_reqs > 0);
    });
    record("refuting", config(), &|net| {
        join_all(net);
        for to in 1..4 {
            net.link(0, to).cut = true;
        }
        run_until(net, "a refutation", |watched| watched.node.stats().refutations > 0);
    });
    record("leaving", config(), &|net| {
        join_all(net);
        net.command(0, Input::Leave);
    });
    record("full", config().max_members(4), &join_all);
    record("remembering a death", config(), &|net| {
        join_all(net);
        net.crash(3);
        // An ack carries the sum of the gone once in ten probe intervals, and only if it has not
        // changed meanwhile.
        net.run_for(Duration::from_secs(40));
    });
    record("seen elsewhere", config(), &|net| {
        join_all(net);
        net.translate(0, ADDRESSES[4]);
        net.run_for(Duration::from_secs(2));
    });
    record("removed", config(), &|net| {
        join_all(net);
        let members: Vec<NodeId> = (1..4).map(id).collect();
        for host in 1..4 {
            let members = members.clone().into();
            net.command(host, Input::ApplyClusterConfig { version: 1, members });
        }
        net.run_for(Duration::from_secs(2));
    });
    record("configured", config(), &|net| {
        join_all(net);
        let members: Vec<NodeId> = (0..5).map(id).collect();
        net.command(0, Input::ApplyClusterConfig { version: 1, members: members.into() });
    });
    record("on demand", config().mode(Mode::OnDemand), &|net| {
        for other in 1..4 {
            introduce(net, 0, other, 0);
        }
        net.command(0, Input::Exchange);
        net.run_for(Duration::from_millis(10));
        net.command(0, Input::Probe { id: id(1) });
    });
    // With a table this large, a session begins by asking whether the tables differ, and finds
    // different ranges by their sums.
    let large = config().mode(Mode::OnDemand).max_members(64);
    record("asking whether tables differ", large.clone(), &|net| {
        introduce_many(net);
        deafen(net);
        net.command(0, Input::Exchange);
    });
    record("comparing sums", large, &|net| {
        introduce_many(net);
        net.command(0, Input::Exchange);
        net.run_for(Duration::from_millis(4));
        deafen(net);
    });
    // A page holds three of the four members of one id hash.
    record("paging within an id hash", config().mode(Mode::OnDemand).mtu(512), &|net| {
        for number in OF_ONE_ID_HASH {
            let id = NodeId::new(&format!("{number:x>127}")).expect("the name is a valid id");
            let generation = Generation(7);
            net.command(1, Input::Introduce { id, address: None, instance: None, generation });
        }
        net.command(0, Input::Join { seeds: vec![ADDRESSES[1]].into() });
        net.run_for(Duration::from_millis(4));
        deafen(net);
    });
    all
}

/// Introduces the first two nodes to each other and to many others. Each of the two knows some
/// members that the other does not know. The others have no address, so that they are not asked.
fn introduce_many(net: &mut Net) {
    for host in 0..2 {
        introduce(net, host, 1 - host, 0);
        for other in (10..46).filter(|other| other % 20 != host) {
            let (id, generation) = (id(other), Generation(7));
            net.command(host, Input::Introduce { id, address: None, instance: None, generation });
        }
    }
}

fn introduce(net: &mut Net, host: usize, other: usize, generation: u64) {
    let (address, generation) = (Some(ADDRESSES[other]), Generation(generation));
    net.command(host, Input::Introduce { id: id(other), address, instance: None, generation });
}

/// Returns the id hash of a node, as in the header of its first datagram.
fn id_hash(host: usize) -> u32 {
    let mut node = Net::first_node(config(), host, ADDRESSES[host]);
    let seeds = vec![ADDRESSES[4]];
    node.handle(Instant::ORIGIN, Input::Join { seeds: seeds.into() }).expect("there is a seed");
    node.sent.first().and_then(|(_, bytes)| wire::sender(bytes)).expect("a joining node sends")
}

impl Situation {
    /// Makes a node in this situation.
    ///
    /// # Panics
    /// If the replay differs from the run.
    #[must_use]
    pub fn node(&self) -> Watched<SocketAddr> {
        let mut watched = Net::first_node(self.config.clone(), 0, ADDRESSES[0]);
        for (now, input) in &self.log {
            watched.handle(*now, input.clone()).expect("the recorded node accepted it");
        }
        watched
    }
}
