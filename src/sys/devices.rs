//! Device rules of a cgroup. Version 1 has a controller for them; version 2 takes a small BPF program, which this file
//! assembles: the last rule that matches decides, and what no rule matches is denied.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::libc;

use super::cgroup::{self, DevicesDir};
use super::effect;

/// What a device rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Block,
    Char,
}

/// Read, write and make (`mknod`), as the kernel numbers them.
pub(crate) const MAKE: u32 = 1;
pub(crate) const READ: u32 = 2;
pub(crate) const WRITE: u32 = 4;
pub(crate) const EVERYTHING: u32 = MAKE | READ | WRITE;

/// One rule. `None` stands for every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    pub(crate) kind: Kind,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) access: u32,
}

impl Rule {
    const fn allow(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u32) -> Self {
        Self { allow: true, kind, major, minor, access }
    }
}

/// What every container may use, whatever its rules: the list that runc gives version 1. A node may be
/// made for any device; without a rule for that device it cannot be opened.
pub(crate) const DEFAULT: [Rule; 12] = [
    Rule::allow(Kind::Char, None, None, MAKE),
    Rule::allow(Kind::Block, None, None, MAKE),
    Rule::allow(Kind::Char, Some(1), Some(3), EVERYTHING),
    Rule::allow(Kind::Char, Some(1), Some(5), EVERYTHING),
    Rule::allow(Kind::Char, Some(1), Some(7), EVERYTHING),
    Rule::allow(Kind::Char, Some(1), Some(8), EVERYTHING),
    Rule::allow(Kind::Char, Some(1), Some(9), EVERYTHING),
    Rule::allow(Kind::Char, Some(5), Some(0), EVERYTHING),
    Rule::allow(Kind::Char, Some(5), Some(1), EVERYTHING),
    Rule::allow(Kind::Char, Some(5), Some(2), EVERYTHING),
    Rule::allow(Kind::Char, Some(136), None, EVERYTHING),
    Rule::allow(Kind::Char, Some(10), Some(200), EVERYTHING),
];

/// The registers: the result, two for work (the first one comes in with the question), and the parts of the question.
const RESULT: u8 = 0;
const WORK: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The kernel's numbers for kinds of devices, in the lower half of the first word of the question.
const BLOCK: u32 = 1;
const CHAR: u32 = 2;

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbc;
const MOVE_NUMBER: u8 = 0xb4;
const AND_NUMBER: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// One instruction as the kernel reads it, on a little-endian machine: both that podwright runs pods on are.
fn instruction(code: u8, to: u8, from: u8, offset: i16, number: u32) -> u64 {
    let offset = u16::from_ne_bytes(offset.to_ne_bytes());
    u64::from(code) | u64::from(to | from << 4) << 8 | u64::from(offset) << 16 | u64::from(number) << 32
}

