#!/bin/sh
# Several processes on simulated GPUs, one each, which exchange by a stand-in for NCCL (tests/ranks/nccl.c) or through the
# host: what one process on one GPU gives, to the bit. What NCCL refuses, and what does not come.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
. "$TOP/tests/gpu/lib.sh"
. "$TOP/tests/cli/ranks.inc"
plugins=$LAFS_BIN/tests/cuda/sim
export LD_LIBRARY_PATH="$LAFS_BIN/tests/ranks" LAFS_SIM_GPUS=3

lafs-synth -q --people 3 -n 3 --aligned --seed 3 -o faces.tar
lafs-select -q --shots 1 -o few.lafs faces.lafs
small="--device cuda --dim 64 --depth 1 --heads 1 --mlp 64 --patches 49 --patch 16 -j 1 --batch 3 --micro 1 --epochs 1
    --warmup 0"
finetune="lafs-finetune $small --stage 1 --mixup 0" # with a landmark CNN, whose statistics are averages
grid="$finetune --tokens grid"
pretrain="lafs-pretrain $small --out-dim 32 --hidden 32 --bottleneck 16 --landmarks grid"
by_nccl="the processes' GPUs exchange by NCCL"

for kind in finetune grid pretrain; do
    faces=faces.lafs
    case $kind in finetune) command=$finetune faces=few.lafs ;; grid) command=$grid ;; pretrain) command=$pretrain ;; esac
    # shellcheck disable=SC2086
    expect_status 0 env LAFS_BACKEND_PATH="$plugins" $command -q -o whole-$kind $faces
    # shellcheck disable=SC2086
    expect_status 0 ranks 2 $command -v --ranks nccl -o two $faces # 3 micro-batches: one GPU waits for the other
    check [ "$(grep -c "$by_nccl" stderr)" -eq 1 ]
    equal whole-$kind two
    if [ $kind != finetune ]; then
        # shellcheck disable=SC2086
        expect_status 0 ranks 3 $command -v -o three $faces
        message "$by_nccl"
        equal whole-$kind three
    fi
    rm -rf two three
    ok "$kind: two and three GPUs give what one gives, to the bit"
done
# shellcheck disable=SC2086
expect_status 0 ranks 2 $grid -v --ranks mpi -o host faces.lafs
hasnt stderr NCCL
equal whole-grid host
ok "through the host: the same"

# Classes that are split: embeddings and their gradients go from GPU to GPU, of the rest a few numbers a row through the
# host; all of it through the host gives the same bits, and one GPU nearly the same.
# shellcheck disable=SC2086
expect_status 0 ranks 2 $grid -v --classifier split --ranks nccl -o split faces.lafs
message "$by_nccl"
# shellcheck disable=SC2086
expect_status 0 ranks 2 $grid -q --classifier split --ranks mpi -o split-host faces.lafs
equal split split-host
for run in whole-grid split; do sed -n 's/.*"cross_entropy": \([0-9.e+-]*\).*/\1/p' $run/log.jsonl >$run.losses; done
check within 0.0001 3 whole-grid.losses split.losses
ok "classes that are split among GPUs"

# What NCCL refuses: by itself it is an error only where it was asked for; otherwise the host does it, to the same bits.
mkdir broken
echo "no library" >broken/libnccl.so.2
# shellcheck disable=SC2086
for case in "usage|NCCL cannot join the other processes' GPUs: invalid usage (Duplicate GPU detected : rank 0 and rank 1)" \
    "old|libnccl.so.2 is of version 2.9.8; 2.14 is the least" "broken|NCCL cannot be loaded: "; do
    how="LAFS_TEST_NCCL=${case%%|*} LAFS_NCCL_SECONDS=2"
    [ "${case%%|*}" != broken ] || how="LD_LIBRARY_PATH=$PWD/broken"
    expect_status 0 ranks 2 env $how $grid -o host-too faces.lafs
    message "gradients go through the machine's memory and MPI: "
    message "${case#*|}"
    equal whole-grid host-too
    rm -r host-too
    expect_status 1 ranks 2 env $how $grid -q --ranks nccl -o none faces.lafs
    message "${case#*|}"
    check [ ! -e none ]
done
# shellcheck disable=SC2086
expect_status 2 ranks 2 $grid -q --device cpu --ranks nccl -o none faces.lafs
message "device 'cpu' has no link to others"
check [ "$(wc -l <stderr)" -eq 1 ]
# shellcheck disable=SC2086,SC2016
expect_status 1 ranks 2 env LD_LIBRARY_PATH="$PWD/broken" sh -c '[ $OMPI_COMM_WORLD_RANK = 1 ] || shift 2; exec "$0" "$@"' \
    lafs-finetune --ranks nccl ${grid#* } -q -o none faces.lafs
message "process 1 of 2: "
check [ ! -e none ]
# Who joins, but cannot exchange: found out before anybody relies on it.
# shellcheck disable=SC2086
expect_status 0 ranks 2 env LAFS_TEST_NCCL=gone:1 $grid -o host-too faces.lafs
message "NCCL cannot gather: remote process exited"
equal whole-grid host-too
# shellcheck disable=SC2086
expect_status 1 ranks 2 env LAFS_TEST_NCCL=stuck:1 LAFS_NCCL_SECONDS=1 $grid -q --ranks nccl -o none faces.lafs
message ": nothing has come from the other processes' GPUs for 1 s"
check [ ! -e none ]
# One GPU for two processes is not enough.
# shellcheck disable=SC2086
expect_status 1 ranks 2 env LAFS_SIM_GPUS=1 $grid -q -o none faces.lafs
message "process 1 of 2: cannot use device 'cuda:1'"
ok "NCCL that is old, broken or refuses: through the host, to the bit; an error where it was asked for"

# A process that has gone, or that does not come: the other one ends, and the run can be gone on with.
# shellcheck disable=SC2086
expect_status 1 ranks 2 env LAFS_TEST_NCCL=gone:6 timeout -s KILL 60 $grid -q -o run faces.lafs
message " of 2: NCCL cannot exchange: remote process exited (has another process ended?)"
# shellcheck disable=SC2086
expect_status 1 ranks 2 env LAFS_TEST_NCCL=stuck:5 LAFS_NCCL_SECONDS=1 timeout -s KILL 60 $grid -q -o run faces.lafs
message ": nothing has come from the other processes' GPUs for 1 s"
# shellcheck disable=SC2086
expect_status 0 ranks 2 $grid -q -o run faces.lafs
equal whole-grid run
ok "a process that has gone, or does not come, ends the others soon; the same command again goes on to the bit"
