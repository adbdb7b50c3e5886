//! Profiles of one's own: the document that the OCI runtime specification calls `linux.seccomp`.

use serde::Deserialize;

use super::filter::{Action, Comparison, Filter, Rule, Test};
use super::numbers;

const EPERM: u32 = 1;
/// The largest error number the kernel gives to programs.
const MAX_ERRNO: u32 = 4095;
/// Tests of one rule; a call has six arguments.
const MAX_TESTS: usize = 16;
/// Argument tests in the whole document: the program must stay within what the kernel takes.
const MAX_RULES: usize = 2048;
/// Flags that change nothing here: it is one thread, and without the costly defences anyway.
const FLAGS: [&str; 2] = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"];

/// 32-bit programs of the machine, whose x86 kind reaches these calls through `socketcall` and `ipc` as well.
const X86: &str = "SCMP_ARCH_X86";
const MULTIPLEXED: &[&str] = &[
    "accept",
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "msgctl",
    "msgget",
    "msgrcv",
    "msgsnd",
    "recv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "semctl",
    "semget",
    "semop",
    "semtimedop",
    "send",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shmat",
    "shmctl",
    "shmdt",
    "shmget",
    "shutdown",
    "socket",
    "socketpair",
];
/// The names of architectures in profiles (`libseccomp`); those of other machines mean nothing here.
const ARCHITECTURES: &[&str] = &[
    X86,
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
];

/// A profile. What it may have and is not known here is refused: it could be a condition.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    default_action: String,
    default_errno_ret: Option<u32>,
    /// Beside the machine's own kind of program, those that may make calls; others are killed, as libseccomp does.
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: Operator,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Operator {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

impl Document {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("the seccomp profile cannot be read: {error}"))
    }

    /// The filter. Names of calls that this program does not know are passed over where they would be allowed, as
    /// libseccomp does: they get the default.
    pub(super) fn filter(&self) -> Result<Filter<'_>, String> {
        if let Some(flag) = self.flags.iter().find(|flag| !FLAGS.contains(&flag.as_str())) {
            return Err(format!("the seccomp profile has the flag {flag:?}, which is not supported"));
        }
        let default = action(&self.default_action, self.default_errno_ret)?;
        let is_for_32_bit = self.is_for_32_bit()?;
        let mut rules = Vec::new();
        for (index, entry) in self.syscalls.iter().enumerate() {
            let first = entry.names.first().map_or("", String::as_str);
            let placed = |error: String| format!("{error}, in its syscalls[{index}] ({first})");
            let action = action(&entry.action, entry.errno_ret).map_err(placed)?;
            let ways = ways(tests(entry.args.as_deref().unwrap_or_default()).map_err(placed)?);
            // What says what counts anyway would only stand in front of the rules after it; runc passes it over, too.
            if action == default {
                continue;
            }
            for name in &entry.names {
                if is_for_32_bit && action != Action::Allow && MULTIPLEXED.contains(&name.as_str()) {
                    return Err(format!(
                        "the seccomp profile has a rule about {name:?} for 32-bit programs too, which have other ways to make \
                         that call: leave {X86} out of `architectures`"
                    ));
                }
                match numbers::of(name) {
                    Some(_) => rules.extend(ways.iter().map(|tests| Rule { name, tests: tests.clone(), action })),
                    None if action == Action::Allow => {}
                    None => {
                        let error = format!("the seccomp profile names the system call {name:?}, which is not known");
                        return Err(placed(error));
                    }
                }
            }
        }
        if rules.iter().filter(|rule| !rule.tests.is_empty()).count() > MAX_RULES {
            return Err(format!("the seccomp profile has more than {MAX_RULES} rules about arguments"));
        }
        Ok(Filter { default, is_for_32_bit, rules })
    }

    fn is_for_32_bit(&self) -> Result<bool, String> {
        let known = |name: &&String| !ARCHITECTURES.contains(&name.as_str());
        if let Some(name) = self.architectures.iter().find(known) {
            return Err(format!("the seccomp profile names the architecture {name:?}, which is not known"));
        }
        Ok(self.architectures.iter().any(|name| name == X86 || name == "SCMP_ARCH_ARM"))
    }
}

/// The tests that must hold together, each list by itself. Several about one argument are ways to match, as runc has it; each
/// of them alone then, also of other arguments.
fn ways(tests: Vec<Test>) -> Vec<Vec<Test>> {
    let is_repeated = |test: &Test| tests.iter().filter(|other| other.argument == test.argument).count() > 1;
    if tests.iter().any(is_repeated) { tests.into_iter().map(|test| vec![test]).collect() } else { vec![tests] }
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, String> {
    let number = |errno: Option<u32>| {
        let errno = errno.unwrap_or(EPERM);
        u16::try_from(errno)
            .ok()
            .filter(|_| errno <= MAX_ERRNO)
            .ok_or(format!("the seccomp profile has {errno} as an error, which is no number of one"))
    };
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ERRNO" => Action::Errno(number(errno)?),
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        other => return Err(format!("the seccomp profile has the action {other:?}, which is not supported")),
    })
}

