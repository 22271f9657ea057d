//! The sum over the members that are gone, which an ack carries now and then.

use super::*;
use crate::wire::{Ping, kind};

/// The time between two looks at the sum.
const LOOK: Duration = Duration::from_secs(10);

/// A node among n2 to n30, which are introduced by its host.
fn among_thirty() -> Node<u32> {
    let mut node = node(1, &Config::default());
    introduce(&mut node, (2..=30).map(|at| alive(at, 0)));
    drain(&mut node);
    node
}

/// The sum that the node adds to the ack for a ping of n2 that comes now.
fn sum_said(node: &mut Node<u32>) -> Option<u32> {
    let ping = Ping { number: 7, target: node.cx.this.id_hash.0 };
    hear(node, 2, &datagram(2, |w| assert!(w.frame(kind::PING, &ping))));
    let acks = drain(node).into_iter().filter(|&(to, _)| to == 2);
    let said = acks.flat_map(|(_, bytes)| {
        let sums = frames(&bytes).into_iter().filter_map(|frame| match frame {
            Frame::Gone(gone) => Some(gone.sum),
            _ => None,
        });
        sums.collect::<Vec<_>>()
    });
    said.last()
}

/// What the node says at the next looks, before each of which n2 tells it of one more death, as far
/// as there are any.
fn sums_said(node: &mut Node<u32>, deaths: &[Option<u32>]) -> Vec<bool> {
    let mut said = Vec::new();
    for &death in deaths {
        // Its host hands it nothing but these datagrams.
        let now = node.now() + LOOK;
        node.handle(now, Input::Datagram { from: 2, bytes: claims(2, &[]).into() }).unwrap();
        if let Some(dead) = death {
            let dead = Claim { status: Status::Dead, ..alive(dead, 1) };
            hear(node, 2, &claims(2, &[dead]));
        }
        let sum = sum_said(node);
        assert!(sum.is_none_or(|sum| sum == node.cx.table.gone_sum()));
        said.push(sum.is_some());
    }
    said
}

#[test]
fn a_node_that_holds_no_record_of_members_that_are_gone_says_no_sum() {
    let mut node = among_thirty();
    assert_eq!(sums_said(&mut node, &[None; 20]), [false; 20]);
}

/// A death that some have heard of and others have not is no difference that has to be repaired.
#[test]
fn the_sum_is_said_once_it_has_stood_still_from_one_look_to_the_next() {
    let mut node = among_thirty();
    let said = sums_said(&mut node, &[Some(3), None, None, Some(4), None]);
    assert_eq!(said, [false, true, true, false, true]);
    // Once per look, however many pings come.
    assert_eq!(sum_said(&mut node), None);
}

#[test]
fn where_members_die_all_the_time_the_sum_is_said_after_three_changes_in_a_row() {
    let mut node = among_thirty();
    let said = sums_said(&mut node, &[3, 4, 5, 6, 7, 8].map(Some));
    assert_eq!(said, [false, false, false, true, true, true]);
}
