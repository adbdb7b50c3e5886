#!/usr/bin/env bash
# podwright beside podman and containerd, in one run, turn by turn: from a commit to the running process, and what a pod costs.
#
#   tests/bench/run.sh [--pods N] [--at-once N] [--turns N] [--only podman|podwright]
#
# First pods one commit each, then --at-once pods in one commit (50), and their removal in another one, --turns times (3).
# Prints medians and ratios. Needs root, podman, containerd, runc, git, and the images of tests/images/build.sh. Everything
# happens in a mount and network namespace of its own. For podman, `podman kube play` is called the moment the commit is there,
# and for containerd its CRI (cri.py), eight pods at a time: watchers that cost nothing. All give each pod an infra process and
# an address on a bridge. CPU time is what the kernel counts for all cgroups of a side: its program, whatever that starts, and
# the pods until they sleep. Each side has a new file system of its own: ext4 is slow to find room for a file where many have just
# been deleted, by whomever. Beside each pod one container is started by runc alone, and one by hand (floor.c): what the start
# of a container is measured against.
# Bounds, of podman and of containerd: one pod a sixth and a third, --at-once pods a twelfth and a quarter, their CPU a fifth of
# containerd's, their removal a quarter of it; one container half of runc's and five times the one by hand. Exit code: 1 when one
# is missed, which is named.
# PODWRIGHT_BIN names the program to measure; otherwise a release build is made.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/../.."
self=tests/bench/run.sh
. tests/bench/common.sh

pods=10
at_once=50
turns=3
only=
arguments=("$@")
while [ $# -gt 0 ]; do
    case $1 in
    --pods) pods=${2:?--pods needs a number}; shift 2 ;;
    --at-once) at_once=${2:?--at-once needs a number}; shift 2 ;;
    --turns) turns=${2:?--turns needs a number}; shift 2 ;;
    --only) only=${2:?--only needs podman or podwright}; shift 2 ;;
    -h | --help) sed -n '2,19s/^# \{0,1\}//p' "$self"; exit 0 ;;
    *) echo "tests/bench/run.sh: unknown argument $1" >&2; exit 64 ;;
    esac
done
case $only in
'') sides=(podman containerd podwright) ;;
podman | podwright) sides=("$only") ;;
*) echo "tests/bench/run.sh: --only podman or podwright" >&2; exit 64 ;;
esac
[[ $pods =~ ^[1-9][0-9]{0,2}$ ]] || { echo "tests/bench/run.sh: --pods takes 1 to 999" >&2; exit 64; }
[[ $at_once =~ ^[1-9][0-9]{0,1}$ ]] || { echo "tests/bench/run.sh: --at-once takes 1 to 99" >&2; exit 64; }
[[ $turns =~ ^[1-9][0-9]{0,1}$ ]] || { echo "tests/bench/run.sh: --turns takes 1 to 99" >&2; exit 64; }

needs "podman containerd runc git gcc iproute2" podman containerd ctr runc git cc ip
needs_cri
[ "$only" != podman ] || export PODWRIGHT_BIN=/bin/false
enter "${arguments[@]}"

work=$(mktemp -d /var/tmp/podwright-bench.XXXXXX)
agent= containerd=

