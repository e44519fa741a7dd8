#!/bin/sh
# The tables that are committed beside the cells of examples/few-shot are those that its report makes of them, on the
# pairs that they were judged on.
set -eu
TOP=$(cd "$(dirname "$0")/../.." && pwd)
. "$TOP/tests/real/lib.sh"
shared "the tables of examples/few-shot"

for tables in "$TOP"/examples/few-shot/results/*/README.md; do
    scale=$(basename "$(dirname "$tables")")
    cp -r "$(dirname "$tables")" "$scale"
    (unset MAKEFLAGS MFLAGS MAKELEVEL && make -s -C "$TOP/examples/few-shot" DATA="$DATA" OUT="$PWD/out" \
        BIN="$LAFS_BIN" SCALE="$scale" RESULTS="$PWD/$scale" summary) >/dev/null
    same "$scale/README.md" "$tables"
done
ok "the tables of examples/few-shot"
