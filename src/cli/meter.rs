//! One line on a terminal that tells how far something has come. Anywhere else nothing is written.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two changes of the line.
const PAUSE: Duration = Duration::from_millis(100);
/// Back to the line's beginning, and what stands there away.
const CLEAR: &str = "\r\u{1b}[K";

/// The line. It is taken away when the meter is dropped.
pub struct Meter {
    /// When it was written last; `None` where there is no terminal.
    written: Option<Mutex<Option<Instant>>>,
}

impl Meter {
    /// A meter on standard error.
    pub fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal() && !dumb;
        Self { written: terminal.then(Mutex::default) }
    }

    /// Shows a text of one line, unless one was shown just now.
    pub fn show(&self, text: impl FnOnce() -> String) {
        let Some(written) = &self.written else { return };
        let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        *written = Some(Instant::now());
        put(&format!("{CLEAR}{}", text()));
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.written.as_ref().is_some_and(|w| w.lock().is_ok_and(|w| w.is_some())) {
            put(CLEAR);
        }
    }
}

fn put(text: &str) {
    let mut stream = std::io::stderr().lock();
    // It is lost when nobody looks.
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.flush();
}
