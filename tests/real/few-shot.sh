#!/bin/sh
# The tables that are committed beside the cells of examples/few-shot are those that its report makes of them, on the
# pairs that they were judged on.
set -eu
TOP=$(cd "$(dirname "$0")/../.." && pwd)
. "$TOP/tests/real/lib.sh"
shared "the tables of examples/few-shot"
ln -s "$LAFS_BIN" bin # make ends names at blanks

summary() { # SCALE FINAL
    (unset MAKEFLAGS MFLAGS MAKELEVEL && make -s -C "$TOP/examples/few-shot" DATA="$DATA" OUT="$PWD/out" \
        BIN="$PWD/bin" SCALE="$1" FINAL="$2" RESULTS="$PWD/$1" summary) >/dev/null
}
for results in "$TOP"/examples/few-shot/results/*/; do
    scale=$(basename "$results")
    cp -r "$results" "$scale"
    summary "$scale" ""
    same "$scale/README.md" "$results/README.md"
    [ -d "$results/final" ] || continue
    summary "$scale" 1
    same "$scale/final/README.md" "$results/final/README.md"
done
ok "the tables of examples/few-shot"
