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
# What two cores can give at all is measured too, turn by turn: two processes that share nothing, one on each core, beside
# one alone. Where they do twice the work of one, 1.7 times is asked for, and as large a part (85 %) of less elsewhere: cores
# of a shared machine, or with one cache, are worth less than two. Below 1.4 something else ran, and nothing is proven.
# PODWRIGHT_BIN names the program to measure; otherwise a release build is made.
set -euo pipefail
cd "$(dirname "$0")/../.."

largest=100000
rounds=3
while [ $# -gt 0 ]; do
    case $1 in
    --largest) largest=${2:?--largest needs a number}; shift 2 ;;
    --rounds) rounds=${2:?--rounds needs a number}; shift 2 ;;
    -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 0 ;;
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

# measure WAYS COMMAND...: for each way, turn by turn, the medians of wall and CPU seconds, and the largest peak of resident
# memory in MB; a line each. A way is the cores of a process, with a `+` between several processes at the same time.
measure() {
    python3 - "$rounds" "$@" <<'PYTHON'
import os, statistics, subprocess, sys, tempfile, time
rounds, ways, command = int(sys.argv[1]), sys.argv[2].split(), sys.argv[3:]
walls, cpus, peaks = ([[] for _ in ways] for _ in range(3))
def start(cores, told):
    return subprocess.Popen(["taskset", "-c", cores, *command], stdout=subprocess.DEVNULL, stderr=told)
for _ in range(rounds):
    for way, cores in enumerate(ways):
        with tempfile.TemporaryFile() as told:
            before = time.monotonic()
            children = [start(one, told) for one in cores.split("+")]
            ends = [os.wait4(child.pid, 0)[1:] for child in children]
            walls[way].append(time.monotonic() - before)
            # 1: a comparison has found something.
            if any(os.waitstatus_to_exitcode(status) != (1 if "diff" in command else 0) for status, _ in ends):
                told.seek(0)
                sys.exit("%s failed: %s" % (" ".join(command), told.read().decode(errors="replace")))
        cpus[way].append(sum(usage.ru_utime + usage.ru_stime for _, usage in ends))
        peaks[way].append(max(usage.ru_maxrss for _, usage in ends) / 1024)
for wall, cpu, peak in zip(walls, cpus, peaks):
    print("%.3f %.3f %.1f" % (statistics.median(wall), statistics.median(cpu), max(peak)))
PYTHON
}
number() { awk -v x="$1" -v digits="${2:-2}" 'BEGIN { printf "%.*f", digits, x }'; }
bound() { # WHAT IS LIMIT: notes what is beyond its limit
    awk -v a="$2" -v b="$3" 'BEGIN { exit !(a > b) }' && missed+=("$1: $2, and at most $3 is asked for") || true
}
least() { # WHAT IS LIMIT: notes what is below it
    awk -v a="$2" -v b="$3" 'BEGIN { exit !(a < b) }' && missed+=("$1: $2, and at least $3 is asked for") || true
}
keeps() { # WHAT PEAK BYTES: the peak in MiB beside the bytes that were read
    local times
    times=$(awk -v k="$2" -v b="$3" 'BEGIN { print k * 1048576 / b }')
    keeping+=("$1: peak $(number "$(over "$2" 0.95367)" 0) MB, $(number "$times" 1) times the bytes (bound 20)")
    bound "peak of $1, times the bytes" "$(number "$times" 1)" 20
}
over() { awk -v a="$1" -v b="$2" 'BEGIN { print (b > 0 ? a / b : 0) }'; }

printf '%-9s %10s %14s %12s %12s %12s %14s %14s\n' manifests bytes 'CPU, 1 core' 'per 1,000' 'to 1,000' 'to floor' '1 to 2 cores' 'peak (bound)'
missed=() keeping=() cores=() first=
for pods in 1000 10000 100000; do
    [ "$pods" -le "$largest" ] || continue
    directories=$((pods / 50 < 200 ? pods / 50 : 200))
    root=$work/$pods
    mkdir "$root"
    awk -v pods="$pods" -v directories="$directories" -v root="$root" -f tests/bench/manifests.awk
    bytes=$(find "$root" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
    read -r _ floor _ <<<"$(measure 0 sh -c 'find "$1" -type f -print0 | xargs -0 cat | sha256sum' - "$root")"
    { read -r wall cpu peak; read -r pair _ _; read -r both _ peak2; } <<<"$(measure '0 0+1 0,1' "$PODWRIGHT_BIN" validate "$root")"
    per=$(over "$cpu" "$(over "$pods" 1000)")
    first=${first:-$per}
    bound=$(awk -v bytes="$bytes" 'BEGIN { print 40 + 3 * bytes / 1e6 }')
    highest=$(awk -v a="$peak" -v b="$peak2" 'BEGIN { print (a > b ? a : b) * 1.048576 }')
    printf '%-9s %10s %12s s %10s s %11sx %11sx %13sx %5s (%s) MB\n' "$pods" "$bytes" "$(number "$cpu")" "$(number "$per" 3)" \
        "$(number "$(over "$per" "$first")")" "$(number "$(over "$cpu" "$floor")" 1)" "$(number "$(over "$wall" "$both")")" \
        "$(number "$highest" 0)" "$(number "$bound" 0)"
    bound "peak of $pods in MB" "$(number "$highest" 0)" "$bound"
    # Two processes do the work of one twice.
    worth=$(over "$(over "$wall" 0.5)" "$pair")
    part=$(over "$(over "$wall" "$both")" "$(over "$worth" 100)")
    asked=$(awk -v worth="$worth" 'BEGIN { print (worth > 2 ? 170 / worth : 85) }')
    cores+=("$pods manifests: two cores $(number "$(over "$wall" "$both")") times, of $(number "$worth") that two independent processes reach: $(number "$part" 0) % (bound $(number "$asked" 0) %)")
    if [ "$pods" != 1000 ]; then
        least "what two cores give $pods manifests, in % of what they are worth" "$(number "$part" 1)" "$asked"
        least "what two cores are worth while nothing else runs" "$(number "$worth")" 1.4
    fi
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
printf '%s\n' "${cores[@]}" "${keeping[@]}"
[ ${#missed[@]} = 0 ] || { printf 'beyond its bound: %s\n' "${missed[@]}" >&2; exit 1; }
