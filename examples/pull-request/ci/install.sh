#!/bin/sh
# Puts podwright on the PATH of the following steps, unless it is there.
#
#   PODWRIGHT_URL      where the program is downloaded from
#   PODWRIGHT_SHA256   what it must be: 64 hexadecimal digits
set -eu

if command -v podwright >/dev/null; then
    exit 0
fi
if [ -z "${PODWRIGHT_URL:-}" ] || [ -z "${PODWRIGHT_SHA256:-}" ]; then
    echo "ci/install.sh: podwright is not installed; set PODWRIGHT_URL and PODWRIGHT_SHA256, or use a runner that has it" >&2
    exit 1
fi
directory=${PODWRIGHT_BIN:-${RUNNER_TEMP:-/usr/local}/bin}
mkdir -p "$directory"
program=$directory/podwright
curl -q -sS --fail --location --retry 3 --max-time 300 --output "$program.new" "$PODWRIGHT_URL"
if ! echo "$PODWRIGHT_SHA256  $program.new" | sha256sum -c - >/dev/null; then
    rm -f "$program.new"
    echo "ci/install.sh: what PODWRIGHT_URL names has not the checksum PODWRIGHT_SHA256" >&2
    exit 1
fi
chmod 755 "$program.new"
mv "$program.new" "$program"
if [ -n "${GITHUB_PATH:-}" ]; then
    echo "$directory" >>"$GITHUB_PATH"
fi
