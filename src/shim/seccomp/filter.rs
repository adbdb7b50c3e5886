//! From rules about system calls to a program for the kernel: classic BPF.
//!
//! For each kind of program that can run on the machine the numbers of calls are searched like a sorted list, so the longest
//! way through the filter is a dozen instructions; and the kernel notes at loading which calls are always allowed, and does
//! not run the filter for these at all (since Linux 5.11).

use super::numbers;
use crate::sys::seccomp::Instruction;

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    /// Allowed, and told to the audit log.
    Log,
    /// The call is not made and gives this error.
    Errno(u16),
    /// The call is not made; the program gets SIGSYS.
    Trap,
    KillThread,
    KillProcess,
}

/// How an argument is compared; unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What must be true of an argument.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    /// From 0 to 5.
    pub(super) argument: u8,
    /// The bits that are looked at: all, where it is not about being equal.
    pub(super) mask: u64,
    pub(super) comparison: Comparison,
    pub(super) value: u64,
}

/// One rule. Of several rules for one call the first one counts whose tests all hold.
#[derive(Clone, Debug)]
pub(super) struct Rule<'a> {
    pub(super) name: &'a str,
    pub(super) tests: Vec<Test>,
    pub(super) action: Action,
}

/// A whole filter.
#[derive(Clone, Debug)]
pub(super) struct Filter<'a> {
    /// For calls without a rule that holds.
    pub(super) default: Action,
    /// Whether 32-bit programs may make calls at all; those that are refused as a whole are killed.
    pub(super) is_for_32_bit: bool,
    pub(super) rules: Vec<Rule<'a>>,
}

impl Filter<'_> {
    /// For calls that are newer than [`numbers`]: where others are refused with an error, the one that makes the C libraries
    /// use an older call.
    fn unknown(&self) -> Action {
        if matches!(self.default, Action::Errno(_)) { Action::Errno(ENOSYS) } else { self.default }
    }
}

/// Where the kernel puts what a filter can look at (`struct seccomp_data`).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Instructions, by their names in `linux/filter.h`.
const LD_W_ABS: u16 = 0x20;
const ALU_AND_K: u16 = 0x54;
const JMP_JA: u16 = 0x05;
const JMP_JEQ_K: u16 = 0x15;
const JMP_JGT_K: u16 = 0x25;
const JMP_JGE_K: u16 = 0x35;
const RET_K: u16 = 0x06;

const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_KILL_THREAD: u32 = 0;
const RET_TRAP: u32 = 0x0003_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

/// The architectures whose programs run on this one (`linux/audit.h`), and which column of [`numbers`] is theirs.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [(u32, usize); 2] = [(0xc000_003e, 0), (0x4000_0003, 1)];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: [(u32, usize); 2] = [(0xc000_00b7, 2), (0x4000_0028, 3)];

fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// Goes on `yes` instructions later when the comparison holds, else `no`.
fn jump(code: u16, k: u32, yes: u8, no: u8) -> Instruction {
    Instruction { code, jt: yes, jf: no, k }
}

fn verdict(action: Action) -> Instruction {
    plain(
        RET_K,
        match action {
            Action::Allow => RET_ALLOW,
            Action::Log => RET_LOG,
            Action::Errno(number) => RET_ERRNO | u32::from(number),
            Action::Trap => RET_TRAP,
            Action::KillThread => RET_KILL_THREAD,
            Action::KillProcess => RET_KILL_PROCESS,
        },
    )
}

/// On x86_64, the numbers of calls of x32 programs begin here; no list of numbers knows these, so they are never made.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;
pub(super) const ENOSYS: u16 = 38;

/// An offset over instructions; a conditional jump reaches no further than a byte.
fn over(code: &[Instruction]) -> u32 {
    u32::try_from(code.len()).unwrap_or(u32::MAX)
}

/// A test, followed by `rest`, to which it leads when it holds. Otherwise it leads to what comes after `rest`.
fn test(test: &Test, rest: Vec<Instruction>) -> Vec<Instruction> {
    let after = u8::try_from(rest.len()).unwrap_or(u8::MAX);
    let mut code = match test.comparison {
        Comparison::Equal => equal(test, after),
        Comparison::NotEqual => not_equal(test, after),
        Comparison::Less => ordered(test, JMP_JGE_K, false, after),
        Comparison::LessOrEqual => ordered(test, JMP_JGT_K, false, after),
        Comparison::Greater => ordered(test, JMP_JGT_K, true, after),
        Comparison::GreaterOrEqual => ordered(test, JMP_JGE_K, true, after),
    };
    code.extend(rest);
    code
}

/// Place, mask and value of each half of an argument, the upper one first. The lower one stands first.
fn halves(test: &Test) -> [(u32, u32, u32); 2] {
    let at = ARGUMENTS + 8 * u32::from(test.argument);
    [(at + 4, (test.mask >> 32) as u32, (test.value >> 32) as u32), (at, test.mask as u32, test.value as u32)]
}

