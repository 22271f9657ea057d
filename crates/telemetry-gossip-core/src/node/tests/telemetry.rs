//! Telemetry of whole nodes: publishing, spreading, limits, the budget and removed keys.

use super::*;

fn publish(net: &mut Net, address: u32, key: &str, value: &[u8]) {
    net.input(address, Input::Publish { key: key.into(), value: value.into(), urgent: false });
}

#[test]
fn all_members_read_published_entries_with_version_and_age() {
    let mut net = Net::joined(6, &Config::default());
    publish(&mut net, 2, "load", b"0.5");
    publish(&mut net, 2, "zone", b"eu");
    publish(&mut net, 2, "load", b"0.7");
    let published = net.now;
    net.run_for(Duration::from_secs(3));
    let now = net.now;
    for observer in 1..=6 {
        let member = net.node(observer).member("n2").unwrap();
        assert_eq!(member.telemetry_version(), 3);
        let load = member.value("load").unwrap();
        assert_eq!((load.value, load.version), (b"0.7".as_slice(), 3));
        assert_eq!(load.age(now), now.since(published));
    }
    net.input(2, Input::Unpublish { key: "load".into() });
    net.run_for(Duration::from_secs(3));
    for observer in 1..=6 {
        assert!(net.node(observer).member("n2").unwrap().value("load").is_none());
    }
}

#[test]
fn telemetry_larger_than_a_datagram_arrives_in_parts() {
    let config = Config { max_telemetry: 40_000, ..Config::default() };
    let mut net = Net::joined(3, &config);
    for key in 0..60 {
        publish(&mut net, 1, &alloc::format!("key{key}"), &[key; 500]);
    }
    net.run_for(Duration::from_secs(20));
    for observer in 2..=3 {
        let member = net.node(observer).member("n1").unwrap();
        assert_eq!(member.telemetry().count(), 60);
        assert_eq!(member.value("key59").unwrap().value, [59; 500].as_slice());
    }
}

#[test]
fn keys_and_values_above_their_limits_are_refused() {
    let mut node = node(1, &Config::default());
    let mut publish = |key: &str, len: usize| {
        let value = alloc::vec![0; len];
        node.handle(
            Instant::ORIGIN,
            Input::Publish { key: key.into(), value: value.into(), urgent: false },
        )
    };
    assert_eq!(publish("", 1), Err(CommandError::Key { len: 0, max: 64 }.into()));
    assert_eq!(publish("k", 513), Err(CommandError::Value { len: 513, max: 512 }.into()));
    for at in 0..7 {
        assert_eq!(publish(&alloc::format!("k{at}"), 512), Ok(()));
    }
    assert!(matches!(
        publish("k8", 512),
        Err(InputError::Command(CommandError::TelemetryFull { .. }))
    ));
    assert_eq!(publish("k0", 100), Ok(()), "replacing an entry makes room");
}

#[test]
fn a_reader_with_smaller_limits_follows_an_owner_with_larger_ones() {
    let config = Config { max_telemetry: 100, max_key: 4, max_value: 20, ..Config::default() };
    let mut net = Net::joined(2, &config);
    net.nodes[0] = super::node(1, &Config { max_telemetry: 40_000, ..Config::default() });
    net.input(1, Input::Join { seeds: alloc::vec![2].into() });
    // Publish everything twice, so that the reader holds old entries while new ones arrive.
    for round in 0..2 {
        for key in 0..60 {
            publish(&mut net, 1, &alloc::format!("a longer key {key}"), &[round; 500]);
        }
        net.run_for(Duration::from_secs(20));
        let member = net.node(2).member("n1").unwrap();
        assert_eq!(member.telemetry().filter(|entry| entry.value == [round; 500]).count(), 60);
    }
}

/// The bytes that a node sends while the network runs for `span`.
fn sent_in(net: &mut Net, address: u32, span: Duration) -> u64 {
    let before = net.node(address).stats().bytes_sent;
    net.run_for(span);
    net.node(address).stats().bytes_sent - before
}

