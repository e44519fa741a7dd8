#!/bin/bash
# usage: tests/soak/ijb.sh BUILD_DIR [SHARE]
#
# IJB-C's 1:1 and 1:N protocols on generated embeddings of the true size, through lafs-verify and lafs-search on one
# thread and in 4 GB of address space: checks that figures come out, prints peak resident memory and time. The files
# (1.7 GB) go to $TMPDIR.
set -u
build=$(readlink -f "$1") || exit 1
share=${2:-1}
set=$(mktemp -d "${TMPDIR:-/tmp}/lafs-ijb.XXXXXX")
trap 'rm -rf "$set"' EXIT
failed=0
limited() { (ulimit -v 4194304 && exec "$build/tests/soak/peak" "$1" "$build/$1" "${@:2}"); }
check() { # WHAT FILE PATTERN
    if grep -q "$3" "$2"; then echo "ok $1"; else
        echo "FAIL $1"
        cat "$2"
        failed=1
    fi
}

"$build/tests/soak/ijbset" "$set" "$share" || exit 1
cd "$set" || exit 1
ijb="-j 1 --templates face_tid_mid.txt"
# shellcheck disable=SC2086
limited lafs-verify $ijb --pairs template_pair_label.txt embeddings >verify || failed=1
check "lafs-verify: TAR at 1e-6 to 1e-1" verify '^1e-6 .* %'
# shellcheck disable=SC2086
limited lafs-search $ijb --gallery-list 1N_gallery_G1.csv --gallery-list 1N_gallery_G2.csv \
    --probe-list 1N_probe_mixed.csv embeddings >search || failed=1
check "lafs-search: ranks and TPIR of two galleries" search '^mean of the 2 galleries'
cat verify search
exit $failed
