#!/usr/bin/env bash
# `podwright diff --base --head` beside `git diff --stat` of the same two commits, turn by turn: 10,000 pods in 200
# directories with the presets, ConfigMaps and Secrets they share, of which 1 and 100 files changed; the repository as one
# pack, as a clone has it, and as loose objects.
#
#   tests/bench/diff.sh [--pods N] [--turns N]
#
# Prints medians and ratios, of the clock and of the processor, and what the second core was worth. Exit code: 0 when the
# clock's ratios are within the bounds, 1 when one is not. Needs git, python3 and taskset. Nothing is kept between two runs:
# podwright has no cache on disk. PODWRIGHT_BIN names the program to measure; otherwise a release build is made.
set -euo pipefail
cd "$(dirname "$0")/../.."

pods=10000
turns=15
while [ $# -gt 0 ]; do
    case $1 in
    --pods) pods=${2:?--pods needs a number}; shift 2 ;;
    --turns) turns=${2:?--turns needs a number}; shift 2 ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "tests/bench/diff.sh: unknown argument $1" >&2; exit 64 ;;
    esac
done
[[ $pods =~ ^[1-9][0-9]{3,5}$ ]] || { echo "tests/bench/diff.sh: --pods takes 1000 to 999999" >&2; exit 64; }
[[ $turns =~ ^[1-9][0-9]{0,2}$ ]] || { echo "tests/bench/diff.sh: --turns takes 1 to 999" >&2; exit 64; }
for program in git python3 taskset; do
    command -v "$program" >/dev/null || { echo "tests/bench/diff.sh: needs $program" >&2; exit 77; }
done
if [ -z "${PODWRIGHT_BIN:-}" ]; then
    cargo build --release --locked >&2
    PODWRIGHT_BIN=${CARGO_TARGET_DIR:-$PWD/target}/release/podwright
fi
work=$(mktemp -d "${TMPDIR:-/var/tmp}/podwright-bench-diff.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
echo "PODWRIGHT_BIN=$PODWRIGHT_BIN tests/bench/diff.sh --pods $pods --turns $turns, load $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) cores, $(git --version)"
python3 tests/bench/diff.py "$PODWRIGHT_BIN" "$work" "$pods" "$turns"
