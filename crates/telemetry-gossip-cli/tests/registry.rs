//! The commands of an operator on a registry: its whole life on a file, each refusal with its exit
//! code, and writers that compete. No agent runs here.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::text;
use serde_json::Value;
use tempfile::TempDir;

/// A registry in a file of its own.
struct Registry {
    folder: TempDir,
    url: String,
}

impl Registry {
    /// A registry that is not made yet.
    fn none() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file:{}", folder.path().join("cluster.toml").display());
        Self { folder, url }
    }

    /// A registry with these members, at 10.0.0.1:7946 each.
    fn of(ids: &[&str]) -> Self {
        let registry = Self::none();
        let members: Vec<String> = ids.iter().map(|id| format!("{id}=10.0.0.1:7946")).collect();
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        registry.done(&[&["init", "--member"], &*members].concat());
        registry
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path("cluster.toml")).unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        tgossip(&[&["registry", &self.url], args].concat())
    }

    /// Runs a command that succeeds; returns what it prints.
    fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that is refused, which changes nothing; returns its message.
    fn refused(&self, args: &[&str], code: i32) -> String {
        let before = std::fs::read(self.path("cluster.toml")).ok();
        let output = self.run(args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
        assert_eq!(std::fs::read(self.path("cluster.toml")).ok(), before, "{args:?}");
        error
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.done(args)).expect("JSON")
    }

    fn ids(&self) -> Vec<String> {
        let list = self.json(&["list", "--json"]);
        let members = list["members"].as_array().unwrap().iter();
        members.map(|member| member["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// A command of an operator called ana.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tgossip"));
    command.args(args).env("USER", "ana").env_remove("TGOSSIP_REGISTRY").stdin(Stdio::null());
    command
}

fn tgossip(args: &[&str]) -> Output {
    command(args).output().expect("the program runs")
}

#[test]
fn a_registry_is_made_changed_and_shown_and_each_change_prints_its_version() {
    let registry = Registry::none();
    let init = ["init", "--cluster-label", "prod", "--member", "a=10.0.0.1:7946", "b=[::1]:7946"];
    assert_eq!(registry.done(&init), "version 1: added a, b\n");
    let add = ["add", "c", "--address", "10.0.0.3:7946", "--label", "zone=eu-1", "--seed"];
    assert_eq!(registry.done(&add), "version 2: added c\n");

    let output = registry.run(&["remove", "b", "--why", "stolen"]);
    assert_eq!(text(&output.stdout), "version 3: removed b\n");
    let limit = text(&output.stderr);
    assert!(limit.contains("can still speak as a member until the key is replaced"), "{limit}");
    assert!(limit.contains("docs/registry.md"), "{limit}");

    let table = registry.done(&["list"]);
    let row = table.lines().find(|line| line.trim_start().starts_with("c ")).unwrap();
    for word in ["10.0.0.3:7946", "yes", "zone=eu-1"] {
        assert!(row.contains(word), "{word} is missing in:\n{table}");
    }
    assert!(!table.contains("[::1]"), "{table}");
    let removed = registry.done(&["list", "--removed"]);
    assert!(removed.contains("ana") && removed.contains("stolen"), "{removed}");

    assert_eq!(registry.done(&["replace", "c", "--address", "h:1"]), "version 4: replaced c\n");
    assert_eq!(registry.json(&["list", "--json"])["members"][1]["since"], 4);
    assert_eq!(registry.done(&["readmit", "c"]), "version 5: readmitted c\n");
    assert_eq!(registry.json(&["list", "--json"])["members"][1]["since"], 2);
    assert_eq!(registry.done(&["readmit", "b", "--why", "found"]), "version 6: readmitted b\n");

    let from = registry.write("more.toml", "[members]\nd = {}\ne = { seed = true }\n");
    let made = registry.json(&["add", "--from", &from, "--json"]);
    assert_eq!((&made["version"], &made["members"]), (&7.into(), &5.into()));
    assert_eq!(made["added"], serde_json::json!(["d", "e"]));

    let status = registry.json(&["status", "--json"]);
    assert_eq!(status["head"]["version"], 7);
    assert_eq!(status["head"]["hash"], made["hash"]);
    assert_eq!(status["kept"], serde_json::json!([7]));
    let said = registry.done(&["status"]);
    assert!(said.contains(&registry.url) && said.contains("(prod)"), "{said}");
    let said = registry.done(&["check"]);
    assert!(said.starts_with("version 7: 5 members, hash "), "{said}");
}

