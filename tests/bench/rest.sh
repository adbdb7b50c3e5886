#!/usr/bin/env bash
# What pods cost that only run: memory of the agent, of the monitors and of the infra processes, and what all of them do while
# nothing changes: CPU time, and bytes written, by them and to the block device below the root.
#
#   tests/bench/rest.sh [--pods N] [--seconds N]
#
# 50 pods and 600 seconds unless told otherwise. Needs root, git, the images of tests/images/build.sh, and a loop device with
# ext4 for the root: what is written there is then the pods' alone. Everything happens in a mount and network namespace of its
# own. Bounds: the agent 20 MB at any time, the rest 0.45 MB a pod, a monitor 0.35, an infra process 0.032 (PSS); 0.2 % of a
# core; no byte written. Exit code: 1 when one is missed, which is named.
# PODWRIGHT_BIN names the program to measure; otherwise a release build is made.
set -euo pipefail
cd "$(dirname "$0")/../.."
self=tests/bench/rest.sh
. tests/bench/common.sh

pods=50
seconds=600
arguments=("$@")
while [ $# -gt 0 ]; do
    case $1 in
    --pods) pods=${2:?--pods needs a number}; shift 2 ;;
    --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$self"; exit 0 ;;
    *) echo "tests/bench/rest.sh: unknown argument $1" >&2; exit 64 ;;
    esac
done
[[ $pods =~ ^[1-9][0-9]{0,2}$ ]] || { echo "tests/bench/rest.sh: --pods takes 1 to 999" >&2; exit 64; }
[[ $seconds =~ ^[1-9][0-9]{0,4}$ ]] || { echo "tests/bench/rest.sh: --seconds takes 1 to 99999" >&2; exit 64; }

needs "git iproute2 mount e2fsprogs" git ip losetup mkfs.ext4
enter "${arguments[@]}"

work=$(mktemp -d /var/tmp/podwright-bench.XXXXXX)
root=$work/disk/root
agent= device=

cleanup() {
    set +e
    agent_close "$root"
    unmount_below "$work"
    [ -z "$device" ] || losetup -d "$device"
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

mkdir -p "$work/disk" "$work/repo"
truncate -s 1G "$work/image"
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$work/image"
device=$(losetup --find --show "$work/image") || cannot "there is no loop device"
mount "$device" "$work/disk"
mkdir "$root"

repository "$work/repo"
for ((i = 1; i <= pods; i++)); do
    cat >"$work/repo/pod-$i.yaml" <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: pod-$i
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: c, image: "docker.io/library/busybox:latest", imagePullPolicy: Never, command: [sleep, "$workload"]}
YAML
done
git -C "$work/repo" add .
git -C "$work/repo" commit -qm pods
"$PODWRIGHT_BIN" image load "$image" --root "$root" >&2
"$PODWRIGHT_BIN" run "$work/repo" --root "$root" >"$work/log" 2>&1 &
agent=$!

# With the process that it has its shims forked from.
agents() { echo "$agent" $(pgrep -P "$agent" -f 'internal-shim zygote'); }

