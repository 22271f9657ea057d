//! A table of figures in Markdown.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
}

#[derive(Debug)]
enum Bound {
    Most(f64),
    TimesFocaOrMore(f64),
    TimesFocaOrLess(f64),
}

/// One figure: the median and the worst run of each library.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    decimals: usize,
    better: Better,
    mean: bool,
    ours: Vec<f64>,
    foca: Vec<f64>,
    bound: Option<Bound>,
}

impl Row {
    pub(crate) fn new(name: &str, decimals: usize, better: Better) -> Self {
        Self {
            name: name.to_owned(),
            decimals,
            better,
            mean: false,
            ours: Vec::new(),
            foca: Vec::new(),
            bound: None,
        }
    }

    pub(crate) fn ours(mut self, runs: impl IntoIterator<Item = f64>) -> Self {
        self.ours = runs.into_iter().collect();
        self
    }

    pub(crate) fn foca(mut self, runs: impl IntoIterator<Item = f64>) -> Self {
        self.foca = runs.into_iter().collect();
        self
    }

    /// Uses the mean instead of the median.
    pub(crate) fn by_mean(mut self) -> Self {
        self.mean = true;
        self
    }

    pub(crate) fn at_most(mut self, bound: f64) -> Self {
        self.bound = Some(Bound::Most(bound));
        self
    }

    pub(crate) fn at_least_times_foca(mut self, times: f64) -> Self {
        self.bound = Some(Bound::TimesFocaOrMore(times));
        self
    }

    pub(crate) fn at_most_times_foca(mut self, times: f64) -> Self {
        self.bound = Some(Bound::TimesFocaOrLess(times));
        self
    }

    fn middle(&self, runs: &[f64]) -> Option<f64> {
        if runs.is_empty() {
            return None;
        }
        if self.mean {
            return Some(runs.iter().sum::<f64>() / runs.len() as f64);
        }
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(sorted[sorted.len() / 2])
    }

    fn worst(&self, runs: &[f64]) -> Option<f64> {
        let worse = |a: f64, b: f64| if (self.better == Better::Less) == (a > b) { a } else { b };
        runs.iter().copied().reduce(worse)
    }

    fn cell(&self, value: Option<f64>) -> String {
        let Some(value) = value else { return "-".to_owned() };
        let text = format!("{value:.*}", self.decimals);
        let (whole, rest) =
            text.split_once('.').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
        let mut grouped = String::new();
        for (at, digit) in whole.chars().enumerate() {
            if at > 0 && (whole.len() - at) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, foca) = (self.middle(&self.ours), self.middle(&self.foca));
        let ratio = ours.zip(foca).filter(|&(_, foca)| foca != 0.0).map(|(ours, foca)| ours / foca);
        let target = match (&self.bound, ours) {
            (_, None) | (None, _) => String::new(),
            (Some(Bound::Most(most)), Some(ours)) => verdict(ours <= *most, &format!("{most}")),
            (Some(Bound::TimesFocaOrLess(times)), _) => {
                verdict(ratio.is_some_and(|ratio| ratio <= *times), &format!("{times}x"))
            }
            (Some(Bound::TimesFocaOrMore(times)), _) => {
                verdict(ratio.is_some_and(|ratio| ratio >= *times), &format!("{times}x"))
            }
        };
        write!(
            f,
            "| {} | {} | {} | {} | {} | {} | {target} |",
            self.name,
            self.cell(ours),
            self.cell(self.worst(&self.ours)),
            self.cell(foca),
            self.cell(self.worst(&self.foca)),
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        )
    }
}

fn verdict(met: bool, bound: &str) -> String {
    format!("{bound}: {}", if met { "met" } else { "missed" })
}

/// The rows, and notes about what could not be measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("{row}");
        self.rows.push(row);
    }

    pub(crate) fn note(&mut self, note: &str) {
        eprintln!("{note}");
        self.notes.push(note.to_owned());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| figure | ours | worst | foca 2.0 | worst | ours/foca | target |\n\
             |---|---|---|---|---|---|---|"
        )?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "\n{note}"))
    }
}
