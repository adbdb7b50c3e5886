#!/usr/bin/env bash
# Installs what the tests need, runs them all, looks for what they left behind.
#
#   tests/run.sh          asks before it installs anything
#   tests/run.sh --yes    asks nothing and takes no excuse: for CI, where a skipped test is a failure
#
# Needs the Rust toolchain and a C compiler; the end-to-end tests need root. The last line counts. Exit code: 0 when all is
# well, 1 for a failed test or a leak, 77 when something could not run here, 64 for a wrong argument.
set -euo pipefail
cd "$(dirname "$0")/.."

yes=
for argument in "$@"; do
    case $argument in
    --yes) yes=1 ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "tests/run.sh: unknown argument $argument; it takes --yes" >&2; exit 64 ;;
    esac
done

# PACKAGE (PROGRAM): what for. Installed when the program is missing; none of them starts a service.
packages=(
    "git (git): the tests commit manifests"
    "curl (curl): the workflow of examples/pull-request calls a stand-in of the forge"
    "jq (jq): the same"
    "iproute2 (ip): the tests look at links and addresses"
    "nftables (nft): host ports of pods"
    "e2fsprogs (mke2fs): disks of a virtual machine"
    "strace (strace): the order of what is written and flushed, and calls of the system that fail"
    "openssl (openssl): certificates of a registry of the tests' own"
    "ca-certificates (update-ca-certificates): crates and packages come over TLS"
)

root=
[ "$(id -u)" != 0 ] || root=1
not_run=()    # what could not run, with the way out
passed=0 failed=0 skipped=0 leaks=0

say() { printf '\n== %s\n' "$*"; }

