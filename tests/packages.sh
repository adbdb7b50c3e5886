# Debian packages that the tests use without installing them. Sourced by tests/images/build.sh and tests/vm/build.sh.
# shellcheck shell=bash

candidate() { LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p'; }
installed() { dpkg-query -W -f '${Package}=${Version} ' "$@" 2>/dev/null || true; }

fetch() { # DIR PACKAGE...: unpacks packages below DIR; needs a directory $work for what is downloaded
    local dir=$1 to file
    shift
    to=$(mktemp -d "$work/deb.XXXXXX")
    mkdir -p "$dir"
    (cd "$to" && apt-get -qq -o APT::Sandbox::User=root download "$@") ||
        { echo "$0: cannot download the Debian packages $*; run apt-get update, or look at the machine's package sources" >&2; exit 1; }
    for file in "$to"/*.deb; do dpkg-deb -x "$file" "$dir"; done
    rm -r "$to"
}

libraries() { # ROOT FILE...: copies the shared libraries the files need from this machine
    local root=$1 lib
    shift
    for lib in $(ldd "$@" 2>/dev/null | sed -nE 's/.*=> (\/[^ ]+) .*/\1/p; s/^[[:space:]]+(\/[^ ]+ld[^ ]+) .*/\1/p' | sort -u); do
        [ -e "$root$lib" ] || install -D -m 0755 "$(readlink -f "$lib")" "$root$lib"
    done
    if ldd "$@" 2>/dev/null | grep 'not found' >&2; then
        echo "$0: this machine lacks the libraries above; install the packages that have them" >&2
        exit 1
    fi
}
