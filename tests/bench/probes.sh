#!/usr/bin/env bash
# What exec probes cost: pods that are asked each second, by podwright and by containerd, one after the other.
#
#   tests/bench/probes.sh [--pods N] [--seconds N]
#
# 20 pods and 60 seconds unless told otherwise. A probe writes a byte, by which it is counted. Prints the CPU time of one probe: what
# the kernel counts for all cgroups of a side, that of the probes' own processes with it. containerd is called by its CRI as the
# kubelet does it (cri.py), whose own time is not counted. Needs root, containerd, runc, git, cc, and the images of
# tests/images/build.sh. Everything happens in a mount and network namespace of its own. Bounds: half of containerd's CPU time a
# probe, and both answer at least 95 of 100 probes. Exit code: 1 when one is missed, which is named.
# PODWRIGHT_BIN names the program to measure; otherwise a release build is made.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/../.."
self=tests/bench/probes.sh
. tests/bench/common.sh

pods=20
seconds=60
arguments=("$@")
while [ $# -gt 0 ]; do
    case $1 in
    --pods) pods=${2:?--pods needs a number}; shift 2 ;;
    --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$self"; exit 0 ;;
    *) echo "tests/bench/probes.sh: unknown argument $1" >&2; exit 64 ;;
    esac
done
[[ $pods =~ ^[1-9][0-9]?$ ]] || { echo "tests/bench/probes.sh: --pods takes 1 to 99" >&2; exit 64; }
[[ $seconds =~ ^[1-9][0-9]{0,3}$ ]] || { echo "tests/bench/probes.sh: --seconds takes 1 to 9999" >&2; exit 64; }

needs "containerd runc git gcc iproute2" containerd ctr runc git cc ip
needs_cri
enter "${arguments[@]}"

work=$(mktemp -d /var/tmp/podwright-bench.XXXXXX)
agent= containerd=

cleanup() {
    set +e
    agent_close "$work/root"
    [ -z "$containerd" ] || containerd_close
    rmdir "$counter"/bench-* 2>/dev/null
    unmount_below "$work"
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

. tests/bench/containerd.sh

answered() { # How many probes were, of all pods of a side.
    cat "$work/marks/$1"/* 2>/dev/null | wc -c
}

all_answer() { # SIDE: waits until each of its pods does
    local tries marks
    for ((tries = 0; tries < 600; tries++)); do
        marks=("$work/marks/$1"/*)
        [ ${#marks[@]} -lt "$pods" ] || return 0
        sleep 0.1
    done
    echo "tests/bench/probes.sh: $1: not all pods answer within 60 s" >&2
    exit 1
}

measure() { # SIDE GROUP...: CPU time of a probe in microseconds, and probes answered in a hundred
    local side=$1 cpu count
    shift
    all_answer "$side"
    sleep 3
    cpu=$(cpu_us "$@") count=$(answered "$side")
    sleep "$seconds"
    cpu=$(($(cpu_us "$@") - cpu)) count=$(($(answered "$side") - count))
    awk -v cpu="$cpu" -v count="$count" -v wanted=$((pods * seconds)) \
        'BEGIN { printf "%.0f %.1f\n", (count ? cpu / count : 0), 100 * count / wanted }' >"$work/cost-$side"
}

mkdir -p "$work/marks/podwright" "$work/marks/containerd" "$work/repo" "$work/root"

repository "$work/repo"
for ((i = 1; i <= pods; i++)); do
    cat >"$work/repo/pod-$i.yaml" <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: pod-$i
spec:
  terminationGracePeriodSeconds: 0
  volumes:
    - name: marks
      hostPath: {path: $work/marks/podwright, type: Directory}
  containers:
    - name: c
      image: docker.io/library/busybox:latest
      imagePullPolicy: Never
      command: [sleep, "$workload"]
      readinessProbe:
        exec: {command: [sh, -c, "echo >> /marks/pod-$i"]}
        periodSeconds: 1
      volumeMounts:
        - {name: marks, mountPath: /marks}
YAML
done
git -C "$work/repo" add .
git -C "$work/repo" commit -qm pods
"$PODWRIGHT_BIN" image load "$image" --root "$work/root" >&2
"$PODWRIGHT_BIN" run "$work/repo" --root "$work/root" >"$work/log" 2>&1 &
agent=$!
mkdir -p "$counter/bench-podwright"
echo "$agent" >"$counter/bench-podwright/cgroup.procs"
measure podwright bench-podwright "podwright-$(for ((tries = 0; tries < 100; tries++)); do cat "$work/root/instance" 2>/dev/null && break; sleep 0.1; done)"
agent_close "$work/root"

containerd_open
for ((i = 1; i <= pods; i++)); do
    names[i]=pod-$i
done
cri run docker.io/library/busybox:latest "$work/marks/containerd" /bench-containerd-pods "${names[@]}"
rm "$work/marks/containerd"/*
cri probe pod- "$((seconds + 20))" >"$work/probes" 2>&1 &
probes=$!
measure containerd bench-containerd bench-containerd-pods
kill "$probes" 2>/dev/null || true
wait "$probes" 2>/dev/null || true

read -r ours our_rate <"$work/cost-podwright"
read -r theirs their_rate <"$work/cost-containerd"
printf '%d pods with an exec probe each second, for %d s   %12s %12s %8s\n' "$pods" "$seconds" podwright containerd ratio
awk -v ours="$ours" -v theirs="$theirs" -v our_rate="$our_rate" -v their_rate="$their_rate" 'BEGIN {
    ratio = theirs ? ours / theirs : 9
    printf "CPU time of a probe, ms %41.2f %12.2f %8.2f\n", ours / 1000, theirs / 1000, ratio
    printf "probes answered of 100 %42.1f %12.1f\n", our_rate, their_rate
    if (ours == 0 || ratio > 0.5) { missed = 1; print "missed: a probe takes more than half of containerd'"'"'s CPU time" > "/dev/stderr" }
    if (our_rate < 95 || their_rate < 95) { missed = 1; print "missed: probes are left out" > "/dev/stderr" }
    exit missed
}'
