//! The live picture: what is awaited, how far it is, and one mark a node. Text only; `screen` puts
//! it on the terminal.

use crossterm::style::Stylize;
use telemetry_gossip_core::Status;

use super::views::{Index, Views, name};

/// What the demo waits for, and how far it is.
#[derive(Clone, Debug)]
pub(crate) struct Awaited {
    /// In words: "views complete".
    pub(crate) what: String,
    /// So many are.
    pub(crate) done: usize,
    /// Of so many.
    pub(crate) of: usize,
    /// With so many it is seen.
    pub(crate) enough: usize,
}

/// Clusters up to this size are drawn with names.
const MOST_NAMED: usize = 64;

const BAR: usize = 30;

/// How a node looks to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Unknown,
    Alive,
    News,
    Suspected,
    Dead,
    Left,
}

impl Look {
    const LEGEND: [(Self, &'static str); 6] = [
        (Self::Alive, "alive"),
        (Self::News, "has the news"),
        (Self::Suspected, "suspected"),
        (Self::Dead, "dead"),
        (Self::Left, "left"),
        (Self::Unknown, "not known to all"),
    ];

    fn of(views: &Views, subject: Index) -> Self {
        let standing = views.standing(subject);
        let most = [Status::Alive, Status::Dead, Status::Left]
            .into_iter()
            .max_by_key(|status| standing.held(*status))
            .filter(|status| standing.held(*status) > 0);
        match most {
            Some(Status::Left) => Self::Left,
            Some(Status::Dead) => Self::Dead,
            _ if standing.held(Status::Suspected) > 0 => Self::Suspected,
            _ if standing.known() < views.others(subject) => Self::Unknown,
            _ if views.has_heard(subject) => Self::News,
            _ => Self::Alive,
        }
    }

    fn paint(self, text: &str) -> String {
        match self {
            Self::Unknown => text.dark_grey(),
            Self::Alive => text.green(),
            Self::News => text.cyan(),
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
            Self::News => "◆",
            Self::Suspected => "◐",
            Self::Dead => "✗",
            Self::Left => "○",
        }
    }
}

/// The picture's lines, for a terminal of this size: fewer than it has rows, since the cursor
/// stands below them. On a short terminal the nodes go first, then the legend.
pub(crate) fn draw(
    views: &Views,
    step: &str,
    awaited: &Awaited,
    columns: usize,
    rows: usize,
) -> Vec<String> {
    let filled = BAR * awaited.done.min(awaited.of) / awaited.of.max(1);
    let bar = format!("{}{}", "█".repeat(filled).green(), "░".repeat(BAR - filled).dark_grey());
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
    // The cursor's row, and the line that says how many nodes are not shown.
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
    let width = if nodes <= MOST_NAMED { name(nodes - 1).len() + 4 } else { 2 };
    let per_row = (columns.saturating_sub(3) / width).max(1);
    let shown = nodes.min(per_row * rows);
    let cell = |subject| {
        let look = Look::of(views, subject);
        let text = if nodes <= MOST_NAMED {
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

fn clip(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::views::Change;

    fn awaited() -> Awaited {
        Awaited { what: "views complete".into(), done: 1, of: 3, enough: 3 }
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
    fn a_node_looks_as_the_others_hold_it() {
        let mut views = Views::new(3);
        assert_eq!(Look::of(&views, 2), Look::Unknown);
        for observer in 0..2 {
            views.apply(observer, Change::Held(2, Some(Status::Alive)));
        }
        assert_eq!(Look::of(&views, 2), Look::Alive);
        views.apply(0, Change::Held(2, Some(Status::Suspected)));
        assert_eq!(Look::of(&views, 2), Look::Suspected);
        for observer in 0..2 {
            views.apply(observer, Change::Held(2, Some(Status::Dead)));
        }
        assert_eq!(Look::of(&views, 2), Look::Dead);
    }
}
