//! Members that are removed while datagrams wait to be sent to them, or of them.

use super::*;
use crate::membership::Fingerprints;

/// Node 1 of four, and a datagram of node 3 to it whose answer tells of node 2.
fn asked_of_a_member() -> (Net, Vec<u8>) {
    let mut net = Net::joined(4, &Config::default());
    let now = net.now;
    let member = name(2);
    let claim = Claim { id: &member, ..alive(2, 40) };
    net.node(1).cx.table.merge_at(now, &claim);
    let node = net.node(3);
    let slot = node.cx.table.find(&name(1)).unwrap();
    node.anti_entropy.open_session(slot, Fingerprints::default(), true, 0, &mut node.cx);
    let asked = drain(node).into_iter().find(|&(to, _)| to == 1);
    (net, asked.unwrap().1)
}

/// Drains the node, and returns the receiver and the member id of each claim in its datagrams.
fn told(node: &mut Node<u32>) -> Vec<(u32, String)> {
    let mut told = Vec::new();
    for (to, bytes) in drain(node) {
        for frame in frames(&bytes) {
            if let Frame::Claims(claims) = frame {
                told.extend(claims.map(|claim| (to, String::from(claim.id))));
            }
        }
    }
    told
}

#[test]
fn nothing_that_waits_tells_of_a_member_that_is_removed() {
    let (mut net, bytes) = asked_of_a_member();
    let node = net.node(1);
    hear(node, 3, &bytes);
    let (now, members) = (node.now(), [1, 3, 4].map(id).to_vec());
    node.handle(now, Input::ApplyClusterConfig { version: 1, members: members.into() }).unwrap();
    let told = told(node);
    assert!(told.iter().all(|(_, id)| !id.is_empty() && *id != name(2)), "{told:?}");
}

#[test]
fn nothing_that_waits_goes_to_a_member_that_is_removed() {
    let mut net = Net::joined(4, &Config::default());
    let now = net.now;
    for command in [Input::Exchange, Input::Probe { id: id(3) }] {
        net.node(3).handle(now, command.clone()).unwrap();
        net.node(1).handle(now, command).unwrap();
    }
    for (to, bytes) in drain(net.node(3)) {
        if to == 1 {
            hear(net.node(1), 3, &bytes);
        }
    }
    let members = [1, 2, 4].map(id).to_vec();
    net.node(1)
        .handle(now, Input::ApplyClusterConfig { version: 1, members: members.into() })
        .unwrap();
    let to: Vec<u32> = drain(net.node(1)).into_iter().map(|(to, _)| to).collect();
    assert!(!to.contains(&3), "{to:?}");
}
