//! Nodes that cannot understand each other say so at both ends: another key, another label,
//! plaintext beside sealed. Who has never joined is alone.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use std::path::{Path, PathBuf};
use std::time::Instant;

use common::{Agent, TIMEOUT, text, tgossip};
use serde_json::{Value, json};

/// A folder with the key files `now.key` and `old.key`.
fn keys(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["now.key", "old.key"] {
        let made = tgossip(&["key", "new", folder.join(file).to_str().unwrap()]);
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
    folder
}

/// The options that make an agent quick.
const QUICK: [&str; 2] = ["--profile", "local"];

fn start(id: &str, options: &[&str]) -> Agent {
    Agent::start(id, &[&QUICK[..], options].concat())
}

fn dropped(agent: &Agent, reason: &str) -> Value {
    agent.wait_for(|line| line["event"] == "dropped" && line["reason"] == reason)
}

/// Asks the agent again and again until its view is so. An answer may be 50 ms old.
fn until(what: &str, agent: &Agent, holds: impl Fn(&Value) -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !holds(&agent.view()) {
        assert!(Instant::now() < end, "not so: {what}");
        std::thread::yield_now();
    }
}

/// A seed with these options and a newcomer with those: the seed tells what it drops, from where
/// and what to do, once; the newcomer is alone, and is told what the reason may be.
fn do_not_understand_each_other(
    seed_options: &[&str],
    late_options: &[&str],
    (group, name): (&str, &str),
    (reason, advice): (&str, &str),
) {
    let seed = start("seed", seed_options);
    let address = seed.udp.to_string();
    let late = start("late", &[late_options, &["--join", &address]].concat());

    let told = dropped(&seed, reason);
    assert_eq!(told["from"], json!([late.udp.to_string()]));
    let sentence = told["text"].as_str().unwrap();
    for words in ["dropped 1 datagram from ", &late.udp.to_string(), advice] {
        assert!(sentence.contains(words), "`{words}` is missing in: {sentence}");
    }

    late.wait_for(|line| line["event"] == "join-failed");
    for (agent, alone, words) in [
        (&late, "no-seed-answered", "late is alone: no seed has answered so far"),
        (&seed, "no-seeds", "seed is alone: it has no seeds"),
    ] {
        assert_eq!(agent.view()["health"]["alone"], alone);
        let output = text(&tgossip(&["members", "--via", &agent.control, "--stats"]).stdout);
        assert!(output.starts_with(words), "{output}");
        assert!(output.contains("it is alone: "), "{output}");
        assert!(!output.contains("not isolated") && !output.contains("in touch"), "{output}");
    }

    // The newcomer goes on for as long as it likes: the seed says no more of it.
    until("the newcomer goes on", &seed, |view| view[group][name].as_u64() >= Some(10));
    let friend = start("friend", &[seed_options, &["--join", &address]].concat());
    seed.wait_for(|line| {
        assert!(line["event"] != "dropped", "{line}");
        line["event"] == "joined" && line["id"] == "friend"
    });
    friend.wait_for(|line| line["event"] == "join-completed");
    for agent in [&seed, &friend] {
        until("it is in touch", agent, |view| view["health"]["alone"].is_null());
    }
    assert_eq!(late.view()["health"]["alone"], "no-seed-answered");
}

#[test]
fn a_seed_says_that_a_newcomer_has_another_key() {
    let keys = keys("another-key");
    let (now, old) = (keys.join("now.key"), keys.join("old.key"));
    do_not_understand_each_other(
        &["--key-file", now.to_str().unwrap()],
        &["--key-file", old.to_str().unwrap()],
        ("seal", "unknown_key"),
        ("unknown-key", "give all nodes the same key (--key-file, see `tgossip help key`)"),
    );
}

#[test]
fn a_seed_says_that_a_newcomer_has_another_label() {
    do_not_understand_each_other(
        &["--label", "prod"],
        &["--label", "stage"],
        ("stats", "datagrams_other_label"),
        ("other-label", "give all nodes of one cluster the same label (--label)"),
    );
}

#[test]
fn a_sealed_seed_says_that_a_newcomer_speaks_in_plaintext() {
    let keys = keys("plaintext");
    do_not_understand_each_other(
        &["--key-file", keys.join("now.key").to_str().unwrap()],
        &[],
        ("seal", "not_sealed"),
        ("not-sealed", "in plaintext, while this node takes sealed ones only: give all nodes"),
    );
}

#[test]
fn a_seed_in_plaintext_says_that_a_newcomer_seals() {
    let keys = keys("sealed");
    do_not_understand_each_other(
        &[],
        &["--key-file", keys.join("now.key").to_str().unwrap()],
        ("stats", "datagrams_other_version"),
        ("sealed", "sealed, while this node has no key: give all nodes the same key"),
    );
}

#[test]
fn a_sealed_seed_says_that_a_newcomer_with_its_key_has_another_label() {
    let keys = keys("sealed-label");
    let key = keys.join("now.key");
    let options = |label| ["--label", label, "--key-file", key.to_str().unwrap()];
    do_not_understand_each_other(
        &options("prod"),
        &options("stage"),
        ("seal", "not_authentic"),
        ("not-authentic", "sealed for another label: compare the labels"),
    );
}

#[test]
fn a_node_that_was_down_while_the_key_was_replaced_is_told_of_the_answers_it_cannot_read() {
    let keys = keys("replaced-key");
    let (now, old) = (keys.join("now.key"), keys.join("old.key"));
    let (now, old) = (now.to_str().unwrap(), old.to_str().unwrap());
    let a = start("a", &["--key-file", now]);
    let seed = a.udp.to_string();
    let b = start("b", &["--key-file", now, "--join", &seed]);
    a.wait_for_event("joined", "b");
    let place = b.udp.to_string();
    drop(b);

    // The others ask it for as long as they remember it.
    let b = start("b", &["--key-file", old, "--join", &seed, "--bind", &place]);
    assert_eq!(dropped(&b, "unknown-key")["from"], json!([seed]));
    assert_eq!(dropped(&a, "unknown-key")["from"], json!([place]));
    assert_eq!(b.view()["health"]["alone"], "no-seed-answered");
    drop(b);

    let b = start("b", &["--key-file", now, "--join", &seed, "--bind", &place]);
    b.wait_for(|line| line["event"] == "join-completed");
    until("it is in touch", &b, |view| view["health"]["alone"].is_null());
}
