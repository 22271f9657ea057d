//! The store on etcd against real members, which the tests start on this host. They need the binary
//! that `.ci/etcd` fetches, and its path in `TGOSSIP_ETCD`. Without it a test says so and passes,
//! unless `CI` is set.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![cfg(unix)]

mod authority;
mod cluster;
mod faults;
mod login;
mod proxy;
mod support;
mod tls;
mod versions;
