//! Nodes that follow a registry, on a network in memory and in virtual time.

use std::time::Duration;

use telemetry_gossip_core::Status as MemberStatus;
use telemetry_gossip_tokio::MemoryNetwork;

use super::*;
use crate::document::{ClusterId, Edition, Member};
use crate::head::Stamp;
use crate::store::{MemoryStore, Write};

struct Node {
    agent: Agent,
    following: Following,
}

/// A cluster whose nodes follow one registry.
struct Fleet {
    network: MemoryNetwork,
    store: MemoryStore,
    newest: Edition,
}

impl Fleet {
    async fn new(ids: &[&str]) -> Self {
        // Nodes in memory are found by their ids, so that the list needs no addresses.
        let members = ids.iter().map(|id| (id.parse().unwrap(), Member::default()));
        let newest = Edition::first(ClusterId::from_random([1; 16]), "", members).unwrap();
        let fleet = Self { network: MemoryNetwork::new(1), store: MemoryStore::new(), newest };
        fleet.write().await;
        fleet
    }

    async fn write(&self) {
        let found = self.store.head().await.unwrap();
        let write = Write::new(self.newest.clone(), &Stamp::new("ana", "test"), found.as_ref());
        assert_eq!(self.store.write(&write).await.unwrap(), crate::store::Written::Done);
    }

    async fn edit(&mut self, edit: impl FnOnce(&Edition) -> Edition) {
        self.newest = edit(&self.newest);
        self.write().await;
    }

    fn start(&self, id: &str, seeds: &[&str], state: Option<&std::path::Path>) -> Node {
        let mut options = Options::new(id.parse().unwrap()).seeds(seeds.iter().copied());
        options.state_dir = state.map(std::path::Path::to_owned);
        let registry = Registry::new(Arc::new(self.store.clone())).rng_seed([7; 32]);
        let prepared = registry.prepare(&mut options);
        let agent = Agent::spawn(options, self.network.transport(id).unwrap()).unwrap();
        let following = prepared.follow(&agent);
        Node { agent, following }
    }
}

impl Node {
    async fn at(&self, version: u64) {
        let is_at = |status: &Status| {
            status.in_force.as_ref().is_some_and(|in_force| in_force.version == version)
        };
        let mut changes = self.following.changes();
        let waited = tokio::time::timeout(Duration::from_secs(60), changes.wait_for(is_at)).await;
        waited.expect("the version is in force within a minute").unwrap();
    }

