//! Command lines, and what the parser makes of them.

use super::*;
use clap::CommandFactory;
use telemetry_gossip_core::Config;

fn parse(line: &str) -> Result<Command, String> {
    let words = line.split(' ').filter(|word| !word.is_empty());
    Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.to_string())
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

/// The help texts of all commands, with what is typed for each.
fn help_texts(command: &clap::Command, typed: &str) -> Vec<(String, String)> {
    let typed = format!("{typed} {}", command.get_name());
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let more = command.get_subcommands().flat_map(|command| help_texts(command, &typed));
    std::iter::once((typed.clone(), after)).chain(more).collect()
}

#[test]
fn prose_in_help_texts_has_no_line_breaks_and_lists_fit_a_terminal() {
    for (typed, text) in help_texts(&Cli::command(), "") {
        let lines: Vec<&str> = text.lines().collect();
        for (line, next) in lines.iter().zip(lines.iter().skip(1).chain([&""])) {
            let is_list = line.starts_with(' ');
            assert!(!is_list || line.len() < 80, "`{typed}` has a wide list: {line}");
            // Prose ends with its paragraph; a heading stands above its list.
            let is_whole = next.is_empty() || next.starts_with(' ');
            assert!(line.is_empty() || is_list || is_whole, "`{typed}` breaks a sentence: {line}");
        }
    }
}

#[test]
fn a_password_in_the_location_of_a_registry_is_not_printed() {
    for line in [
        "tgossip registry etcd://ana:s3cret@h:1/prod list",
        "tgossip registry etcd://h:1/prod?password=s3cret list",
        "tgossip agent --id a --registry etcd://ana:s3cret@h:1/prod",
        "tgossip agent --id a --registry https://ana:s3cret@h:1/prod",
    ] {
        let error = parse(line).expect_err(line);
        assert!(error.contains("URL") && !error.contains("s3cret"), "{line}: {error}");
    }
}

#[test]
fn valid_command_lines_parse() {
    for line in [
        "tgossip demo",
        "tgossip demo --nodes 2",
        "tgossip demo --nodes 500 --seed 5 --plain",
        "tgossip agent --id a",
        "tgossip agent --id a --bind [::1]:0 --join localhost:1 --join [::1]:2 --seed-file s.txt",
        "tgossip agent --id a --join a:1 b:2 c:3 --set x=1 y=2 --set z= --json",
        "tgossip agent --id a --control 0.0.0.0:1 --allow-remote-control --label staging",
        "tgossip agent --id a --probe-interval 500ms --probe-timeout 200ms --mtu 1200",
        "tgossip agent --id a --gossip-interval 50ms --suspicion 5s",
        "tgossip agent --id a --allow-network 10.0.0.0/8 --allow-network 2001:db8::/32 ::1/128",
        "tgossip agent --id a --control ./a.sock --isolation-limit 10m",
        "tgossip agent --id a --control 127.0.0.1:0 --control-token-file a.token",
        "tgossip members --via localhost:7201 --json --stats",
        "tgossip members --via /run/tgossip/a.sock",
        "tgossip members --via a:1 --status dead left --status suspected",
        "tgossip accept-loss --via [::1]:7201 --control-token-file a.token",
        "tgossip key list --via ./a.sock --timeout 500ms",
        "tgossip key add k --via ./a.sock --key-file k --agent a",
        "tgossip agent --id a --profile wan --mtu 1200",
        "tgossip plan --nodes 250 --rtt 2ms --loss 1% --target 5s --json",
        "tgossip plan --nodes 2 --rtt 0s --target 1m",
        "tgossip sim",
        "tgossip sim crash --nodes 250 --seed 3 --loss 2.5% --duration 90s --check every --json",
        "tgossip sim --list",
        "tgossip demo --nodes 3 --record records --record-limit 2GB",
        "tgossip agent --id a --record /tmp/a --record-limit 1MiB",
        "tgossip replay records --node a --from +90s --at 2026-03-07T14:05:00Z --events",
        "tgossip replay records --members --explain b --verify",
        "tgossip replay a.tgrec --as-test b.tgrec --json",
    ] {
        assert!(parse(line).is_ok(), "{line}: {:?}", parse(line));
    }
}

