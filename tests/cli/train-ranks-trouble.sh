#!/bin/sh
# Several processes, one of which runs out of memory or disk, holds other data, or is told to stop: all end soon, with a
# message that says which one and why, and the same command again gives what an undisturbed run gives, to the bit.
set -eu
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/cli/ranks.inc"
# LD_PRELOAD ends names at blanks.
ln -s "$build_/tests/inject/shim.so" shim.so
SHIM=$PWD/shim.so
export SHIM
any_checkpoint() { find "$1" -name 'checkpoint-*' 2>/dev/null | head -n 1; }

lafs-synth -q --people 2 -n 4 --aligned --seed 3 -o faces.tar
small="--dim 64 --depth 1 --heads 1 --mlp 64 --patches 49 --patch 16 -j 1 --batch 4 --micro 2 --epochs 1 --warmup 0
    --checkpoint-every 1"
finetune="lafs-finetune -q $small --stage 1 --classifier split"
loud="lafs-finetune $small --stage 1"
pretrain="lafs-pretrain -q $small --out-dim 32 --hidden 32 --bottleneck 16 --landmarks grid"

# stopped SIGNAL NUMBER PROCESS...: the signal to these processes ends all after one step, with the state that they have
stopped() {
    signal=$1 number=$2
    shift 2
    rm -rf stopped pid.*
    # shellcheck disable=SC2086,SC2016
    ranks 2 sh -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' - $loud --epochs 5000 \
        --checkpoint-every 100000 -o stopped faces.lafs 2>stderr &
    job=$!
    while [ ! -s stopped/log.jsonl ] && kill -0 $job; do sleep 0.05; done
    for p in "$@"; do kill "-$signal" "$(cat "pid.$p")"; done
    status=0
    wait $job || status=$?
    check [ $status -eq $((128 + number)) ]
    message "stopped after step $(wc -l <stopped/log.jsonl)"
    check [ "stopped/checkpoint-$(wc -l <stopped/log.jsonl).safetensors" = "$(any_checkpoint stopped)" ]
}
stopped TERM 15 0 1
stopped INT 2 1
ok "SIGTERM to all, or SIGINT to one: all end after the same step, and have written it"
[ "${SAN:-}" != thread ] || exit 0 # the rest has no more threads

# Directories of the same name that are not the same: what is found is other weights.
mkdir here there
for dir in here there; do
    seed=1
    [ $dir = here ] || seed=2
    # shellcheck disable=SC2086
    (cd $dir && cp ../faces.tar ../faces.lafs . && lafs-finetune -q $small --stage 1 --seed $seed -o run faces.lafs)
    rm $dir/run/model.safetensors
done
cp here/run/config.json there/run
for program in finetune pretrain; do
    if [ $program = finetune ]; then command="lafs-finetune -q $small --stage 1 --seed 1"; else
        command=$pretrain
        rm -r here/run there/run
        # shellcheck disable=SC2086
        for dir in here there; do (cd $dir && $command --seed 1 -o run faces.lafs && rm run/model.safetensors); done
        # shellcheck disable=SC2086
        (cd there && rm -r run && $command --seed 2 -o run faces.lafs && cp ../here/run/config.json run)
    fi
    # shellcheck disable=SC2086,SC2016
    expect_status 1 ranks 2 sh -c '[ $OMPI_COMM_WORLD_RANK = 0 ] && cd here || cd there; exec "$@"' - $command -o run faces.lafs
    message "at the start, from 'run': the processes have drifted apart: process 1 has other weights than process 0"
    check [ "$(wc -l <stderr)" -eq 1 ]
done
# Another index under the same name.
lafs-synth -q --people 2 -n 4 --aligned --seed 4 -o there/faces.tar
# shellcheck disable=SC2086,SC2016
expect_status 2 ranks 2 sh -c '[ $OMPI_COMM_WORLD_RANK = 0 ] && cd here || cd there; exec "$@"' - $finetune -o other faces.lafs
message "process 1 has other options, or other data, than process 0"
check [ ! -e here/other ]
ok "other states, and other data, are found before the first step"

if [ -n "${SAN:-}" ]; then
    skip "memory and disk that run out" "calls cannot be made to fail under sanitizers"
    exit 0
fi

