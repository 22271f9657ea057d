//! Performs the operations of a scenario on a cluster.

use std::borrow::Cow;

use telemetry_gossip_core::{Input, MAX_ID_LEN, NodeId};

use super::{Group, Operation};
use crate::cluster::{Cluster, node_id};
use crate::process::{Condition, Spawn};
use crate::rng::micros;

impl Operation {
    /// Performs the operation; returns false if it had no effect. Nodes to which it does not apply,
    /// such as a node that is down for a pause, are left alone.
    #[must_use]
    pub(super) fn perform(&self, cluster: &mut Cluster) -> bool {
        match self {
            Self::Crash(nodes) => changes(cluster, nodes, Cluster::crash),
            Self::Restart { nodes, memory, place, rejoin } => {
                changes(cluster, nodes, |cluster, node| {
                    if cluster.simulation().condition(node) == Some(Condition::Down) {
                        cluster.restart_with(node, *memory, *place, *rejoin);
                    }
                })
            }
            Self::Reunite {} => cluster.reunite(),
            Self::Pause(nodes) => changes(cluster, nodes, Cluster::pause),
            Self::Resume(nodes) => changes(cluster, nodes, Cluster::resume),
            Self::Save(nodes) => any(cluster, nodes, |cluster, node| {
                cluster.save(node);
                true
            }),
            Self::Block(nodes) => changes(cluster, nodes, Cluster::block),
            Self::Unblock(nodes) => changes(cluster, nodes, Cluster::unblock),
            Self::SendElsewhere(nodes) => any(cluster, nodes, |cluster, node| {
                cluster.send_elsewhere(node);
                true
            }),
            Self::LoseAddress(nodes) => any(cluster, nodes, |cluster, node| {
                cluster.lose_address(node);
                true
            }),
            Self::RegainAddress(nodes) => any(cluster, nodes, |cluster, node| {
                cluster.regain_address(node);
                true
            }),
            Self::Slow { nodes, by } => any(cluster, nodes, |cluster, node| {
                cluster.simulation_mut().slow(node, *by);
                true
            }),
            Self::LateTicks { nodes, by } => any(cluster, nodes, |cluster, node| {
                cluster.simulation_mut().delay_ticks(node, *by);
                true
            }),
            Self::Jump { nodes, by, back } => any(cluster, nodes, |cluster, node| {
                cluster.simulation_mut().jump(node, *by, *back);
                true
            }),
            Self::Leave(nodes) => {
                any(cluster, nodes, |cluster, node| command(cluster, node, Input::Leave))
            }
            Self::Join(count) => {
                for _ in 0..*count {
                    cluster.add();
                }
                *count > 0
            }
            Self::JoinLong(count) => {
                for _ in 0..*count {
                    let id = long_id(cluster.len());
                    cluster.add_as(Spawn::new(id));
                }
                *count > 0
            }
            Self::Replace(nodes) => any(cluster, nodes, |cluster, node| {
                let runs = cluster.simulation().condition(node) == Some(Condition::Running);
                if runs {
                    cluster.replace(node);
                }
                runs
            }),
            Self::Storm { nodes, count } => any(cluster, nodes, |cluster, node| {
                (0..*count).fold(false, |any, turn| any | storm(cluster, node, turn))
            }),
            Self::Twin(nodes) => any(cluster, nodes, |cluster, node| {
                let id = cluster.simulation().id(node);
                id.is_some_and(|id| {
                    cluster.add_as(Spawn::new(id));
                    true
                })
            }),
            Self::Ghosts { nodes, count } => any(cluster, nodes, |cluster, node| {
                cluster.simulation_mut().introduce_ghosts(node, *count).is_ok()
            }),
            Self::Configure(nodes) => {
                // Later configurations need higher versions.
                let version = micros(cluster.now()) + 1;
                let simulation = cluster.simulation();
                let mut members: Vec<_> =
                    (0..simulation.len()).filter_map(|index| simulation.id(index)).collect();
                members.sort_unstable();
                members.dedup();
                any(cluster, nodes, |cluster, node| {
                    let members = Cow::Borrowed(members.as_slice());
                    command(cluster, node, Input::ApplyClusterConfig { version, members })
                })
            }
            Self::AcceptLoss(nodes) => {
                any(cluster, nodes, |cluster, node| command(cluster, node, Input::AcceptLoss))
            }
            Self::Publish { nodes, key, value } => any(cluster, nodes, |cluster, node| {
                let (key, value) = (Cow::Borrowed(key.as_str()), Cow::Borrowed(value.as_bytes()));
                command(cluster, node, Input::Publish { key, value, urgent: false })
            }),
            Self::Partition { left, right } => {
                let (left, right) = (indices(cluster, left), indices(cluster, right));
                let links = has_links(&left, &right);
                cluster.partition(left, right);
                links
            }
            Self::Cut { from, to } => {
                let (from, to) = (indices(cluster, from), indices(cluster, to));
                let links = has_links(&from, &to);
                cluster.cut(from, to);
                links
            }
            Self::Lose { from, to, loss } => {
                let (from, to) = (indices(cluster, from), indices(cluster, to));
                for &source in &from {
                    for &target in to.iter().filter(|&&target| target != source) {
                        cluster.lose(source, target, *loss);
                    }
                }
                has_links(&from, &to)
            }
            Self::Ring(reach) => {
                cluster.simulation_mut().ring(*reach);
                // In a smaller cluster the ring does not separate any nodes.
                cluster.len() > 2 * reach + 1
            }
            Self::Heal {} => {
                cluster.heal();
                true
            }
            Self::Lie(lie) => {
                let (about, to) = (indices(cluster, &lie.about), indices(cluster, &lie.to));
                let speaks = !about.is_empty() && !to.is_empty();
                cluster.simulation_mut().begin_lie(lie.plan(), about, to);
                speaks
            }
            Self::StopLying {} => cluster.simulation_mut().stop_lying(),
            Self::Network(network) => {
                cluster.simulation_mut().set_network(*network);
                true
            }
        }
    }
}

