//! Reading a template.

use serde_json::{Number, Value};

use super::filter::{Filter, Operator};
use super::{Part, Slice, Step};

/// How deep paths may stand in one another, in filters and unions.
const MAX_DEPTH: usize = 16;

/// What is between braces, as far as it says what it is.
enum Action {
    Path(Vec<Step>),
    Range(Vec<Step>),
    End,
}

/// The parts of a template.
pub(super) fn parts(text: &str) -> Result<Vec<Part>, String> {
    // What is around the innermost range, with the path of that.
    let mut around: Vec<(Vec<Part>, Vec<Step>)> = Vec::new();
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        if open > 0 {
            parts.push(Part::Text(rest[..open].to_owned()));
        }
        let mut reader = Reader { rest: &rest[open + 1..], depth: 0 };
        match reader.action()? {
            Action::Path(steps) => parts.push(Part::Path(steps)),
            Action::Range(steps) => around.push((std::mem::take(&mut parts), steps)),
            Action::End => {
                let (before, steps) = around.pop().ok_or("not in range, nothing to end")?;
                let body = std::mem::replace(&mut parts, before);
                parts.push(Part::Range(steps, body));
            }
        }
        rest = reader.rest;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    while let Some((before, steps)) = around.pop() {
        let body = std::mem::replace(&mut parts, before);
        parts.push(Part::Range(steps, body));
    }
    Ok(parts)
}

/// What is left to read of a template.
struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

/// Where a word without quotes ends.
fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}