fn tests(arguments: &[Argument]) -> Result<Vec<Test>, String> {
    if arguments.len() > MAX_TESTS {
        return Err(format!("a rule of the seccomp profile has more than {MAX_TESTS} arguments"));
    }
    arguments.iter().map(|a| test(*a)).collect()
}

fn test(argument: Argument) -> Result<Test, String> {
    if argument.index > 5 {
        return Err(format!("the seccomp profile names the argument {} of a call, which has 0 to 5", argument.index));
    }
    let (mask, value, comparison) = match argument.op {
        Operator::NotEqual => (u64::MAX, argument.value, Comparison::NotEqual),
        Operator::Less => (u64::MAX, argument.value, Comparison::Less),
        Operator::LessOrEqual => (u64::MAX, argument.value, Comparison::LessOrEqual),
        Operator::Equal => (u64::MAX, argument.value, Comparison::Equal),
        Operator::GreaterOrEqual => (u64::MAX, argument.value, Comparison::GreaterOrEqual),
        Operator::Greater => (u64::MAX, argument.value, Comparison::Greater),
        Operator::MaskedEqual => (argument.value, argument.value_two, Comparison::Equal),
    };
    if value & !mask != 0 {
        return Err(format!("the seccomp profile masks an argument with {mask:#x}, so it is never {value:#x}"));
    }
    Ok(Test { argument: argument.index, mask, comparison, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        Document::read(text).and_then(|d| d.filter().map(drop)).unwrap_err()
    }

    /// Name, number of tests and action of each rule.
    type Rules = Vec<(String, usize, Action)>;

    fn read(text: &str) -> Result<(bool, Rules), String> {
        let document = Document::read(text)?;
        let filter = document.filter()?;
        let rules = filter.rules.iter().map(|rule| (rule.name.to_owned(), rule.tests.len(), rule.action)).collect();
        Ok((filter.is_for_32_bit, rules))
    }

    #[test]
    fn rules_are_read_as_runc_reads_them() {
        let text = |architectures: &str, rules: &str| {
            format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "architectures": [{architectures}], "syscalls": [{rules}]}}"#
            )
        };
        let refused = Action::Errno(1);
        let test = |index: u8, value: u64| format!(r#"{{"index": {index}, "value": {value}, "op": "SCMP_CMP_EQ"}}"#);
        let rule = |tests: &[String]| {
            format!(r#"{{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{}]}}"#, tests.join(","))
        };
        // Two families, either of which is refused; a family and a type, which must both be so.
        let either = read(&text("", &rule(&[test(0, 38), test(0, 40)]))).unwrap();
        assert_eq!(either, (false, vec![("socket".to_owned(), 1, refused), ("socket".to_owned(), 1, refused)]));
        let both = read(&text("", &rule(&[test(0, 38), test(1, 5)]))).unwrap();
        assert_eq!(both, (false, vec![("socket".to_owned(), 2, refused)]));
        // A rule that repeats the default hides none.
        let hidden =
            r#"{"names": ["chmod"], "action": "SCMP_ACT_ALLOW"}, {"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}"#;
        assert_eq!(read(&text("", hidden)).unwrap().1, [("chmod".to_owned(), 0, refused)]);
        let native = r#""SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_S390X""#;
        assert_eq!(read(&text(native, hidden)).unwrap(), (false, vec![("chmod".to_owned(), 0, refused)]));
        assert!(read(&text(r#""SCMP_ARCH_X86""#, hidden)).unwrap().0);
        let error = read(&text(r#""SCMP_ARCH_X86""#, &rule(&[test(0, 38)]))).unwrap_err();
        assert!(error.contains("leave SCMP_ARCH_X86 out"), "{error}");
        assert!(read(&text(r#""SCMP_ARCH_VAX""#, hidden)).unwrap_err().contains("VAX"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let rule = |inside: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{inside}]}}"#);
        for (text, message) in [
            ("{".to_owned(), "cannot be read"),
            ("{}".to_owned(), "missing field `defaultAction`"),
            (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#.to_owned(), "\"SCMP_ACT_NOTIFY\", which is not supported"),
            (r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}"#.to_owned(), "has 4096 as an error"),
            (r#"{"defaultAction": "SCMP_ACT_ALLOW", "archMap": []}"#.to_owned(), "unknown field `archMap`"),
            (r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}"#.to_owned(), "the flag \"X\""),
            (
                rule(r#"{"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}"#),
                "\"no_such_call\", which is not known, in its syscalls[0] (no_such_call)",
            ),
            (rule(r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "includes": {}}"#), "unknown field `includes`"),
            (
                rule(
                    r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}"#,
                ),
                "the argument 6 of a call, which has 0 to 5, in its syscalls[0] (read)",
            ),
            (
                rule(
                    r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}"#,
                ),
                "is never 0x2",
            ),
        ] {
            assert!(told(&text).contains(message), "{text}: {}", told(&text));
        }
        // Allowed or not, a call that does not exist gets the default.
        let text = rule(r#"{"names": ["no_such_call"], "action": "SCMP_ACT_ALLOW", "comment": "later"}"#);
        assert!(Document::read(&text).unwrap().filter().unwrap().rules.is_empty());
    }
}
