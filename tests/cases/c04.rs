//! Once a join has completed, seeds are never asked again. Two ways to stay apart for good, with a seed list that is right.
use std::sync::{Arc, Mutex};
use std::time::Duration;
use telemetry_gossip::node::GossipNode;
use telemetry_gossip::transport::{BoxFuture, MemoryNetwork, NameError, PeerAddr as Peer, SharedSeal, Subscription, Transport};

async fn start(network: &MemoryNetwork, id: &str, seeds: &[&str]) -> GossipNode {
    let node = GossipNode::new(id.into(), seeds.iter().map(|&s| s.to_owned()).collect(), network.transport(id).unwrap());
    node.start().await;
    node
}

/// Two sites, one seed list for all (two members of each site). They boot while the link between the sites is down.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn two_sites_that_boot_apart_find_each_other_once_the_link_is_up() {
    let network = MemoryNetwork::new(1);
    for (west, east) in [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")] { network.cut(west, east); network.cut(east, west); }
    let mut nodes = Vec::new();
    for id in ["a", "b", "c", "d"] { nodes.push(start(&network, id, &["a", "b", "c", "d"]).await); }
    tokio::time::sleep(Duration::from_secs(60)).await;
    network.heal();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(nodes.iter().map(|node| node.view().alive()).collect::<Vec<_>>(), [4, 4, 4, 4]);
}

/// "peers" is a name that somebody else keeps up to date.
#[derive(Debug)]
struct Named(Arc<dyn Transport>, Arc<Mutex<Vec<&'static str>>>);
impl Transport for Named {
    fn local(&self) -> Peer { self.0.local() }
    fn send(&self, to: Peer, bytes: &[u8]) -> std::io::Result<()> { self.0.send(to, bytes) }
    fn subscribe(&self) -> Subscription { self.0.subscribe() }
    fn seal(&self) -> Option<&Arc<SharedSeal>> { None }
    fn check_name(&self, _: &str) -> Result<(), NameError> { Ok(()) }
    fn close(&self) { self.0.close() }
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, std::io::Result<Vec<Peer>>> {
        Box::pin(async { Ok(self.1.lock().unwrap().iter().map(|at| Peer::try_from(*at).unwrap()).collect()) })
    }
}

/// One of three is cut off; meanwhile the others are moved to new addresses, and the name says so.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn who_was_cut_off_while_all_others_moved_finds_them_by_its_seed_name() {
    let (network, name) = (MemoryNetwork::new(1), Arc::new(Mutex::new(vec!["at-1", "at-2", "at-3"])));
    let node = async |id: &str, at: &str| {
        let transport = Arc::new(Named(network.transport(at).unwrap(), name.clone()));
        let node = GossipNode::new(id.into(), vec!["peers".into()], transport);
        node.start().await;
        node
    };
    let (a, b, c) = (node("a", "at-1").await, node("b", "at-2").await, node("c", "at-3").await);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!([&a, &b, &c].iter().all(|node| node.view().alive() == 3));
    network.isolate("at-1");
    tokio::time::sleep(Duration::from_secs(30)).await;
    drop((b, c));
    *name.lock().unwrap() = vec!["at-22", "at-33"];
    let (b, c) = (node("b", "at-22").await, node("c", "at-33").await);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((b.view().alive(), c.view().alive()), (2, 2));
    network.heal();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let seen: Vec<_> = [&a, &b, &c].iter().map(|node| node.view().alive()).collect();
    println!("a: {:?}, isolated: {}", a.members(), a.health().await.unwrap().isolated_since.is_some());
    assert_eq!((seen, b.members().len(), a.health().await.unwrap().isolated_since), (vec![3, 3, 3], 3, None));
}
