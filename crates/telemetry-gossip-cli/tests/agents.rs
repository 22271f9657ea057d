//! Agents as processes: they find each other, answer questions, and leave.

mod common;

use std::time::{Duration, Instant};

use common::{Agent, member, text, tgossip};

#[cfg(target_os = "linux")]
#[test]
fn both_programs_run_the_agent_themselves_and_form_one_cluster() {
    let a = Agent::start("a", &[]);
    let b = Agent::start_agent_program("b", &["--join", &a.udp.to_string()]);
    a.wait_for_event("joined", "b");
    b.wait_for_event("joined", "a");
    let program = |agent: &Agent| {
        let path = std::fs::read_link(format!("/proc/{}/exe", agent.pid())).unwrap();
        path.file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!((program(&a), program(&b)), ("tgossip".to_owned(), "tgossip-agent".to_owned()));
}

#[test]
fn two_agents_see_each_other() {
    let a = Agent::start("a", &["--set", "role=first"]);
    let b = Agent::start("b", &["--join", &a.udp.to_string(), "--set", "role=second", "zone=east"]);
    a.wait_for_event("joined", "b");
    b.wait_for_event("joined", "a");
    a.wait_for(|line| line["event"] == "telemetry" && line["id"] == "b" && line["version"] == 2);

    let output = tgossip(&["members", "--via", &a.control.to_string(), "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let view: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(view["node"], "a");
    for (id, udp) in [("a", a.udp), ("b", b.udp)] {
        assert_eq!(member(&view, id)["status"], "alive");
        assert_eq!(member(&view, id)["address"], udp.to_string());
    }
    assert_eq!(member(&view, "b")["telemetry"]["role"]["value"], "second");
    assert_eq!(member(&view, "b")["telemetry"]["zone"]["value"], "east");

    let output = tgossip(&["members", "--via", &a.control.to_string(), "--stats"]);
    let table = text(&output.stdout);
    for word in ["STATUS", "role=second", "datagrams_sent", "2 alive"] {
        assert!(table.contains(word), "`{word}` is missing in:\n{table}");
    }
}

#[cfg(unix)]
#[test]
fn an_agent_leaves_the_cluster_on_a_signal() {
    let a = Agent::start("a", &[]);
    let b = Agent::start("b", &["--join", &a.udp.to_string()]);
    a.wait_for_event("joined", "b");
    b.wait_for_event("joined", "a");

    b.signal("TERM");
    b.wait_for(|line| line["event"] == "leave-completed");
    assert_eq!(b.wait().code(), Some(0));
    a.wait_for_event("left", "b");
    assert_eq!(member(&a.view(), "b")["status"], "left");

    a.signal("INT");
    assert_eq!(a.wait().code(), Some(0));
}

#[test]
fn a_killed_agent_is_declared_dead_and_can_return() {
    let quick =
        ["--probe-interval", "200ms", "--probe-timeout", "80ms", "--gossip-interval", "50ms"];
    let a = Agent::start("a", &quick);
    let seed = a.udp.to_string();
    let joining = [&quick[..], &["--join", &seed]].concat();
    let b = Agent::start("b", &joining);
    a.wait_for_event("joined", "b");

    drop(b);
    a.wait_for_event("suspected", "b");
    let dead = a.wait_for_event("dead", "b");
    a.wait_for(|line| line["event"] == "evidence" && line["id"] == "b" && line["kind"] == "dead");
    explained(&a);

    let b = Agent::start("b", &joining);
    let alive = a.wait_for_event("alive", "b");
    assert!(alive["generation"].as_u64() > dead["generation"].as_u64(), "{alive} after {dead}");
    // It prints its new generation once, with the reason.
    let raised = b.wait_for(|line| {
        assert!(line["event"] != "alive" || line["id"] != "b", "{line}");
        line["event"] == "refuted"
    });
    assert_eq!(raised["generation"], alive["generation"]);
}

/// Waits until an agent has said that each of these members joined.
fn wait_for_members(agent: &Agent, ids: &[&str]) {
    let mut missing = ids.to_vec();
    agent.wait_for(|line| {
        if line["event"] == "joined" {
            missing.retain(|id| line["id"] != *id);
        }
        missing.is_empty()
    });
}

/// The first agent of a cluster has no seed. It is killed and started again before another notices.
fn the_first_agent_restarts_unnoticed() {
    let first = Agent::start("n1", &[]);
    let seed = first.udp.to_string();
    let ids = ["n2", "n3", "n4"];
    let others = ids.map(|id| Agent::start(id, &["--join", &seed]));
    wait_for_members(&first, &ids);
    for (other, own) in others.iter().zip(ids) {
        let rest: Vec<&str> = ids.into_iter().filter(|id| *id != own).collect();
        wait_for_members(other, &[&["n1"], &rest[..]].concat());
    }

    drop(first);
    let first = Agent::start("n1", &["--bind", &seed]);
    let back = Instant::now();
    wait_for_members(&first, &ids);
    for other in &others {
        other.wait_for(|line| {
            assert!(line["event"] != "dead", "{line}");
            line["event"] == "evidence" && line["id"] == "n1" && line["kind"] == "restarted"
        });
    }
    let took = back.elapsed();
    assert!(took <= Duration::from_secs(20), "it took {took:?}");
    let view = first.view();
    for id in ids {
        assert_eq!(member(&view, id)["status"], "alive");
    }
}

#[test]
fn a_first_agent_that_restarts_unnoticed_finds_the_others() {
    for _ in 0..2 {
        the_first_agent_restarts_unnoticed();
    }
}

#[test]
#[ignore = "takes half a minute: 20 clusters"]
fn a_first_agent_that_restarts_unnoticed_finds_the_others_20_times() {
    for _ in 0..20 {
        the_first_agent_restarts_unnoticed();
    }
}

/// Checks that the agent explains why b is dead: in sentences, and in JSON with ids and ages.
fn explained(a: &Agent) {
    let via = a.control.to_string();
    let output = tgossip(&["explain", "b", "--via", &via]);
    let told = text(&output.stdout);
    for words in [
        "a says:\nb is dead at generation 1",
        "did not answer this node's probe",
        "suspected by a at generation 1",
    ] {
        assert!(told.contains(words), "`{words}` is missing in:\n{told}");
    }
    let output = tgossip(&["explain", "b", "--via", &via, "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&told["node"], &told["id"], &told["status"]),
        (&"a".into(), &"b".into(), &"dead".into())
    );
    assert_eq!(
        (&told["history"][1]["by"], &told["history"][1]["generation"]),
        (&"a".into(), &1.into())
    );
    let kinds: Vec<&str> = told["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["probe-failed", "suspected", "dead"]);
    assert!(told["history"][0]["age_s"].as_f64() >= told["history"][2]["age_s"].as_f64(), "{told}");

    let output = tgossip(&["explain", "unknown", "--via", &via]);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        text(&output.stderr).contains("knows no member called `unknown`"),
        "{}",
        text(&output.stderr)
    );
}

/// The remaining agents name each other as helpers of the failed probe, in their output and in
/// their explanations.
#[test]
fn evidence_names_the_helpers_of_a_failed_probe() {
    // These timeouts are long enough for a busy machine: a helper that is itself suspected would
    // not be asked.
    let quick =
        ["--probe-interval", "500ms", "--probe-timeout", "250ms", "--gossip-interval", "50ms"];
    let a = Agent::start("a", &quick);
    let seed = a.udp.to_string();
    let joining = [&quick[..], &["--join", &seed]].concat();
    let b = Agent::start("b", &joining);
    a.wait_for_event("joined", "b");
    let c = Agent::start("c", &joining);
    a.wait_for_event("joined", "c");
    b.wait_for_event("joined", "c");
    drop(c);

    let mut probers = 0;
    for (agent, other) in [(&a, "b"), (&b, "a")] {
        // This agent may have learned of the death from the other one, without a failed probe.
        let mut failed = None;
        agent.wait_for(|line| {
            if line["id"] == "c" && line["kind"] == "probe-failed" {
                failed = Some(line.clone());
            }
            line["event"] == "dead" && line["id"] == "c"
        });
        let Some(line) = failed else { continue };
        probers += 1;
        assert_eq!(
            (&line["event"], &line["helpers"][0]["id"]),
            (&"evidence".into(), &other.into()),
            "{line}"
        );
        let output = tgossip(&["explain", "c", "--via", &agent.control.to_string(), "--json"]);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let reasons = told["history"].as_array().unwrap();
        let reason = reasons.iter().find(|one| one["kind"] == "probe-failed").expect("it is kept");
        assert_eq!(reason["helpers"][0]["id"], other, "{told:#}");
        assert!(
            reason["text"].as_str().unwrap().contains(&format!("asked through {other} (")),
            "{told:#}"
        );
    }
    assert!(probers > 0, "no agent reports a failed probe");
}

#[test]
fn an_agent_reports_that_no_seed_answers_and_keeps_running() {
    // A socket that never answers.
    let mute = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mute = mute.local_addr().unwrap().to_string();
    let a = Agent::start("a", &["--join", &mute]);
    a.wait_for(|line| line["event"] == "join-failed");
    assert_eq!(member(&a.view(), "a")["status"], "alive");
}

#[test]
fn agents_with_different_labels_ignore_each_other() {
    let a = Agent::start("a", &["--label", "staging"]);
    let b = Agent::start("b", &["--join", &a.udp.to_string(), "--label", "production"]);
    b.wait_for(|line| line["event"] == "join-failed");
    let view = a.view();
    assert_eq!(view["members"].as_array().map(Vec::len), Some(1), "{view:#}");
    assert!(view["stats"]["datagrams_other_label"].as_u64() > Some(0), "{view:#}");
}

#[cfg(unix)]
#[test]
fn of_two_processes_with_the_same_id_one_stays() {
    let quick =
        ["--probe-interval", "200ms", "--probe-timeout", "80ms", "--gossip-interval", "50ms"];
    let a = Agent::start("a", &quick);
    let seed = a.udp.to_string();
    let joining = [&quick[..], &["--join", &seed]].concat();
    let (sender, ended) = std::sync::mpsc::channel();
    let pids = [0, 1].map(|place| {
        let twin = Agent::start("twin", &joining);
        let (pid, sender) = (twin.pid(), sender.clone());
        std::thread::spawn(move || sender.send((place, twin.wait().code())));
        pid
    });
    let (loser, code) = ended.recv_timeout(common::TIMEOUT).expect("one of them ends");
    assert_eq!(code, Some(1));
    common::signal(pids[1 - loser], "TERM");
    let (_, code) = ended.recv_timeout(common::TIMEOUT).expect("the other ends on a signal");
    assert_eq!(code, Some(0));
    a.wait_for_event("left", "twin");
}

#[test]
fn an_agent_joins_through_a_seed_file() {
    let a = Agent::start("a", &[]);
    let path = std::env::temp_dir().join(format!("tgossip-seeds-{}", a.pid()));
    std::fs::write(&path, format!("# the first agent\n\n{}\n", a.udp)).unwrap();
    let b = Agent::start("b", &["--seed-file", path.to_str().unwrap()]);
    b.wait_for(|line| line["event"] == "join-completed");
    a.wait_for_event("joined", "b");
    std::fs::remove_file(path).unwrap();
}
