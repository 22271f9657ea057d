//! What the test `documents` is made of: reading Markdown, links, commands, and the workspace that
//! the commands are about. Each part has tests of its own on made-up documents: a check that could
//! not fail would be worth nothing.

pub(crate) mod commands;
pub(crate) mod links;
pub(crate) mod markdown;
pub(crate) mod workspace;

use std::fmt;
use std::path::{Path, PathBuf};

use markdown::Document;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    document: PathBuf,
    line: usize,
    what: String,
}

impl Finding {
    pub(crate) fn new(document: &Document, line: usize, what: impl Into<String>) -> Self {
        Self { document: document.path.clone(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.document.display(), self.line, self.what)
    }
}

/// Fails with all findings, one per line.
#[track_caller]
pub(crate) fn expect_none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/NAME");
    top.to_owned()
}

/// Every document of the repository, with paths from its top.
pub(crate) fn documents() -> Vec<Document> {
    let root = root();
    let mut paths = Vec::new();
    markdown_files(&root, false, &mut paths);
    markdown_files(&root.join("docs"), true, &mut paths);
    markdown_files(&root.join("fuzz"), false, &mut paths);
    markdown_files(&root.join("packaging"), true, &mut paths);
    for folder in entries(&root.join("crates")) {
        markdown_files(&folder, false, &mut paths);
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a document is readable text");
        Document::new(path.strip_prefix(&root).expect("a path below the top"), text)
    };
    paths.into_iter().map(read).collect()
}

fn markdown_files(folder: &Path, deep: bool, into: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        if deep && path.is_dir() {
            markdown_files(&path, deep, into);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            into.push(path);
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of the repository");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}