#[test]
fn the_variable_names_the_registry_where_the_command_line_does_not() {
    let registry = Registry::of(&["a"]);
    let other = Registry::of(&["x"]);
    let output = command(&["registry", "list"]).env("TGOSSIP_REGISTRY", &registry.url).output();
    assert!(text(&output.unwrap().stdout).contains(" a "));
    let args = ["registry", &other.url, "list"];
    let output = command(&args).env("TGOSSIP_REGISTRY", &registry.url).output();
    assert!(text(&output.unwrap().stdout).contains(" x "));
    for (value, said) in [(None, "set TGOSSIP_REGISTRY"), (Some("consul://x"), "file:PATH")] {
        let mut command = command(&["registry", "list"]);
        value.map(|value| command.env("TGOSSIP_REGISTRY", value));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}

#[test]
fn wrong_urls_and_arguments_are_refused_before_anything_is_read() {
    let registry = Registry::of(&["a"]);
    for (url, said) in [
        ("consul://h/x", "file:PATH or etcd://HOST:PORT/CLUSTER"),
        ("file:", "has no path"),
        ("etcd://h/p", "HOST:PORT"),
        ("etcd://ana:secret@h:1/p", "password-file=FILE"),
    ] {
        let output = tgossip(&["registry", url, "list"]);
        assert_eq!(output.status.code(), Some(2), "{url}");
        assert!(text(&output.stderr).contains(said), "{url}: {}", text(&output.stderr));
    }
    for (args, said) in [
        (&["add"][..], "<ID>"),
        (&["add", "b", "--from", "x"], "cannot be used with"),
        (&["add", "b", "--address", "10.0.0.3"], "such as 127.0.0.1:7101"),
        (&["add", "b", "--label", "zone"], "--label zone=eu-1"),
        (&["add", "b c"], "type a name such as edge-1"),
        (&["init", "--member", "a"], "--member edge-1=10.0.0.1:7946"),
        (&["remove", "a"], "--why <TEXT>"),
        (&["remove", "--why", "x"], "<ID>"),
        (&["check", "--wait", "3s"], "--via"),
        (&["recover", "--via", "./a.sock"], "--keep"),
        (&["recover", "--keep", "fleet"], "--via"),
        (&["pending"], "--via"),
        (&["lits"], "'list'"),
    ] {
        let error = registry.refused(args, 2);
        assert!(error.contains(said), "{args:?} should be refused with `{said}`, not:\n{error}");
    }
}

#[test]
fn each_rule_of_a_list_is_named_with_exit_code_6() {
    let registry = Registry::of(&["a", "b", "c", "d", "e", "f"]);
    registry.done(&["remove", "f", "--why", "stolen"]);
    for (args, said) in [
        (&["init", "--member", "a=h:1"][..], "already, with version 2"),
        (&["add", "a"], "`a` is a member since version 1"),
        (&["add", "f"], "`f` was removed in version 2: `readmit` takes it back"),
        (&["remove", "x", "--why", "w"], "`x` is no member"),
        (&["replace", "x"], "`x` is no member"),
        (&["readmit", "a"], "`a` was neither removed nor replaced"),
        (&["remove", "a", "b", "c", "d", "--why", "w"], "--yes-remove 4"),
        (&["remove", "a", "b", "--why", "w", "--yes-remove", "3"], "removes 2 members, and 3"),
        (&["remove", "a", "b", "c", "d", "e", "--why", "w"], "no member would be left"),
    ] {
        let error = registry.refused(args, 6);
        assert!(error.contains(said), "{args:?} should be refused with `{said}`, not:\n{error}");
    }
    let sure = ["remove", "a", "b", "c", "d", "--why", "w", "--yes-remove", "4"];
    assert_eq!(registry.done(&sure), "version 3: removed a, b, c, d\n");
    assert_eq!(registry.json(&["status", "--json"])["head"]["forced"], 3);
    let empty = Registry::none();
    assert!(empty.refused(&["init"], 6).contains("one member at least"));
    let twice = ["init", "--member", "a=h:1", "a=h:2"];
    assert!(empty.refused(&twice, 2).contains("`a` is given twice"));
}

#[test]
fn a_registry_or_a_file_that_is_missing_is_named() {
    let registry = Registry::none();
    for args in [&["list"][..], &["add", "a"], &["check"], &["export"], &["log"], &["status"]] {
        let error = registry.refused(args, 5);
        assert!(error.contains("there is no registry at") && error.contains("init"), "{error}");
    }
    let registry = Registry::of(&["a"]);
    assert!(
        registry.refused(&["import", "no/such/file"], 3).contains("no/such/file cannot be read")
    );
    let broken = registry.write("broken.toml", "[members\n");
    for args in [&["import", &broken][..], &["add", "--from", &broken]] {
        let error = registry.refused(args, 3);
        assert!(error.contains("broken.toml cannot be used: line 1"), "{error}");
    }
    let closed = tgossip(&["registry", "etcd://127.0.0.1:1/prod", "list"]);
    assert_eq!(closed.status.code(), Some(4), "{}", text(&closed.stderr));
    assert!(text(&closed.stderr).contains("127.0.0.1:1"), "{}", text(&closed.stderr));
}

#[test]
fn a_list_is_exported_edited_and_imported_unless_another_operator_was_first() {
    let registry = Registry::of(&["a", "b", "c"]);
    let exported = registry.done(&["export"]);
    assert_eq!(exported, registry.text(), "byte by byte");
    assert!(
        registry.refused(&["import", &registry.write("same", &exported)], 6).contains("nothing")
    );
    let (head, _) = exported.split_once("\n[members.c]").unwrap();
    let edited = format!("{head}\n[members.d]\nlabels = {{ zone = \"eu\" }}\n");
    let edited = edited.replacen("10.0.0.1", "10.0.0.9", 1);
    let file = registry.write("edited.toml", &edited);

    registry.done(&["add", "e"]);
    let error = registry.refused(&["import", &file], 7);
    for said in ["version 1, and the newest is 2", "added d", "removed c", "removed e", "changed a"]
    {
        assert!(error.contains(said), "{said} is missing in:\n{error}");
    }
    let file = registry.write("edited.toml", &edited.replace("version = 1", "version = 2"));
    let said = registry.done(&["import", &file, "--why", "moved"]);
    assert_eq!(said, "version 3: added d; removed c, e; changed a\n");
    assert_eq!(registry.ids(), ["a", "b", "d"]);

    let other = Registry::of(&["a"]).done(&["export"]);
    let other = registry.write("other.toml", &other);
    assert!(registry.refused(&["import", &other], 6).contains("is that of cluster"));
}

#[test]
fn eight_operators_at_once_write_eight_versions_without_a_gap() {
    let registry = Registry::of(&["a"]);
    let added: Vec<_> = (0..8)
        .map(|n| {
            let id = format!("n{n}");
            let mut command = command(&["registry", &registry.url, "add", &id]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let versions: BTreeSet<String> = added
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout).split_once(':').unwrap().0.to_owned()
        })
        .collect();
    let expected = (2..=9).map(|version| format!("version {version}")).collect();
    assert_eq!(versions, expected);
    assert_eq!(registry.ids().len(), 9);
}

#[test]
fn a_log_tells_of_each_version_that_is_kept_and_of_what_the_newest_remembers() {
    let registry = Registry::of(&["a", "b"]);
    registry.done(&["add", "c"]);
    registry.done(&["remove", "b", "--why", "stolen"]);
    let said = registry.done(&["log"]);
    let expected = "version 3 by ana: stolen\n  removed b\nversion 2 (no longer kept)\n  added c\n\
                    version 1 (no longer kept)\n  added a\n";
    assert_eq!(said, expected);
    let lines = registry.done(&["log", "--json"]);
    let newest: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(newest["removed"], serde_json::json!(["b"]));
    assert_eq!((&newest["kept"], &newest["why"]), (&true.into(), &"stolen".into()));
}

#[test]
fn a_document_that_was_edited_into_one_that_breaks_a_rule_is_named_by_check() {
    let registry = Registry::of(&["a", "b"]);
    for (from, to, said) in [
        ("version = 1", "version = 0", "versions go from 1"),
        ("since = 1", "since = 7", "`members.a.since` is 7, above the version"),
        ("10.0.0.1:7946", "10.0.0.1", "`10.0.0.1` of `a` is no address"),
        ("[members.a]", "[members.a", "line 4 of the document cannot be read"),
        ("[members.b]", "[removed.a]\nremoved = 1\n[members.b]", "`a` is a member and removed"),
    ] {
        let whole = registry.text();
        registry.write("cluster.toml", &whole.replacen(from, to, 1));
        let output = registry.run(&["check"]);
        let found = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{to}: {found}");
        assert!(found.starts_with("problem: ") && found.contains(said), "{to}: {found}");
        assert!(registry.refused(&["add", "c"], 3).contains(said));
        registry.write("cluster.toml", &whole);
    }
    registry.done(&["check"]);
}

#[test]
fn a_file_of_another_tool_gets_the_next_version_by_render() {
    let registry = Registry::of(&["a", "b", "c", "d", "e"]);
    let previous = registry.path("cluster.toml");
    let render = |members: &str, more: &[&str]| {
        let members = registry.write("members.toml", members);
        let args = ["registry", "render", "--members", &members, "--previous", &previous];
        tgossip(&[&args, more].concat())
    };
    let members = "[members]\na = { addresses = [\"10.0.0.1:7946\"] }\n";
    let refused = render(members, &[]);
    assert_eq!(refused.status.code(), Some(6), "{}", text(&refused.stdout));
    assert!(text(&refused.stderr).contains("--yes-remove 4"), "{}", text(&refused.stderr));
    let rendered = render(members, &["--yes-remove", "4", "--why", "smaller"]);
    let next = text(&rendered.stdout);
    assert!(next.contains("version = 2") && next.contains("why = \"smaller\""), "{next}");

    // Once it is distributed, the same members make no further version.
    registry.write("cluster.toml", &next);
    assert_eq!(registry.ids(), ["a"]);
    assert_eq!(text(&render(members, &[]).stdout), next);
}

#[test]
fn texts_of_a_registry_do_not_act_on_a_terminal() {
    let registry = Registry::of(&["a"]);
    registry.done(&["add", "b", "--label", "zone=\u{202e}eu\u{a0}"]);
    registry.done(&["remove", "a", "--why", "\u{202e}\u{1b}]0;owned\u{7}"]);
    for args in [&["list"][..], &["list", "--removed"], &["list", "--json"], &["log"]] {
        let said = registry.done(args);
        assert!(!said.contains(['\u{202e}', '\u{1b}', '\u{a0}']), "{args:?}: {said:?}");
    }
    assert!(registry.done(&["list", "--removed"]).contains("owned"));
}

#[cfg(unix)]
#[test]
fn a_registry_that_may_not_be_written_is_named_with_exit_code_3() {
    use std::os::unix::fs::PermissionsExt as _;

    let registry = Registry::of(&["a"]);
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(registry.folder.path(), permissions).unwrap();
    };
    mode(0o555);
    let is_root = std::fs::write(Path::new(&registry.path("probe")), "").is_ok();
    let output = registry.run(&["add", "b"]);
    mode(0o755);
    // A superuser may write anywhere.
    if !is_root {
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("cannot be replaced"), "{}", text(&output.stderr));
    }
}
