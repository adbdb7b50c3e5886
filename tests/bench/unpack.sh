#!/usr/bin/env bash
# What unpacking an image costs: a layout of ten layers, gzip of 50 MB each, loaded into a store that is empty.
#
#   tests/bench/unpack.sh [--megabytes N] [--rounds N]
#
# Prints medians of wall seconds, and their ratio. Exit code: 1 when the bound of 1.2 is missed.
# The floor of the same run is what has to be done with the same bytes in any case: `sha256sum` of each layer, `tar -xz` of
# it, and `sync -f` of the file system at the end. Both go turn by turn, on one file system, from files that were read
# before.
# PODWRIGHT_BIN names the program to measure; otherwise a release build is made. Owners are kept, so it needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."

megabytes=500
rounds=5
while [ $# -gt 0 ]; do
    case $1 in
    --megabytes) megabytes=${2:?--megabytes needs a number}; shift 2 ;;
    --rounds) rounds=${2:?--rounds needs a number}; shift 2 ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "tests/bench/unpack.sh: unknown argument $1" >&2; exit 64 ;;
    esac
done
[ "$(id -u)" = 0 ] || { echo "tests/bench/unpack.sh: needs root" >&2; exit 77; }
for program in python3 tar gzip sha256sum; do
    command -v "$program" >/dev/null || { echo "tests/bench/unpack.sh: needs $program" >&2; exit 77; }
done
if [ -z "${PODWRIGHT_BIN:-}" ]; then
    cargo build --release --locked >&2
    PODWRIGHT_BIN=${CARGO_TARGET_DIR:-$PWD/target}/release/podwright
fi
work=$(mktemp -d /var/tmp/podwright-bench.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT

python3 - "$work" "$PODWRIGHT_BIN" "$megabytes" "$rounds" <<'PYTHON'
import gzip, hashlib, io, json, os, platform, random, shutil, statistics, subprocess, sys, tarfile, time
work, program, megabytes, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
LAYERS, BOUND = 10, 1.2
layout = os.path.join(work, "layout")
blobs = os.path.join(layout, "blobs/sha256")
os.makedirs(blobs)

def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(blobs, digest), "wb") as file:
        file.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}

# Files of the sizes that distributions have, half of their bytes words and half of them noise: gzip takes it to about a half.
words = [bytes(random.Random(n).choices(b"abcdefghijklmnopqrstuvwxyz", k=3 + n % 9)) + b" " for n in range(4000)]
def content(chance, length):
    text = b"".join(chance.choices(words, k=length // 14 + 1))[: length // 2]
    return text + chance.randbytes(length - len(text))
diff_ids, layers = [], []
for number in range(LAYERS):
    chance, left, count = random.Random(number), megabytes * 1_000_000 // LAYERS, 0
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        while left > 0:
            length = min(left, int(chance.lognormvariate(9, 1.8)) + 1)
            entry = tarfile.TarInfo("layer%d/%d/file%d" % (number, count // 100, count))
            entry.size, entry.mode = length, 0o644
            tar.addfile(entry, io.BytesIO(content(chance, length)))
            left, count = left - length, count + 1
    plain = plain.getvalue()
    diff_ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
    packed = gzip.compress(plain, 6, mtime=0)
    layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **blob(packed)})
architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
config = {"os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
config = {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(json.dumps(config).encode())}
manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}
top = {"mediaType": manifest["mediaType"], **blob(json.dumps(manifest).encode())}
top["annotations"] = {"org.opencontainers.image.ref.name": "bench.invalid/unpack:1"}
with open(os.path.join(layout, "index.json"), "w") as file:
    json.dump({"schemaVersion": 2, "manifests": [top]}, file)
with open(os.path.join(layout, "oci-layout"), "w") as file:
    json.dump({"imageLayoutVersion": "1.0.0"}, file)
paths = [os.path.join(blobs, layer["digest"][7:]) for layer in layers]
unpacked, stored = megabytes, sum(layer["size"] for layer in layers) / 1e6

def run(command):
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit("%s failed: %s" % (" ".join(command), done.stderr.decode(errors="replace")))

def floor(place):
    for number, path in enumerate(paths):
        into = os.path.join(place, str(number))
        os.makedirs(into)
        run(["sha256sum", path])
        run(["tar", "-xzf", path, "-C", into])
    run(["sync", "-f", place])

def ours(place):
    run([program, "image", "load", layout, "--root", place])

def measure(way, place):
    os.makedirs(place)
    run(["sync"])
    before = time.monotonic()
    way(place)
    took = time.monotonic() - before
    files = (os.path.join(at, name) for at, _, names in os.walk(place) for name in names if name.startswith("file"))
    found = sum(os.path.getsize(file) for file in files)
    if found != megabytes * 1_000_000 // LAYERS * LAYERS:
        sys.exit("%d bytes were unpacked" % found)
    shutil.rmtree(place)
    return took

times = {floor: [], ours: []}
for turn in range(rounds):
    for way in (floor, ours) if turn % 2 == 0 else (ours, floor):
        times[way].append(measure(way, os.path.join(work, "turn")))
low, own = statistics.median(times[floor]), statistics.median(times[ours])
each = lambda list: " ".join("%.2f" % seconds for seconds in list)
print("%d layers, %.0f MB, %.0f MB as gzip, medians of %d" % (LAYERS, unpacked, stored, rounds))
print("sha256sum, tar -xz, sync -f   %6.2f s   (%s)" % (low, each(times[floor])))
print("podwright image load          %6.2f s   (%s)" % (own, each(times[ours])))
print("ratio                         %6.2f     (at most %.1f)" % (own / low, BOUND))
if own / low > BOUND:
    sys.exit("missed: unpacking takes %.2f times the floor" % (own / low))
PYTHON
