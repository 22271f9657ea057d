//! The layout of the sources: what may import what, and how long a file may be.
//!
//! The core is built in floors. A file imports from its own folder and from lower floors only, so
//! that a reader who goes down never has to come back up.
#![expect(clippy::disallowed_methods, reason = "this test reads the sources of the core")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. The modules of one floor import nothing of each other, those of the ground
/// floor aside, which are single files.
const FLOORS: [&[&str]; 8] = [
    &[
        "address",
        "bounded",
        "config",
        "dropped",
        "error",
        "event",
        "evidence",
        "features",
        "id",
        "input",
        "network",
        "rng",
        "setters",
        "stats",
        "status",
        "time",
        "violation",
        "work",
    ],
    &["membership"],
    &["wire"],
    &["outbox"],
    &["cx"],
    &["anti_entropy", "detector", "dissemination"],
    &["node"],
    &["plan"],
];

/// The most lines of a file, its tests aside.
const LONGEST: usize = 500;

/// A source file: its top-level module, its path from `src`, and its code without tests.
struct Source {
    top: String,
    path: PathBuf,
    code: String,
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&src, &src, &mut found);
    assert!(found.len() > 50, "only {} files were found below {}", found.len(), src.display());
    found
}

fn collect(src: &Path, folder: &Path, found: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in entries.collect::<BTreeSet<_>>() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            collect(src, &path, found);
        } else if name != "lib" && name != "tests" && !is_of_tests(&path) {
            let path = path.strip_prefix(src).unwrap().to_owned();
            let top = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
            let text = fs::read_to_string(src.join(&path)).unwrap();
            found.push(Source { top: top.to_owned(), code: without_tests(&text), path });
        }
    }
}

fn is_of_tests(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("tests"))
}

/// The text up to its module of tests, which stands last.
fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// The top-level modules that a file's code names by an absolute path, or by `super` out of its
/// folder.
fn imports(source: &Source) -> BTreeSet<String> {
    let code = source.code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.flat_map(|line| [line, "\n"]).collect();
    let depth = source.path.iter().count();
    let is_mod = source.path.file_stem().is_some_and(|stem| stem == "mod");
    // From the file of a folder's module one `super` leads out of it, from its other files two.
    let out = "super::".repeat(depth - usize::from(is_mod));
    let named = |prefix: &str| -> Vec<String> {
        code.match_indices(prefix)
            .filter(|&(at, _)| !code[..at].ends_with("super::"))
            .map(|(at, _)| {
                let rest = &code[at + prefix.len()..];
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                rest[..end.unwrap_or(rest.len())].to_owned()
            })
            .collect()
    };
    named("crate::").into_iter().chain(named(&out)).filter(|name| name != "super").collect()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

#[test]
fn imports_lead_down() {
    let mut wrong = Vec::new();
    for source in sources() {
        let from = floor(&source.top);
        let from = from.unwrap_or_else(|| panic!("{} has no floor", source.path.display()));
        for module in imports(&source) {
            let Some(to) = floor(&module) else { continue };
            if module != source.top && (to > from || (to == from && to > 0)) {
                wrong.push(format!("{} imports {module}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that lead up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn the_files_of_the_ground_floor_import_each_other_in_no_circle() {
    let sources = sources();
    let mut rest: BTreeSet<&str> = FLOORS[0].iter().copied().collect();
    // Take away what imports nothing of the rest, until nothing is left.
    while !rest.is_empty() {
        let imports_rest = |module: &str| {
            let files = sources.iter().filter(|source| source.top == module);
            files.flat_map(imports).any(|name| name != module && rest.contains(name.as_str()))
        };
        let free: Vec<&str> = rest.iter().copied().filter(|module| !imports_rest(module)).collect();
        assert!(!free.is_empty(), "these import each other in a circle: {rest:?}");
        free.iter().for_each(|module| assert!(rest.remove(module)));
    }
}

#[test]
fn no_file_is_longer_than_500_lines_without_its_tests() {
    let long: Vec<_> = sources()
        .iter()
        .map(|source| (source.code.lines().count(), source.path.clone()))
        .filter(|&(lines, _)| lines > LONGEST)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn an_import_is_found_however_it_is_written() {
    let source = |path: &str, code: &str| Source {
        top: path.split('/').next().unwrap().trim_end_matches(".rs").to_owned(),
        path: path.into(),
        code: without_tests(code),
    };
    let found = |path, code| imports(&source(path, code)).into_iter().collect::<Vec<_>>();
    assert_eq!(found("wire/decode.rs", "use crate::node::Node;\n"), ["node"]);
    assert_eq!(found("wire/decode.rs", "fn f() { super::super::plan::f() }"), ["plan"]);
    assert_eq!(found("wire/mod.rs", "use super::plan::f;"), ["plan"]);
    assert!(found("wire/decode.rs", "use super::read::Read;\n// crate::plan\n").is_empty());
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::node::Node;\n}\n";
    assert!(found("wire/decode.rs", tests).is_empty());
}
