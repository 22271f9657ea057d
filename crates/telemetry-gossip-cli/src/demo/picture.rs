//! The live picture: the present step, its progress, and one mark per node. This module makes the
//! text; `screen` puts it on the terminal.

use crossterm::style::Stylize;
use telemetry_gossip_core::Status;

use super::views::{Index, Views, name};

/// The progress of a step.
#[derive(Clone, Debug)]
pub(crate) struct Awaited {
    /// What the step counts, in words: "views are complete".
    pub(crate) what: String,
    /// The present count.
    pub(crate) done: usize,
    /// The largest possible count.
    pub(crate) of: usize,
    /// The count that completes the step.
    pub(crate) enough: usize,
}

/// The largest cluster that is drawn with the names of its nodes.
const MAX_NAMED: usize = 64;

/// The width of the progress bar in columns.
const BAR_COLUMNS: usize = 30;

/// The state of a node in the views of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Unknown,
    Alive,
    HasTelemetry,
    Suspected,
    Dead,
    Left,
}

impl Look {
    const LEGEND: [(Self, &'static str); 6] = [
        (Self::Alive, "alive"),
        (Self::HasTelemetry, "has the telemetry"),
        (Self::Suspected, "suspected"),
        (Self::Dead, "dead"),
        (Self::Left, "left"),
        (Self::Unknown, "not known to all"),
    ];

    fn of(views: &Views, subject: Index) -> Self {
        let counts = views.counts(subject);
        let most = [Status::Alive, Status::Dead, Status::Left]
            .into_iter()
            .max_by_key(|status| counts.of(*status))
            .filter(|status| counts.of(*status) > 0);
        match most {
            Some(Status::Left) => Self::Left,
            Some(Status::Dead) => Self::Dead,
            _ if counts.of(Status::Suspected) > 0 => Self::Suspected,
            _ if counts.known() < views.others(subject) => Self::Unknown,
            _ if views.has_heard(subject) => Self::HasTelemetry,
            _ => Self::Alive,
        }
    }

    fn paint(self, text: &str) -> String {
        match self {
            Self::Unknown => text.dark_grey(),
            Self::Alive => text.green(),
            Self::HasTelemetry => text.cyan(),
            Self::Suspected => text.yellow(),
            Self::Dead => text.red(),
            Self::Left => text.blue(),
        }
        .to_string()
    }

    const fn mark(self) -> &'static str {
        match self {
            Self::Unknown => "·",
            Self::Alive => "●",
            Self::HasTelemetry => "◆",
            Self::Suspected => "◐",
            Self::Dead => "✗",
            Self::Left => "○",
        }
    }
}

/// Draws the lines of the picture for a terminal of this size. There are fewer lines than rows,
/// since the cursor stands below them. A short terminal shows no nodes; a shorter one, no legend.
pub(crate) fn draw(
    views: &Views,
    step: &str,
    awaited: &Awaited,
    columns: usize,
    rows: usize,
) -> Vec<String> {
    let filled = BAR_COLUMNS * awaited.done.min(awaited.of) / awaited.of.max(1);
    let rest = BAR_COLUMNS - filled;
    let bar = format!("{}{}", "█".repeat(filled).green(), "░".repeat(rest).dark_grey());
    let mut lines = vec![
        String::new(),
        format!("  {}", clip(step, columns.saturating_sub(3)).bold()),
        format!(
            "  {bar} {} of {} {}",
            awaited.done,
            awaited.of,
            clip(&awaited.what, columns.saturating_sub(50))
        ),
        String::new(),
    ];
    let legend = Look::LEGEND.map(|(look, word)| format!("{} {word}", look.paint(look.mark())));
    let legend = [String::new(), format!("  {}", legend.join("  "))];
    // Two more rows: the one of the cursor, and the line that counts the nodes not shown.
    let room = rows.saturating_sub(lines.len() + legend.len() + 2);
    if room > 0 {
        lines.extend(grid(views, columns, room));
        lines.extend(legend);
    }
    lines.truncate(rows.saturating_sub(1));
    lines
}

fn grid(views: &Views, columns: usize, rows: usize) -> Vec<String> {
    let nodes = views.nodes();
    let width = if nodes <= MAX_NAMED { name(nodes - 1).len() + 4 } else { 2 };
    let per_row = (columns.saturating_sub(3) / width).max(1);
    let shown = nodes.min(per_row * rows);
    let cell = |subject| {
        let look = Look::of(views, subject);
        let text = if nodes <= MAX_NAMED {
            let label = name(subject);
            format!("{} {label:<1$}", look.mark(), width - 2)
        } else {
            format!("{} ", look.mark())
        };
        look.paint(&text)
    };
    let all: Vec<Index> = (0..shown).collect();
    let mut lines: Vec<String> = all
        .chunks(per_row)
        .map(|row| format!("  {}", row.iter().map(|&subject| cell(subject)).collect::<String>()))
        .collect();
    if shown < nodes {
        lines.push(format!("  and {} more", nodes - shown));
    }
    lines
}

fn clip(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::views::Change;

    fn awaited() -> Awaited {
        Awaited { what: "views are complete".into(), done: 1, of: 3, enough: 3 }
    }

    #[test]
    fn the_picture_fits_the_terminal() {
        for (nodes, columns, rows) in [
            (2, 80, 24),
            (20, 80, 24),
            (64, 40, 24),
            (250, 80, 24),
            (500, 80, 24),
            (250, 20, 10),
            (500, 1, 3),
        ] {
            for rows in 1..=rows {
                let lines = draw(&Views::new(nodes), "joining", &awaited(), columns, rows);
                assert!(lines.len() < rows, "{nodes} nodes on {rows} rows take {}", lines.len());
            }
        }
    }

    #[test]
    fn a_node_looks_as_it_is_in_the_views_of_the_others() {
        let mut views = Views::new(3);
        assert_eq!(Look::of(&views, 2), Look::Unknown);
        for observer in 0..2 {
            views.apply(observer, Change::Status(2, Some(Status::Alive)));
        }
        assert_eq!(Look::of(&views, 2), Look::Alive);
        views.apply(0, Change::Status(2, Some(Status::Suspected)));
        assert_eq!(Look::of(&views, 2), Look::Suspected);
        for observer in 0..2 {
            views.apply(observer, Change::Status(2, Some(Status::Dead)));
        }
        assert_eq!(Look::of(&views, 2), Look::Dead);
    }
}
