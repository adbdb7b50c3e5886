#!/usr/bin/env bash
# Makes a disk image of the virtual machine's root file system: what tests/vm/build.sh made, podwright with its libraries,
# and files for /usr/share/podwright.
#
#   tests/vm/disk.sh IMAGE PODWRIGHT FILE...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../packages.sh"
image=$1 podwright=$2
shift 2
vm=${CARGO_TARGET_DIR:-$here/../../target}/test-vm
[ -e "$vm/key" ] || { echo "$vm: run tests/vm/build.sh first" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$vm/root" "$work/root"
objcopy --strip-debug "$podwright" "$work/root/usr/bin/podwright"
libraries "$work/root" "$podwright"
cp "$@" "$work/root/usr/share/podwright/"
kilobytes=$(du -sk "$work/root" | cut -f1)
# A tenth and 16 MiB more, for what a file system needs for itself.
mke2fs -t ext4 -O ^has_journal -m 0 -d "$work/root" "$image" $((kilobytes * 11 / 10 + 16384))k >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