#[test]
fn an_invalid_value_is_refused_with_an_example_to_type() {
    for (line, said) in [
        ("tgossip dmeo", "demo"),
        ("tgossip demo --node 3", "--nodes"),
        ("tgossip demo --nodes 1", "type 2 or more"),
        ("tgossip demo --nodes many", "type a number from 2 to 500, such as --nodes 20"),
        ("tgossip demo --nodes 5000", "at most 500 nodes"),
        ("tgossip demo --nodes 5000", "tgossip sim --nodes 5000"),
        ("tgossip demo --nodes -1", "type a number from 2 to 500"),
        ("tgossip agent --id a --allow-network 10.0.0.0", "type --allow-network 10.0.0.0/8"),
        ("tgossip agent --id a --allow-network 10.0.0.0/33", "at most 32 bits, this one has 33"),
        ("tgossip demo --seed abc", "a whole number from 0 to 18446744073709551615: type --seed 7"),
        ("tgossip sim --seed -1", "type --seed 7"),
        ("tgossip sim --nodes -3", "such as --nodes 20"),
        ("tgossip sim --nodes many", "such as --nodes 20"),
        ("tgossip sim crash --list", "--list"),
        ("tgossip agent --id a --mtu 99999", "from 767 to 65507, such as --mtu 1200"),
        ("tgossip agent --id a --mtu 766", "from 767 to 65507"),
        ("tgossip agent --id a --mtu -1", "from 767 to 65507"),
        ("tgossip agent --id a --label a\u{7}b", "no control characters"),
        ("tgossip agent --id a --record x --record-limit 9", "type 64MiB or 2GB"),
        ("tgossip agent --id a --record x --record-limit 100KB", "at least 1MiB"),
        ("tgossip agent --id a --record x --record-limit -1", "at least 1MiB"),
        ("tgossip agent --id a --record-limit 4MiB", "--record <DIR>"),
        ("tgossip replay x --at noon", "type +90s or 2026-03-07T14:05:00Z"),
        ("tgossip agent", "--id <ID>"),
        ("tgossip agent --id", "--id <ID>"),
        ("tgossip agent --id a\u{7}b", "has U+0007: type a name such as edge-1"),
        ("tgossip agent --id \u{430}gent-1", "has U+0430: type a name such as edge-1"),
        ("tgossip agent --id a\u{a0}b", "has U+00A0: type a name such as edge-1"),
        ("tgossip agent --id a --bind 127.0.0.1", "type 127.0.0.1:0"),
        ("tgossip agent --id a --bind ::1", "type [::1]:0"),
        ("tgossip agent --id a --bind localhost:1", "type 127.0.0.1:7101"),
        ("tgossip agent --id a --join seed", "type a host and a port"),
        ("tgossip agent --id a --join seed:0", "port from 1 to 65535"),
        ("tgossip agent --id a --join ::1:7101", "[::1]:7101"),
        ("tgossip agent --id a --set role", "such as --set role=cache"),
        ("tgossip agent --id a --set =cache", "such as --set role=cache"),
        ("tgossip agent --id a --probe-interval 1", "type 500ms"),
        ("tgossip agent --id a --probe-interval -1s", "is not negative: type 500ms"),
        ("tgossip agent --id a --suspicion -1s", "is not negative"),
        ("tgossip agent --id a --profile moon", "local, lan, wan"),
        ("tgossip plan --nodes 9 --rtt 2ms", "--target <SPAN>"),
        ("tgossip plan --nodes -9 --rtt 2ms --target 5s", "such as --nodes 250"),
        ("tgossip plan --nodes 9 --rtt 2 --target 5s", "type 500ms"),
        ("tgossip plan --nodes 9 --rtt -2ms --target 5s", "is not negative"),
        ("tgossip plan --nodes 9 --rtt 2ms --target -5s", "is not negative"),
        ("tgossip plan --nodes 9 --rtt 2ms --target 5s --loss 1", "type 1%"),
        ("tgossip agent --id a --control a.sock", "such as /run/tgossip/edge-1.sock"),
        ("tgossip agent --id a --isolation-limit 10", "type 500ms"),
        ("tgossip members --via a:1 --timeout 0s", "type --timeout 3s"),
        ("tgossip members --via a:1 --timeout 2h", "a timeout is 1ms to 1h"),
        ("tgossip members --via a:1 --timeout -1s", "is not negative"),
        ("tgossip members --via a:1 --status gone", "alive, suspected, dead, left"),
        ("tgossip accept-loss", "--via <PATH|HOST:PORT>"),
        ("tgossip members", "--via <PATH|HOST:PORT>"),
        ("tgossip members --via a.sock", "or the path of the agent's socket"),
        ("tgossip members --via 7201", "such as 127.0.0.1:7101"),
        ("tgossip sim crash --loss 5", "type 5%"),
        ("tgossip sim crash --loss much", "type 2.5%"),
        ("tgossip sim crash --loss -5", "type 2.5%"),
        ("tgossip sim swim --repeats -1", "-1 is not in 1..=1000"),
        ("tgossip sim crash --duration 60", "type 500ms, 90s"),
        ("tgossip sim crash --check always", "sampled"),
    ] {
        let error = parse(line).expect_err(line);
        assert!(error.contains(said), "`{line}` should be refused with `{said}`, not:\n{error}");
    }
}

#[test]
fn a_label_has_at_most_127_bytes() {
    assert!(parse(&format!("tgossip agent --id a --label {}", "x".repeat(127))).is_ok());
    let error = parse(&format!("tgossip agent --id a --label {}", "x".repeat(128))).unwrap_err();
    assert!(error.contains("at most 127 bytes, this one has 128"), "{error}");
}

#[test]
fn every_accepted_mtu_is_valid_in_the_core() {
    let valid = |mtu| Config::default().mtu(mtu).validate().is_ok();
    assert!(valid(*MTUS.start()) && valid(*MTUS.end()));
    assert!(!valid(MTUS.start() - 1) && !valid(MTUS.end() + 1));
}

#[test]
fn repeated_seeds_and_entries_accumulate() {
    let Ok(Command::Agent(args)) =
        parse("tgossip agent --id a --join x:1 y:2 --join z:3 --set k=v=w --set l=")
    else {
        panic!("an agent");
    };
    assert_eq!(args.join, ["x:1", "y:2", "z:3"]);
    let entries: Vec<_> =
        args.entries.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(entries, [("k", "v=w"), ("l", "")]);
}
