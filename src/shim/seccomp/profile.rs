//! RuntimeDefault: what a container may ask of the kernel when nobody says otherwise.
//!
//! The profile that containerd (contrib/seccomp), moby (profiles/seccomp) and, with few differences, podman share, as of
//! 2026: every call is refused with EPERM but those named here. It knows neither io_uring nor the kernel's keyrings, and
//! no `socket` of the families that lead to the kernel's ciphers (CVE-2026-31431) or to the hypervisor. As there, that is no
//! wall: 32-bit programs have `socketcall`, whose arguments are in memory, where no filter can look. Which calls their
//! tables ask a kernel of version 4.8 for are simply allowed: podwright runs on none that is older.

use super::filter::{Action, Comparison, ENOSYS, Filter, Rule, Test};

/// Allowed to every container.
const ALLOWED: &str = "\
    _llseek _newselect accept accept4 access adjtimex alarm arch_prctl arm_fadvise64_64 bind breakpoint brk \
    cacheflush cachestat capget capset chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres \
    clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range \
    connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait \
    epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 \
    fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl \
    fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs \
    fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake \
    futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 \
    getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom \
    getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid \
    gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch \
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get \
    ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr \
    link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lsm_get_self_attr \
    lsm_list_modules lsm_set_self_attr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret \
    mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt mprotect mq_getsetattr mq_notify \
    mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl \
    msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 \
    pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl \
    pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 \
    ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 \
    recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq \
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity \
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 \
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop \
    semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area \
    set_tid_address set_tls setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer \
    setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 \
    setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack \
    signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount \
    statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs sysinfo tee tgkill time timer_create \
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit \
    umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid \
    waitpid write writev";

/// Allowed to containers that have the capability in their bounding set.
const WITH_CAPABILITY: &[(&str, &str)] = &[
    ("BPF", "bpf"),
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    ("PERFMON", "perf_event_open"),
    (
        ADMIN,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("SYSLOG", "syslog"),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("SYS_RAWIO", "ioperm iopl"),
    ("SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("SYS_TTY_CONFIG", "vhangup"),
];
const ADMIN: &str = "SYS_ADMIN";

/// The personalities of ordinary programs, of old ones (`UNAME26`, `PER_LINUX32`), and the question for the present one.
const PERSONALITIES: [u32; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, u32::MAX];

/// The kernel's ciphers, and the way to the hypervisor.
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;

/// Of the flags of `clone`, those for new namespaces: of mounts, cgroups, host name, IPC, users, processes, network.
const CLONE_NEW: u32 = 0x7e02_0000;

const EPERM: u16 = 1;

/// Of the first argument, which is a number of 32 bits whatever the upper half of the register holds.
fn first(mask: u32, comparison: Comparison, value: u32) -> Test {
    Test { argument: 0, mask: mask.into(), comparison, value: value.into() }
}

/// Of these capabilities, those that make a difference.
pub(super) fn differing(has: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static str> {
    WITH_CAPABILITY.iter().map(|(capability, _)| *capability).filter(move |capability| has(capability))
}

/// The filter of a container whose bounding set has these capabilities, named without `CAP_`.
pub(super) fn runtime_default(has: impl Fn(&str) -> bool) -> Filter<'static> {
    let allow = |name, tests| Rule { name, tests, action: Action::Allow };
    let mut rules: Vec<Rule<'_>> = ALLOWED.split_whitespace().map(|name| allow(name, Vec::new())).collect();
    for (_, names) in WITH_CAPABILITY.iter().filter(|(capability, _)| has(capability)) {
        rules.extend(names.split_whitespace().map(|name| allow(name, Vec::new())));
    }
    let equal = Comparison::Equal;
    rules.extend(PERSONALITIES.map(|value| allow("personality", vec![first(u32::MAX, equal, value)])));
    let other = Comparison::NotEqual;
    rules.push(allow("socket", vec![first(u32::MAX, other, AF_ALG), first(u32::MAX, other, AF_VSOCK)]));
    if !has(ADMIN) {
        rules.push(allow("clone", vec![first(CLONE_NEW, equal, 0)]));
        // Its flags are in memory, where a filter cannot look. This answer makes the C libraries use `clone` instead.
        rules.push(Rule { name: "clone3", tests: Vec::new(), action: Action::Errno(ENOSYS) });
    }
    Filter { default: Action::Errno(EPERM), is_for_32_bit: true, rules }
}

#[cfg(test)]
mod tests {
    use super::super::numbers;
    use super::*;

    #[test]
    fn every_call_has_a_number() {
        let named = WITH_CAPABILITY.iter().flat_map(|(_, names)| names.split_whitespace());
        for name in ALLOWED.split_whitespace().chain(named).chain(["personality", "socket"]) {
            assert!(numbers::of(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_list_is_in_order_and_has_nothing_twice() {
        let names: Vec<&str> = ALLOWED.split_whitespace().collect();
        assert!(names.is_sorted_by(|a, b| a < b));
    }
}
