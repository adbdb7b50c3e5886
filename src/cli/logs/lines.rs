//! A log in pieces that end with a line: so lines of several logs can stand between each other.

/// A longer line is let go in pieces.
const LONGEST: usize = 1 << 20;

/// Collects what comes until a line ends, and puts a prefix before each.
#[derive(Debug)]
pub(super) struct Lines {
    prefix: String,
    held: Vec<u8>,
}

impl Lines {
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix, held: Vec::new() }
    }

    /// The whole lines that are there now.
    pub(super) fn take(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(chunk);
        let end = self.held.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let end = if end == 0 && self.held.len() > LONGEST { self.held.len() } else { end };
        let rest = self.held.split_off(end);
        let whole = std::mem::replace(&mut self.held, rest);
        self.prefixed(&whole)
    }

    /// What is left when nothing more comes: a line without its end, which it gets.
    pub(super) fn rest(mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.held);
        if !rest.is_empty() {
            rest.push(b'\n');
        }
        self.prefixed(&rest)
    }

    fn prefixed(&self, lines: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(lines.len());
        for line in lines.split_inclusive(|b| *b == b'\n') {
            out.extend_from_slice(self.prefix.as_bytes());
            out.extend_from_slice(line);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(prefix: &str, chunks: &[&str]) -> Vec<String> {
        let mut lines = Lines::new(prefix.to_owned());
        let mut out: Vec<Vec<u8>> = chunks.iter().map(|c| lines.take(c.as_bytes())).collect();
        out.push(lines.rest());
        out.into_iter().map(|piece| String::from_utf8(piece).unwrap()).collect()
    }

    #[test]
    fn only_whole_lines_are_let_go_each_with_its_prefix() {
        assert_eq!(through("", &["a\nb", "c\n", "d"]), ["a\n", "bc\n", "", "d\n"]);
        assert_eq!(through("[x] ", &["a\nb\nc", "\n"]), ["[x] a\n[x] b\n", "[x] c\n", ""]);
        assert_eq!(through("[x] ", &["", "\n"]), ["", "[x] \n", ""]);
    }

    #[test]
    fn a_line_without_end_takes_no_memory_without_end() {
        let mut lines = Lines::new(String::new());
        let chunk = vec![b'x'; LONGEST];
        assert!(lines.take(&chunk).is_empty());
        assert_eq!(lines.take(&chunk).len(), 2 * LONGEST);
        assert!(lines.rest().is_empty());
    }
}