    async fn sees(&self, alive: usize) {
        let mut events = self.agent.events();
        while self.agent.view().alive() != alive {
            events.recv().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_version_spreads_by_what_the_nodes_publish() {
    let mut fleet = Fleet::new(&["a", "b", "c"]).await;
    let nodes = [
        fleet.start("a", &[], None),
        fleet.start("b", &["a"], None),
        fleet.start("c", &["a"], None),
    ];
    for node in &nodes {
        node.at(1).await;
        node.sees(3).await;
    }
    fleet.edit(|newest| newest.add([("d".parse().unwrap(), Member::default())]).unwrap()).await;
    let written = Instant::now();
    nodes[0].following.read_now();
    for node in &nodes {
        node.at(2).await;
    }
    assert!(written.elapsed() < Duration::from_secs(4), "{:?}", written.elapsed());
    let published = nodes[2].agent.member("a").unwrap();
    let expected = format!("2.{}", fleet.newest.hash().short());
    assert_eq!(published.value("tg.config").unwrap().value, expected.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_leaves_and_says_by_whom_and_why() {
    let mut fleet = Fleet::new(&["a", "b"]).await;
    let (a, b) = (fleet.start("a", &[], None), fleet.start("b", &["a"], None));
    a.sees(2).await;
    b.at(1).await;
    let stamp = Stamp::new("ana", "stolen");
    fleet.edit(|newest| newest.remove(&["b".parse().unwrap()], None, &stamp).unwrap()).await;
    let gone = b.following.gone().await.expect("it leaves");
    assert_eq!(
        gone.to_string(),
        "this node was removed in version 2 of the registry by ana: stolen"
    );
    a.at(2).await;
    assert_eq!(a.agent.view().alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_restarts_while_the_store_is_down_goes_by_what_it_has_kept() {
    let fleet = Fleet::new(&["a", "b"]).await;
    let folder = tempfile::tempdir().unwrap();
    let a = fleet.start("a", &[], Some(folder.path()));
    a.at(1).await;
    a.agent.shutdown().await;
    fleet.store.set_down(true);
    drop(a);
    let a = fleet.start("a", &[], Some(folder.path()));
    assert!(a.following.status().is_ready());
    assert_eq!(a.agent.health().await.unwrap().cluster_config, Some(1));
    // What was kept is told to the others at once, and that the store is down to the host.
    let mut changes = a.following.changes();
    let held =
        |status: &Status| matches!(&status.state, State::Held(why) if why.word() == "unreachable");
    changes.wait_for(held).await.unwrap();
    fleet.store.set_down(false);
    changes.wait_for(|status| status.state == State::Current).await.unwrap();
    // Without anything kept it waits, and is not ready.
    fleet.store.set_down(true);
    let b = fleet.start("b", &["a"], None);
    b.sees(2).await;
    assert!(!b.following.status().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_named_knocks_and_belongs_once_it_is_added() {
    let mut fleet = Fleet::new(&["a"]).await;
    let a = fleet.start("a", &[], None);
    a.at(1).await;
    let x = fleet.start("x", &["a"], None);
    let mut changes = x.following.changes();
    changes.wait_for(|status| matches!(status.state, State::NotYetMember { .. })).await.unwrap();
    let mut events = a.agent.events();
    while a.following.pending().is_empty() {
        events.recv().await.unwrap();
    }
    assert_eq!(a.following.pending()[0].id, "x");
    assert_eq!(a.agent.view().alive(), 1);
    fleet.edit(|newest| newest.add([("x".parse().unwrap(), Member::default())]).unwrap()).await;
    x.at(2).await;
    a.at(2).await;
    a.sees(2).await;
    x.sees(2).await;
    assert!(a.following.pending().is_empty() && x.following.status().is_ready());
    assert_eq!(x.agent.member("a").unwrap().status, MemberStatus::Alive);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_cannot_be_published_is_published_once_there_is_room() {
    let fleet = Fleet::new(&["a"]).await;
    let mut options = Options::new("a".parse().unwrap());
    let prepared = Registry::new(Arc::new(fleet.store.clone())).prepare(&mut options);
    let agent = Agent::spawn(options, fleet.network.transport("a").unwrap()).unwrap();
    for (name, value) in [("long", &[0; 512][..]), ("short", &[0])] {
        let mut count = 0;
        while agent.publish(&format!("{name}{count}"), value).await.is_ok() {
            count += 1;
        }
        assert!(count > 0, "{name}");
    }
    let mut published = agent.subscribe(crate::follow::TELEMETRY_KEY);
    let node = Node { following: prepared.follow(&agent), agent };
    node.at(1).await;
    assert_eq!(node.agent.member("a").unwrap().value("tg.config"), None);
    node.agent.unpublish("long0").await.unwrap();
    let minute = Duration::from_secs(60);
    let change = tokio::time::timeout(minute, published.recv()).await.expect("it is published");
    assert!(change.unwrap().value.unwrap().value.starts_with(b"1."));
}

#[tokio::test(start_paused = true)]
async fn the_same_list_in_other_words_is_the_document_in_force() {
    let mut fleet = Fleet::new(&["a"]).await;
    let a = fleet.start("a", &[], None);
    a.at(1).await;
    let words = [b"# by a template\n", fleet.newest.bytes()].concat();
    fleet.edit(|_| Edition::parse(&words).unwrap()).await;
    a.following.read_now();
    let mut changes = a.following.changes();
    let hash = fleet.newest.hash();
    let is_new = |status: &Status| status.in_force.as_ref().is_some_and(|it| it.hash == hash);
    changes.wait_for(is_new).await.unwrap();
    assert_eq!(a.following.document().as_deref(), Some(&words[..]));
}

/// A store whose calls never return.
#[derive(Debug)]
struct Hung(std::sync::mpsc::Sender<()>);

impl Store for Hung {
    fn location(&self) -> String {
        "hung".to_owned()
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn head(&self) -> crate::store::StoreFuture<'_, Option<crate::store::FoundHead>> {
        let _ = self.0.send(());
        Box::pin(std::future::pending())
    }

    fn document(&self, _: u64, _: u32) -> crate::store::StoreFuture<'_, Option<Vec<u8>>> {
        Box::pin(std::future::pending())
    }

    fn write<'a>(&'a self, _: &'a Write) -> crate::store::StoreFuture<'a, crate::store::Written> {
        Box::pin(std::future::pending())
    }

    fn versions(&self) -> crate::store::StoreFuture<'_, Vec<u64>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_keeps_neither_the_node_nor_its_registry_waiting() {
    let (calls, called) = std::sync::mpsc::channel();
    let mut options = Options::new("a".parse().unwrap());
    let prepared = Registry::new(Arc::new(Hung(calls))).prepare(&mut options);
    let agent = Agent::spawn(options, MemoryNetwork::new(1).transport("a").unwrap()).unwrap();
    let following = prepared.follow(&agent);
    let mut changes = following.changes();
    changes.wait_for(|status| status.failures >= 3).await.unwrap();
    agent.publish("load", b"1").await.unwrap();
    assert!(called.try_iter().count() >= 3, "a call that was given up has ended");
    agent.shutdown().await;
}
