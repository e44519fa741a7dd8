#!/bin/sh
# Steps of training are recorded and replayed, on a simulated GPU: the bits that launching kernel by kernel gives, through
# whatever varies from step to step and epoch to epoch.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
. "$TOP/tests/gpu/lib.sh"
. "$TOP/tests/cli/ranks.inc"
export LAFS_BACKEND_PATH="$LAFS_BIN/tests/cuda/sim" LAFS_SIM_REPLAYS="$PWD/replays"

lafs-synth -q --people 3 -n 3 --aligned --seed 4 -o faces.tar
lafs-synth -q --people 4 -n 2 --size 120 --seed 5 -o photos.tar
lafs-synth -q --people 3 -n 1 --faces 2-3 --size 160 --seed 6 -o groups.tar
lafs-select -q -o all.lafs photos.lafs groups.lafs
tiny="-q --device cuda -j 2 --dim 64 --depth 1 --heads 1 --mlp 64 --patches 49 --patch 16 --warmup 1"

# both REPLAYS COMMAND..: with graphs, and so many replays, and without.
both() {
    replays=$1
    shift
    rm -rf with without replays
    expect_status 0 "$@" -o with
    check [ "$(cat replays)" = "$replays" ]
    [ -z "${SAN:-}" ] || return 0 # the bits are told without sanitizers, in a tenth of the time
    rm replays
    expect_status 0 env LAFS_CUDA_GRAPHS=no "$@" -o without
    check [ ! -e replays ]
    equal with without
}
# different FIELD: it was another one in most of the steps.
different() {
    values=$(sed -n "s/.*\"$1\": \([0-9.e-]*\).*/\1/p" with/log.jsonl | sort -u | wc -l)
    check [ "$values" -ge "$2" ]
}

# Learning rate, decay, momentum, the teacher's temperature; the head's last layer, which stays in the first epoch; tokens
# in two places in turn. 6 steps: all updates but the first are replayed, of 12 passes all but the first of each of two
# places and two kinds, and all but the first of what adds up their gradients and their centres.
# shellcheck disable=SC2086
both 35 lafs-pretrain $tiny --batch 4 --micro 2 --epochs 3 --locals 0 --out-dim 64 --hidden 64 --bottleneck 32 \
    --temp-epochs 2 --precision bf16 --landmarks grid faces.lafs
different lr 5
different temp 2
ok "lafs-pretrain"

# 6 steps of two micro-batches: beginning and update of all but the first, all 12 passes but the first, and their sums.
# shellcheck disable=SC2086
both 32 lafs-finetune $tiny --tokens grid --batch 4 --micro 2 --epochs 3 --mixup 0 --margin arcface faces.lafs
ok "lafs-finetune"

# A GPU with less shared memory computes attention's gradients in less of it, to the same bits.
if [ -z "${SAN:-}" ]; then
    for precision in fp32 bf16x3; do
        for kib in 227 99; do
            # shellcheck disable=SC2086
            expect_status 0 env LAFS_SIM_SHARED=$kib lafs-finetune $tiny --tokens grid --batch 4 --epochs 2 --warmup 0 \
                --precision $precision -o of-$kib faces.lafs
        done
        equal of-227 of-99
        rm -r of-227 of-99
    done
    ok "little shared memory"
fi

# Detectors: forward and backward, between which the host judges, and the update, all but the first of each.
for what in refiner detector; do
    both 9 lafs-detect-train -q --device cuda -j 2 --what $what --batch 2 --steps 4 --warmup 1 all.lafs
    expect_status 0 lafs-detect-train -q --device cpu --what $what --batch 2 --steps 4 --warmup 1 -o cpu all.lafs
    for run in cpu with; do sed -n 's/.*"loss": \([^,]*\),.*/\1/p' $run/log.jsonl | head -2 >$run.txt; done
    far=$(within 0.001 2 cpu.txt with.txt) || check [ "$far" = "" ]
    rm -r cpu
done
ok "lafs-detect-train, which begins as on the CPU"

# A landmark CNN: its statistics, its dropout; the weight of what pulls landmarks towards those of the start; mixup, which
# takes the last of an odd batch. 6 steps; passes of 3 and of 2 faces are two kinds.
# shellcheck disable=SC2086
both 14 lafs-finetune $tiny --stage 1 --landmark-reg 3 --batch 3 --epochs 2 --mixup 0.6 faces.lafs
different regulariser 4
ok "a landmark CNN"
