# shellcheck shell=bash
# containerd as a side of run.sh and probes.sh, which source this: a daemon of its own, called by its CRI as the kubelet does it (cri.py).

cri() { /usr/bin/python3 tests/bench/cri.py "$work/containerd/socket" "$@"; }

containerd_open() {
    local dir=$work/containerd tries
    mkdir -p "$dir/cni" "$dir/pause"
    cat >"$dir/config.toml" <<CONF
version = 2
root = "$dir/root"
state = "$dir/state"
[grpc]
  address = "$dir/socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
CONF
    cat >"$dir/cni/bench.conflist" <<CONF
{"cniVersion":"0.4.0","name":"bench","plugins":[{"type":"bridge","bridge":"bench1","isGateway":true,"ipMasq":false,
"ipam":{"type":"host-local","dataDir":"$dir/addresses","ranges":[[{"subnet":"10.97.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}
CONF
    containerd -c "$dir/config.toml" >"$dir/log" 2>&1 &
    containerd=$!
    mkdir -p "$counter/bench-containerd"
    echo "$containerd" >"$counter/bench-containerd/cgroup.procs"
    for ((tries = 0; tries < 100; tries++)); do
        ! ctr -a "$dir/socket" version >/dev/null 2>&1 || break
        kill -0 "$containerd" 2>/dev/null || { tail -20 "$dir/log" >&2; echo "$self: containerd ended" >&2; exit 1; }
        sleep 0.1
    done
    # An infra program as small as C gets without tricks, as an image of one layer.
    printf '#include <unistd.h>\nint main(void){for(;;)pause();}\n' >"$dir/pause.c"
    cc -Os -static -s -o "$dir/pause/pause" "$dir/pause.c"
    tar -C "$dir/pause" -cf "$dir/layer.tar" pause
    printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')" "$(sha256sum <"$dir/layer.tar" | cut -d' ' -f1)" >"$dir/config.json"
    echo '[{"Config":"config.json","RepoTags":["localhost/pause:1"],"Layers":["layer.tar"]}]' >"$dir/manifest.json"
    tar -C "$dir" -cf "$dir/pause.tar" manifest.json config.json layer.tar
    ctr -a "$dir/socket" -n k8s.io image import "$dir/pause.tar" >/dev/null
    ctr -a "$dir/socket" -n k8s.io image import "$image" >/dev/null
}

containerd_close() {
    cri remove '' >/dev/null
    kill "$containerd"
    wait "$containerd"
    # Its shims end by themselves, a moment later.
    local tries left
    for ((tries = 0; tries < 50; tries++)); do
        left=(/sys/fs/cgroup/bench-containerd* /sys/fs/cgroup/*/bench-containerd*)
        [ ${#left[@]} -gt 0 ] || break
        rmdir "${left[@]}" 2>/dev/null || sleep 0.1
    done
}

# The names of pods in a file of manifests.
containerd_names() { sed -n 's/^  name: //p' "$1"; }

containerd_commit() { # FILE: the pods of it, as a watcher that costs nothing would start them
    local names
    mapfile -t names < <(containerd_names "$1")
    cri run docker.io/library/busybox:latest "$work/marks" /bench-containerd-pods "${names[@]}"
}

containerd_gone() { # FILE: all pods of a turn have names that begin alike
    cri remove "$(containerd_names "$1" | head -1 | sed 's/[0-9]*$//')"
}

containerd_groups() { echo bench-containerd bench-containerd-pods; }

# The daemon, its shims, and the infra processes.
containerd_processes() {
    local pid
    for pid in $(cat "$counter/bench-containerd/cgroup.procs" "$counter"/bench-containerd-pods/*/cgroup.procs); do
        grep -qsa "sleep.$workload" "/proc/$pid/cmdline" || echo "$pid"
    done
}
