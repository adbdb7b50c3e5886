#!/usr/bin/env bash
# What `validate` costs, in one run: 1,000, 10,000 and 100,000 pod manifests of 1.1 kB, in up to 200 directories.
#
#   tests/bench/validate.sh [--largest N] [--rounds N]
#
# Prints medians of CPU seconds (user and system) on one core, how they grow, the speed-up of two cores, peak memory beside
# the bound of 40 MB plus 3 times the bytes read; and of 10,000 the peaks of `render` and of a `diff` of two commits in
# which every pod is another, beside 20 times the bytes that these read. Exit code: 1 when a bound is missed, which is
# named.
# The floor of the same run is `cat` of the same files into `sha256sum`: each is opened and read, and hashed once.
# PODWRIGHT_BIN names the program to measure; otherwise a release build is made.
set -euo pipefail
cd "$(dirname "$0")/../.."

largest=100000
rounds=3
while [ $# -gt 0 ]; do
    case $1 in
    --largest) largest=${2:?--largest needs a number}; shift 2 ;;
    --rounds) rounds=${2:?--rounds needs a number}; shift 2 ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "tests/bench/validate.sh: unknown argument $1" >&2; exit 64 ;;
    esac
done
for program in taskset awk git python3; do
    command -v "$program" >/dev/null || { echo "tests/bench/validate.sh: needs $program" >&2; exit 77; }
done
if [ -z "${PODWRIGHT_BIN:-}" ]; then
    cargo build --release --locked >&2
    PODWRIGHT_BIN=${CARGO_TARGET_DIR:-$PWD/target}/release/podwright
fi
work=$(mktemp -d /var/tmp/podwright-bench.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT

# measure CORES COMMAND...: median of wall and CPU seconds, and the largest peak of resident memory in MB.
measure() {
    python3 - "$rounds" "$@" <<'PYTHON'
import os, statistics, subprocess, sys, time
rounds, cores, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
walls, cpus, peaks = [], [], []
for _ in range(rounds):
    start = time.monotonic()
    child = subprocess.Popen(["taskset", "-c", cores, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    told = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    walls.append(time.monotonic() - start)
    # 1: a comparison has found something.
    if os.waitstatus_to_exitcode(status) != (1 if "diff" in command else 0):
        sys.exit("%s failed: %s" % (" ".join(command), told.decode(errors="replace")))
    cpus.append(usage.ru_utime + usage.ru_stime)
    peaks.append(usage.ru_maxrss / 1024)
print("%.3f %.3f %.1f" % (statistics.median(walls), statistics.median(cpus), max(peaks)))
PYTHON
}
number() { awk -v x="$1" -v digits="${2:-2}" 'BEGIN { printf "%.*f", digits, x }'; }
bound() { # WHAT IS LIMIT: notes what is beyond its limit
    awk -v a="$2" -v b="$3" 'BEGIN { exit !(a > b) }' && missed+=("$1: $2, and at most $3 is asked for") || true
}
keeps() { # WHAT PEAK BYTES: the peak in MiB beside the bytes that were read
    local times
    times=$(awk -v k="$2" -v b="$3" 'BEGIN { print k * 1048576 / b }')
    keeping+=("$1: peak $(number "$(over "$2" 0.95367)" 0) MB, $(number "$times" 1) times the bytes (bound 20)")
    bound "peak of $1, times the bytes" "$(number "$times" 1)" 20
}
over() { awk -v a="$1" -v b="$2" 'BEGIN { print (b > 0 ? a / b : 0) }'; }

printf '%-9s %10s %14s %12s %12s %12s %14s %14s\n' manifests bytes 'CPU, 1 core' 'per 1,000' 'to 1,000' 'to floor' '1 to 2 cores' 'peak (bound)'
missed=() keeping=() first=
for pods in 1000 10000 100000; do
    [ "$pods" -le "$largest" ] || continue
    directories=$((pods / 50 < 200 ? pods / 50 : 200))
    root=$work/$pods
    mkdir "$root"
    awk -v pods="$pods" -v directories="$directories" -v root="$root" -f tests/bench/manifests.awk
    bytes=$(find "$root" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
    read -r _ floor _ <<<"$(measure 0 sh -c 'find "$1" -type f -print0 | xargs -0 cat | sha256sum' - "$root")"
    read -r wall cpu peak <<<"$(measure 0 "$PODWRIGHT_BIN" validate "$root")"
    read -r both _ peak2 <<<"$(measure 0,1 "$PODWRIGHT_BIN" validate "$root")"
    per=$(over "$cpu" "$(over "$pods" 1000)")
    first=${first:-$per}
    bound=$(awk -v bytes="$bytes" 'BEGIN { print 40 + 3 * bytes / 1e6 }')
    highest=$(awk -v a="$peak" -v b="$peak2" 'BEGIN { print (a > b ? a : b) * 1.048576 }')
    printf '%-9s %10s %12s s %10s s %11sx %11sx %13sx %5s (%s) MB\n' "$pods" "$bytes" "$(number "$cpu")" "$(number "$per" 3)" \
        "$(number "$(over "$per" "$first")")" "$(number "$(over "$cpu" "$floor")" 1)" "$(number "$(over "$wall" "$both")")" \
        "$(number "$highest" 0)" "$(number "$bound" 0)"
    bound "peak of $pods in MB" "$(number "$highest" 0)" "$bound"
    [ "$pods" = 1000 ] || bound "time on two cores over one core, $pods manifests (1.7 times faster is 0.588)" "$(over "$both" "$wall")" 0.588
    if [ "$pods" = 10000 ]; then
        bound "CPU seconds of $pods" "$cpu" 2
        read -r _ _ kept <<<"$(measure 0,1 "$PODWRIGHT_BIN" render "$root")"
        keeps "render of $pods" "$kept" "$bytes"
        git() { command git -c gc.auto=0 -c user.name=a -c user.email=a@example.com -C "$root" "$@"; }
        git init --quiet
        git add --all
        git commit --quiet --message one
        find "$root" -name 'service-*' -print0 | xargs -0 sed -i 's#/service:1#/service:2#'
        git commit --quiet --all --message two
        read -r _ _ kept <<<"$(measure 0,1 "$PODWRIGHT_BIN" diff "$root" --base HEAD~1 --head HEAD)"
        keeps "diff of $pods, each of them changed" "$kept" "$((2 * bytes))"
    fi
    rm -rf "$root"
done
printf '%s\n' "${keeping[@]}"
[ ${#missed[@]} = 0 ] || { printf 'beyond its bound: %s\n' "${missed[@]}" >&2; exit 1; }
