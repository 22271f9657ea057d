//! The progress bar of a long run.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A run that ends before this shows no bar.
const LONG_RUN: Duration = Duration::from_millis(600);

/// A bar on standard error. It appears on terminals only, and only after [`LONG_RUN`].
pub(crate) struct Bar {
    started: Instant,
    bar: Option<ProgressBar>,
    on_terminal: bool,
}

impl Bar {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), bar: None, on_terminal: io::stderr().is_terminal() }
    }

    /// Shows that `at` of `of` is done; `words` says the same as text.
    pub(crate) fn advance(&mut self, at: u64, of: u64, words: impl FnOnce() -> String) {
        if !self.on_terminal || (self.bar.is_none() && self.started.elapsed() < LONG_RUN) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{bar:40} {percent:>3}% {msg}, {eta} to go");
            let bar = ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::stderr());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position(at);
        bar.set_message(words());
    }

    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
