#!/usr/bin/env bash
# Builds the images of the tests from Debian packages: busybox, debian, nginx, each an oci-archive in target/test-images;
# beside them Debian's docker-registry, the program that the tests pull from.
# Needs apt (downloads busybox-static, nginx and docker-registry without installing them), dpkg-deb, tar, gzip. Not root.
# An image is built again only when a package version or this script changes.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${CARGO_TARGET_DIR:-target}/test-images
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
architecture=$(dpkg --print-architecture)
case $architecture in armhf | armel) architecture=arm ;; i386) architecture=386 ;; ppc64el) architecture=ppc64le ;; esac

. tests/packages.sh

# The version in the key is enough: what a package holds never changes.
key() { # PACKAGE...: those that are downloaded; the libraries and tools of this machine count too
    { for p in "$@"; do echo "$p=$(candidate "$p")"; done; installed libc6 coreutils dash bash hostname libssl3 libssl3t64; cat tests/packages.sh "$0"; } |
        sha256sum | cut -c1-64
}

current() { # IMAGE KEY
    [ -s "$out/$1.tar" ] && [ "$(cat "$out/$1.key" 2>/dev/null)" = "$2" ]
}

skeleton() { # ROOT: what every image has
    mkdir -p "$1"/{bin,dev,etc,proc,root,run,sys,tmp,usr/bin,usr/sbin,var/log,var/tmp}
    chmod 1777 "$1/tmp" "$1/var/tmp"
    chmod 0700 "$1/root"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$1/etc/passwd"
    printf 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n' >"$1/etc/group"
}

layer() { # NAME ROOT: a layer from a directory, the same bytes each time
    tar --sort=name --mtime=@1700000000 --owner=0 --group=0 --numeric-owner --format=pax \
        --pax-option=delete=atime,delete=ctime -C "$2" -cf "$work/$1.layer" .
}

blob() { # FILE: into the layout under its digest, which is printed
    local digest
    digest=$(sha256sum "$1" | cut -c1-64)
    mkdir -p "$layout/blobs/sha256"
    cp "$1" "$layout/blobs/sha256/$digest"
    echo "$digest"
}

archive() { # IMAGE CONFIG LAYER...: an oci-archive of the layers, lowest first
    local image=$1 config=$2 diff_ids='' layers='' name digest
    shift 2
    layout=$work/layout-$image
    mkdir -p "$layout"
    for name in "$@"; do
        diff_ids+="${diff_ids:+,}\"sha256:$(sha256sum "$work/$name.layer" | cut -c1-64)\""
        gzip -n -1 -c "$work/$name.layer" >"$work/$name.gz"
        digest=$(blob "$work/$name.gz")
        layers+="${layers:+,}{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:$digest\",\"size\":$(stat -c %s "$work/$name.gz")}"
    done
    printf '{"architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":[%s]}}' \
        "$architecture" "$config" "$diff_ids" >"$work/config.json"
    digest=$(blob "$work/config.json")
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[%s]}' \
        "$digest" "$(stat -c %s "$work/config.json")" "$layers" >"$work/manifest.json"
    digest=$(blob "$work/manifest.json")
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"docker.io/library/%s:latest"}}]}' \
        "$digest" "$(stat -c %s "$work/manifest.json")" "$image" >"$layout/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    tar --sort=name --mtime=@1700000000 --owner=0 --group=0 --numeric-owner -C "$layout" -cf "$work/$image.tar" .
    mv "$work/$image.tar" "$out/$image.tar"
}

readonly path=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

