//! Documents keep up with what they are about: links lead somewhere, commands can be run, filters
//! match a test, and the page on the command line names what the program has.
//!
//! Commands are parsed here and run by `.ci/documents`. Each check is proved able to fail by tests
//! on made-up documents, in `documents_support`.

mod common;
mod documents_support;

use std::collections::BTreeSet;
use std::path::Path;

use common::{Agent, text, tgossip};
use documents_support::commands::{self, Ground};
use documents_support::markdown::Document;
use documents_support::{documents, expect_none, links, root, workspace};
use serde_json::Value;

fn document(path: &str) -> Document {
    let found = documents().into_iter().find(|document| document.path == Path::new(path));
    found.unwrap_or_else(|| panic!("there is no {path}"))
}

#[test]
fn every_document_is_looked_at() {
    let paths: Vec<_> = documents().into_iter().map(|document| document.path).collect();
    for path in
        ["README.md", "ARCHITECTURE.md", "docs/cli.md", "docs/detector/README.md", "fuzz/README.md"]
    {
        assert!(paths.contains(&Path::new(path).to_owned()), "{path} is not among {paths:?}");
    }
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let documents = documents();
    let anchors = |path: &Path| {
        let document = documents.iter().find(|document| document.path == path)?;
        Some(document.anchors())
    };
    let exists = |path: &Path| root().join(path).exists();
    let broken = |document| links::broken(document, exists, anchors);
    expect_none(&documents.iter().flat_map(broken).collect::<Vec<_>>());
}

#[test]
fn every_command_can_be_run_and_every_filter_matches_a_test() {
    let listed = tgossip(&["sim", "--list"]);
    // A scenario's line begins with its name; what makes it fail is indented.
    let scenarios: Vec<String> = text(&listed.stdout)
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter_map(|line| line.split_whitespace().next().map(ToOwned::to_owned))
        .collect();
    let ground = Ground {
        targets: &workspace::targets(&root().join("Cargo.toml")),
        fuzz_targets: &workspace::targets(&root().join("fuzz/Cargo.toml")),
        accepts: &|arguments| {
            telemetry_gossip_cli::command_line().try_get_matches_from(arguments).map(drop)
        },
        scenarios: &scenarios,
        exists: &|path| root().join(path).exists(),
    };
    let wrong = |document| commands::wrong(document, &ground);
    expect_none(&documents().iter().flat_map(wrong).collect::<Vec<_>>());
}

#[test]
fn prose_is_at_most_100_columns_wide() {
    expect_none(&documents().iter().flat_map(Document::wide_lines).collect::<Vec<_>>());
}

#[test]
fn the_readme_is_one_page_and_its_program_is_the_example() {
    let readme = document("README.md");
    let lines = readme.text.lines().count();
    assert!(lines <= 130, "README.md has {lines} lines: one page is at most 130");
    let programs: Vec<_> = readme.blocks.iter().filter(|block| block.language == "rust").collect();
    let [program] = *programs else { panic!("README.md has {} programs", programs.len()) };
    let example = std::fs::read_to_string(root().join("crates/telemetry-gossip/examples/embed.rs"));
    assert_eq!(
        program.text,
        example.expect("the example"),
        "README.md and examples/embed.rs differ"
    );
}

/// Words that docs/cli.md has between backticks.
fn words_of_cli_page() -> BTreeSet<String> {
    document("docs/cli.md").inline_code().into_iter().map(|code| code.text).collect()
}

#[test]
fn the_cli_page_names_every_event_of_an_agent() {
    let source =
        concat!(include_str!("../src/agent/line.rs"), include_str!("../src/agent/event_line.rs"));
    // A line is made of a word, its parts and a text.
    let literal =
        |text: &str| Some(text.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned());
    let events: BTreeSet<String> = source.split("Self::new(").skip(1).filter_map(literal).collect();
    assert!(
        events.len() > 15 && events.contains("joined"),
        "events are made otherwise now: {events:?}"
    );
    let missing: Vec<_> = events.difference(&words_of_cli_page()).cloned().collect();
    assert!(missing.is_empty(), "docs/cli.md does not name the events {missing:?}");
}

#[test]
fn the_cli_page_names_every_field_of_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("cluster.key").to_str().expect("a plain path").to_owned();
    let records = folder.path().join("records").to_str().expect("a plain path").to_owned();
    assert!(tgossip(&["key", "new", &key]).status.success());
    let list = folder.path().join("list.toml");
    let text = "cluster = \"7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10\"\nversion = 1\n\
                [members]\nn1 = {}\nn2 = {}\n";
    std::fs::write(&list, text).expect("a list");
    let url = format!("file:{}", list.display());
    let own = ["--record", &records, "--set", "a=b", "--registry", &url];
    let first = Agent::start("n1", &[&["--key-file", &key], &own[..]].concat());
    let seed = first.udp.to_string();
    let second = Agent::start("n2", &["--key-file", &key, "--join", &seed]);
    second.wait_for_event("telemetry", "n1");
    drop(second);
    first.wait_for_event("dead", "n2");

    let via = first.control.to_string();
    let mut fields = BTreeSet::new();
    for question in [&["members"][..], &["explain", "n2"]] {
        let output = tgossip(&[question, &["--via", &via, "--json"]].concat());
        collect_fields(&serde_json::from_slice(&output.stdout).expect("JSON"), &mut fields);
    }
    let plan = tgossip(&["plan", "--nodes", "9", "--rtt", "2ms", "--target", "5s", "--json"]);
    collect_fields(&serde_json::from_slice(&plan.stdout).expect("JSON"), &mut fields);
    drop(first);
    let replay = tgossip(&["replay", &records, "--json"]);
    collect_fields(&serde_json::from_slice(&replay.stdout).expect("JSON"), &mut fields);

    assert!(fields.contains("generation") && fields.contains("history"), "{fields:?}");
    // The key of the telemetry itself is the user's.
    fields.remove("a");
    let missing: Vec<_> = fields.difference(&words_of_cli_page()).cloned().collect();
    assert!(missing.is_empty(), "docs/cli.md does not name the fields {missing:?}");
}

fn collect_fields(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            into.insert(name.clone());
            collect_fields(value, into);
        }),
        Value::Array(values) => values.iter().for_each(|value| collect_fields(value, into)),
        _ => {}
    }
}

#[test]
fn the_cli_page_has_the_exit_codes_that_each_help_names() {
    let page = document("docs/cli.md").prose;
    let row = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let header = page
        .lines()
        .find(|line| line.starts_with("| command | 0 |"))
        .expect("a table of exit codes");
    let codes = row(header)[1..].to_vec();
    for command in telemetry_gossip_cli::command_line().get_subcommands() {
        let name = command.get_name();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let (_, listed) =
            help.split_once("Exit codes:\n").unwrap_or_else(|| panic!("help {name} lists none"));
        let of_help: Vec<&str> =
            listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let of_help: Vec<&str> =
            of_help.into_iter().filter(|word| word.parse::<u8>().is_ok()).collect();
        let line = page.lines().find(|line| {
            line.starts_with(&format!("| `{name}` |")) && row(line).len() == codes.len() + 1
        });
        let cells = row(line.unwrap_or_else(|| panic!("docs/cli.md has no exit codes of {name}")));
        let of_page: Vec<&str> = codes
            .iter()
            .zip(&cells[1..])
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(code, _)| &**code)
            .collect();
        assert_eq!(of_page, of_help, "exit codes of {name}: docs/cli.md, then its help");
    }
}
