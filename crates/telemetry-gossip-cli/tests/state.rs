//! `--state DIR`: an agent finds its cluster again by what it kept there.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![cfg(unix)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Agent, TIMEOUT, start, text, tgossip};

/// The address of a socket that is closed.
fn gone() -> String {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn wait_for_file(path: &Path) {
    let end = Instant::now() + TIMEOUT;
    while !path.exists() {
        assert!(Instant::now() < end, "{} is not written", path.display());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn an_agent_that_was_stopped_or_killed_finds_its_cluster_again_without_seeds() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("state");
    let dir = folder.to_str().unwrap();
    let first = Agent::start("n1", &[]);
    let second = Agent::start("n2", &["--join", &first.udp.to_string()]);
    let back =
        Agent::start_agent_program("back", &["--state", dir, "--join", &first.udp.to_string()]);
    let found = back.wait_for(|line| line["event"] == "state");
    assert_eq!((&found["peers"], &found["folder"]), (&0.into(), &dir.into()));
    back.wait_for_event("joined", "n2");
    back.signal("TERM");
    assert!(back.wait().success());

    // Its only seed leads nowhere.
    let back = Agent::start("back", &["--state", dir, "--join", &gone()]);
    assert_eq!(back.wait_for(|line| line["event"] == "state")["peers"], 2);
    back.wait_for_event("joined", "n2");
    std::fs::remove_file(folder.join("peers")).unwrap();
    drop(back);

    // A second start right after a kill: the lock went with the process.
    let back = Agent::start("back", &["--state", dir, "--join", &first.udp.to_string()]);
    back.wait_for_event("joined", "n2");
    wait_for_file(&folder.join("peers"));
    drop(back);
    drop(first);
    let back = Agent::start("back", &["--state", dir]);
    back.wait_for(|line| line["event"] == "join-completed");
    second.wait_for(|line| line["event"] == "moved" && line["id"] == "back");
}

#[test]
fn a_file_of_another_agent_is_a_warning_and_a_folder_in_use_ends_the_second_agent() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().to_str().unwrap();
    std::fs::write(root.path().join("peers"), "no list\n").unwrap();
    let agent = Agent::start("a", &["--state", dir]);
    let warning = agent.wait_for(|line| line["event"] == "warning");
    let said = warning["text"].as_str().unwrap();
    assert!(said.contains("it is damaged") && said.contains("peers.broken"), "{said}");
    let refused = tgossip(&["agent", "--id", "b", "--state", dir]);
    let error = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{error}");
    assert!(error.contains(dir) && error.contains("a folder of its own"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_ends_the_agent_with_its_name() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    let dir = root.path().join("file/below");
    let refused = start(&["agent", "--id", "a", "--state", dir.to_str().unwrap()]);
    let refused = refused.wait_with_output().unwrap();
    let error = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{error}");
    assert!(error.contains(dir.to_str().unwrap()), "{error}");
}