impl<'a> Reader<'a> {
    /// A path of its own, which is not within braces: in a filter or a union.
    fn inner(&self, text: &str) -> Result<Vec<Step>, String> {
        if self.depth == MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} paths in one another"));
        }
        let text = format!("{text}}}");
        let mut reader = Reader { rest: &text, depth: self.depth + 1 };
        match reader.action()? {
            Action::Path(steps) if reader.rest.is_empty() => Ok(steps),
            Action::Path(_) => Err(format!("unexpected {:?}", reader.rest)),
            Action::Range(_) | Action::End => Err("a range is no part of a path".to_owned()),
        }
    }

    /// Reads up to the closing brace, which is taken too.
    fn action(&mut self) -> Result<Action, String> {
        let (mut steps, mut is_range, mut is_end) = (Vec::new(), false, false);
        loop {
            let Some(next) = self.rest.chars().next().filter(|c| *c != '\n') else {
                return Err("unclosed action".to_owned());
            };
            match next {
                '}' => {
                    self.skip(1);
                    return Ok(match (is_range, is_end) {
                        (_, true) => Action::End,
                        (true, false) => Action::Range(steps),
                        (false, false) => Action::Path(steps),
                    });
                }
                ' ' | '@' | '$' => self.skip(1),
                '.' if self.rest.starts_with("..") => {
                    self.skip(2);
                    steps.push(Step::Recursive);
                    if self.rest.starts_with(is_name) {
                        steps.push(self.field());
                    }
                }
                '.' => {
                    self.skip(1);
                    steps.push(self.field());
                }
                '[' if self.rest.starts_with("[?(") => steps.push(self.filter()?),
                '[' => self.array(&mut steps)?,
                '"' | '\'' => steps.push(Step::Literal(Value::String(self.quoted()?))),
                '+' | '-' | '0'..='9' => steps.push(Step::Literal(self.number()?)),
                c if is_name(c) => match self.word() {
                    "range" => is_range = true,
                    "end" => is_end = true,
                    "true" => steps.push(Step::Literal(true.into())),
                    "false" => steps.push(Step::Literal(false.into())),
                    word => return Err(format!("unrecognized identifier {word}")),
                },
                c => return Err(format!("unrecognized character in action: {c:?}")),
            }
        }
    }

    /// Only over characters of one byte.
    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn word(&mut self) -> &'a str {
        self.take(self.rest.find(ends_word).unwrap_or(self.rest.len()))
    }

    /// A field's name, in which a backslash takes away the meaning of what follows.
    fn field(&mut self) -> Step {
        let mut escaped = false;
        let end = self.rest.find(|c| match (escaped, c) {
            (true, _) => {
                escaped = false;
                false
            }
            (false, '\\') => {
                escaped = true;
                false
            }
            (false, c) => matches!(c, ' ' | '.' | '[' | ']' | '$' | '@' | '{' | '}'),
        });
        match self.take(end.unwrap_or(self.rest.len())) {
            "*" => Step::Wildcard,
            name => Step::Field(name.replace('\\', "")),
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut characters = self.rest.char_indices();
        let Some((_, quote)) = characters.next() else { return Err("unterminated quoted string".to_owned()) };
        let mut text = String::new();
        while let Some((at, c)) = characters.next() {
            match c {
                '\n' => break,
                '\\' => {
                    let (_, escaped) = characters.next().ok_or("unterminated quoted string")?;
                    text.push(unescaped(escaped).ok_or_else(|| format!("invalid escape \\{escaped}"))?);
                }
                c if c == quote => {
                    self.skip(at + 1);
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err("unterminated quoted string".to_owned())
    }

    fn number(&mut self) -> Result<Value, String> {
        let sign = usize::from(self.rest.starts_with(['+', '-']));
        let digits =
            self.rest[sign..].find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.rest.len() - sign);
        let text = self.take(sign + digits);
        if let Ok(whole) = text.parse::<i64>() {
            return Ok(whole.into());
        }
        let number = text.parse::<f64>().ok().and_then(Number::from_f64);
        number.map(Value::Number).ok_or_else(|| format!("cannot parse number {text}"))
    }

    /// What is in brackets, which are taken too: an index, a slice, a key in quotes, or a list of these.
    fn array(&mut self, steps: &mut Vec<Step>) -> Result<(), String> {
        let end = self.rest.find([']', '\n']).filter(|at| self.rest[*at..].starts_with(']'));
        let text = self.take(end.ok_or("unterminated array")? + 1);
        let text = &text[1..text.len() - 1];
        if text.contains(',') {
            let all = text.split(',').map(|one| self.inner(&format!("[{}]", one.trim_matches(' '))));
            steps.push(Step::Union(all.collect::<Result<_, _>>()?));
        } else if let Some(key) =
            text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')).filter(|k| !k.contains('\''))
        {
            // A path, too: its dots are those of one unless they are escaped.
            steps.extend(self.inner(&format!(".{key}"))?);
        } else {
            steps.push(Step::Slice(slice(text).ok_or_else(|| format!("invalid array index {text}"))?));
        }
        Ok(())
    }

    fn filter(&mut self) -> Result<Step, String> {
        self.skip("[?(".len());
        let text = self.take(closing(self.rest).ok_or("unterminated filter")?);
        self.skip(1);
        if !self.rest.starts_with(']') {
            return Err("unclosed array expect ]".to_owned());
        }
        self.skip(1);
        let is_operator = |c: char| matches!(c, '!' | '<' | '>' | '=');
        // What begins with an operator has nothing to compare.
        let Some(at) = text.find(is_operator).filter(|at| *at > 0) else {
            return Ok(Step::Filter(Filter { left: self.inner(text)?, comparison: None }));
        };
        let (left, compared) = text.split_at(at);
        let (operator, right) = compared.split_at(compared.find(|c| !is_operator(c)).unwrap_or(compared.len()));
        let operator = Operator::of(operator).ok_or_else(|| format!("unrecognized filter operator {operator}"))?;
        if right.is_empty() {
            return Err("a filter compares with nothing".to_owned());
        }
        Ok(Step::Filter(Filter { left: self.inner(left)?, comparison: Some((operator, self.inner(right)?)) }))
    }
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Where the parenthesis closes that is open at the beginning, not counting what is in quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut open, mut quote) = (1, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (_, '\n') => return None,
            (Some(own), c) if c == own => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => open += 1,
            (None, ')') => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            (None, _) => {}
        }
    }
    None
}

/// What Go's `strconv.Unquote` makes of a character after a backslash, but for numbers.
fn unescaped(c: char) -> Option<char> {
    match c {
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        '\\' | '\'' | '"' => Some(c),
        _ => None,
    }
}

/// `3`, `-1`, `1:3`, `::2`, `*`
fn slice(text: &str) -> Option<Slice> {
    if text == "*" {
        return Some(Slice::default());
    }
    let mut numbers = text.split(':');
    let mut next = || match numbers.next() {
        None | Some("") => Some(None),
        Some(number) => number.parse().ok().map(Some),
    };
    let (from, to, step) = (next()?, next()?, next()?);
    let colons = text.matches(':').count();
    (colons <= 2 && !text.is_empty()).then_some(Slice { from, to, step, is_index: colons == 0 })
}