#[test]
fn under_a_budget_telemetry_thins_out_and_urgent_entries_are_sent_at_once() {
    let config = Config { byte_budget: Some(2_000), ..Config::default() };
    let mut net = Net::joined(4, &config);
    net.run_for(Duration::from_secs(5));
    let before = net.node(1).stats().bytes_sent;
    for round in 0..100_u8 {
        // Ten times as much as the budget allows.
        for key in 0..2 {
            publish(&mut net, 1, &alloc::format!("load{key}"), &[round; 500]);
        }
        if round == 60 {
            let urgent = Input::Publish {
                key: "health".into(),
                value: b"ill".as_slice().into(),
                urgent: true,
            };
            net.input(1, urgent);
            for reader in 2..=4 {
                let health = net.node(reader).member("n1").unwrap().value("health").unwrap();
                assert_eq!(
                    (health.value, health.urgent),
                    (b"ill".as_slice(), true),
                    "the urgent entry overtook the load"
                );
            }
        }
        net.run_for(Duration::from_millis(100));
    }
    let sent = net.node(1).stats().bytes_sent - before;
    // The budget of ten seconds and one in advance, and for each member one datagram with the
    // urgent entry, filled up with load.
    assert!(sent <= 11 * 2_000 + 4 * 1_400, "{sent} bytes in 10 s");
    assert!(net.node(1).stats().telemetry_merged > 100, "{:?}", net.node(1).stats());
    net.run_for(Duration::from_secs(10));
    let last = net.node(4).member("n1").unwrap();
    assert_eq!(
        last.value("load1").unwrap().value,
        [99; 500].as_slice(),
        "the latest value arrives in the end"
    );
    // While no entries are published, a node sends less than the budget allows.
    assert!(sent_in(&mut net, 1, Duration::from_secs(10)) < 2_000);
    assert!(net.nodes.iter().all(|node| node.health().alive == 4));
}

#[test]
fn keys_removed_long_ago_take_no_room_and_do_not_come_back() {
    let config = Config { max_telemetry: 200, ..Config::default() };
    let mut net = Net::joined(3, &config);
    publish(&mut net, 1, "stays", b"1");
    publish(&mut net, 1, "goes", b"1");
    net.run_for(Duration::from_secs(2));
    // The third node hears nothing for a while, but not long enough to be forgotten.
    for other in 1..=2 {
        net.cut.extend([(other, 3), (3, other)]);
    }
    net.input(1, Input::Unpublish { key: "goes".into() });
    for key in 0..100 {
        let key = alloc::format!("a key {key}");
        publish(&mut net, 1, &key, b"");
        net.input(1, Input::Unpublish { key: key.into() });
        net.run_for(Duration::from_millis(100));
    }
    publish(&mut net, 1, "new", b"1");
    assert!(net.node(3).member("n1").unwrap().value("goes").is_some());
    net.cut.clear();
    net.run_for(Duration::from_secs(60));
    for reader in 2..=3 {
        let member = net.node(reader).member("n1").unwrap();
        let keys: Vec<_> = member.telemetry().map(|entry| entry.key).collect();
        assert_eq!(keys, ["stays", "new"], "n{reader}");
        assert_eq!(member.telemetry_version(), 204, "n{reader}");
    }
}

