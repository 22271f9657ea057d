//! The one place through which text reaches a terminal or a reader of JSON.
//!
//! Ids, keys, values, addresses and errors come from other processes, and may have characters that
//! move the cursor, set colours, turn the direction of writing around, or cannot be seen. All
//! commands that print such texts write through [`Safe`], which escapes these characters whatever
//! field they are in.

use std::io::{self, Write};

/// Whether a character has no visible form of its own, or changes what stands around it: controls
/// (C0, C1, DEL), bidirectional controls, joiners, zero-width and other format characters, spaces
/// but the common one, separators of lines and paragraphs, marks that combine with the character
/// before, private and unassigned characters, and letters that are blank.
fn is_hidden(c: char) -> bool {
    const BLANK: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];
    // The standard library escapes quotes and backslashes for another reason.
    let is_escaped = || !matches!(c, '"' | '\'' | '\\') && c.escape_debug().len() > 1;
    !matches!(c, ' '..='~') && (BLANK.contains(&c) || is_escaped())
}

/// Appends a character, or its escape such as `\u{1b}`.
pub(crate) fn push_safe(out: &mut String, c: char) {
    if is_hidden(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
}

/// A writer that escapes hidden characters, except for line breaks.
///
/// Each write must be whole characters, as those of the formatting macros and of `serde_json` are.
/// Other bytes are replaced.
#[derive(Debug)]
pub(crate) struct Safe<W> {
    inner: W,
    json: bool,
}

impl<W: Write> Safe<W> {
    /// Writes text for people, with escapes such as `\u{1b}`, or JSON, with escapes such as
    /// `\u001b`. Outside of strings, JSON has no character that is escaped.
    pub(crate) fn new(inner: W, json: bool) -> Self {
        Self { inner, json }
    }
}

impl<W: Write> Write for Safe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
            self.inner.write_all(bytes)?;
            return Ok(bytes.len());
        }
        let mut out = String::with_capacity(bytes.len());
        for c in String::from_utf8_lossy(bytes).chars() {
            if c == '\n' || !is_hidden(c) {
                out.push(c);
            } else if self.json {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                push_safe(&mut out, c);
            }
        }
        self.inner.write_all(out.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Escapes hidden characters in a text of several lines.
pub(crate) fn lines(text: &str) -> String {
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let _ = write!(Safe::new(&mut out, false), "{text}");
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that would act on a terminal or hide from its reader.
    const HOSTILE: [&str; 14] = [
        "\x1b]0;owned\x07",
        "\u{9b}2J",
        "\x7f",
        "\r",
        "a\u{202e}b",
        "a\u{2066}b",
        "\u{200b}",
        "\u{200d}",
        "\u{2028}",
        "\u{2029}",
        "\u{feff}",
        "\u{a0}",
        "e\u{301}",
        "\u{e0041}",
    ];

    #[test]
    fn no_text_of_another_process_acts_on_a_terminal() {
        for text in HOSTILE {
            let safe = lines(text);
            assert!(safe.contains("\\u{") && !safe.chars().any(is_hidden), "{text:?}: {safe}");
        }
        assert_eq!(lines("edge-1 \"ü\" 東京\n"), "edge-1 \"ü\" 東京\n");
    }

    #[test]
    fn json_stays_valid_and_says_the_same() {
        for text in HOSTILE {
            let value = serde_json::json!({ text: [text, "ü"] });
            let mut out = Vec::new();
            serde_json::to_writer_pretty(Safe::new(&mut out, true), &value).unwrap();
            let printed = String::from_utf8(out).unwrap();
            assert!(!printed.replace('\n', "").chars().any(is_hidden), "{printed}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
        }
    }
}
