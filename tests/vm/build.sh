#!/usr/bin/env bash
# Makes what the tests with a virtual machine need, in target/test-vm: qemu, Debian's kernel with its modules, the first
# programs of the machine (initrd), and the files of its root file system (root) but for podwright.
# Needs apt (downloads qemu-system-x86, linux-image-cloud-amd64 and busybox-static without installing them), dpkg-deb, gzip,
# a C compiler and the nft program. It is made again only when a package version or one of the scripts changes.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${CARGO_TARGET_DIR:-target}/test-vm
if [ "$(dpkg --print-architecture)" != amd64 ]; then
    echo "test machine: none, it is an amd64 one"
    exit 0
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
exec 9>"$out/.lock"
flock 9
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/packages.sh

kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
[ "$kernel" ] || { echo "tests/vm/build.sh: no Debian package linux-image-cloud-amd64 is known here; run apt-get update" >&2; exit 1; }

# What qemu needs and this machine lacks: everything that apt would install with it.
missing() {
    LC_ALL=C apt-get install -s --no-install-recommends "$1" 2>/dev/null | sed -n 's/^Inst \([^ ]*\) .*/\1/p'
}

wanted=$({
    for package in qemu-system-x86 "$kernel" busybox-static; do echo "$package=$(candidate "$package")"; done
    installed libc6 nftables
    cat tests/packages.sh tests/vm/{build.sh,init,initrd,serve}
} | sha256sum | cut -c1-64)
if [ "$(cat "$out/key" 2>/dev/null)" = "$wanted" ]; then
    echo "test machine: up to date"
    exit 0
fi
rm -rf "$out/key" "$out/qemu" "$out/root" "$out/initrd" "$out/vmlinuz"

mkdir "$out/qemu"
if command -v qemu-system-x86_64 >/dev/null; then
    echo "exec qemu-system-x86_64 \"\$@\"" >"$out/qemu/run"
else
    # Package names have no blanks.
    # shellcheck disable=SC2046
    fetch "$out/qemu" $(missing qemu-system-x86)
    cat >"$out/qemu/run" <<'RUN'
here=$(cd "$(dirname "$0")" && pwd)
export LD_LIBRARY_PATH=$here/usr/lib/x86_64-linux-gnu:$here/lib/x86_64-linux-gnu QEMU_MODULE_DIR=$here/usr/lib/x86_64-linux-gnu/qemu
exec "$here/usr/bin/qemu-system-x86_64" -L "$here/usr/share/qemu" -L "$here/usr/share/seabios" "$@"
RUN
fi

fetch "$work/kernel" "$kernel"
fetch "$work/busybox" busybox-static
cp "$work"/kernel/boot/vmlinuz-* "$out/vmlinuz"
busybox=$(find "$work/busybox" -path '*bin/busybox')
release=$(ls "$work/kernel/lib/modules")
modules=lib/modules/$release

root=$out/root
mkdir -p "$root"/{bin,dev,etc,lib64,proc,root,run,sbin,sys,tmp,usr/bin,usr/sbin,usr/share/podwright,var} "$root/$modules/kernel"
(cd "$work/kernel/$modules" && cp --parents -r modules.builtin modules.order \
    kernel/{net,lib,crypto,fs/overlayfs,drivers/virtio,drivers/block} kernel/drivers/net/veth.ko* "$root/$modules")
"$busybox" depmod -b "$root" "$release"
install -m 0755 "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do
    case $applet in busybox) continue ;; modprobe) to=sbin/modprobe ;; *) to=bin/$applet ;; esac
    ln -s /bin/busybox "$root/$to"
done
ln -s ../../bin/env "$root/usr/bin/env"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n' >"$root/etc/group"
echo vm >"$root/etc/hostname"
install -m 0755 "$(command -v nft)" "$root/usr/sbin/nft"
libraries "$root" "$root/usr/sbin/nft"
install -m 0755 tests/vm/init tests/vm/serve "$root/sbin/"
# Machines that go on from the same moment would have the same random numbers otherwise, and one boot id.
cc -O1 -o "$root/sbin/reseed" -x c - <<'C'
#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>

int main(void)
{
    int random = open("/dev/urandom", O_RDONLY);
    return random < 0 || ioctl(random, RNDRESEEDCRNG) != 0;
}
C
libraries "$root" "$root/sbin/reseed"

mkdir -p "$work/initrd"/{bin,dev,new,proc,sbin}
install -m 0755 "$busybox" "$work/initrd/bin/busybox"
ln -s /bin/busybox "$work/initrd/sbin/modprobe"
(cd "$root" && cp --parents -r "$modules"/modules.* "$modules"/kernel/drivers/{virtio,block} "$work/initrd")
install -m 0755 tests/vm/initrd "$work/initrd/init"
(cd "$work/initrd" && find . | "$busybox" cpio -o -H newc | gzip -1) >"$out/initrd"

echo "$wanted" >"$out/key"
echo "test machine: made, Linux $release"