cleanup() {
    set +e
    agent_close "$work/podwright/root"
    [ -z "$containerd" ] || containerd_close
    [ ! -e "$work/podman/containers.conf" ] || podman pod rm -f -a -t 0 >/dev/null 2>&1
    rmdir "$counter"/bench-* 2>/dev/null
    unmount_below "$work"
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

disk() { # SIDE: its file system
    mkdir "$work/$1"
    truncate -s 4G "$work/$1.image"
    mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$work/$1.image"
    mount -o loop "$work/$1.image" "$work/$1"
}

# --- podman

podman_open() {
    local dir=$work/podman
    mkdir -p "$dir/cni" "$dir/pause"
    cat >"$dir/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
infra_image = "localhost/pause:1"
events_logger = "none"
[network]
network_backend = "cni"
cni_config_dir = "$dir/cni"
default_network = "bench"
CONF
    printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "%s"\n' "$dir/graph" "$dir/run" >"$dir/storage.conf"
    cat >"$dir/cni/bench.conflist" <<'CONF'
{"cniVersion":"0.4.0","name":"bench","plugins":[{"type":"bridge","bridge":"bench0","isGateway":true,"ipMasq":false,
"ipam":{"type":"host-local","ranges":[[{"subnet":"10.99.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}
CONF
    export CONTAINERS_CONF=$dir/containers.conf CONTAINERS_STORAGE_CONF=$dir/storage.conf
    # Podman's own infra image needs a program of another package; this one is as small as C gets without tricks.
    printf '#include <unistd.h>\nint main(void){for(;;)pause();}\n' >"$dir/pause.c"
    cc -Os -static -s -o "$dir/pause/pause" "$dir/pause.c"
    tar -C "$dir/pause" -cf "$dir/pause.tar" pause
    podman import -q --change 'ENTRYPOINT ["/pause"]' "$dir/pause.tar" localhost/pause:1 >/dev/null
    podman load -q -i "$image" >/dev/null
}

podman_commit() { in_group bench-podman podman kube play "$1" >/dev/null; } # FILE: wall time is taken by the caller

podman_gone() { in_group bench-podman podman kube play --down "$1" >/dev/null; }

podman_groups() { echo bench-podman libpod_parent; }

# Everything that is not the workload itself: conmon and the infra processes.
podman_processes() {
    local pid
    for pid in $(pgrep -x conmon || true); do
        tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "$work" || continue
        echo "$pid"
        pgrep -P "$pid" || true
    done | while read -r pid; do
        grep -qsa "$workload" "/proc/$pid/cmdline" && [ "$(cat "/proc/$pid/comm")" != conmon ] || echo "$pid"
    done
}

# --- containerd

. tests/bench/containerd.sh

# --- podwright

podwright_open() {
    local dir=$work/podwright
    mkdir -p "$dir/root"
    "$PODWRIGHT_BIN" image load "$image" --root "$dir/root" >&2
    "$PODWRIGHT_BIN" run "$work/repo-podwright" --root "$dir/root" >"$dir/log" 2>&1 &
    agent=$!
    mkdir -p "$counter/bench-podwright"
    echo "$agent" >"$counter/bench-podwright/cgroup.procs"
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        [ ! -e "$work/repo-podwright/status.yaml" ] || return 0
        kill -0 "$agent" 2>/dev/null || { tail -20 "$dir/log" >&2; echo "tests/bench/run.sh: the agent ended" >&2; exit 1; }
        sleep 0.1
    done
    tail -20 "$dir/log" >&2
    echo "tests/bench/run.sh: the agent wrote no status within 10 s" >&2
    exit 1
}

podwright_commit() { :; } # the agent sees it

podwright_gone() { # FILE: waits until nothing is left of the pods of a turn
    local tries left
    for ((tries = 0; tries < 6000; tries++)); do
        # With those whose files are still being removed.
        left=("$work/podwright/root/pods"/{*,.removing-*})
        [ ${#left[@]} -gt "$kept" ] || return 0
        sleep 0.01
    done
    echo "tests/bench/run.sh: podwright: the pods of a turn are not removed within 60 s" >&2
    exit 1
}

podwright_groups() { echo bench-podwright "podwright-$(cat "$work/podwright/root/instance")"; }

# The agent with the process that it has its shims forked from.
podwright_agents() { echo "$agent" $(pgrep -P "$agent" -f 'internal-shim zygote'); }

# Those, the monitors and the infra processes: all that has to do with the root, except the workload.
podwright_processes() {
    local pid
    printf '%s\n' $(podwright_agents)
    for pid in /proc/[0-9]*; do
        pid=${pid#/proc/}
        [ "$pid" != "$agent" ] && [ "$pid" != $$ ] && [ "$pid" != "$BASHPID" ] || continue
        if grep -qs 'podwright-' "/proc/$pid/cgroup" || tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q "$work/podwright"; then
            grep -qsa "sleep.$workload" "/proc/$pid/cmdline" || echo "$pid"
        fi
    done
}

# --- one container, by runc alone and by hand

one_open() {
    local rootfs=$work/one/rootfs bundle=$work/one/bundle
    mkdir -p "$bundle" "$work/one/floor"
    cp -a "$(podman image mount docker.io/library/busybox:latest)" "$rootfs"
    runc spec -b "$bundle"
    sed -i -e 's/"terminal": true/"terminal": false/; s/"readonly": true/"readonly": false/' -e "s|\"path\": \"rootfs\"|\"path\": \"$rootfs\"|" \
        -e "s|^\(\s*\)\"sh\"\$|\1\"sh\", \"-c\", \": > /tmp/mark; exec sleep $workload\"|" "$bundle/config.json"
    cc -O1 -o "$work/one/start" tests/bench/floor.c
    ip link add floor type bridge
    ip addr add 10.98.0.1/24 dev floor
    ip link set floor up
}

one_round() {
    local begin tries hierarchies
    mapfile -t hierarchies < <(awk '/ - cgroup2? / {print $5}' /proc/self/mountinfo)
    "$work/one/start" "$work/one/rootfs" "$work/one/floor" "$(ip -o link show floor | cut -d: -f1)" 10.98.0.1 "${hierarchies[@]}" >>"$work/floor.wall"
    begin=$(date +%s%N)
    runc run -d -b "$work/one/bundle" "bench-$$" </dev/null >"$work/one/log" 2>&1 || { cat "$work/one/log" >&2; exit 1; }
    for ((tries = 0; tries < 100; tries++)); do
        [ ! -e "$work/one/rootfs/tmp/mark" ] || break
        sleep 0.05
    done
    echo $((($(stat -c %.9Y "$work/one/rootfs/tmp/mark" | tr -d .) - begin) / 1000)) >>"$work/runc.wall"
    runc delete -f "bench-$$"
    rm "$work/one/rootfs/tmp/mark"
}

# From one line of the agent's log to another one of the same pod, in microseconds, for each pod that had a commit of its own;
# nothing unless they are there for every one of them.
log_steps() { # FROM TO
    sed -E 's/\x1b\[[0-9;]*m//g' "$work/podwright/log" | awk -v from="$1" -v to="$2" -v pods="$pods" '
        !match($0, /podwright-[0-9]+ /) { next }
        { pod = substr($0, RSTART, RLENGTH); split(substr($1, 12), t, /[:Z]/); now = (t[1] * 3600 + t[2] * 60 + t[3]) * 1e6 }
        index($0, from) { begun[pod] = now }
        index($0, to) && pod in begun && !(pod in took) { took[pod] = now - begun[pod]; count++ }
        END { if (count == pods) for (pod in took) printf "%.0f\n", took[pod] }'
}

# --- measuring

in_group() { # GROUP COMMAND...: runs it in a cgroup that counts its CPU time
    mkdir -p "$counter/$1"
    (
        echo "$BASHPID" >"$counter/$1/cgroup.procs"
        shift
        exec "$@"
    )
}

median() { sort -n | awk '{v[NR] = $1} END {if (NR) print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2; else print 0}'; }

manifest() { # NAME
    cat <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: $1
spec:
  terminationGracePeriodSeconds: 0
  os: {name: linux}
  volumes:
    - name: marks
      hostPath: {path: $work/marks, type: Directory}
  containers:
    - name: c
      lifecycle: {stopSignal: SIGKILL}
      image: docker.io/library/busybox:latest
      imagePullPolicy: Never
      command: [sh, -c, ": > /marks/$1; exec sleep $workload"]
      volumeMounts:
        - {name: marks, mountPath: /marks}
YAML
}

round() { # SIDE NUMBER: one more pod, from commit to its process
    local side=$1 name=$1-$2 repo=$work/repo-$1 begin committed tries end
    manifest "$name" >"$repo/$name.yaml"
    git -C "$repo" add "$name.yaml"
    begin=$(date +%s%N)
    git -C "$repo" commit -qm "$name"
    committed=$(date +%s%N)
    "${side}_commit" "$repo/$name.yaml"
    # When it was there tells the file itself: looking more often would only take time away from what is measured.
    for ((tries = 0; tries < 600; tries++)); do
        [ ! -e "$work/marks/$name" ] || break
        sleep 0.05
    done
    [ -e "$work/marks/$name" ] || { echo "tests/bench/run.sh: $side: pod $name did not start within 30 s" >&2; exit 1; }
    end=$(stat -c %.9Y "$work/marks/$name" | tr -d .)
    echo $(((end - begin) / 1000)) >>"$work/$side.wall"
    echo $(((committed - begin) / 1000)) >>"$work/git.wall"
}

many() { # SIDE TURN: pods in one commit, to the process of the last one; and their removal, until nothing is left
    local side=$1 turn=$2 repo=$work/repo-$1 all=$work/$1-$2.yaml begin before end i name tries marks
    kept=("$work/podwright/root/pods"/*)
    kept=${#kept[@]}
    mkdir -p "$repo/many"
    for ((i = 1; i <= at_once; i++)); do
        name=$side-many-$turn-$i
        manifest "$name" >"$repo/many/$name.yaml"
        printf -- '---\n'
        cat "$repo/many/$name.yaml"
    done >"$all"
    git -C "$repo" add many
    sync
    before=$(cpu_us $("${side}_groups"))
    begin=$(date +%s%N)
    git -C "$repo" commit -qm "many $turn"
    "${side}_commit" "$all"
    for ((tries = 0; tries < 2400; tries++)); do
        marks=("$work/marks/$side-many-$turn-"*)
        [ ${#marks[@]} -lt "$at_once" ] || break
        sleep 0.05
    done
    [ "$tries" -lt 2400 ] || { echo "tests/bench/run.sh: $side: pods did not start within 120 s" >&2; exit 1; }
    end=$(find "$work/marks" -name "$side-many-$turn-*" -printf '%T@\n' | sort -n | tail -1 | awk '{printf "%.0f", $1 * 1e9}')
    echo $(((end - begin) / 1000000)) >>"$work/$side.many"
    sleep 1
    echo $((($(cpu_us $("${side}_groups")) - before) / at_once)) >>"$work/$side.many-cpu"
    git -C "$repo" rm -q -r many
    begin=$(date +%s%N)
    git -C "$repo" commit -qm "no more of $turn"
    "${side}_gone" "$all"
    echo $((($(date +%s%N) - begin) / 1000000)) >>"$work/$side.gone"
}

mkdir -p "$work/marks"
for side in "${sides[@]}"; do
    repository "$work/repo-$side"
    manifest "$side-first" >"$work/repo-$side/$side-first.yaml"
    git -C "$work/repo-$side" add .
    git -C "$work/repo-$side" commit -qm first
    disk "$side"
    "${side}_open"
done
[ -n "$only" ] || { disk one; one_open; }
# The first pod of each warms up caches and makes the bridge; it is not counted.
for side in "${sides[@]}"; do round "$side" warm; : >"$work/$side.wall"; done
declare -A before after
for side in "${sides[@]}"; do before[$side]=$(cpu_us $("${side}_groups")); done
for ((i = 1; i <= pods; i++)); do
    for side in "${sides[@]}"; do round "$side" "$i"; done
    [ -n "$only" ] || one_round
done
sleep 1
for side in "${sides[@]}"; do after[$side]=$(cpu_us $("${side}_groups")); done
for ((i = 1; i <= turns; i++)); do
    for side in "${sides[@]}"; do many "$side" "$i"; done
done

printf 'podwright bench: %s\n' "tests/bench/run.sh ${arguments[*]:-}"
printf 'git commit itself: %s ms\n' "$(median <"$work/git.wall" | awk '{printf "%.1f", $1 / 1000}')"
printf 'loadavg %s, %s processors, kernel %s, %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)" "$(nproc)" "$(uname -r)" "$(podman --version)"
declare -A wall cpu pss idle many many_cpu gone written
thousandth() { awk '{printf "%.1f", $1 / 1000}'; }
for side in "${sides[@]}"; do
    mapfile -t processes < <("${side}_processes")
    many[$side]=$(median <"$work/$side.many")
    many_cpu[$side]=$(median <"$work/$side.many-cpu" | thousandth)
    gone[$side]=$(median <"$work/$side.gone")
    wall[$side]=$(median <"$work/$side.wall" | thousandth)
    cpu[$side]=$(echo $(((after[$side] - before[$side]) / pods)) | thousandth)
    # Two pods more than were measured: the warm-up, and for podwright the first commit's.
    running=$(find "$work/marks" -name "$side-*" ! -name "$side-many-*" | wc -l)
    pss[$side]=$(awk -v t="$(pss_kb "${processes[@]}")" -v n="$running" 'BEGIN {printf "%.0f", t / n}')
    from=$(cpu_us $("${side}_groups"))
    wrote=$(written_bytes "${processes[@]}")
    sleep 10
    written[$side]=$(($(written_bytes "${processes[@]}") - wrote))
    idle[$side]=$(awk -v t=$(($(cpu_us $("${side}_groups")) - from)) -v n="$running" 'BEGIN {printf "%.3f", t / 1e4 / n}')
    if [ "$side" = podwright ]; then
        echo "podwright: of this the agent alone: $(pss_kb $(podwright_agents)) kB PSS in all, shared by $running pods"
    fi
done
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {if (b > 0) printf "%.2f", a / b; else printf "-"}'; }
printf '%-44s' "$pods pods, one commit each"
printf ' %12s' "${sides[@]}" $([ -n "$only" ] || echo of-podman of-containerd)
printf '\n'
missed=0
bound() { # VALUE OF BOUND: says what it is, and that it is missed; what was not measured is missed, too
    awk -v a="$1" -v b="$2" -v most="$3" 'BEGIN {missed = !(a > 0 && b > 0 && a <= b * most); printf " (bound %.2f%s)", most, missed ? ", missed" : ""; exit missed}' || missed=1
}
row() { # TITLE ARRAY [BOUND-OF-PODMAN BOUND-OF-CONTAINERD]: - for none
    local -n values=$2
    local line=() side
    for side in "${sides[@]}"; do line+=("${values[$side]}"); done
    [ -n "$only" ] || line+=("$(ratio "${values[podwright]}" "${values[podman]}")" "$(ratio "${values[podwright]}" "${values[containerd]}")")
    printf '%-44s' "$1"
    printf ' %12s' "${line[@]}"
    if [ -z "$only" ]; then
        [ "${3:--}" = - ] || bound "${values[podwright]}" "${values[podman]}" "$3"
        [ "${4:--}" = - ] || bound "${values[podwright]}" "${values[containerd]}" "$4"
    fi
    printf '\n'
}
row 'commit to running process, median, ms wall' wall 0.166667 0.333333
row 'the same, mean, ms CPU' cpu - 0.2
row 'PSS of helpers per pod, kB' pss
row 'CPU per pod at rest, ms/s' idle
row 'bytes they wrote in ten seconds of rest' written
row "commit of $at_once pods to the last process, ms" many 0.083333 0.25
row 'the same, ms CPU per pod' many_cpu - 0.2
row "commit to the end of $at_once pods, ms" gone - 0.25
if [ -z "$only" ]; then
    by_hand=$(median <"$work/floor.wall" | thousandth) runc=$(median <"$work/runc.wall" | thousandth)
    container=$(log_steps 'start sandbox' 'start container' | median | thousandth)
    both=$(log_steps 'create pod' 'start container' | median | thousandth)
    printf 'one container, ms: by hand %s, runc %s, podwright %s, %s of runc' "$by_hand" "$runc" "$container" "$(ratio "$container" "$runc")"
    bound "$container" "$runc" 0.5
    printf '; with its sandbox %s, %s of by hand' "$both" "$(ratio "$both" "$by_hand")"
    bound "$both" "$by_hand" 5
    printf '\n'
fi
exit "$missed"
