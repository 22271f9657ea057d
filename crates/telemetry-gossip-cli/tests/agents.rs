//! Agents as processes: they find each other, answer questions, and leave.

mod common;

use std::time::{Duration, Instant};

use serde_json::Value;

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
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
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
    let view = a.view();
    assert_eq!(member(&view, "b")["status"], "left");
    assert_eq!((&view["health"]["dead"], &view["health"]["left"]), (&0.into(), &1.into()));
    for (status, ids) in
        [(&["left"][..], vec!["b"]), (&["dead"], vec![]), (&["alive", "left"], vec!["a", "b"])]
    {
        let asked = [&["members", "--via", &a.control, "--json", "--status"], status].concat();
        let told: Value = serde_json::from_slice(&tgossip(&asked).stdout).unwrap();
        let told: Vec<_> = told["members"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
        assert_eq!(told, ids, "{status:?}");
    }

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
    dated(&a);

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

/// Checks that the agent says since when b is dead, and when b itself last answered: before that,
/// whatever was said of it since. A member that left stands apart from one that failed.
fn dated(a: &Agent) {
    let via = a.control.to_string();
    let view = a.view();
    let b = member(&view, "b");
    let [heard, dead] = ["last_heard_s", "status_since_s"].map(|field| b[field].as_f64().unwrap());
    assert!(heard > dead, "{b}");
    assert_eq!(
        (&member(&view, "a")["last_heard_s"], b["status"].as_str()),
        (&Value::Null, Some("dead"))
    );
    assert_eq!((&view["health"]["dead"], &view["health"]["left"]), (&1.into(), &0.into()));
    let table = text(&tgossip(&["members", "--via", &via]).stdout);
    assert!(table.contains(" SINCE ") && table.contains(" LAST HEARD "), "{table}");
    let explained = tgossip(&["explain", "b", "--via", &via, "--json"]);
    let told: Value = serde_json::from_slice(&explained.stdout).unwrap();
    assert!(told["last_heard_s"].as_f64() > told["status_since_s"].as_f64(), "{told}");
    let text = told["text"].as_str().unwrap();
    for words in ["this node last heard from it ", "has been dead here for "] {
        assert!(text.contains(words), "`{words}` is missing in:\n{text}");
    }
}

/// An agent that was stopped until the other held it dead says so itself: who accused it, when it
/// refuted, and how long it was paused.
#[test]
fn an_agent_tells_why_others_held_it_dead() {
    let quick =
        ["--probe-interval", "200ms", "--probe-timeout", "80ms", "--gossip-interval", "50ms"];
    let a = Agent::start("a", &quick);
    let seed = a.udp.to_string();
    let b = Agent::start("b", &[&quick[..], &["--join", &seed]].concat());
    a.wait_for_event("joined", "b");
    b.wait_for_event("joined", "a");
    b.signal("STOP");
    a.wait_for_event("dead", "b");
    b.signal("CONT");
    a.wait_for_event("alive", "b");
    b.wait_for(|line| line["event"] == "refuted");
    let output = tgossip(&["explain", "b", "--via", &b.control, "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let history = told["history"].as_array().unwrap();
    let of = |kind: &str| history.iter().find(|one| one["kind"] == kind);
    assert!(of("paused").is_some_and(|one| one["paused_s"].as_f64() > Some(0.2)), "{told:#}");
    assert!(of("accused").is_some_and(|one| one["by"] == "a"), "{told:#}");
    assert!(of("refuted").is_some_and(|one| one["generation"].is_u64()), "{told:#}");
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
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
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
    assert_eq!(output.status.code(), Some(5));
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
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
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
    let joining = [&quick[..], &["--join", &seed, "--on-conflict", "exit"]].concat();
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

/// Two of three are killed. The one that is left says what happened and what to type, and what it
/// says to type ends the isolation.
#[test]
fn an_operator_is_told_of_a_real_loss_and_can_end_the_isolation() {
    let quick =
        ["--probe-interval", "200ms", "--probe-timeout", "80ms", "--gossip-interval", "50ms"];
    let a = Agent::start("a", &quick);
    let seed = a.udp.to_string();
    let joining = [&quick[..], &["--join", &seed]].concat();
    let others = ["b", "c"].map(|id| Agent::start(id, &joining));
    wait_for_members(&a, &["b", "c"]);
    let not_isolated = tgossip(&["accept-loss", "--via", &a.control]);
    assert_eq!(not_isolated.status.code(), Some(0));
    assert!(text(&not_isolated.stdout).contains("no loss to accept"));
    assert!(a.view()["isolation"].is_null());

    drop(others);
    let told = a.wait_for(|line| line["event"] == "isolated");
    assert_eq!((&told["lost"], &told["of"]), (&2.into(), &3.into()));
    let command = format!("tgossip accept-loss --via {}", a.control);
    assert_eq!(told["command"], *command);
    let table = text(&tgossip(&["members", "--via", &a.control]).stdout);
    assert!(table.starts_with("a IS ISOLATED since ") && table.contains(&command), "{table}");
    let view = tgossip(&["members", "--json", "--via", &a.control]).stdout;
    let view: Value = serde_json::from_slice(&view).unwrap();
    let isolation = &view["isolation"];
    assert_eq!(isolation["command"], *command);
    assert_eq!((&isolation["lost"], &isolation["of"]), (&2.into(), &3.into()), "{view:#}");
    assert_eq!(view["health"]["isolated"], true);
    assert_eq!(member(&view, "a")["unconfirmed"], false);
    for id in ["b", "c"] {
        assert_eq!(member(&view, id)["unconfirmed"], true, "{view:#}");
    }

    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let accepted = tgossip(&words);
    assert!(text(&accepted.stdout).starts_with("a accepts the loss of 2 members"), "{accepted:?}");
    let mut missing = vec!["b", "c"];
    a.wait_for(|line| {
        if line["event"] == "dead" {
            missing.retain(|id| line["id"] != *id);
        }
        missing.is_empty()
    });
    assert!(a.view()["isolation"].is_null());
}

#[test]
fn an_isolation_ends_after_the_limit_that_the_agent_was_given() {
    let quick =
        ["--probe-interval", "200ms", "--probe-timeout", "80ms", "--gossip-interval", "50ms"];
    let a = Agent::start("a", &[&quick[..], &["--isolation-limit", "5s"]].concat());
    let seed = a.udp.to_string();
    let joining = [&quick[..], &["--join", &seed]].concat();
    let others = ["b", "c"].map(|id| Agent::start(id, &joining));
    wait_for_members(&a, &["b", "c"]);
    drop(others);
    a.wait_for(|line| line["event"] == "isolated");
    let told = a.wait_for(|line| line["event"] == "reconnected");
    assert_eq!(told["end"], "time-limit");
}

/// Sends one line to a TCP address and reads the answer.
fn said_by_tcp(address: &str, line: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(common::TIMEOUT)).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_tcp_control_address_answers_those_who_present_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.token");
    let file = file.to_str().unwrap();
    let named = Agent::start("a", &["--control", "127.0.0.1:0", "--control-token-file", file]);
    let refused = said_by_tcp(&named.control, "{\"ask\":\"view\"}\n");
    assert!(refused.starts_with("{\"denied\":") && refused.lines().count() == 1, "{refused}");
    let token = std::fs::read_to_string(file).unwrap();
    let asked = format!("{{\"ask\":\"view\",\"token\":\"{}\"}}\n", token.trim());
    let view: serde_json::Value =
        serde_json::from_str(&said_by_tcp(&named.control, &asked)).unwrap();
    let clients = &view["view"]["control"];
    assert_eq!(
        (&clients["clients_without_token"], &clients["clients_served"]),
        (&1.into(), &1.into())
    );
    let without = tgossip(&["members", "--via", &named.control]);
    assert_eq!(without.status.code(), Some(4));
    assert!(text(&without.stderr).contains("--control-token-file"), "{without:?}");
    let with = ["members", "--via", &named.control, "--control-token-file", file];
    assert!(tgossip(&with).status.success());

    // If no file is named, the agent makes one that clients of the same user find.
    let unnamed = Agent::start("b", &["--control", "127.0.0.1:0"]);
    assert!(said_by_tcp(&unnamed.control, "{\"ask\":\"view\"}\n").contains("denied"));
    let found = tgossip(&["members", "--via", &unnamed.control]);
    assert!(found.status.success(), "{}", text(&found.stderr));
}

#[cfg(unix)]
#[test]
fn a_killed_agent_leaves_no_socket_that_stops_the_next_one() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let at = ["--control", path.to_str().unwrap()];
    let killed = Agent::start("a", &at);
    assert_eq!(killed.control, at[1]);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let second = tgossip(&["agent", "--id", "b", at[0], at[1]]);
    assert_eq!(second.status.code(), Some(3));
    assert!(text(&second.stderr).contains("another process answers there"), "{second:?}");
    drop(killed);
    assert!(path.exists());
    let next = Agent::start("a", &at);
    assert!(tgossip(&["members", "--via", at[1]]).status.success());
    next.signal("TERM");
    assert_eq!(next.wait().code(), Some(0));
    assert!(!path.exists());
}
