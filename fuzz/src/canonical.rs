//! The input of the target `canonical`: the same as of `bytes`, for another question: is there one
//! meaning to a datagram?
//!
//! The reader and the writer made from `docs/wire.md` (`tests/wire` of the core) have nothing of
//! the core's code. What that reader takes the node must take, and nothing else; written anew in
//! the shortest form it must mean the same, and do the same to the node; and whatever the node says
//! must be in that form.

use std::net::SocketAddr;

use telemetry_gossip_core::{Address as _, Health, Instant, MAX_ADDRESS_LEN, Node, NodeId};

use crate::meaning::{Frame, Hex};
use crate::{reader, warm, writer};

/// What became of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// It was read by both readers.
    pub read: bool,
    /// It was not in the shortest form.
    pub shortened: bool,
    /// Datagrams that the node said, all in the shortest form.
    pub said: usize,
}

/// Runs one input.
///
/// # Panics
/// If two readers disagree, or two forms of a datagram.
pub fn run(input: &[u8]) -> Outcome {
    let Some((&first, datagram)) = input.split_first() else { return Outcome::default() };
    warm::meet(first, |node, from| {
        let label = node.node().config().label.0;
        let read = reader::datagram(datagram, label);
        let heard = node.hear(from, datagram);
        assert_eq!(heard.is_ok(), read.is_ok(), "the node: {heard:?}, the page: {read:?}");
        let Ok((header, frames)) = read else { return Outcome::default() };
        check_names(&frames);
        let effect = Effect::on(node.node());
        let mut outcome = Outcome { read: true, ..Outcome::default() };
        let mut check = |_, said: &[u8]| {
            let (header, frames) =
                reader::datagram(said, label).expect("what a node says is on the page");
            assert_eq!(writer::datagram(&header, &frames), said, "not said in the shortest form");
            outcome.said += 1;
        };
        node.said(&mut check);
        node.tick();
        node.said(&mut check);

        let short = writer::datagram(&header, &frames);
        assert!(short.len() <= datagram.len(), "the shortest form is longer");
        assert_eq!(
            reader::datagram(&short, label),
            Ok((header, frames)),
            "another meaning in the shortest form"
        );
        if short != datagram {
            outcome.shortened = true;
            assert_eq!(node.hear(from, &short), Ok(()), "the shortest form is refused");
            assert_eq!(Effect::on(node.node()), effect, "another effect in the shortest form");
        }
        outcome
    })
}

/// What a datagram has done to a node, as far as it shows before anything is sent.
#[derive(Debug, PartialEq, Eq)]
struct Effect {
    table: u64,
    /// The dead are not in the fingerprint.
    members: Vec<(String, Option<SocketAddr>, u64, u8, u64)>,
    health: Health,
    due: Option<Instant>,
}

impl Effect {
    fn on(node: &Node<SocketAddr>) -> Self {
        let members = node.members().map(|member| {
            let (id, address, generation) =
                (member.id().to_owned(), member.address(), member.generation().0);
            (id, address, generation, member.status() as u8, member.telemetry_version())
        });
        Self {
            table: node.membership().fingerprint(),
            members: members.collect(),
            health: node.health(),
            due: node.poll_timeout(),
        }
    }
}

/// Addresses and ids that were read are written as they were read.
fn check_names(frames: &[Frame]) {
    for frame in frames {
        match frame {
            Frame::Relay { address, .. } => check_address(address),
            Frame::Claims { claims } => {
                for claim in claims {
                    check_address(&claim.address);
                    assert_eq!(
                        NodeId::new(&claim.id).map(|id| id.as_str().to_owned()),
                        Ok(claim.id.clone())
                    );
                }
            }
            _ => {}
        }
    }
}

fn check_address(bytes: &Hex) {
    if let Some(address) = SocketAddr::decode(&bytes.0) {
        let mut buf = [0; MAX_ADDRESS_LEN];
        let len = address.encode(&mut buf);
        assert_eq!(buf[..len], bytes.0, "{address}");
        assert!(address.is_encoded(&bytes.0), "{address}");
    } else {
        assert!(bytes.0.is_empty(), "{bytes:?} is no address");
    }
}
