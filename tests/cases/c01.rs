//! Hosts with more than one address: a node bound to 0.0.0.0 is reached at one address, and what it sends leaves from another.
//! On loopback the system sends from 127.0.0.1, whatever 127.0.0.x the datagram came to.
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use telemetry_gossip::Event;

use telemetry_gossip::node::GossipNode;
use telemetry_gossip::transport::{Sealing, UdpTransport};

async fn run(multihomed: &[u8]) -> (bool, usize, usize) {
    let (mut nodes, mut seed) = (Vec::new(), vec![]);
    for host in 2..7_u8 {
        let at = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
        let transport = if multihomed.contains(&host) {
            UdpTransport::bind_advertised("0.0.0.0:0".parse().unwrap(), at, Sealing::Plaintext).await.unwrap()
        } else {
            UdpTransport::bind(at, Sealing::Plaintext).await.unwrap()
        };
        let address = transport.local_addr().to_string();
        let node = GossipNode::new(format!("host-{host}"), seed.clone(), transport);
        node.start().await;
        if seed.is_empty() { seed.push(address); }
        nodes.push(node);
    }
    let mut events = nodes[0].events();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let complete = nodes.iter().all(|node| node.view().alive() == 5);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mut suspected = 0;
    while let Ok(Ok(notice)) = tokio::time::timeout(Duration::from_millis(1), events.recv()).await {
        suspected += usize::from(matches!(notice, Event::Suspected { .. }));
    }
    let mut isolated = 0;
    for node in &nodes { isolated += usize::from(node.health().await.unwrap().isolated_since.is_some()); }
    (complete, suspected, isolated)
}

#[tokio::test(flavor = "current_thread")]
async fn one_of_five_answers_from_another_address() {
    let (complete, suspected, isolated) = run(&[4]).await;
    println!("one: complete {complete}, suspicions seen by one node in 40 s: {suspected}, isolated nodes: {isolated}");
    assert!(complete && suspected == 0 && isolated == 0);
}

#[tokio::test(flavor = "current_thread")]
async fn all_answer_from_another_address() {
    let (complete, suspected, isolated) = run(&[2, 3, 4, 5, 6]).await;
    println!("all: complete {complete}, suspicions seen by one node in 40 s: {suspected}, isolated nodes: {isolated}");
    assert!(complete && suspected == 0 && isolated == 0);
}
