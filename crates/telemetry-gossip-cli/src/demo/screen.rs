//! Where the demo shows itself: lines that stay, and on a terminal below them a picture that is
//! drawn over.

use std::io::{self, IsTerminal, Stdout, Write};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveToPreviousLine, Show};
use crossterm::queue;
use crossterm::style::Print;
use crossterm::terminal::{self, Clear, ClearType, DisableLineWrap, EnableLineWrap};

use super::picture::{self, Awaited};
use super::views::Views;

/// Time between two pictures, and so the longest that a picture is behind.
pub(crate) const FRAME: Duration = Duration::from_millis(80);

/// Time between two lines that say how far a step is, where no picture does.
const PROGRESS: Duration = Duration::from_secs(1);

/// The terminal, or whatever standard output is.
pub(crate) struct Screen {
    out: Stdout,
    live: bool,
    started: Instant,
    /// Lines of the picture that is on the terminal.
    drawn: u16,
    said: Instant,
}

impl Screen {
    /// Draws pictures if standard output is a terminal that can, unless only lines are wanted.
    pub(crate) fn new(plain: bool, started: Instant) -> Result<Self, io::Error> {
        let out = io::stdout();
        let able = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let live = !plain && out.is_terminal() && able;
        let mut screen = Self { out, live, started, drawn: 0, said: started };
        if live {
            queue!(screen.out, Hide, DisableLineWrap)?;
        }
        Ok(screen)
    }

    /// Whether somebody watches: then steps are held a moment, so that they can be followed.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// A line that stays, with its time since the start.
    pub(crate) fn line(&mut self, at: Instant, text: &str) -> Result<(), io::Error> {
        let time = at.saturating_duration_since(self.started).as_secs_f64();
        self.plain_line(&format!("[{time:7.3}s] {text}"))
    }

    /// A line that stays, whole: on a narrow terminal it wraps, which the picture must not.
    pub(crate) fn plain_line(&mut self, text: &str) -> Result<(), io::Error> {
        self.erase()?;
        if self.live {
            queue!(self.out, EnableLineWrap)?;
        }
        writeln!(self.out, "{text}")?;
        if self.live {
            queue!(self.out, DisableLineWrap)?;
        }
        self.said = Instant::now();
        self.out.flush()
    }

    /// Shows the outcome of a step, where there is a picture to show it.
    pub(crate) fn outcome(
        &mut self,
        views: &Views,
        step: &str,
        awaited: &Awaited,
    ) -> Result<(), io::Error> {
        if self.live { self.progress(views, step, awaited) } else { Ok(()) }
    }

    /// Shows how far a step is: the picture, or a line now and then.
    pub(crate) fn progress(
        &mut self,
        views: &Views,
        step: &str,
        awaited: &Awaited,
    ) -> Result<(), io::Error> {
        if self.live {
            // Some terminals do not know their size, or say that it is nothing.
            let (columns, rows) = terminal::size()
                .ok()
                .filter(|(columns, rows)| *columns > 0 && *rows > 0)
                .unwrap_or((80, 24));
            let lines = picture::draw(views, step, awaited, columns.into(), rows.into());
            // Drawn over line by line: to erase first would flicker.
            if self.drawn > 0 {
                queue!(self.out, MoveToPreviousLine(self.drawn))?;
            }
            for line in &lines {
                queue!(self.out, Print(line), Clear(ClearType::UntilNewLine), Print("\n"))?;
            }
            queue!(self.out, Clear(ClearType::FromCursorDown))?;
            self.drawn = u16::try_from(lines.len()).unwrap_or(u16::MAX);
            self.out.flush()
        } else if self.said.elapsed() >= PROGRESS {
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
    /// Leaves the terminal as it was found, however the demo ends.
    fn drop(&mut self) {
        if self.live {
            let restored = self.erase().and_then(|()| queue!(self.out, Show, EnableLineWrap));
            // A terminal that is gone needs no cursor.
            let _ = restored.and_then(|()| self.out.flush());
        }
    }
}
