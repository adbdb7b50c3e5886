//! The keys that end a session and leave the container running, as kubectl's `--detach-keys` names them.

/// Watches what is typed for a sequence of keys.
#[derive(Clone, Debug)]
pub struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were typed last, one after the other. They are held back.
    matched: usize,
}

impl DetachKeys {
    /// The most keys of a sequence.
    const MOST: usize = 16;

    /// Reads a sequence: characters, and `ctrl-` with a letter or one of `@[\]^_`, divided by commas.
    ///
    /// # Errors
    /// What is no key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let keys: Vec<u8> = text.split(',').map(key).collect::<Result<_, _>>()?;
        if keys.len() > Self::MOST {
            return Err(format!("a sequence has at most {} keys", Self::MOST));
        }
        Ok(Self { keys, matched: 0 })
    }

    /// What of the typed is for the container, and whether the sequence is complete; nothing after it counts then.
    pub fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len());
        for byte in typed {
            loop {
                if self.keys[self.matched] == *byte {
                    self.matched += 1;
                    break;
                }
                if self.matched == 0 {
                    out.push(*byte);
                    break;
                }
                self.give_back(*byte, &mut out);
            }
            if self.matched == self.keys.len() {
                self.matched = 0;
                return (out, true);
            }
        }
        (out, false)
    }

    /// Lets go of the first keys held, until what is left can be the beginning of the sequence with `next` after it.
    fn give_back(&mut self, next: u8, out: &mut Vec<u8>) {
        let held = &self.keys[..self.matched];
        let keep = (0..self.matched)
            .rev()
            .find(|keep| held.ends_with(&held[..*keep]) && (self.keys[*keep] == next || *keep == 0));
        let keep = keep.unwrap_or(0);
        out.extend_from_slice(&held[..self.matched - keep]);
        self.matched = keep;
    }
}

fn key(text: &str) -> Result<u8, String> {
    let control = |name: &str| match name.as_bytes() {
        [letter @ (b'a'..=b'z')] => Some(letter - b'a' + 1),
        [sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Some(sign - b'@'),
        _ => None,
    };
    let found = match text.as_bytes() {
        [one] if one.is_ascii() => Some(*one),
        _ if text == "DEL" => Some(127),
        _ => text.strip_prefix("ctrl-").and_then(control),
    };
    found.ok_or_else(|| format!("Unknown character: '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_kubectl_names_them() {
        for (text, expected) in [
            ("ctrl-p,ctrl-q", Ok(vec![16, 17])),
            ("a", Ok(vec![b'a'])),
            ("ctrl-a,b,ctrl-[", Ok(vec![1, b'b', 27])),
            ("ctrl-@,ctrl-_,DEL", Ok(vec![0, 31, 127])),
            ("", Err("Unknown character: ''")),
            ("ctrl-", Err("Unknown character: 'ctrl-'")),
            ("ctrl-P", Err("Unknown character: 'ctrl-P'")),
            ("ab", Err("Unknown character: 'ab'")),
            ("é", Err("Unknown character: 'é'")),
            ("a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", Err("a sequence has at most 16 keys")),
        ] {
            let keys = DetachKeys::parse(text).map(|k| k.keys);
            assert_eq!(keys, expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn only_the_whole_sequence_detaches_and_everything_else_is_passed_on() {
        let typed = |keys: &str, pieces: &[&str]| {
            let mut keys = DetachKeys::parse(keys).unwrap();
            let mut out = String::new();
            for piece in pieces {
                let (passed, done) = keys.feed(piece.as_bytes());
                out.push_str(std::str::from_utf8(&passed).unwrap());
                if done {
                    return (out, true);
                }
            }
            (out, false)
        };
        for (keys, pieces, passed, done) in [
            ("x,y", &["abc"][..], "abc", false),
            ("x,y", &["ab", "xy", "never"], "ab", true),
            ("x,y", &["x", "y"], "", true),
            ("x,y", &["x", "ab"], "xab", false),
            ("x,y", &["xx", "y"], "x", true),
            ("x,x,y", &["xxx", "y"], "x", true),
            ("x,y,x,z", &["xyx", "yxz"], "xy", true),
            ("x,y", &["x"], "", false),
            ("x", &["abx"], "ab", true),
        ] {
            assert_eq!(typed(keys, pieces), (passed.to_owned(), done), "{keys} {pieces:?}");
        }
    }
}
