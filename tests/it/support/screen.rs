//! What a terminal shows of what is written to it: printable characters, line ends, and the few sequences that progress needs.
//! Anything else is a failure.

/// The lines so far. Those that no longer fit are broken anew when it becomes narrower, as most terminals do.
#[derive(Debug)]
pub struct Screen {
    rows: usize,
    columns: usize,
    /// Each may take several rows.
    lines: Vec<String>,
    /// Where the cursor is: the line, and the column in it.
    cursor: (usize, usize),
    /// A sequence that has not ended.
    sequence: String,
}

impl Screen {
    pub fn new(rows: u16, columns: u16) -> Self {
        let (rows, columns) = (rows.into(), columns.into());
        Self { rows, columns, lines: vec![String::new()], cursor: (0, 0), sequence: String::new() }
    }

    pub fn resize(&mut self, rows: u16, columns: u16) {
        (self.rows, self.columns) = (rows.into(), columns.into());
    }

    /// The lines, without empty ones at the end.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    pub fn feed(&mut self, byte: u8) {
        let (line, column) = self.cursor;
        match (byte, self.sequence.is_empty()) {
            (b'\x1b', true) => self.sequence.push('\x1b'),
            (_, false) => {
                self.sequence.push(byte.into());
                if byte.is_ascii_alphabetic() {
                    self.obey();
                }
            }
            (b'\r', _) => self.cursor.1 = 0,
            (b'\n', _) => {
                self.cursor.0 += 1;
                if self.cursor.0 == self.lines.len() {
                    self.lines.push(String::new());
                }
            }
            (b' '..=b'~', _) => {
                assert!(column < self.columns, "{:?} goes on behind the edge", self.lines[line]);
                let line = &mut self.lines[line];
                line.extend(std::iter::repeat_n(' ', (column + 1).saturating_sub(line.len())));
                line.replace_range(column..=column, char::from(byte).encode_utf8(&mut [0; 4]));
                self.cursor.1 += 1;
            }
            other => panic!("{other:?} is written to the terminal"),
        }
    }

    fn obey(&mut self) {
        let sequence = std::mem::take(&mut self.sequence);
        let known = sequence.strip_prefix("\x1b[").unwrap();
        let (line, column) = self.cursor;
        if known == "J" {
            self.lines.truncate(line + 1);
            self.lines[line].truncate(column);
        } else {
            let mut up: usize = known.strip_suffix('A').unwrap_or_else(|| panic!("{sequence:?}")).parse().unwrap();
            assert!(up < self.rows, "{sequence:?} leads out of {} rows", self.rows);
            // Rows of the lines above, from the row where the cursor is in its own.
            up -= column.saturating_sub(1) / self.columns;
            let mut at = line;
            while up > 0 {
                at -= 1;
                up -= self.lines[at].len().div_ceil(self.columns).max(1);
            }
            self.cursor = (at, column.min(self.columns - 1));
        }
    }
}
