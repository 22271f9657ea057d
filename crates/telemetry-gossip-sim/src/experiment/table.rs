//! Writes tables of results in Markdown.

use std::fmt;
use std::time::Duration;

use super::Goal;

/// Writes one line of a table.
pub(super) fn line(f: &mut fmt::Formatter<'_>, cells: &[String]) -> fmt::Result {
    writeln!(f, "| {} |", cells.join(" | "))
}

/// Writes the first two lines of a table.
pub(super) fn head(f: &mut fmt::Formatter<'_>, titles: &[&str]) -> fmt::Result {
    writeln!(f, "| {} |", titles.join(" | "))?;
    writeln!(f, "|{}", "---|".repeat(titles.len()))
}

/// Writes a table of goals.
pub(super) fn goals(f: &mut fmt::Formatter<'_>, goals: &[Goal]) -> fmt::Result {
    head(f, &["goal", "at least", "at most", "measured", ""])?;
    for goal in goals {
        let verdict = if goal.is_met() { "met" } else { "MISSED" };
        let cells = [
            goal.figure.clone(),
            number(goal.least),
            number(goal.most),
            number(goal.measured),
            verdict.to_owned(),
        ];
        line(f, &cells)?;
    }
    Ok(())
}

/// A number with about four significant digits.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value.is_infinite() {
        String::new()
    } else if value.abs() < 0.01 {
        format!("{value:.2e}")
    } else {
        format!("{value:.3}")
    }
}

/// A time in seconds with two decimals.
pub(super) fn seconds(span: Duration) -> String {
    format!("{:.2}", span.as_secs_f64())
}

/// An integer with its digits in groups of three.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([number(0.0), number(1.58), number(0.00078)], ["0", "1.580", "7.80e-4"]);
        assert_eq!(
            [count(7), count(999), count(339_002), count(1_000_000)],
            ["7", "999", "339,002", "1,000,000"]
        );
    }
}
