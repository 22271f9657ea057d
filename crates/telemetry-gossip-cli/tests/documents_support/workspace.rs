//! The targets of a cargo workspace, and the tests in them, read from the sources.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What cargo can build, run or test.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) package: String,
    /// `lib`, `bin`, `test`, `bench` or `example`.
    pub(crate) kind: String,
    pub(crate) name: String,
    /// Whether `cargo test` runs it when no target is named.
    pub(crate) tested: bool,
    pub(crate) tests: Vec<Test>,
}

/// A test function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// With its modules, as a filter sees it.
    pub(crate) path: String,
    pub(crate) ignored: bool,
}

/// All targets of the workspace with this manifest.
pub(crate) fn targets(manifest: &Path) -> Vec<Target> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let mut targets = Vec::new();
    for package in list(&metadata["packages"]) {
        for target in list(&package["targets"]) {
            let source = PathBuf::from(text(&target["src_path"]));
            targets.push(Target {
                package: text(&package["name"]),
                kind: text(&target["kind"][0]),
                name: text(&target["name"]),
                tested: target["test"] == true,
                tests: tests_of_file(&source, "", true),
            });
        }
    }
    targets
}

/// The tests of a source file and of the modules that it names.
fn tests_of_file(file: &Path, prefix: &str, is_root: bool) -> Vec<Test> {
    let Ok(text) = std::fs::read_to_string(file) else { return Vec::new() };
    let parsed = parse(&text, prefix);
    let folder = file.parent().expect("a file is in a folder");
    let name = file.file_stem().expect("a file has a name");
    let owns_folder = is_root || name == "mod";
    let mut tests = parsed.tests;
    for module in parsed.modules {
        let inside = if owns_folder { folder.to_owned() } else { folder.join(name) };
        let places = match &module.path {
            Some(path) => vec![folder.join(path)],
            None => vec![
                inside.join(format!("{}.rs", module.name)),
                inside.join(&module.name).join("mod.rs"),
            ],
        };
        let prefix = format!("{prefix}{}::", module.name);
        tests.extend(places.iter().flat_map(|place| tests_of_file(place, &prefix, false)));
    }
    tests
}

#[derive(Debug, Default)]
struct Parsed {
    tests: Vec<Test>,
    modules: Vec<Module>,
}

/// A module in a file of its own.
#[derive(Debug, PartialEq, Eq)]
struct Module {
    name: String,
    path: Option<String>,
}

/// Reads formatted source line by line: an attribute stands in a line of its own, and a block ends
/// with a brace that is indented as the line that began it.
fn parse(text: &str, prefix: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut within: Vec<(usize, &str)> = Vec::new();
    let (mut is_test, mut ignored, mut path) = (false, false, None);
    for line in text.lines() {
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        if trimmed.starts_with('}') && within.last().is_some_and(|(begun, _)| *begun == indent) {
            within.pop();
        }
        if let Some(attribute) = trimmed.strip_prefix("#[") {
            is_test |= ["test]", "test(", "tokio::test", "cfg_attr(test, test)"]
                .iter()
                .any(|test| attribute.starts_with(test));
            ignored |= attribute.starts_with("ignore");
            path = attribute
                .strip_prefix("path = \"")
                .and_then(|path| path.split('"').next())
                .or(path);
            continue;
        }
        let words: Vec<&str> = trimmed.split_whitespace().collect();
        let after =
            |word| words.iter().position(|one| *one == word).and_then(|at| words.get(at + 1));
        let code = !trimmed.starts_with("//");
        if let Some(name) = after("fn").filter(|_| is_test && code) {
            let name = name.split(['(', '<']).next().unwrap_or_default();
            let modules: String = within.iter().map(|(_, module)| format!("{module}::")).collect();
            parsed.tests.push(Test { path: format!("{prefix}{modules}{name}"), ignored });
        } else if let Some(name) = after("mod").filter(|_| code && words.len() <= 4) {
            match name.strip_suffix(';') {
                Some(name) => {
                    let path = path.map(ToOwned::to_owned);
                    parsed.modules.push(Module { name: name.to_owned(), path });
                }
                None => within.push((indent, name)),
            }
        }
        if code && !trimmed.is_empty() {
            (is_test, ignored, path) = (false, false, None);
        }
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_with_their_modules_and_whether_they_are_ignored() {
        // Line by line, so that this file is not itself read as having these tests.
        let source = [
            "mod common;",
            "#[path = \"elsewhere.rs\"]",
            "mod renamed;",
            "",
            "#[test]",
            "fn plain() {",
            "    let not_a_test = 1;",
            "}",
            "",
            "#[test]",
            "// A comment between.",
            "#[ignore = \"takes minutes\"]",
            "fn slow() {}",
            "",
            "fn helper() {}",
            "",
            "mod inner {",
            "    #[tokio::test(start_paused = true)]",
            "    async fn waits() {}",
            "}",
            "",
            "proptest! {",
            "    #[test]",
            "    fn law(x in 0..3) {}",
            "}",
            "",
            "#[cfg_attr(test, test)]",
            "fn also_called() {}",
        ];
        let parsed = parse(&source.join("\n"), "outer::");
        let test = |path: &str, ignored| Test { path: path.into(), ignored };
        assert_eq!(
            parsed.tests,
            [
                test("outer::plain", false),
                test("outer::slow", true),
                test("outer::inner::waits", false),
                test("outer::law", false),
                test("outer::also_called", false)
            ]
        );
        let module = |name: &str, path: Option<&str>| Module {
            name: name.into(),
            path: path.map(Into::into),
        };
        assert_eq!(
            parsed.modules,
            [module("common", None), module("renamed", Some("elsewhere.rs"))]
        );
    }

    #[test]
    fn the_tests_of_this_workspace_are_found() {
        let targets = targets(&super::super::root().join("Cargo.toml"));
        let this = targets.iter().find(|target| target.name == "documents").expect("this test");
        let path = "documents_support::workspace::tests::the_tests_of_this_workspace_are_found";
        assert!(
            this.tests.contains(&Test { path: path.into(), ignored: false }),
            "{:?}",
            this.tests
        );
    }
}