/// Found by fuzzing: delete markers were dropped to make room for a value that still did not fit.
#[test]
fn a_value_that_does_not_fit_is_refused_and_delete_markers_stay() {
    let config = Config { max_telemetry: 160, max_value: 64, ..Config::default() };
    let mut node = node(1, &config);
    let publish = |node: &mut Node<u32>, key: &str, len| {
        let value = alloc::vec![b'v'; len];
        let result = node.handle(
            node.now(),
            Input::Publish { key: key.into(), value: value.into(), urgent: false },
        );
        while node.poll_event().is_some() {}
        result
    };
    for key in ["removed", "held"] {
        assert_eq!(publish(&mut node, key, 64), Ok(()));
        if key == "removed" {
            node.handle(node.now(), Input::Unpublish { key: key.into() }).unwrap();
        }
    }
    let before = node.snapshot();
    assert!(before.is_ok());
    let refused = publish(&mut node, "new", 64);
    let Err(InputError::Command(CommandError::TelemetryFull { len, max: 160 })) = refused else {
        panic!("{refused:?}");
    };
    let said = alloc::format!("{}", refused.unwrap_err());
    assert!(said.contains("each entry takes 14 bytes beside its key and its value"), "{said}");
    assert_eq!(node.snapshot(), before);
    // Without the delete marker, there is room for this much.
    assert_eq!(publish(&mut node, "new", 64 - (len - 160)), Ok(()));
}

/// A network may deliver a datagram twice. What it says of the age of a value has grown wrong by
/// the second time, and the members behind the receiver have the update.
#[test]
fn an_update_that_comes_again_is_no_news_goes_nowhere_and_makes_no_value_younger() {
    let mut net = Net::joined(8, &Config::default());
    let published = net.now;
    net.log.clear();
    publish(&mut net, 2, "load", b"0.5");
    net.run_for(Duration::from_secs(10));
    let has_update = |bytes: &[u8]| frames(bytes).iter().any(|it| matches!(it, Frame::Tree(_)));
    let updates: Vec<_> = net.log.drain(..).filter(|(_, _, bytes)| has_update(bytes)).collect();
    let relays = updates.iter().filter(|&&(_, to, _)| updates.iter().any(|it| it.0 == to)).count();
    assert!(updates.len() == 7 && relays > 1, "{relays} of {} receivers", updates.len());
    for reader in 1..=8 {
        net.events(reader);
    }
    for (from, to, bytes) in updates {
        net.input(to, Input::Datagram { from, bytes: bytes.into() });
        let is_news = |event: &Event<u32>| matches!(event, Event::Telemetry { .. });
        assert!(!net.events(to).iter().any(is_news), "n{to} holds this version already");
        let now = net.now;
        let load = net.node(to).member("n2").unwrap().value("load").unwrap();
        assert_eq!(load.age(now), now.since(published), "the value at n{to} is as old as it is");
    }
    net.run_for(Duration::from_secs(5));
    let passed_on = net.log.iter().filter(|(_, _, bytes)| has_update(bytes)).count();
    assert_eq!(passed_on, 0, "it is acknowledged, and not passed on");
}

/// The members to which it passes updates on get this one from no other member at that time.
#[test]
fn an_update_that_a_member_had_by_another_way_is_passed_on_along_the_tree_all_the_same() {
    let joined = || {
        let mut net = Net::joined(8, &Config::default());
        net.log.clear();
        publish(&mut net, 2, "load", b"0.5");
        net
    };
    let is_update = |bytes: &[u8]| frames(bytes).iter().any(|it| matches!(it, Frame::Tree(_)));
    let early = (1..=8).filter(|&reader| reader != 2);
    for reader in early {
        // What it gets along the tree, without the frame that says so: as a session brings it.
        let net = joined();
        let (_, _, bytes) = net.log.iter().find(|it| it.1 == reader && is_update(&it.2)).unwrap();
        let tree = crate::wire::HEADER_LEN..crate::wire::HEADER_LEN + crate::wire::TREE_FRAME_LEN;
        let mut bytes = bytes.clone();
        bytes.drain(tree);
        assert!(!is_update(&bytes));

        let mut net = Net::joined(8, &Config::default());
        hear(net.node(reader), 2, &bytes);
        assert!(net.node(reader).member("n2").unwrap().value("load").is_some());
        publish(&mut net, 2, "load", b"0.5");
        for address in 1..=8 {
            let got = net.node(address).member("n2").unwrap().value("load").is_some();
            assert!(got, "n{address}, where n{reader} had the update before");
        }
    }
}
