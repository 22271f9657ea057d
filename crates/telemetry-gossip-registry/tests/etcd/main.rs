//! The store on etcd against real members, which each test starts on this host. They need the binary
//! that `.ci/etcd` fetches, in `TGOSSIP_ETCD`; without it a test says so and passes, unless `CI` is
//! set.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![cfg(unix)]

mod cluster;
mod faults;
mod login;
mod support;
mod tls;
mod versions;