# The monitors and the infra processes, one a line: what is in a cgroup of ours and is neither agent nor workload.
helpers() {
    local pid
    for pid in /proc/[0-9]*; do
        pid=${pid#/proc/}
        [ "$pid" != "$agent" ] && grep -qs "podwright-$instance" "/proc/$pid/cgroup" || continue
        grep -qsa "sleep.$workload" "/proc/$pid/cmdline" || echo "$pid"
    done
}
ticks() { # PID...: CPU time in clock ticks, that of children they waited for too
    local pid
    for pid in "$@"; do sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null || true; done | awk '{sum += $12 + $13 + $14 + $15} END {print sum + 0}'
}
# Since the device is there, for whoever used it before: more than awk prints as a whole number.
to_device() {
    local fields
    read -r -a fields <"/sys/block/${device#/dev/}/stat"
    echo $((fields[6] * 512))
}

for ((tries = 0; ; tries++)); do
    [ "$("$PODWRIGHT_BIN" get pods --root "$root" 2>/dev/null | grep -c ' Running ')" -lt "$pods" ] || break
    [ "$tries" -lt 300 ] && kill -0 "$agent" 2>/dev/null || { tail -20 "$work/log" >&2; echo "tests/bench/rest.sh: not all pods run" >&2; exit 1; }
    sleep 0.2
done
# Nothing below the root is read from here on: the first read of a file writes when that was.
instance=$(cat "$root/instance")
# What a report may put off is written within ten seconds, and what the kernel puts off within forty.
sleep 45
sync -f "$root"
sleep 15

mapfile -t helpers < <(helpers)
infra=() monitors=()
for pid in "${helpers[@]}"; do
    # An infra process runs /pause, whatever it is called.
    if [ "$(tr '\0' ' ' <"/proc/$pid/cmdline")" = '/pause ' ]; then infra+=("$pid"); else monitors+=("$pid"); fi
done
# Each container has a monitor and each pod an infra process, or what is measured is something else.
[ "${#monitors[@]}" = "$pods" ] && [ "${#infra[@]}" = "$pods" ] ||
    { echo "tests/bench/rest.sh: ${#monitors[@]} monitors and ${#infra[@]} infra processes of $pods pods" >&2; exit 1; }
before=$(ticks $(agents)) before_helpers=$(ticks "${helpers[@]}")
wrote=$(written_bytes $(agents) "${helpers[@]}") device_wrote=$(to_device)
# The program's own pages come with the look at all pods each minute and go when nothing has happened for a while.
samples=0 pss_sum=0 pss_most=0
for ((left = seconds; left > 0; left -= 2)); do
    sleep $((left < 2 ? left : 2))
    pss=$(pss_kb $(agents))
    samples=$((samples + 1)) pss_sum=$((pss_sum + pss)) pss_most=$((pss > pss_most ? pss : pss_most))
done
# What a process did that has ended is counted nowhere.
[ "$(helpers | sort)" = "$(printf '%s\n' "${helpers[@]}" | sort)" ] || { echo "tests/bench/rest.sh: other processes than at the start" >&2; exit 1; }
cpu=$(($(ticks $(agents)) - before)) cpu_helpers=$(($(ticks "${helpers[@]}") - before_helpers))
wrote=$(($(written_bytes $(agents) "${helpers[@]}") - wrote)) device_wrote=$(($(to_device) - device_wrote))

printf 'podwright bench: tests/bench/rest.sh %s\n' "${arguments[*]:-}"
printf 'loadavg %s, %s processors, kernel %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)" "$(nproc)" "$(uname -r)"
printf '%d pods, %d monitors, %d infra processes, looked at for %d s\n' "$pods" "${#monitors[@]}" "${#infra[@]}" "$seconds"
missed=0
row() { # TITLE VALUE [BOUND]
    local note=
    [ -n "${3:-}" ] && awk -v v="$2" -v b="$3" 'BEGIN {exit !(v > b)}' && { note=' beyond its bound'; missed=1; }
    printf '%-52s %12s %12s%s\n' "$1" "$2" "${3:-}" "$note"
}
share() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", a / b}'; }
printf '%-52s %12s %12s\n' '' measured bound
row 'PSS of the agent, mean, MB' "$(share "$pss_sum" $((samples * 1024)))"
row 'PSS of the agent, at most, MB' "$(share "$pss_most" 1024)" 20
row 'PSS of a monitor, kB' "$(share "$(pss_kb "${monitors[@]}")" "${#monitors[@]}")" 350
row 'PSS of an infra process, kB' "$(share "$(pss_kb "${infra[@]}")" "${#infra[@]}")" 32
row 'PSS of both a pod, MB' "$(share "$(pss_kb "${helpers[@]}")" $((pods * 1024)))" 0.45
row 'CPU of the agent, % of a core' "$(share "$cpu" "$(awk -v t="$(getconf CLK_TCK)" -v s="$seconds" 'BEGIN {print t * s / 100}')")" 0.2
row 'CPU of monitors and infra processes, % of a core' "$(share "$cpu_helpers" "$(awk -v t="$(getconf CLK_TCK)" -v s="$seconds" 'BEGIN {print t * s / 100}')")" 0.2
row 'bytes written by all of them' "$wrote" 0
row 'bytes written to the block device' "$device_wrote" 0
exit "$missed"
