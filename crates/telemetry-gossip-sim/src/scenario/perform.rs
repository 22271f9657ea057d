//! Carries out one step of a scenario.

use std::borrow::Cow;

use telemetry_gossip_core::{Input, InputError};

use super::{Group, Operation};
use crate::cluster::Cluster;
use crate::process::Condition;

impl Operation {
    /// Does it to the cluster. What cannot be done to a node (pause one that is down, say) is left undone.
    pub(super) fn perform(&self, cluster: &mut Cluster) {
        match self {
            Self::Crash(nodes) => each(cluster, nodes, Cluster::crash),
            Self::Restart { nodes, memory, place } => each(cluster, nodes, |cluster, node| {
                if cluster.simulation().condition(node) == Some(Condition::Down) {
                    cluster.restart_at(node, *memory, *place);
                }
            }),
            Self::Pause(nodes) => each(cluster, nodes, Cluster::pause),
            Self::Resume(nodes) => each(cluster, nodes, Cluster::resume),
            Self::Leave(nodes) => each(cluster, nodes, |cluster, node| command(cluster, node, Input::Leave)),
            Self::Join(count) => {
                for _ in 0..*count {
                    cluster.add();
                }
            }
            Self::Publish { nodes, key, value } => each(cluster, nodes, |cluster, node| {
                let (key, value) = (Cow::Borrowed(key.as_str()), Cow::Borrowed(value.as_bytes()));
                command(cluster, node, Input::Publish { key, value });
            }),
            Self::Partition { left, right } => {
                let (left, right) = (indices(cluster, left), indices(cluster, right));
                cluster.partition(left, right);
            }
            Self::Cut { from, to } => {
                let (from, to) = (indices(cluster, from), indices(cluster, to));
                cluster.cut(from, to);
            }
            Self::Lose { from, to, loss } => {
                let (from, to) = (indices(cluster, from), indices(cluster, to));
                for &source in &from {
                    for &target in to.iter().filter(|&&target| target != source) {
                        cluster.lose(source, target, *loss);
                    }
                }
            }
            Self::Ring(reach) => cluster.simulation_mut().ring(*reach),
            Self::Heal {} => cluster.heal(),
            Self::Network(network) => cluster.simulation_mut().set_network(*network),
        }
    }
}

fn indices(cluster: &mut Cluster, nodes: &Group) -> Vec<usize> {
    nodes.of(cluster.simulation_mut())
}

fn each(cluster: &mut Cluster, nodes: &Group, act: impl Fn(&mut Cluster, usize)) {
    for node in indices(cluster, nodes) {
        act(cluster, node);
    }
}

/// A command that a node refuses (it is down, paused, has left, or has no room) is a step that did not happen.
pub(super) fn command(cluster: &mut Cluster, node: usize, input: Input<'_, u32>) {
    let result: Result<(), InputError> = cluster.simulation_mut().command(node, input);
    drop(result);
}
