//! The UDP transport alone: the first datagram leaves, names resolve, long ones are refused, a full
//! reader is counted.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use std::future::Future as _;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use common::{udp, until_so, within};
use telemetry_gossip_tokio::{
    Agent, Options, PeerAddr, SUBSCRIPTION_CAPACITY, Sealing, SpawnError, Transport as _,
    UdpTransport,
};

#[tokio::test]
async fn the_first_datagram_of_a_new_socket_leaves() {
    for _ in 0..100 {
        let (from, to) = (udp().await, udp().await);
        let mut arrived = to.subscribe();
        from.send(to.local(), b"hello").unwrap();
        assert_eq!(&*within("it arrives", arrived.recv()).await.unwrap().bytes, b"hello");
        assert_eq!(from.send_dropped(), 0);
    }
}

#[tokio::test]
async fn names_resolve_to_what_was_added_or_to_what_the_system_says() {
    let transport = udp().await;
    let local = transport.local_addr();
    transport.add_peer("edge-1", local);
    assert_eq!(transport.resolve("edge-1").await.unwrap(), [PeerAddr::Socket(local)]);
    assert_eq!(
        transport.resolve("127.0.0.1:9").await.unwrap(),
        [PeerAddr::try_from("127.0.0.1:9").unwrap()]
    );
    let localhost = within("localhost resolves", transport.resolve("localhost:9")).await.unwrap();
    assert!(localhost.contains(&PeerAddr::try_from("127.0.0.1:9").unwrap()));
    for unknown in ["edge-2", "[::1]:9", "127.0.0.1:notaport"] {
        assert!(transport.resolve(unknown).await.is_err(), "{unknown}");
    }
    assert_eq!(transport.resolve("edge-2").await.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_named() {
    let holder = udp().await;
    let taken = holder.local_addr();
    let failed = UdpTransport::bind(taken, Sealing::Plaintext).await.unwrap_err();
    assert_eq!((failed.address, failed.error.kind()), (taken, io::ErrorKind::AddrInUse));
    assert!(failed.to_string().starts_with(&format!("{taken} cannot be bound: ")), "{failed}");
    let failed = io::Error::from(failed);
    assert!(
        failed.kind() == io::ErrorKind::AddrInUse
            && failed.to_string().contains(&taken.to_string())
    );
    drop(holder);
}

#[test]
fn a_socket_outside_a_runtime_is_refused() {
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(bound) =
        pin!(UdpTransport::bind("127.0.0.1:0".parse().unwrap(), Sealing::Plaintext))
            .poll(&mut context)
    else {
        panic!("it is ready at once");
    };
    assert!(
        bound.unwrap_err().to_string().contains("127.0.0.1:0 cannot be bound: there is no reactor")
    );
}

#[tokio::test]
async fn what_cannot_reach_one_node_is_refused_and_counted() {
    let transport = udp().await;
    let refused =
        ["edge-1", "[::1]:9", "0.0.0.0:9", "127.0.0.1:0", "224.0.0.1:9", "255.255.255.255:9"];
    for (count, to) in (1..).zip(refused) {
        let error = transport.send(to.try_into().unwrap(), b"x").unwrap_err();
        assert_eq!(
            (error.kind(), transport.send_refused()),
            (io::ErrorKind::AddrNotAvailable, count),
            "{to}"
        );
    }
    transport.send(udp().await.local(), b"x").unwrap();
    assert_eq!((transport.send_refused(), transport.send_dropped()), (refused.len() as u64, 0));
}

#[tokio::test]
async fn a_name_is_a_host_and_a_port_or_one_that_was_added() {
    let transport = udp().await;
    transport.add_peer("edge-1", transport.local_addr());
    for name in ["edge-1", "10.0.0.17:7946", "seed.example.com:7946", "h:65535"] {
        assert_eq!(transport.check_name(name), Ok(()), "{name}");
    }
    let wrong = [
        "",
        ":",
        ":1",
        "h:",
        "h:0",
        "h:65536",
        "h:+1",
        "h:1 ",
        " h:1",
        "edge-2",
        "a:b:c:99999",
        "a:b:7946",
    ];
    for name in
        wrong.into_iter().chain(["::1:7946", "[::1]", "[::1]:0", "[h]:1", "http://h:80", "h/x:80"])
    {
        let refused = transport.check_name(name).unwrap_err();
        assert!(refused.name == name && refused.to_string().contains("host:port"), "{refused}");
        assert_eq!(
            transport.resolve(name).await.unwrap_err().kind(),
            io::ErrorKind::NotFound,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_datagram_too_long_is_an_error_and_the_next_one_leaves() {
    let (from, to) = (udp().await, udp().await);
    let mut arrived = to.subscribe();
    assert!(from.send(to.local(), &vec![0; 70_000]).is_err());
    let longest = vec![7; 65_507];
    from.send(to.local(), &longest).unwrap();
    assert_eq!(&*within("it arrives whole", arrived.recv()).await.unwrap().bytes, &longest[..]);
}

#[tokio::test]
async fn a_reader_that_is_full_does_not_hold_up_another() {
    let (from, to) = (udp().await, udp().await);
    let (slow, mut quick) = (to.subscribe(), to.subscribe());
    for _ in 0..SUBSCRIPTION_CAPACITY + 10 {
        from.send(to.local(), b"x").unwrap();
        within("the quick reader gets it", quick.recv()).await.unwrap();
    }
    until_so("what the slow one missed is counted", || to.received_dropped() == 10).await;
    drop(slow);
}

/// Bound to all addresses of both families, a node reaches and advertises either.
#[tokio::test(flavor = "current_thread")]
async fn a_socket_for_both_families_reaches_both() {
    let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let four = SocketAddr::from(([127, 0, 0, 1], 0));
    let both = UdpTransport::bind_advertised(all, four, Sealing::Plaintext).await.unwrap();
    let v4 = UdpTransport::bind(four, Sealing::Plaintext).await.unwrap();
    let v6 = UdpTransport::bind("[::1]:0".parse().unwrap(), Sealing::Plaintext).await.unwrap();
    let mut arriving = both.subscribe();
    for other in [&v4, &v6] {
        let mut there = other.subscribe();
        both.send(other.local(), b"hello").unwrap();
        let delivery = within("it arrives", there.recv()).await.unwrap();
        other.send(delivery.from, b"back").unwrap();
        let back = within("the answer arrives", arriving.recv()).await.unwrap();
        assert_eq!(back.from, other.local());
    }
    assert_eq!(both.resolve("[::1]:7946").await.unwrap().len(), 1);
    assert!(v4.check_name("[::1]:7946").is_err() && v6.check_name("127.0.0.1:7946").is_err());
    assert!(v6.check_name("[fe80::1%eth0]:7946").is_ok());
    let linkless = UdpTransport::bind("[fe80::1]:0".parse().unwrap(), Sealing::Plaintext).await;
    let error = linkless.unwrap_err().to_string();
    assert!(error.contains("needs its link"), "{error}");
}

#[test]
fn a_transport_ends_with_the_runtime_on_which_it_was_bound() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (bound_on, other) = (runtime(), runtime());
    let address = "127.0.0.1:0".parse().unwrap();
    let bind = |address| UdpTransport::bind(address, Sealing::Plaintext);
    let transport = bound_on.block_on(bind(address)).unwrap();
    let options = || Options::new("a".parse().unwrap());
    let spawn = || Agent::spawn(options(), transport.clone());
    let (mut arriving, agent) = (transport.subscribe(), other.block_on(async { spawn() }).unwrap());
    drop(bound_on);
    other.block_on(async {
        assert!(within("the subscription ends", arriving.recv()).await.is_none());
        within("the node ends", agent.shutdown()).await;
        let refused = transport.send(transport.local(), b"hello").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotConnected);
        let refused = spawn().unwrap_err();
        assert!(matches!(refused, SpawnError::TransportClosed), "{refused}");
        bind(transport.local_addr()).await.expect("the port is free");
    });
}
