#!/bin/sh
# Training in bf16 on a simulated GPU, whose activations are bf16 in memory, follows fp32 on the CPU.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
. "$TOP/tests/gpu/lib.sh"
if [ -n "${SAN:-}" ]; then
    skip "precision on a simulated GPU" "it compares figures; tests/cuda/memory.sh and graphs.sh train in bf16, too"
    exit 0
fi
export LAFS_BACKEND_PATH="$LAFS_BIN/tests/cuda/sim"

lafs-synth -q --people 4 -n 5 --aligned -o faces.tar
small="-q -j 2 --dim 64 --depth 2 --heads 1 --mlp 128 --patches 49 --patch 16 --batch 4 --warmup 1 --lr 0.0005"
# follows NAME STEPS LIMIT COMMAND..
follows() {
    name=$1 steps=$2 limit=$3
    shift 3
    expect_status 0 "$@" --precision fp32 --device cpu -o "$name-fp32" faces.lafs
    expect_status 0 "$@" --precision bf16 --device cuda -o "$name-bf16" faces.lafs
    for run in fp32 bf16; do losses "$name-$run" >$run.txt; done
    far=$(within "$limit" "$steps" fp32.txt bf16.txt) || check [ "$far" = "" ]
    expect_status 1 cmp -s fp32.txt bf16.txt
    ok "$name: losses of $steps steps follow fp32 ($far)"
}
# shellcheck disable=SC2086
follows finetune 20 0.004 lafs-finetune $small --epochs 4 --tokens grid
# shellcheck disable=SC2086
follows pretrain 10 0.01 lafs-pretrain $small --epochs 2 --locals 4 --out-dim 64 --hidden 64 --bottleneck 32 \
    --landmarks grid
