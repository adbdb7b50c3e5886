# shellcheck shell=bash
# What run.sh, rest.sh and probes.sh have in common: each sets `self`, its name, and sources this in the directory of the clone.

image=${CARGO_TARGET_DIR:-$PWD/target}/test-images/busybox.tar
# What the pods run, recognisable among all processes; its memory is not counted.
readonly workload=987654321
# Where the kernel counts CPU time.
counter=/sys/fs/cgroup
[ ! -d $counter/cpuacct ] || counter=$counter/cpuacct

cannot() { echo "$self: $*" >&2; exit 77; }

needs() { # PACKAGES PROGRAM...: ends where one of the programs is missing
    local packages=$1 program
    shift
    [ "$(id -u)" = 0 ] || cannot "needs root"
    for program in "$@"; do
        command -v "$program" >/dev/null || cannot "needs $program: apt-get install $packages"
    done
}

needs_cri() {
    /usr/bin/python3 -c 'import grpc' 2>/dev/null || cannot "needs gRPC for Python: apt-get install python3-grpcio"
}

# Makes the images and, unless PODWRIGHT_BIN names one, the program; then the script begins again in a mount and network
# namespace of its own, where this does no more than bring up its loopback.
enter() { # ARGUMENT...
    if [ "${PODWRIGHT_BENCH_NAMESPACE:-}" != 1 ]; then
        tests/images/build.sh >&2
        if [ -z "${PODWRIGHT_BIN:-}" ]; then
            cargo build --release --locked >&2
            PODWRIGHT_BIN=${CARGO_TARGET_DIR:-$PWD/target}/release/podwright
        fi
        export PODWRIGHT_BIN PODWRIGHT_BENCH_NAMESPACE=1
        exec unshare -m -n --propagation private "$self" "$@"
    fi
    ip link set lo up
}

# The end of the agent and of its pods.
agent_close() { # ROOT
    [ -n "$agent" ] || return 0
    kill -TERM "$agent" 2>/dev/null
    wait "$agent" 2>/dev/null
    "$PODWRIGHT_BIN" down --root "$1" >/dev/null 2>&1
    agent=
}

# Whatever is mounted below a directory is unmounted.
unmount_below() { # DIR
    local mount
    awk -v root="$1/" 'index($5, root) == 1 {print $5}' /proc/self/mountinfo | tac | while read -r mount; do umount -l "$mount"; done
}

repository() { # DIR
    git init -q "$1"
    git -C "$1" config user.name bench
    git -C "$1" config user.email bench@localhost
}

cpu_us() { # GROUP...: CPU time of cgroups and those below in microseconds, of processes that have ended too
    local group
    for group in "$@"; do
        awk '{print int($1 / 1000)}' "$counter/$group/cpuacct.usage" 2>/dev/null || sed -n 's/^usage_usec //p' "$counter/$group/cpu.stat" 2>/dev/null || true
    done | awk '{sum += $1} END {print sum + 0}'
}

pss_kb() { # PID...
    local pid
    for pid in "$@"; do cat "/proc/$pid/smaps_rollup" 2>/dev/null || true; done | awk '/^Pss:/ {sum += $2} END {print sum + 0}'
}

written_bytes() { # PID...: what they gave to block devices
    local pid
    for pid in "$@"; do cat "/proc/$pid/io" 2>/dev/null || true; done | awk '/^write_bytes:/ {sum += $2} END {print sum + 0}'
}