fn indices(cluster: &mut Cluster, nodes: &Group) -> Vec<usize> {
    nodes.of(cluster.simulation_mut())
}

/// Whether a datagram can go from one group to the other.
fn has_links(from: &[usize], to: &[usize]) -> bool {
    from.iter().any(|source| to.iter().any(|target| target != source))
}

/// Calls `act` for each node of a group; returns whether it had an effect on any.
fn any(
    cluster: &mut Cluster,
    nodes: &Group,
    mut act: impl FnMut(&mut Cluster, usize) -> bool,
) -> bool {
    let mut done = false;
    for node in indices(cluster, nodes) {
        done |= act(cluster, node);
    }
    done
}

/// Calls `act` for each node of a group; returns whether the condition of any node changed.
fn changes(cluster: &mut Cluster, nodes: &Group, act: impl Fn(&mut Cluster, usize)) -> bool {
    any(cluster, nodes, |cluster, node| {
        let before = cluster.simulation().condition(node);
        act(cluster, node);
        cluster.simulation().condition(node) != before
    })
}

/// Passes one of many commands to a node; returns whether the node accepts it.
fn storm(cluster: &mut Cluster, node: usize, turn: u32) -> bool {
    let key = format!("storm-{}", turn % 5);
    let (key, value) = (Cow::Borrowed(key.as_str()), turn.to_be_bytes());
    let value = Cow::Borrowed(value.as_slice());
    let others = cluster.len();
    let other = (node + 1 + turn as usize) % others.max(1);
    let input = match turn % 8 {
        0..=2 => Input::Publish { key, value, urgent: false },
        3 => Input::Publish { key, value, urgent: true },
        4 => Input::Unpublish { key },
        5 => Input::Exchange,
        6 => match cluster.simulation().id(other) {
            Some(id) => Input::Probe { id },
            None => return false,
        },
        _ => match cluster.simulation().address(other) {
            Some(seed) => Input::Join { seeds: Cow::Owned(vec![seed]) },
            None => return false,
        },
    };
    command(cluster, node, input)
}

/// An id of the greatest length.
fn long_id(index: usize) -> NodeId {
    let name = format!("{index}-{}", "x".repeat(MAX_ID_LEN));
    NodeId::new(&name[..MAX_ID_LEN]).unwrap_or_else(|_| node_id(index))
}

/// Passes a command to a node; returns false if the node refuses it because it is down, is paused,
/// has left, or has no room.
pub(super) fn command(cluster: &mut Cluster, node: usize, input: Input<'_, u32>) -> bool {
    cluster.simulation_mut().command(node, input).is_ok()
}
