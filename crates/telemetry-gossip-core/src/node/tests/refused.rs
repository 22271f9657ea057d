//! Commands that cannot be: refused by an error that names the rule, and nothing changes.

use super::*;

/// Found by fuzzing: after the last rumor was told, the note that nothing is under way was made
/// anew by a refused command.
#[test]
fn a_refused_command_leaves_the_state_bit_for_bit() {
    let mut node = node(1, &Config::default());
    let member =
        Input::Introduce { id: id(2), address: Some(2), instance: None, generation: Generation(0) };
    node.handle(node.now(), member).unwrap();
    // Long enough for everything that a newcomer says and suspects.
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
fn commands_that_cannot_be_are_refused_by_their_errors() {
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
    let implausible = Generation::PLAUSIBLE_START.0 + Generation::PLAUSIBLE_LEAP + 1;
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