/// Both halves must be equal, each as far as the mask has bits there.
fn equal(test: &Test, after: u8) -> Vec<Instruction> {
    let checked: Vec<_> = halves(test).into_iter().filter(|(_, mask, _)| *mask != 0).collect();
    let mut code = Vec::new();
    for (index, (place, mask, value)) in checked.iter().enumerate() {
        let left = 3 * u8::try_from(checked.len() - 1 - index).unwrap_or(0);
        let differs = after.saturating_add(left);
        code.extend([plain(LD_W_ABS, *place), plain(ALU_AND_K, *mask), jump(JMP_JEQ_K, *value, 0, differs)]);
    }
    code
}

/// One half that differs is enough.
fn not_equal(test: &Test, after: u8) -> Vec<Instruction> {
    let checked: Vec<_> = halves(test).into_iter().filter(|(_, mask, _)| *mask != 0).collect();
    let mut code = Vec::new();
    for (index, (place, mask, value)) in checked.iter().enumerate() {
        let left = 3 * u8::try_from(checked.len() - 1 - index).unwrap_or(0);
        let same = if left == 0 { after } else { 0 };
        code.extend([plain(LD_W_ABS, *place), plain(ALU_AND_K, *mask), jump(JMP_JEQ_K, *value, same, left)]);
    }
    code
}

/// The upper half decides unless it is equal; then `comparison` of the lower one must be `wanted`.
fn ordered(test: &Test, comparison: u16, wanted: bool, after: u8) -> Vec<Instruction> {
    let [(upper, _, high), (lower, _, low)] = halves(test);
    // From each instruction on to `rest`, and past it.
    let leads = |instructions_left: u8, holds: bool| {
        if holds { instructions_left } else { after.saturating_add(instructions_left) }
    };
    vec![
        plain(LD_W_ABS, upper),
        jump(JMP_JGT_K, high, leads(3, wanted), 0),
        jump(JMP_JEQ_K, high, 0, leads(2, !wanted)),
        plain(LD_W_ABS, lower),
        jump(comparison, low, leads(0, wanted), leads(0, !wanted)),
    ]
}

/// The rules of one call, the first one first; at the end what counts when none of them holds.
fn rules(rules: &[&Rule<'_>], default: Action) -> Vec<Instruction> {
    let mut code = Vec::new();
    for rule in rules {
        let own = rule.tests.iter().rev().fold(vec![verdict(rule.action)], |rest, t| test(t, rest));
        code.extend(own);
        if rule.tests.is_empty() {
            return code;
        }
    }
    code.push(verdict(default));
    code
}

/// Numbers from one on, up to the next range, and what is done about them.
struct Range {
    from: u32,
    code: Vec<Instruction>,
}

fn same(a: &[Instruction], b: &[Instruction]) -> bool {
    let parts = |i: &Instruction| (i.code, i.jt, i.jf, i.k);
    a.iter().map(parts).eq(b.iter().map(parts))
}

/// The numbers of one architecture in ranges that are treated alike, without gaps.
fn ranges(filter: &Filter<'_>, column: usize) -> Vec<Range> {
    let mut by_number: std::collections::BTreeMap<u32, Vec<&Rule<'_>>> = std::collections::BTreeMap::new();
    for rule in &filter.rules {
        let number = numbers::of(rule.name).and_then(|n| u32::try_from(n[column]).ok());
        if let Some(number) = number {
            by_number.entry(number).or_default().push(rule);
        }
    }
    let mut out: Vec<Range> = Vec::new();
    let mut add = |from: u32, code: Vec<Instruction>| match out.last() {
        Some(last) if same(&last.code, &code) => {}
        _ => out.push(Range { from, code }),
    };
    let mut next = 0;
    let gap = |from: u32, to: u32, add: &mut dyn FnMut(u32, Vec<Instruction>)| {
        if from < to && from <= numbers::LAST {
            add(from, vec![verdict(filter.default)]);
        }
        if to > numbers::LAST + 1 && from.max(numbers::LAST + 1) < to {
            add(from.max(numbers::LAST + 1), vec![verdict(filter.unknown())]);
        }
    };
    for (number, own) in by_number {
        gap(next, number, &mut add);
        add(number, rules(&own, filter.default));
        next = number + 1;
    }
    gap(next, u32::MAX, &mut add);
    #[cfg(target_arch = "x86_64")]
    if column == 0 {
        add(X32, vec![verdict(Action::Errno(ENOSYS))]);
    }
    out
}

/// Finds the range of the number that has been loaded.
fn search(ranges: &[Range]) -> Vec<Instruction> {
    match ranges {
        [] => Vec::new(),
        [only] => only.code.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let (below, from) = (search(low), high[0].from);
            let mut code = vec![jump(JMP_JGE_K, from, 0, 1), plain(JMP_JA, over(&below))];
            if let Ok(near) = u8::try_from(below.len()) {
                code = vec![jump(JMP_JGE_K, from, near, 0)];
            }
            code.extend(below);
            code.extend(search(high));
            code
        }
    }
}

