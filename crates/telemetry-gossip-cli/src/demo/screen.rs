//! The output of the demo: lines that stay, and on a terminal a picture below them that is drawn
//! again and again.

use std::io::{self, IsTerminal, Stdout, Write};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveToPreviousLine, Show};
use crossterm::queue;
use crossterm::style::Print;
use crossterm::terminal::{self, Clear, ClearType, DisableLineWrap, EnableLineWrap};

use super::picture::{self, Awaited};
use super::views::Views;

/// The time between two pictures, and so the largest delay of a picture.
pub(crate) const FRAME: Duration = Duration::from_millis(80);

/// The time between two lines of progress, where there is no picture.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Standard output: a terminal, a pipe or a file.
pub(crate) struct Screen {
    out: Stdout,
    live: bool,
    started: Instant,
    /// The number of lines of the picture that is on the terminal.
    drawn: u16,
    /// The time of the latest line.
    latest_line: Instant,
}

impl Screen {
    /// Draws pictures if standard output is a terminal that supports them and `plain` is false.
    pub(crate) fn new(plain: bool, started: Instant) -> Result<Self, io::Error> {
        let out = io::stdout();
        let able = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let live = !plain && out.is_terminal() && able;
        let mut screen = Self { out, live, started, drawn: 0, latest_line: started };
        if live {
            queue!(screen.out, Hide, DisableLineWrap)?;
        }
        Ok(screen)
    }

    /// Whether there is a picture. If so, the demo pauses after each step, so that people can
    /// follow it.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Prints a line that stays, with the time since the start.
    pub(crate) fn line(&mut self, at: Instant, text: &str) -> Result<(), io::Error> {
        let time = at.saturating_duration_since(self.started).as_secs_f64();
        self.plain_line(&format!("[{time:7.3}s] {text}"))
    }

    /// Prints a line that stays. On a narrow terminal it wraps, while the picture must not.
    pub(crate) fn plain_line(&mut self, text: &str) -> Result<(), io::Error> {
        self.erase()?;
        if self.live {
            queue!(self.out, EnableLineWrap)?;
        }
        writeln!(self.out, "{text}")?;
        if self.live {
            queue!(self.out, DisableLineWrap)?;
        }
        self.latest_line = Instant::now();
        self.out.flush()
    }

    /// Shows the outcome of a step, if there is a picture.
    pub(crate) fn outcome(
        &mut self,
        views: &Views,
        step: &str,
        awaited: &Awaited,
    ) -> Result<(), io::Error> {
        if self.live { self.progress(views, step, awaited) } else { Ok(()) }
    }

    /// Shows the progress of a step: the picture, or a line at intervals.
    pub(crate) fn progress(
        &mut self,
        views: &Views,
        step: &str,
        awaited: &Awaited,
    ) -> Result<(), io::Error> {
        if self.live {
            // Some terminals report no size, or a size of zero.
            let (columns, rows) = terminal::size()
                .ok()
                .filter(|(columns, rows)| *columns > 0 && *rows > 0)
                .unwrap_or((80, 24));
            let lines = picture::draw(views, step, awaited, columns.into(), rows.into());
            // Draw over the old picture line by line: erasing it first would flicker.
            if self.drawn > 0 {
                queue!(self.out, MoveToPreviousLine(self.drawn))?;
            }
            for line in &lines {
                queue!(self.out, Print(line), Clear(ClearType::UntilNewLine), Print("\n"))?;
            }
            queue!(self.out, Clear(ClearType::FromCursorDown))?;
            self.drawn = u16::try_from(lines.len()).unwrap_or(u16::MAX);
            self.out.flush()
        } else if self.latest_line.elapsed() >= PROGRESS_INTERVAL {
            self.line(
                Instant::now(),
                &format!("  ... {} of {} {}", awaited.done, awaited.of, awaited.what),
            )
        } else {
            Ok(())
        }
    }

    fn erase(&mut self) -> Result<(), io::Error> {
        if self.drawn > 0 {
            queue!(self.out, MoveToPreviousLine(self.drawn), Clear(ClearType::FromCursorDown))?;
            self.drawn = 0;
        }
        Ok(())
    }
}

impl Drop for Screen {
    /// Restores the terminal, however the demo ends.
    fn drop(&mut self) {
        if self.live {
            let restored = self.erase().and_then(|()| queue!(self.out, Show, EnableLineWrap));
            // If this fails, the terminal is gone.
            let _ = restored.and_then(|()| self.out.flush());
        }
    }
}
