#!/bin/sh
# Several machines under mpirun: what one process gives, to the bit; one that is killed ends all.
set -eu
. "$(dirname "$0")/../cli/lib.sh"
. "$TOP/tests/cli/ranks.inc"
. "$TOP/tests/cluster/machines.inc"
missing=${mpi_missing:-$(machines_missing)}
if [ -n "$missing" ]; then
    skip "several machines under mpirun" "$missing"
    exit 0
fi
machines_up

# spread N CMD...: N processes, by turns on both machines
spread() {
    n=$1
    shift
    on m1 env LAFS_BACKEND_PATH="${plugins:+$plugins:}$build_" timeout 120 mpirun --mca plm_rsh_agent "$PWD/reach" \
        -H m1:2,m2:2 --map-by node -x PATH -x LAFS_BACKEND_PATH -np "$n" --wdir "$PWD" "$@" </dev/null
}
expect_status 0 spread 3 hostname >hosts
check [ "$(sort hosts | tr '\n' ' ')" = "m1 m1 m2 " ]

lafs-synth -q --people 3 -n 3 --aligned --seed 3 -o faces.tar
small="--dim 64 --depth 1 --heads 1 --mlp 64 --patches 49 --patch 16 -j 1 --batch 6 --micro 2 --epochs 2 --warmup 0"
finetune="lafs-finetune -q $small --stage 1"
pretrain="lafs-pretrain -q $small --out-dim 32 --hidden 32 --bottleneck 16 --landmarks grid"
for command in "$finetune" "$pretrain"; do
    # shellcheck disable=SC2086
    $command -o one faces.lafs
    # shellcheck disable=SC2086
    expect_status 0 spread 3 $command -o three faces.lafs
    equal one three
    rm -r one three
done
ok "three processes on two machines give what one gives, to the bit"

# Each takes the GPU of its number on its machine: of one that is there, both the first.
plugins=$build_/tests/cuda/sim
if [ -e "$plugins/lafs-cuda.so" ]; then
    gpu="lafs-pretrain --device cuda ${pretrain#* }"
    # shellcheck disable=SC2086
    LAFS_BACKEND_PATH=$plugins $gpu -o one faces.lafs
    # shellcheck disable=SC2086
    LAFS_SIM_GPUS=1 expect_status 0 spread 2 -x LAFS_SIM_GPUS $gpu --ranks mpi -o two faces.lafs
    equal one two
    ok "a simulated GPU on each of two machines"
else skip "a simulated GPU on each of two machines" "it was not built"; fi
plugins=

# kill -9 of the one on the other machine
endless="$finetune --epochs 5000"
# shellcheck disable=SC2086
begin() { # RUN OPTION_OF_MPIRUN...
    run=$1
    shift
    spread 2 "$@" $endless -o $run faces.lafs >said 2>&1 &
    job=$!
    check within 60 [ -s $run/log.jsonl ]
}
ends() { # within a minute
    start=$(date +%s)
    status=0
    wait $job || status=$?
    check [ $status -ne 0 ]
    check [ $(($(date +%s) - start)) -lt 60 ]
}
begin killed
kill -9 "$(running m2 lafs-finetune)"
ends
has said "on node m2 exited on signal 9"
ok "a process that is killed on one machine ends all within a minute, and is named"

# Nobody tells that a network is silent. LAFS_MPI_SECONDS says how long one process waits for another; mpirun itself goes
# on until its own connections are given up by the system.
LAFS_MPI_SECONDS=5 begin silent -x LAFS_MPI_SECONDS
cut_off
check within 60 grep -q "the other processes were waited for in vain for 5 seconds" said
joined
wait $job || true
ok "a network that falls silent is told after LAFS_MPI_SECONDS"
