//! Formats of times, sizes and texts for people.

use std::time::{Duration, SystemTime};

use crate::safe::push_safe;

/// Formats a span in seconds, like the transcripts of the simulator: `0.412s`.
pub(crate) fn seconds(span: Duration) -> String {
    format!("{:.3}s", span.as_secs_f64())
}

/// Formats a span as it can be typed on the command line: `1m20s`.
pub(crate) fn span(span: Duration) -> String {
    humantime::format_duration(span).to_string().replace(' ', "")
}

/// Formats a time of the wall clock: `2026-03-07T14:05:00.000Z`. A time after the year 9999, which
/// a forged record may state, is shown as its end.
pub(crate) fn wall_clock(time: SystemTime) -> String {
    const LAST: Duration = Duration::from_millis(253_402_300_799_999);
    let time = time.min(SystemTime::UNIX_EPOCH + LAST);
    humantime::format_rfc3339_millis(time).to_string()
}

/// Names the other nodes: `all 19 other nodes`, `the other node`.
pub(crate) fn the_others(count: usize) -> String {
    if count == 1 { "the other node".to_owned() } else { format!("all {count} other nodes") }
}

/// Formats a count with its noun, which has a regular plural: `1 file`, `3 files`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Formats an age in one unit: `0.4s`, `12s`, `5m`, `3h`, `2d`.
pub(crate) fn age(span: Duration) -> String {
    match span.as_secs() {
        0..10 => format!("{:.1}s", span.as_secs_f64()),
        secs @ 10..120 => format!("{secs}s"),
        secs @ 120..7_200 => format!("{}m", secs / 60),
        secs @ 7_200..172_800 => format!("{}h", secs / 3_600),
        secs => format!("{}d", secs / 86_400),
    }
}

/// Formats a size: `840 B`, `12.4 KB`, `3.1 MB`.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{}.{} KB", count / 1_000, count % 1_000 / 100),
        _ => format!("{}.{} MB", count / 1_000_000, count % 1_000_000 / 100_000),
    }
}

/// Makes an id, a key or a value of another process one word of a line: it stands as it is if it
/// has only letters, digits and a few signs, and otherwise in quotes, in which a quote or a
/// backslash has another backslash before it. So no part of it looks like something that this
/// program says, or like another column.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:/@+%~[]".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return printable(text, usize::MAX);
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        push_safe(&mut out, c);
    }
    out.push('"');
    out
}

/// Cuts a text after `max_chars` characters.
pub(crate) fn cut(text: &str, max_chars: usize) -> String {
    let mut out: String = text.chars().take(max_chars).collect();
    if text.chars().nth(max_chars).is_some() {
        out.push('…');
    }
    out
}

/// Makes a text of another process a part of a line: escapes what has no visible form, line breaks
/// too, and cuts it after `max_chars` characters.
pub(crate) fn printable(text: &str, max_chars: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(max_chars) {
        push_safe(&mut out, c);
    }
    if text.chars().nth(max_chars).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_formatted_in_its_largest_unit() {
        for (secs, said) in
            [(0, "0.0s"), (9, "9.0s"), (10, "10s"), (119, "119s"), (120, "2m"), (7_200, "2h")]
        {
            assert_eq!(age(Duration::from_secs(secs)), said);
        }
        assert_eq!(age(Duration::from_secs(200_000)), "2d");
    }

    #[test]
    fn only_one_is_singular() {
        let files = [0, 1, 2].map(|count| counted(count, "file"));
        assert_eq!(files, ["0 files", "1 file", "2 files"]);
    }

    #[test]
    fn sizes_have_one_decimal() {
        assert_eq!(
            [bytes(999), bytes(1_000), bytes(12_449), bytes(3_100_000)],
            ["999 B", "1.0 KB", "12.4 KB", "3.1 MB"]
        );
    }

    #[test]
    fn a_text_of_another_node_is_one_word() {
        for (text, shown) in [
            ("edge-1", "edge-1"),
            ("東京-1", "東京-1"),
            ("a|b", "\"a|b\""),
            ("x\"y\\", "\"x\\\"y\\\\\""),
            ("", "\"\""),
            ("1 b=2", "\"1 b=2\""),
            ("a\u{1b}", "\"a\\u{1b}\""),
        ] {
            assert_eq!(word(text), shown);
        }
    }

    #[test]
    fn texts_of_other_nodes_cannot_move_the_cursor() {
        assert_eq!(printable("\x1b[2Jok\n", 20), "\\u{1b}[2Jok\\u{a}");
        assert_eq!(printable("abcdef", 3), "abc…");
    }
}