/// The program of a filter for this machine.
pub(super) fn compile(filter: &Filter<'_>) -> Vec<Instruction> {
    let mut code = vec![plain(LD_W_ABS, ARCHITECTURE)];
    for (architecture, column) in ARCHITECTURES.into_iter().take(if filter.is_for_32_bit { 2 } else { 1 }) {
        let own = search(&ranges(filter, column));
        code.extend([jump(JMP_JEQ_K, architecture, 1, 0), plain(JMP_JA, over(&own) + 1), plain(LD_W_ABS, NUMBER)]);
        code.extend(own);
    }
    // No program of another kind can run here, or may.
    code.push(plain(RET_K, RET_KILL_PROCESS));
    code
}

#[cfg(test)]
mod tests {
    use super::super::profile;
    use super::*;

    const ALLOWED: u32 = RET_ALLOW;
    const REFUSED: u32 = RET_ERRNO | 1;
    const ABSENT: u32 = RET_ERRNO | 38;

    /// What a program says about a call, and after how many instructions.
    fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
        let load = |at: u32| match at {
            NUMBER => number,
            ARCHITECTURE => architecture,
            _ => {
                let argument = arguments[((at - ARGUMENTS) / 8) as usize];
                if at.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
        };
        let (mut at, mut held, mut steps) = (0, 0, 0);
        loop {
            let i = program[at];
            at += 1;
            steps += 1;
            let chosen = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                LD_W_ABS => held = load(i.k),
                ALU_AND_K => held &= i.k,
                JMP_JA => at += i.k as usize,
                JMP_JEQ_K => at += chosen(held == i.k),
                JMP_JGE_K => at += chosen(held >= i.k),
                JMP_JGT_K => at += chosen(held > i.k),
                RET_K => return (i.k, steps),
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    fn program(capabilities: &[&str]) -> Vec<Instruction> {
        compile(&profile::runtime_default(|name| capabilities.contains(&name)))
    }

    /// What a program says about a call by name, on the architecture of a place in [`ARCHITECTURES`].
    fn say_on(place: usize, program: &[Instruction], name: &str, arguments: &[u64]) -> u32 {
        let (architecture, column) = ARCHITECTURES[place];
        let number = u32::try_from(numbers::of(name).unwrap()[column]).unwrap();
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        run(program, architecture, number, all).0
    }

    fn say(program: &[Instruction], name: &str, arguments: &[u64]) -> u32 {
        say_on(0, program, name, arguments)
    }

    #[test]
    fn each_call_of_each_architecture_is_found() {
        let plain = program(&[]);
        let filter = profile::runtime_default(|_| false);
        for (place, (_, column)) in ARCHITECTURES.into_iter().enumerate() {
            for (name, numbers) in numbers::NUMBERS.iter().filter(|(_, n)| n[column] >= 0) {
                // 32-bit architectures have two names for some numbers.
                let rules = filter.rules.iter().filter(|r| numbers::of(r.name).unwrap()[column] == numbers[column]);
                let expected = match rules.map(|r| (r.tests.is_empty(), r.action)).next() {
                    None => REFUSED,
                    Some((true, Action::Allow)) => ALLOWED,
                    Some((true, action)) => verdict(action).k,
                    // All arguments zero: an ordinary personality, no new namespace, an unspecific socket.
                    Some((false, _)) => ALLOWED,
                };
                assert_eq!(say_on(place, &plain, name, &[]), expected, "{name} on {place}");
            }
        }
        for name in ["keyctl", "add_key", "io_uring_setup", "mount", "unshare", "setns", "bpf", "reboot", "kexec_load"]
        {
            assert_eq!(say(&plain, name, &[]), REFUSED, "{name}");
        }
        assert_eq!(say(&plain, "clone3", &[]), ABSENT);
    }

    #[test]
    fn capabilities_open_their_calls_and_no_others() {
        for (capability, open, closed) in [
            ("SYS_ADMIN", "mount", "reboot"),
            ("SYS_BOOT", "reboot", "mount"),
            ("SYS_CHROOT", "chroot", "mount"),
            ("SYS_TIME", "clock_settime", "acct"),
            ("BPF", "bpf", "perf_event_open"),
            ("SYS_PTRACE", "kcmp", "bpf"),
        ] {
            assert_eq!(say(&program(&[]), open, &[]), REFUSED, "{open}");
            assert_eq!(say(&program(&[capability]), open, &[]), ALLOWED, "{open} with {capability}");
            assert_eq!(say(&program(&[capability]), closed, &[]), REFUSED, "{closed} with {capability}");
        }
    }

    #[test]
    fn arguments_decide_where_the_profile_says_so() {
        const NEW_USER: u64 = 0x1000_0000;
        const HIGH: u64 = 1 << 32;
        let (plain, admin) = (program(&[]), program(&["SYS_ADMIN"]));
        for (name, argument, expected) in [
            ("clone", 0x11, ALLOWED),
            ("clone", NEW_USER | 0x11, REFUSED),
            ("clone", NEW_USER | HIGH, REFUSED),
            ("clone", 0x0200_0000, REFUSED),
            ("personality", 0, ALLOWED),
            ("personality", 0xffff_ffff, ALLOWED),
            ("personality", 0x2_0008, ALLOWED),
            ("personality", 0x4_0000, REFUSED),
            ("socket", 2, ALLOWED),
            ("socket", 38, REFUSED),
            ("socket", 39, ALLOWED),
            ("socket", 40, REFUSED),
            ("socket", 40 | HIGH, REFUSED),
            ("socket", 41, ALLOWED),
        ] {
            for place in 0..ARCHITECTURES.len() {
                assert_eq!(say_on(place, &plain, name, &[argument]), expected, "{name} {argument:#x} on {place}");
            }
        }
        assert_eq!(say(&admin, "clone", &[NEW_USER]), ALLOWED);
        assert_eq!(say(&admin, "clone3", &[]), ALLOWED);
        assert_eq!(say(&admin, "socket", &[38]), REFUSED);
    }

    #[test]
    fn both_halves_of_an_argument_are_compared() {
        let wide = 0x1_0000_0002;
        for (comparison, argument, holds) in [
            (Comparison::Equal, wide, true),
            (Comparison::Equal, 2, false),
            (Comparison::Equal, 0x1_0000_0003, false),
            (Comparison::NotEqual, wide, false),
            (Comparison::NotEqual, 2, true),
            (Comparison::NotEqual, 0x1_0000_0003, true),
            (Comparison::Less, wide, false),
            (Comparison::Less, 0x1_0000_0001, true),
            (Comparison::Less, 0xffff_ffff, true),
            (Comparison::Less, 0x2_0000_0000, false),
            (Comparison::LessOrEqual, wide, true),
            (Comparison::LessOrEqual, 0x1_0000_0003, false),
            (Comparison::LessOrEqual, 7, true),
            (Comparison::LessOrEqual, 0x2_0000_0000, false),
            (Comparison::Greater, wide, false),
            (Comparison::Greater, 0x1_0000_0003, true),
            (Comparison::Greater, 0xffff_ffff, false),
            (Comparison::Greater, 0x2_0000_0000, true),
            (Comparison::GreaterOrEqual, wide, true),
            (Comparison::GreaterOrEqual, 0x1_0000_0001, false),
            (Comparison::GreaterOrEqual, 7, false),
            (Comparison::GreaterOrEqual, 0x2_0000_0000, true),
        ] {
            let test = |argument| Test { argument, mask: u64::MAX, comparison, value: wide };
            let rule = Rule { name: "ioctl", tests: vec![test(1), test(5)], action: Action::Allow };
            let default = Action::Errno(1);
            let filter = Filter { default, is_for_32_bit: true, rules: vec![rule] };
            let program = compile(&filter);
            let expected = if holds { ALLOWED } else { REFUSED };
            assert_eq!(
                say(&program, "ioctl", &[0, argument, 0, 0, 0, argument]),
                expected,
                "{comparison:?} {argument:x}"
            );
            if comparison == Comparison::Equal {
                assert_eq!(say(&program, "ioctl", &[0, wide, 0, 0, 0, 7]), REFUSED, "all tests of a rule must hold");
            }
        }
    }

    #[test]
    fn calls_of_later_kernels_and_other_machines_are_told_apart() {
        let plain = program(&[]);
        let (own, _) = ARCHITECTURES[0];
        for number in [numbers::LAST + 1, 0x4000_0000, u32::MAX] {
            assert_eq!(run(&plain, own, number, [0; 6]).0, ABSENT, "{number:#x}");
        }
        assert_eq!(run(&plain, 0x8000_0016, 1, [0; 6]).0, RET_KILL_PROCESS);
    }

    #[test]
    fn the_program_is_small_and_the_way_through_it_short() {
        let plain = program(&[]);
        // The kernel takes 4096 instructions.
        assert!(plain.len() < 600, "{}", plain.len());
        let (own, _) = ARCHITECTURES[0];
        let longest = (0..600).map(|number| run(&plain, own, number, [1 << 63; 6]).1).max();
        assert!(longest < Some(30), "{longest:?}");
    }
}
