//! The store on etcd, against real members.
