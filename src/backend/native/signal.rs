//! Stop signals by the names that images use.

/// SIGTERM.
pub(super) const TERM: i32 = 15;
/// The first real-time signal that programs may use, with either C library of Linux.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// By number, from 1 (Linux on x86 and ARM).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// Reads `SIGQUIT`, `quit`, `3` or `SIGRTMIN+3`; `None` when it is no signal.
pub(super) fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|n| *n == name) {
        return i32::try_from(at + 1).ok();
    }
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(digits) => digits.parse::<i32>().ok(),
        None => rest.is_empty().then_some(0),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => RTMIN.checked_add(offset(rest, '+')?)?,
        (None, Some(rest)) => RTMAX.checked_sub(offset(rest, '-')?)?,
        (None, None) => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_understood() {
        let rows = [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("SIGQUIT", Some(3)),
            ("3", Some(3)),
            ("SIGWINCH", Some(28)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-2", Some(62)),
            ("SIGRTMIN+31", None),
            ("SIGRTMIN-1", None),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("", None),
            ("SIG", None),
            ("SIGSIGTERM", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