fn assemble(rules: &[Rule]) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_WORD, KIND, WORK, 0, 0),
        instruction(MOVE, ACCESS, KIND, 0, 0),
        instruction(AND_NUMBER, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, WORK, 4, 0),
        instruction(LOAD_WORD, MINOR, WORK, 8, 0),
    ];
    for rule in rules.iter().rev() {
        // Each is a list of conditions, any of which leads on to the next rule, and the verdict.
        let mut conditions = Vec::new();
        match rule.kind {
            Kind::Any => {}
            Kind::Block => conditions.push((JUMP_IF_NOT_EQUAL, KIND, BLOCK)),
            Kind::Char => conditions.push((JUMP_IF_NOT_EQUAL, KIND, CHAR)),
        }
        conditions.extend(rule.major.map(|n| (JUMP_IF_NOT_EQUAL, MAJOR, n)));
        conditions.extend(rule.minor.map(|n| (JUMP_IF_NOT_EQUAL, MINOR, n)));
        // Everything asked for must be allowed; anything asked for can be denied.
        let (mask, jump) = if rule.allow {
            (!rule.access & EVERYTHING, JUMP_IF_NOT_EQUAL)
        } else {
            (rule.access & EVERYTHING, JUMP_IF_EQUAL)
        };
        let verdict = 2;
        let mut left = i16::try_from(conditions.len()).unwrap_or(0) + 3 + verdict;
        for (code, register, number) in conditions {
            left -= 1;
            program.push(instruction(code, register, 0, left, number));
        }
        program.extend([
            instruction(MOVE, WORK, ACCESS, 0, 0),
            instruction(AND_NUMBER, WORK, 0, 0, mask),
            instruction(jump, WORK, 0, verdict, 0),
            instruction(MOVE_NUMBER, RESULT, 0, 0, u32::from(rule.allow)),
            instruction(EXIT, 0, 0, 0, 0),
        ]);
    }
    program.extend([instruction(MOVE_NUMBER, RESULT, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    program
}

/// `BPF_PROG_LOAD` with its arguments, as far as they are used.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// `BPF_PROG_ATTACH` with its arguments.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Beside the programs of cgroups above: each of them must allow.
const ALLOW_MULTI: u32 = 2;

/// # Safety
/// `arguments` are those of the command, and memory they point to is valid.
unsafe fn bpf<T>(command: libc::c_int, arguments: &T) -> io::Result<i32> {
    // SAFETY: as promised by the caller; the size is that of the arguments.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *arguments, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Applies the rules, the last that matches deciding, to a cgroup and what is below it. They stay as long as the cgroup does.
///
/// # Errors
/// From the system: `EPERM` without the capability, `EINVAL` when the kernel has no such programs. `Unsupported` when nobody
/// keeps the rules and they forbid anything.
pub(crate) fn restrict(path: &str, rules: &[Rule]) -> io::Result<()> {
    match cgroup::devices_dir(path)? {
        Some(DevicesDir::One(dir)) => {
            let open = |name: &str| effect::open_existing(&dir.join(name));
            let (allow, deny) = (open("devices.allow")?, open("devices.deny")?);
            // Each is a call of its own: the kernel takes one rule at a time.
            let write =
                |rule: &Rule| effect::write(if rule.allow { &allow } else { &deny }, rule.to_string().as_bytes());
            rules.iter().try_for_each(write)
        }
        Some(DevicesDir::Two(dir)) => attach(&dir, rules),
        None => without_controller(rules),
    }
}

/// A machine whose cgroups know no devices: a container may use all of them there.
fn without_controller(rules: &[Rule]) -> io::Result<()> {
    let everything = Rule::allow(Kind::Any, None, None, EVERYTHING);
    if rules.contains(&everything) && rules.iter().all(|rule| rule.allow) {
        return Ok(());
    }
    let message = "no hierarchy of cgroups has the controller `devices`: mount one that has, or version 2 of cgroups";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

impl fmt::Display for Rule {
    /// As version 1 takes it: `c 1:3 rwm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Any => 'a',
            Kind::Block => 'b',
            Kind::Char => 'c',
        };
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let letters = [(READ, 'r'), (WRITE, 'w'), (MAKE, 'm')].into_iter().filter(|(one, _)| self.access & one != 0);
        let letters: String = letters.map(|(_, letter)| letter).collect();
        write!(f, "{kind} {}:{} {letters}", number(self.major), number(self.minor))
    }
}

/// Version 2: the rules as a program.
fn attach(cgroup: &Path, rules: &[Rule]) -> io::Result<()> {
    let dir = File::open(cgroup)?;
    let program = assemble(rules);
    let load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the program and the license, which ends with a zero byte, outlive the call; there is no log.
    let fd = unsafe { bpf(PROG_LOAD, &load) }?;
    // SAFETY: the kernel has just made this descriptor for us, closed on exec.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let number = |fd: i32| u32::try_from(fd).map_err(io::Error::other);
    let attach = Attach {
        target: number(dir.as_raw_fd())?,
        program: number(program.as_raw_fd())?,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: takes numbers.
    effect::effect("attach bpf", cgroup, || unsafe { bpf(PROG_ATTACH, &attach) }.map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's interpreter does with the few instructions in use.
    fn ask(program: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let question = [kind | access << 16, major, minor];
        let mut registers = [0u32; 6];
        let mut at = 0;
        loop {
            let word = program[at];
            let (code, to, from) = (word as u8, (word >> 8 & 0xf) as usize, (word >> 12 & 0xf) as usize);
            let (offset, number) = ((word >> 16) as u16 as usize, (word >> 32) as u32);
            at += 1;
            match code {
                LOAD_WORD => registers[to] = question[offset / 4],
                MOVE => registers[to] = registers[from],
                MOVE_NUMBER => registers[to] = number,
                AND_NUMBER => registers[to] &= number,
                SHIFT_RIGHT => registers[to] >>= number,
                JUMP_IF_EQUAL => at += if registers[to] == number { offset } else { 0 },
                JUMP_IF_NOT_EQUAL => at += if registers[to] != number { offset } else { 0 },
                EXIT => return registers[0] != 0,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn version_1_takes_rules_as_text() {
        let deny = Rule { allow: false, kind: Kind::Any, major: None, minor: None, access: EVERYTHING };
        assert_eq!(deny.to_string(), "a *:* rwm");
        assert_eq!(DEFAULT[0].to_string(), "c *:* m");
        assert_eq!(DEFAULT[2].to_string(), "c 1:3 rwm");
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let deny = Rule { allow: false, kind: Kind::Any, major: None, minor: None, access: EVERYTHING };
        let disk = Rule { allow: true, kind: Kind::Block, major: Some(8), minor: None, access: READ };
        let not_this = Rule { allow: false, kind: Kind::Block, major: Some(8), minor: Some(1), access: WRITE | READ };
        let rules: Vec<Rule> = [deny, disk, not_this].into_iter().chain(DEFAULT).collect();
        let program = assemble(&rules);
        for (kind, access, major, minor, expected) in [
            (CHAR, READ | WRITE, 1, 3, true),
            (CHAR, EVERYTHING, 136, 77, true),
            (CHAR, READ, 1, 1, false),
            (CHAR, MAKE, 1, 1, true),
            (CHAR, MAKE | READ, 1, 1, false),
            (BLOCK, READ, 8, 0, true),
            (BLOCK, READ | WRITE, 8, 0, false),
            (BLOCK, READ, 8, 1, false),
            (BLOCK, READ, 1, 3, false),
        ] {
            assert_eq!(ask(&program, kind, access, major, minor), expected, "{kind} {access} {major}:{minor}");
        }
        let all = assemble(&[deny, Rule { allow: true, ..deny }]);
        assert!(ask(&all, BLOCK, EVERYTHING, 8, 0));
        assert!(!ask(&assemble(&[]), CHAR, READ, 1, 3));
    }

    #[test]
    fn without_a_controller_only_those_who_may_use_all_devices_go_on() {
        let every = Rule::allow(Kind::Any, None, None, EVERYTHING);
        let deny = Rule { allow: false, ..every };
        let with_defaults = |rules: &[Rule]| rules.iter().chain(&DEFAULT).copied().collect::<Vec<_>>();
        without_controller(&with_defaults(&[every])).unwrap();
        for rules in [&[deny][..], &[], &[every, deny], &[deny, every], &[Rule { access: READ, ..every }]] {
            let error = without_controller(&with_defaults(rules)).unwrap_err();
            assert!(error.to_string().contains("controller `devices`"), "{error}");
        }
    }
}