# A launcher that ties processes to few processors of a machine that has many.
# shellcheck disable=SC2086
expect_status 0 ranks 2 env LD_PRELOAD="$SHIM" LAFS_PROCESSORS=4096 $loud --dry-run faces.lafs >plan
hasnt stderr "the launcher lets"
# shellcheck disable=SC2086
expect_status 0 ranks 2 env LD_PRELOAD="$SHIM" LAFS_PROCESSORS=4096 ${loud% -j 1*} ${loud#* -j 1 } --dry-run faces.lafs >plan
message "of this machine's processors, where 2048 are its share: mpirun --bind-to none"
check [ "$(grep -c "the launcher lets" stderr)" -eq 1 ]
ok "processes that have been tied to few processors are told so, once"

# on PROCESS VARIABLE COMMAND...: the shim acts on that process; none waits longer than a minute for another
# shellcheck disable=SC2016
on='who=$1 how=$2; shift 2; [ "$OMPI_COMM_WORLD_RANK" = "$who" ] || exec timeout -s KILL 60 "$@"
    exec timeout -s KILL 60 env LD_PRELOAD="$SHIM" "$how" "$@"'
hurt() { ranks 2 sh -c "$on" - "$@"; }
for kind in f p; do
    if [ $kind = f ]; then command=$finetune; else command=$pretrain; fi
    rm -f count.0 count.1
    # shellcheck disable=SC2086
    expect_status 0 hurt 1 LAFS_FAIL_COUNT="$PWD/count.1" $command -o whole faces.lafs
    rm -r whole
    # shellcheck disable=SC2086
    expect_status 0 hurt 0 LAFS_FAIL_COUNT="$PWD/count.0" $command -o whole faces.lafs
    # Process, what fails, and when: per cent of its calls. The log is appended to, after each step.
    if [ $kind = f ]; then points="1:alloc:60 1:alloc:90 0:append:100 0:rename:40"
    else points="1:alloc:70 0:write:95 0:fsync:50"; fi
    for point in $points; do
        IFS=: read -r process what percent <<END
$point
END
        calls=$(awk -v k="$what" '$1 == k { print $2 }' "count.$process")
        # shellcheck disable=SC2086
        expect_status 1 hurt "$process" "LAFS_FAIL=$what:$((calls * percent / 100))" $command -o run faces.lafs
        message "process $process of 2: "
        hasnt stderr "different things" # one who fails meets nothing of the others
        [ "$check_failed_" = 0 ] || { echo "that was $kind $point" >&2; break; }
        # shellcheck disable=SC2086
        expect_status 0 ranks 2 $command -o run faces.lafs
        equal whole run
        rm -r run
    done
    ok "$kind: memory or disk of one that runs out ends all, with its number; the same command again goes on to the bit"
    rm -r whole
done

if [ -n "$mpi_missing" ]; then
    skip "MPI" "$mpi_missing"
    exit 0
fi
launcher=mpi
# shellcheck disable=SC2086
expect_status 0 ranks 2 $finetune -o whole faces.lafs
for what in append:2 fsync:4; do # one where the others are on their way to the next step, one where they wait for it
    rm -rf run
    # shellcheck disable=SC2086
    expect_status 1 hurt 0 "LAFS_FAIL=$what" $finetune -o run faces.lafs
    message "process 0 of 2: cannot "
    # shellcheck disable=SC2086
    expect_status 0 ranks 2 $finetune -o run faces.lafs
    equal whole run
done
ok "mpirun: the same"

# One that is stuck, not dead.
# shellcheck disable=SC2086,SC2016
LAFS_BACKEND_PATH=$build_ LAFS_MPI_SECONDS=3 mpirun -np 2 sh -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' - $loud \
    --epochs 5000 --checkpoint-every 100000 -o stuck faces.lafs 2>stderr </dev/null &
job=$!
while [ ! -s stuck/log.jsonl ] && kill -0 $job; do sleep 0.05; done
kill -STOP "$(cat pid.1)"
status=0
wait $job || status=$?
check [ $status -ne 0 ]
message "the other processes were waited for in vain for 3 seconds"
left=100
while kill -0 "$(cat pid.1)" 2>/dev/null && [ $left -gt 0 ]; do left=$((left - 1)) && sleep 0.1; done
check [ $left -gt 0 ]
ok "mpirun: a process that is stuck ends the job, when the others have waited long enough"

# What mpirun hands on to its processes.
# shellcheck disable=SC2086
LAFS_BACKEND_PATH=$build_ mpirun -np 2 $loud --epochs 5000 --checkpoint-every 100000 -o told faces.lafs 2>stderr </dev/null &
job=$!
while [ ! -s told/log.jsonl ] && kill -0 $job; do sleep 0.05; done
kill -USR2 $job
status=0
wait $job || status=$?
check [ $status -ne 0 ]
message "stopped after step $(wc -l <told/log.jsonl)"
check [ "told/checkpoint-$(wc -l <told/log.jsonl).safetensors" = "$(any_checkpoint told)" ]
ok "mpirun: told to stop, it ends by itself, and its processes have written their state"
