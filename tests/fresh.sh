#!/usr/bin/env bash
# Runs the README's first command where nothing is installed but the Rust toolchain and a C compiler: in a Debian that
# debootstrap makes, on a clone of this repository's HEAD, in a mount namespace that ends with it.
#
#   tests/fresh.sh                    cargo run --release -- demo
#   tests/fresh.sh -- COMMAND...      another command
#   tests/fresh.sh --packages git,... more packages for it
#   tests/fresh.sh --without-git      the same files in a directory that is no clone
#
# Needs root, debootstrap and a few GB below /var/tmp. Package sources, proxies and cargo's configuration are this
# machine's. Exit code: the command's, 64 for a wrong argument, 77 when it cannot be tried here.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=gcc,libc6-dev,ca-certificates
command=(cargo run --release -- demo)
without_git=
while [ $# -gt 0 ]; do
    case $1 in
    --without-git) without_git=1; shift ;;
    --packages) packages+=,${2:?--packages needs a list}; shift 2 ;;
    --) shift; command=("$@"); break ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "tests/fresh.sh: unknown argument $1" >&2; exit 64 ;;
    esac
done
[ ${#command[@]} -gt 0 ] || { echo "tests/fresh.sh: no command after --" >&2; exit 64; }

cannot() { echo "tests/fresh.sh: $*" >&2; exit 77; }
[ "$(id -u)" = 0 ] || cannot "needs root, for debootstrap and mounts: run  sudo env PATH=\"\$PATH\" tests/fresh.sh"
command -v debootstrap >/dev/null || cannot "needs debootstrap: run  apt-get install debootstrap"
command -v rustc >/dev/null || cannot "needs the Rust toolchain: see https://rustup.rs"

# Everything that is mounted from here on is gone when this process ends.
if [ "${PODWRIGHT_FRESH_NAMESPACE:-}" != 1 ]; then
    arguments=(--packages "${packages#gcc,libc6-dev,ca-certificates}" -- "${command[@]}")
    [ "${arguments[1]}" ] || arguments=(-- "${command[@]}")
    [ -z "$without_git" ] || arguments=(--without-git "${arguments[@]}")
    PODWRIGHT_FRESH_NAMESPACE=1 exec unshare -m --propagation private "$0" "${arguments[@]}"
fi

work=$(mktemp -d /var/tmp/podwright-fresh.XXXXXX)
fresh=$work/root
mkdir "$fresh"
mounted() { awk -v root="$work/" 'index($5, root) == 1 {print $5}' /proc/self/mountinfo | tac; }
cleanup() {
    local mount
    for mount in $(mounted); do umount -l "$mount" || true; done
    # The toolchain is bound below: while anything is mounted nothing is deleted.
    if [ -z "$(mounted)" ]; then rm -rf --one-file-system "$work"; else echo "fresh: $work is left, something is mounted there" >&2; fi
}
trap cleanup EXIT

# The first of the machine's own sources that has the release itself.
read -r uri suite < <(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    grep -vE -- '-(security|updates|backports)' | head -1) || cannot "no Debian package source is configured, or apt-get update never ran"
proxy=$(apt-config dump --format '%v' Acquire::http::Proxy)
[ -z "$proxy" ] || export http_proxy=$proxy
echo "fresh: a minimal Debian ($suite) with ${packages//,/, }"
debootstrap --variant=minbase --include="$packages" "$suite" "$fresh" "$uri" >"$work/debootstrap.log" 2>&1 ||
    { tail -20 "$work/debootstrap.log" >&2; cannot "debootstrap failed; its last lines are above"; }

for path in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/auth.conf /etc/apt/auth.conf.d /etc/apt/keyrings \
    /etc/apt/trusted.gpg.d /usr/share/keyrings /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
    [ -e "$path" ] || continue
    mkdir -p "$fresh${path%/*}"
    rm -rf "${fresh:?}$path"
    cp -rL "$path" "$fresh$path"
done
[ -z "$proxy" ] || echo "Acquire::http::Proxy \"$proxy\";" >"$fresh/etc/apt/apt.conf.d/99proxy"
mkdir -p "$fresh/root/.cargo" "$fresh/opt/rust" "$fresh/old"
cargo_home=${CARGO_HOME:-$HOME/.cargo}
for file in config.toml config credentials.toml; do
    [ ! -e "$cargo_home/$file" ] || cp "$cargo_home/$file" "$fresh/root/.cargo/$file"
done
git clone -q --no-hardlinks "$PWD" "$fresh/root/podwright"
[ -z "$without_git" ] || rm -rf "$fresh/root/podwright/.git"

mount --bind "$fresh" "$fresh"
mount --bind "$(rustc --print sysroot)" "$fresh/opt/rust"
mount -o remount,ro,bind "$fresh/opt/rust"
mount -t proc proc "$fresh/proc"
mount --rbind /sys "$fresh/sys"
mount --rbind /dev "$fresh/dev"
mount -t tmpfs tmpfs "$fresh/run"
mount -t tmpfs -o mode=1777 tmpfs "$fresh/tmp"

keep=(HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
while IFS= read -r variable; do
    keep+=("$variable")
done < <(env | grep -E '^(CARGO_(NET|HTTP|REGISTR|SOURCE|BUILD_JOBS)[A-Z_]*|[a-zA-Z_]*_(proxy|PROXY)|NO_COLOR|SSL_CERT_FILE)=' || true)

# A root of its own, not a mere chroot: the kernel lets a container pivot only out of a real root.
echo "fresh: ${command[*]}"
status=0
env -i "${keep[@]}" unshare -m --propagation private bash -c '
    cd "$1" && pivot_root . old && umount -l /old && rmdir /old && cd /root/podwright && shift && exec "$@"
' bash "$fresh" "${command[@]}" || status=$?
changed=
[ -n "$without_git" ] || changed=$(git -C "$fresh/root/podwright" status --porcelain | head -5)
if [ -n "$changed" ]; then
    printf 'fresh: the clone is not clean afterwards:\n%s\n' "$changed" >&2
    [ "$status" != 0 ] || status=1
fi
echo "fresh: exit code $status"
exit "$status"
