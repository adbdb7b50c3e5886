//! A few lines on a terminal that tell how far something has come, written over and over. Anywhere else nothing is written.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::termios::tcgetwinsize;

/// Between two looks at whether the lines have changed, or the terminal.
pub const PAUSE: Duration = Duration::from_millis(100);
/// Columns that stay free: for the `^C` that a terminal may show, and the place where it would go on to the next line.
const FREE: usize = 3;
/// To the beginning of the line, and everything from there on away.
const CLEAR: &str = "\r\u{1b}[J";

/// A terminal's, none of them 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    rows: usize,
    columns: usize,
}

impl Size {
    /// That of standard error; the usual one when it does not tell.
    fn now() -> Self {
        let told = tcgetwinsize(io::stderr()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
        told.map_or(Self { rows: 24, columns: 80 }, |size| Self {
            rows: size.ws_row.into(),
            columns: size.ws_col.into(),
        })
    }
}

/// The lines that stand on the terminal, the cursor at the end of the last one.
#[derive(Debug, Default)]
struct Shown {
    /// Columns of each line.
    lengths: Vec<usize>,
}

impl Shown {
    /// What takes the lines away, and the cursor to where the first one began. Most terminals have broken those anew that no
    /// longer fit when they became narrower.
    fn cleared(&mut self, size: Size) -> String {
        let taken: usize = self.lengths.iter().map(|length| length.div_ceil(size.columns).max(1)).sum();
        self.lengths.clear();
        match taken.min(size.rows) {
            0 => String::new(),
            1 => CLEAR.to_owned(),
            taken => format!("\u{1b}[{}A{CLEAR}", taken - 1),
        }
    }

    /// The same for other lines in their place: no more than there are rows, one of which is for what comes after them, and no
    /// longer than there are columns.
    fn replaced(&mut self, lines: &[String], size: Size) -> String {
        let mut text = self.cleared(size);
        let columns = size.columns.saturating_sub(FREE).max(1);
        for (number, line) in lines.iter().take(size.rows.saturating_sub(1).max(1)).enumerate() {
            let shown = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
            let line: String = line.chars().take(columns).map(shown).collect();
            self.lengths.push(line.len());
            text.push_str(if number == 0 { "" } else { "\r\n" });
            text.push_str(&line);
        }
        text
    }
}

/// How far something has come, as standard error shows it.
pub struct Meter<T> {
    terminal: bool,
    /// What it has come to as lines, each of so many columns at most.
    lines: fn(&T, usize) -> Vec<String>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// `None` when there is nothing to show.
    now: Option<T>,
    /// It was shown on a terminal of this size.
    drawn: Option<Size>,
    shown: Shown,
}

impl<T> Meter<T> {
    /// A meter that shows nothing yet.
    pub fn new(lines: fn(&T, usize) -> Vec<String>) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = io::stderr().is_terminal() && !dumb;
        Self { terminal, lines, state: Mutex::new(State { now: None, drawn: None, shown: Shown::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what it has come to; the next look shows it.
    pub fn note(&self, change: impl FnOnce(&mut Option<T>)) {
        if self.terminal {
            let mut state = self.state();
            change(&mut state.now);
            state.drawn = None;
        }
    }

    /// Shows what was noted, unless it stands there already.
    pub fn draw(&self) {
        let mut state = self.state();
        let Some(now) = &state.now else { return };
        let size = Size::now();
        if state.drawn != Some(size) {
            let lines = (self.lines)(now, size.columns.saturating_sub(FREE));
            state.drawn = Some(size);
            put(&state.shown.replaced(&lines, size));
        }
    }

    /// Takes everything away, until something else is noted.
    pub fn clear(&self) {
        let mut state = self.state();
        state.now = None;
        if !state.shown.lengths.is_empty() {
            put(&state.shown.cleared(Size::now()));
        }
    }
}

fn put(text: &str) {
    let mut stream = io::stderr().lock();
    // It is lost when nobody looks.
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_into_the_terminal_and_are_taken_away_as_they_stand_there() {
        let mut shown = Shown::default();
        let size = |rows, columns| Size { rows, columns };
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
        assert_eq!(shown.cleared(size(24, 80)), "");
        assert_eq!(shown.replaced(&lines("first second"), size(24, 80)), "first\r\nsecond");
        assert_eq!(shown.replaced(&lines("x"), size(24, 80)), "\u{1b}[1A\r\u{1b}[Jx");
        // No more lines than rows, and nothing that a terminal obeys.
        assert_eq!(shown.replaced(&lines("12345678 \u{1b}[2J third"), size(3, 8)), "\r\u{1b}[J12345\r\n?[2J");
        // Narrower now: the lines of 5 and 4 columns take three rows and two.
        assert_eq!(shown.cleared(size(24, 2)), "\u{1b}[4A\r\u{1b}[J");
        assert_eq!(shown.replaced(&lines("ab c"), size(1, 1)), "a");
        assert_eq!(shown.cleared(size(1, 1)), "\r\u{1b}[J");
    }
}
