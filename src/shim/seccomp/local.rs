//! Profiles of one's own: the document that the OCI runtime specification calls `linux.seccomp`.

use serde::Deserialize;

use super::filter::{Action, Comparison, Filter, Rule, Test};
use super::numbers;

const EPERM: u32 = 1;
const ENOSYS: u16 = 38;
/// The largest error number the kernel gives to programs.
const MAX_ERRNO: u32 = 4095;
/// Tests of one rule; a call has six arguments.
const MAX_TESTS: usize = 16;
/// Argument tests in the whole document: the program must stay within what the kernel takes.
const MAX_RULES: usize = 2048;
/// Flags that change nothing here: it is one thread, and without the costly defences anyway.
const FLAGS: [&str; 2] = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"];

/// A profile. What it may have and is not known here is refused: it could be a condition.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    default_action: String,
    default_errno_ret: Option<u32>,
    /// The rules hold for every kind of program that can run here, named or not.
    #[serde(default, rename = "architectures")]
    _architectures: Vec<String>,
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
        let mut rules = Vec::new();
        for entry in &self.syscalls {
            let action = action(&entry.action, entry.errno_ret)?;
            let tests = tests(entry.args.as_deref().unwrap_or_default())?;
            for name in &entry.names {
                match numbers::of(name) {
                    Some(_) => rules.push(Rule { name, tests: tests.clone(), action }),
                    None if action == Action::Allow => {}
                    None => {
                        return Err(format!("the seccomp profile names the system call {name:?}, which is not known"));
                    }
                }
            }
        }
        if rules.iter().filter(|rule| !rule.tests.is_empty()).count() > MAX_RULES {
            return Err(format!("the seccomp profile has more than {MAX_RULES} rules about arguments"));
        }
        let unknown = if matches!(default, Action::Errno(_)) { Action::Errno(ENOSYS) } else { default };
        Ok(Filter { default, unknown, rules })
    }
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, String> {
    let number = |errno: Option<u32>| {
        let errno = errno.unwrap_or(EPERM);
        u16::try_from(errno).ok().filter(|_| errno <= MAX_ERRNO).ok_or(format!("{errno} is no error number"))
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
        return Err(format!("a system call has no argument {}", argument.index));
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
        return Err(format!("an argument masked with {mask:#x} is never {value:#x}"));
    }
    Ok(Test { argument: argument.index, mask, comparison, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        Document::read(text).and_then(|d| d.filter().map(drop)).unwrap_err()
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let rule = |inside: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{inside}]}}"#);
        for (text, message) in [
            ("{".to_owned(), "cannot be read"),
            ("{}".to_owned(), "missing field `defaultAction`"),
            (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#.to_owned(), "\"SCMP_ACT_NOTIFY\", which is not supported"),
            (r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}"#.to_owned(), "4096 is no error number"),
            (r#"{"defaultAction": "SCMP_ACT_ALLOW", "archMap": []}"#.to_owned(), "unknown field `archMap`"),
            (r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}"#.to_owned(), "the flag \"X\""),
            (
                rule(r#"{"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}"#),
                "\"no_such_call\", which is not known",
            ),
            (rule(r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "includes": {}}"#), "unknown field `includes`"),
            (
                rule(
                    r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}"#,
                ),
                "no argument 6",
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
