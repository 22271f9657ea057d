//! What a package installs beside the programs: completions, manual pages and the unit of systemd.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use common::{text, tgossip};

/// The commands of `tgossip` and those below them, with the words that are typed for each.
fn commands() -> Vec<Vec<String>> {
    fn below(command: &clap::Command, typed: &[String], into: &mut Vec<Vec<String>>) {
        for command in command.get_subcommands() {
            let typed = [typed, &[command.get_name().to_owned()]].concat();
            below(command, &typed, into);
            into.push(typed);
        }
    }
    let mut all = Vec::new();
    below(&telemetry_gossip_cli::command_line(), &[], &mut all);
    assert!(all.len() > 25, "{all:?}");
    all
}

#[test]
fn the_completions_of_each_shell_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = tgossip(&["completions", shell]);
        assert!(output.status.success(), "{shell}: {}", text(&output.stderr));
        let script = text(&output.stdout);
        for command in commands() {
            let name = command.last().expect("a word");
            assert!(script.contains(name.as_str()), "{shell} does not name {command:?}");
        }
        assert!(script.contains("probe-interval"), "{shell} does not name the options");
    }
    assert_eq!(tgossip(&["completions", "command.com"]).status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn bash_reads_its_completions() {
    let script = tgossip(&["completions", "bash"]).stdout;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tgossip");
    std::fs::write(&path, script).unwrap();
    match std::process::Command::new("bash").arg("-n").arg(&path).output() {
        Ok(read) => assert!(read.status.success(), "{}", text(&read.stderr)),
        Err(error) => println!("bash is missing ({error}): its script is not read"),
    }
}

#[test]
fn there_is_a_manual_page_of_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("share/man1");
    let output = tgossip(&["man", below.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = |words: &[String]| {
        let name = [&["tgossip".to_owned()], words].concat().join("-") + ".1";
        let text = std::fs::read_to_string(below.join(&name));
        text.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(page(&[]).contains("SUBCOMMANDS"));
    let commands = commands();
    for command in &commands {
        let page = page(command);
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{command:?}: {page}");
        let version = concat!("\"tgossip ", env!("CARGO_PKG_VERSION"));
        assert!(page.contains(version), "{command:?}: {page}");
    }
    let written = std::fs::read_dir(&below).unwrap().count();
    assert_eq!(written, commands.len() + 1);
    let said = text(&output.stdout);
    assert!(said.starts_with(&format!("{written} pages in ")), "{said}");
    let agent = page(&["agent".to_owned()]);
    assert!(agent.contains("Exit codes:") && agent.contains("key\\-file"), "{agent}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("man1");
    let output = tgossip(&["man", below.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("man1 cannot be written"), "{said}");
}

/// The unit, with the program of this build, as `systemd-analyze` looks whether it is there.
#[cfg(target_os = "linux")]
#[test]
fn systemd_accepts_the_unit() {
    let unit = include_str!("../../../packaging/systemd/tgossip-agent@.service");
    let installed = "/usr/bin/tgossip-agent";
    assert!(unit.contains(&format!("ExecStart={installed} ")), "{unit}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tgossip-agent@.service");
    std::fs::write(&path, unit.replace(installed, common::AGENT_PROGRAM)).unwrap();
    let mut analyze = std::process::Command::new("systemd-analyze");
    // The pages of the manual are not installed here.
    match analyze.args(["verify", "--man=no"]).arg(&path).output() {
        Ok(said) => {
            let (out, error) = (text(&said.stdout), text(&said.stderr));
            assert!(said.status.success(), "{out}{error}");
            // What it does not know and ignores, it only warns of.
            assert!(!error.contains("tgossip-agent@"), "{error}");
        }
        Err(error) => println!("systemd-analyze is missing ({error}): the unit is not checked"),
    }
}

/// The command of the unit is one that the program accepts.
#[cfg(target_os = "linux")]
#[test]
fn the_unit_runs_the_agent_with_options_that_it_has() {
    let unit = include_str!("../../../packaging/systemd/tgossip-agent@.service");
    let command = unit.replace("\\\n", " ");
    let command = command.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let command = command.replace("%i", "edge-17").replace("%S", "/var/lib").replace("%t", "/run");
    let options = "--join 10.0.0.1:7946 --key-file /etc/tgossip/cluster.key";
    let command = command.replace("$TGOSSIP_OPTIONS", options);
    let command = command.replace("$TGOSSIP_NODE_OPTIONS", "--bind 10.0.0.17:7946");
    assert!(!command.contains(['%', '$']), "{command}");
    let words = command.split_whitespace().skip(1);
    let words: Vec<&str> = ["tgossip", "agent"].into_iter().chain(words).collect();
    if let Err(error) = telemetry_gossip_cli::command_line().try_get_matches_from(words) {
        panic!("{error}");
    }
}
