//! What an agent does when it gets a signal.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![cfg(unix)]

mod common;

#[cfg(target_os = "linux")]
use std::process::Command;

#[cfg(target_os = "linux")]
use common::AGENT_PROGRAM;
use common::Agent;

#[cfg(target_os = "linux")]
#[test]
fn an_agent_whose_terminal_closes_leaves_however_often_it_is_told() {
    let stays = Agent::start("stays", &[]);
    // The tests themselves may run under `nohup`, which agents would inherit.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", AGENT_PROGRAM]);
    let goes = Agent::run(&mut command, "goes", &["--join", &stays.udp.to_string()]);
    stays.wait_for_event("joined", "goes");
    goes.wait_for_event("joined", "stays");
    goes.signal("HUP");
    goes.wait_for(|line| line["event"] == "leaving");
    // The shell passes the signal on that the system has sent already.
    goes.signal("HUP");
    assert_eq!(goes.wait().code(), Some(0));
    stays.wait_for_event("left", "goes");
}

/// As under `nohup`.
#[cfg(target_os = "linux")]
#[test]
fn an_agent_that_was_started_to_outlive_its_terminal_does() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", AGENT_PROGRAM]);
    let stays = Agent::run(&mut command, "stays", &[]);
    stays.signal("HUP");
    let _late = Agent::start("late", &["--join", &stays.udp.to_string()]);
    stays.wait_for(|line| {
        assert_ne!(line["event"], "leaving");
        line["event"] == "joined" && line["id"] == "late"
    });
    stays.signal("TERM");
    assert_eq!(stays.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_an_agent_that_is_leaving() {
    // A leave takes some gossip intervals.
    let slow = ["--probe-interval", "4s", "--gossip-interval", "2s", "--suspicion", "9s"];
    let first = Agent::start("first", &slow);
    let address = first.udp.to_string();
    let join = [&slow[..], &["--join", &address]].concat();
    let _other = Agent::start("other", &join);
    first.wait_for_event("joined", "other");
    first.signal("INT");
    first.wait_for(|line| line["event"] == "leaving");
    first.signal("TERM");
    assert_eq!(first.wait().code(), Some(130));
}
