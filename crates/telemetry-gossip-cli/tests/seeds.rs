//! Seeds whose names lead nowhere, or to the node itself: a warning, and the agent goes on. A seed
//! that can never be one ends it.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use common::{Agent, text, tgossip};

/// One list of seeds serves all nodes. At the first boot no name is known, or only the own one.
#[test]
fn an_agent_whose_seeds_lead_nowhere_or_to_itself_warns_and_waits() {
    // A host name with an empty label is invalid, so this test needs no name server.
    let nowhere = Agent::start("n1", &["--join", "peers..invalid:7946"]);
    let warned = nowhere.wait_for(|line| line["event"] == "warning");
    let warning = warned["text"].as_str().unwrap();
    assert!(warning.contains("the seed peers..invalid:7946 has no address so far"), "{warning}");
    let address = nowhere.udp.to_string();
    let second = Agent::start("n2", &["--join", "peers..invalid:7946", &address]);
    second.wait_for(|line| line["event"] == "join-completed");
    nowhere.wait_for_event("joined", "n2");
}

#[test]
fn the_first_node_may_have_the_seeds_of_all_others() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let first = Agent::start("n1", &["--bind", &free, "--join", &free]);
    let warned = first.wait_for(|line| line["event"] == "warning");
    assert!(warned["text"].as_str().unwrap().contains("lead to this node alone so far"));
    let _second = Agent::start("n2", &["--join", &free]);
    first.wait_for_event("joined", "n2");
}

#[test]
fn a_seed_of_a_family_that_the_node_does_not_reach_ends_the_agent() {
    let refused = tgossip(&["agent", "--id", "a", "--join", "[::1]:7946"]);
    let error = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{error}");
    assert!(error.contains("[::1]:7946") && error.contains("bind it to [::] for both"), "{error}");
}
