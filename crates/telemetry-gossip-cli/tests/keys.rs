//! Sealed agents: key files are made and checked, agents with the same key form a cluster, and keys
//! change while agents run.

mod common;

use std::path::PathBuf;

use common::{Agent, member, text, tgossip};

/// A folder of one test, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tgossip-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Makes a key file. Returns its path, and the id of the key as printed.
    fn key(&self, name: &str) -> (String, String) {
        let path = self.path(name);
        let said = done(&["key", "new", &path]);
        let id = said.strip_prefix("key ").and_then(|rest| rest.split(' ').next()).unwrap();
        (path.clone(), id.to_owned())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn done(args: &[&str]) -> String {
    let output = tgossip(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn refused(args: &[&str], code: i32) -> String {
    let output = tgossip(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn the_keys_of_running_agents_can_be_replaced() {
    let folder = Folder::new("replaced");
    let ((old, old_id), (new, new_id)) = (folder.key("old.key"), folder.key("new.key"));
    let a = Agent::start("a", &["--key-file", &old]);
    let joining = ["--join", &a.udp.to_string(), "--key-file", &old];
    let b = Agent::start("b", &joining);
    let told = a.wait_for(|line| line["event"] == "sealing");
    assert_eq!(told["keys"], serde_json::json!([old_id]));
    a.wait_for_event("joined", "b");
    b.wait_for_event("joined", "a");

    let vias = [a.control.to_string(), b.control.to_string()];
    let each = |args: &[&str], key: &str| {
        let said = [0, 1].map(|agent| {
            done(&[&["key"], args, &["--via", &vias[agent], "--key-file", key]].concat())
        });
        assert_eq!(said[0], said[1]);
        said[0].clone()
    };
    assert_eq!(done(&["key", "list", "--via", &vias[0]]), format!("{old_id} (primary)\n"));
    assert_eq!(each(&["add", &new], &old), format!("{old_id} (primary)\n{new_id}\n"));
    assert_eq!(each(&["use", &new_id], &old), format!("{new_id} (primary)\n{old_id}\n"));
    assert_eq!(each(&["remove", &old_id], &new), format!("{new_id} (primary)\n"));

    // An agent with the new key joins. An agent with the old one does not, and the seed counts why.
    let c = Agent::start("c", &["--join", &a.udp.to_string(), "--key-file", &new]);
    c.wait_for_event("joined", "a");
    a.wait_for_event("joined", "c");
    let late = Agent::start("late", &joining);
    late.wait_for(|line| line["event"] == "join-failed");
    let view = a.view();
    assert!(view["seal"]["unknown_key"].as_u64() > Some(0), "{:#}", view["seal"]);
    assert_eq!(view["members"].as_array().unwrap().len(), 3);
    assert_eq!(member(&view, "b")["status"], "alive");
    let table = done(&["members", "--via", &vias[0], "--stats"]);
    assert!(table.contains("seal.unknown_key") && table.contains("seal.replayed"), "{table}");
}

#[test]
fn an_agent_refuses_changes_without_one_of_its_keys() {
    let folder = Folder::new("refuses");
    let ((old, old_id), (other, other_id)) = (folder.key("old.key"), folder.key("other.key"));
    let agent = Agent::start("a", &["--key-file", &old, "--label", "production"]);
    let via = agent.control.to_string();
    let add = |key: &str, label: &str| {
        refused(&["key", "add", &other, "--via", &via, "--key-file", key, "--label", label], 1)
    };
    assert!(
        add(&other, "production")
            .contains(&format!("the key {other_id}, which is not in the keyring"))
    );
    for label in ["staging", ""] {
        let said = add(&old, label);
        assert!(said.contains("not authentic"), "{said}");
        assert!(said.contains("the --label with which it was started"), "{said}");
    }
    let remove =
        ["key", "remove", &old_id, "--via", &via, "--key-file", &old, "--label", "production"];
    assert!(refused(&remove, 1).contains("is the primary"));
    assert_eq!(done(&["key", "list", "--via", &via]), format!("{old_id} (primary)\n"));

    let meant_for_b = [
        "key",
        "add",
        &other,
        "--via",
        &via,
        "--key-file",
        &old,
        "--label",
        "production",
        "--agent",
        "b",
    ];
    let said = refused(&meant_for_b, 1);
    assert!(said.contains("is `a` and not `b`") && said.contains("nothing was changed"), "{said}");

    let plain = Agent::start("b", &[]);
    assert!(plain.wait_for(|line| line["event"] == "sealing")["keys"].is_null());
    assert!(
        refused(&["key", "list", "--via", &plain.control.to_string()], 1)
            .contains("started in plaintext")
    );
}

#[test]
fn key_new_never_overwrites_and_errors_name_a_bad_key_file_and_its_rule() {
    let folder = Folder::new("files");
    let (path, _) = folder.key("cluster.key");
    let before = std::fs::read_to_string(&path).unwrap();
    assert!(refused(&["key", "new", &path], 3).contains("cluster.key cannot be created"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);

    let agent = |key: &str| refused(&["agent", "--id", "a", "--key-file", key], 3);
    assert!(agent(&folder.path("missing.key")).contains("missing.key cannot be read"));
    std::fs::copy(&path, folder.path("short.key")).unwrap();
    std::fs::write(folder.path("short.key"), &before[..20]).unwrap();
    assert!(agent(&folder.path("short.key")).contains(
        "short.key does not contain a key: the text has 20 bytes, a key has 64 hexadecimal digits"
    ));
    let tight = refused(&["agent", "--id", "a", "--key-file", &path, "--mtu", "811"], 2);
    assert!(
        tight.contains("--mtu 811 is too small for sealed datagrams: type --mtu 812 or more"),
        "{tight}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode =
            |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        mode(0o644);
        let said = agent(&path);
        assert!(
            said.contains("cluster.key can be read or written by every user (mode 644)"),
            "{said}"
        );
    }
}
