//! Wrong arguments and impossible settings lead to a helpful message and the documented exit code.

mod common;

use std::net::{TcpListener, UdpSocket};

use common::{text, tgossip};

/// Runs a command that fails; returns its exit code and its message.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = tgossip(args);
    (output.status.code(), text(&output.stderr))
}

#[test]
fn wrong_arguments_are_refused_with_a_helpful_message() {
    for (args, said) in [
        (&["demo", "--nodes", "1"][..], "type 2 or more"),
        (&["demo", "--node", "3"], "--nodes"),
        (&["agent"], "--id <ID>"),
        (&["members", "--via", "7201"], "such as 127.0.0.1:7101"),
        (&["explain", "--via", "127.0.0.1:7101"], "<ID>"),
        (&["explain", "edge-7"], "--via <PATH|HOST:PORT>"),
        (&["explain", "edge-7", "--via", "7201"], "such as 127.0.0.1:7101"),
        (&["sim", "swim", "--nodes", "9"], "leave --nodes out"),
        (&["sim", "crash", "--full"], "leave --full out"),
        (&["sim", "nothing"], "no scenario is called `nothing`"),
        (&["sim", "--loss", "5"], "type 5%"),
        (&["sim", "--nodes", "0"], "at least 1 node"),
        (&["sim", "--nodes", "100000"], "type --nodes 3276 or fewer"),
        (&["sim", "crash", "--duration", "5s"], "type --duration 45s or more"),
        (&["swarm", "--seeds", "7"], "type --seeds 0..1000"),
        (&["swarm", "--seeds", "9..7"], "9..7 has no seeds: type --seeds 9..1009"),
        (&["swarm", "--seeds", "0..-1"], "type --seeds 0..1000"),
        (&["swarm", "--jobs", "0"], "whole number, 1 or more"),
        (&["swarm", "--failures", "-1"], "whole number, 1 or more"),
        (&["swarm", "--limit", "-1s"], "not negative"),
        (&["agent", "--id", "a", "--set", "k=1", "k=2"], "has the key `k` twice"),
        (
            &["agent", "--id", "a", "--registry", "consul://h/x"],
            "begins with `file:` or `etcd://`, and not with `consul`",
        ),
        (&["agent", "--id", "a", "--registry", "file:"], "`file:` has no path"),
        (&["agent", "--id", "a", "--registry", "etcd://h1/prod"], "`h1` is no endpoint of etcd"),
        (&["agent", "--id", "a", "--when-removed", "stay"], "--registry <URL>"),
        (&["agent", "--id", "a", "--set", "k=1", "--set", "k=1"], "give each key once"),
        (&["agent", "--id", "a", "--probe-interval", "-1s"], "a span of time is not negative"),
        (&["agent", "--id", "a", "--bind", "0.0.0.0:0"], "add --advertise"),
        (
            &["agent", "--id", "a", "--probe-timeout", "900ms"],
            "type --probe-timeout 500ms or less, or --probe-interval 1s800ms or more",
        ),
        (&["agent", "--id", "a", "--mtu", "100"], "from 767 to 65507"),
        (&["agent", "--id", "a", "--gossip-interval", "0s"], "--gossip-interval is 0s: type 1ms"),
        (&["agent", "--id", "a", "--suspicion", "1ms"], "type --suspicion 400ms"),
        (
            &["agent", "--id", "a", "--probe-timeout", "2ms"],
            "--probe-timeout is 2ms: type 5ms or more",
        ),
        (&["agent", "--id", "a", "--control", "0.0.0.0:0"], "--allow-remote-control"),
        (
            &["agent", "--id", "a", "--bind", "10.0.0.17:7946"],
            "add --key-file FILE (tgossip key new FILE makes one)",
        ),
        (
            &["agent", "--id", "a", "--advertise", "192.0.2.7:7946"],
            "the address 192.0.2.7:7946 is not a loopback address",
        ),
        (&["agent", "--id", "a", "--control-token-file", "t"], "is for a TCP address"),
        (&["agent", "--id", "a", "--plaintext", "--key-file", "k"], "cannot be used with"),
        (
            &["key", "use", "abc", "--via", "127.0.0.1:7101", "--key-file", "k"],
            "8 hexadecimal digits",
        ),
        (&["key", "add", "new.key", "--via", "127.0.0.1:7101"], "--key-file <FILE>"),
        (
            &["plan", "--nodes", "1", "--rtt", "1ms", "--target", "5s"],
            "the number must be 2 to 16777216",
        ),
        (&["plan", "--nodes", "9", "--rtt", "9s", "--target", "5s"], "type --rtt 150ms"),
        (
            &["plan", "--nodes", "9", "--rtt", "1ms", "--loss", "51%", "--target", "5s"],
            "the highest may be 50 %",
        ),
        (
            &["plan", "--nodes", "250", "--rtt", "150ms", "--loss", "1%", "--target", "1s"],
            "at least five round trips: type --target 7s",
        ),
    ] {
        let (code, error) = refused(args);
        assert_eq!(code, Some(2), "{args:?}: {error}");
        assert!(error.contains(said), "{args:?} should be refused with `{said}`, not:\n{error}");
    }
}

