#!/bin/bash
# Every symbol that the library exports begins with lafs_; what programs share stands in a header; all else is static.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh

exported() { nm -g --defined-only "$1" 2>/dev/null | awk 'NF == 3 { sub(/\..*/, "", $3); print $3 }' | grep -vE "$2"; }
[ -e "$LAFS_BUILD/liblafs.a" ] || complain "no library in $LAFS_BUILD"
found=$(exported "$LAFS_BUILD/liblafs.a" '^lafs_')
[ -z "$found" ] || complain "the library exports" $found
ok "library symbols are lafs_"

[ -e "$LAFS_BUILD/libcmd.a" ] || complain "no libcmd.a in $LAFS_BUILD"
for o in cmd/*.c; do
    case "$o" in cmd/lafs-*) continue ;; esac
    p=$(basename "$o" .c)
    for symbol in $(exported "$LAFS_BUILD/cmd/$p.o" '^$'); do
        grep -qw "$symbol" "cmd/$p.h" || complain "$o exports $symbol, which cmd/$p.h does not declare"
    done
done
for o in "$LAFS_BUILD"/cmd/lafs-*.o; do
    [ -e "$o" ] || continue
    found=$(exported "$o" '^main$')
    [ -z "$found" ] || complain "${o##*/} exports" $found
done
ok "symbols of programs"
finish
