//! Reads what the checks need of a Markdown document: fenced blocks, inline code, headings, prose.

use std::path::{Path, PathBuf};

use super::Finding;

/// The longest line of prose, in characters.
const WIDTH: usize = 100;

/// A document, divided into fenced blocks and the rest.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// From the top of the repository.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) blocks: Vec<Block>,
    /// The text with fenced blocks replaced by empty lines, so that line numbers stay.
    pub(crate) prose: String,
}

/// A fenced block of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) language: String,
    /// The number of its first line of content, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// Code between backticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) line: usize,
    /// With line breaks as spaces.
    pub(crate) text: String,
}

impl Document {
    pub(crate) fn new(path: &Path, text: String) -> Self {
        let (mut blocks, mut prose) = (Vec::new(), String::new());
        let mut open: Option<(&str, Block)> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let trimmed = line.trim_start();
            let fence = ["```", "~~~"].into_iter().find(|fence| trimmed.starts_with(fence));
            match (&mut open, fence) {
                (None, Some(fence)) => {
                    let language = trimmed.trim_start_matches(['`', '~']).trim().to_owned();
                    open = Some((fence, Block { language, line: number + 1, text: String::new() }));
                }
                (Some((begun, _)), Some(fence)) if *begun == fence => {
                    blocks.extend(open.take().map(|(_, block)| block));
                }
                (Some((_, block)), _) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => prose.push_str(line),
            }
            prose.push('\n');
        }
        blocks.extend(open.map(|(_, block)| block));
        Self { path: path.to_owned(), text, blocks, prose }
    }

    /// Lines of prose that are too long. Tables and lines with links cannot be broken.
    pub(crate) fn wide_lines(&self) -> Vec<Finding> {
        let unbreakable = |line: &str| {
            line.trim_start().starts_with('|')
                || ["](", "]: ", "://"].iter().any(|of_link| line.contains(of_link))
        };
        let lines = (1..).zip(self.prose.lines()).filter(|(_, line)| !unbreakable(line));
        lines
            .map(|(number, line)| (number, line.chars().count()))
            .filter(|(_, width)| *width > WIDTH)
            .map(|(number, width)| {
                Finding::new(self, number, format!("{width} characters of prose, {WIDTH} at most"))
            })
            .collect()
    }

    /// All code between backticks, which may go over a line's end but not over an empty line.
    pub(crate) fn inline_code(&self) -> Vec<Code> {
        self.code_spans().into_iter().map(|(_, code)| code).collect()
    }

    /// The prose without code between backticks.
    pub(crate) fn prose_without_code(&self) -> String {
        let mut prose = self.prose.clone();
        for (range, _) in self.code_spans() {
            let blank: String =
                prose[range.clone()].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
            // Blanks have one byte each: pad, so that later ranges stay where they are.
            let padding = " ".repeat(range.len() - blank.len());
            prose.replace_range(range, &(blank + &padding));
        }
        prose
    }

    fn code_spans(&self) -> Vec<(std::ops::Range<usize>, Code)> {
        let (mut spans, mut at) = (Vec::new(), 0);
        while let Some(start) = self.prose[at..].find('`').map(|start| at + start) {
            let ticks = self.prose[start..].bytes().take_while(|byte| *byte == b'`').count();
            let begin = start + ticks;
            let paragraph =
                self.prose[begin..].find("\n\n").map_or(self.prose.len(), |end| begin + end);
            let Some(end) = self.prose[begin..paragraph].find(&"`".repeat(ticks)) else {
                at = begin;
                continue;
            };
            let text =
                self.prose[begin..begin + end].split_whitespace().collect::<Vec<_>>().join(" ");
            let line = 1 + self.prose[..start].matches('\n').count();
            at = begin + end + ticks;
            spans.push((start..at, Code { line, text }));
        }
        spans
    }

    /// The anchors of the headings, as forges make them: lower case, hyphens for blanks, no other
    /// signs; a number behind the second heading of one name.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        let headings = self.prose.lines().filter(|line| {
            let hashes = line.bytes().take_while(|byte| *byte == b'#').count();
            (1..=6).contains(&hashes) && line[hashes..].starts_with(' ')
        });
        for heading in headings {
            let kept = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let mut anchor = name.clone();
            for number in 1.. {
                if !anchors.contains(&anchor) {
                    break;
                }
                anchor = format!("{name}-{number}");
            }
            anchors.push(anchor);
        }
        anchors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn document(text: &str) -> Document {
        Document::new(Path::new("docs/made-up.md"), text.to_owned())
    }

    #[test]
    fn fenced_blocks_are_told_from_prose() {
        let document = document("one\n```sh\ntwo\nthree\n```\nfour\n");
        let block = Block { language: "sh".into(), line: 3, text: "two\nthree\n".into() };
        assert_eq!(document.blocks, [block]);
        assert_eq!(document.prose, "one\n\n\n\n\nfour\n");
    }

    #[test]
    fn a_long_line_is_found_unless_it_cannot_be_broken() {
        let long = "word ".repeat(21);
        let exempt = [format!("| {long} |"), format!("[a](b) {long}"), format!("```\n{long}\n```")];
        for text in exempt {
            assert_eq!(document(&text).wide_lines(), [], "{text}");
        }
        assert_eq!(document(&"ä".repeat(100)).wide_lines(), [], "characters count, not bytes");
        let findings = document(&format!("short\n{long}\n")).wide_lines();
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].to_string().contains("made-up.md:2: 105 characters"),
            "{}",
            findings[0]
        );
    }

    #[test]
    fn code_between_backticks_may_go_over_a_line_end() {
        let document = document("a `b\nc` d ``e ` f``\n\n`g\n\nh`\n");
        let code = |line, text: &str| Code { line, text: text.into() };
        assert_eq!(document.inline_code(), [code(1, "b c"), code(2, "e ` f")]);
        assert!(!document.prose_without_code().contains('b'));
        assert!(document.prose_without_code().contains('d'));
    }

    #[test]
    fn anchors_are_those_of_forges() {
        let document =
            document("# One, two\n## `code` and-more\n## One, two\n#no heading\n```\n# no\n```\n");
        assert_eq!(document.anchors(), ["one-two", "code-and-more", "one-two-1"]);
    }
}