#[test]
fn the_error_for_a_long_value_names_the_limit() {
    let entry = format!("note={}", "x".repeat(600));
    let (code, error) = refused(&["agent", "--id", "a", "--set", &entry]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("at most 512 bytes, this one has 600"), "{error}");
}

#[test]
fn the_error_names_an_address_in_use() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, error) = refused(&["agent", "--id", "a", "--bind", &addr]);
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains(&addr) && error.contains("cannot be opened"), "{error}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, error) = refused(&["agent", "--id", "a", "--control", &addr]);
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains(&addr) && error.contains("control"), "{error}");
}

#[test]
fn the_error_names_a_missing_seed_file() {
    let (code, error) = refused(&["agent", "--id", "a", "--seed-file", "no/such/file"]);
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains("no/such/file"), "{error}");
}

#[test]
fn an_agent_with_an_empty_seed_file_does_not_start() {
    let path = std::env::temp_dir().join(format!("tgossip-no-seeds-{}", std::process::id()));
    std::fs::write(&path, "# to be filled in\n\n").unwrap();
    let (code, error) = refused(&["agent", "--id", "a", "--seed-file", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("names no seed: write one HOST:PORT per line"), "{error}");
}

#[test]
fn the_error_names_an_address_without_an_agent() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for question in [&["members"][..], &["explain", "edge-7"]] {
        let (code, error) = refused(&[question, &["--via", &free]].concat());
        assert_eq!(code, Some(4), "{error}");
        assert!(error.contains(&free), "{error}");
    }
}

/// A server that gives every client this answer.
fn answering(answer: serde_json::Value) -> String {
    use std::io::{BufRead, BufReader, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            writeln!(stream, "{answer}").unwrap();
        }
    });
    addr
}

#[test]
fn no_answer_of_a_server_acts_on_the_terminal_or_hides_in_json() {
    const HOSTILE: &str = "\x1b]0;owned\x07\u{9b}2J\u{202e}\u{200b}\u{2028}\n\r\u{a0}";
    let agent = common::Agent::start("a", &["--set", "k=v"]);
    let mut view = agent.view();
    view["node"] = HOSTILE.into();
    view["isolation"] = serde_json::json!({ "since_s": 1.0, "lost": 1, "of": 1, "silent": 1 });
    let entry = view["members"][0]["telemetry"]["k"].take();
    view["members"][0]["telemetry"] = serde_json::json!({ HOSTILE: entry });
    view["members"][0]["telemetry"][HOSTILE]["value"] = HOSTILE.into();
    view["members"][0]["address"] = HOSTILE.into();
    view["members"][0]["id"] = HOSTILE.into();
    let view = answering(serde_json::json!({ "view": view }));
    let error = answering(serde_json::json!({ "error": HOSTILE }));
    let refused = answering(serde_json::json!({ "refused": HOSTILE }));
    let denied = answering(serde_json::json!({ "denied": HOSTILE }));
    let knocked = serde_json::json!([{ "id": HOSTILE, "address": HOSTILE, "ago_s": 1.0 }]);
    let pending = answering(serde_json::json!({ "registry-pending": knocked }));
    let published = serde_json::json!([{ "id": HOSTILE, "version": 7, "hash": HOSTILE }]);
    let of_registry = serde_json::json!({ "node": HOSTILE, "published": published });
    let of_registry = answering(serde_json::json!({ "registry": of_registry }));
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file:{}", folder.path().join("cluster.toml").display());
    assert!(tgossip(&["registry", &url, "init", "--member", "a=h:1"]).status.success());
    for args in [
        &["members", "--via", &view][..],
        &["members", "--stats", "--via", &view],
        &["members", "--json", "--via", &view],
        &["members", "--via", &error],
        &["members", "--via", &denied],
        &["key", "list", "--via", &refused],
        &["accept-loss", "--via", &error],
        &["registry", "pending", "--via", &pending],
        &["registry", "pending", "--json", "--via", &pending],
        &["registry", "pending", "--via", &refused],
        &["registry", &url, "status", "--via", &of_registry],
        &["registry", &url, "check", "--via", &of_registry],
        &["registry", &url, "check", "--json", "--via", &of_registry],
        &["registry", &url, "add", "b", "--via", &of_registry],
    ] {
        let output = tgossip(args);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains("owned"), "{args:?}: {said}");
        let hidden =
            |c: char| c != '\n' && c.is_control() || "\u{202e}\u{200b}\u{2028}\u{a0}".contains(c);
        assert!(!said.contains(hidden), "{args:?}: {said:?}");
    }
    let json = tgossip(&["members", "--json", "--via", &view]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["node"], HOSTILE);
}

