//! What the acceptance test of the registry is made of: an etcd with logins, a fleet that follows
//! it, and a report.

#[path = "../../../telemetry-gossip-registry/tests/etcd/authority.rs"]
mod authority;
#[path = "../../../telemetry-gossip-registry/tests/etcd/cluster.rs"]
mod cluster;
pub(crate) mod etcd;
pub(crate) mod fleet;
pub(crate) mod node;
pub(crate) mod report;
