//! Relative links: the file must exist, and the heading in it.

use std::path::{Component, Path, PathBuf};

use super::Finding;
use super::markdown::Document;

/// The links of `document` that lead nowhere. `exists` says whether there is such a path from the
/// top of the repository, and `anchors` gives the anchors of a document.
pub(crate) fn broken(
    document: &Document,
    exists: impl Fn(&Path) -> bool,
    anchors: impl Fn(&Path) -> Option<Vec<String>>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, target) in targets(document) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let folder = document.path.parent().unwrap_or(Path::new(""));
        let path =
            if file.is_empty() { Some(document.path.clone()) } else { normal(&folder.join(file)) };
        let found = path.filter(|path| exists(path));
        let Some(path) = found else {
            findings.push(Finding::new(
                document,
                line,
                format!("the link to {target} leads to no file"),
            ));
            continue;
        };
        if !anchor.is_empty()
            && !anchors(&path).is_some_and(|all| all.iter().any(|one| one == anchor))
        {
            let what = format!("the link to {target} leads to no heading of {}", path.display());
            findings.push(Finding::new(document, line, what));
        }
    }
    findings
}

/// The targets of all links and images, with their lines.
fn targets(document: &Document) -> Vec<(usize, String)> {
    let prose = document.prose_without_code();
    let line_of = |at: usize| 1 + prose[..at].matches('\n').count();
    let inline = prose.match_indices("](").filter_map(|(at, opening)| {
        let target = &prose[at + opening.len()..];
        // A title may follow behind a blank.
        let end = target.find([')', ' ', '\n'])?;
        Some((line_of(at), target[..end].trim_matches(['<', '>']).to_owned()))
    });
    let defined = (1..).zip(prose.lines()).filter_map(|(number, line)| {
        let (_, target) = line.trim_start().strip_prefix('[')?.split_once("]: ")?;
        Some((number, target.split_whitespace().next()?.trim_matches(['<', '>']).to_owned()))
    });
    inline.chain(defined).collect()
}

/// The path without `.` and `..`; `None` if it leaves the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir if normal.pop() => {}
            _ => return None,
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let document = Document::new(Path::new("docs/made-up.md"), text.to_owned());
        let exists = |path: &Path| {
            ["docs/made-up.md", "README.md", ""].iter().any(|one| path == Path::new(one))
        };
        let anchors =
            |path: &Path| (path == Path::new("README.md")).then(|| vec!["figures".to_owned()]);
        broken(&document, exists, anchors).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere_are_right() {
        for text in [
            "[a](../README.md)",
            "[a\nb](../README.md#figures \"a title\")",
            "[a](made-up.md)",
            "[a](https://example.com/nothing)",
            "[a]: ../README.md",
            "`[a](nothing.md)`",
            "```\n[a](nothing.md)\n```",
        ] {
            assert_eq!(findings(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for (text, found) in [
            ("\n[a](nothing.md)", "made-up.md:2: the link to nothing.md leads to no file"),
            ("![a](nothing.svg)", "leads to no file"),
            ("[a]: nothing.md", "leads to no file"),
            ("[a](../../outside.md)", "leads to no file"),
            ("[a](../README.md#figure)", "leads to no heading of README.md"),
            ("[a](#here)", "leads to no heading of docs/made-up.md"),
        ] {
            let findings = findings(text);
            assert!(findings.len() == 1 && findings[0].contains(found), "{text}: {findings:?}");
        }
    }
}
