//! The input of the target `canonical`, which is that of `bytes`. It checks that each datagram has
//! one meaning.
//!
//! A second reader and a writer (`tests/wire` of the core) were written from `docs/wire.md` and
//! share no code with the core. The node must accept exactly the datagrams that the second reader
//! accepts. Written again in the shortest form, a datagram must have the same meaning and the same
//! effect. The node itself must write the shortest form only.

use std::net::SocketAddr;

use telemetry_gossip_core::{Address as _, Health, Instant, MAX_ADDRESS_LEN, Node, NodeId};

use crate::cost::LONGEST;
use crate::meaning::{Frame, Hex};
use crate::{reader, warm, writer};

/// The outcome of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Both readers accepted it.
    pub read: bool,
    /// It was not in the shortest form.
    pub shortened: bool,
    /// The number of datagrams that the node sent, all in the shortest form.
    pub sent: usize,
}

/// Runs one input.
///
/// # Panics
/// If the two readers disagree, or two forms of a datagram have different effects.
pub fn run(input: &[u8]) -> Outcome {
    let Some((&first, datagram)) = input.split_first() else { return Outcome::default() };
    warm::meet(first, |node, from| {
        let label = node.node().config().label.0;
        let read = reader::datagram(datagram, label);
        let result = node.receive(from, datagram);
        // The second reader knows no limit of length.
        let fits = datagram.len() <= LONGEST.max(node.node().config().mtu.into());
        let expected = read.is_ok() && fits;
        assert_eq!(result.is_ok(), expected, "node: {result:?}, second reader: {read:?}");
        let Some((header, frames)) = read.ok().filter(|_| fits) else { return Outcome::default() };
        check_names(&frames);
        let effect = Effect::on(node.node());
        let mut outcome = Outcome { read: true, ..Outcome::default() };
        let mut check = |_, sent: &[u8]| {
            let (header, frames) =
                reader::datagram(sent, label).expect("the page describes each datagram");
            let shortest = writer::datagram(&header, &frames);
            assert_eq!(shortest, sent, "a node sent a datagram that is not in the shortest form");
            outcome.sent += 1;
        };
        node.drain(&mut check);
        node.tick();
        node.drain(&mut check);

        let short = writer::datagram(&header, &frames);
        assert!(short.len() <= datagram.len(), "the shortest form is longer than the datagram");
        assert_eq!(
            reader::datagram(&short, label),
            Ok((header, frames)),
            "the shortest form has another meaning"
        );
        if short != datagram {
            outcome.shortened = true;
            assert_eq!(node.receive(from, &short), Ok(()), "the shortest form is refused");
            assert_eq!(Effect::on(node.node()), effect, "the shortest form has another effect");
        }
        outcome
    })
}

/// The effect of a datagram on a node, as visible before the node sends anything.
#[derive(Debug, PartialEq, Eq)]
struct Effect {
    table: u64,
    /// Needed besides the fingerprint, which does not cover dead members.
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

/// Checks that the core writes addresses and ids in the form in which they were read.
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
        assert!(bytes.0.is_empty(), "{bytes:?} is not an address");
    }
}
