#!/bin/bash
# Every symbol that the library exports begins with lafs_, those that programs share with the name of their file.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tree/lib.sh

exported() { nm -g --defined-only "$1" 2>/dev/null | awk 'NF == 3 && $2 != "U" { print $3 }' | grep -vE "$2"; }
[ -e "$LAFS_BUILD/liblafs.a" ] || complain "no library in $LAFS_BUILD"
found=$(exported "$LAFS_BUILD/liblafs.a" '^lafs_')
[ -z "$found" ] || complain "the library exports" $found
ok "library symbols are lafs_"

[ -e "$LAFS_BUILD/libcmd.a" ] || complain "no libcmd.a in $LAFS_BUILD"
for o in cmd/*.c; do
    case "$o" in cmd/lafs-*) continue ;; esac
    p=$(basename "$o" .c)
    found=$(exported "$LAFS_BUILD/cmd/$p.o" "^(lafs_version$|${p}(_|$)|cli(_|$))")
    [ -z "$found" ] || complain "$o exports" $found
done
for o in "$LAFS_BUILD"/cmd/lafs-*.o; do
    [ -e "$o" ] || continue
    found=$(exported "$o" '^main$')
    [ -z "$found" ] || complain "${o##*/} exports" $found
done
ok "symbols of programs"
finish
