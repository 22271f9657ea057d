//! Refused commands: the error names the rule that the command breaks, and nothing changes.

use super::*;

/// Found by fuzzing: after the last rumor was sent, a refused command changed the flag that says
/// that nothing is under way.
#[test]
fn a_refused_command_leaves_the_state_bit_for_bit() {
    let mut node = node(1, &Config::default());
    let member =
        Input::Introduce { id: id(2), address: Some(2), instance: None, generation: Generation(0) };
    node.handle(node.now(), member).unwrap();
    // Long enough for all rumors and suspicions of a newcomer.
    for _ in 0..200 {
        drain(&mut node);
        while node.poll_event().is_some() {}
        let before = node.snapshot();
        assert!(before.is_ok());
        let refused = node.handle(node.now(), Input::Join { seeds: [1].as_slice().into() });
        assert_eq!(refused, Err(CommandError::NoSeeds.into()));
        assert_eq!(node.snapshot(), before, "at {}", node.now());
        let next = node.poll_timeout().unwrap();
        node.handle(next, Input::Tick).unwrap();
    }
}

#[test]
fn each_invalid_command_is_refused_with_its_own_error() {
    let mut node = node(1, &Config { max_members: 2, ..Config::default() });
    let introduce = |address, generation| Input::Introduce {
        id: id(address),
        address: Some(address),
        instance: None,
        generation: Generation(generation),
    };
    let now = node.now();
    node.handle(now, introduce(2, 0)).unwrap();
    let before = node.membership().fingerprint();
    let implausible = Generation::MAX_START.0 + 1;
    let cases = [
        (introduce(3, 0), CommandError::TableFull { max: 2 }),
        (introduce(2, implausible), CommandError::Generation { generation: implausible }),
        (Input::Join { seeds: [1].as_slice().into() }, CommandError::NoSeeds),
        (
            Input::ApplyClusterConfig { version: 1, members: alloc::vec![id(2)].into() },
            CommandError::NotInClusterConfig,
        ),
    ];
    for (input, error) in cases {
        assert_eq!(node.handle(now, input), Err(error.into()));
        assert_eq!(node.membership().fingerprint(), before);
    }
    for wanted in [Input::Probe { id: id(2) }, Input::Exchange] {
        let refused = (0..10_000).find_map(|_| node.handle(now, wanted.clone()).err());
        assert!(
            matches!(refused, Some(InputError::Command(CommandError::TooMany { .. }))),
            "{refused:?}"
        );
    }
}