has() { # "PACKAGE (PROGRAM): ..."
    local program=${1#*(}
    command -v "${program%%)*}" >/dev/null
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=240 "$@"
}

install_packages() {
    local entry missing=() answer
    if ! command -v apt-get >/dev/null; then
        not_run+=("end-to-end tests: their images are built from Debian packages, and there is no apt-get here; run this on Debian 12 or newer")
        return
    fi
    for entry in "${packages[@]}"; do
        has "$entry" || missing+=("$entry")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        say "The tests need Debian packages that are not installed:"
        printf '   %s\n' "${missing[@]}"
    fi
    echo "The Debian packages busybox-static, nginx, nginx-common, docker-registry, linux-image-cloud-amd64, and qemu-system-x86 with"
    echo "what it needs and is not here, are downloaded for the tests, not installed."
    if [ -z "$root" ]; then
        not_run+=("end-to-end tests: they need root; run  sudo env PATH=\"\$PATH\" tests/run.sh")
        return
    fi
    if [ ${#missing[@]} -gt 0 ] && [ -z "$yes" ]; then
        read -r -p "Install them now? [y/N] " answer || answer=
        case $answer in
        [yY]*) ;;
        *)
            not_run+=("end-to-end tests: packages are missing; say yes, or run  apt-get install ${missing[*]%% *}")
            return
            ;;
        esac
    fi
    if ! apt update >"$work/apt.log" 2>&1; then
        tail -5 "$work/apt.log" >&2
        echo "tests/run.sh: apt-get update failed; going on with the package lists that are there" >&2
    fi
    if [ ${#missing[@]} -gt 0 ]; then
        apt install -y --no-install-recommends "${missing[@]%% *}"
    fi
}

# What podwright may leave on a machine: mounts, namespaces that are kept by a mount, cgroups, links with their addresses,
# nftables tables, processes. One line each.
snapshot() {
    local pid
    grep -E "$work|/podwright| nsfs " /proc/self/mountinfo | cut -d' ' -f5 | sed 's/^/mount /' || true
    find /sys/fs/cgroup -type d -name 'podwright-*' 2>/dev/null | sed 's/^/cgroup /' || true
    find /sys/class/net -maxdepth 1 -name 'pw*' 2>/dev/null | sed 's/.*\//link /' || true
    if command -v nft >/dev/null; then nft list tables 2>/dev/null | grep -E ' (podwright|pw)' | sed 's/^/nftables /' || true; fi
    for pid in /proc/[0-9]*; do
        pid=${pid#/proc/}
        [ "$pid" != $$ ] && [ "$pid" != "$BASHPID" ] || continue
        if grep -qs 'podwright-' "/proc/$pid/cgroup" || grep -qs "$work" "/proc/$pid/mountinfo" ||
            tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qE "$work|internal-shim"; then
            echo "process $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c1-120)"
        fi
    done 2>/dev/null
}

# Runs a test command and adds up the counts that it prints.
count() {
    local log=$work/tests.log status=0 line
    "$@" 2>&1 | tee "$log" || status=$?
    while read -r line; do
        passed=$((passed + $(sed -E 's/.* ([0-9]+) passed.*/\1/' <<<"$line")))
        failed=$((failed + $(sed -E 's/.* ([0-9]+) failed.*/\1/' <<<"$line")))
        skipped=$((skipped + $(sed -E 's/.* ([0-9]+) ignored.*/\1/' <<<"$line")))
    done < <(grep -aE '^test result: ' "$log" || true)
    # What each failure says, once more at the end: long output is cut in the middle where it is kept.
    awk '/^---- .* stdout ----$/ { left = 40 } /^stack backtrace:$|^failures:$|^note: run with/ { left = 0 } left-- > 0' "$log" |
        cut -c1-2000 >>"$work/failures"
    # A suite that did not even get to its result line has failed.
    if [ "$status" != 0 ] && ! grep -aqE '^test result: FAILED' "$log"; then failed=$((failed + 1)); fi
}

check_leaks() {
    local tries
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        snapshot | sort -u >"$work/after"
        comm -13 "$work/before" "$work/after" >"$work/leaks"
        [ -s "$work/leaks" ] || break
        sleep 0.5
    done
    leaks=$(wc -l <"$work/leaks")
    if [ "$leaks" != 0 ]; then
        say "Left behind:"
        cat "$work/leaks"
    fi
}

work=$(mktemp -d /tmp/pwt.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir "$work/tmp"
# Some tests act as another user.
chmod 711 "$work"
chmod 1777 "$work/tmp"
: >"$work/failures"
export TMPDIR=$work/tmp PODWRIGHT_TEST_SKIPS=$work/skips
: >"$PODWRIGHT_TEST_SKIPS"

command -v cargo >/dev/null || { echo "tests/run.sh: there is no cargo; install Rust, see https://rustup.rs" >&2; exit 1; }
command -v cc >/dev/null || { echo "tests/run.sh: there is no C compiler; install one, such as with  apt-get install gcc libc6-dev" >&2; exit 1; }
install_packages
if [ ${#not_run[@]} = 0 ] && ! unshare -m -n -i -u true 2>/dev/null; then
    not_run+=("end-to-end tests: the kernel refuses namespaces here even to root; run on a machine or virtual machine of your own")
fi

say "Building"
cargo build --locked
cargo test --locked --no-run
if [ ${#not_run[@]} = 0 ]; then
    tests/images/build.sh
    tests/vm/build.sh
fi
snapshot | sort -u >"$work/before"

say "Tests of the parts"
count cargo test --locked --no-fail-fast -- --skip e2e_
if [ ${#not_run[@]} = 0 ]; then
    say "Tests from end to end"
    PODWRIGHT_E2E=1 count cargo test --locked --test it -- e2e_ --test-threads=2
fi
check_leaks

told=$(sort -u "$PODWRIGHT_TEST_SKIPS" | wc -l)
passed=$((passed - told))
skipped=$((skipped + told))
if [ "$told" != 0 ]; then
    say "Skipped:"
    sort -u "$PODWRIGHT_TEST_SKIPS"
fi
if [ ${#not_run[@]} != 0 ]; then
    say "Not run:"
    printf '   %s\n' "${not_run[@]}"
    skipped=$((skipped + ${#not_run[@]}))
fi
if [ -s "$work/failures" ]; then
    say "Failures:"
    cat "$work/failures"
fi
printf '\n%s passed, %s failed, %s skipped; leaks: %s\n' "$passed" "$failed" "$skipped" "$leaks"
[ "$failed" = 0 ] && [ "$leaks" = 0 ] || exit 1
[ "$skipped" = 0 ] || { [ -z "$yes" ] || exit 1; exit 77; }