build_busybox() {
    local root=$work/busybox applet
    skeleton "$root"
    fetch "$work/busybox-package" busybox-static
    install -m 0755 "$work"/busybox-package/*bin/busybox "$root/bin/busybox" 2>/dev/null ||
        install -m 0755 "$work"/busybox-package/usr/bin/busybox "$root/bin/busybox"
    for applet in $("$root/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    ln -s ../../bin/env "$root/usr/bin/env"
    layer busybox "$root"
    archive busybox "{\"Env\":[\"$path\"],\"Cmd\":[\"sh\"]}" busybox
}

# A small Debian: the essential tools of this machine with their libraries. The nginx image stands on it.
base_layer() {
    local root=$work/debian tool
    [ -e "$work/debian.layer" ] && return
    skeleton "$root"
    for tool in $(dpkg -L coreutils dash bash hostname | grep -E '^(/usr)?/s?bin/[^/]+$' | sort -u); do
        [ -f "$tool" ] || continue
        install -D -m 0755 "$(readlink -f "$tool")" "$root/bin/${tool##*/}"
        case $tool in /usr/bin/env) ln -sf ../../bin/env "$root/usr/bin/env" ;; esac
    done
    ln -sf dash "$root/bin/sh"
    libraries "$root" "$root"/bin/*
    cp /etc/os-release "$root/etc/os-release"
    if [ -e /etc/debian_version ]; then cp /etc/debian_version "$root/etc/debian_version"; fi
    layer debian "$root"
}

build_debian() {
    base_layer
    archive debian "{\"Env\":[\"$path\"],\"Cmd\":[\"bash\"]}" debian
}

build_nginx() {
    local root=$work/nginx package=$work/nginx-package binary
    base_layer
    fetch "$package" nginx
    fetch "$package" nginx-common
    binary=$package/usr/sbin/nginx
    # Elsewhere than on Debian 12 the program is in a package of its own.
    [ -x "$binary" ] || fetch "$package" nginx-light || true
    [ -x "$binary" ] || fetch "$package" nginx-core
    mkdir -p "$root"/{etc/nginx/conf.d,usr/sbin,usr/share/nginx/html,var/log/nginx,var/lib/nginx,run}
    install -m 0755 "$binary" "$root/usr/sbin/nginx"
    libraries "$work/debian-with-nginx" "$binary"
    (cd "$work/debian-with-nginx" && find . -type f) | while read -r lib; do
        [ -e "$work/debian/$lib" ] || install -D -m 0755 "$work/debian-with-nginx/$lib" "$root/$lib"
    done
    install -m 0644 "$package/etc/nginx/mime.types" "$root/etc/nginx/mime.types"
    install -m 0644 "$package/usr/share/nginx/html/index.html" "$root/usr/share/nginx/html/index.html"
    ln -s /dev/stdout "$root/var/log/nginx/access.log"
    ln -s /dev/stderr "$root/var/log/nginx/error.log"
    { cat "$work/debian/etc/passwd"; echo 'nginx:x:101:101:nginx:/nonexistent:/bin/false'; } >"$root/etc/passwd"
    { cat "$work/debian/etc/group"; echo 'nginx:x:101:'; } >"$root/etc/group"
    cat >"$root/etc/nginx/nginx.conf" <<'CONF'
user nginx;
worker_processes 1;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;
events { worker_connections 64; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /var/log/nginx/access.log;
    include /etc/nginx/conf.d/*.conf;
}
CONF
    cat >"$root/etc/nginx/conf.d/default.conf" <<'CONF'
server {
    listen 80;
    server_name localhost;
    location / { root /usr/share/nginx/html; index index.html; }
}
CONF
    layer nginx "$root"
    archive nginx "{\"Env\":[\"$path\"],\"Cmd\":[\"nginx\",\"-g\",\"daemon off;\"],\"StopSignal\":\"SIGQUIT\",\"ExposedPorts\":{\"80/tcp\":{}}}" debian nginx
}

for image in busybox debian nginx; do
    case $image in
    busybox) wanted=$(key busybox-static) ;;
    debian) wanted=$(key) ;;
    nginx) wanted=$(key nginx nginx-common) ;;
    esac
    if current "$image" "$wanted"; then
        echo "test image $image: up to date"
        continue
    fi
    "build_$image"
    echo "$wanted" >"$out/$image.key"
    echo "test image $image: built, $(stat -c %s "$out/$image.tar") bytes"
done

wanted=$(key docker-registry)
if [ -x "$out/docker-registry" ] && [ "$(cat "$out/docker-registry.key" 2>/dev/null)" = "$wanted" ]; then
    echo "test registry: up to date"
else
    fetch "$work/registry" docker-registry
    install -m 0755 "$work/registry/usr/bin/docker-registry" "$out/docker-registry"
    echo "$wanted" >"$out/docker-registry.key"
    echo "test registry: built"
fi
