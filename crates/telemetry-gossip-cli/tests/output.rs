//! An agent whose standard output takes nothing goes on all the same, and leaves when it is told.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use common::{AGENT_PROGRAM, Agent, signal, tgossip};

/// Starts an agent with this output, and ends it by a signal; another one sees it come and go, and
/// it answers in between.
fn comes_answers_and_goes(name: &str, output: impl Into<Stdio>) {
    let stays = Agent::start("stays", &[]);
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control");
    let control = control.to_str().unwrap();
    let mut command = Command::new(AGENT_PROGRAM);
    command.args(["--json", "--id", "mute", "--join", &stays.udp.to_string()]);
    command.args(["--control", control]).stdin(Stdio::null()).stdout(output);
    let mut mute = Ended(command.spawn().unwrap());
    stays.wait_for_event("joined", "mute");
    let view = tgossip(&["members", "--via", control, "--json"]);
    assert!(view.status.success(), "{name}: {view:?}");
    signal(mute.0.id(), "TERM");
    stays.wait_for(|line| {
        assert!(line["event"] != "suspected" && line["event"] != "dead", "{name}: {line}");
        line["event"] == "left" && line["id"] == "mute"
    });
    assert_eq!(mute.0.wait().unwrap().code(), Some(0), "{name}");
}

/// Kills a process that a failed test leaves.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already, which is no error.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_agent_whose_output_is_closed_goes_on_and_leaves() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    comes_answers_and_goes("closed", writer);
}

#[test]
fn an_agent_whose_output_is_on_a_full_disk_goes_on_and_leaves() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    comes_answers_and_goes("full disk", full);
}

#[test]
fn an_agent_whose_output_is_not_read_goes_on_and_leaves() {
    let (reader, writer) = std::io::pipe().unwrap();
    // Others fill the pipe, and take each place that becomes free.
    let mut others = writer.try_clone().unwrap();
    let filling = std::thread::spawn(move || while others.write_all(&[b'\n'; 4_096]).is_ok() {});
    comes_answers_and_goes("not read", writer);
    drop(reader);
    filling.join().unwrap();
}