#[cfg(unix)]
#[test]
fn a_question_without_an_answer_can_be_interrupted() {
    use std::io::{BufRead, BufReader};
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let asking = common::start(&["members", "--via", &mute.local_addr().unwrap().to_string()]);
    let (stream, _) = mute.accept().unwrap();
    // A client that has sent its question also listens for signals.
    BufReader::new(&stream).read_line(&mut String::new()).unwrap();
    common::signal(asking.id(), "INT");
    let output = asking.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(text(&output.stderr), "tgossip: interrupted\n");
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_not_an_error() {
    for args in [&["sim"][..], &["sim", "--list"], &["demo", "--nodes", "2"]] {
        let mut child = common::start(args);
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), text(&output.stderr).as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}

#[test]
fn a_scenario_runs_and_reports_in_json() {
    let output =
        tgossip(&["sim", "crash", "--nodes", "6", "--duration", "45s", "--seed", "5", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["nodes"].as_u64(), report["seed"].as_u64()), (Some(6), Some(5)));
}

#[test]
fn a_plan_is_a_table_or_json() {
    let args = ["plan", "--nodes", "250", "--rtt", "2ms", "--loss", "1%", "--target", "5s"];
    let output = tgossip(&args);
    let said = text(&output.stdout);
    assert!(
        output.status.success() && said.contains("probe_interval") && said.contains("p99"),
        "{said}"
    );
    let output = tgossip(&[&args[..], &["--json"]].concat());
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let p99 = plan["predicted"]["detection_p99_s"].as_f64().unwrap();
    assert!((4.5..=5.0).contains(&p99), "{plan:#}");
    assert!(plan["settings"]["probe_interval_s"].as_f64().unwrap() > 1.0, "{plan:#}");
}

#[test]
fn a_failed_run_ends_with_the_command_that_replays_it() {
    // No node learns of any other.
    let output = tgossip(&["sim", "crash", "--nodes", "6", "--loss", "100%", "--seed", "5"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let error = text(&output.stderr);
    assert!(
        error.contains("tgossip sim crash --seed 5 --nodes 6 --duration 1m --loss 100%"),
        "{error}"
    );
}

#[test]
fn a_run_with_too_few_nodes_for_a_step_fails() {
    for nodes in ["1", "2"] {
        let output = tgossip(&["sim", "crash", "--nodes", nodes]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        // The step that cannot do anything is named as it stands in the scenario.
        let step = r#"{ at = "35s", crash = "random 10%" }"#;
        let named = said.lines().any(|line| line.contains("a step ") && line.ends_with(step));
        assert!(said.starts_with("FAIL") && named, "{said}");
    }
}

#[test]
fn the_list_says_what_each_scenario_does_and_what_makes_it_fail() {
    let output = tgossip(&["sim", "--list"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    for name in ["quiet", "crash", "partition", "churn", "swarm"] {
        let mut lines = said.lines().skip_while(|line| !line.starts_with(name));
        assert!(lines.next().is_some(), "{name} is missing in:\n{said}");
        assert!(
            lines.next().is_some_and(|line| line.contains("fails if views differ")),
            "{name}:\n{said}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn too_few_open_files_are_an_error_and_no_panic() {
    let program = env!("CARGO_BIN_EXE_tgossip");
    let mut refused = 0;
    // The loader of the system itself needs some.
    for files in 5..12 {
        let limited = format!("ulimit -n {files}; exec {program} agent --id a --bind 127.0.0.1:0");
        let output = std::process::Command::new("sh").args(["-c", &limited]).output();
        let output = output.expect("a shell");
        let said = text(&output.stderr);
        assert!(!said.contains("panicked"), "{files} files: {said}");
        refused += usize::from(output.status.code() == Some(3) && said.contains("open files"));
    }
    assert!(refused >= 4, "{refused} limits were told of");
}
