//! A table of figures and their bounds.

use std::time::Duration;

pub(crate) struct Report {
    rows: Vec<Row>,
    /// What the bounds of times are multiplied by.
    slack: f64,
}

struct Row {
    step: String,
    figure: f64,
    /// The highest figure that is allowed; `None` if the figure is told and not judged.
    bound: Option<f64>,
    unit: &'static str,
}

impl Report {
    pub(crate) fn new(slack: f64) -> Self {
        Self { rows: Vec::new(), slack }
    }

    pub(crate) fn add(&mut self, step: &str, figure: f64, bound: Option<f64>, unit: &'static str) {
        let step = step.to_owned();
        println!("{step}: {figure:.3} {unit}");
        self.rows.push(Row { step, figure, bound, unit });
    }

    /// A time in seconds.
    pub(crate) fn time(&mut self, step: &str, took: Duration, bound: Option<Duration>) {
        self.add(
            step,
            took.as_secs_f64(),
            bound.map(|bound| bound.as_secs_f64() * self.slack),
            "s",
        );
    }

    /// Something of which there may be none.
    pub(crate) fn none(&mut self, step: &str, found: &[String]) {
        for line in found.iter().take(20) {
            println!("{step}: {line}");
        }
        self.add(step, found.len() as f64, Some(0.0), "");
    }

    /// Prints the table, and fails if a figure is above its bound.
    pub(crate) fn judge(&self) {
        println!("{:<64} {:>9} {:>9}", "step", "figure", "bound");
        let mut is_missed = false;
        for Row { step, figure, bound, unit } in &self.rows {
            let missed = bound.is_some_and(|bound| *figure > bound);
            is_missed |= missed;
            let bound = bound.map_or_else(String::new, |bound| format!("{bound:.3}"));
            let verdict = if missed { "  MISSED" } else { "" };
            println!("{step:<64} {figure:>9.3} {bound:>9} {unit}{verdict}");
        }
        assert!(!is_missed, "a figure is above its bound");
    }
}
