#!/usr/bin/env bash
# What it costs to follow a change of data that many pods mount: 100 pods with the same two ConfigMaps of 1 MB, of which one
# commit changes one.
#
#   tests/bench/data.sh [--pods N] [--turns N]
#
# 100 pods and 5 turns unless told otherwise. Counted from the commit until the last pod has the new file: wall time, CPU time of
# the agent, and the bytes that it reads and writes (`rchar` and `wchar` of /proc/<pid>/io). The floor, measured in the same run
# turn by turn, writes the same bytes into as many new files with one program and renames each in place. Needs root, git,
# python3 and the images of tests/images/build.sh. Everything happens in a mount and network namespace of its own.
# Bounds: at most one write of the changed file per pod and no read of unchanged ones, each with a tenth for all the rest; CPU
# time at most BOUND_CPU times that of the floor. Exit code: 1 when one is missed, which is named.
# PODWRIGHT_BIN names the program to measure; otherwise a release build is made.
set -euo pipefail
cd "$(dirname "$0")/../.."
self=tests/bench/data.sh
. tests/bench/common.sh

readonly BOUND_CPU=10
# ConfigMaps may have 1 MiB of data together.
readonly size=1000000
pods=100
turns=5
arguments=("$@")
while [ $# -gt 0 ]; do
    case $1 in
    --pods) pods=${2:?--pods needs a number}; shift 2 ;;
    --turns) turns=${2:?--turns needs a number}; shift 2 ;;
    -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$self"; exit 0 ;;
    *) echo "tests/bench/data.sh: unknown argument $1" >&2; exit 64 ;;
    esac
done
[[ $pods =~ ^[1-9][0-9]{0,2}$ ]] || { echo "tests/bench/data.sh: --pods takes 1 to 999" >&2; exit 64; }
[[ $turns =~ ^[1-9][0-9]?$ ]] || { echo "tests/bench/data.sh: --turns takes 1 to 99" >&2; exit 64; }

needs "git iproute2 mount e2fsprogs python3" git ip mkfs.ext4 python3
enter "${arguments[@]}"

work=$(mktemp -d /var/tmp/podwright-bench.XXXXXX)
root=$work/disk/root
agent=

cleanup() {
    set +e
    agent_close "$root"
    unmount_below "$work"
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

mkdir -p "$work/disk" "$work/repo"
truncate -s 4G "$work/image"
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$work/image"
mount -o loop "$work/image" "$work/disk"
mkdir "$root" "$work/disk/floor"

data() { # NAME MARK: a ConfigMap of so many bytes that begins with a mark
    printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata:\n  file: "%s' "$1" "$2"
    head -c $((size - ${#2})) /dev/zero | tr '\0' x
    printf '"\n'
}

repository "$work/repo"
data changing turn-0 >"$work/repo/changing.yaml"
data still same >"$work/repo/still.yaml"
for ((i = 1; i <= pods; i++)); do
    cat >"$work/repo/pod-$i.yaml" <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: pod-$i
spec:
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  volumes:
    - {name: changing, configMap: {name: changing}}
    - {name: still, configMap: {name: still}}
  containers:
    - name: c
      image: docker.io/library/busybox:latest
      imagePullPolicy: Never
      command: [sleep, "$workload"]
      volumeMounts:
        - {name: changing, mountPath: /changing}
        - {name: still, mountPath: /still}
YAML
done
git -C "$work/repo" add .
git -C "$work/repo" commit -qm pods
"$PODWRIGHT_BIN" image load "$image" --root "$root" >&2
"$PODWRIGHT_BIN" run "$work/repo" --root "$root" >"$work/log" 2>&1 &
agent=$!

# Waits until that many pods have a file that begins with a mark, and prints when the last one got it, in nanoseconds.
until_all() { # MARK
    /usr/bin/python3 - "$root/volumes" "$1" "$pods" <<'PY'
import os, sys, time
top, mark, pods = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
end = time.time() + 120
left, last, seen = None, 0, set()
while len(seen) < pods:
    if time.time() > end:
        sys.exit(f"tests/bench/data.sh: {len(seen)} of {pods} pods have {mark.decode()} within 120 s")
    for uid in os.listdir(top) if os.path.isdir(top) else []:
        path = f"{top}/{uid}/changing/file"
        try:
            if uid not in seen and open(path, "rb").read(len(mark)) == mark:
                # The link that was swapped tells when.
                last = max(last, os.lstat(f"{top}/{uid}/changing/..data").st_mtime_ns)
                seen.add(uid)
        except OSError:
            pass
    time.sleep(0.02)
print(last)
PY
}

ticks() { sed 's/.*) //' "/proc/$agent/stat" | awk '{print $12 + $13}'; }
count() { awk -v name="$1:" '$1 == name {print $2}' "/proc/$agent/io"; }

# As many new files of the same bytes, each of which takes the place of an older one.
floor() {
    /usr/bin/python3 - "$work/disk/floor" "$size" "$pods" <<'PY'
import os, sys
top, size, pods = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = b"x" * size
begin = os.times()
for pod in range(pods):
    fd = os.open(f"{top}/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, data)
    os.close(fd)
    os.rename(f"{top}/new", f"{top}/{pod}")
end = os.times()
print(round((end.user + end.system - begin.user - begin.system) * 1000))
PY
}

until_all turn-0 >/dev/null
# What follows a start has come to rest.
sleep 15
for ((turn = 1; turn <= turns; turn++)); do
    data changing "turn-$turn" >"$work/repo/changing.yaml"
    git -C "$work/repo" add changing.yaml
    cpu=$(ticks) read=$(count rchar) wrote=$(count wchar)
    begin=$(date +%s%N)
    git -C "$work/repo" commit -qm "turn $turn"
    end=$(until_all "turn-$turn")
    # With what is published of it.
    sleep 3
    echo $(((end - begin) / 1000000)) >>"$work/wall"
    echo $((($(ticks) - cpu) * 1000 / $(getconf CLK_TCK))) >>"$work/cpu"
    echo $(($(count rchar) - read)) >>"$work/read"
    echo $(($(count wchar) - wrote)) >>"$work/wrote"
    floor >>"$work/floor"
done

median() { sort -n "$work/$1" | awk '{v[NR] = $1} END {printf "%.0f\n", (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
printf 'podwright bench: tests/bench/data.sh %s\n' "${arguments[*]:-}"
printf 'loadavg %s, %s processors, kernel %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)" "$(nproc)" "$(uname -r)"
printf '%d pods, two ConfigMaps of %d bytes each, one of them changed, %d turns, medians\n' "$pods" "$size" "$turns"
missed=0
row() { # TITLE VALUE OF [BOUND]: the value and its ratio
    local note= ratio
    ratio=$(awk -v a="$2" -v b="$3" 'BEGIN {printf "%.2f", a / b}')
    [ -n "${4:-}" ] && awk -v v="$ratio" -v b="$4" 'BEGIN {exit !(v > b)}' && { note=' beyond its bound'; missed=1; }
    printf '%-52s %12s %8s %8s%s\n' "$1" "$2" "$ratio" "${4:-}" "$note"
}
printf '%-52s %12s %8s %8s\n' '' measured ratio bound
row 'the last pod has the file, ms' "$(median wall)" 1000
row 'CPU of the agent, ms, of the floor'"'"'s '"$(median floor)" "$(median cpu)" "$(median floor)" "$BOUND_CPU"
row 'bytes written, of one file per pod' "$(median wrote)" $((pods * size)) 1.1
row 'bytes read, of one file per pod' "$(median read)" $((pods * size)) 0.1
exit "$missed"
