//! `tgossip demo` with few nodes, and with a registry: it passes, and prints every step.

mod common;

use std::ffi::OsStr;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{text, tgossip};

/// The longest that a demo with a registry may take, on a host that runs other tests too.
const WITH_REGISTRY: Duration = Duration::from_secs(40);

fn passes(nodes: &str) {
    let output = tgossip(&["demo", "--nodes", nodes, "--seed", "3"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}\n{said}{}", output.status, text(&output.stderr));
    has_all(
        &said,
        &[
            "views are complete",
            "publishes",
            "is killed",
            "suspected",
            "held dead",
            "starts again",
            "left",
            "PASS",
        ],
    );
}

fn has_all(said: &str, steps: &[&str]) {
    let mut rest = said;
    for step in steps {
        let Some((_, after)) = rest.split_once(step) else {
            panic!("`{step}` is missing, or too early, in:\n{said}")
        };
        rest = after;
    }
    assert!(!said.contains('\u{1b}'), "escape sequences in a pipe:\n{said}");
}

/// `tgossip demo --registry` with this program as etcd, if any, and no other to be found. What it
/// writes goes below `folder`.
fn with_registry(etcd: Option<&OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tgossip"));
    command.args(["demo", "--registry", "--seed", "3"]).stdin(Stdio::null());
    command.env("TMPDIR", folder).env("PATH", folder).env_remove("TGOSSIP_ETCD");
    if let Some(etcd) = etcd {
        command.env("TGOSSIP_ETCD", etcd);
    }
    command
}

/// The program etcd; `None` if there is none, and the test is to pass without it.
fn etcd() -> Option<std::ffi::OsString> {
    let named = std::env::var_os("TGOSSIP_ETCD").filter(|program| !program.is_empty());
    if named.is_none() {
        assert!(std::env::var_os("CI").is_none(), "TGOSSIP_ETCD names no etcd: run .ci/etcd");
        println!("not tested: TGOSSIP_ETCD names no etcd, see .ci/etcd");
    }
    named
}

/// Runs the demo to its end, and checks that nothing of it is left.
fn run(etcd: Option<&OsStr>) -> (Output, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let output = with_registry(etcd, folder.path()).output().expect("the program runs");
    let took = begun.elapsed();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    (output, took)
}

fn passes_with_registry(etcd: Option<&OsStr>, kind: &str, down: &str) {
    let (output, took) = run(etcd);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}\n{said}{}", output.status, text(&output.stderr));
    let (is, goes_down) = (format!("the registry is {kind}"), format!("goes down: {down}"));
    has_all(
        &said,
        &[
            &is,
            "version 1 is in force at all",
            "adds n20: version 2",
            "version 2 is in force at all 21 nodes",
            "version 3 is in force at all 20 other nodes, and none of them lists",
            "has left by itself",
            "removed in version 3 of the registry by the operator: stolen",
            &goes_down,
            "is killed",
            "restarts in place",
            "it goes by version 3, from its disk",
            "which was removed, starts again; version 2 on its disk names it",
            "it does not belong",
            "is held dead by all 19 other nodes",
            "starts again, from what it has kept",
            "is alive in all 20 views",
            "load=0.42",
            "go on with version 3; none has admitted",
            "the registry returns",
            "all 20 nodes are current",
            "version 4 is in force at all 20 nodes",
            "PASS",
        ],
    );
    assert!(took < WITH_REGISTRY, "{took:?}\n{said}");
    if etcd.is_some() {
        let address = etcd_address(&said);
        assert!(TcpStream::connect(address).is_err(), "etcd still runs at {address}");
    }
}

/// The address of etcd in what the demo prints.
fn etcd_address(said: &str) -> &str {
    let (_, location) = said.split_once("etcd://").expect("it says where etcd is");
    location.split_once('/').expect("a cluster").0
}

#[test]
fn a_demo_of_two_nodes_passes() {
    passes("2");
}

#[test]
fn a_demo_of_five_nodes_passes() {
    passes("5");
}

#[test]
fn a_demo_with_a_registry_in_a_file_passes() {
    passes_with_registry(None, "a file", "its file is moved away");
}

#[test]
fn a_demo_with_a_registry_in_etcd_passes() {
    if let Some(etcd) = etcd() {
        passes_with_registry(Some(&etcd), "etcd, one member", "etcd is killed");
    }
}

#[test]
fn a_registry_that_does_not_start_is_named() {
    let (output, _) = run(Some(OsStr::new("/nowhere/etcd")));
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("/nowhere/etcd cannot be started"), "{said}");
    assert!(said.contains("let $TGOSSIP_ETCD name"), "{said}");

    // A program that is no etcd ends by itself.
    let (output, _) = run(Some(OsStr::new(env!("CARGO_BIN_EXE_tgossip-agent"))));
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("etcd has ended by itself"), "{said}");
}

#[test]
fn a_demo_with_a_registry_needs_a_node_for_each_role() {
    let output = tgossip(&["demo", "--registry", "--nodes", "4"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("needs 5 nodes or more"), "{said}");
}

#[cfg(unix)]
#[test]
fn etcd_ends_with_a_demo_that_is_ended() {
    use std::io::{BufRead as _, BufReader};

    let Some(etcd) = etcd() else { return };
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut demo = with_registry(Some(&etcd), folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let stdout = demo.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("etcd://")).expect("it says where etcd is");
        let address = etcd_address(&line);
        assert!(TcpStream::connect(address).is_ok(), "{line}");
        common::signal(demo.id(), signal);
        assert_eq!(demo.wait().expect("it ends").code(), Some(130));
        assert!(TcpStream::connect(address).is_err(), "etcd still runs after {signal}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
